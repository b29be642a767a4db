"""A study's predictions in; each model's scores at each site as columns, and curves and group means from them, out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.evidence import report as page
from elsewhere.evidence.calibration import decision_curve, reliability_curve
from elsewhere.evidence.pooled import SiteScores, mean_aucs
from elsewhere.evidence.report.records import kin_of
from elsewhere.evidence.roc import grid_roc, roc_band
from elsewhere.kept import read_fitting_predictions
from elsewhere.model.prediction import DETERMINISTIC
from elsewhere.plan import Folder

Cells = Mapping[tuple[str, str], "Cell"]
"""(model, site) -> its test scans."""


@dataclass(frozen=True)
class Cell:
    """The test scans of one site as one model scores them, in the order of their ids.

    Attributes:
        scans: scan ids (scans,).
        patients: patient of each (scans,).
        labels: 1 or 0 (scans,).
        probabilities: deterministic (scans,).
        passes: over dropout passes (passes, scans); no rows without passes.
    """

    scans: NDArray[np.str_]
    patients: NDArray[np.str_]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    passes: NDArray[np.float64]

    @cached_property
    def two_classes(self) -> bool:
        """Whether there are positives and negatives, without which nothing can be ranked."""
        return len(set(self.labels.tolist())) == 2


def read_cells(folder: Folder, identity: Mapping[str, Any]) -> dict[tuple[str, str], Cell]:
    """All predictions of the test scans of a study, read once.

    Raises:
        BadStudy: a predictions table is missing or damaged.
    """
    sites = [site["name"] for site in identity["settings"]["sites"]]
    return {(m, s): _cell(read_fitting_predictions(folder, m, s)) for m in identity["models"] for s in sites}


def _cell(rows: Sequence[Mapping[str, Any]]) -> Cell:
    test = sorted((r for r in rows if r["subset"] == "test"), key=lambda r: (r["pass"], r["scan"]))
    single = [r for r in test if r["pass"] == DETERMINISTIC]
    dropout = [r["probability"] for r in test if r["pass"] != DETERMINISTIC]
    return Cell(
        np.array([r["scan"] for r in single]),
        np.array([r["patient"] for r in single]),
        np.array([r["label"] for r in single], dtype=np.int64),
        np.array([r["probability"] for r in single]),
        np.array(dropout).reshape(-1, max(len(single), 1)),
    )


def rocs(cells: Cells) -> Iterable[page.RocBand]:
    """ROC curves, with the band over dropout passes where there are any."""
    for (model, site), cell in cells.items():
        if not cell.two_classes:
            continue
        curve = grid_roc(cell.labels, cell.probabilities)
        rates = (curve.false_positive_rate, curve.true_positive_rate)
        if len(cell.passes):
            band = roc_band(cell.labels, cell.passes)
            yield page.RocBand(model, site, *rates, band.false_positive_rate, band.low, band.high)
        else:
            yield page.RocBand(model, site, *rates)


def calibrations(cells: Cells) -> Iterable[page.Calibration]:
    """Reliability and decision curves of the cells with two classes."""
    for (model, site), cell in cells.items():
        if not cell.two_classes:
            continue
        seen = reliability_curve(cell.labels, cell.probabilities, cell.patients)
        gained = decision_curve(cell.labels, cell.probabilities)
        shares = (seen.mean_probability, seen.positive_share, seen.positive_share_low, seen.positive_share_high)
        benefit = (gained.threshold, gained.model, gained.treat_all)
        yield page.Calibration(model, site, *shares, seen.scans, *benefit)


def group_means(cells: Cells, models: Sequence[page.Model], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Mean AUC at home, at seen and at unseen sites, and the fall, from one joint bootstrap of patients."""
    groups: dict[str, list[tuple[str, str]]] = {"home": [], "seen": [], "unseen": []}
    by_site: dict[str, dict[str, Cell]] = {}
    for model in models:
        for site in (site["name"] for site in settings["sites"]):
            cell = cells[model.name, site]
            if cell.two_classes:
                groups[kin_of(model, site)].append((model.name, site))
                by_site.setdefault(site, {})[model.name] = cell
    scores = {site: _site_scores(found) for site, found in by_site.items()}
    nearest = "home" if groups["home"] else "seen"
    fall = (nearest, "unseen")
    resamples = int(settings["evaluation"]["resamples"])
    found = mean_aucs(scores, groups, [fall], resamples=resamples, seed=int(settings["seed"]))
    return [
        {
            "group": "fall" if name == " - ".join(fall) else name,
            "auc": interval.estimate,
            "auc_low": interval.low,
            "auc_high": interval.high,
            "cells": len(groups.get(name, ())),
            "method": interval.method,
        }
        for name, interval in found.items()
    ]


def _site_scores(found: Mapping[str, Cell]) -> SiteScores:
    first = next(iter(found.values()))
    return SiteScores(first.labels, first.patients, {model: cell.probabilities for model, cell in found.items()})

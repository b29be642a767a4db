"""Several models' scores at several sites in; mean AUCs over groups of cells, with intervals, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.evidence.bootstrap import resampled_aucs
from elsewhere.evidence.columns import Floats, check_labels, check_scores
from elsewhere.evidence.intervals import LEVEL, Interval
from elsewhere.evidence.roc import exact_auc

Cell = tuple[str, str]
"""(model, site)."""


@dataclass(frozen=True)
class SiteScores:
    """The test scans of one site as several models score them.

    Attributes:
        labels: 1 or 0 (scans,), both of them present.
        patients: patient of each scan (scans,).
        scores: model -> scores (scans,).
    """

    labels: ArrayLike
    patients: ArrayLike
    scores: Mapping[str, ArrayLike]


def mean_aucs(
    sites: Mapping[str, SiteScores],
    groups: Mapping[str, Sequence[Cell]],
    differences: Sequence[tuple[str, str]] = (),
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Mean AUC of each group of cells from one joint bootstrap, and the differences asked for.

    Patients are drawn within each site, the same for all models of the site, so that cells which share patients move
    together; sites are drawn apart from each other. Sites and trained networks are held: the interval says how far
    a mean would move with other patients of the same sites, not with other sites or another training.

    Args:
        sites: site -> its scans.
        groups: name -> (model, site) of its cells; a group without cells is left out of the answer.
        differences: pairs of group names; the answer has "first - second" where both are known.
        resamples: number of bootstrap resamples.
        seed: of the draws, which are a function of (seed, place of the site).

    Raises:
        ValueError: a site with one class, NaN, lengths that differ; a cell whose site or model is not there (KeyError).
    """
    found: dict[Cell, tuple[float, Floats]] = {}
    for place, (site, given) in enumerate(sites.items()):
        labels = check_labels(given.labels)
        table = np.stack([check_scores(values, labels.size) for values in given.scores.values()])
        drawn = resampled_aucs(labels, given.patients, table, resamples, seed + place)
        aucs = exact_auc(labels, table)
        found |= {(model, site): (float(aucs[i]), drawn[i]) for i, model in enumerate(given.scores)}
    means = {name: _mean([found[cell] for cell in cells]) for name, cells in groups.items() if cells}
    for first, second in differences:
        if first in means and second in means:
            (one, spread), (other, theirs) = means[first], means[second]
            means[f"{first} - {second}"] = one - other, spread - theirs
    method = f"percentiles of {resamples} joint resamples of patients, sites and networks held"
    return {name: _interval(*pair, method) for name, pair in means.items()}


def _mean(cells: Sequence[tuple[float, Floats]]) -> tuple[float, Floats]:
    return float(np.mean([auc for auc, _ in cells])), np.mean([drawn for _, drawn in cells], axis=0)


def _interval(estimate: float, drawn: Floats, method: str) -> Interval:
    low, high = np.quantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Interval(estimate, float(low), float(high), method)

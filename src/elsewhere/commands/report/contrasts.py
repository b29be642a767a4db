"""All models' calls of the test scans under two ways of deciding in; their paired differences with intervals out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from elsewhere.commands.report.cells import Cell, Cells
from elsewhere.pages import report as page
from elsewhere.rows import ScoreRow
from elsewhere.statistics.decision import OperatingPoint, decide
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.paired import paired_mean

Points = Mapping[tuple[str, str, str], OperatingPoint]
"""(model, site, reading) -> its operating point."""


def contrasts(cells: Cells, models: Sequence[page.Model], scores: Sequence[ScoreRow]) -> list[page.ContrastRow]:
    """Paired differences of these models: reading (b) less (a), and seen less unseen at one-class sites."""
    points = {(r.model, r.site, r.threshold_reading): r.point for r in scores}
    return [*_threshold(cells, models, points), *_one_class(cells, models, points)]


def _threshold(cells: Cells, models: Sequence[page.Model], points: Points) -> Iterable[page.ContrastRow]:
    """Accuracy at unseen sites with two classes, threshold of the tested site less that of the network's own."""
    right: dict[str, list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]] = {}
    patients: dict[str, NDArray[np.str_]] = {}
    for (model, site), cell in cells.items():
        known = all((model, site, reading) in points for reading in ("model", "site"))
        trained = next((m.trained_on for m in models if m.name == model), None)
        if trained is None or site in trained or not cell.two_classes or not known:
            continue
        calls = (decide(cell.probabilities, points[model, site, reading]) for reading in ("site", "model"))
        local, own = (call == (cell.labels == 1) for call in calls)
        right.setdefault(site, []).append((local, own))
        patients[site] = cell.patients
    if not right:
        return
    differences = {site: (patients[site], [local * 1.0 - own for local, own in found]) for site, found in right.items()}
    found = paired_mean(differences)
    pairs = [pair for rows in right.values() for pair in rows]
    local, own = (float(np.mean([pair[place].mean() for pair in pairs])) for place in (0, 1))
    yield _row("threshold", "", (local, own), found, len(pairs))


def _one_class(cells: Cells, models: Sequence[page.Model], points: Points) -> Iterable[page.ContrastRow]:
    """Calls at sites of one class: networks trained on the site less the others."""
    for site in dict.fromkeys(site for _, site in cells):
        found = {
            m: cells[m.name, site] for m in models if (m.name, site) in cells and (m.name, site, "model") in points
        }
        labels = next((cell.labels for cell in found.values()), np.empty(0))
        if not labels.size or len(set(labels.tolist())) != 1:
            continue
        right = {m: _called(cell, points[m.name, site, "model"]) for m, cell in found.items()}
        seen, new = ([r for m, r in right.items() if (site in m.trained_on) == inside] for inside in (True, False))
        if seen and new:
            shares = np.mean(seen, axis=0), np.mean(new, axis=0)
            patients = next(iter(found.values())).patients
            interval = paired_mean({site: (patients, [shares[0] - shares[1]])})
            means = float(shares[0].mean()), float(shares[1].mean())
            yield _row("one class", site, means, interval, len(right))


def _called(cell: Cell, point: OperatingPoint) -> NDArray[np.bool_]:
    """Whether each scan is called what all of them are."""
    return np.asarray(decide(cell.probabilities, point) == (cell.labels == 1))


def _row(name: str, site: str, means: tuple[float, float], found: Interval, cells: int) -> page.ContrastRow:
    return page.ContrastRow(name, site, *means, found.estimate, found.low, found.high, cells, found.method)

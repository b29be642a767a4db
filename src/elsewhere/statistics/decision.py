"""Validation probabilities in; the threshold or recalibration that decides positive or negative out."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from elsewhere.statistics.columns import Floats, Ints, check_labels, check_probabilities
from elsewhere.statistics.logistic import fit_logistic

Rule = Literal["grid", "argmax"]
Reading = Literal["model", "site"]
Ties = Literal["first", "middle"]

GRID = np.arange(101) / 100
"""Thresholds 0..1 by 0.01 (paper, "Evaluation"; protocol page)."""

ARGMAX = 0.5
"""Two classes: the larger of two probabilities that sum to 1 lies above this."""

CLOSEST_TO_CERTAIN = 1e-12
"""Probabilities of exactly 0 and 1 are moved in by this much, so that their log-odds are finite."""


@dataclass(frozen=True)
class OperatingPoint:
    """Where a model says "positive", and how that was chosen (protocol page, "Evaluation").

    Attributes:
        threshold: positive if p ≥ threshold ("grid"); 0.5 and positive if p > 0.5 ("argmax").
        rule: "grid", the threshold with the best validation accuracy; or "argmax", because the best threshold
            was trivial: it called every validation scan the same.
        reading: "model", from the pooled validation scans of the model's own training sites and applied at
            every site; or "site", from the validation scans of the site it is applied to.
        accuracy: accuracy on those validation scans, by this rule.
        scans: number of those validation scans.
        tied: thresholds of the grid that share the best accuracy, trivial ones among them.
        note: a sentence where the best accuracy is also, or only, that of calling every validation scan the same;
            empty otherwise.
    """

    threshold: float
    rule: Rule
    reading: Reading
    accuracy: float
    scans: int
    tied: int = 1
    note: str = ""


def decide(probabilities: ArrayLike, point: OperatingPoint) -> NDArray[np.bool_]:
    """True where the model says positive; same shape as the probabilities.

    >>> decide([0.2, 0.6], OperatingPoint(0.6, "grid", "model", 1.0, 4)).tolist()
    [False, True]
    """
    values = np.asarray(probabilities, dtype=np.float64)
    return values > ARGMAX if point.rule == "argmax" else values >= point.threshold


def choose_threshold(
    labels: ArrayLike, probabilities: ArrayLike, reading: Reading = "model", ties: Ties = "middle"
) -> OperatingPoint:
    """The threshold of the grid 0..1 by 0.01 with the best accuracy on validation scans.

    A threshold is trivial where it calls every one of these scans the same. Where the chosen one is trivial: argmax.

    Args:
        labels: 1 or 0 (scans,).
        probabilities: of being positive (scans,).
        reading: what the operating point's `reading` says.
        ties: among equals, "first" takes the first of the grid (the paper), trivial or not; "middle" the middle grid
            point of the longest unbroken run of best thresholds that are not trivial (the lower one of two middles,
            the first of two runs), and a trivial one only where no other is as accurate.

    Raises:
        ValueError: no scan, NaN, labels other than 0 and 1, probabilities outside 0 to 1, lengths that differ.

    >>> point = choose_threshold([0, 0, 1, 1], [0.10, 0.30, 0.90, 0.95])
    >>> point.threshold, point.accuracy, point.tied
    (0.6, 1.0, 60)
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    positive, negative = counts_at_or_above(values[truth == 1]), counts_at_or_above(values[truth == 0])
    right, called = positive + int((truth == 0).sum()) - negative, positive + negative
    best = right == right.max()
    useful = best & (called > 0) & (called < truth.size)
    chosen = int(np.argmax(best)) if ties == "first" else _middle_of_longest_run(useful if useful.any() else best)
    tied, note = int(best.sum()), _tie_note(best, useful, chosen, called, truth)
    if not useful[chosen]:
        accuracy = float(np.mean((values > ARGMAX) == truth))
        return OperatingPoint(ARGMAX, "argmax", reading, accuracy, truth.size, tied, note)
    return OperatingPoint(
        float(GRID[chosen]), "grid", reading, float(right[chosen] / truth.size), truth.size, tied, note
    )


def _tie_note(best: NDArray[np.bool_], useful: NDArray[np.bool_], chosen: int, called: Ints, truth: Ints) -> str:
    trivial = np.flatnonzero(best & ~useful)
    if not trivial.size:
        return ""
    name = "positive" if called[trivial[0]] else "negative"
    if truth.min() == truth.max():
        return f"all {truth.size} validation scans are {name}, so every best threshold is trivial: argmax decides"
    everyone = f"calling every validation scan {name}"
    if useful[chosen]:
        return f"{everyone} is as accurate as this threshold"
    if useful.any():
        other = float(GRID[np.argmax(useful)])
        return f"{everyone} comes first among equals, though {other:.2f} is as accurate: argmax decides"
    return f"no threshold that tells scans apart is as accurate as {everyone}: argmax decides"


def choose_thresholds(
    sites: ArrayLike,
    labels: ArrayLike,
    probabilities: ArrayLike,
    trained_on: Collection[str],
    evaluated: Sequence[str],
    *,
    ties: Ties = "middle",
) -> dict[tuple[Reading, str], OperatingPoint]:
    """Both readings of one model's operating point, for every evaluated site.

    Args:
        sites: site of each validation scan (scans,).
        labels: 1 or 0 (scans,).
        probabilities: of the model, on each validation scan (scans,).
        trained_on: the model's training sites; their pooled validation scans give the reading "model".
        evaluated: sites to give an operating point for.
        ties: as in `choose_threshold`.

    Raises:
        ValueError: as `choose_threshold`; also where a site has no validation scan.

    >>> sites, labels = ["A"] * 4 + ["B"] * 4, [0, 0, 1, 1] * 2
    >>> points = choose_thresholds(sites, labels, [0.1, 0.3, 0.9, 0.95, 0.1, 0.2, 0.5, 0.6], ["A"], ["B"])
    >>> points["model", "B"].threshold, points["site", "B"].threshold  # middle of 0.31..0.90, of 0.21..0.50
    (0.6, 0.35)
    """
    truth = check_labels(labels)
    values, places = check_probabilities(probabilities, truth.size), np.asarray(sites)
    if places.shape != truth.shape:
        raise ValueError(f"sites have shape {places.shape}, but there are {truth.size} labels")
    absent = sorted({*trained_on, *evaluated} - set(places.tolist()))
    if absent:
        raise ValueError(f"no validation scan from {', '.join(absent)}; a threshold cannot be chosen there")
    home = np.isin(places, list(trained_on))
    own = choose_threshold(truth[home], values[home], "model", ties)
    points: dict[tuple[Reading, str], OperatingPoint] = {("model", site): own for site in evaluated}
    for site in evaluated:
        here = places == site
        points["site", site] = choose_threshold(truth[here], values[here], "site", ties)
    return points


def counts_at_or_above(probabilities: Floats) -> Ints:
    """Number of scans with p ≥ t for each t of the grid: (..., scans) -> (..., 101).

    >>> counts_at_or_above(np.array([0.2, 0.5]))[[0, 20, 21, 50, 51]].tolist()
    [2, 2, 1, 1, 0]
    """
    steps = np.searchsorted(GRID, probabilities, side="right")
    flat = steps.reshape(math.prod(steps.shape[:-1]), steps.shape[-1])
    width = GRID.size + 1
    bins = np.bincount((flat + width * np.arange(len(flat))[:, None]).ravel(), minlength=width * len(flat))
    above = bins.reshape(len(flat), width)[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    return above.reshape(*steps.shape[:-1], GRID.size).astype(np.int64)


def _middle_of_longest_run(best: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], best, [False]]).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    return int((starts[longest] + stops[longest] - 1) // 2)


@dataclass(frozen=True)
class Recalibration:
    """A map from a model's probability to a calibrated one: expit(intercept + slope · logit(p)) (Cox 1958; Platt 1999).

    Attributes:
        intercept: log-odds added.
        slope: factor on the log-odds; below 1 where the model was overconfident.
    """

    intercept: float
    slope: float


def fit_recalibration(labels: ArrayLike, probabilities: ArrayLike) -> Recalibration:
    """Intercept and slope on validation scans, with Platt's smoothed targets, finite even for separated classes.

    The slope may come out negative where the model ranks the wrong way round; it is given as it is.

    Raises:
        ValueError: as `choose_threshold`; also where all scans are of one class, or all log-odds are equal.

    >>> found = fit_recalibration([0, 0, 1, 0, 1, 1], [0.1, 0.3, 0.4, 0.6, 0.7, 0.9])
    >>> round(found.intercept, 2), round(found.slope, 2)
    (0.0, 0.63)
    """
    truth = check_labels(labels)
    odds = log_odds(check_probabilities(probabilities, truth.size))
    positives = int(truth.sum())
    if positives in {0, truth.size}:
        raise ValueError(f"all {truth.size} validation scans are of one class; recalibration needs both")
    if np.ptp(odds) == 0:
        raise ValueError(
            f"the model gives all {truth.size} validation scans the same probability; nothing to recalibrate"
        )
    targets = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (truth.size - positives + 2))
    centre, spread = odds.mean(), odds.std()
    intercept, slope = fit_logistic(((odds - centre) / spread)[:, None], targets)
    return Recalibration(float(intercept - slope * centre / spread), float(slope / spread))


def recalibrate(probabilities: ArrayLike, recalibration: Recalibration) -> Floats:
    """Calibrated probabilities, same shape.

    >>> recalibrate([0.5, 0.9], Recalibration(-1.0, 0.5)).round(3).tolist()
    [0.269, 0.525]
    """
    odds = log_odds(np.asarray(probabilities, dtype=np.float64))
    return expit(recalibration.intercept + recalibration.slope * odds)


def log_odds(probabilities: Floats) -> Floats:
    """log(p / (1 - p)), with p kept 1e-12 away from 0 and 1.

    >>> log_odds(np.array([0.5, 0.9])).round(3).tolist()
    [0.0, 2.197]
    """
    return logit(np.clip(probabilities, CLOSEST_TO_CERTAIN, 1 - CLOSEST_TO_CERTAIN))

"""Labels and scores in; ROC curves, exact and grid AUC, and the band over dropout passes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from elsewhere.statistics.columns import (
    Floats,
    Ints,
    check_both_classes,
    check_groups,
    check_labels,
    check_probabilities,
    check_scores,
)
from elsewhere.statistics.decision import GRID, counts_at_or_above


@dataclass(frozen=True)
class Roc:
    """One ROC curve, from (0, 0) to (1, 1).

    Attributes:
        thresholds: (points,) falling; the first, infinity, calls nothing positive.
        false_positive_rate: (points,) 1 - specificity, rising.
        true_positive_rate: (points,) sensitivity, rising.
    """

    thresholds: Floats
    false_positive_rate: Floats
    true_positive_rate: Floats


@dataclass(frozen=True)
class RocBand:
    """Spread of the ROC curve over MC-dropout passes at fixed false positive rates; not a confidence band.

    Attributes:
        false_positive_rate: (101,) 0..1 by 0.01.
        mean: (101,) mean true positive rate over passes.
        low: (101,) mean - 1 SD over passes, not below 0.
        high: (101,) mean + 1 SD over passes, not above 1.
        passes: number of passes.
    """

    false_positive_rate: Floats
    mean: Floats
    low: Floats
    high: Floats
    passes: int


def exact_auc(labels: ArrayLike, scores: ArrayLike) -> Floats:
    """Mann-Whitney AUC of scores (..., scans), ties counted half; a value below 0.5 stays below 0.5.

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> float(exact_auc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8]))
    0.875
    """
    truth = check_labels(labels)
    values = check_scores(scores, truth.size)
    check_both_classes(truth)
    positives = int(truth.sum())
    ranks = rankdata(values, axis=-1)[..., truth == 1].sum(axis=-1)
    return np.asarray((ranks - positives * (positives + 1) / 2) / (positives * (truth.size - positives)))


def grid_rates(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates (..., 102) at thresholds 1..0 by 0.01, with (0, 0) put in front.

    The paper's ROC (protocol page, "Evaluation"); its other end, (1, 1), is the threshold 0.

    Raises:
        ValueError: one class only, NaN, probabilities outside 0 to 1, lengths that differ.

    >>> false, true = grid_rates([0, 1], [0.2, 0.7])
    >>> false.size, int(true.argmax()), int(false.argmax())  # place k is the threshold (101 - k) / 100
    (102, 31, 81)
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    check_both_classes(truth)
    false, true = (counts_at_or_above(values[..., truth == c])[..., ::-1] / (truth == c).sum() for c in (0, 1))
    start = np.zeros((*false.shape[:-1], 1))
    return np.concatenate([start, false], axis=-1), np.concatenate([start, true], axis=-1)


def grid_roc(labels: ArrayLike, probabilities: ArrayLike) -> Roc:
    """The paper's ROC curve of probabilities (scans,): thresholds 0..1 by 0.01, ends closed. Raises as `grid_rates`.

    >>> curve = grid_roc([0, 1], [0.2, 0.7])
    >>> curve.thresholds[[0, 1, 31, 101]].tolist(), curve.true_positive_rate[[0, 1, 31, 101]].tolist()
    ([inf, 1.0, 0.7, 0.0], [0.0, 0.0, 1.0, 1.0])
    """
    false, true = grid_rates(labels, probabilities)
    return Roc(np.concatenate([[np.inf], GRID[::-1]]), false, true)


def grid_auc(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """The paper's AUC of probabilities (..., scans): trapezoids under `grid_roc`. Raises as `grid_rates`.

    Biased where the softmax saturates: scans closer together than the grid's 0.01 count as ties.

    >>> float(grid_auc([0, 0, 1, 1], [0.101, 0.404, 0.406, 0.8]))
    0.875
    """
    false, true = grid_rates(labels, probabilities)
    return np.asarray(np.trapezoid(true, false, axis=-1))


def exact_roc(labels: ArrayLike, scores: ArrayLike) -> Roc:
    """The ROC curve of scores (scans,) at every distinct score; the area under it is `exact_auc`.

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> curve = exact_roc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    >>> curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist()
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    truth = check_labels(labels)
    values = check_scores(scores, truth.size)
    check_both_classes(truth)
    thresholds, place = np.unique(values, return_inverse=True)
    counts = np.stack([np.bincount(place, truth == c, thresholds.size)[::-1].cumsum() for c in (0, 1)])
    rates = np.concatenate([np.zeros((2, 1)), counts / counts[:, -1:]], axis=1)
    return Roc(np.concatenate([[np.inf], thresholds[::-1]]), rates[0], rates[1])


def coarse_roc(labels: ArrayLike, patients: ArrayLike, scores: ArrayLike, least: int = 5) -> Ints:
    """Points of the ROC curve that tell nothing of a single patient: counts of (false, true) positives (points, 2).

    From (0, 0) to all scans. From one point to the next lie scans of at least `least` patients of each class, and no
    threshold is told: what is lost is the curve in between. Scans of equal score stay together.

    Raises:
        ValueError: one class only, NaN, lengths that differ, `least` below 1.

    >>> coarse_roc([0, 1] * 6, range(12), range(12), 2).tolist()
    [[0, 0], [2, 2], [4, 4], [6, 6]]
    """
    truth = check_labels(labels)
    values, groups = check_scores(scores, truth.size), check_groups(patients, truth.size)
    check_both_classes(truth)
    if least < 1:
        raise ValueError(f"least must be 1 or more, is {least}")
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.diff(values[order], append=-np.inf))
    points, start = [(0, 0)], 0
    for end in ends + 1:
        step = order[start:end]
        if min(np.unique(groups[step][truth[step] == c]).size for c in (0, 1)) >= least:
            counts = np.bincount(truth[order[:end]], minlength=2)
            points.append((int(counts[0]), int(counts[1])))
            start = int(end)
    whole = np.bincount(truth, minlength=2)
    points[max(len(points) - 1, 1) :] = [(int(whole[0]), int(whole[1]))]  # what is left joins the last step
    return np.array(points, dtype=np.int64)


def roc_band(labels: ArrayLike, passes: ArrayLike) -> RocBand:
    """Mean ± 1 SD of the paper's ROC over MC-dropout passes (passes, scans), at fixed false positive rates.

    Where a curve rises straight up, its upper end counts. The SD has passes - 1 below the line; one pass has SD 0.

    Raises:
        ValueError: as `grid_rates`, or passes that are not a table.

    >>> band = roc_band([0, 0, 1, 1], [[0.1, 0.2, 0.8, 0.9], [0.1, 0.85, 0.8, 0.9]])
    >>> float(band.mean[0]), round(float(band.low[0]), 3), float(band.high[0])  # sensitivity 1 and 0.5 without alarm
    (0.75, 0.396, 1.0)
    """
    false, true = grid_rates(labels, passes)
    if false.ndim != 2:
        raise ValueError(f"passes have {false.ndim} dimensions; expected (passes, scans)")
    curves = np.stack([np.interp(GRID, f, t) for f, t in zip(false, true, strict=True)])
    mean = curves.mean(axis=0)
    spread = curves.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros_like(mean)
    return RocBand(GRID, mean, np.maximum(mean - spread, 0), np.minimum(mean + spread, 1), len(curves))

"""Precision against recall of scores, beside the prevalence that chance would have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.statistics.columns import Floats, check_both_classes, check_labels, check_scores


@dataclass(frozen=True)
class PrecisionRecall:
    """One precision–recall curve, a point for each distinct score, from the highest down.

    Attributes:
        recall: sensitivity (points,), rising to 1.
        precision: positive predictive value among these scans (points,).
        average: average precision, Σ (step of recall) · precision; no interpolation.
        prevalence: share of positives: the precision, at any recall, of scores that tell nothing.
    """

    recall: Floats
    precision: Floats
    average: float
    prevalence: float


def precision_recall(labels: ArrayLike, scores: ArrayLike) -> PrecisionRecall:
    """The curve of scores (scans,); scans of one score are called together.

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> curve = precision_recall([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> curve.recall.tolist(), curve.precision.round(3).tolist(), round(curve.average, 3), curve.prevalence
    ([0.5, 0.5, 1.0, 1.0], [1.0, 0.5, 0.667, 0.5], 0.833, 0.5)
    """
    truth = check_labels(labels)
    values = check_scores(scores, truth.size)
    check_both_classes(truth)
    distinct, place = np.unique(values, return_inverse=True)
    positive, called = (
        np.bincount(place, weights, distinct.size)[::-1].cumsum() for weights in (truth.astype(np.float64), None)
    )
    recall, precision = positive / positive[-1], positive / called
    average = float((np.diff(recall, prepend=0.0) * precision).sum())
    return PrecisionRecall(recall, precision, average, float(truth.mean()))

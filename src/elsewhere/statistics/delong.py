"""Labels, patients and scores in; AUCs with their sampling covariance (DeLong, patient-clustered) out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.statistics.columns import (
    Floats,
    Ints,
    check_both_classes,
    check_groups,
    check_labels,
    check_scores,
    count_groups,
)


def placements(labels: Ints, scores: Floats) -> Floats:
    """Placement of every scan among the other class, (models, scans); ties count half.

    For a positive the share of negatives below it, for a negative the share of positives above it; the mean over
    either class is the AUC. From one sort of the scores, in n log n (Sun & Xu 2014): what stands before a group of
    equal scores counts whole, what stands in it half.

    >>> placements(np.array([0, 0, 1, 1]), np.array([[1.0, 3.0, 2.0, 4.0]])).tolist()
    [[1.0, 0.5, 0.5, 1.0]]
    """
    values = np.empty_like(scores)
    counts = [int((labels == c).sum()) for c in (0, 1)]
    for row, found in zip(scores, values, strict=True):
        order = np.argsort(row, kind="stable")
        ranked, truth = row[order], labels[order]
        group = np.cumsum(np.concatenate([[False], ranked[1:] != ranked[:-1]]))
        for own, other in ((1, 0), (0, 1)):
            inside = np.bincount(group, truth == other)
            below = (np.cumsum(inside) - inside / 2)[group[truth == own]] / counts[other]
            found[order[truth == own]] = below if own else 1 - below
    return values


def auc_covariance(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """AUCs (models,) of scores (models, scans) on the same scans, and their covariance (models, models).

    Without patients every scan is its own: DeLong, DeLong & Clarke-Pearson 1988. With patients, scans of one
    patient may depend on each other, across the two classes as well: Obuchowski 1997. The covariance is NaN
    where one class comes from a single patient: nothing is known about the spread between patients then.

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> aucs, covariance = auc_covariance([0, 0, 0, 1, 1, 1], [1, 2, 4, 3, 5, 6])
    >>> aucs.round(3).tolist(), covariance.round(3).tolist()
    ([0.889], [[0.025]])
    """
    truth = check_labels(labels)
    values = np.atleast_2d(check_scores(scores, truth.size))
    check_both_classes(truth)
    groups = np.arange(truth.size) if patients is None else check_groups(patients, truth.size)
    return _covariance(truth, placements(truth, values), groups)


def auc_variance(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> tuple[float, float, tuple[float, float]]:
    """AUC of scores (scans,), its variance as `auc_covariance`, and the effective scans as `auc_spread`.

    Where the variance is NaN, so are the effective scans.

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> auc, variance, worth = auc_variance([0, 0, 0, 1, 1, 1], [1, 2, 4, 3, 5, 6], range(6))
    >>> round(auc, 3), round(variance, 3), worth
    (0.889, 0.025, (3.0, 3.0))
    """
    aucs, covariance, (worth,) = auc_spread(labels, scores, patients)
    return float(aucs[0]), float(covariance[0, 0]), worth


def auc_spread(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None
) -> tuple[Floats, Floats, list[tuple[float, float]]]:
    """As `auc_covariance`, and how many independent (positives, negatives) the scans are worth for each model's AUC.

    These effective scans are the scans over the design effect of their placements (Kish 1965); NaN where the
    covariance is.

    >>> patients = [0, 0, 1, 1, 2, 2, 3, 3]  # with two scans each, which agree
    >>> auc_spread([0, 0, 0, 0, 1, 1, 1, 1], range(8), patients)[2]
    [(2.0, 2.0)]
    """
    truth = check_labels(labels)
    values = np.atleast_2d(check_scores(scores, truth.size))
    check_both_classes(truth)
    groups = np.arange(truth.size) if patients is None else check_groups(patients, truth.size)
    placed = placements(truth, values)
    aucs, covariance = _covariance(truth, placed, groups)
    known = np.isfinite(covariance).all()
    return aucs, covariance, [_worth(truth, row, groups) if known else (np.nan, np.nan) for row in placed]


def _covariance(truth: Ints, placed: Floats, groups: Ints) -> tuple[Floats, Floats]:
    aucs = np.compress(truth == 1, placed, axis=1).mean(axis=-1)
    residual = placed - aucs[:, None]
    above, below = (_patient_sums(residual, groups, truth == c) / (truth == c).sum() for c in (1, 0))
    few = [count_groups(groups[truth == c]) for c in (1, 0)]
    if min(few) < 2:
        return aucs, np.full((aucs.size, aucs.size), np.nan)
    cross = _products(above, below) * _unbiased(int(groups.max()) + 1)
    own = _products(above, above) * _unbiased(few[0]) + _products(below, below) * _unbiased(few[1])
    return aucs, own + cross + cross.T


def _worth(labels: Ints, placed: Floats, groups: Ints) -> tuple[float, float]:
    """Numbers of independent (positives, negatives) that scans of several patients are worth, from their placements.

    Scans over the design effect of the placements: their variance between patients over that between scans, kept
    between 1 and its value when all scans of a patient agree (Kish 1965), which also stands in where all placements
    are equal. Both classes need at least two patients.
    """
    positives, negatives = (_effective(placed[labels == c], groups[labels == c]) for c in (1, 0))
    return positives, negatives


def _effective(placed: Floats, groups: Ints) -> float:
    sizes = np.bincount(groups)
    agreeing = float((sizes**2).sum() / placed.size)
    residual = placed - placed.mean()
    alone = float((residual**2).sum()) / (placed.size - 1) if placed.size > 1 else 0.0
    if alone == 0:
        return placed.size / agreeing
    patients = int((sizes > 0).sum())
    between = float((np.bincount(groups, residual) ** 2).sum()) * _unbiased(patients) / placed.size
    return placed.size / float(np.clip(between / alone, 1.0, agreeing))


def _products(first: Floats, second: Floats) -> Floats:
    """Sums of products over patients, (models, models); a library's matrix product would start threads for a row."""
    return np.einsum("ip,jp->ij", first, second)


def _unbiased(patients: int) -> float:
    return patients / (patients - 1)


def _patient_sums(values: Floats, groups: Ints, kept: np.ndarray) -> Floats:
    width = int(groups.max()) + 1
    return np.stack([np.bincount(groups[kept], row[kept], width) for row in values])

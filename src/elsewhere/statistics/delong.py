"""Labels, patients and scores in; AUCs with their sampling covariance (DeLong, patient-clustered) out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from elsewhere.statistics.columns import Floats, Ints, check_both_classes, check_groups, check_labels, check_scores


def placements(labels: Ints, scores: Floats) -> Floats:
    """Placement of every scan among the other class, (models, scans); ties count half.

    For a positive the share of negatives below it, for a negative the share of positives above it; the mean over
    either class is the AUC. From midranks, in n log n (Sun & Xu 2014).
    """
    positive = labels == 1
    ranks = rankdata(scores, axis=-1)
    values = np.empty_like(scores)
    values[:, positive] = (ranks[:, positive] - rankdata(scores[:, positive], axis=-1)) / (~positive).sum()
    values[:, ~positive] = 1 - (ranks[:, ~positive] - rankdata(scores[:, ~positive], axis=-1)) / positive.sum()
    return values


def auc_covariance(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """AUCs (models,) of scores (models, scans) on the same scans, and their covariance (models, models).

    Without patients every scan is its own: DeLong, DeLong & Clarke-Pearson 1988. With patients, scans of one
    patient may depend on each other, across the two classes as well: Obuchowski 1997. The covariance is NaN
    where one class comes from a single patient: nothing is known about the spread between patients then.

    Raises:
        ValueError: one class only, NaN, lengths that differ.
    """
    truth = check_labels(labels)
    values = np.atleast_2d(check_scores(scores, truth.size))
    check_both_classes(truth)
    groups = np.arange(truth.size) if patients is None else check_groups(patients, truth.size)
    placed = placements(truth, values)
    aucs = placed[:, truth == 1].mean(axis=-1)
    residual = placed - aucs[:, None]
    above, below = (_patient_sums(residual, groups, truth == c) / (truth == c).sum() for c in (1, 0))
    few = [np.unique(groups[truth == c]).size for c in (1, 0)]
    if min(few) < 2:
        return aucs, np.full((aucs.size, aucs.size), np.nan)
    cross = above @ below.T * _unbiased(int(groups.max()) + 1)
    return aucs, above @ above.T * _unbiased(few[0]) + below @ below.T * _unbiased(few[1]) + cross + cross.T


def effective_scans(labels: Ints, scores: Floats, groups: Ints) -> tuple[float, float]:
    """Numbers of independent (positives, negatives) that these scans of several patients are worth for the AUC.

    Scans over the design effect of the placements: their variance between patients over that between scans, kept
    between 1 and its value when all scans of a patient agree (Kish 1965), which also stands in where all placements
    are equal. Both classes need at least two patients.
    """
    placed = placements(labels, scores[None])[0]
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


def _unbiased(patients: int) -> float:
    return patients / (patients - 1)


def _patient_sums(values: Floats, groups: Ints, kept: np.ndarray) -> Floats:
    width = int(groups.max()) + 1
    return np.stack([np.bincount(groups[kept], row[kept], width) for row in values])

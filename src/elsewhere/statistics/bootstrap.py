"""Labels, patients and scores in; thousands of patient-clustered resamples of the AUC or of a proportion out.

A resample is a count per patient; scans are sorted by score once, and no resample is ever sorted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.statistics.columns import Floats, Ints, check_both_classes, check_groups, check_labels, check_scores
from elsewhere.statistics.delong import placements

LARGEST_TABLE = 4_000_000
"""Scans × resamples held at once; more are taken in blocks."""


def patient_strata(labels: Ints, groups: Ints) -> Ints:
    """Stratum of each patient (patients,): 0 only negative scans, 1 only positive, 2 both.

    >>> patient_strata(np.array([0, 0, 1, 0, 1]), np.array([0, 0, 1, 2, 2])).tolist()
    [0, 1, 2]
    """
    scans, positives = np.bincount(groups), np.bincount(groups, labels)
    return np.select([positives == 0, positives == scans], [0, 1], 2)


def draw_patients(labels: Ints, groups: Ints, resamples: int, seed: int, *, within_classes: bool = True) -> Floats:
    """How often each patient is drawn in each resample (resamples, patients), with replacement within strata.

    Drawn within strata, so that every resample has both classes and as many patients of each. With `within_classes`
    false the share of positives is sampled too; a resample that then lacks a class is drawn within strata. The same
    labels, patients and seed give the same draws whatever the scores: that pairs the models of one site.

    >>> drawn = draw_patients(np.array([0, 0, 0, 1, 1]), np.arange(5), 3, seed=0)
    >>> drawn[:, :3].sum(axis=1).tolist(), drawn[:, 3:].sum(axis=1).tolist()  # negative patients, positive ones
    ([3.0, 3.0, 3.0], [2.0, 2.0, 2.0])
    """
    strata = patient_strata(labels, groups)
    if not within_classes:
        held = draw_patients(labels, groups, resamples, seed)
        counts = draw_patients(np.zeros_like(labels), groups, resamples, seed + 1)
        one_class = [counts @ np.bincount(groups, labels == c) == 0 for c in (0, 1)]
        return np.where((one_class[0] | one_class[1])[:, None], held, counts)
    random = np.random.default_rng([seed, resamples])
    counts = np.zeros((resamples, strata.size))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        block = max(1, LARGEST_TABLE // members.size)  # drawn in blocks, the draws are the same
        for start in range(0, resamples, block):
            rows = min(block, resamples - start)
            flat = random.integers(members.size, size=(rows, members.size)) + members.size * np.arange(rows)[:, None]
            drawn = np.bincount(flat.ravel(), minlength=rows * members.size).reshape(rows, -1)
            counts[start : start + rows, members] = drawn
    return counts


def resampled_aucs(
    labels: ArrayLike, patients: ArrayLike, scores: ArrayLike, resamples: int = 2000, seed: int = 0
) -> Floats:
    """AUC of every model in every patient-clustered resample, (models, resamples), models paired.

    In a resample that draws the patient of scan i w_i times, AUC = Σ w_i w_j [s_i > s_j] / Σ w_i w_j over positive
    i and negative j, ties half (cluster bootstrap: Davison & Hinkley 1997, section 3.8).

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        scores: (models, scans) or (scans,).
        resamples: number of bootstrap resamples.
        seed: same seed, same draws.

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> resampled_aucs([0, 0, 1, 1], range(4), [[1, 2, 3, 4], [4, 3, 2, 1]], resamples=3).tolist()
    [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    truth = check_labels(labels)
    groups, values = check_groups(patients, truth.size), np.atleast_2d(check_scores(scores, truth.size))
    check_both_classes(truth)
    counts = draw_patients(truth, groups, resamples, seed)
    positives, negatives = (np.bincount(groups, truth == c) for c in (1, 0))
    comparisons = (counts @ positives) * (counts @ negatives)
    return np.stack([_won(truth, groups, row, counts) for row in values]) / comparisons


def _won(labels: Ints, groups: Ints, scores: Floats, counts: Floats) -> Floats:
    """Comparisons that positives win in each resample (resamples,), ties half: every sum is of whole numbers, exact.

    Scans in the order of their scores, each as often as its patient was drawn: a positive wins against every negative
    before its group of equal scores, and half of those in it. Linear in the scans, whatever the number of patients.
    """
    order = np.argsort(scores, kind="stable")
    owner, positive = groups[order], labels[order] == 1
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) != 0)
    won = np.empty(len(counts))
    block = max(1, LARGEST_TABLE // 8 // order.size)  # some tables of this size at once, in the processor's cache
    for start in range(0, len(counts), block):
        drawn = counts[start : start + block, owner]
        up, down = drawn * positive, drawn * ~positive
        if starts.size < order.size:
            up, down = (np.add.reduceat(kind, starts, axis=1) for kind in (up, down))
        below = np.cumsum(down, axis=1) - down / 2
        won[start : start + block] = np.einsum("rs,rs->r", up, below)
    return won


def auc_without_each_patient(labels: Ints, groups: Ints, scores: Floats) -> Floats:
    """AUC with one patient left out at a time (patients,); NaN where a class would be empty.

    All comparisons that positives win, less those of the patient's own scans on either side, which counts what he wins
    against himself twice. Memory grows with the scans.

    >>> auc_without_each_patient(np.array([0, 0, 1, 1]), np.arange(4), np.array([1.0, 3, 2, 4])).tolist()
    [0.5, 1.0, 1.0, 0.5]
    """
    positives, negatives = (np.bincount(groups, labels == c) for c in (1, 0))
    wins = placements(labels, scores[None])[0] * np.where(labels == 1, negatives.sum(), positives.sum())
    won = wins[labels == 1].sum() - np.bincount(groups, wins)
    for patient in np.flatnonzero((positives > 0) & (negatives > 0)):
        own = groups == patient
        a, b = (scores[own & (labels == c)] for c in (1, 0))
        won[patient] += (0.5 * (a[:, None] > b) + 0.5 * (a[:, None] >= b)).sum()
    left = (positives.sum() - positives) * (negatives.sum() - negatives)
    return np.divide(won, left, out=np.full(won.shape, np.nan), where=left > 0)

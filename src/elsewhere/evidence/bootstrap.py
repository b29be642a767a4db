"""Labels, patients and scores in; thousands of patient-clustered resamples of the AUC or of a proportion out.

A resample is a count per patient, so that an AUC becomes a product of counts with the patients' table of won
comparisons: no resample is ever sorted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.evidence.columns import Floats, Ints, check_both_classes, check_groups, check_labels, check_scores

LARGEST_TABLE = 4_000_000
"""Comparisons (positive × negative scans) held at once; more are summed in blocks."""


def patient_strata(labels: Ints, groups: Ints) -> Ints:
    """Stratum of each patient (patients,): 0 only negative scans, 1 only positive, 2 both."""
    scans, positives = np.bincount(groups), np.bincount(groups, labels)
    return np.select([positives == 0, positives == scans], [0, 1], 2)


def draw_patients(labels: Ints, groups: Ints, resamples: int, seed: int, *, within_classes: bool = True) -> Floats:
    """How often each patient is drawn in each resample (resamples, patients), with replacement within strata.

    Drawn within strata, so that every resample has both classes and as many patients of each. With `within_classes`
    false the share of positives is sampled too; a resample that then lacks a class is drawn within strata. The same
    labels, patients and seed give the same draws whatever the scores: that pairs the models of one site.
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
        drawn = random.integers(members.size, size=(resamples, members.size))
        flat = drawn + members.size * np.arange(resamples)[:, None]
        counts[:, members] = np.bincount(flat.ravel(), minlength=resamples * members.size).reshape(resamples, -1)
    return counts


def won_comparisons(labels: Ints, groups: Ints, scores: Floats) -> Floats:
    """Comparisons that positives of patient a win against negatives of patient b (patients, patients); ties half."""
    order = np.argsort(groups, kind="stable")
    truth, owner, values = labels[order], groups[order], scores[order]
    high, low = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
    table = np.zeros((int(groups.max()) + 1,) * 2)
    rows, starts = np.unique(owner[low], return_index=True)
    for block in np.array_split(high, max(1, -(-high.size * low.size // LARGEST_TABLE))):
        a, b = values[block][:, None], values[low][None, :]
        won = np.add.reduceat(0.5 * (a > b) + 0.5 * (a >= b), starts, axis=1)
        np.add.at(table, (owner[block][:, None], rows[None, :]), won)
    return table


def resampled_aucs(
    labels: ArrayLike, patients: ArrayLike, scores: ArrayLike, resamples: int = 2000, seed: int = 0
) -> Floats:
    """AUC of every model in every patient-clustered resample, (models, resamples), models paired.

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        scores: (models, scans) or (scans,).
        resamples: number of bootstrap resamples.
        seed: same seed, same draws.

    Raises:
        ValueError: one class only, NaN, lengths that differ.
    """
    truth = check_labels(labels)
    groups, values = check_groups(patients, truth.size), np.atleast_2d(check_scores(scores, truth.size))
    check_both_classes(truth)
    counts = draw_patients(truth, groups, resamples, seed)
    positives, negatives = (np.bincount(groups, truth == c) for c in (1, 0))
    comparisons = (counts @ positives) * (counts @ negatives)
    has, lacks = positives > 0, negatives > 0
    ours, theirs = np.ascontiguousarray(counts[:, has]), counts[:, lacks]
    tables = (won_comparisons(truth, groups, row)[np.ix_(has, lacks)] for row in values)
    return np.stack([((ours @ table) * theirs).sum(axis=1) / comparisons for table in tables])


def auc_without_each_patient(labels: Ints, groups: Ints, scores: Floats) -> Floats:
    """AUC with one patient left out at a time (patients,); NaN where a class would be empty."""
    table = won_comparisons(labels, groups, scores)
    positives, negatives = (np.bincount(groups, labels == c) for c in (1, 0))
    won = table.sum() - table.sum(axis=0) - table.sum(axis=1) + np.diag(table)
    left = (positives.sum() - positives) * (negatives.sum() - negatives)
    return np.divide(won, left, out=np.full(won.shape, np.nan), where=left > 0)

"""A description of scans of two groups in; how well the groups are told apart by patients not seen, and by chance, out.

The rule is linear and the same for every description: the mean of a ridge discriminant (strong where many columns say a
little) and of shrunken centroids (strong where one of many columns says much), each fitted on the other folds. Both are
linear in the group's labels or nearly free, so that thousands of permutations cost one product of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr
from scipy.stats import rankdata

from elsewhere.statistics.columns import Floats, Ints, check_both_classes, check_groups, check_labels
from elsewhere.statistics.delong import auc_covariance
from elsewhere.statistics.intervals import score_ends, z_value

RIDGE = 0.3
"""Penalty of the ridge discriminant, as a share of the training scans' own spread in a column."""

BEYOND = 0.01
"""Penalty of `beyond`, as a share of a column's variance."""

WORTH_FINDING = 0.7
"""The true AUC that `power` is about."""

LEVEL, ALPHA = 0.95, 0.05
FEWEST = 4
"""Patients of each group below which nothing is fitted: two folds with two of each."""


@dataclass(frozen=True)
class SeparationSettings:
    """How groups are told apart.

    Attributes:
        folds: cross-fitting folds; fewer where a group has fewer than two patients for each.
        permutations: permutations of patients for the p-value.
        seed: of folds and permutations.
    """

    folds: int = 5
    permutations: int = 1999
    seed: int = 0


@dataclass(frozen=True)
class Separation:
    """How well two groups of scans are told apart.

    Attributes:
        auc: within folds, by rules that have not seen the patient; 0.5 where the groups look alike.
        low, high: 95 % interval over test patients (DeLong within folds, clustered by patient); how the rule would
            change with other training patients is not in it.
        p_value: share of permutations that reach this AUC, the data counted as one of them (one-sided).
        power: chance that a rule whose AUC is truly 0.70 gets p <= 0.05 with so many patients.
        patients: of the second and the first group.
        permutations: how many there were.
    """

    auc: float
    low: float
    high: float
    p_value: float
    power: float
    patients: tuple[int, int]
    permutations: int


def separate(
    view: ArrayLike, groups: ArrayLike, patients: ArrayLike, settings: SeparationSettings = SeparationSettings()
) -> Separation:
    """How well a linear rule on a view tells group 1 from group 0, cross-fitted by patient.

    A patient with scans of both groups counts with the commoner one. Whole patients are permuted, within folds.

    Args:
        view: (scans, columns), finite.
        groups: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        settings: folds, permutations, seed.

    Raises:
        ValueError: one group only, fewer than 4 patients in one, values that are not finite, lengths that differ.

    >>> view, settings = np.arange(20)[:, None], SeparationSettings(permutations=99)
    >>> found = separate(view, [0] * 10 + [1] * 10, range(20), settings)
    >>> found.auc, found.p_value, found.patients
    (1.0, 0.01, (10, 10))
    """
    given = check_labels(groups)
    people = check_groups(patients, given.size)
    table = _check_view(view, given.size)
    own = (2 * np.bincount(people, given) >= np.bincount(people)).astype(np.int64)
    truth = own[people]
    check_both_classes(truth)
    fewest = int(np.bincount(own, minlength=2).min())
    if fewest < FEWEST:
        raise ValueError(f"a group has {fewest} patients; telling groups apart needs at least {FEWEST} in each")
    random = np.random.default_rng([settings.seed, 0])
    folds = _draw_folds(own, min(settings.folds, fewest // 2), random)
    drawn = np.column_stack([own, _permuted(own, folds, settings.permutations, random)])
    scores = _scores(table, drawn[people].astype(np.float64), folds[people])
    aucs = _auc_within(drawn[people], scores, folds[people])
    auc, permuted = float(aucs[0]), aucs[1:]
    low, high, error = _interval(truth, scores[:, 0], folds[people], people, auc)
    reached = (1 + int((permuted >= auc - 1e-12).sum())) / (1 + permuted.size)
    limit = float(np.quantile(permuted, 1 - ALPHA)) if permuted.size else 0.5
    power = float(ndtr((WORTH_FINDING - limit) / error))
    return Separation(auc, low, high, reached, power, (int(own.sum()), int((1 - own).sum())), permuted.size)


def beyond(view: ArrayLike, known: ArrayLike) -> Floats:
    """What a view (scans, columns) says beyond other columns: they are taken out by least squares, a little ridged.

    view − z (z'z + λ n I)⁻¹ z' view, z the known columns standardised, view centred, n scans, λ = 0.01.

    Labels have no part in it, so that permutations stay fair. Sharpness shows everywhere in a picture; without this a
    kernel would be named as a body, or as a thing beside it.

    Raises:
        ValueError: not one row per scan, or values that are not finite.

    >>> known = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> beyond(2 * known + 5, known).ravel().round(2).tolist()  # one hundredth of -3, -1, 1, 3 is left
    [-0.03, -0.01, 0.01, 0.03]
    """
    table = _check_view(view, len(np.asarray(view)))
    given = _check_view(known, len(table))
    spread = given.std(axis=0)
    z = (given - given.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    centred = table - table.mean(axis=0)
    inner = z.T @ z + BEYOND * len(z) * np.eye(z.shape[1])
    left: Floats = centred - z @ np.linalg.solve(inner, z.T @ centred)
    return left


def _check_view(view: ArrayLike, scans: int) -> Floats:
    table = np.asarray(view, dtype=np.float64)
    if table.ndim != 2 or len(table) != scans or table.shape[1] == 0:
        raise ValueError(f"the view has shape {table.shape}; expected one row for each of {scans} scans, and columns")
    if not np.isfinite(table).all():
        raise ValueError(f"the view holds {int((~np.isfinite(table)).sum())} values that are NaN or infinite")
    return table


def _draw_folds(own: Ints, count: int, random: np.random.Generator) -> Ints:
    folds = np.empty(own.size, np.int64)
    for group in (0, 1):
        members = random.permutation(np.flatnonzero(own == group))
        folds[members] = np.arange(members.size) % count
    return folds


def _permuted(own: Ints, folds: Ints, permutations: int, random: np.random.Generator) -> Ints:
    """Groups handed to other patients of the same fold, (patients, permutations)."""
    out = np.empty((own.size, permutations), np.int64)
    for fold in np.unique(folds):
        members = np.flatnonzero(folds == fold)
        order = np.argsort(random.random((members.size, permutations)), axis=0)
        out[members] = own[members][order]
    return out


def _scores(table: Floats, groups: Floats, folds: Ints) -> Floats:
    """Cross-fitted scores (scans, permutations): each scan by a rule from the other folds."""
    scores = np.zeros(groups.shape)
    for fold in np.unique(folds):
        out = folds == fold
        scores[out] = _fold_scores(table[~out], groups[~out], table[out])
    return scores


def _fold_scores(seen: Floats, groups: Floats, unseen: Floats) -> Floats:
    spread = seen.std(axis=0)
    kept = spread > 1e-9 * np.maximum(np.abs(seen).max(axis=0), 1e-300)
    if not kept.any():
        return np.zeros((len(unseen), groups.shape[1]))
    centre = seen[:, kept].mean(axis=0)
    x, new = ((part[:, kept] - centre) / spread[kept] for part in (seen, unseen))
    y = groups - groups.mean(axis=0)
    parts = (_ridge(x, y, new), new @ _shrunken(x, y))
    return np.sum([part / np.maximum(part.std(axis=0), 1e-12) for part in parts], axis=0)


def _ridge(x: Floats, y: Floats, new: Floats) -> Floats:
    """Scores of the ridge discriminant in its dual form, (unseen, permutations): one matrix for all permutations."""
    inner = x @ x.T
    inner[np.diag_indices_from(inner)] += RIDGE * len(x)
    scores: Floats = np.linalg.solve(inner, x @ new.T).T @ y
    return scores


def _shrunken(x: Floats, y: Floats) -> Floats:
    """Weights (columns, permutations): the difference of the groups' means, in a column whose t is below what the
    largest of so many would reach by chance none (after Tibshirani et al. 2002); the largest alone where all are."""
    t = x.T @ y / np.sqrt(len(x)) / np.maximum(y.std(axis=0), 1e-12)
    best = np.abs(t) >= np.abs(t).max(axis=0)
    limit = 2 * np.log(max(len(t), 2))
    weights: Floats = t * np.maximum(1 - limit / np.maximum(t**2, 1e-12), best * 0.05)
    return weights


def _auc_within(groups: Ints, scores: Floats, folds: Ints) -> Floats:
    """Comparisons won over comparisons made within folds, for every column."""
    won, made = np.zeros(groups.shape[1]), np.zeros(groups.shape[1])
    for fold in np.unique(folds):
        out = folds == fold
        first = groups[out] == 1
        ranks = rankdata(scores[out].round(9), axis=0)
        positives = first.sum(axis=0)
        won += np.where(first, ranks, 0).sum(axis=0) - positives * (positives + 1) / 2
        made += positives * (out.sum() - positives)
    aucs: Floats = np.divide(won, made, out=np.full(won.shape, 0.5), where=made > 0)
    return aucs


def _interval(truth: Ints, scores: Floats, folds: Ints, people: Ints, auc: float) -> tuple[float, float, float]:
    """(low, high, standard error of an AUC of 0.70); variances of the folds' AUCs weigh as their comparisons do."""
    made, variance = 0.0, 0.0
    for fold in np.unique(folds):
        out = folds == fold
        positives = int(truth[out].sum())
        pairs = float(positives * (out.sum() - positives))
        if pairs:
            found = auc_covariance(truth[out], scores[out].round(9), people[out])[1][0, 0]
            variance, made = variance + pairs**2 * float(np.nan_to_num(found, nan=0.25)), made + pairs
    own = np.array([np.unique(people[truth == c]).size for c in (1, 0)], np.float64)
    low, high = score_ends(auc, variance / made**2, (own[0], own[1]), z_value(LEVEL))
    return low, high, hanley_mcneil_error(WORTH_FINDING, own[0], own[1])


def hanley_mcneil_error(auc: float, positives: float, negatives: float) -> float:
    """Standard error of an AUC from so many independent scans (Hanley & McNeil 1982).

    SE² = (A (1 − A) + (n₊ − 1) (Q₁ − A²) + (n₋ − 1) (Q₂ − A²)) / (n₊ n₋), Q₁ = A / (2 − A), Q₂ = 2 A² / (1 + A).

    >>> round(hanley_mcneil_error(0.5, 10, 10) ** 2, 4)  # at 0.5 the rank sum's (n₊ + n₋ + 1) / (12 n₊ n₋) = 21 / 1200
    0.0175
    """
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return float(np.sqrt(variance / (positives * negatives)))

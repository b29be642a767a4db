"""A model's scores on whole scans, or on parts of them, in; their AUC, its interval, and what chance gives, out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from elsewhere.statistics.columns import Floats, Ints, check_both_classes, check_groups, check_labels, check_scores
from elsewhere.statistics.intervals import auc_interval


@dataclass(frozen=True)
class Ranking:
    """How well scores rank one site's scans.

    Attributes:
        auc: exact, direction kept.
        low, high: 95 % sampling interval, clustered by patient; for `shuffled` the middle 95 % of permutations.
        p_value: two-sided: share of permutations as far from 0.5, the data counted as one of them; None for what the
            permutations themselves give.
        patients: with a scan here.
        scans: their scans.
    """

    auc: float
    low: float
    high: float
    p_value: float | None
    patients: int
    scans: int


def rank(
    labels: ArrayLike, patients: ArrayLike, scores: ArrayLike, permutations: int = 1999, seed: int = 0
) -> tuple[Ranking, Ranking]:
    """AUC of scores (scans,), and the same under shuffled labels: whole patients permuted.

    p = (1 + #{|AUC* − 0.5| ≥ |AUC − 0.5|}) / (1 + permutations), AUC* under permuted labels (Phipson & Smyth 2010).

    Returns:
        what was found, and its null: mean and middle 95 % of the permuted AUCs.

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> found, null = rank([0, 0, 0, 1, 1, 1], range(6), [1, 2, 3, 4, 5, 6], permutations=999)
    >>> found.auc, round(found.p_value, 1), round(null.auc, 1)  # 2 of the 20 ways to choose three positives: p = 0.1
    (1.0, 0.1, 0.5)
    """
    truth = check_labels(labels)
    check_both_classes(truth)
    values, people = check_scores(scores, truth.size), check_groups(patients, truth.size)
    found = auc_interval(truth, people, values)
    permuted = permuted_aucs(truth, people, values, permutations, seed)
    far = np.abs(permuted - 0.5) >= abs(found.estimate - 0.5) - 1e-12
    p = (1 + int(far.sum())) / (1 + permuted.size)
    size = int(people.max()) + 1, truth.size
    low, high = np.quantile(permuted, (0.025, 0.975)) if permuted.size else (0.0, 1.0)
    middle = float(permuted.mean()) if permuted.size else 0.5
    return (
        Ranking(found.estimate, found.low, found.high, p, *size),
        Ranking(middle, float(low), float(high), None, *size),
    )


def permuted_aucs(labels: Ints, people: Ints, scores: Floats, permutations: int, seed: int) -> Floats:
    """AUC (permutations,) with labels handed to other patients, whole; a patient of both counts with the commoner.

    >>> aucs = permuted_aucs(np.array([0, 0, 1, 1]), np.arange(4), np.array([1.0, 2, 3, 4]), 200, seed=0)
    >>> sorted(set(aucs.tolist()))
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    own = (2 * np.bincount(people, labels) >= np.bincount(people)).astype(np.int64)
    random = np.random.default_rng([seed, permutations])
    order = np.argsort(random.random((own.size, permutations)), axis=0)
    sums, sizes = np.bincount(people, rankdata(scores)), np.bincount(people)
    drawn = own[order].astype(np.float64)
    positives = sizes @ drawn
    won = sums @ drawn - positives * (positives + 1) / 2
    made = positives * (labels.size - positives)
    aucs: Floats = np.divide(won, made, out=np.full(won.shape, 0.5), where=made > 0)
    return aucs

"""Labels and probabilities at a new site in; a threshold there that keeps the required sensitivity and specificity out.

Not the threshold with the best accuracy: at low prevalence that one calls nearly every scan negative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elsewhere.statistics.columns import Ints, check_both_classes, check_groups, check_labels, check_probabilities
from elsewhere.statistics.decision import log_odds

FOLDS = 5


def choose_local_threshold(labels: ArrayLike, probabilities: ArrayLike, least: tuple[float, float]) -> float:
    """The threshold (positive from it on) whose smaller reserve above least sensitivity and specificity is largest.

    Midway, on the log-odds scale, between the lowest score called positive and the next lower one.

    Args:
        labels: 1 or 0 (scans,), both present.
        probabilities: (scans,).
        least: sensitivity and specificity to keep.

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> choose_local_threshold([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], (0.7, 0.7))
    0.5
    """
    truth = check_labels(labels)
    check_both_classes(truth)
    values = check_probabilities(probabilities, truth.size)
    levels, place = np.unique(values, return_inverse=True)
    ups, downs = (np.bincount(place, truth == c, levels.size) for c in (1, 0))
    sensitivity = 1 - (np.cumsum(ups) - ups) / ups.sum()
    specificity = (np.cumsum(downs) - downs) / downs.sum()
    best = int(np.argmax(np.minimum(sensitivity - least[0], specificity - least[1])))
    if best == 0:
        return float(levels[0])
    odds = log_odds(levels[best - 1 : best + 1])
    middle = float(1 / (1 + np.exp(-odds.mean())))
    return middle if levels[best - 1] < middle <= levels[best] else float(levels[best])


def cross_fitted_decisions(
    labels: ArrayLike, patients: ArrayLike, probabilities: ArrayLike, least: tuple[float, float], seed: int = 0
) -> NDArray[np.bool_]:
    """Decisions (scans,) by local thresholds that never saw the scan's patient: what a local threshold would give.

    Patients are dealt to five folds, those with a positive scan apart from the others, so that each fold has both.

    Raises:
        ValueError: fewer than two patients of a class, NaN, lengths that differ.

    >>> probabilities = [0.1, 0.2, 0.2, 0.3, 0.3, 0.7, 0.7, 0.8, 0.8, 0.9]
    >>> cross_fitted_decisions([0] * 5 + [1] * 5, range(10), probabilities, (0.7, 0.7)).astype(int).tolist()
    [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    """
    truth = check_labels(labels)
    groups, values = check_groups(patients, truth.size), check_probabilities(probabilities, truth.size)
    fold = _folds(truth, groups, seed)
    called = np.zeros(truth.size, bool)
    for f in np.unique(fold):
        out = fold == f
        if truth[~out].min() == truth[~out].max():
            raise ValueError("too few patients of a class; a local threshold cannot be tried on others")
        called[out] = values[out] >= choose_local_threshold(truth[~out], values[~out], least)
    return called


def _folds(labels: Ints, groups: Ints, seed: int) -> Ints:
    people = int(groups.max()) + 1
    random = np.random.default_rng([seed, people, 2]).random(people)
    order = np.lexsort([random, np.bincount(groups, labels) > 0])
    fold = np.empty(people, np.int64)
    fold[order] = np.arange(people) % min(FOLDS, people)
    return fold[groups]

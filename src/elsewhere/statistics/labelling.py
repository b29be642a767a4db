"""Unlabelled patients of a new place, by score and features; which to label next, and with which weight, out.

* **random**: every patient alike; the weight is patients a label.
* **stratified**: patients are put into `STRATA` strata of equal width by score, and about as many are drawn from each,
  so that rare high scores are read as often as common low ones. A patient's weight is the inverse of the chance of
  being drawn, patients of its stratum over those drawn of it (Horvitz & Thompson 1952): weighted sums over the labelled
  patients are unbiased for all of them.
* **k-centre**: greedy, each time the patient whose features lie furthest from all that are labelled or chosen (Sener &
  Savarese 2018, "Active learning for convolutional neural networks: a core-set approach", algorithm 1). Nobody is
  drawn, so there is no weight, and what is measured on such patients is not what holds at the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.statistics.columns import Floats, Ints, check_both_classes, check_labels, check_scores

Choosing = Literal["random", "stratified", "k-centre"]
CHOOSING: tuple[Choosing, ...] = get_args(Choosing)
STRATA = 5


def choose_random(patients: int, count: int, seed: int = 0) -> tuple[Ints, Floats]:
    """Places of `count` of so many patients, drawn at random, and the weight of each (count,).

    >>> places, weights = choose_random(10, 4)
    >>> len(set(places.tolist())), weights.tolist()
    (4, [2.5, 2.5, 2.5, 2.5])
    """
    _check_count(patients, count)
    places = np.random.default_rng([seed, 12]).permutation(patients)[:count]
    return places, np.full(count, patients / count)


def choose_stratified(scores: ArrayLike, count: int, seed: int = 0, *, strata: int = STRATA) -> tuple[Ints, Floats]:
    """Places of `count` patients, about as many of each stratum of scores, and the weight of each (count,).

    Strata have equal width between the lowest and the highest score. One whose patients are used up leaves its part to
    the others. While there are fewer to draw than strata with patients, neighbouring strata are put together, so that
    every patient can be drawn.

    Args:
        scores: of the patients (patients,).
        count: of patients to choose.
        seed: of the draw.
        strata: number of strata.

    Raises:
        ValueError: NaN, or more to choose than there are.

    >>> places, weights = choose_stratified([0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.9, 1.0], 4, strata=2)
    >>> sorted(weights.tolist())
    [1.0, 1.0, 3.0, 3.0]
    """
    values = check_scores(scores, len(np.asarray(scores)))
    _check_count(values.size, count)
    stratum = _strata(values, min(strata, count))
    sizes = np.bincount(stratum)
    taken = allocate(sizes, count)
    rng = np.random.default_rng([seed, 13])
    places = [rng.permutation(np.flatnonzero(stratum == one))[:many] for one, many in enumerate(taken)]
    weights = [np.full(many, size / many) for size, many in zip(sizes, taken, strict=True) if many]
    return np.concatenate(places), np.concatenate(weights)


def _strata(values: Floats, number: int) -> Ints:
    """Stratum of each patient, without empty ones."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.size, np.int64)
    cut = np.minimum(((values - low) / (high - low) * number).astype(np.int64), number - 1)
    return np.unique(cut, return_inverse=True)[1].astype(np.int64)


def allocate(sizes: Sequence[int] | Ints, count: int) -> list[int]:
    """How many to draw from strata of these sizes: one at a time from that with the fewest drawn, the larger first.

    >>> allocate([100, 2, 50], 12)
    [5, 2, 5]
    """
    taken = [0] * len(sizes)
    for _ in range(count):
        left = [i for i, size in enumerate(sizes) if taken[i] < size]
        taken[min(left, key=lambda i: (taken[i], -int(sizes[i]), i))] += 1
    return taken


def choose_k_centre(features: ArrayLike, count: int, labelled: ArrayLike = (), seed: int = 0) -> Ints:
    """Places of `count` patients (count,), each the furthest from all that are labelled or chosen before it.

    Without labelled patients the first is drawn at random.

    Args:
        features: of the patients that may be chosen (patients, features); distances are Euclidean.
        count: of patients to choose.
        labelled: features of the labelled patients (labelled, features).
        seed: of the first, where none is labelled.

    Raises:
        ValueError: not finite, or more to choose than there are.

    >>> choose_k_centre([[0.0], [1.0], [10.0], [4.0]], 2, labelled=[[0.0]]).tolist()
    [2, 3]
    """
    pool = np.asarray(features, dtype=np.float64)
    centres = np.asarray(labelled, dtype=np.float64).reshape(-1, pool.shape[1])
    if not np.isfinite(pool).all() or not np.isfinite(centres).all():
        raise ValueError("a feature is not a finite number")
    _check_count(len(pool), count)
    nearest = np.full(len(pool), np.inf)
    for centre in centres:
        nearest = np.minimum(nearest, np.linalg.norm(pool - centre, axis=1))
    chosen: list[int] = []
    while len(chosen) < count:
        first = not chosen and not len(centres)
        place = int(np.random.default_rng([seed, 14]).integers(len(pool))) if first else int(nearest.argmax())
        chosen.append(place)
        nearest = np.minimum(nearest, np.linalg.norm(pool - pool[place], axis=1))
        nearest[chosen] = -1.0  # copies of a chosen patient come last, the patient itself never again
    return np.array(chosen, dtype=np.int64)


def weighted_auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> float:
    """Share of the weight of (positive, negative) pairs that is ranked rightly; ties count half.

    With the weights of `choose_random` or `choose_stratified` it estimates the AUC of all patients that could be drawn.

    Args:
        labels: 1 or 0 (scans,).
        scores: (scans,).
        weights: above 0 (scans,).

    Raises:
        ValueError: one class only, NaN, a weight that is not above 0, lengths that differ.

    >>> weighted_auc([1, 1, 0, 0], [0.9, 0.2, 0.5, 0.1], [1.0, 3.0, 1.0, 1.0])
    0.625
    """
    truth = check_labels(labels)
    check_both_classes(truth)
    values, worth = check_scores(scores, truth.size), check_scores(weights, truth.size)
    if (worth <= 0).any():
        raise ValueError("a weight is not above 0")
    above = values[truth == 1][:, None] - values[truth == 0][None]
    pairs = worth[truth == 1][:, None] * worth[truth == 0][None]
    return float((pairs * ((above > 0) + 0.5 * (above == 0))).sum() / pairs.sum())


def _check_count(patients: int, count: int) -> None:
    if not 0 < count <= patients:
        raise ValueError(f"{count} patients are to be chosen of {patients}")

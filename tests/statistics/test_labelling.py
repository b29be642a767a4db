"""Which patients to label next: by hand on few patients, and unbiased over many draws."""

from __future__ import annotations

import numpy as np
import pytest

from elsewhere.statistics.labelling import (
    allocate,
    choose_k_centre,
    choose_random,
    choose_stratified,
    weighted_auc,
)
from elsewhere.statistics.roc import exact_auc


def test_random_takes_each_patient_once_and_alike() -> None:
    drawn = np.zeros(6)
    for seed in range(600):
        places, weights = choose_random(6, 2, seed)
        assert len(set(places.tolist())) == 2
        assert weights.tolist() == [3.0, 3.0]
        drawn[places] += 1
    assert drawn.min() > 150  # 200 expected, SD 11.5
    with pytest.raises(ValueError, match="7 patients are to be chosen of 6"):
        choose_random(6, 7)


def test_strata_are_of_equal_width_and_share_alike() -> None:
    """Scores 0, 0.1, 0.2, 0.3 | 0.6 | 0.9, 1.0 in three strata of width 1/3; 5 to draw: 2 + 1 + 2."""
    scores = np.array([0.0, 0.1, 0.2, 0.3, 0.6, 0.9, 1.0])
    for seed in range(20):
        places, weights = choose_stratified(scores, 5, seed, strata=3)
        found = dict(zip(places.tolist(), weights.tolist(), strict=True))
        assert {4, 5, 6} <= set(found)
        assert [found[i] for i in (4, 5, 6)] == [1.0, 1.0, 1.0]
        assert [w for i, w in found.items() if i < 4] == [2.0, 2.0]
        assert sum(found.values()) == 7


def test_allocation_fills_strata_in_turn() -> None:
    assert allocate([4, 1, 2], 5) == [2, 1, 2]
    assert allocate([4, 1, 2], 6) == [3, 1, 2]
    assert allocate([9, 8], 1) == [1, 0]


def test_fewer_labels_than_strata_leave_no_patient_out_of_reach() -> None:
    scores = np.linspace(0, 1, 10)
    seen = set[int]()
    for seed in range(200):
        places, weights = choose_stratified(scores, 2, seed)
        seen |= set(places.tolist())
        assert weights.sum() == 10
    assert seen == set(range(10))
    places, weights = choose_stratified([0.4] * 6, 3)
    assert weights.tolist() == [2.0, 2.0, 2.0]
    assert len(set(places.tolist())) == 3


def test_weighted_sums_are_unbiased_where_plain_means_are_not() -> None:
    """A fifth of 200 patients positive, with the higher scores: their share among the chosen is far too high."""
    rng = np.random.default_rng(4)
    labels = (np.arange(200) % 5 == 0).astype(int)
    scores = 1 / (1 + np.exp(-rng.normal(3.0 * labels - 2.5, 1.0)))
    plain, weighted = [], []
    for seed in range(300):
        places, weights = choose_stratified(scores, 30, seed)
        plain.append(labels[places].mean())
        weighted.append((weights * labels[places]).sum() / 200)
    error = np.std(weighted) / len(weighted) ** 0.5
    assert abs(np.mean(weighted) - 0.2) < 4 * error
    assert np.mean(plain) > 0.35


def test_k_centre_by_hand() -> None:
    """A square's corners and its middle: from one corner the opposite one is furthest, then the two others."""
    corners = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.5]]
    assert choose_k_centre(corners[1:], 4, labelled=[corners[0]]).tolist() == [2, 0, 1, 3]
    chosen = choose_k_centre(corners, 5, seed=3)
    assert sorted(chosen.tolist()) == [0, 1, 2, 3, 4]
    assert choose_k_centre(corners, 2, seed=3).tolist() == chosen[:2].tolist()
    again = choose_k_centre([[0.0], [0.0], [2.0]], 3, labelled=[[0.0]])  # copies of what is labelled come last, once
    assert (again[0], sorted(again.tolist())) == (2, [0, 1, 2])
    with pytest.raises(ValueError, match="not a finite number"):
        choose_k_centre([[np.nan], [1.0]], 1)
    with pytest.raises(ValueError, match="3 patients are to be chosen of 2"):
        choose_k_centre([[0.0], [1.0]], 3)


def test_weighted_auc_is_the_auc_of_repeated_patients() -> None:
    """Whole weights are copies: (0.9: 1, 0.2: 3) against (0.5: 1, 0.1: 1), 1·2 + 3·1 of 8 pairs are ranked rightly."""
    assert weighted_auc([1, 1, 0, 0], [0.9, 0.2, 0.5, 0.1], [1, 3, 1, 1]) == pytest.approx(5 / 8)
    rng = np.random.default_rng(2)
    labels, scores, weights = np.arange(20) % 2, rng.integers(0, 6, 20) / 5, rng.integers(1, 4, 20)
    repeated = np.repeat(np.arange(20), weights)
    assert weighted_auc(labels, scores, weights) == pytest.approx(float(exact_auc(labels[repeated], scores[repeated])))
    with pytest.raises(ValueError, match="not above 0"):
        weighted_auc([1, 0], [0.5, 0.5], [1.0, 0.0])

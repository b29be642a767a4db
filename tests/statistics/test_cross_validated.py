"""Out-of-fold scores: pairs of one fold against pooled ones, and what the interval knows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from elsewhere.statistics.cross_validated import cross_validated_auc, cross_validated_share
from elsewhere.statistics.intervals import auc_interval, proportion_interval
from elsewhere.statistics.roc import exact_auc

LABELS = np.array([0, 0, 0, 1, 1, 1] * 2)
FOLDS = np.repeat([1, 2], 6)
SCORES = np.array([0.1, 0.4, 0.3, 0.35, 0.8, 0.9, 0.2, 0.3, 0.6, 0.5, 0.7, 0.9])


def test_within_folds_is_the_mean_of_the_folds_aucs_by_their_pairs() -> None:
    labels, folds, scores = np.append(LABELS, [0, 1]), np.append(FOLDS, [2, 2]), np.append(SCORES, [0.95, 0.1])
    found = cross_validated_auc(labels, np.arange(14), folds, scores)
    aucs = [float(exact_auc(labels[folds == f], scores[folds == f])) for f in (1, 2)]
    assert found.aucs == pytest.approx(aucs)
    assert found.within.estimate == pytest.approx((9 * aucs[0] + 16 * aucs[1]) / 25)
    assert found.pooled.estimate == pytest.approx(exact_auc(labels, scores))
    assert found.skipped == 0


def test_scales_that_differ_lower_the_pooled_auc_alone() -> None:
    same = cross_validated_auc(LABELS, np.arange(12), FOLDS, SCORES)
    moved = cross_validated_auc(LABELS, np.arange(12), FOLDS, SCORES + 10 * (FOLDS == 1))
    stretched = cross_validated_auc(LABELS, np.arange(12), FOLDS, np.where(FOLDS == 1, SCORES**3, SCORES))
    assert moved.within == same.within == stretched.within
    assert moved.pooled.estimate < same.pooled.estimate - 0.1


def test_one_fold_has_the_variance_of_any_auc() -> None:
    rng = np.random.default_rng(5)
    labels = np.arange(200) % 2
    scores = rng.normal(labels * 1.2)
    for scans_each, apart in ((1, 1e-9), (4, 0.006)):  # four: two scans of either class
        patients = np.arange(200) // scans_each
        one = cross_validated_auc(labels, patients, np.zeros(200), scores, dependence=1.0).within
        usual = auc_interval(labels, patients, scores)
        assert (one.estimate, one.low, one.high) == pytest.approx((usual.estimate, usual.low, usual.high), abs=apart)


def test_scans_of_one_patient_are_no_new_patients() -> None:
    rng = np.random.default_rng(6)
    labels, folds = np.arange(40) % 2, np.arange(40) // 8
    scores = rng.normal(labels * 1.0)
    once = cross_validated_auc(labels, np.arange(40), folds, scores).within
    labels, folds, scores = (np.repeat(column, 3) for column in (labels, folds, scores))
    thrice = cross_validated_auc(labels, np.arange(120) // 3, folds, scores).within
    wrong = cross_validated_auc(labels, np.arange(120), folds, scores).within
    assert thrice.estimate == pytest.approx(once.estimate)
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.1)
    assert wrong.high - wrong.low < 0.8 * (once.high - once.low)


def test_a_fold_without_a_class_is_part_of_no_pair() -> None:
    labels, folds = np.append(LABELS, [1, 1]), np.append(FOLDS, [3, 3])
    found = cross_validated_auc(labels, np.arange(14), folds, np.append(SCORES, [0.0, 0.0]))
    assert found.within.estimate == cross_validated_auc(LABELS, np.arange(12), FOLDS, SCORES).within.estimate
    assert found.skipped == 2
    assert np.isnan(found.aucs[2])


def test_one_patient_a_fold_gives_no_interval() -> None:
    found = cross_validated_auc([1, 0, 0, 1, 0, 0], range(6), [1, 1, 1, 2, 2, 2], [5, 1, 2, 4, 3, 1]).within
    assert (found.estimate, found.low, found.high) == (1.0, 0.0, 1.0)
    assert "unknown" in found.method
    two = cross_validated_auc([1, 1, 0, 0, 1, 0, 0], range(7), [1, 1, 1, 1, 2, 2, 2], [5, 4, 1, 2, 4, 3, 1]).within
    assert 0 < two.low < 1


@pytest.mark.parametrize(
    ("labels", "patients", "folds", "words"),
    [
        ([1, 0, 1, 0], [1, 2, 3, 3], [1, 1, 1, 2], "a patient has scans in two folds"),
        ([1, 1, 0, 0], [1, 2, 3, 4], [1, 1, 2, 2], "no fold has scans of both classes"),
        ([1, 1, 1, 1], [1, 2, 3, 4], [1, 1, 2, 2], "all 4 scans are positive"),
        ([1, 0, 1, 0], [1, 2, 3, 4], [1, 1, 2], "folds have shape"),
    ],
)
def test_refused(labels: list[int], patients: list[int], folds: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cross_validated_auc(labels, patients, folds, [0.1, 0.2, 0.3, 0.4])


def test_the_interval_of_fixed_networks_holds_their_mean_auc() -> None:
    rng, held = np.random.default_rng(20261128), 0
    labels, folds = np.tile([0, 1], 30), np.arange(60) // 12
    for _ in range(400):
        scores = rng.normal(labels * 2**0.5 * ndtri(0.8)) * (1 + folds) + 3 * folds
        found = cross_validated_auc(labels, np.arange(60), folds, scores, dependence=1.0).within
        held += found.low <= 0.8 <= found.high
    assert 0.935 <= held / 400 <= 0.985


def test_networks_that_learned_noise_from_each_others_patients_need_the_factor() -> None:
    rng, held, fixed = np.random.default_rng(20261129), 0, 0
    labels, folds = np.tile([0, 1], 30), np.arange(60) // 12
    for _ in range(300):
        features, scores = rng.normal(size=(60, 30)), np.zeros(60)
        for fold in range(5):
            other = folds != fold
            weights = features[other & (labels == 1)].mean(axis=0) - features[other & (labels == 0)].mean(axis=0)
            scores[folds == fold] = features[folds == fold] @ weights
        found = cross_validated_auc(labels, np.arange(60), folds, scores).within
        alone = cross_validated_auc(labels, np.arange(60), folds, scores, dependence=1.0).within
        held += found.low <= 0.5 <= found.high
        fixed += alone.low <= 0.5 <= alone.high
    assert held / 300 >= 0.935
    assert fixed / 300 < 0.92


def test_shares_are_worth_half_their_scans() -> None:
    once, twice = cross_validated_share([1] * 9 + [0], range(10)), cross_validated_share([1] * 18 + [0] * 2, range(20))
    usual = proportion_interval([1] * 9 + [0], range(10))
    assert (twice.low, twice.high) == pytest.approx((usual.low, usual.high))
    assert once.high - once.low > usual.high - usual.low

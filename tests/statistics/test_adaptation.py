"""Which scans are fitted on, the choice of a way and what would fool it, means over draws and patients."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from elsewhere.statistics.adaptation import (
    Choice,
    choose_way,
    clustered_mean,
    cross_fitted,
    deal_folds,
    draw_scans,
    ladder,
    losses,
    mean_auc,
    mean_difference,
    patient_classes,
    set_apart,
    together,
)
from elsewhere.statistics.comparison import compare_models
from elsewhere.statistics.intervals import auc_interval

Floats = NDArray[np.float64]


def expit(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-values))


def site(patients: int = 40, separation: float = 0.0, seed: int = 0) -> tuple[NDArray[np.int64], Floats]:
    """Labels, and log-odds of a score that separates the classes so far (in standard deviations)."""
    labels = np.arange(patients) % 2
    return labels, np.random.default_rng(seed).normal(separation * (labels - 0.5), 1.0)


def chosen(labels: NDArray[np.int64], before: Floats, home: dict[str, float] | None = None, **ways: Floats) -> Choice:
    people = np.arange(labels.size)
    return choose_way(
        labels, people, deal_folds(labels, people), expit(before), {k: expit(v) for k, v in ways.items()}, home or {}
    )


# Which scans ------------------------------------------------------------------------------------------------------


def test_the_ladder_ends_with_the_rarer_class() -> None:
    assert ladder([1] * 70 + [0] * 300, range(370)) == (4, 8, 16, 32, 64)
    assert ladder([1] * 70 + [0] * 300, [0] * 70 + list(range(300))) == ()
    assert ladder([1] * 3 + [0] * 300, range(303)) == ()


def test_draws_are_of_whole_patients_nested_and_independent_of_each_other() -> None:
    labels, patients = np.tile([1, 0], 40), np.repeat(np.arange(40), 2)[np.argsort(np.tile([0, 1], 40), kind="stable")]
    labels = (patients % 2 == 0).astype(int)
    small, large = (set(draw_scans(labels, patients, k, 3).tolist()) for k in (4, 16))
    assert small < large
    assert len(large) == 2 * 2 * 16
    groups, classes = patient_classes(labels, patients)
    drawn = np.unique(groups[list(large)])
    assert classes[drawn].sum() == 16
    assert {len(np.flatnonzero(groups == g)) for g in drawn} == {2}
    assert draw_scans(labels, patients, 16, 4).tolist() != sorted(large)
    assert draw_scans(labels, patients, 16, 3, seed=1).tolist() != sorted(large)
    with pytest.raises(ValueError, match="class 0 has 20"):
        draw_scans(labels, patients, 21, 0)


def test_what_is_scored_and_each_fold_are_whole_patients_of_both_classes() -> None:
    patients = np.repeat(np.arange(30), 3)
    labels = (patients % 3 == 0).astype(int)
    apart = set_apart(labels, patients, 0.5)
    assert not set(patients[apart]) & set(patients[~apart])
    assert len(set(patients[apart])) == 15
    assert {labels[apart].min(), labels[apart].max()} == {0, 1}
    folds = deal_folds(labels, patients)
    assert np.unique(np.stack([patients, folds]), axis=1).shape[1] == 30
    assert all(0 < labels[folds == f].mean() < 1 for f in range(5))
    few = deal_folds([1, 1, 0, 0, 0, 0], range(6))
    assert sorted(set(few)) == [0, 1]
    with pytest.raises(ValueError, match="two patients of each class"):
        deal_folds([1, 0, 0], range(3))


# The choice -------------------------------------------------------------------------------------------------------


def test_a_way_that_ranks_surely_better_is_chosen() -> None:
    labels, before = site(64, 0.0)
    found = chosen(labels, before, good=site(64, 3.0, 1)[1], poor=site(64, 0.2, 2)[1])
    assert (found.decision, found.way) == ("adapt", "good")
    assert [c.sure for c in found.candidates] == [False, True, False]
    assert found.reason.startswith("good surely saves log loss against recalibrating")


def test_an_overconfident_way_that_ranks_better_is_still_chosen() -> None:
    """Its own log loss is hardly better than the model's as it is; recalibrated by other folds it surely is."""
    labels, before = site(64, 0.0)
    good = 20 * site(64, 2.2, 1)[1]
    assert losses(labels, expit(good)).mean() > 0.9 * losses(labels, expit(before)).mean()
    assert chosen(labels, before, good=good).decision == "adapt"


def test_a_way_that_only_moves_the_scores_is_no_reason_to_adapt() -> None:
    """The model as it is ranks as well and is only badly calibrated: recalibrating does all that adapting does."""
    labels, odds = site(80, 2.5)
    found = chosen(labels, odds + 4.0, moved=2.5 * odds)
    assert losses(labels, expit(odds + 4.0)).mean() > 2 * losses(labels, expit(2.5 * odds)).mean()
    assert (found.decision, found.way) == ("recalibrate", "")


def test_a_model_that_needs_nothing_is_left_as_it_is() -> None:
    labels, odds = site(80, 2.0, 5)
    found = chosen(labels, 2.0 * odds, same=2.0 * odds)
    assert found.decision == "nothing"
    assert "Nor does recalibrating surely save any" in found.reason


def test_scores_that_point_the_wrong_way_are_not_turned_round_by_recalibrating() -> None:
    """Else a start that ranks backwards would be the strongest rival of every way of adapting."""
    labels, odds = site(64, 3.0)
    found = chosen(labels, -odds, good=site(64, 2.0, 1)[1])
    assert found.candidates[0].log_loss == pytest.approx(np.log(2), abs=0.02)
    assert (found.decision, found.way) == ("adapt", "good")


def test_one_patient_of_many_scans_decides_nothing() -> None:
    """All of the gain is from scans of one patient: counted as scans it would be sure."""
    labels = np.r_[np.arange(40) % 2, np.ones(200, int)]
    patients = np.r_[np.arange(40), np.full(200, 1)]
    random = np.random.default_rng(0)
    before = random.normal(0, 1, 240)
    better = before + np.where(patients == 1, 3.0, 0.0)
    found = choose_way(labels, patients, deal_folds(labels, patients), expit(before), {"better": expit(better)})
    assert not found.candidates[1].sure
    alone = np.arange(240)
    apart = choose_way(labels, alone, deal_folds(labels, alone), expit(before), {"better": expit(better)})
    assert apart.candidates[1].sure


def test_too_few_patients_say_nothing_however_good_a_way_is() -> None:
    labels, before = site(14, 0.0)
    found = chosen(labels, before, good=site(14, 8.0, 1)[1])
    assert found.decision == "cannot tell"
    assert found.reason.startswith("Only 7 positive and 7 negative patients")


def test_chance_is_not_chosen() -> None:
    """Six ways that are noise around a model that ranks well, or around chance: wrong in at most 5 % of 200 sites."""
    wrong = 0
    for seed in range(200):
        random = np.random.default_rng([seed, 4])
        labels, odds = site(32, 2.0 * (seed % 2), seed)
        ways = {name: odds + random.normal(0, 1.0, labels.size) for name in "abcdef"}
        wrong += chosen(labels, odds, **ways).decision == "adapt"
    assert wrong <= 10


def test_of_ways_about_as_good_the_one_that_keeps_home_is_taken() -> None:
    labels, before = site(64, 0.0)
    good = site(64, 3.0, 1)[1]
    near = good + np.random.default_rng(7).normal(0, 0.05, 64)
    poor = site(64, 1.6, 2)[1]
    ways = {"good": good, "near": near, "poor": poor}
    best = chosen(labels, before, **ways).way
    assert best in {"good", "near"}
    other = "near" if best == "good" else "good"
    home = {best: -0.10, other: -0.01, "poor": 0.0}
    found = chosen(labels, before, home, **ways)
    assert found.way == other
    assert "it loses least at home (AUC -0.010)" in found.reason


def test_what_is_refused() -> None:
    labels, before = site(32)
    people = np.arange(32)
    with pytest.raises(ValueError, match="a patient is in two folds"):
        choose_way(labels, people // 4, people % 4, expit(before), {})
    with pytest.raises(ValueError, match="probabilities"):
        choose_way(labels, people, deal_folds(labels, people), before * 9, {})


def test_no_scan_is_recalibrated_by_its_own_fold() -> None:
    labels, odds = site(40, 1.0)
    people = np.arange(40)
    folds = deal_folds(labels, people)
    whole = cross_fitted(labels, people, folds, expit(odds))
    changed = np.where(folds == 0, 1 - labels, labels)
    np.testing.assert_array_equal(cross_fitted(changed, people, folds, expit(odds))[folds == 0], whole[folds == 0])
    assert not np.allclose(cross_fitted(changed, people, folds, expit(odds))[folds == 1], whole[folds == 1])


def test_isotonic_regression_finds_what_no_line_does_and_needs_many_scans() -> None:
    random = np.random.default_rng(3)
    odds = random.uniform(-3, 3, 600)
    labels = (random.random(600) < np.where(odds > 0, 0.9, 0.1)).astype(int)
    people = np.arange(600)
    found = choose_way(labels, people, deal_folds(labels, people), expit(odds), {})
    names = {c.name: c.log_loss for c in found.candidates}
    assert names["isotonic"] < names["recalibration"]
    few = choose_way(labels[:60], people[:60], deal_folds(labels[:60], people[:60]), expit(odds[:60]), {})
    assert [c.name for c in few.candidates] == ["recalibration"]


def test_intervals_of_several_ways_are_wider_but_not_for_a_way_named_twice() -> None:
    random = np.random.default_rng(5)
    gains, people, folds = random.normal(0.1, 1, (6, 60)), np.arange(60), np.arange(60) % 5
    one, six = together(gains[:1], people, folds)[0], together(gains, people, folds)[0]
    twice = together(np.repeat(gains[:1], 6, axis=0), people, folds)[0]
    assert six.high - six.low > 1.1 * (one.high - one.low)
    assert twice.high - twice.low == pytest.approx(one.high - one.low, rel=0.05)
    assert one.estimate == six.estimate == pytest.approx(gains[0].mean())


# Means ------------------------------------------------------------------------------------------------------------


def test_the_mean_of_one_fit_has_the_interval_of_its_auc() -> None:
    labels, odds = site(60, 1.5)
    found, alone = mean_auc(labels, range(60), odds), auc_interval(labels, range(60), odds)
    assert (found.estimate, found.low, found.high) == pytest.approx((alone.estimate, alone.low, alone.high))


def test_draws_that_differ_widen_the_interval() -> None:
    labels, _ = site(200, 1.0)
    alike = [site(200, 1.5, 3)[1]] * 4
    differing = [site(200, d, 3)[1] for d in (0.5, 1.2, 1.8, 2.5)]
    narrow, wide = (mean_auc(labels, range(200), scores) for scores in (alike, differing))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert 0 <= wide.low < wide.high <= 1


def test_a_difference_of_one_fit_is_the_paired_test() -> None:
    labels, odds = site(60, 1.5)
    other = odds + site(60, 0.0, 4)[1]
    found, paired = mean_difference(labels, range(60), other, odds), compare_models(labels, range(60), other, odds)
    assert found.estimate == pytest.approx(paired.difference)
    assert (found.low, found.high) == pytest.approx((paired.low, paired.high), abs=0.01)


def test_forgetting_is_seen_and_a_lucky_draw_is_not_it() -> None:
    labels, odds = site(200, 2.0)
    lost = mean_difference(labels, range(200), [site(200, 0.5, s)[1] for s in (1, 2, 3)], odds)
    assert lost.high < 0
    same = mean_difference(labels, range(200), [site(200, 2.0, s)[1] for s in (1, 2, 3)], odds)
    assert same.low < 0 < same.high
    alone = mean_difference([0, 1, 1], [0, 1, 1], [[0.1, 0.2, 0.3]], [0.3, 0.2, 0.1])
    assert (alone.low, alone.high) == (-1.0, 1.0)


def test_a_mean_over_scans_of_one_patient_is_unknown() -> None:
    found = clustered_mean([1.0, 2.0], ["p", "p"])
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert clustered_mean([0.0] * 99 + [1.0], [0] * 99 + [1]).estimate == 0.5
    scans = np.random.default_rng(0).normal(0, 1, 40)
    apart, twice = clustered_mean(scans, range(40)), clustered_mean(np.repeat(scans, 2), np.repeat(range(40), 2))
    assert (twice.low, twice.high) == pytest.approx((apart.low, apart.high))

"""Dose curves against the statistics they are made of; a planted shift is named, chance and a foreign cause are not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import wasserstein_distance

from elsewhere.evidence.comparison import compare_models, holm
from elsewhere.evidence.decision import OperatingPoint
from elsewhere.evidence.dose import Explanation, dose_curve, explain, say, wasserstein
from elsewhere.evidence.roc import exact_auc

HALF = OperatingPoint(0.5, "grid", "model", 0.9, 100)
MOVES = {("up", 1.0): 1.0, ("up", 2.0): 2.0, ("down", 1.0): -1.0, ("down", 2.0): -2.0, ("tiny", 1.0): 0.01}
WORDS = {key: f"{key[0]} by {key[1]:g}" for key in MOVES}


def scores(seed: int, scans: int = 60, each: int = 1, gap: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, patients and log-odds; `each` scans of a patient share most of their spread."""
    random = np.random.default_rng(seed)
    patients = np.repeat(np.arange(scans), each)
    labels = np.repeat(np.arange(scans) % 2, each)
    odds = np.repeat(random.normal(0, 1, scans), each) + random.normal(0, 0.3, scans * each) + gap * (labels - 0.5)
    return labels, patients, odds


def explained(move: float, seed: int = 0, flip: float = 0.0, **asked: int) -> Explanation:
    labels, patients, odds = scores(seed, **asked)
    there, others, far = scores(seed + 1000)
    spread = flip * np.random.default_rng(seed).choice([-1, 1], far.size)
    shifted = {key: expit(odds + by) for key, by in MOVES.items()}
    site = (there, others, expit(far + move + spread))
    return explain((labels, patients, expit(odds)), shifted, site, resamples=200)


@pytest.mark.parametrize("seed", range(3))
def test_the_distance_is_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.normal(0, 1, 13).round(1), random.normal(1, 2, 8).round(1)
    ours, theirs = random.integers(0, 4, (5, 13)) + 0.0, random.integers(1, 3, (5, 8)) + 0.0
    expected = [wasserstein_distance(first, second, a, b) for a, b in zip(ours, theirs, strict=True)]
    assert wasserstein(first, second, ours, theirs) == pytest.approx(expected, abs=1e-12)


def test_the_distance_by_hand() -> None:
    one = np.ones((1, 2))
    assert wasserstein(np.array([0.0, 1.0]), np.array([2.0, 3.0]), one, one) == pytest.approx([2.0])
    assert wasserstein(np.array([0.0, 1.0]), np.array([1.0, 0.0]), one, one) == pytest.approx([0.0], abs=1e-15)


def test_a_curve_is_made_of_aucs_and_paired_differences() -> None:
    labels, patients, odds = scores(1, scans=40, each=2)
    noise = np.random.default_rng(2).normal(0, 1, odds.size)
    given = {dose: expit(odds + dose * noise) for dose in (0.0, 2.0, 1.0)}
    curve = dose_curve(labels, patients, given, HALF)
    assert [c.dose for c in curve] == [0.0, 1.0, 2.0]
    assert [c.auc for c in curve] == pytest.approx([float(exact_auc(labels, given[c.dose])) for c in curve])
    assert all(c.low is not None and c.low < (c.auc or 0) < (c.high or 0) for c in curve)
    assert (curve[0].difference, curve[0].p_value) == (None, None)
    expected = [compare_models(labels, patients, given[d], given[0.0]) for d in (1.0, 2.0)]
    assert [c.difference for c in curve[1:]] == pytest.approx([e.difference for e in expected])
    assert [c.p_value_holm for c in curve[1:]] == pytest.approx(holm([e.p_value for e in expected]))
    assert all(a.scans == b.scans == 80 for a, b in pairwise(curve))


def test_the_share_called_positive_stands_for_the_classes_given() -> None:
    labels, probabilities = [1, 1, 0, 0], {0: [0.9, 0.1, 0.6, 0.2]}
    assert dose_curve(labels, range(4), probabilities, HALF)[0].positive_share == 0.5
    shares = [1, 1, 0, 0, 0, 0], {0: [0.9, 0.8, 0.6, 0.2, 0.1, 0.1]}
    assert dose_curve(shares[0], range(6), shares[1], HALF, 0.2)[0].positive_share == pytest.approx(0.2 + 0.8 / 4)


def test_one_class_has_no_auc_but_a_share() -> None:
    (only,) = dose_curve([1, 1, 1], [0, 1, 2], {0: [0.9, 0.8, 0.1]}, HALF, positives=1.0)
    assert (only.auc, only.low, only.difference) == (None, None, None)
    assert only.positive_share == pytest.approx(2 / 3)


def test_curves_refuse_what_they_cannot_score() -> None:
    with pytest.raises(ValueError, match="dose 0, the scans as they are, is missing"):
        dose_curve([1, 0], [0, 1], {1: [0.5, 0.5]}, HALF)
    with pytest.raises(ValueError, match="NaN"):
        dose_curve([1, 0], [0, 1], {0: [0.5, np.nan]}, HALF)


@pytest.mark.parametrize(("move", "name", "dose"), [(2.0, "up", 2.0), (-2.0, "down", 2.0)])
def test_a_planted_shift_is_named(move: float, name: str, dose: float) -> None:
    said = explained(move)
    assert said.best is not None
    assert (said.best.shift, said.best.dose) == (name, dose)
    assert said.best.distance < said.distance_unshifted == pytest.approx(2, abs=0.6)
    assert said.p_value < 0.05
    assert said.p_difference < 0.05
    assert (said.sureness or 0) > 0.9
    assert said.p_left is not None
    assert said.p_left > 0.05
    assert sum(c.first for c in said.candidates) == pytest.approx(1)
    assert said.scans == (60, 60)
    words = say(said, WORDS, "Home", "There")
    assert f"'{name} by 2' comes nearest and leaves" in words
    assert "the rest is chance" in words


def test_shifts_that_move_the_scores_alike_cannot_be_told_apart() -> None:
    labels, patients, odds = scores(5)
    there, others, far = scores(6)
    jitter = np.random.default_rng(7).normal(0, 0.1, odds.size)
    shifted = {("this", 1.0): expit(odds + 2 + jitter), ("that", 1.0): expit(odds + 2 - jitter)}
    said = explain((labels, patients, expit(odds)), shifted, (there, others, expit(far + 2)), resamples=200)
    assert said.best is not None
    assert len(said.rivals) == 1
    words = say(said, {key: key[0] for key in shifted}, "Home", "There")
    assert f"cannot be told apart from {said.rivals[0]}" in words


def test_a_site_like_home_needs_no_shift() -> None:
    said = explained(0.0)
    assert (said.best, said.sureness, said.rivals, said.p_left) == (None, None, (), None)
    assert "nothing to explain" in say(said, WORDS, "Home", "There")


def test_what_no_shift_does_is_explained_by_none() -> None:
    """Scores pushed apart both ways: every shift moves them one way only."""
    labels, patients, odds = scores(3, gap=0)
    there, others, far = scores(4, gap=0)
    push = np.where(np.random.default_rng(0).random(far.size) < 0.5, -2.5, 2.5)
    shifted = {key: expit(odds + by) for key, by in MOVES.items()}
    said = explain((labels, patients, expit(odds)), shifted, (there, others, expit(far + push)), resamples=200)
    assert said.p_difference < 0.05
    assert said.best is None
    assert "none of the shifts tried explains it" in say(said, WORDS, "Home", "There")


def test_a_partial_explanation_says_that_the_rest_has_another_cause() -> None:
    labels, patients, odds = scores(7)
    there, others, far = scores(8)
    said = explain((labels, patients, expit(odds)), {("up", 1.0): expit(odds + 1)}, (there, others, expit(far + 4)))
    assert said.p_left is not None
    assert said.p_left < 0.05
    assert "the rest has another cause" in say(said, {("up", 1.0): "up"}, "Home", "There")


def test_false_alarms_stay_near_their_level() -> None:
    alarms = sum(explained(0.0, seed=seed, scans=40).best is not None for seed in range(10, 70))
    assert alarms <= 6  # 5 % of 60 are 3; 7 or more have a chance of 3 %


def test_scans_of_one_patient_do_not_count_as_many() -> None:
    """Ten scans a patient of few patients: the same distance that 60 patients prove, these do not."""
    labels, patients, odds = scores(11, scans=6, each=10)
    there, others, far = scores(12, scans=6, each=10)
    shifted = {("up", 1.0): expit(odds + 1)}
    ours, site = (labels, patients, expit(odds)), (there, others, expit(far + 0.8))
    clustered = explain(ours, shifted, site, resamples=200)
    alone = explain((labels, range(60), ours[2]), shifted, (there, range(60), site[2]), resamples=200)
    assert clustered.p_difference > 0.05 > alone.p_difference


def test_a_site_of_one_class_is_compared_in_that_class() -> None:
    labels, patients, odds = scores(1)
    there, others, far = scores(2)
    kept = there == 1
    site = (there[kept], others[kept], expit(far[kept] + 2))
    said = explain((labels, patients, expit(odds)), {("up", 2.0): expit(odds + 2)}, site, resamples=200)
    assert (said.classes, said.scans) == ((1,), (30, 30))
    assert said.best is not None


def test_the_same_seed_gives_the_same_explanation() -> None:
    assert explained(1.0) == explained(1.0)


def test_explanations_refuse_what_they_cannot_compare() -> None:
    labels, patients, odds = scores(1)
    home = (labels, patients, expit(odds))
    with pytest.raises(ValueError, match="no shift was tried"):
        explain(home, {}, home)
    with pytest.raises(ValueError, match="no class has 5 scans"):
        explain(home, {("up", 1.0): home[2]}, ([1, 1, 0], [1, 2, 3], [0.5, 0.5, 0.5]))
    with pytest.raises(ValueError, match="NaN"):
        explain(home, {("up", 1.0): np.full(60, np.nan)}, home)

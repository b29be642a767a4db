"""The parts of a drop: they add up, planted causes come out under their own names, hand arithmetic, extremes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.decomposition import (
    Decomposition,
    clustered_mean,
    decompose,
    local_gain,
    log_losses,
    relearn,
)

HALF = OperatingPoint(0.5, "grid", "model", 0.9, 100)


def _site(n: int, positives: float, gap: float, seed: int, shift: float = 0.0) -> tuple:
    """Labels, one patient each, and calibrated-looking probabilities of two normal classes."""
    random = np.random.default_rng(seed)
    labels = (np.arange(n) < positives * n).astype(int)
    odds = random.normal(0, 1, n) + gap * (labels - 0.5) + shift
    return labels, np.array([f"{seed}-{i}" for i in range(n)]), expit(2 * odds)


def _adds_up(found: Decomposition) -> None:
    assert sum(p.estimate for p in found.parts.values()) == pytest.approx(found.drop.estimate, abs=1e-12)
    assert found.home.estimate - found.elsewhere.estimate == pytest.approx(found.drop.estimate, abs=1e-12)


def test_by_hand() -> None:
    home = ([0, 0, 1, 1], list("abcd"), [0.1, 0.2, 0.8, 0.9])  # all right at 0.5
    there = ([0, 1, 1, 1], list("efgh"), [0.6, 0.4, 0.7, 0.8])  # 2 of 4 right; best: all positive, 3 of 4
    found = decompose(home, there, HALF, resamples=20)
    assert (found.home.estimate, found.elsewhere.estimate) == (1.0, 0.5)
    assert found.threshold.estimate == pytest.approx(0)  # home is all right whatever the share
    assert found.ranking.estimate == pytest.approx(1 - 0.75)
    assert found.calibration.estimate == pytest.approx(0.75 - 0.5)
    assert found.case_mix is None
    assert "Case mix" in found.note
    _adds_up(found)


def test_prevalence_by_hand() -> None:
    home = ([0] * 4 + [1] * 4, range(8), [0.1, 0.1, 0.1, 0.6, 0.4, 0.4, 0.7, 0.7])  # specificity 3/4, sensitivity 2/4
    there = ([0] * 4 + [1] * 12, range(16), [0.1, 0.1, 0.1, 0.6, *[0.4] * 6, *[0.7] * 6])  # same, three times as many
    found = decompose(home, there, HALF, resamples=20)
    assert found.home.estimate == pytest.approx(5 / 8)
    assert found.elsewhere.estimate == pytest.approx(9 / 16)
    assert found.threshold.estimate == pytest.approx(1 / 16)
    assert found.calibration.estimate == pytest.approx(0, abs=1e-12)
    assert found.ranking.estimate == pytest.approx(0, abs=1e-12)
    _adds_up(found)


def test_shifted_scores_are_calibration_and_nothing_else() -> None:
    labels, patients, scores = _site(200, 0.5, 2.5, 1)
    moved = expit(np.log(scores / (1 - scores)) + 4)
    found = decompose((labels, patients, scores), (labels, patients, moved), HALF, resamples=100)
    assert found.drop.estimate > 0.2
    assert found.calibration.estimate == pytest.approx(found.drop.estimate, abs=1e-12)
    assert found.ranking.estimate == pytest.approx(0, abs=1e-12)
    assert found.calibration.low > 0.1
    _adds_up(found)


def test_noise_is_ranking() -> None:
    labels, patients, scores = _site(400, 0.5, 2.5, 2)
    noise = np.random.default_rng(3).permutation(scores)
    found = decompose((labels, patients, scores), (labels, patients, noise), HALF, resamples=100)
    assert found.ranking.estimate > 0.9 * found.drop.estimate > 0.25
    assert found.ranking.low > 0.2
    assert abs(found.calibration.estimate) < 0.05
    _adds_up(found)


def test_more_sick_patients_of_a_cautious_model_are_the_threshold() -> None:
    cautious = OperatingPoint(0.9, "grid", "model", 0.8, 100)
    found = decompose(_site(4000, 0.2, 2, 4), _site(4000, 0.8, 2, 5), cautious, resamples=50)
    assert found.threshold.estimate == pytest.approx(found.drop.estimate, abs=0.03)
    assert found.drop.estimate > 0.15
    assert abs(found.ranking.estimate) < 0.03
    _adds_up(found)


def test_another_mix_of_patients_is_case_mix() -> None:
    """Within each stratum the model is the same; elsewhere has more of the hard one. Rows are not in score order."""
    easy, hard = _site(2000, 0.5, 4, 6), _site(2000, 0.5, 0.5, 7)

    def mix(first: int, second: int, seed: int) -> tuple:
        kept = [np.r_[0 : n // 2, 1000 : 1000 + n // 2] for n in (first, second)]  # half of each class
        labels, patients, scores = (np.concatenate([a[kept[0]], b[kept[1]]]) for a, b in zip(easy, hard, strict=True))
        order = np.random.default_rng(seed).permutation(labels.size)
        return (labels[order], patients[order], scores[order]), np.repeat(["easy", "hard"], [first, second])[order]

    home, home_strata = mix(1600, 400, 8)
    there, strata = mix(400, 1600, 9)
    found = decompose(home, there, HALF, (home_strata, strata), resamples=50)
    assert found.drop.estimate > 0.15
    assert found.case_mix is not None
    assert found.case_mix.estimate == pytest.approx(found.drop.estimate, abs=0.03)
    assert found.uncovered == 0
    _adds_up(found)


def test_strata_that_home_lacks_are_not_guessed() -> None:
    home, there = _site(60, 0.5, 2, 10), _site(60, 0.5, 2, 11)
    found = decompose(home, there, HALF, (["M"] * 60, ["M"] * 15 + ["F"] * 45), resamples=20)
    assert found.case_mix is None
    assert found.uncovered == 1.0  # every negative is a woman, of whom home has none
    assert "100%" in found.note
    _adds_up(found)
    with pytest.raises(ValueError, match="strata"):
        decompose(home, there, HALF, (["M"] * 59, ["M"] * 60))


@pytest.mark.parametrize("scores", [[0.3] * 6, [0.1, 0.2, 0.3, 0.7, 0.8, 0.9], [0.9, 0.8, 0.7, 0.3, 0.2, 0.1]])
def test_ties_perfection_and_the_wrong_way_round_add_up(scores: list[float]) -> None:
    labels, patients = [0, 0, 0, 1, 1, 1], ["a", "a", "b", "c", "c", "d"]
    found = decompose(
        (labels, patients, [0.1, 0.2, 0.6, 0.4, 0.8, 0.9]), (labels, patients, scores), HALF, resamples=30
    )
    _adds_up(found)
    for part in (*found.parts.values(), found.drop):
        assert np.isfinite([part.low, part.high]).all()


def test_the_wrong_way_round_is_never_turned() -> None:
    labels, patients, scores = _site(100, 0.5, 3, 12)
    found = decompose((labels, patients, scores), (labels, patients, 1 - scores), HALF, resamples=30)
    assert found.ranking.estimate == pytest.approx(found.home.estimate - 0.5, abs=0.05)  # best there: one class


def test_two_scans_and_wrong_input() -> None:
    _adds_up(decompose(([0, 1], [1, 2], [0.2, 0.9]), ([0, 1], [3, 4], [0.9, 0.2]), HALF, resamples=10))
    good = ([0, 1], [1, 2], [0.2, 0.9])
    with pytest.raises(ValueError, match="both classes"):
        decompose(good, ([1, 1], [3, 4], [0.9, 0.2]), HALF)
    with pytest.raises(ValueError, match="NaN"):
        decompose(good, ([0, 1], [3, 4], [0.9, np.nan]), HALF)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        decompose(good, ([0, 1], [3, 4], [0.9, 1.2]), HALF)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Ranking part, planted by two gaps; the truth from 200 000 scans. 60 studies: 57 expected, 50 or more asked."""
    big = decompose(_site(200_000, 0.5, 2.5, 13), _site(200_000, 0.5, 1.0, 14), HALF, resamples=2)
    truth, held = big.ranking.estimate, 0
    for seed in range(60):
        found = decompose(
            _site(150, 0.5, 2.5, 100 + seed), _site(150, 0.5, 1.0, 500 + seed), HALF, resamples=200, seed=seed
        )
        held += found.ranking.low <= truth <= found.ranking.high
    assert held >= 50


def test_a_new_threshold_mends_a_shift_and_nothing_mends_noise() -> None:
    labels, patients, scores = _site(300, 0.4, 3, 15, shift=3)
    few, many = relearn(labels, patients, scores, (10, 150), seed=1, point=HALF, draws=40)
    assert many.rethresholded.estimate > many.as_is.estimate + 0.2
    assert many.recalibrated.estimate > many.as_is.estimate + 0.2
    assert few.rethresholded.estimate <= many.rethresholded.estimate + 0.01
    assert many.log_loss_recalibrated < 0.5 < many.log_loss_as_is
    noise = np.random.default_rng(1).permutation(scores)
    (row,) = relearn(labels, patients, noise, (150,), point=HALF, draws=40)
    assert row.rethresholded.estimate < 0.65


def test_relearn_is_reproducible_and_never_turns_a_model_round() -> None:
    labels, patients, scores = _site(120, 0.5, 3, 16)
    first, second = (relearn(labels, patients, 1 - scores, (60,), seed=3, draws=20) for _ in range(2))
    assert first == second
    assert first != relearn(labels, patients, 1 - scores, (60,), seed=4, draws=20)
    assert first[0].recalibrated.estimate < 0.6
    assert first[0].rethresholded.estimate < 0.6


def test_relearn_keeps_patients_whole_and_refuses_what_leaves_none() -> None:
    labels, scores = np.array([0, 1] * 6), np.linspace(0.05, 0.95, 12)
    patients = np.repeat([0, 1, 2], 4)
    (row,) = relearn(labels, patients, scores, (1,), draws=30)  # one patient of 4 scans is taken
    assert row.scans == 1
    with pytest.raises(ValueError, match="12 of 12"):
        relearn(labels, patients, scores, (12,))
    (row,) = relearn(labels, patients, scores, (11,), draws=5)  # two patients; the third is always left
    assert row.scans == 11
    with pytest.raises(ValueError, match="one patient"):
        relearn(labels, [1] * 12, scores, (9,), draws=2)
    with pytest.raises(ValueError, match="0 of 12"):
        relearn(labels, patients, scores, (0,))


def test_relearn_with_one_class_keeps_the_model() -> None:
    (row,) = relearn([1] * 10, range(10), np.linspace(0.1, 0.9, 10), (5,), draws=20)
    assert row.as_is == row.rethresholded == row.recalibrated


def test_local_gain_is_cross_fitted() -> None:
    labels, patients, scores = _site(300, 0.5, 3, 17, shift=3)
    shifted = local_gain(labels, patients, scores, HALF)
    assert shifted.rethreshold.low > 0.2
    assert shifted.recalibrate.low > 0.3
    noise = np.random.default_rng(2).permutation(scores)
    nothing = local_gain(labels, patients, noise, OperatingPoint(0.0, "grid", "model", 0.5, 9))
    assert nothing.rethreshold.low < 0 < nothing.rethreshold.high
    with pytest.raises(ValueError, match="one patient"):
        local_gain([0, 1], ["a", "a"], [0.2, 0.3], HALF)


def test_clustered_mean_by_hand() -> None:
    """Two patients of two equal scans each: mean 1/2, variance of the mean (2·(1²+1²))/16 = 1/4."""
    found = clustered_mean(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 1]))
    assert found.estimate == 0.5
    assert found.high - found.estimate == pytest.approx(1.959964 * 0.5, abs=1e-5)


def test_log_losses_by_hand() -> None:
    assert log_losses(np.array([1, 0]), np.array([0.25, 0.25])) == pytest.approx([np.log(4), np.log(4 / 3)])


def _sampled_site(n: int, positives: float, gap: float, random: np.random.Generator) -> tuple:
    labels = (random.random(n) < positives).astype(int)
    return labels, np.arange(n), expit(2 * (random.normal(0, 1, n) + gap * (labels - 0.5)))


def test_the_threshold_part_holds_the_truth_where_prevalence_is_sampled_and_where_it_is_fixed() -> None:
    """A cautious model, 30 % positive at home and 40 % there: of 150 studies each, 93 % or more and 90 % or more."""
    cautious, shares = OperatingPoint(0.85, "grid", "model", 0.8, 100), (0.3, 0.4)
    labels, _, scores = _site(400_000, 0.5, 2, 20)
    specificity, sensitivity = (np.mean((scores >= 0.85)[labels == c] == c) for c in (0, 1))
    truth = (shares[1] - shares[0]) * (specificity - sensitivity)
    sampled, held, widths = [], [], []
    for study in range(150):
        random = np.random.default_rng([study, 21])
        found = decompose(*(_sampled_site(120, p, 2, random) for p in shares), cautious, resamples=200, seed=study)
        sampled.append(found.threshold.low <= truth <= found.threshold.high)
        fixed = decompose(_site(120, 0.3, 2, 2 * study), _site(120, 0.4, 2, 2 * study + 1), cautious, resamples=200)
        held.append(fixed.threshold_held.low <= truth <= fixed.threshold_held.high)
        widths.append([p.high - p.low for p in (found.threshold, found.threshold_held)])
    wide, narrow = np.mean(widths, axis=0)
    assert wide > 1.5 * narrow
    assert np.mean(sampled) >= 0.93
    assert np.mean(held) >= 0.90


def test_a_part_is_named_the_largest_only_where_it_surely_is() -> None:
    labels, patients, scores = _site(400, 0.5, 2.5, 2)
    random = np.random.default_rng(3)
    weaker = np.where(random.random(400) < 0.5, random.permutation(scores), scores)
    found = decompose((labels, patients, scores), (labels, patients, weaker), HALF, resamples=100)
    assert (found.largest, found.discriminates) == ("ranking", True)
    moved = expit(np.log(scores / (1 - scores)) + 4)
    found = decompose((labels, patients, scores), (labels, patients, moved), HALF, resamples=100)
    assert (found.largest, found.discriminates) == ("calibration", True)
    tied = decompose((labels, patients, scores), (labels, patients, 0.5 * scores + 0.25), HALF, resamples=100)
    assert tied.largest == ""


@pytest.mark.parametrize("gap", [0.0, -0.6])
@pytest.mark.parametrize("shift", [0.0, 2.0, 4.0])
def test_no_part_is_named_where_the_model_does_not_discriminate(gap: float, shift: float) -> None:
    """Noise, and an AUC of about 0.33, at a site with 30 % positives: its best threshold calls nobody positive."""
    home, there = _site(200, 0.3, 2.5, 2), _site(90, 0.3, gap, 5, shift)
    found = decompose(home, there, HALF, resamples=200)
    assert (found.discriminates, found.largest) == (False, "")
    _adds_up(found)


def test_a_best_threshold_that_calls_nobody_positive_is_no_discrimination() -> None:
    """The AUC is surely above 0.5, but 1 of 20 is positive, and no threshold beats calling none."""
    labels = (np.arange(200) < 10).astype(int)
    scores = np.where(labels == 1, 0.6, np.linspace(0.1, 0.7, 200))
    patients = np.arange(200)
    found = decompose(_site(200, 0.3, 2.5, 2), (labels, patients, scores), HALF, resamples=50)
    assert (found.discriminates, found.largest) == (False, "")
    clear = np.where(labels == 1, 0.8, scores)
    assert decompose(_site(200, 0.3, 2.5, 2), (labels, patients, clear), HALF, resamples=50).discriminates

"""Calibration measures against hand arithmetic, scikit-learn and simulated models of known miscalibration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from elsewhere.statistics import calibration
from elsewhere.statistics.calibration import (
    brier_score,
    calibration_error,
    calibration_line,
    decision_curve,
    prior_corrected,
    reliability_curve,
)


def test_a_corrected_prior_gives_back_calibrated_probabilities():
    """A model that is calibrated where half are positive, used where one in five is."""
    random = np.random.default_rng(20261206)
    labels = (random.random(20000) < 0.2).astype(int)
    evidence = random.normal(2 * labels - 1, 1)  # two normal distributions: log-odds 2x at equal shares
    half = expit(2 * evidence)
    assert labels.sum() / half.sum() < 0.75
    assert labels.sum() / prior_corrected(half, 0.5, 0.2).sum() == pytest.approx(1, abs=0.03)
    assert prior_corrected(half, 0.3, 0.3) == pytest.approx(half)
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="shares of positives must be above 0 and below 1"):
            prior_corrected(half, 0.5, share)
    with pytest.raises(ValueError, match="probabilit"):
        prior_corrected([1.2], 0.5, 0.2)


def model(seed, scans, slope=1.0, shift=0.0):
    random = np.random.default_rng(seed)
    odds = random.normal(0, 1.5, scans)
    labels = (random.random(scans) < expit(shift + slope * odds)).astype(int)
    return labels, expit(odds)


def test_reliability_equals_scikit_learn():
    labels, probabilities = model(0, 500)
    found = reliability_curve(labels, probabilities)
    share, mean = calibration_curve(labels, probabilities, n_bins=10)
    assert np.allclose(found.positive_share, share, atol=1e-10)
    assert np.allclose(found.mean_probability, mean, atol=1e-10)
    assert found.scans.sum() == 500
    assert ((found.positive_share_low <= share) & (share <= found.positive_share_high)).all()


def test_reliability_by_patient_is_wider():
    labels, probabilities = model(1, 100)
    thrice = [np.tile(x, 3) for x in (labels, probabilities)]
    clustered = reliability_curve(*thrice, patients=np.tile(np.arange(100), 3))
    plain = reliability_curve(*thrice)
    assert np.allclose(clustered.positive_share_low, reliability_curve(labels, probabilities).positive_share_low)
    assert (clustered.positive_share_low < plain.positive_share_low + 1e-12).all()


def test_bins_hold_their_edges_and_the_certain():
    found = reliability_curve([0, 1, 1], [0.0, 1.0, 0.1])
    assert found.mean_probability.tolist() == [0.0, 0.1, 1.0]
    assert found.scans.tolist() == [1, 1, 1]


def test_ece_by_hand():
    # bin 0.2: mean 0.25, share 0.5, 2 scans; bin 0.8: mean 0.85, share 1, 2 scans
    found = calibration_error([0, 1, 1, 1], [0.22, 0.28, 0.82, 0.88])
    assert found.ece == pytest.approx(0.5 * 0.25 + 0.5 * 0.15)


def test_the_plain_ece_of_a_calibrated_model_is_biased_by_what_is_expected():
    found = [calibration_error(*model(seed, 68)) for seed in range(100)]
    plain, expected = (np.mean([getattr(f, k) for f in found]) for k in ("ece", "ece_if_calibrated"))
    assert plain > 0.08
    assert expected == pytest.approx(plain, rel=0.05)


def test_a_miscalibrated_model_is_seen():
    random = np.random.default_rng(2)
    labels = (random.random(20_000) < 0.3).astype(int)
    found = calibration_error(labels, np.full(20_000, 0.55))
    assert found.ece - found.ece_if_calibrated == pytest.approx(0.25, abs=0.012)


def test_ece_if_calibrated_is_exact_and_knows_no_order():
    labels, probabilities = model(9, 60)
    found = calibration_error(labels, probabilities)
    random = np.random.default_rng(9)
    drawn = [calibration_error(random.random(60) < probabilities, probabilities).ece for _ in range(400)]
    assert found.ece_if_calibrated == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 20)
    order = random.permutation(60)
    assert calibration_error(labels[order], probabilities[order]) == found
    # by hand: one bin, two scans of 0.25: the sum lies 0.5 above with 9/16, 0.5 below with 6/16, 1.5 below with 1/16
    assert calibration_error([0, 1], [0.25, 0.25]).ece_if_calibrated == pytest.approx((9 + 6 + 3) / 32 / 2)


def test_ece_if_calibrated_of_many_scans_is_the_same_in_blocks(monkeypatch):
    values = np.random.default_rng(8).beta(0.5, 0.5, 5000)
    in_blocks = calibration_error(values > 0.5, values).ece_if_calibrated
    monkeypatch.setattr(calibration, "BLOCK", 10_000)
    assert in_blocks == pytest.approx(calibration_error(values > 0.5, values).ece_if_calibrated, rel=1e-10)


def test_brier_equals_scikit_learn():
    labels, probabilities = model(4, 300)
    assert brier_score(labels, probabilities) == pytest.approx(brier_score_loss(labels, probabilities), abs=1e-12)
    assert brier_score([0, 1], [0.5, 0.5]) == 0.25


def test_line_equals_scikit_learn():
    labels, probabilities = model(5, 400, 0.6, -0.8)
    found = calibration_line(labels, probabilities)
    plain = LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000).fit(logit(probabilities)[:, None], labels)
    assert found.slope == pytest.approx(plain.coef_[0, 0], abs=1e-4)
    assert expit(logit(probabilities) + found.intercept).mean() == pytest.approx(labels.mean(), abs=1e-9)


def test_line_finds_known_faults():
    overconfident = calibration_line(*model(6, 40_000, slope=0.5))
    assert overconfident.slope == pytest.approx(0.5, abs=0.03)
    too_low = calibration_line(*model(7, 40_000, shift=1.0))
    assert too_low.intercept == pytest.approx(1.0, abs=0.05)


def test_line_says_what_it_cannot():
    assert calibration_line([1, 1], [0.4, 0.6]).note.startswith("one class")
    separated = calibration_line([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert separated.slope is None
    assert "separate the classes" in separated.note
    flat = calibration_line([0, 0, 1], [0.5, 0.5, 0.5])
    assert (flat.intercept, flat.slope) == (pytest.approx(np.log(0.5)), None)
    assert calibration_line([1, 0, 1, 0], [0.1, 0.9, 0.5, 0.45]).slope < 0
    assert np.isfinite(calibration_line([0, 1, 1], [0.0, 1.0, 0.0]).intercept)


def test_scores_that_hardly_differ_have_no_slope_and_constants_never_pass_as_calibrated():
    random = np.random.default_rng(10)
    labels = (random.random(200) < 0.4).astype(int)
    near = calibration_line(labels, expit(-0.4 + 0.01 * random.normal(size=200) + 0.005 * labels))
    assert near.slope is None
    assert near.slope_ends == (None, None)
    assert "hardly differ (standard deviation of the log-odds 0.010): the slope cannot be estimated" in near.note
    wider = calibration_line(labels, expit(-0.4 + 0.2 * random.normal(size=200) + 0.1 * labels))
    assert wider.slope is not None
    assert wider.note == ""


def test_copies_of_scans_do_not_make_calibration_surer():
    labels, probabilities = model(11, 90)
    once = calibration_line(labels, probabilities)
    copied = calibration_line(np.tile(labels, 3), np.tile(probabilities, 3), np.tile(np.arange(90), 3))
    for name in ("intercept_ends", "slope_ends", "observed_expected_ends"):
        assert getattr(copied, name) == pytest.approx(getattr(once, name), rel=1e-6)
    alone = calibration_line(np.tile(labels, 3), np.tile(probabilities, 3))
    assert alone.slope_ends[1] - alone.slope_ends[0] < 0.7 * (once.slope_ends[1] - once.slope_ends[0])


def test_robust_intervals_equal_the_jackknife():
    """CR3 is the variance of the estimates with one patient left out at a time, to first order."""
    labels, probabilities = model(12, 150)
    found = calibration_line(labels, probabilities)
    slopes = [calibration_line(np.delete(labels, i), np.delete(probabilities, i)).slope for i in range(150)]
    jackknife = (149 / 150 * np.sum((np.array(slopes) - np.mean(slopes)) ** 2)) ** 0.5
    half = (found.slope_ends[1] - found.slope_ends[0]) / 2
    assert half == pytest.approx(jackknife * 1.976, rel=0.03)


def test_calibration_intervals_hold_the_truth():
    """400 data sets of 60 patients with 1 to 3 equal scans, slope 0.6, intercept 0.4: 93 to 97.5 % (one SE is 1.1)."""
    random, held = np.random.default_rng(13), []
    for _ in range(400):
        odds = random.normal(0, 1.2, 60)
        labels = (random.random(60) < expit(0.4 + 0.6 * odds)).astype(int)
        people = np.repeat(np.arange(60), random.integers(1, 4, 60))
        low, high = calibration_line(labels[people], expit(odds)[people], people).slope_ends
        held.append(low <= 0.6 <= high)
    assert 0.93 <= np.mean(held) <= 0.975


def test_net_benefit_by_hand():
    curve = decision_curve([0, 0, 1, 1], [0.1, 0.6, 0.6, 0.9])
    at = int(np.flatnonzero(np.isclose(curve.threshold, 0.5))[0])
    assert curve.model[at] == pytest.approx(2 / 4 - 1 / 4 * 1)
    assert curve.treat_all[at] == pytest.approx(0.0)
    at = int(np.flatnonzero(np.isclose(curve.threshold, 0.2))[0])
    assert curve.model[at] == pytest.approx(2 / 4 - 1 / 4 * 0.25)
    assert curve.treat_all[at] == pytest.approx(0.5 - 0.5 * 0.25)
    assert (curve.treat_none == 0).all()


def test_a_calibrated_model_never_does_worse_than_both_defaults():
    curve = decision_curve(*model(8, 50_000))
    assert (curve.model > np.maximum(curve.treat_all, 0) - 0.003).all()


@pytest.mark.parametrize(
    "measure", [reliability_curve, calibration_error, brier_score, calibration_line, decision_curve]
)
def test_bad_input_is_refused(measure):
    with pytest.raises(ValueError, match="NaN"):
        measure([0, 1], [0.5, np.nan])
    with pytest.raises(ValueError, match="expected 0 to 1"):
        measure([0, 1], [0.5, 2.0])

"""Sample sizes against what is published, against simulation where nothing is, and values that are refused.

Published: Riley et al. 2021 (Stat Med 40:4230) on mechanical heart valve failure, prevalence 0.018, AUC 0.80; and what
the authors' program prints for it (pmvalsampsize, docs/example.ipynb; slopes there are from a simulated million).
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from scipy.special import expit

from elsewhere.statistics.delong import auc_covariance
from elsewhere.statistics.sample_size import (
    Expected,
    binormal_log_odds,
    normal_log_odds,
    plan_sizes,
    scans_for_auc,
    scans_for_net_benefit,
    scans_for_oe,
    scans_for_share,
    scans_for_slope,
    standardised_net_benefit,
)


def test_published_numbers():
    assert scans_for_auc(0.8, 0.018, 0.1) == 4252
    assert ceil(scans_for_oe(0.018, 1.0)) == 905 + 1  # 905.03, which the authors round
    assert scans_for_slope(*normal_log_odds(-5, 2.5), 0.2) == pytest.approx(4544, rel=0.005)
    assert scans_for_slope(*binormal_log_odds(0.8, 0.018), 0.2) == pytest.approx(17080, rel=0.005)
    angle = (np.arange(20000) + 0.5) / 20000 * np.pi / 2  # probabilities of the Beta(1/2, 1/2) law: sin² of it
    log_odds = 2 * np.log(np.tan(angle))
    assert ceil(scans_for_slope(log_odds, np.full(20000, 1 / 20000), 0.2)) == 1644


def test_published_net_benefit_from_the_published_distribution():
    # log-odds with mean -5.8, variance 5, skewness -0.5, kurtosis 4 (Pearson's type IV); threshold 0.08: 6443 scans
    x, skew, r = np.linspace(-60, 40, 40001), -0.5, 13.2
    q = 16 * (r - 1) - skew**2 * (r - 2) ** 2
    middle, scale = -5.8 - (r - 2) * skew * 5**0.5 / 4, (5 * q) ** 0.5 / 4
    turn = r * (r - 2) * skew / q**0.5
    law = (1 + ((x - middle) / scale) ** 2) ** (-1 - r / 2) * np.exp(turn * np.arctan((x - middle) / scale))
    law /= law.sum()
    assert ((law * (x + 5.8) ** 2).sum(), (law * (x + 5.8) ** 3).sum() / 5**1.5) == pytest.approx((5, skew), abs=1e-3)
    up, down = law * expit(x), law * expit(-x)
    called = expit(x) >= 0.08
    shares = float(up[called].sum() / up.sum()), float(down[~called].sum() / down.sum())
    assert scans_for_net_benefit(*shares, 0.018, 0.08, 0.2) == pytest.approx(6443, rel=0.02)


def test_the_net_benefit_varies_as_its_formula_says():
    random, scans, (sensitivity, specificity, prevalence, threshold) = (
        np.random.default_rng(2),
        2000,
        (0.8, 0.9, 0.3, 0.2),
    )
    labels = random.random((4000, scans)) < prevalence
    called = random.random((4000, scans)) < np.where(labels, sensitivity, 1 - specificity)
    odds = threshold / (1 - threshold)
    benefit = ((labels & called).sum(axis=1) - odds * (~labels & called).sum(axis=1)) / labels.sum(axis=1)
    width = 2 * 1.96 * benefit.std()
    assert scans_for_net_benefit(sensitivity, specificity, prevalence, threshold, width) == pytest.approx(
        2000, rel=0.08
    )
    assert benefit.mean() == pytest.approx(
        standardised_net_benefit(sensitivity, specificity, prevalence, threshold), abs=0.003
    )


def test_a_planned_auc_has_the_wanted_width():
    random, scans = np.random.default_rng(3), scans_for_auc(0.85, 0.3, 0.1)
    labels = (np.arange(scans) < 0.3 * scans).astype(int)
    scores = random.normal(size=(300, scans)) + 2**0.5 * 1.03643 * labels  # Φ⁻¹(0.85)
    aucs, _ = auc_covariance(labels, scores)
    assert 2 * 1.96 * aucs.std() == pytest.approx(0.1, rel=0.15)


def test_several_scans_per_patient_need_more_scans_and_fewer_patients():
    once = Expected(0.3, auc=0.9, sensitivity=0.9, specificity=0.8)
    twice = replace(once, scans_per_patient=2, correlation=0.5)
    for one, two in zip(plan_sizes(once), plan_sizes(twice), strict=True):
        assert (one.scans, one.patients) == (one.independent, one.independent)
        assert two.scans == ceil(1.5 * one.scans)
        assert one.patients * 0.74 < two.patients < one.patients
    same = plan_sizes(replace(once, scans_per_patient=3, correlation=1.0))
    assert [n.patients for n in same] == [n.patients for n in plan_sizes(once)]


def test_every_measure_that_is_asked_for_is_planned_and_no_other():
    full = Expected(0.3, 0.9, 0.9, 0.8, threshold=0.2, calibration=True)
    assert [n.measure for n in plan_sizes(full)] == [
        "discrimination (AUC)",
        "sensitivity",
        "specificity",
        "observed over expected",
        "calibration slope",
        "standardised net benefit",
    ]
    assert [n.measure for n in plan_sizes(Expected(0.3, specificity=0.8))] == ["specificity"]
    assert plan_sizes(Expected(0.5, sensitivity=0.9))[0].scans == ceil(scans_for_share(0.9, 0.5, 0.1))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"prevalence": 30}, "prevalence must be above 0 and below 1, is 30"),
        ({"auc": 0.4}, "auc must be above 0.5 and below 1, is 0.4"),
        ({}, "nothing to plan for"),
        ({"auc": 0.9, "threshold": 0.1}, "needs sensitivity and specificity"),
        ({"calibration": True}, "calibration needs auc, or log_odds"),
        ({"auc": 0.9, "auc_width": 0}, "auc_width must be above 0 and below 1, is 0"),
        ({"auc": 0.9, "scans_per_patient": 0.5}, "scans_per_patient must be at least 1, is 0.5"),
        ({"auc": 0.9, "correlation": 2}, "correlation must be 0 to 1, is 2"),
        ({"calibration": True, "log_odds": (0.0, 0.0)}, "log_odds must have a standard deviation above 0, it is 0"),
    ],
)
def test_values_outside_are_refused(said, words):
    with pytest.raises(ValueError, match=words):
        Expected(**({"prevalence": 0.3} | said))


def test_a_plan_for_millions_is_no_plan():
    with pytest.raises(ValueError, match=r"sensitivity to within a width of 1e-05 needs more than 10,000,000 scans"):
        plan_sizes(Expected(0.3, sensitivity=0.9, share_width=1e-5))

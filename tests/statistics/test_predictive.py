"""Predictive values and likelihood ratios against hand arithmetic, and how often their intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from elsewhere.statistics.predictive import likelihood_ratios, local_values, values_at

LABELS = np.repeat([1, 0], [10, 90])
CALLED = np.concatenate([np.arange(10) < 8, np.arange(90) >= 81])  # sensitivity 0.8, specificity 0.9
COLUMNS = (LABELS, np.arange(100), CALLED)


def test_local_values_by_hand() -> None:
    found = local_values(*COLUMNS)
    assert found.ppv is not None
    assert found.npv is not None
    assert (found.ppv.estimate, found.npv.estimate) == pytest.approx((8 / 17, 81 / 83))
    assert (found.alerts.estimate, found.prevalence.estimate, found.given) == (pytest.approx(17), 0.1, False)


def test_values_at_a_given_prevalence_by_bayes() -> None:
    found = values_at(*COLUMNS, 0.02)
    assert found is not None
    assert found.ppv is not None
    assert found.npv is not None
    assert found.ppv.estimate == pytest.approx(0.8 * 0.02 / (0.8 * 0.02 + 0.1 * 0.98))
    assert found.npv.estimate == pytest.approx(0.9 * 0.98 / (0.9 * 0.98 + 0.2 * 0.02))
    assert found.alerts.estimate == pytest.approx(100 * (0.8 * 0.02 + 0.1 * 0.98))
    same = values_at(*COLUMNS, 0.1)
    assert same is not None
    assert same.ppv is not None
    assert same.ppv.estimate == pytest.approx(8 / 17)


def test_ratios_by_hand() -> None:
    found = likelihood_ratios(*COLUMNS)
    assert found.positive is not None
    assert found.negative is not None
    assert (found.positive.estimate, found.negative.estimate) == pytest.approx((8.0, 0.2 / 0.9))
    assert found.positive.low < 8 < found.positive.high
    assert found.negative.low < 0.2 / 0.9 < found.negative.high < 1


def test_no_false_alarm_makes_the_ratio_infinite_and_its_lower_end_finite() -> None:
    called = np.concatenate([np.arange(10) < 8, np.zeros(90, bool)])
    found = likelihood_ratios(LABELS, np.arange(100), called)
    assert found.positive is not None
    assert np.isinf(found.positive.estimate)
    assert np.isinf(found.positive.high)
    assert 1 < found.positive.low < 100
    at = values_at(LABELS, np.arange(100), called, 0.1)
    assert at is not None
    assert at.ppv is not None
    assert (at.ppv.estimate, at.ppv.high) == (1.0, 1.0)
    assert at.ppv.low < 1


def test_what_cannot_be_measured_is_none() -> None:
    nothing_called = local_values(LABELS, np.arange(100), np.zeros(100, bool))
    assert nothing_called.ppv is None
    assert nothing_called.npv is not None
    assert likelihood_ratios(LABELS, np.arange(100), np.zeros(100, bool)).positive is None
    assert values_at([1, 1], [0, 1], [1, 0], 0.1) is None
    assert likelihood_ratios([1, 1], [0, 1], [1, 0]).positive is None
    with pytest.raises(ValueError, match="prevalence must be"):
        values_at(*COLUMNS, 1.0)


@pytest.mark.parametrize(("positives", "scans"), [(0.1, 120), (0.5, 60)])
def test_intervals_hold_the_truth(positives: float, scans: int) -> None:
    random, held, kept = np.random.default_rng(7), np.zeros(4), 0
    truth = np.array([8.0, 0.2 / 0.9, 0.04 / (0.04 + 0.095), 13.5])
    for _ in range(500):
        labels = (random.random(scans) < positives).astype(int)
        called = np.where(labels == 1, random.random(scans) < 0.8, random.random(scans) < 0.1)
        columns = labels, np.arange(scans), called
        ratios, at = likelihood_ratios(*columns), values_at(*columns, 0.05)
        if at is None or ratios.positive is None or ratios.negative is None or at.ppv is None:
            continue
        intervals = [ratios.positive, ratios.negative, at.ppv, at.alerts]
        kept += 1
        held += [i.low <= t <= i.high for i, t in zip(intervals, truth, strict=True)]
    assert kept > 480
    assert (held / kept > 0.925).all()

"""Dose curves against the statistics they are made of."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit

from elsewhere.statistics.comparison import compare_models, holm
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.dose import dose_curve
from elsewhere.statistics.roc import exact_auc

HALF = OperatingPoint(0.5, "grid", "model", 0.9, 100)


def scores(seed: int, scans: int = 60, each: int = 1, gap: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, patients and log-odds; `each` scans of a patient share most of their spread."""
    random = np.random.default_rng(seed)
    patients = np.repeat(np.arange(scans), each)
    labels = np.repeat(np.arange(scans) % 2, each)
    odds = np.repeat(random.normal(0, 1, scans), each) + random.normal(0, 0.3, scans * each) + gap * (labels - 0.5)
    return labels, patients, odds


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

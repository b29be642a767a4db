"""Precision against recall: by hand, and at the ends."""

from __future__ import annotations

import numpy as np
import pytest

from elsewhere.statistics.precision_recall import precision_recall


def test_by_hand() -> None:
    """Ranked + − + − −: precision 1 at the first positive and 2/3 at the second."""
    curve = precision_recall([1, 0, 1, 0, 0], [0.9, 0.8, 0.7, 0.6, 0.5])
    assert curve.average == pytest.approx((1 + 2 / 3) / 2)
    assert curve.prevalence == 0.4
    assert curve.recall[-1] == 1
    assert curve.precision[-1] == pytest.approx(0.4)


def test_scores_that_tell_nothing_have_the_prevalence() -> None:
    assert precision_recall([1, 0, 0, 0], [0.5] * 4).average == 0.25
    random = np.random.default_rng(1)
    labels = (random.random(20000) < 0.3).astype(int)
    assert precision_recall(labels, random.random(20000)).average == pytest.approx(0.3, abs=0.02)


def test_perfect_scores_have_one_and_reversed_ones_less_than_the_prevalence() -> None:
    labels = np.arange(100) % 4 == 0
    assert precision_recall(labels.astype(int), labels + 0.0).average == 1
    assert precision_recall(labels.astype(int), -(labels + 0.0)).average == 0.25
    assert precision_recall([1, 0, 0, 0], [0.1, 0.5, 0.6, 0.7]).average == 0.25


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="class"):
        precision_recall([1, 1], [0.2, 0.4])

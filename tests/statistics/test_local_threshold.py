"""A local threshold keeps the required sensitivity at low prevalence; what it gives is tried on other patients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from elsewhere.statistics.decision import choose_threshold
from elsewhere.statistics.local_threshold import choose_local_threshold, cross_fitted_decisions


def _site(scans: int, positives: float, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (np.arange(scans) < positives * scans).astype(int)
    return labels, expit(2 * (random.normal(0, 1, scans) + 2 * (labels - 0.5)) + shift)


def test_at_low_prevalence_it_finds_positives_that_the_best_accuracy_misses() -> None:
    labels, values = _site(1000, 0.05, -2, 1)
    local, accurate = choose_local_threshold(labels, values, (0.7, 0.7)), choose_threshold(labels, values).threshold
    assert (values[labels == 1] >= local).mean() > 0.75
    assert (values[labels == 1] >= accurate).mean() < 0.65


def test_it_leans_to_what_is_asked_for() -> None:
    labels, values = _site(1000, 0.5, 0, 2)
    sensitive, specific = (choose_local_threshold(labels, values, least) for least in ((0.95, 0.5), (0.5, 0.95)))
    assert sensitive < 0.5 < specific


def test_saturated_and_tied_scores_keep_their_sides() -> None:
    for values in ([0.0, 0.0, 1.0, 1.0], [1 - 2e-16, 1 - 1e-16, 1.0, 1.0], [0.3, 0.3, 0.3, 0.3]):
        labels, given = np.array([0, 0, 1, 1]), np.array(values)
        called = given >= choose_local_threshold(labels, given, (0.7, 0.7))
        assert called[labels == 1].all()
        assert given[0] == given[2] or not called[labels == 0].any()


def test_no_scan_is_decided_by_a_threshold_that_saw_its_patient() -> None:
    """Scores are noise: a threshold that had seen them would seem to discriminate."""
    random, gains = np.random.default_rng(3), []
    for seed in range(60):
        labels, values = np.arange(60) % 2, random.random(60)
        called = cross_fitted_decisions(labels, np.arange(60), values, (0.7, 0.7), seed)
        gains.append(called[labels == 1].mean() + 1 - called[labels == 0].mean())
    assert np.mean(gains) < 1.03


def test_it_is_a_function_of_the_seed_and_refuses_one_patient_of_a_class() -> None:
    labels, values = _site(100, 0.3, 0, 4)
    first, second = (cross_fitted_decisions(labels, np.arange(100), values, (0.7, 0.7), 1) for _ in range(2))
    assert (first == second).all()
    with pytest.raises(ValueError, match="too few patients"):
        cross_fitted_decisions([1, 0, 0, 0], [0, 1, 2, 3], [0.9, 0.1, 0.2, 0.3], (0.7, 0.7))

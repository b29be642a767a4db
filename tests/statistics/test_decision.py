"""Thresholds by hand and by brute force, recalibration against known truths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from elsewhere.statistics.decision import (
    GRID,
    OperatingPoint,
    choose_threshold,
    choose_thresholds,
    counts_at_or_above,
    decide,
    fit_recalibration,
    recalibrate,
)

hundredths = st.integers(0, 100).map(lambda k: k / 100)
cases = st.lists(st.tuples(st.integers(0, 1), hundredths | st.floats(0, 1)), min_size=1, max_size=12)


def slow_threshold(labels: list[int], probabilities: list[float], ties: str = "middle") -> tuple[float, str]:
    right = [sum((p >= k / 100) == bool(y) for y, p in zip(labels, probabilities, strict=True)) for k in range(101)]
    best = [k for k in range(101) if right[k] == max(right)]
    useful = [k for k in best if 0 < sum(p >= k / 100 for p in probabilities) < len(probabilities)] or best
    runs = [[useful[0]]]
    for k in useful[1:]:
        if k == runs[-1][-1] + 1:
            runs[-1].append(k)
        else:
            runs.append([k])
    widest = max(runs, key=len)
    threshold = (best[0] if ties == "first" else (widest[0] + widest[-1]) // 2) / 100
    called = [p >= threshold for p in probabilities]
    return (0.5, "argmax") if all(called) or not any(called) else (threshold, "grid")


@settings(deadline=None)
@given(cases, st.sampled_from(["first", "middle"]))
def test_threshold_equals_the_slow_reading_of_the_protocol(pairs, ties):
    labels, probabilities = (list(column) for column in zip(*pairs, strict=True))
    point = choose_threshold(labels, probabilities, ties=ties)
    threshold, rule = slow_threshold(labels, probabilities, ties)
    assert (point.threshold, point.rule) == (threshold, rule)
    assert point.accuracy == np.mean(decide(probabilities, point) == np.array(labels, bool))


def test_middle_of_the_widest_best_interval_by_hand():
    # right everywhere for 0.30 < t <= 0.90: grid points 0.31..0.90, 60 of them, the lower middle is 0.60
    assert choose_threshold([0, 0, 1, 1], [0.10, 0.30, 0.90, 0.95]) == OperatingPoint(0.60, "grid", "model", 1.0, 4, 60)


def test_the_papers_rule_takes_the_first_of_equals():
    assert choose_threshold([0, 0, 1, 1], [0.10, 0.30, 0.90, 0.95], ties="first").threshold == 0.31
    everyone = choose_threshold([1] * 4, [0.2, 0.4, 0.6, 0.9], ties="first")  # threshold 0, trivial: argmax
    assert (everyone.rule, everyone.accuracy) == ("argmax", 0.5)
    assert "all 4 validation scans are positive" in everyone.note


def test_a_trivial_threshold_never_beats_a_useful_one_in_silence():
    # 3 of 4 right by calling everyone positive (0 to 0.10), and by 0.11 to 0.50 (one positive missed)
    labels, probabilities = [1, 0, 1, 1], [0.10, 0.10, 0.50, 0.90]
    useful = choose_threshold(labels, probabilities)
    assert (useful.rule, useful.threshold, useful.accuracy) == ("grid", 0.30, 0.75)
    assert useful.note == "calling every validation scan positive is as accurate as this threshold"
    paper = choose_threshold(labels, probabilities, ties="first")
    assert paper.rule == "argmax"
    assert paper.note.startswith("calling every validation scan positive comes first among equals, though 0.11 is as")
    assert choose_threshold([0, 0, 0, 1], [0.9, 0.8, 0.7, 0.1]).note.startswith("no threshold that tells scans apart")
    assert choose_threshold([0, 0, 1, 1], [0.1, 0.3, 0.9, 0.95]).note == ""


def test_widest_of_two_best_intervals():
    # 3 of 4 right for 0.11..0.20 and for 0.41..0.80; the second is wider
    point = choose_threshold([0, 1, 0, 1], [0.10, 0.20, 0.40, 0.80])
    assert (point.threshold, point.accuracy) == (0.60, 0.75)


def test_positive_at_the_threshold_itself():
    point = OperatingPoint(0.35, "grid", "model", 1.0, 4)
    assert decide([0.349999, 0.35, 1.0], point).tolist() == [False, True, True]


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_validation_falls_to_argmax(label):
    point = choose_threshold([label] * 5, [0.1, 0.4, 0.5, 0.6, 0.9], "site")
    assert (point.rule, point.reading, point.threshold) == ("argmax", "site", 0.5)
    assert decide([0.4, 0.5, 0.5000001], point).tolist() == [False, False, True]
    assert point.accuracy == (0.4 if label else 0.6)


def test_best_by_calling_all_negative_is_argmax():
    assert choose_threshold([0, 0, 0, 1], [0.9, 0.8, 0.7, 0.1]).rule == "argmax"


def test_both_readings():
    sites = ["a"] * 4 + ["b"] * 4
    labels = [0, 0, 1, 1] * 2
    probabilities = [0.0, 0.1, 0.3, 0.4, 0.5, 0.6, 0.9, 1.0]
    points = choose_thresholds(sites, labels, probabilities, ["a"], ["a", "b"])
    assert {key: point.threshold for key, point in points.items()} == {
        ("model", "a"): 0.20,
        ("model", "b"): 0.20,
        ("site", "a"): 0.20,
        ("site", "b"): 0.75,
    }
    both = choose_thresholds(sites, labels, probabilities, ["a", "b"], ["b"])
    assert both["model", "b"] == choose_threshold(labels, probabilities)


def test_a_site_without_validation_scans_is_named():
    with pytest.raises(ValueError, match="no validation scan from c; a threshold cannot be chosen there"):
        choose_thresholds(["a", "a"], [0, 1], [0.1, 0.9], ["a"], ["a", "c"])


@pytest.mark.parametrize(
    ("labels", "probabilities", "says"),
    [
        ([], [], "labels have shape"),
        ([0, 1], [0.5, np.nan], "1 NaN"),
        ([0, 1], [0.5, 1.2], "reach from 0.5 to 1.2"),
        ([0, 1], [0.5], "there are 2 labels"),
        ([0, 2], [0.5, 0.5], "labels hold 2"),
        ([0, np.nan], [0.5, 0.5], "labels hold nan"),
        ([[0, 1]], [0.5, 0.5], "one label per scan"),
    ],
)
def test_bad_input_is_refused_in_words(labels, probabilities, says):
    with pytest.raises(ValueError, match=says):
        choose_threshold(labels, probabilities)


def test_counts_at_or_above_equal_the_double_loop():
    random = np.random.default_rng(0)
    values = np.concatenate([random.random((3, 40)), np.tile(GRID[::10], (3, 1))], axis=1)
    slow = np.array([[(row >= t).sum() for t in GRID] for row in values])
    assert (counts_at_or_above(values) == slow).all()
    assert (counts_at_or_above(np.empty(0)) == 0).all()


def test_recalibration_is_found_again_and_equals_scikit_learn():
    random = np.random.default_rng(2)
    odds = random.normal(0, 1.5, 20_000)
    labels = (random.random(odds.size) < expit(-1 + 0.5 * odds)).astype(int)
    found = fit_recalibration(labels, expit(odds))
    assert (found.intercept, found.slope) == (pytest.approx(-1, abs=0.06), pytest.approx(0.5, abs=0.04))
    plain = LogisticRegression(C=1e12, tol=1e-12, max_iter=1000).fit(odds[:, None], labels)
    # Platt's targets differ from the labels by 1/(n + 2)
    assert found.slope == pytest.approx(plain.coef_[0, 0], abs=1e-3)


def test_recalibration_is_finite_for_separated_scans_and_keeps_a_reversed_ranking():
    found = fit_recalibration([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert np.isfinite([found.slope, found.intercept]).all()
    assert fit_recalibration([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9]).slope < 0


def test_recalibration_needs_two_classes_and_two_probabilities():
    with pytest.raises(ValueError, match="one class; recalibration needs both"):
        fit_recalibration([1, 1], [0.2, 0.4])
    with pytest.raises(ValueError, match="same probability"):
        fit_recalibration([0, 1], [0.4, 0.4])


def test_certain_probabilities_stay_finite():
    assert np.isfinite(recalibrate([0.0, 1.0], fit_recalibration([0, 1, 1], [0.0, 1.0, 0.0]))).all()

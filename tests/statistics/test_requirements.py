"""Requirements: met, not met and open on both sides of each limit; net benefit by hand; scans that would settle one."""

from __future__ import annotations

import numpy as np
import pytest

from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.requirements import (
    Requirement,
    Requirements,
    assess_decisions,
    assess_discrimination,
    class_shares,
    least_gains,
    net_benefit_gains,
    require,
    scans_to_settle,
    subtract,
)


def _interval(estimate: float, half: float) -> Interval:
    return Interval(estimate, estimate - half, estimate + half, "")


def _decisions(found: int, positives: int, cleared: int, negatives: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, patients and calls with so many of the positives found and of the negatives cleared."""
    labels = np.repeat([1, 0], [positives, negatives])
    called = np.concatenate([np.arange(positives) < found, np.arange(negatives) >= cleared])
    return labels, np.arange(labels.size), called


@pytest.mark.parametrize(
    ("estimate", "half", "status"),
    [
        (0.90, 0.05, "met"),
        (0.8501, 0.05, "met"),
        (0.84, 0.05, "open"),
        (0.76, 0.05, "open"),
        (0.74, 0.05, "not met"),
    ],
)
def test_only_the_whole_interval_meets_a_requirement(estimate: float, half: float, status: str) -> None:
    found = require("sensitivity", 0.80, _interval(estimate, half), stated=True)
    assert found.status == status
    assert {"met": "whole 95 % interval", "not met": "not met", "open": "both sides"}[status] in found.finding


@pytest.mark.parametrize(("here", "status"), [(0.86, "met"), (0.78, "open"), (0.60, "not met")])
def test_a_margin_is_met_by_the_interval_of_the_difference(here: float, status: str) -> None:
    found = require(
        "sensitivity", -0.10, _interval(here, 0.04), stated=False, home=_interval(0.85, 0.03), against="home"
    )
    assert found.value is not None
    assert (found.value.low, found.value.high) == pytest.approx((here - 0.85 - 0.05, here - 0.85 + 0.05))
    assert (found.status, found.bound) == (status, pytest.approx(0.75))
    assert found.demand == "sensitivity at most 0.10 below home (default)"


def test_what_is_not_measured_is_open() -> None:
    for found in (
        require("sensitivity", 0.7, None, stated=False),
        require("sensitivity", -0.1, _interval(0.9, 0.01), stated=False, home=None, against="home"),
    ):
        assert (found.status, found.value) == ("open", None)
        assert "cannot be measured" in found.finding


def _demands(wanted: Requirements) -> list[str]:
    shares = _interval(0.9, 0.01)
    found: list[Requirement] = assess_discrimination(shares, shares, wanted)
    found += assess_decisions(*_decisions(9, 10, 9, 10), (shares, shares), wanted)
    return [r.demand for r in found]


def test_without_stated_requirements_the_defaults_stand() -> None:
    assert _demands(Requirements()) == [
        "discrimination (AUC) at least 0.80 (default)",
        "discrimination (AUC) at most 0.10 below home (default)",
        "sensitivity at least 0.70 (default)",
        "sensitivity at most 0.10 below home (default)",
        "specificity at least 0.70 (default)",
        "specificity at most 0.10 below home (default)",
    ]


def test_a_stated_one_replaces_the_defaults_of_its_measure_alone() -> None:
    assert _demands(Requirements(least_sensitivity=0.9)) == [
        "discrimination (AUC) at least 0.80 (default)",
        "discrimination (AUC) at most 0.10 below home (default)",
        "sensitivity at least 0.90 (stated)",
        "specificity at least 0.70 (default)",
        "specificity at most 0.10 below home (default)",
    ]


def test_a_stated_margin_holds_for_all_three_and_net_benefit_adds_two() -> None:
    demands = _demands(Requirements(least_auc=0.75, margin=0.05, net_benefit_at=0.2))
    assert [d for d in demands if "below home" in d] == [
        f"{name} at most 0.05 below home (stated)" for name in ("discrimination (AUC)", "sensitivity", "specificity")
    ]
    assert demands[0] == "discrimination (AUC) at least 0.75 (stated)"
    assert demands[-2:] == [
        "net benefit above that of treat-none (stated)",
        "net benefit above that of treat-all (stated)",
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("least_auc", 0.5), ("least_sensitivity", 0.0), ("margin", 1.0), ("net_benefit_at", -0.1)]
)
def test_values_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be above .* and below 1, is {value:g}"):
        Requirements(**{name: value})


def test_a_model_that_misses_26_of_30_does_not_meet_the_defaults() -> None:
    home = class_shares(*_decisions(42, 50, 128, 150))
    found = {r.demand: r.status for r in assess_decisions(*_decisions(4, 30, 468, 470), home, Requirements())}
    assert found["sensitivity at least 0.70 (default)"] == "not met"
    assert found["sensitivity at most 0.10 below home (default)"] == "not met"
    assert found["specificity at least 0.70 (default)"] == "met"


def test_nor_does_one_that_misses_as_many_at_home() -> None:
    home = class_shares(*_decisions(4, 30, 468, 470))
    found = {r.demand: r.status for r in assess_decisions(*_decisions(4, 30, 468, 470), home, Requirements())}
    assert found["sensitivity at least 0.70 (default)"] == "not met"


def test_net_benefit_by_hand() -> None:
    """100 scans: 8 found, 2 missed, 10 false alarms, 80 cleared; at 0.2 a false alarm costs a quarter."""
    gains = net_benefit_gains(*_decisions(8, 10, 80, 90), 0.2)
    assert gains["treat none"].estimate == pytest.approx(0.08 - 0.10 / 4)
    assert gains["treat all"].estimate == pytest.approx(0.80 / 4 - 0.02)
    for gain in gains.values():
        assert gain.low < gain.estimate < gain.high


def test_net_benefit_interval_holds_the_truth() -> None:
    """Sensitivity 0.8, specificity 0.9, prevalence 0.15, n = 120: 0.12 - 0.085 / 4 above treat none."""
    random, held = np.random.default_rng(5), 0
    for _ in range(600):
        labels = (random.random(120) < 0.15).astype(int)
        called = np.where(labels == 1, random.random(120) < 0.8, random.random(120) < 0.1)
        gain = net_benefit_gains(labels, np.arange(120), called, 0.2)["treat none"]
        held += gain.low <= 0.12 - 0.085 / 4 <= gain.high
    assert 0.925 <= held / 600 <= 0.99


def test_least_gains_are_those_of_the_decisions_at_each_threshold() -> None:
    random = np.random.default_rng(20261207)
    labels, patients = (random.random(60) < 0.3).astype(int), np.repeat(np.arange(30), 2)
    scores = np.clip(0.3 + 0.4 * labels + 0.2 * random.normal(size=60), 0, 1)
    found = least_gains(labels, patients, scores, [0.2, 0.5])
    for low, t in zip(found, (0.2, 0.5), strict=True):
        gains = net_benefit_gains(labels, patients, scores >= t, t)
        assert low == pytest.approx(min(gain.low for gain in gains.values()))
    assert found[1] > 0


def test_chance_is_seldom_shown_to_be_of_use_at_any_threshold() -> None:
    """0 to 2 % of cells; the points alone lie above treat-all and treat-none in most."""
    random, shown = np.random.default_rng(20261208), 0
    for _ in range(40):
        labels = (random.random(90) < 0.3).astype(int)
        shown += bool((least_gains(labels, np.arange(90), random.random(90), np.arange(5, 95, 5) / 100) > 0).any())
    assert shown <= 3


def test_patients_with_many_scans_widen_the_net_benefit() -> None:
    labels, patients, called = _decisions(8, 10, 80, 90)
    alone = net_benefit_gains(labels, patients, called, 0.2)["treat none"]
    many = net_benefit_gains(np.repeat(labels, 4), np.repeat(patients, 4), np.repeat(called, 4), 0.2)["treat none"]
    assert many.estimate == pytest.approx(alone.estimate)
    assert many.low == pytest.approx(alone.low, abs=0.01)


def test_a_wrong_threshold_probability_or_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="threshold probability"):
        net_benefit_gains([1, 0], [0, 1], [1, 0], 1.0)
    with pytest.raises(ValueError, match="2 decisions for 3 labels"):
        class_shares([1, 0, 1], [0, 1, 2], [1, 0])


def test_subtract_is_square_and_add() -> None:
    found = subtract(Interval(0.9, 0.8, 0.95, ""), Interval(0.7, 0.6, 0.75, ""))
    assert found.low == pytest.approx(0.2 - (0.1**2 + 0.05**2) ** 0.5)
    assert found.high == pytest.approx(0.2 + (0.05**2 + 0.1**2) ** 0.5)


def test_scans_to_settle_shrink_the_interval_as_the_root_of_scans() -> None:
    """Reserve 0.05, half 0.1 with 100 scans: 0.05 = (1 + 0.84 / 1.96) · 0.1 · √(100 / n), n = 817."""
    wide = require("sensitivity", 0.75, _interval(0.80, 0.10), stated=True)
    assert scans_to_settle(wide, 100) == 820
    below = require("sensitivity", 0.75, _interval(0.70, 0.10), stated=True)
    assert scans_to_settle(below, 100) == 820


def test_what_home_alone_leaves_open_no_scans_here_settle() -> None:
    def at(home_half: float) -> int | None:
        return scans_to_settle(
            require(
                "sensitivity", -0.1, _interval(0.85, 0.1), stated=False, home=_interval(0.85, home_half), against="home"
            ),
            100,
        )

    assert at(0.12) is None
    few = at(0.02)
    assert few is not None
    assert few < (at(0.08) or 0)
    assert scans_to_settle(require("sensitivity", 0.7, None, stated=True), 100) is None

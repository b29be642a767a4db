"""Calibration on the page: what is called useful, overconfident or reversed, and what balanced training does to it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elsewhere.pages.report import Calibration, Model, Site, Study, calibration
from elsewhere.pages.report.folder import Folder
from elsewhere.statistics.calibration import decision_curve, reliability_curve
from elsewhere.statistics.requirements import least_gains
from study_rows import a_score


def a_study(**parts: object) -> Study:
    """Two networks at two sites, with the parts given."""
    models = (Model("A", ("A",), weights="c0ffee" * 4), Model("A+B", ("A", "B")))
    return Study("paper", "In a sentence.", models, (Site("A"), Site("B")), **parts)


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    """A CSV's rows."""
    with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def curves(labels: Sequence[int], probabilities: Sequence[float], site: str = "A", **more: object) -> Calibration:
    """Both curves of one cell, by the functions that a study uses."""
    seen, gained = reliability_curve(labels, probabilities), decision_curve(labels, probabilities)
    shares = (seen.mean_probability, seen.positive_share, seen.positive_share_low, seen.positive_share_high)
    shown = least_gains(labels, range(len(labels)), probabilities, gained.threshold)
    return Calibration("A", site, *shares, seen.scans, gained.threshold, gained.model, gained.treat_all, shown, **more)


CLEAR = ([1] * 30 + [0] * 30, [0.9] * 15 + [0.7] * 15 + [0.2] * 15 + [0.1] * 15)
"""Labels and probabilities of a network that separates the classes."""


def test_a_perfect_network_is_useful_and_one_that_knows_nothing_nowhere() -> None:
    low, high = calibration.useful_range(curves([1] * 40 + [0] * 40, [1.0] * 40 + [0.0] * 40)) or (1, 0)
    assert low < 0.2 < 0.8 < high
    assert calibration.useful_range(curves([1, 0] * 40, [0.5] * 80)) is None


def test_chance_is_not_called_useful_where_its_curve_lies_above_both_others() -> None:
    random = np.random.default_rng(20261204)
    above = shown = 0
    for _ in range(25):
        labels = (random.random(90) < 0.3).astype(int)
        curve = curves(labels.tolist(), random.random(90).tolist())
        above += bool((np.asarray(curve.benefit) > np.maximum(np.asarray(curve.treat_all), 0) + 1e-12).any())
        shown += calibration.useful_range(curve) is not None
    assert above > 15  # by its points alone, most would be
    assert shown <= 1


def test_the_useful_range_is_the_longest_run() -> None:
    curve = replace(
        curves([1, 0], [0.6, 0.4]),
        threshold=np.array([0.1, 0.2, 0.3, 0.4, 0.5]),
        least_gain=np.array([0.1, 0.0, 0.1, 0.1, -0.2]),
    )
    assert calibration.useful_range(curve) == (0.3, 0.4)


def test_a_range_too_narrow_to_set_a_threshold_in_is_named_by_its_middle() -> None:
    assert calibration.range_words(0.41, 0.43) == "only near 0.42"
    assert calibration.range_words(0.41, 0.41) == "only near 0.41"
    assert calibration.range_words(0.40, 0.50) == "0.40 to 0.50"


def test_calibration_shows_curves_numbers_and_every_point(tmp_path: Path) -> None:
    slope = {"calibration_slope": 0.4, "calibration_slope_sampling_low": 0.1, "calibration_slope_sampling_high": 0.7}
    score = a_score(ece=0.21, ece_if_calibrated=0.05, **slope)
    study = a_study(calibrations=[curves(*CLEAR)], scores=[score])
    shown = calibration.section(study, "paper", Folder(tmp_path))
    assert shown is not None
    assert "At home the median calibration error (ECE) is 0.21, and of 1 cell 1 overconfident" in shown.words
    assert {p.name for p in (tmp_path / "figures").glob("*.svg")} >= {
        "paper-calibration-a.svg",
        "paper-net-benefit-a.svg",
    }
    useful = rows_of(tmp_path, "paper-calibration")[0]
    assert 0.11 <= float(useful["useful_from"]) < float(useful["useful_to"]) <= 0.9  # up to 0.10 it acts on everyone
    assert len(rows_of(tmp_path, "paper-reliability")) == 4
    assert len(rows_of(tmp_path, "paper-decision-curves")) == 99
    assert calibration.section(a_study(), "paper", Folder(tmp_path)) is None


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.9, "overconfident"),
        (-7.5, -1.4, "reversed"),
        (-0.2, 0.8, "unrelated"),
        (-0.2, 1.3, "open"),
        (1.1, 5.0, "underconfident"),
        (0.5, 9.0, "open"),
        (None, None, "unknown"),
    ],
)
def test_a_slope_is_judged_by_its_interval(low: float | None, high: float | None, said: str) -> None:
    row = a_score(calibration_slope=150.0, calibration_slope_sampling_low=low, calibration_slope_sampling_high=high)
    assert calibration.slope_verdict(row) == said


def test_calibration_speaks_of_networks_that_learned_alone() -> None:
    score = a_score(ece=0.21, calibration_slope=0.4)
    constant = curves([1, 1, 0, 0], [0.5, 0.5, 0.5, 0.5])
    study = a_study(calibrations=[constant], scores=[score])
    assert calibration.sentence(study).endswith(
        "In 1 of 1 cell the net benefit is at no threshold shown to be above that of treat-all and treat-none."
    )
    without = replace(study, models=[replace(model, degenerate=("it did not learn",)) for model in study.models])
    assert calibration.sentence(without) == ""


def test_cells_of_one_of_several_sites_are_not_called_home() -> None:
    slope = {"calibration_slope": -3.0, "calibration_slope_sampling_low": -7.5, "calibration_slope_sampling_high": -1.4}
    score = a_score(ece=0.2, **slope)
    first, several = curves(*CLEAR), replace(curves(*CLEAR), model="A+B")
    home = a_study(calibrations=[first], scores=[score])
    assert calibration.sentence(home).startswith("At home the median calibration error (ECE) is 0.20, and of 1 cell 1")
    assert "1 reversed (slope and its interval below 0)" in calibration.sentence(home)
    assert "overconfident" not in calibration.sentence(home)
    both = replace(home, calibrations=[first, several], scores=[replace(score, model=m) for m in ("A", "A+B")])
    assert calibration.sentence(both).startswith("At training sites (internal test sets) the median")
    assert "of 2 cells 2 reversed" in calibration.sentence(both)


def test_probabilities_of_balanced_training_are_said_to_be_so() -> None:
    score = a_score(ece=0.21, observed_expected=0.6)
    curve = curves(*CLEAR, observed_expected_corrected=0.97)
    asked = {"calibrations": [curve], "scores": [score]}
    said = calibration.sentence(a_study(**asked, settings={"training": {"balanced_classes": True}}))
    assert "drawn in turn" in said
    assert "the probabilities refer to half of the scans being positive" in said
    assert "median O:E of 0.97 instead of 0.60" in said
    for training in ({"balanced_classes": False}, {}):
        assert "drawn in turn" not in calibration.sentence(a_study(**asked, settings={"training": training}))
    mixed = {"balanced_classes": True, "sampling": "balanced"}
    said = calibration.sentence(a_study(**asked, settings={"training": mixed}))
    assert "refer to that mix of sites and classes" in said
    assert "instead of" not in said

"""A threshold and a recalibration from kept patients: what is chosen, refused, measured, and never called better."""

from __future__ import annotations

import numpy as np
import pytest

from elsewhere.statistics.calibration import brier_score
from elsewhere.statistics.decision import Recalibration, recalibrate
from elsewhere.statistics.local_reading import Choice, Compared, Sample, choose_locally, compare_locally


def drawn(seed: int, patients: int, shift: float = 0.0, scale: float = 1.0, apart: float = 2.0) -> Sample:
    """Two scans of each patient; log-odds of the classes lie `apart`, and are then shifted and stretched.

    With a shift of 0 the middle between the classes is 0.5, the threshold that the rule of this module looks for.
    """
    random = np.random.default_rng([7, seed])
    labels = np.repeat(np.arange(patients) % 2, 2)
    people = np.repeat(np.arange(patients), 2)
    odds = (labels - 0.5) * apart + np.repeat(random.normal(0, 0.7, patients), 2) + random.normal(0, 0.7, 2 * patients)
    return Sample(labels, people, 1 / (1 + np.exp(-(scale * odds + shift))))


def at(sample: Sample, threshold: float) -> np.ndarray:
    return (np.asarray(sample.probabilities) >= threshold).astype(int)


def by_measure(found: tuple[Compared, ...]) -> dict[str, Compared]:
    return {one.measure: one for one in found}


def test_a_shifted_product_is_mended_and_both_are_measured_on_others() -> None:
    kept, scored = drawn(1, 80, shift=2.0), drawn(2, 160, shift=2.0)
    choice = choose_locally(kept)
    assert (choice.positive_patients, choice.negative_patients, choice.reason) == (40, 40, "")
    assert choice.threshold is not None
    assert choice.line is not None
    assert 0.75 < choice.threshold < 0.95  # 0.5 shifted by 2 is 0.88
    found = by_measure(compare_locally(scored, choice, at(scored, 0.5)))
    truth = np.asarray(scored.labels)
    for name, label in (("sensitivity", 1), ("specificity", 0)):
        one = found[name]
        assert one.own is not None and one.changed is not None and one.difference is not None  # noqa: PT018
        assert one.own.estimate == np.mean(at(scored, 0.5)[truth == label] == label)
        assert one.changed.estimate == np.mean(at(scored, choice.threshold)[truth == label] == label)
        assert one.difference.estimate == pytest.approx(one.changed.estimate - one.own.estimate)
    assert (found["sensitivity"].outcome, found["specificity"].outcome) == ("worse", "better")
    assert found["balanced accuracy"].outcome == "better"
    brier = found["Brier score"]
    assert brier.own is not None and brier.changed is not None  # noqa: PT018
    assert brier.own.estimate == pytest.approx(brier_score(truth, scored.probabilities))
    assert brier.changed.estimate == pytest.approx(
        brier_score(truth, recalibrate(np.asarray(scored.probabilities), choice.line))
    )
    assert brier.outcome == "better"
    intercept = found["calibration intercept"]
    assert intercept.own is not None and intercept.changed is not None  # noqa: PT018
    assert intercept.own.high < 0 < intercept.changed.high


def test_a_threshold_that_is_right_already_is_seldom_called_worse_or_better() -> None:
    """Of 200 products with the right threshold 0.5, well calibrated log-odds or not; 95 % intervals allow 5 of 200."""
    outcomes = []
    for seed in range(200):
        scored = drawn(2 * seed + 1001, 80)
        found = by_measure(compare_locally(scored, choose_locally(drawn(2 * seed + 1000, 60)), at(scored, 0.5)))
        outcomes.append(found["balanced accuracy"].outcome)
    assert outcomes.count("better") <= 5
    assert outcomes.count("not shown") >= 180


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (drawn(1, 18), "they are 9 positive and 9 negative, and a threshold from fewer than 10 of a class is chance"),
        (
            Sample([1] * 30, range(30), np.linspace(0.1, 0.9, 30)),
            "they are 30 positive and 0 negative, and a threshold",
        ),
        (
            Sample([0] * 30, range(30), np.linspace(0.1, 0.9, 30)),
            "they are 0 positive and 30 negative, and a threshold",
        ),
        (Sample([0, 1] * 30, np.arange(60), [0.3] * 60), "their scores are all alike, and no threshold divides them"),
        (Sample([0, 1] * 30, np.arange(60) // 30, np.arange(60) / 60), "they are 2 positive and 2 negative, and a"),
        (drawn(3, 60, scale=-1.0), "their scores point the wrong way, which no threshold corrects"),
    ],
)
def test_where_nothing_can_be_chosen_there_is_a_reason_and_no_number(kept: Sample, reason: str) -> None:
    choice = choose_locally(kept)
    assert choice.reason.startswith(reason)
    assert (choice.threshold, choice.line) == (None, None)
    scored = drawn(5, 40)
    assert compare_locally(scored, choice, at(scored, 0.5)) == ()


def test_without_decisions_of_its_own_the_local_ones_stand_alone() -> None:
    found = by_measure(compare_locally(drawn(2, 60), choose_locally(drawn(1, 60)), None))
    assert found["sensitivity"].own is None
    assert found["sensitivity"].changed is not None
    assert [found[name].outcome for name in ("sensitivity", "specificity", "balanced accuracy")] == [""] * 3
    assert found["Brier score"].difference is not None


def test_scored_patients_of_one_class_judge_no_change() -> None:
    """All positive: whatever raises probabilities looks better there."""
    both = drawn(2, 80, shift=-2.0)
    up = np.asarray(both.labels) == 1
    scored = Sample(np.ones(int(up.sum())), np.asarray(both.patients)[up], np.asarray(both.probabilities)[up])
    choice = choose_locally(drawn(1, 60, shift=-2.0))
    found = by_measure(compare_locally(scored, choice, at(scored, 0.5)))
    assert "balanced accuracy" not in found
    assert "specificity" not in found
    assert found["Brier score"].outcome == ""
    assert found["calibration slope"].own is found["calibration slope"].changed is None


def test_scores_that_separate_the_kept_patients_wholly_still_give_finite_numbers() -> None:
    choice = choose_locally(Sample([0] * 10 + [1] * 10, range(20), [0.1] * 10 + [0.9] * 10))
    assert choice.threshold == pytest.approx(0.5)
    assert choice.line is not None
    assert np.isfinite([choice.line.slope, choice.line.intercept]).all()


def test_a_single_scored_patient_tells_nothing() -> None:
    found = compare_locally(
        Sample([1, 0], ["p", "p"], [0.9, 0.1]), Choice(10, 10, 0.5, Recalibration(0, 1), ""), [1, 0]
    )
    assert {one.outcome for one in found} <= {"", "not shown"}

"""Kept patients' scans and other patients' scans in; what a local threshold and a recalibration do for the latter, out.

Both are chosen on the kept patients alone and measured on the others, beside the model as it is, on the same scans.
Intervals are over the patients that are scored; what was chosen is held: other kept patients would give another choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elsewhere.statistics.calibration import Ends, calibration_line
from elsewhere.statistics.columns import Floats, Ints, check_groups, check_labels, check_probabilities, count_groups
from elsewhere.statistics.decision import Recalibration, fit_recalibration, recalibrate
from elsewhere.statistics.intervals import Interval, mean_interval, proportion_interval
from elsewhere.statistics.local_threshold import choose_local_threshold
from elsewhere.statistics.paired import paired_mean, paired_share_difference
from elsewhere.statistics.requirements import LEAST_SHARE
from elsewhere.statistics.verdict_rule import LEAST_PATIENTS

Change = Literal["threshold", "recalibration"]
Outcome = Literal["better", "worse", "not shown", ""]


@dataclass(frozen=True, eq=False)
class Sample:
    """Scans of one site with their scores.

    Attributes:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        probabilities: (scans,).
    """

    labels: ArrayLike
    patients: ArrayLike
    probabilities: ArrayLike


@dataclass(frozen=True)
class Choice:
    """What was chosen on the kept patients.

    Attributes:
        positive_patients: kept patients with a positive scan.
        negative_patients: kept patients with a negative scan.
        threshold: local threshold; None where there is none.
        line: recalibration; None where there is none.
        reason: why there is neither, a clause; "" where there is one.
    """

    positive_patients: int
    negative_patients: int
    threshold: float | None
    line: Recalibration | None
    reason: str


@dataclass(frozen=True)
class Compared:
    """One measure as the model is, and after the change, on the same scans.

    Attributes:
        change: that is measured.
        measure: its name.
        own: as the model is; None where it is not known or does not exist.
        changed: after the change; likewise.
        difference: changed less own; None where one of them is, and for calibration.
        outcome: whether the whole interval of the difference is on one side of 0; "" where there is no difference, and
            for the Brier score of one class alone.
    """

    change: Change
    measure: str
    own: Interval | None
    changed: Interval | None
    difference: Interval | None
    outcome: Outcome = ""


def choose_locally(kept: Sample) -> Choice:
    """A threshold and a recalibration (Platt's) from kept patients.

    The threshold is the one whose smaller reserve above a sensitivity and a specificity of 0.70 is largest
    (`choose_local_threshold`).

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1, lengths that differ.

    >>> few = choose_locally(Sample([0, 1], ["p", "q"], [0.1, 0.9]))
    >>> few.threshold, few.reason
    (None, 'they are 1 positive and 1 negative, and a threshold from fewer than 10 of a class is chance')
    """
    truth = check_labels(kept.labels)
    groups, values = check_groups(kept.patients, truth.size), check_probabilities(kept.probabilities, truth.size)
    up, down = (count_groups(groups[truth == c]) for c in (1, 0))
    if min(up, down) < LEAST_PATIENTS:
        why = f"they are {up} positive and {down} negative, and a threshold from fewer than {LEAST_PATIENTS} of a class"
        return Choice(up, down, None, None, f"{why} is chance")
    try:
        line = fit_recalibration(truth, values)
    except ValueError:
        return Choice(up, down, None, None, "their scores are all alike, and no threshold divides them")
    if line.slope <= 0:
        return Choice(up, down, None, None, "their scores point the wrong way, which no threshold corrects")
    return Choice(up, down, choose_local_threshold(truth, values, (LEAST_SHARE, LEAST_SHARE)), line, "")


def compare_locally(scored: Sample, choice: Choice, called: ArrayLike | None) -> tuple[Compared, ...]:
    """The model as it is and after each change, on patients that nothing was chosen on.

    Args:
        scored: their scans.
        choice: from other patients; one without a threshold gives nothing.
        called: the model's own decisions (scans,); None where they are not known.

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1, lengths that differ.

    >>> scored = Sample([0, 1], ["p", "q"], [0.1, 0.9])
    >>> found = compare_locally(scored, Choice(10, 10, 0.5, Recalibration(0.0, 1.0), ""), [0, 1])
    >>> [one.measure for one in found]
    ['sensitivity', 'specificity', 'balanced accuracy', 'Brier score', 'calibration intercept', 'calibration slope']
    """
    if choice.threshold is None or choice.line is None:
        return ()
    truth = check_labels(scored.labels)
    groups, values = check_groups(scored.patients, truth.size), check_probabilities(scored.probabilities, truth.size)
    own = None if called is None else check_labels(called)
    decisions = _decisions(truth, groups, own, (values >= choice.threshold).astype(np.int64))
    return (*decisions, *_probabilities(truth, groups, values, recalibrate(values, choice.line)))


def _decisions(truth: Ints, groups: Ints, own: Ints | None, changed: Ints) -> list[Compared]:
    """Sensitivity, specificity, and their mean."""
    found = []
    for name, label in (("sensitivity", 1), ("specificity", 0)):
        at: NDArray[np.bool_] = truth == label
        if not at.any():
            continue
        people = groups[at]
        after = (changed[at] == label).astype(np.int64)
        before = None if own is None else (own[at] == label).astype(np.int64)
        share = None if before is None else proportion_interval(before, people)
        moved = None if before is None else paired_share_difference(after, before, people)
        found.append(Compared("threshold", name, share, proportion_interval(after, people), moved, _outcome(moved)))
    if len(found) == 2:
        one, other = found
        moved = _mean(one.difference, other.difference)
        both = _mean(one.own, other.own), _mean(one.changed, other.changed), moved
        found.append(Compared("threshold", "balanced accuracy", *both, _outcome(moved)))
    return found


def _mean(one: Interval | None, other: Interval | None) -> Interval | None:
    return None if one is None or other is None else mean_interval(one, other)


def _probabilities(truth: Ints, groups: Ints, own: Floats, changed: Floats) -> list[Compared]:
    """Brier score (smaller is better) and calibration."""
    errors = [(values - truth) ** 2 for values in (own, changed)]
    before, after, moved = (paired_mean({"": (groups, e)}) for e in (*errors, errors[1] - errors[0]))
    both = truth.min() != truth.max()  # of one class alone, whatever moves probabilities its way looks better
    better = _outcome(Interval(-moved.estimate, -moved.high, -moved.low, "") if both else None)
    found = [Compared("recalibration", "Brier score", _from_zero(before), _from_zero(after), moved, better)]
    lines = [calibration_line(truth, values, groups) for values in (own, changed)]
    intercepts = [_interval(line.intercept, line.intercept_ends) for line in lines]
    slopes = [_interval(line.slope, line.slope_ends) for line in lines]
    for name, (one, other) in (("calibration intercept", intercepts), ("calibration slope", slopes)):
        found.append(Compared("recalibration", name, one, other, None))
    return found


def _outcome(moved: Interval | None) -> Outcome:
    if moved is None:
        return ""
    return "better" if moved.low > 0 else "worse" if moved.high < 0 else "not shown"


def _from_zero(interval: Interval) -> Interval:
    return Interval(interval.estimate, max(interval.low, 0.0), interval.high, interval.method)


def _interval(value: float | None, ends: Ends) -> Interval | None:
    if value is None:
        return None
    low, high = ends
    whole = low is not None and high is not None
    return Interval(value, low if whole else -np.inf, high if whole else np.inf, "")  # type: ignore[arg-type]

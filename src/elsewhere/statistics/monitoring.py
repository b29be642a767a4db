"""Evaluations of one product over time in; whether it is still good enough, and whether it has changed, out.

Two control charts for each measure, read after every evaluation on new scans (sequential change-point detection):

* **need**: the last evaluation, the last two, … the last twelve, each of these stretches taken together, against what
  is required (a generalised likelihood ratio chart, window-limited: Lai 1995);
* **before**: each of these stretches against everything that was evaluated before it (the change-point model of
  Hawkins, Qiu & Kang 2003): a reference that is itself only known from scans does not raise the number of alarms.

The statistic is the largest standardised distance over the stretches, the signed root of a deviance; patients are the
unit. An alarm is a distance beyond a limit that was chosen by simulation so that at
most 5 of 100 products have a false one within 24 evaluations, all measures of a chart together; measured on products:
`python benchmarks/monitoring.py`. An alarm stands until another version is evaluated; its chart then begins anew.

An **update** is judged on frozen scans, against the first version that was evaluated on them, so that many small losses
add up. The k-th update may err with 0.05 / (k (k + 1)), which adds up to 5 % over all updates ever (and is shared out
over three measures).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import rel_entr

from elsewhere.statistics.acceptance import WORSE_THAN_BEFORE, at_level
from elsewhere.statistics.columns import Floats, Ints, check_groups, count_groups
from elsewhere.statistics.delong import auc_variance
from elsewhere.statistics.intervals import (
    Interval,
    binormal_variance,
    effective_trials,
    proportion_interval,
    variance_ratio,
)
from elsewhere.statistics.scored import Scored, discrimination, shares
from elsewhere.statistics.verdict_rule import EXIT_CODES, LEAST_PATIENTS
from elsewhere.statistics.versus import Versus
from elsewhere.wording import numbered, verb

Watched = Literal["discrimination (AUC)", "sensitivity", "specificity", "alerts", "no answer"]
JUDGED: tuple[Watched, ...] = ("discrimination (AUC)", "sensitivity", "specificity")
"""Measures of performance, which need labels; only their falling is an alarm."""
UNLABELLED: tuple[Watched, ...] = ("alerts", "no answer")
"""Share of answered scans that are called positive, share of all scans without an answer; either direction counts."""
HORIZON = 24
"""Evaluations within which a chart raises a false alarm for at most 5 of 100 products."""
STRETCH = 12
"""Longest stretch of evaluations that is taken together."""
LIMITS = {"need": 3.52, "fall": 3.49, "change": 3.57}
"""Standard errors beyond which a chart alarms: three one-sided measures; likewise; two measures, both directions."""
LEAST_IN_CLASS = 5
"""Patients of each class from which the scans of one site and evaluation tell something of the AUC."""
COURSE_SEVERITY = (0, EXIT_CODES["cannot tell"], WORSE_THAN_BEFORE, EXIT_CODES["do not use"])
"""Exit codes of a history, the gravest last."""
ERROR = 0.05
PHRASES: dict[Watched, str] = {
    "discrimination (AUC)": "discrimination (AUC)",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "alerts": "the share of answered scans that are called positive",
    "no answer": "the share of scans without an answer",
}


@dataclass(frozen=True)
class Evaluated:
    """The rows of one evaluation.

    Attributes:
        date: of the evaluation, 2026-03-31.
        version: of the product.
        update: whether it was on frozen scans that an earlier evaluation has seen; else the scans are new.
        labels: 1, 0, or -1 where not known (rows,).
        patients: patient of each, the same id for the same patient in all evaluations (rows,).
        scores: larger meaning more positive (rows,); NaN where the product gave none.
        calls: its decisions, 1, 0, or -1 without a score (rows,); None where they are not known.
        sites: site of each (rows,); None where there is one.
    """

    date: str
    version: str
    update: bool
    labels: Ints
    patients: Sequence[str]
    scores: Floats
    calls: Ints | None
    sites: Sequence[str] | None = None


@dataclass(frozen=True)
class Part:
    """What one evaluation (for the AUC: one site of it) says of a measure.

    Attributes:
        value: estimate.
        worth: number of independent scans it is worth: (positive, negative) for the AUC, one number for a share.
        ratio: observed over binormal variance, for the AUC.
        patients: patients behind it, of the rarer class for the AUC.
    """

    value: float
    worth: tuple[float, ...]
    ratio: float
    patients: int


def variances(parts: Sequence[Part], supposed: float) -> Floats:
    """Sampling variance of each estimate where the true value is this one (parts,), 0 < value < 1.

    Of a share p (1 − p) / n, of an AUC the ratio times `intervals.binormal_variance`.

    >>> variances([Part(0.8, (100.0,), 1.0, 100), Part(0.8, (10.0, 10.0), 1.0, 10)], 0.5).round(4).tolist()
    [0.0025, 0.0175]
    """
    one = binormal_variance(supposed, (1.0, 1.0)), binormal_variance(supposed, (2.0, 1.0))
    found = np.empty(len(parts))
    for i, part in enumerate(parts):
        if len(part.worth) == 1:
            found[i] = supposed * (1 - supposed) / part.worth[0]
        else:  # the binormal variance is linear in the number of scans, over the number of pairs
            up, down = part.worth
            found[i] = part.ratio * (one[0] + max(up + down - 2, 0) * (2 * one[1] - one[0])) / (up * down)
    return found


Parts = Sequence[Sequence[Part]]
"""Of each evaluation, in order; none where it says nothing of the measure."""


@dataclass(frozen=True)
class Reading:
    """A chart after one evaluation.

    Attributes:
        distance: largest standardised distance over the stretches, below 0 for lower; None where nothing is to read.
        since: first evaluation of that stretch.
        alarm: evaluation at which the alarm was raised that now stands; None without one.
    """

    distance: float | None
    since: int
    alarm: int | None


@dataclass(frozen=True)
class Chart:
    """One measure against one reference.

    Attributes:
        measure: which.
        kind: "need", "fall" (against before, performance) or "change" (against before, either direction).
        limit: distance beyond which it alarms.
        need: value required; None where the reference is what was before.
        readings: after each evaluation on new scans.
        looks: place of each reading's evaluation among all evaluations.

    >>> Chart("sensitivity", "need", 3.52, 0.8, (Reading(-4.0, 0, 0), Reading(-3.0, 0, 0)), (0, 1)).standing
    Reading(distance=-4.0, since=0, alarm=0)
    """

    measure: Watched
    kind: Literal["need", "fall", "change"]
    limit: float
    need: float | None
    readings: tuple[Reading, ...]
    looks: tuple[int, ...]

    @property
    def standing(self) -> Reading | None:
        """The reading at which the alarm was raised that stands at the end; None without one."""
        last = self.readings[-1].alarm if self.readings else None
        return None if last is None else self.readings[last]


@dataclass(frozen=True)
class Update:
    """A version on frozen scans against the first one on them.

    Attributes:
        number: 1 for the first update.
        lost: measures that are surely lower (without a margin) or surely worse by more than it, at `level`.
        level: of the intervals, for all updates and measures together.
        margin: stated; None without.
        differences: measure -> new less first, at `level`.
    """

    number: int
    lost: tuple[str, ...]
    level: float
    margin: float | None
    differences: Mapping[str, Interval]


@dataclass(frozen=True)
class Course:
    """What all evaluations of one finding say together.

    Attributes:
        values: of each evaluation: measure -> value and 95 % interval; None where it cannot be measured.
        charts: one for each measure and reference.
        updates: of each evaluation; None where it was on new scans.
        sentences: what stands, the gravest first; one sentence where nothing does.
        exit_code: 12 below the need, 14 worse than before, 20 changed or nothing to read, else 0.
    """

    values: tuple[Mapping[Watched, Interval | None], ...]
    charts: tuple[Chart, ...]
    updates: tuple[Update | None, ...]
    sentences: tuple[str, ...]
    exit_code: int


def follow(
    evaluations: Sequence[Evaluated],
    needs: Mapping[Watched, float],
    compared: Sequence[Versus | None],
    margin: float | None = None,
) -> Course:
    """Read all evaluations of one finding in the order of their dates.

    Args:
        evaluations: the first is the acceptance test.
        needs: measure -> value that is required.
        compared: of each evaluation that is an update, its comparison with the first on the same scans.
        margin: what an update may lose; None for none.

    >>> calls = np.array([0, 1] * 20)
    >>> first = Evaluated("2026-03-31", "1.0", False, calls, list(map(str, range(40))), calls * 1.0, calls)
    >>> follow([first], {"sensitivity": 0.8}, [None]).exit_code
    0
    """
    looks = [i for i, e in enumerate(evaluations) if not e.update]
    versions = [evaluations[i].version for i in looks]
    parts = {m: [measure_parts(evaluations[i], m) for i in looks] for m in (*JUDGED, *UNLABELLED)}
    charts = [_chart(m, "need", parts[m], versions, looks, need) for m, need in needs.items()]
    charts += [_chart(m, "fall", parts[m], versions, looks) for m in JUDGED]
    charts += [_chart(m, "change", parts[m], versions, looks) for m in UNLABELLED]
    updates, number = list[Update | None](), 0
    for versus in compared:
        number += versus is not None
        updates.append(None if versus is None else judge_update(versus, number, margin))
    sentences, code = _standing(evaluations, charts, updates)
    return Course(tuple(map(_values, evaluations)), tuple(charts), tuple(updates), sentences, code)


# One evaluation ------------------------------------------------------------------------------------------------------


def measure_parts(evaluated: Evaluated, measure: Watched) -> list[Part]:
    """What one evaluation says of a measure; nothing where it cannot be measured.

    >>> rows = Evaluated("", "1.0", False, np.array([0, 0]), list("ab"), np.array([0.6, np.nan]), np.array([1, -1]))
    >>> measure_parts(rows, "no answer")[0].value, measure_parts(rows, "specificity")[0].value
    (0.5, 0.0)
    """
    people, answered = check_groups(evaluated.patients, evaluated.labels.size), np.isfinite(evaluated.scores)
    if measure == "no answer":
        return [_share(~answered, people)]
    if measure == "discrimination (AUC)":
        used = answered & (evaluated.labels >= 0)
        names = np.array(evaluated.sites) if evaluated.sites is not None else np.zeros(used.size, int)
        inside = [used & (names == site) for site in np.unique(names[used])]
        return [part for kept in inside if (part := _auc(evaluated, people, np.flatnonzero(kept))) is not None]
    if evaluated.calls is None:
        return []
    kept = answered if measure == "alerts" else answered & (evaluated.labels == (measure == "sensitivity"))
    right = evaluated.calls == (0 if measure == "specificity" else 1)
    return [_share(right[kept], people[kept])] if kept.any() else []


def _share(right: np.ndarray, people: Ints) -> Part:
    groups = check_groups(people, right.size)
    return Part(float(right.mean()), (effective_trials(right, groups),), 1.0, int(groups.max()) + 1)


def _auc(evaluated: Evaluated, people: Ints, rows: Ints) -> Part | None:
    labels, scores, groups = evaluated.labels[rows], evaluated.scores[rows], check_groups(people[rows], rows.size)
    fewest = min(count_groups(groups[labels == c]) for c in (0, 1))
    if fewest < LEAST_IN_CLASS:
        return None
    auc, variance, worth = auc_variance(labels, scores, groups)
    return Part(auc, worth, variance_ratio(auc, variance, worth), fewest)


def _values(evaluated: Evaluated) -> dict[Watched, Interval | None]:
    people, answered = check_groups(evaluated.patients, evaluated.labels.size), np.isfinite(evaluated.scores)
    used = answered & (evaluated.labels >= 0)
    found: dict[Watched, Interval | None] = {
        "no answer": proportion_interval((~answered).astype(np.int64), people),
        "alerts": None,
    }
    if evaluated.calls is not None and answered.any():
        found["alerts"] = proportion_interval((evaluated.calls[answered] == 1).astype(np.int64), people[answered])
    if not used.any():
        return found | dict.fromkeys(JUDGED)
    sites = None if evaluated.sites is None else check_groups(np.array(evaluated.sites)[used], int(used.sum()))
    called = None if evaluated.calls is None else evaluated.calls[used] == 1
    scans = Scored(evaluated.labels[used], check_groups(people[used], int(used.sum())), evaluated.scores[used], called,
                   sites if sites is not None and sites.max() > 0 else None)  # fmt: skip
    sensitivity, specificity = shares(scans)
    return found | {
        "discrimination (AUC)": discrimination(scans),
        "sensitivity": sensitivity,
        "specificity": specificity,
    }


# Charts --------------------------------------------------------------------------------------------------------------


def distance_from(parts: Sequence[Part], need: float) -> float | None:
    """Standardised distance of parts, taken together, from a value; None below ten patients.

    The signed root of the deviance of a share of as many independent scans as the parts are worth there: for the AUC
    too, because both are skewed near 1, and a plain score test would alarm too often far from the middle.

    >>> round(distance_from([Part(0.7, (50.0,), 1.0, 50), Part(0.7, (50.0,), 1.0, 50)], 0.8), 2)
    -2.37
    """
    if sum(p.patients for p in parts) < LEAST_PATIENTS:
        return None
    value, worth = _together(parts, need)
    return float(np.sign(value - need)) * (2 * worth * _divergence(value, need)) ** 0.5


def distance_between(before: Sequence[Part], after: Sequence[Part]) -> float | None:
    """Standardised distance of the later parts from the earlier ones; None below ten patients of either.

    Both are compared under the value that they have in common: the signed root of the deviance, as `distance_from`.

    >>> round(distance_between([Part(0.9, (100.0,), 1.0, 100)], [Part(0.8, (100.0,), 1.0, 100)]), 2)
    -2.0
    """
    if any(sum(p.patients for p in side) < LEAST_PATIENTS for side in (before, after)):
        return None
    both = [*before, *after]
    common = float(np.average([p.value for p in both], weights=1 / variances(both, 0.5)))
    if not 0 < common < 1:
        return 0.0
    (first, ours), (second, theirs) = _together(before, common), _together(after, common)
    shared = (ours * first + theirs * second) / (ours + theirs)
    deviance = ours * _divergence(first, shared) + theirs * _divergence(second, shared)
    return float(np.sign(second - first)) * (2 * deviance) ** 0.5


def _together(parts: Sequence[Part], supposed: float) -> tuple[float, float]:
    """Weighted mean of parts, and the number of independent scans that it is worth where this is the true value."""
    weights = 1 / variances(parts, supposed)
    total = float(weights.sum())
    return float(np.average([p.value for p in parts], weights=weights)), supposed * (1 - supposed) * total


def _divergence(share: float, supposed: float) -> float:
    """Kullback–Leibler divergence of two shares in nats; not below 0, whatever the rounding."""
    if not 0 < supposed < 1:
        return 0.0
    return max(float(rel_entr(share, supposed) + rel_entr(1 - share, 1 - supposed)), 0.0)


def _chart(  # noqa: PLR0917 - a measure, its parts, and what they are held against
    measure: Watched,
    kind: Literal["need", "fall", "change"],
    parts: Parts,
    versions: Sequence[str],
    looks: Sequence[int],
    need: float | None = None,
) -> Chart:
    def distance(start: int, split: int, stop: int) -> float | None:
        after = [p for look in parts[split:stop] for p in look]
        if need is not None:
            return distance_from(after, need)
        return distance_between([p for look in parts[start:split] for p in look], after)

    readings = read_chart(len(parts), versions, distance, LIMITS[kind], both=kind == "change")
    return Chart(measure, kind, LIMITS[kind], need, readings, tuple(looks))


def read_chart(
    evaluations: int,
    versions: Sequence[str],
    distance: Callable[[int, int, int], float | None],
    limit: float,
    *,
    both: bool = False,
) -> tuple[Reading, ...]:
    """Read a chart after each evaluation.

    Args:
        evaluations: their number.
        versions: of the product at each.
        distance: (start of the chart, first of a stretch, one past its last) -> standardised distance, or None.
        limit: beyond which it alarms, downwards.
        both: whether it alarms upwards as well.

    >>> [r.alarm for r in read_chart(3, "112", lambda start, first, stop: (-1.0, -4.0, -2.0)[stop - 1], 3.5)]
    [None, 1, None]
    """
    found: list[Reading] = []
    start, alarm = 0, None
    for now in range(evaluations):
        if alarm is not None and versions[now] != versions[alarm]:
            start, alarm = now, None
        seen = [(distance(start, first, now + 1), first) for first in range(max(start, now + 1 - STRETCH), now + 1)]
        known = [(d, first) for d, first in seen if d is not None]
        most = min(known, key=lambda pair: -abs(pair[0]) if both else pair[0], default=None)
        if most is None:
            found.append(Reading(None, now, alarm))
            continue
        if alarm is None and (abs(most[0]) if both else -most[0]) > limit:
            alarm = now
        found.append(Reading(*most, alarm))
    return tuple(found)


def judge_update(versus: Versus, number: int, margin: float | None) -> Update:
    """Whether the `number`-th update (from 1, else ValueError) is surely worse than the first version, same scans.

    >>> from elsewhere.statistics.versus import PairedRows, compare_versions
    >>> calls = np.array([0, 1] * 30)
    >>> rows = PairedRows(list(map(str, range(60))), calls, range(60), calls * 1.0, calls * 1.0, 1 - calls, calls)
    >>> judge_update(compare_versions(rows), 1, None).lost
    ('sensitivity', 'specificity')
    """
    if number < 1:
        raise ValueError(f"updates are counted from 1, not {number}")
    level = 1 - 2 * ERROR / (len(JUDGED) * number * (number + 1))
    wide = {d.measure: at_level(d.difference, level, bounds=(-1.0, 1.0)) for d in versus.differences}
    lost = tuple(m for m, gap in wide.items() if gap.high < -(margin or 0.0))
    return Update(number, lost, level, margin, {str(measure): gap for measure, gap in wide.items()})


# What stands ---------------------------------------------------------------------------------------------------------


def _standing(
    evaluations: Sequence[Evaluated], charts: Sequence[Chart], updates: Sequence[Update | None]
) -> tuple[tuple[str, ...], int]:
    found: list[tuple[int, str]] = []
    for chart in charts:
        reading = chart.standing
        if reading is not None and _in_use(chart, reading, evaluations):
            code = {"need": EXIT_CODES["do not use"], "fall": WORSE_THAN_BEFORE, "change": EXIT_CODES["cannot tell"]}
            found.append((code[chart.kind], _alarm(chart, reading, evaluations)))
    found += [(WORSE_THAN_BEFORE, words) for words in _worse_update(evaluations, updates)]
    if found:
        found.sort(key=lambda pair: -COURSE_SEVERITY.index(pair[0]))
        return tuple(words for _, words in found), found[0][0]
    read = any(r.distance is not None for c in charts if c.kind == "need" for r in c.readings)
    if not read:
        least = f"at least {LEAST_PATIENTS} labelled patients of a class"
        return (f"Nothing can be said yet: no evaluation has {least}.",), EXIT_CODES["cannot tell"]
    words = f"No alarm after {numbered(len(evaluations), 'evaluation')}: nothing lies surely below its requirement, "
    if not any(r.distance is not None for c in charts if c.kind != "need" for r in c.readings):
        return (f"{words}and no two evaluations can be compared yet, so that a change could not be seen.",), 0
    return (f"{words}and nothing has surely changed.",), 0


def _in_use(chart: Chart, reading: Reading, evaluations: Sequence[Evaluated]) -> bool:
    """Whether the version that the alarm is about is still the last one that was evaluated."""
    return reading.alarm is not None and evaluations[chart.looks[reading.alarm]].version == evaluations[-1].version


def _alarm(chart: Chart, reading: Reading, evaluations: Sequence[Evaluated]) -> str:
    assert reading.distance is not None
    assert reading.alarm is not None
    first, last = evaluations[chart.looks[reading.since]], evaluations[chart.looks[reading.alarm]]
    many = reading.alarm - reading.since + 1
    when = f"the evaluation of {last.date}" if many == 1 else f"the {many} evaluations of {first.date} to {last.date}"
    lies = verb(many, "lies", "together lie")
    side = "below" if reading.distance < 0 else "above"
    far = f"{abs(reading.distance):.1f} standard errors {side}"
    limit = f"(limit {chart.limit:.2f})"
    name = PHRASES[chart.measure]
    if chart.kind == "need":
        return f"Stop: {name} is below the required {chart.need:.2f}: {when} {lies} {far} it {limit}."
    gone = "has fallen" if chart.kind == "fall" else "has changed"
    then = (
        "" if chart.kind == "fall" else ": other patients, other scanners or another product; label new scans to tell"
    )
    return f"{name[0].upper()}{name[1:]} {gone}: {when} {lies} {far} those before {limit}{then}."


def _worse_update(evaluations: Sequence[Evaluated], updates: Sequence[Update | None]) -> list[str]:
    """The last judged update, where its version is still the one in use and is surely worse."""
    judged = [(i, u) for i, u in enumerate(updates) if u is not None]
    if not judged:
        return []
    place, update = judged[-1]
    if not update.lost or evaluations[-1].version != evaluations[place].version:
        return []
    by = "" if update.margin is None else f" by more than the margin of {update.margin:.2f}"
    gaps = [(m, update.differences[m]) for m in update.lost]
    lost = ", ".join(f"{m} {gap.estimate:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})" for m, gap in gaps)
    version, date = evaluations[place].version, evaluations[place].date
    return [f"Version {version} ({date}) is worse than the first one on the frozen scans{by}: {lost}."]

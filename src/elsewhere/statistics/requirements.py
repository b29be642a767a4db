"""What a model must reach at a new site, and whether the labelled scans there show that it does.

A requirement is met where the whole 95 % interval lies at or above its limit, not met where the whole interval lies
below, and open otherwise. A model works where every requirement is met: if one of them is false, that one alone has
to be shown by chance, so that several requirements make a wrong "works" no more frequent (intersection-union test,
Berger 1982).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.statistics.columns import Floats, Ints, check_groups, check_labels, check_probabilities
from elsewhere.statistics.intervals import Interval, effective_trials, proportion_interval, wilson_ends, z_value

Measure = Literal["discrimination (AUC)", "sensitivity", "specificity", "net benefit"]
Status = Literal["met", "not met", "open"]

LEAST_AUC = 0.80
"""AUC from which discrimination is called excellent (Hosmer, Lemeshow & Sturdivant 2013, section 5.2.4)."""

LEAST_SHARE = 0.70
"""Least sensitivity and specificity: two equal normal distributions with AUC 0.80 have both at 0.72."""

MARGIN = 0.10
"""Loss against home, in AUC, sensitivity or specificity, from which it is called large."""

POWER = 0.80
"""Chance with which the number of scans to label is planned to settle an open requirement."""

MOST_SCANS = 5000
"""A plan for more labelled scans than this is no plan."""


@dataclass(frozen=True)
class Requirements:
    """What a user states that the model must reach here; None where nothing is stated.

    Where a measure has no stated least value, `LEAST_AUC` or `LEAST_SHARE` and, unless a margin is stated, `MARGIN`
    stand in. A stated margin holds for all three measures.

    Attributes:
        least_auc: least discrimination (AUC).
        least_sensitivity: least sensitivity at the operating point.
        least_specificity: least specificity at the operating point.
        net_benefit_at: threshold probability at which the decisions must have more net benefit than calling every
            scan positive and than calling none.
        margin: AUC, sensitivity and specificity may lie at most this far below those of the internal test set.
        prevalence: share of positives at which net benefit is judged; None for that of the scans.

    Raises:
        ValueError: a value outside its range.
    """

    least_auc: float | None = None
    least_sensitivity: float | None = None
    least_specificity: float | None = None
    net_benefit_at: float | None = None
    margin: float | None = None
    prevalence: float | None = None

    def __post_init__(self) -> None:
        for name in ("least_auc", "least_sensitivity", "least_specificity", "net_benefit_at", "margin", "prevalence"):
            value = getattr(self, name)
            low = 0.5 if name == "least_auc" else 0.0
            if value is not None and not low < value < 1:
                raise ValueError(f"{name} must be above {low:g} and below 1, is {value:g}")

    def limits(self, measure: Measure) -> list[tuple[bool, float, bool]]:
        """(against home, least value or margin, stated) for AUC, sensitivity or specificity.

        >>> Requirements(least_auc=0.85).limits("discrimination (AUC)"), Requirements().limits("sensitivity")
        ([(False, 0.85, True)], [(False, 0.7, False), (True, 0.1, False)])
        """
        stated = {
            "discrimination (AUC)": self.least_auc,
            "sensitivity": self.least_sensitivity,
            "specificity": self.least_specificity,
        }[measure]
        least = LEAST_AUC if measure == "discrimination (AUC)" else LEAST_SHARE
        limits = [(False, least, False) if stated is None else (False, stated, True)]
        if self.margin is not None:
            limits.append((True, self.margin, True))
        elif stated is None:
            limits.append((True, MARGIN, False))
        return limits


@dataclass(frozen=True)
class Requirement:
    """One requirement and what the scans say of it.

    Attributes:
        measure: what is required.
        limit: least value of `value`.
        stated: whether the user stated it; else it is a default.
        against: what `value` is a difference to: "home", "treat all", "treat none"; "" for the measure itself.
        value: estimate and 95 % interval; None where it cannot be measured.
        here: the measure at the new site; None where it cannot be measured.
        home: the measure on the internal test set, where `value` is the difference to it.
        status: "met", "not met" or "open".

    >>> found = require("sensitivity", 0.7, Interval(0.8, 0.72, 0.86, ""), stated=True)
    >>> found.bound, found.demand
    (0.7, 'sensitivity at least 0.70 (stated)')
    >>> found.finding.partition(". ")[2]
    'Measured: 0.800 (0.720 to 0.860): met, with the whole 95 % interval.'
    """

    measure: Measure
    limit: float
    stated: bool
    against: str
    value: Interval | None
    here: Interval | None
    home: Interval | None
    status: Status

    @property
    def bound(self) -> float | None:
        """Least estimate of the measure here that the estimate of home asks for; None where home is not known."""
        if self.against != "home":
            return self.limit
        return None if self.home is None else self.home.estimate + self.limit

    @property
    def demand(self) -> str:
        """The requirement in words."""
        source = "stated" if self.stated else "default"
        if self.against == "home":
            return f"{self.measure} at most {-self.limit:.2f} below home ({source})"
        if self.against:
            return f"{self.measure} above that of {self.against.replace(' ', '-')} ({source})"
        return f"{self.measure} at least {self.limit:.2f} ({source})"

    @property
    def finding(self) -> str:
        """What the scans say of it, in a sentence."""
        if self.value is None:
            return f"Required: {self.demand}. It cannot be measured: open."
        shown = f"{self.value.estimate:+.3f}" if self.against else f"{self.value.estimate:.3f}"
        ends = [f"{end:+.3f}" if self.against else f"{end:.3f}" for end in (self.value.low, self.value.high)]
        difference = {"home": "here less home ", "": ""}.get(self.against, "difference ")
        why = {
            "met": "met, with the whole 95 % interval",
            "not met": "not met, with the whole 95 % interval",
            "open": "open, the 95 % interval lies on both sides of it",
        }[self.status]
        return f"Required: {self.demand}. Measured: {difference}{shown} ({ends[0]} to {ends[1]}): {why}."


def require(
    measure: Measure,
    limit: float,
    here: Interval | None,
    *,
    stated: bool,
    home: Interval | None = None,
    against: str = "",
) -> Requirement:
    """One requirement, assessed; against "home" the limit is that of the difference, a margin below 0.

    >>> ends = (0.72, 0.9), (0.6, 0.9), (0.5, 0.69)
    >>> [require("sensitivity", 0.7, Interval(low, low, high, ""), stated=True).status for low, high in ends]
    ['met', 'open', 'not met']
    """
    value = here
    if against == "home":
        value = None if here is None or home is None else subtract(here, home)
    if value is None or not np.isfinite([value.low, value.high]).all():
        status: Status = "open"
    elif value.low >= limit:
        status = "met"
    else:
        status = "not met" if value.high < limit else "open"
    return Requirement(measure, limit, stated, against, value, here, home, status)


def subtract(first: Interval, second: Interval) -> Interval:
    """First minus second of two independent estimates (square-and-add: Newcombe 1998, method 10; Zou & Donner 2008).

    >>> found = subtract(Interval(0.8, 0.7, 0.9, ""), Interval(0.6, 0.5, 0.7, ""))
    >>> tuple(round(v, 3) for v in (found.low, found.estimate, found.high))
    (0.059, 0.2, 0.341)
    """
    gap = first.estimate - second.estimate
    down = np.hypot(first.estimate - first.low, second.high - second.estimate)
    up = np.hypot(first.high - first.estimate, second.estimate - second.low)
    return Interval(gap, float(gap - down), float(gap + up), "square-and-add of two intervals")


def assess_discrimination(auc: Interval | None, home: Interval | None, wanted: Requirements) -> list[Requirement]:
    """The requirements on the AUC.

    >>> here, home = Interval(0.85, 0.81, 0.89, ""), Interval(0.93, 0.91, 0.95, "")
    >>> [(r.against, r.status) for r in assess_discrimination(here, home, Requirements())]
    [('', 'met'), ('home', 'open')]
    """
    return _assess("discrimination (AUC)", auc, home, wanted)


def assess_decisions(
    labels: ArrayLike,
    patients: ArrayLike,
    called: ArrayLike,
    home: tuple[Interval | None, Interval | None],
    wanted: Requirements,
) -> list[Requirement]:
    """The requirements on decisions at a new site: sensitivity, specificity, net benefit.

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        called: 1 where the model calls the scan positive (scans,).
        home: sensitivity and specificity on the internal test set, None where not measured.
        wanted: what is stated.

    Raises:
        ValueError: no scan, labels or decisions other than 0 and 1, lengths that differ.

    >>> labels, wanted = [1] * 50 + [0] * 50, Requirements(least_sensitivity=0.7, least_specificity=0.7)
    >>> found = assess_decisions(labels, range(100), [1] * 45 + [0] * 20 + [1] * 35, (None, None), wanted)
    >>> [(r.measure, r.value.estimate, r.status) for r in found]
    [('sensitivity', 0.9, 'met'), ('specificity', 0.3, 'not met')]
    """
    sensitivity, specificity = class_shares(labels, patients, called)
    found = _assess("sensitivity", sensitivity, home[0], wanted) + _assess("specificity", specificity, home[1], wanted)
    if wanted.net_benefit_at is not None:
        gains: Mapping[str, Interval | None] = net_benefit_gains(labels, patients, called, wanted.net_benefit_at)
        if wanted.prevalence is not None:
            gains = gains_at(sensitivity, specificity, wanted.net_benefit_at, wanted.prevalence)
        for against, value in gains.items():
            found.append(require("net benefit", 0.0, value, stated=True, against=against))
    return found


def _assess(measure: Measure, here: Interval | None, home: Interval | None, wanted: Requirements) -> list[Requirement]:
    return [
        require(measure, -limit, here, stated=stated, home=home, against="home")
        if relative
        else require(measure, limit, here, stated=stated)
        for relative, limit, stated in wanted.limits(measure)
    ]


def class_shares(labels: ArrayLike, patients: ArrayLike, called: ArrayLike) -> tuple[Interval | None, Interval | None]:
    """Sensitivity and specificity of decisions (scans,), Wilson clustered by patient; None for an absent class.

    >>> [share.estimate for share in class_shares([1, 1, 1, 1, 0, 0], range(6), [1, 1, 1, 0, 0, 1])]
    [0.75, 0.5]
    """
    truth, decisions, people = check_labels(labels), check_labels(called), np.asarray(patients)
    if truth.shape != decisions.shape:
        raise ValueError(f"{decisions.size} decisions for {truth.size} labels")
    right = decisions == truth
    pair = [proportion_interval(right[k], people[k]) if k.any() else None for k in (truth == 1, truth == 0)]
    return pair[0], pair[1]


def net_benefit_gains(
    labels: ArrayLike, patients: ArrayLike, called: ArrayLike, threshold: float
) -> dict[str, Interval]:
    """Net benefit of decisions, per scan, above treating all and above treating none (Vickers & Elkin 2006).

    TP/n - FP/n · w for treat none and TN/n · w - FN/n for treat all, w = t / (1 - t): the decisions are those of the
    operating point, t says what a false alarm costs. Wilson ends of the two shares, clustered by patient, are joined
    by square-and-add with their correlation (Zou & Donner 2008).

    Raises:
        ValueError: as `assess_decisions`; a threshold probability outside 0 to 1.

    >>> labels, called = [1] * 10 + [0] * 90, [1] * 9 + [0] + [1] * 9 + [0] * 81
    >>> gains = net_benefit_gains(labels, range(100), called, 0.2)  # 0.09 - 0.09 / 4, 0.81 / 4 - 0.01
    >>> {against: round(gain.estimate, 4) for against, gain in gains.items()}
    {'treat none': 0.0675, 'treat all': 0.1925}
    """
    if not 0 < threshold < 1:
        raise ValueError(f"the threshold probability must be above 0 and below 1, is {threshold:g}")
    truth, decisions = check_labels(labels), check_labels(called)
    return _gains(truth, decisions, check_groups(patients, truth.size), threshold / (1 - threshold))


def gains_at(
    sensitivity: Interval | None, specificity: Interval | None, threshold: float, prevalence: float
) -> dict[str, Interval | None]:
    """`net_benefit_gains` where another share of the scans is positive, from both shares; None where one is not known.

    Ends by square-and-add (Zou & Donner 2008): scans of the two classes are other scans.

    >>> gain = gains_at(Interval(0.9, 0.8, 0.95, ""), Interval(0.9375, 0.9, 0.96, ""), 0.2, 0.005)["treat none"]
    >>> round(gain.estimate, 3)
    -0.011
    """
    if sensitivity is None or specificity is None:
        return {"treat none": None, "treat all": None}
    weight = threshold / (1 - threshold)
    up, down = prevalence, (1 - prevalence) * weight
    none = up * sensitivity.estimate - down * (1 - specificity.estimate)
    low = np.hypot(up * (sensitivity.estimate - sensitivity.low), down * (specificity.estimate - specificity.low))
    high = np.hypot(up * (sensitivity.high - sensitivity.estimate), down * (specificity.high - specificity.estimate))
    every = none - (up - down)  # of treating all
    method = f"shares at a prevalence of {prevalence:g}, square-and-add"
    return {
        against: Interval(gain, float(gain - low), float(gain + high), method)
        for against, gain in (("treat none", none), ("treat all", every))
    }


def least_gains(labels: ArrayLike, patients: ArrayLike, probabilities: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Lower 95 % end of the net benefit above the better of treating all and treating none, at each threshold (n,).

    A scan is called positive where its probability is at least the threshold. Above 0, deciding by the model is shown
    to be of use at that threshold. Scores of pure chance reach that at some threshold of 0.01 to 0.99 in 0 to 2 % of
    cells (docs/log.md).

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        probabilities: of being positive (scans,).
        thresholds: threshold probabilities (n,), each above 0 and below 1.

    Raises:
        ValueError: no scan, labels other than 0 and 1, NaN, lengths that differ.

    Examples:
        >>> labels, patients = [1] * 20 + [0] * 20, range(40)
        >>> least_gains(labels, patients, [0.9] * 20 + [0.1] * 20, [0.5]).round(2)
        array([0.33])
        >>> least_gains(labels, patients, [0.9, 0.1] * 20, [0.5]).round(2)
        array([-0.21])
    """
    truth = check_labels(labels)
    values, groups = check_probabilities(probabilities, truth.size), check_groups(patients, truth.size)
    lows = []
    for t in np.asarray(thresholds, dtype=np.float64):
        gains = _gains(truth, (values >= t).astype(np.int64), groups, float(t / (1 - t)))
        lows.append(min(gain.low for gain in gains.values()))
    return np.array(lows)


def _gains(truth: Ints, decisions: Ints, groups: Ints, weight: float) -> dict[str, Interval]:
    """Net benefit of decisions above treating none and above treating all, a false alarm weighing `weight`."""
    cell = {(y, c): (truth == y) & (decisions == c) for y in (0, 1) for c in (0, 1)}
    return {
        "treat none": _gain(cell[1, 1], 1.0, cell[0, 1], weight, groups),
        "treat all": _gain(cell[0, 0], weight, cell[1, 0], 1.0, groups),
    }


def _gain(won: Floats, worth: float, lost: Floats, cost: float, groups: Ints) -> Interval:
    """worth · share won - cost · share lost, two exclusive shares of the same scans."""
    up, down = _share(won, groups), _share(lost, groups)
    sums = [np.bincount(groups, column - column.mean()) for column in (won.astype(float), lost.astype(float))]
    norm = float(np.linalg.norm(sums[0]) * np.linalg.norm(sums[1]))
    correlation = float(sums[0] @ sums[1]) / norm if norm > 0 else 0.0
    gap = worth * up.estimate - cost * down.estimate

    def reach(first: float, second: float) -> float:
        a, b = worth * first, cost * second
        return float(np.sqrt(max(a**2 + b**2 - 2 * correlation * a * b, 0.0)))

    low = gap - reach(up.estimate - up.low, down.high - down.estimate)
    high = gap + reach(up.high - up.estimate, down.estimate - down.low)
    return Interval(gap, low, high, "square-and-add of two Wilson intervals of the same scans, clustered by patient")


def _share(right: Floats, groups: Ints) -> Interval:
    """`proportion_interval` of columns that were checked."""
    share = float(right.mean())
    return Interval(share, *wilson_ends(share, effective_trials(right, groups)), "")


# How many scans would settle what is open --------------------------------------------------------------------------


def scans_to_settle(requirement: Requirement, scans: int) -> int | None:
    """Labelled scans, in all, with which an open requirement would be settled in 80 % of such sites, up to tens.

    The least n with |estimate − limit| ≥ (1 + z₀.₈₀ / z₀.₉₇₅) h √(scans / n), h the half of the interval on the
    limit's side; the half of home's is joined to it by square-and-add.

    Supposes the estimates as they are, with other scans like these; the internal test set stays as it is. None
    where nothing is measured, or more than 5000 scans would be needed, as where home alone is too uncertain.

    Args:
        requirement: the open one.
        scans: labelled scans of the new site behind it.

    >>> scans_to_settle(require("sensitivity", 0.7, Interval(0.75, 0.65, 0.85, ""), stated=True), 100)
    820
    """
    value, here, home = requirement.value, requirement.here, requirement.home
    if value is None or here is None:
        return None
    reserve = abs(value.estimate - requirement.limit)
    rises = value.estimate >= requirement.limit
    half = here.estimate - here.low if rises else here.high - here.estimate
    fixed = 0.0
    if home is not None:
        fixed = home.high - home.estimate if rises else home.estimate - home.low
    moves = z_value(2 * POWER - 1) / z_value(0.95)
    for wanted in range(-(-scans // 10) * 10 + 10, MOST_SCANS + 1, 10):
        shrunk = half * (scans / wanted) ** 0.5
        if reserve - moves * shrunk >= np.hypot(shrunk, fixed):
            return wanted
    return None


def all_met(requirements: Sequence[Requirement]) -> bool:
    """Whether every requirement is met.

    >>> all_met([require("sensitivity", 0.7, Interval(0.8, low, 0.9, ""), stated=True) for low in (0.72, 0.6)])
    False
    """
    return all(r.status == "met" for r in requirements)

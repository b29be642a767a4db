"""Labels, patients and decisions at one site in; predictive values, likelihood ratios and alerts per 100 out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.statistics.columns import Ints, check_groups, check_labels
from elsewhere.statistics.intervals import Interval, proportion_interval
from elsewhere.statistics.requirements import class_shares


@dataclass(frozen=True)
class PredictiveValues:
    """What a positive and a negative call mean at one prevalence. None stands where it cannot be measured.

    Attributes:
        prevalence: share of positive scans; where it is given, without an interval of its own.
        given: whether the prevalence was given; else it is the one of the labelled scans here.
        ppv: positive predictive value: share of scans called positive that are.
        npv: negative predictive value: share of scans called negative that are.
        alerts: scans called positive, per 100.
    """

    prevalence: Interval
    given: bool
    ppv: Interval | None
    npv: Interval | None
    alerts: Interval


@dataclass(frozen=True)
class LikelihoodRatios:
    """By how much a call changes the odds of disease, whatever the prevalence.

    Attributes:
        positive: sensitivity / (1 - specificity); above 1 where a positive call speaks for disease.
        negative: (1 - sensitivity) / specificity; below 1 where a negative call speaks against it.
    """

    positive: Interval | None
    negative: Interval | None


ALIKE_ODDS = 0.2
"""Log-odds of two prevalences that differ by less are the same."""


def enriched_words(labels: Ints, prevalence: float | None) -> str:
    """Why labelled scans (scans,) cannot tell if probabilities hold at a stated prevalence; "" where they can.

    >>> enriched_words(np.array([0, 1]), None), enriched_words(np.array([0, 1]), 0.5)
    ('', '')
    >>> enriched_words(np.array([0, 1]), 0.04)[:47]
    'Whether its probabilities hold is not judged: 5'
    """
    share = float(labels.mean())
    if prevalence is None or not 0 < share < 1:
        return ""
    if abs(np.log(share / (1 - share) * (1 - prevalence) / prevalence)) < ALIKE_ODDS:
        return ""
    return (
        f"Whether its probabilities hold is not judged: {share:.0%} of these scans are positive, and {prevalence:.3g} "
        "is the stated prevalence; another share of positives shifts what is right to say."
    )


def local_values(labels: ArrayLike, patients: ArrayLike, called: ArrayLike) -> PredictiveValues:
    """At the prevalence of these scans; Wilson intervals, clustered by patient.

    PPV = TP / (TP + FP), NPV = TN / (TN + FN), alerts = 100 (TP + FP) / n.

    Raises:
        ValueError: no scan, labels or decisions other than 0 and 1, lengths that differ.

    >>> labels, called = [1] * 10 + [0] * 90, [1] * 9 + [0] + [1] * 9 + [0] * 81
    >>> found = local_values(labels, range(100), called)
    >>> found.ppv.estimate, round(found.npv.estimate, 3), round(found.alerts.estimate, 1)  # 9 / 18, 81 / 82
    (0.5, 0.988, 18.0)
    """
    truth, decisions, people = check_labels(labels), check_labels(called), np.asarray(patients)
    right = truth == decisions
    ppv, npv = (
        proportion_interval(right[decisions == c], people[decisions == c]) if (decisions == c).any() else None
        for c in (1, 0)
    )
    alerts = _scaled(proportion_interval(decisions, people), 100)
    return PredictiveValues(proportion_interval(truth, people), False, ppv, npv, alerts)


def likelihood_ratios(labels: ArrayLike, patients: ArrayLike, called: ArrayLike) -> LikelihoodRatios:
    """Both ratios with the interval of a ratio of two independent shares (MOVER-R on Wilson ends: Donner & Zou 2012).

    Raises:
        ValueError: as `local_values`.

    >>> found = likelihood_ratios([1] * 10 + [0] * 90, range(100), [1] * 9 + [0] + [1] * 9 + [0] * 81)
    >>> round(found.positive.estimate, 2), round(found.negative.estimate, 2)  # 0.9 / 0.1, 0.1 / 0.9
    (9.0, 0.11)
    """
    sensitivity, specificity = class_shares(labels, patients, called)
    if sensitivity is None or specificity is None:
        return LikelihoodRatios(None, None)
    return LikelihoodRatios(
        _ratio(sensitivity, _complement(specificity)), _ratio(_complement(sensitivity), specificity)
    )


def values_at(labels: ArrayLike, patients: ArrayLike, called: ArrayLike, prevalence: float) -> PredictiveValues | None:
    """At a given prevalence, from sensitivity and specificity here; None where a class is absent.

    PPV = sens π / (sens π + (1 − spec) (1 − π)), NPV = spec (1 − π) / (spec (1 − π) + (1 − sens) π) (Bayes).

    PPV and NPV are the likelihood ratios' intervals carried over (odds after = odds before · ratio), alerts the
    square-and-add of the two shares.

    Raises:
        ValueError: as `local_values`; a prevalence that is not between 0 and 1.

    >>> found = values_at([1] * 10 + [0] * 90, range(100), [1] * 9 + [0] + [1] * 9 + [0] * 81, 0.01)
    >>> round(found.ppv.estimate, 3), round(found.alerts.estimate, 1)  # 0.009 / (0.009 + 0.099), 100 * 0.108
    (0.083, 10.8)
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"the prevalence must be above 0 and below 1, is {prevalence:g}")
    check_groups(patients, check_labels(labels).size)
    sensitivity, specificity = class_shares(labels, patients, called)
    if sensitivity is None or specificity is None:
        return None
    ratios = likelihood_ratios(labels, patients, called)
    odds = prevalence / (1 - prevalence)
    ppv = None if ratios.positive is None else _probability(ratios.positive, odds)
    missed = None if ratios.negative is None else _probability(ratios.negative, odds)
    hits, alarms = _scaled(sensitivity, 100 * prevalence), _scaled(_complement(specificity), 100 * (1 - prevalence))
    middle = hits.estimate + alarms.estimate
    down = np.hypot(hits.estimate - hits.low, alarms.estimate - alarms.low)
    up = np.hypot(hits.high - hits.estimate, alarms.high - alarms.estimate)
    alerts = Interval(middle, float(middle - down), float(middle + up), "square-and-add of two Wilson intervals")
    share = Interval(prevalence, prevalence, prevalence, "given")
    return PredictiveValues(share, True, ppv, None if missed is None else _complement(missed), alerts)


def _scaled(interval: Interval, factor: float) -> Interval:
    return Interval(factor * interval.estimate, factor * interval.low, factor * interval.high, interval.method)


def _complement(interval: Interval) -> Interval:
    return Interval(1 - interval.estimate, 1 - interval.high, 1 - interval.low, interval.method)


def _ratio(top: Interval, bottom: Interval) -> Interval | None:
    """Ratio of two independent shares; infinite where the lower share is 0, None where both are."""
    a, b = top.estimate, bottom.estimate
    if a == b == 0:
        return None
    square = (a * b) ** 2
    low = _root(a * b, square, top.low * (2 * a - top.low), bottom.high * (2 * b - bottom.high), -1)
    high = _root(a * b, square, top.high * (2 * a - top.high), bottom.low * (2 * b - bottom.low), 1)
    return Interval(a / b if b > 0 else np.inf, low, high, "MOVER-R on two Wilson intervals, clustered by patient")


def _root(product: float, square: float, top: float, bottom: float, side: int) -> float:
    """One end: the root of bottom · r² - 2 · product · r + top = 0, lower (-1) or upper (1)."""
    if abs(bottom) < 1e-12:
        return np.inf if side > 0 else top / (2 * product)
    return float(max((product + side * np.sqrt(max(square - top * bottom, 0.0))) / bottom, 0.0))


def _probability(ratio: Interval, odds: float) -> Interval:
    """Probability after a call whose likelihood ratio this is, from the odds before it."""
    middle, low, high = (
        1.0 if np.isinf(r) else r * odds / (1 + r * odds) for r in (ratio.estimate, ratio.low, ratio.high)
    )
    return Interval(middle, low, high, f"{ratio.method}, carried over to the given prevalence")

"""Labels, patients and scores (or right answers) in; AUCs and proportions with their sampling intervals out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtr, ndtri, owens_t

from elsewhere.statistics.bootstrap import auc_without_each_patient, patient_strata, resampled_aucs
from elsewhere.statistics.columns import Floats, Ints, check_groups, check_labels, check_scores
from elsewhere.statistics.delong import auc_variance, placements

Scans = tuple[float, float]
"""Effective numbers of positive and negative scans."""

AucMethod = Literal["score", "logit", "wald", "percentile", "bca"]

DEFAULT_AUC_METHOD: AucMethod = "score"
"""The one whose measured coverage comes nearest to 95 % (docs/evidence-tables.md)."""

LEVEL = 0.95

PRIOR_SCANS = 1.0
"""Weight of the model's variance against the observed one in the score interval, in misplaced scans; chosen by
measured coverage among 1, 2 and 4."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its sampling interval: how far it would move with other patients from the same site.

    Attributes:
        estimate: the statistic on the scans at hand.
        low: lower end.
        high: upper end.
        method: how the interval was made, in words.
    """

    estimate: float
    low: float
    high: float
    method: str


def z_value(level: float) -> float:
    """Two-sided standard normal quantile: 1.96 for 0.95.

    >>> round(z_value(0.95), 3)
    1.96
    """
    return float(ndtri(0.5 + level / 2))


def auc_interval(
    labels: ArrayLike,
    patients: ArrayLike,
    scores: ArrayLike,
    method: AucMethod = DEFAULT_AUC_METHOD,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """AUC of scores (scans,) with a patient-clustered sampling interval.

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> found = auc_interval([0, 0, 0, 1, 1, 1], range(6), [1, 2, 4, 3, 5, 6])
    >>> round(found.estimate, 2), round(found.low, 2), round(found.high, 2)
    (0.89, 0.38, 0.99)
    """
    truth = check_labels(labels)
    values = check_scores(scores, truth.size)
    groups = check_groups(patients, truth.size)
    if method in {"percentile", "bca"}:
        drawn = resampled_aucs(truth, groups, values, resamples, seed)[0]
        return bootstrap_interval(truth, groups, values, drawn, accelerated=method == "bca")
    (auc, variance, worth), z = auc_variance(truth, values, groups), z_value(LEVEL)
    if not np.isfinite(variance):
        return Interval(auc, 0.0, 1.0, "unknown: one class comes from a single patient")
    if method == "score":
        ends = score_ends(auc, variance, worth, z)
        return Interval(auc, *ends, "score interval on the DeLong variance, clustered by patient")
    ends = _logit_ends(auc, variance**0.5, z) if method == "logit" else _wald_ends(auc, variance**0.5, z)
    return Interval(auc, *ends, f"{method} interval on the DeLong variance, clustered by patient")


def score_ends(auc: float, variance: float, scans: tuple[float, float], z: float) -> tuple[float, float]:
    """Every true AUC that lies within z of its own standard errors from the one seen (after Newcombe 2006, method 5).

    The ends a solve (AUC − a)² = z² r V(a), V `binormal_variance`, r `variance_ratio`.

    The standard error at a supposed AUC is that of two equal normal distributions, times the ratio of the observed
    variance to it. A ratio below 1 is drawn towards 1 where few scans are misplaced: near an AUC of 1 the observed
    variance is mostly luck, and at 1 it is 0. A ratio above 1 is believed.

    Args:
        auc: the AUC seen.
        variance: its observed (DeLong, clustered) variance.
        scans: effective numbers of positive and negative scans.
        z: normal quantile of the level.

    >>> scans = (50.0, 50.0)
    >>> tuple(round(end, 2) for end in score_ends(0.9, binormal_variance(0.9, scans), scans, z_value(0.95)))
    (0.82, 0.94)
    """
    return score_ends_of(auc, variance, scans, z, lambda supposed: binormal_variance(supposed, scans))


def score_ends_of(
    auc: float, variance: float, scans: Scans, z: float, supposed_variance: Callable[[float], float]
) -> tuple[float, float]:
    """`score_ends` of an AUC whose variance, where the true AUC is a supposed one, is given as a function of that.

    >>> ends = score_ends_of(0.8, 0.01, (20.0, 20.0), 1.96, lambda supposed: 0.01)  # constant: 0.8 ± 1.96 * 0.1
    >>> tuple(round(end, 3) for end in ends)
    (0.604, 0.996)
    """
    ratio = variance_ratio(auc, variance, scans, supposed_variance)

    def excess(supposed: float) -> float:
        return (auc - supposed) ** 2 - z**2 * ratio * supposed_variance(supposed)

    tiny = 1e-9
    low = float(brentq(excess, tiny, auc - tiny)) if auc > 2 * tiny else 0.0
    high = float(brentq(excess, auc + tiny, 1 - tiny)) if auc < 1 - 2 * tiny else 1.0
    return low, high


def variance_ratio(
    auc: float, variance: float, scans: Scans, supposed_variance: Callable[[float], float] | None = None
) -> float:
    """Observed over binormal variance as `score_ends` believes it; its arguments without z.

    max(r, (r m + 1) / (m + 1)), r the observed variance over the supposed one, m = min(n₊, n₋) min(AUC, 1 − AUC).

    >>> scans = (20.0, 20.0)  # m = 20 * 0.2 = 4
    >>> [round(variance_ratio(0.8, r * binormal_variance(0.8, scans), scans), 2) for r in (2, 0)]
    [2.0, 0.2]
    """
    misplaced = min(scans) * min(auc, 1 - auc)
    if misplaced <= 0:
        return 1.0
    seen = variance / (binormal_variance(auc, scans) if supposed_variance is None else supposed_variance(auc))
    return max(seen, (seen * misplaced + PRIOR_SCANS) / (misplaced + PRIOR_SCANS))


def binormal_variance(auc: float, scans: tuple[float, float]) -> float:
    """Variance of an AUC of two normal distributions of equal spread (Bamber 1975; Owen's T for the pairs).

    (A (1 − A) + (n₊ + n₋ − 2) (P − A²)) / (n₊ n₋), P = Φ(c) − 2 T(c, 1/√3), c = Φ⁻¹(A), T Owen's.

    >>> round(binormal_variance(0.5, (10.0, 10.0)), 4)  # (n₊ + n₋ + 1) / (12 n₊ n₋) = 21 / 1200
    0.0175
    """
    positives, negatives = scans
    cut = ndtri(auc)
    pair = ndtr(cut) - 2 * owens_t(cut, 1 / np.sqrt(3)) - auc**2
    return float((auc * (1 - auc) + max(positives + negatives - 2, 0) * pair) / (positives * negatives))


def _wald_ends(auc: float, error: float, z: float) -> tuple[float, float]:
    return max(auc - z * error, 0.0), min(auc + z * error, 1.0)


def _logit_ends(auc: float, error: float, z: float) -> tuple[float, float]:
    if auc in {0.0, 1.0}:
        return auc, auc
    half = z * error / (auc * (1 - auc))
    return float(expit(logit(auc) - half)), float(expit(logit(auc) + half))


def bootstrap_interval(
    labels: Ints, groups: Ints, scores: Floats, drawn: Floats, *, accelerated: bool = False
) -> Interval:
    """Percentile or BCa (Efron 1987) interval of the AUC from patient-clustered resamples drawn (resamples,).

    >>> scores, drawn = np.array([1.0, 3, 2, 4]), np.linspace(0.5, 1, 41)
    >>> found = bootstrap_interval(np.array([0, 0, 1, 1]), np.arange(4), scores, drawn)
    >>> found.estimate, round(found.low, 4), round(found.high, 4)
    (0.75, 0.5125, 0.9875)
    """
    auc = float(placements(labels, scores[None])[0][labels == 1].mean())
    tails = np.array([0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    if not accelerated or np.ptp(drawn) == 0:
        low, high = np.quantile(drawn, tails)
        return Interval(auc, float(low), float(high), "percentile bootstrap of patients")
    below = np.clip(np.mean(drawn < auc) + np.mean(drawn == auc) / 2, 1 / drawn.size, 1 - 1 / drawn.size)
    bias, acceleration = ndtri(below), _acceleration(labels, groups, scores)
    shifted = bias + ndtri(tails)
    low, high = np.quantile(drawn, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return Interval(auc, float(low), float(high), "BCa bootstrap of patients")


def _acceleration(labels: Ints, groups: Ints, scores: Floats) -> float:
    """Acceleration over several strata of patients (Davison & Hinkley 1997, section 5.3.2, jackknife values)."""
    strata, left_out = patient_strata(labels, groups), auc_without_each_patient(labels, groups, scores)
    cubes, squares = 0.0, 0.0
    for stratum in np.unique(strata):
        kept = left_out[(strata == stratum) & np.isfinite(left_out)]
        pull = (kept.mean() - kept) * (kept.size - 1) / max(kept.size, 1) if kept.size else kept
        cubes, squares = cubes + float((pull**3).sum()), squares + float((pull**2).sum())
    return cubes / (6 * squares**1.5) if squares > 0 else 0.0


def wilson_ends(share: float, trials: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's (1927) score interval of a share of `trials` independent trials, which may be an effective number.

    >>> tuple(round(end, 3) for end in wilson_ends(81 / 263, 263))
    (0.255, 0.366)
    """
    z2 = z_value(level) ** 2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = np.sqrt(z2 * share * (1 - share) / trials + z2**2 / (4 * trials**2)) / (1 + z2 / trials)
    low, high = float(middle - half), float(middle + half)
    return 0.0 if share == 0 else max(low, 0.0), 1.0 if share == 1 else min(high, 1.0)


def effective_trials(right: ArrayLike, groups: Ints) -> float:
    """Number of independent scans that these scans of several patients are worth.

    Scans over the design effect: the variance of the share between patients (linearised ratio) over the binomial
    one, kept between 1 and its value when all scans of a patient agree (Kish 1965). Where every answer is the
    same nothing is known of it, and scans of a patient count as agreeing.

    >>> effective_trials([1, 1, 0, 0], np.array([0, 0, 1, 1])), effective_trials([1, 0, 1, 0], np.array([0, 1, 2, 3]))
    (2.0, 4.0)
    """
    values = np.asarray(right, dtype=np.float64)
    sizes = np.bincount(groups).astype(np.float64)
    share, scans, patients = values.mean(), values.size, sizes.size
    agreeing = float((sizes**2).sum() / scans)
    if share in {0.0, 1.0} or patients < 2:
        return scans / agreeing
    between = np.bincount(groups, values) - share * sizes
    variance = float((between**2).sum()) * patients / (patients - 1) / scans**2
    design = variance / (share * (1 - share) / scans)
    return scans / float(np.clip(design, 1.0, agreeing))


def proportion_interval(right: ArrayLike, patients: ArrayLike) -> Interval:
    """Share of right answers (scans,) with Wilson's interval on the effective number of scans.

    Raises:
        ValueError: no scan, answers other than 0 and 1, lengths that differ.

    >>> found = proportion_interval([1] * 9 + [0], range(10))
    >>> found.estimate, round(found.low, 2), round(found.high, 2)
    (0.9, 0.6, 0.98)
    """
    values = check_labels(right)
    groups = check_groups(patients, values.size)
    share = float(values.mean())
    ends = wilson_ends(share, effective_trials(values, groups))
    return Interval(share, *ends, "Wilson, effective sample size by patient")


def mean_interval(first: Interval, second: Interval) -> Interval:
    """Mean of two independent shares, as balanced accuracy: square-and-add (Newcombe 1998; Zou & Donner 2008).

    >>> found = mean_interval(Interval(0.9, 0.8, 0.95, ""), Interval(0.7, 0.6, 0.8, ""))
    >>> round(found.estimate, 2), round(found.low, 2), round(found.high, 2)
    (0.8, 0.73, 0.86)
    """
    middle = (first.estimate + second.estimate) / 2
    down = np.hypot(first.estimate - first.low, second.estimate - second.low) / 2
    up = np.hypot(first.high - first.estimate, second.high - second.estimate) / 2
    return Interval(middle, float(middle - down), float(middle + up), "square-and-add of two Wilson intervals")

"""Two models at one site, or one model at two sites, in; the difference of their AUCs with interval and p-value out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, t

from elsewhere.statistics.columns import Floats, check_groups, check_labels, check_scores
from elsewhere.statistics.delong import auc_covariance
from elsewhere.statistics.intervals import LEVEL
from elsewhere.statistics.site_aucs import SiteAucs

NO_SPREAD = 1e-9
"""A standard error of an AUC difference below this is rounding."""


@dataclass(frozen=True)
class Comparison:
    """Difference of two AUCs, first minus second.

    Attributes:
        first: AUC of the first.
        second: AUC of the second.
        difference: first - second.
        low: lower end of its 95 % sampling interval.
        high: upper end.
        p_value: two-sided, of no difference; as if this were the only comparison made.
        p_value_holm: the same, adjusted by Holm (1979) for all comparisons of the family; None for one alone.
        family: number of comparisons in that family.
        method: the test, in words.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    p_value_holm: float | None
    family: int
    method: str


def compare_models(labels: ArrayLike, patients: ArrayLike, first: ArrayLike, second: ArrayLike) -> Comparison:
    """Two models on the same scans of one site: DeLong's paired test, clustered by patient (Obuchowski 1997).

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        first: scores of the first model (scans,).
        second: scores of the second model (scans,).

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> found = compare_models([0, 0, 0, 1, 1, 1], range(6), [1, 2, 4, 3, 5, 6], [2, 4, 3, 1, 6, 5])
    >>> round(found.difference, 2), round(found.p_value, 2)
    (0.22, 0.37)
    """
    truth = check_labels(labels)
    scores = np.stack([check_scores(first, truth.size), check_scores(second, truth.size)])
    aucs, covariance = auc_covariance(truth, scores, patients)
    return _paired(aucs, covariance, np.unique(np.asarray(patients)).size)


def compare_at(site: SiteAucs, first: str, second: str) -> Comparison:
    """As `compare_models`, of two models at a site whose scans are not at hand: the same numbers.

    Raises:
        ValueError: a model of which nothing is known there.

    >>> from elsewhere.statistics.site_aucs import site_aucs
    >>> scores = {"A": [1, 2, 4, 3, 5, 6], "B": [2, 4, 3, 1, 6, 5]}
    >>> found = compare_at(site_aucs([0, 0, 0, 1, 1, 1], range(6), scores), "A", "B")
    >>> round(found.difference, 2), round(found.p_value, 2)
    (0.22, 0.37)
    """
    two = site.of([first, second])
    return _paired(np.array(two.aucs), np.array(two.covariance), two.patients)


def _paired(aucs: Floats, covariance: Floats, patients: int) -> Comparison:
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    return _compare(aucs, variance, None, patients, "paired DeLong test, clustered by patient")


def compare_models_within_sites(
    labels: ArrayLike, patients: ArrayLike, sites: ArrayLike, first: ArrayLike, second: ArrayLike
) -> Comparison | None:
    """Two models on the same scans of several sites: pairs of scans of one site, sites weighted as `auc_within_sites`.

    The difference is Σ w_s (AUC₁ − AUC₂)_s, its variance Σ w_s² V_s with V_s DeLong's of the paired difference at
    site s and w_s in proportion to n₊ n₋ / (n₊ + n₋) (van Elteren 1960).

    None where no site has two classes. A patient belongs to one site.

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        sites: site of each scan (scans,).
        first: scores of the first model (scans,).
        second: scores of the second model (scans,).

    Raises:
        ValueError: NaN, lengths that differ.

    >>> labels, sites = [0, 0, 0, 1, 1, 1] * 2, ["A"] * 6 + ["B"] * 6
    >>> first, second = [1, 2, 4, 3, 5, 6] * 2, [2, 4, 3, 1, 6, 5] * 2
    >>> found = compare_models_within_sites(labels, range(12), sites, first, second)
    >>> round(found.difference, 2), round(found.p_value, 2)
    (0.22, 0.21)
    """
    truth = check_labels(labels)
    scores = np.stack([check_scores(first, truth.size), check_scores(second, truth.size)])
    groups, places = check_groups(patients, truth.size), check_groups(sites, truth.size, "sites")
    parts = [np.flatnonzero(places == site) for site in range(int(places.max()) + 1)]
    parts = [p for p in parts if 0 < truth[p].sum() < p.size]
    if not parts:
        return None
    wide = [p for p in parts if min(np.unique(groups[p][truth[p] == c]).size for c in (0, 1)) >= 2]
    parts = wide or parts
    weights = np.array([truth[p].sum() * (1 - truth[p]).sum() / p.size for p in parts], dtype=np.float64)
    weights /= weights.sum()
    found = [auc_covariance(truth[p], scores[:, p], groups[p]) for p in parts]
    aucs = np.sum([w * auc for w, (auc, _) in zip(weights, found, strict=True)], axis=0)
    covariance = np.sum([w**2 * c for w, (_, c) in zip(weights, found, strict=True)], axis=0)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    people = np.unique(groups[np.concatenate(parts)]).size
    return _compare(aucs, variance, None, people, "paired DeLong test, clustered by patient, pairs within sites")


def compare_sites(
    first: tuple[ArrayLike, ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike, ArrayLike]
) -> Comparison:
    """One model at two sites without common patients: unpaired DeLong test, clustered, Welch's degrees of freedom.

    Args:
        first: (labels, patients, scores) at the first site, each (scans,).
        second: the same at the second site.

    Raises:
        ValueError: one class only at a site, NaN, lengths that differ.

    >>> home, away = ([0, 0, 1, 1] * 5, range(20), [1, 2, 3, 4] * 5), ([0, 0, 1, 1] * 5, range(20), [1, 3, 2, 4] * 5)
    >>> found = compare_sites(home, away)
    >>> found.difference, round(found.low, 3), round(found.high, 3)
    (0.25, 0.003, 0.497)
    """
    sides = [auc_covariance(labels, scores, patients) for labels, patients, scores in (first, second)]
    people = [np.unique(np.asarray(patients)).size for _, patients, _ in (first, second)]
    variances = np.array([float(covariance[0, 0]) for _, covariance in sides])
    below = float(sum(v**2 / max(n - 1, 1) for v, n in zip(variances, people, strict=True)))
    freedom = float(variances.sum()) ** 2 / below if below > 0 else None
    aucs = np.array([float(auc[0]) for auc, _ in sides])
    return _compare(aucs, float(variances.sum()), freedom, sum(people), "unpaired DeLong test, clustered by patient")


def _compare(aucs: Floats, variance: float, freedom: float | None, patients: int, method: str) -> Comparison:
    first, second = (float(auc) for auc in aucs)
    gap = first - second
    if not np.isfinite(variance):
        note = "unknown: one class comes from a single patient"
        return Comparison(first, second, gap, -1.0, 1.0, 1.0, None, 1, note)
    error = max(variance, 0.0) ** 0.5
    if error < NO_SPREAD:
        return _compare_without_spread(first, second, patients)
    law = norm if freedom is None else t(freedom)
    half = error * float(law.ppf(0.5 + LEVEL / 2))
    p_value = float(2 * law.sf(abs(gap) / error))
    return Comparison(first, second, gap, max(gap - half, -1.0), min(gap + half, 1.0), p_value, None, 1, method)


def _compare_without_spread(first: float, second: float, patients: int) -> Comparison:
    """Every scan pulls the same way (as AUC 1 against 0): the spread is unknown, not 0, so only patients count.

    Of the 2 ** patients ways to exchange the two models patient by patient, two are as extreme as this one.
    """
    if abs(first - second) < NO_SPREAD:
        return Comparison(first, second, 0.0, -1.0, 1.0, 1.0, None, 1, "no spread seen: the AUCs are equal")
    note = "no spread seen: exchange of models between patients, interval unknown"
    return Comparison(first, second, first - second, -1.0, 1.0, 0.5 ** (patients - 1), None, 1, note)


def adjust_family(comparisons: list[Comparison]) -> list[Comparison]:
    """The same comparisons with Holm's p-values, as one family of tests.

    >>> pair = [Comparison(0.9, 0.8, 0.1, 0.02, 0.18, p, None, 1, "") for p in (0.01, 0.04)]
    >>> [c.p_value_holm for c in adjust_family(pair)]
    [0.02, 0.04]
    """
    adjusted = holm([c.p_value for c in comparisons])
    return [
        replace(c, p_value_holm=float(p), family=len(comparisons)) for c, p in zip(comparisons, adjusted, strict=True)
    ]


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down adjusted p-values, same order: at most `alpha` chance of any false finding in the family.

    Raises:
        ValueError: NaN, or values outside 0 to 1.

    >>> holm([0.04, 0.01, 0.03]).round(2).tolist()
    [0.06, 0.03, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.size and not ((values >= 0) & (values <= 1)).all():
        raise ValueError("p-values must lie between 0 and 1")
    order = np.argsort(values)
    raised = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted

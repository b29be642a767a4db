"""Values at several sites in; their mean over hospitals, and the interval for one more, out: the only such interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import expit, ndtr
from scipy.stats import chi2, t

from elsewhere.statistics.columns import Floats
from elsewhere.statistics.delong import auc_spread
from elsewhere.statistics.intervals import LEVEL
from elsewhere.statistics.roc import exact_auc
from elsewhere.statistics.site_aucs import SiteAucs, mean_log_odds

LEAST_SITES = 4
"""Of fewer hospitals the page says that they cannot tell how far hospitals differ: the intervals reach over most of
the scale."""

STEPS = 200
"""Points of the confidence distribution of the variance between sites."""


@dataclass(frozen=True)
class OverSites:
    """Random-effects summary of one value per site; None where too few sites cannot tell.

    Attributes:
        sites: number of sites.
        mean: mean over the population of sites.
        low: lower end of its 95 % interval (Hartung & Knapp 2001 on the REML weights, k - 1 degrees of freedom, never
            below the factor 1: Röver, Knapp & Friede 2015); None with one site.
        high: upper end.
        between: standard deviation between sites (REML); None below `LEAST_SITES`, which give 0 as easily as 2.
        new_low: lower end of the 95 % prediction interval of the true value at a new site, by the confidence
            distribution of the variance between sites (Nagashima, Noma & Furukawa 2019); None below `LEAST_SITES`.
        new_high: upper end.
    """

    sites: int
    mean: float
    low: float | None
    high: float | None
    between: float | None
    new_low: float | None
    new_high: float | None


def over_sites(estimates: ArrayLike, variances: ArrayLike) -> OverSites:
    """Random-effects summary of independent estimates (sites,) with known sampling variances (sites,).

    The t interval of Higgins, Thompson & Spiegelhalter 2009 (Partlett & Riley 2017) for a new site takes the estimated
    variance between sites for the true one and holds it too seldom where that is small (docs/evidence-tables.md);
    here the variance runs through all values that the heterogeneity statistic Q allows (Viechtbauer 2007).

    >>> found = over_sites([0.9, 0.5, 0.7, 0.6, 0.8], [0.01, 0.02, 0.01, 0.03, 0.02])
    >>> round(found.mean, 2), found.sites
    (0.72, 5)

    Raises:
        ValueError: no site, lengths that differ, values that are not finite, a variance of 0 or less.
    """
    values, errors = _checked(estimates, variances)
    sites = values.size
    if sites == 1:
        return OverSites(1, float(values[0]), None, None, None, None, None)
    between = _restricted_between(values, errors)
    weights = 1 / (errors + between)
    mean = float(weights @ values / weights.sum())
    factor = max(float(weights @ (values - mean) ** 2) / (sites - 1), 1.0)
    half = float(t.ppf(0.5 + LEVEL / 2, sites - 1)) * (factor / float(weights.sum())) ** 0.5
    ends = mean, mean - half, mean + half
    if sites < LEAST_SITES:
        return OverSites(sites, *ends, None, None, None)
    return OverSites(sites, *ends, between**0.5, *new_site(values, errors))


def _checked(estimates: ArrayLike, variances: ArrayLike) -> tuple[Floats, Floats]:
    values, errors = (np.asarray(given, dtype=np.float64) for given in (estimates, variances))
    if values.ndim != 1 or values.size == 0 or values.shape != errors.shape:
        raise ValueError(f"{values.size} estimates and {errors.size} variances; expected one of each per site")
    if not (np.isfinite(values).all() and np.isfinite(errors).all() and (errors > 0).all()):
        raise ValueError("estimates must be finite, and variances finite and above 0")
    return values, errors


def _restricted_between(values: Floats, errors: Floats) -> float:
    """Variance between sites with the largest restricted likelihood (REML; Viechtbauer 2005), 0 or above."""

    def loss(between: float) -> float:
        weights = 1 / (errors + between)
        mean = weights @ values / weights.sum()
        return float(-np.log(weights).sum() + np.log(weights.sum()) + weights @ (values - mean) ** 2)

    largest = np.log(10 * float(np.ptp(values)) ** 2 + 10 * float(errors.max()))
    found = minimize_scalar(lambda log: loss(float(np.exp(log))), bounds=(largest - 25, largest), method="bounded")
    between = float(np.exp(found.x))
    return between if loss(between) < loss(0.0) else 0.0


def new_site(estimates: ArrayLike, variances: ArrayLike, own_variance: float = 0.0) -> tuple[float, float]:
    """Ends of the 95 % prediction interval at a new site (Nagashima, Noma & Furukawa 2019).

    Quantiles over normals, one around each mean that a variance between sites gives, the variance running through its
    confidence distribution. Two sites leave nearly the whole scale.

    Args:
        estimates: one per site (sites,), two or more, independent.
        variances: their known sampling variances (sites,), above 0.
        own_variance: sampling variance of what is known of the new site itself; 0 for its true value.

    Raises:
        ValueError: fewer than two sites, lengths that differ, values that are not finite, a variance of 0 or less,
            an own variance below 0.

    >>> low, high = new_site([0.9, 0.5, 0.7, 0.6, 0.8], [0.01, 0.02, 0.01, 0.03, 0.02])
    >>> low < 0.5 < 0.9 < high
    True
    """
    values, errors = _checked(estimates, variances)
    if values.size < 2:
        raise ValueError("a prediction interval takes two or more sites, is given 1")
    if not own_variance >= 0:
        raise ValueError(f"own_variance must be 0 or above, is {own_variance}")
    law = chi2.ppf((np.arange(STEPS) + 0.5) / STEPS, values.size - 1)
    between = _between(values, errors, law)
    weights = 1 / (errors + between[:, None])
    means = weights @ values / weights.sum(axis=1)
    spread = np.sqrt(between + 1 / weights.sum(axis=1) + own_variance)

    def quantile(share: float) -> float:
        low, high = float((means - 10 * spread).min()), float((means + 10 * spread).max())
        for _ in range(60):
            middle = (low + high) / 2
            below = float(ndtr((middle - means) / spread).mean())
            low, high = (middle, high) if below < share else (low, middle)
        return (low + high) / 2

    return quantile(0.5 - LEVEL / 2), quantile(0.5 + LEVEL / 2)


def _between(values: Floats, errors: Floats, wanted: Floats) -> Floats:
    """Variance between sites at which Q, a falling function of it, takes each wanted value; 0 where it never does."""

    def heterogeneity(between: Floats) -> Floats:
        weights = 1 / (errors + between[:, None])
        means = weights @ values / weights.sum(axis=1)
        return (weights * (values - means[:, None]) ** 2).sum(axis=1)

    low, high = np.zeros(wanted.size), np.full(wanted.size, float(np.ptp(values) ** 2) / float(wanted.min()) + 1e-12)
    for _ in range(60):
        middle = (low + high) / 2
        above = heterogeneity(middle) > wanted
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(heterogeneity(np.zeros(wanted.size)) <= wanted, 0.0, high)


Columns = tuple[ArrayLike, ArrayLike, ArrayLike]
"""Labels, patients and scores of one site."""


def auc_over_sites(sites: Sequence[Columns | SiteAucs]) -> OverSites:
    """The AUC over hospitals, from (labels, patients, scores) of each; ends and mean on the scale of the AUC.

    Scores are (scans,) of one model, or (models, scans) of several, whose mean AUC is then one value per site: models
    that are tested on the same patients are no further hospitals. Of a site whose scans are not at hand its `SiteAucs`
    will do: the same numbers. Pooled in log-odds of the AUC (Snell, Ensor, Debray, Moons & Riley 2018) with the
    patient-clustered DeLong variance (`auc_log_odds`, with its rule for AUCs near 0 and 1). `between` stays in
    log-odds. With one site the mean is that site's AUC as it is. A site where a class comes from one patient has no
    variance and is left out.

    Raises:
        ValueError: one class only at a site, no site with a variance, NaN, lengths that differ.

    >>> site = ([0, 0, 0, 1, 1, 1], range(6), [1, 2, 4, 3, 5, 6])
    >>> found = auc_over_sites([site, site])
    >>> found.sites, round(found.mean, 2), found.new_low
    (2, 0.88, None)
    """
    known = [(site, pair) for site in sites for pair in [_log_odds(site)] if pair]
    if not known:
        raise ValueError("at every site one class comes from a single patient: nothing tells how sure its AUC is")
    if len(known) == 1:
        return OverSites(1, _mean_auc(known[0][0]), None, None, None, None, None)
    found = over_sites(*zip(*(pair for _, pair in known), strict=True))
    low, high, new_low, new_high = (
        None if end is None else float(expit(end)) for end in (found.low, found.high, found.new_low, found.new_high)
    )
    return OverSites(found.sites, float(expit(found.mean)), low, high, found.between, new_low, new_high)


def _log_odds(site: Columns | SiteAucs) -> tuple[float, float] | None:
    return site.log_odds if isinstance(site, SiteAucs) else auc_log_odds(*site)


def _mean_auc(site: Columns | SiteAucs) -> float:
    if isinstance(site, SiteAucs):
        return float(np.mean(site.aucs))
    labels, _, scores = site
    return float(np.mean(exact_auc(labels, np.atleast_2d(np.asarray(scores, dtype=np.float64)))))


def auc_log_odds(labels: ArrayLike, patients: ArrayLike | None, scores: ArrayLike) -> tuple[float, float] | None:
    """Log-odds of the (mean) AUC at one site and their variance (`mean_log_odds`).

    None where one class comes from a single patient. Columns as in `auc_over_sites`; without patients every scan is
    its own.

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> odds, variance = auc_log_odds([0, 0, 1, 1] * 5, range(20), [1, 3, 2, 4] * 5)
    >>> round(odds, 2), round(variance, 2)  # log(0.75 / 0.25), 0.0139 / (0.75 * 0.25) ** 2
    (1.1, 0.4)
    """
    return mean_log_odds(*auc_spread(labels, scores, patients))

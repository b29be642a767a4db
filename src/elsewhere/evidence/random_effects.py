"""Effects at several sites in; the mean and the interval in which the effect at one more such site lies, out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.stats import t

from elsewhere.evidence.columns import Floats

LEVEL = 0.95
SMALLEST, LARGEST = 1e-7, 100.0
"""Variances between sites within which REML searches; at the smallest it is 0."""


@dataclass(frozen=True)
class NewSite:
    """Random-effects summary of sites and what it says of a new one.

    Attributes:
        mean: mean effect over sites.
        half_width: half-width of the 95 % prediction interval for a new site.
        between: standard deviation between sites.
        freedom: degrees of freedom of the t behind the interval.
    """

    mean: float
    half_width: float
    between: float
    freedom: int


def predict_new_site(effects: ArrayLike, variances: ArrayLike, own_variance: float = 0.0) -> NewSite:
    """95 % prediction interval for the effect at a new site: mean ± t(k - 1) · √(between² + var(mean) + own).

    Between-site variance by REML; variance of the mean after Hartung & Knapp 2001, not below the fixed-effect one
    (Röver, Knapp & Friede 2015); t with k - 1 degrees of freedom (IntHout et al. 2016).

    Args:
        effects: one per site (sites,), two or more.
        variances: their sampling variances (sites,), above 0.
        own_variance: sampling variance of what is known of the new site itself.

    Raises:
        ValueError: fewer than two sites, lengths that differ, values not finite, variances not above 0.

    >>> found = predict_new_site([0.1, 0.3, 0.2, 0.4], [0.01, 0.01, 0.01, 0.01])
    >>> round(found.mean, 3), round(found.half_width, 3)
    (0.25, 0.331)
    """
    values, given = np.asarray(effects, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if values.ndim != 1 or values.shape != given.shape or values.size < 2:
        raise ValueError(f"{values.size} effects and {given.size} variances; it takes two or more sites, one of each")
    if not (np.isfinite(values).all() and np.isfinite(given).all() and (given > 0).all()):
        raise ValueError("effects must be finite, and their variances finite and above 0")
    between = between_variance(values, given)
    weights = 1 / (given + between)
    mean = float(weights @ values / weights.sum())
    spread = float(weights @ (values - mean) ** 2) / (values.size - 1)
    variance = max(spread, 1.0) / float(weights.sum())
    freedom = values.size - 1
    half = float(t.ppf(0.5 + LEVEL / 2, freedom)) * float(np.sqrt(between + variance + own_variance))
    return NewSite(mean, half, float(np.sqrt(between)), freedom)


def between_variance(values: Floats, variances: Floats) -> float:
    """Variance between sites (sites,) with the largest restricted likelihood (REML; Viechtbauer 2005)."""

    def loss(log_between: float) -> float:
        weights = 1 / (variances + np.exp(log_between))
        mean = weights @ values / weights.sum()
        return float(-np.log(weights).sum() + np.log(weights.sum()) + weights @ (values - mean) ** 2) / 2

    found = minimize_scalar(loss, bounds=(np.log(SMALLEST), np.log(LARGEST)), method="bounded")
    return 0.0 if found.x < np.log(SMALLEST) + 0.1 or loss(np.log(SMALLEST)) <= found.fun else float(np.exp(found.x))

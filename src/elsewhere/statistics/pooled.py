"""Several models' scores at several sites in; mean AUCs over groups of cells, with intervals, out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from elsewhere.statistics.columns import Floats
from elsewhere.statistics.intervals import LEVEL, Interval
from elsewhere.statistics.site_aucs import SiteAucs, site_aucs

Cell = tuple[str, str]
"""(model, site)."""


@dataclass(frozen=True)
class SiteScores:
    """The test scans of one site as several models score them.

    Attributes:
        labels: 1 or 0 (scans,), both of them present.
        patients: patient of each scan (scans,).
        scores: model -> scores (scans,).
    """

    labels: ArrayLike
    patients: ArrayLike
    scores: Mapping[str, ArrayLike]


def mean_aucs(
    sites: Mapping[str, SiteScores | SiteAucs],
    groups: Mapping[str, Sequence[Cell]],
    differences: Sequence[tuple[str, str]] = (),
    *,
    trainings: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Interval]:
    """Mean AUC of each group of cells, and the differences asked for, with intervals.

    The ends add up the distances of the cells' own score intervals from their AUCs by square-and-add for dependent
    estimates (Zou 2007; Donner & Zou 2012): cells of one site are correlated as DeLong's covariance of their AUCs,
    clustered by patient, has it; sites are independent. Sites are held: the interval says how far a mean would move
    with other patients of the same sites, not with other sites. (Percentiles of a joint bootstrap held 90 to 95 %.)

    A model that was trained several times counts with its mean over trainings, and the interval holds their spread as
    well: the variance over trainings of what a model adds to the mean, over their number, added up over models; joined
    to the ends by square-and-add (Zou & Donner 2008) with a t of Satterthwaite's degrees of freedom. With one training
    of each, the trained networks are held.

    Args:
        sites: site -> its scans, or what is known of one whose scans are not at hand.
        groups: name -> (model, site) of its cells, a cell as often as it counts; a group without cells is left out of
            the answer.
        differences: pairs of group names; the answer has "first - second" where both are known.
        trainings: model -> the names of its trainings among the scores of each of its sites, its own among them;
            models that are not named were trained once.

    Raises:
        ValueError: a site with one class, NaN, lengths that differ; a cell whose site or model is not there (KeyError).

    >>> site = SiteScores([0, 0, 0, 1, 1, 1], range(6), {"A": [1, 2, 4, 3, 5, 6], "B": [2, 4, 3, 1, 6, 5]})
    >>> found = mean_aucs({"South": site}, {"A": [("A", "South")], "B": [("B", "South")]}, [("A", "B")])
    >>> {name: round(interval.estimate, 2) for name, interval in found.items()}
    {'A': 0.89, 'B': 0.67, 'A - B': 0.22}
    """
    found = {site: _site(given) for site, given in sites.items()}
    weights = {name: _weights(cells) for name, cells in groups.items() if cells}
    for first, second in differences:
        if first in weights and second in weights:
            weights[f"{first} - {second}"] = _less(weights[first], weights[second])
    several = {model: names for model, names in (trainings or {}).items() if len(names) > 1}
    return {name: _mean(cells, found, several) for name, cells in weights.items()}


@dataclass(frozen=True)
class _Site:
    """AUC of each model at a site, the ends of its interval, and the correlations between the AUCs."""

    models: tuple[str, ...]
    aucs: Floats
    low: Floats
    high: Floats
    correlations: Floats


def _site(given: SiteScores | SiteAucs) -> _Site:
    found = given if isinstance(given, SiteAucs) else site_aucs(given.labels, given.patients, given.scores)
    covariance = np.array(found.covariance)
    spread = np.sqrt(np.diag(covariance))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = np.nan_to_num(covariance / np.outer(spread, spread))  # an AUC of 1 moves with no other
    np.fill_diagonal(correlations, 1.0)
    return _Site(found.models, np.array(found.aucs), np.array(found.low), np.array(found.high), correlations)


def _weights(cells: Sequence[Cell]) -> Counter[Cell]:
    return Counter({cell: times / len(cells) for cell, times in Counter(cells).items()})


def _less(first: Counter[Cell], second: Counter[Cell]) -> Counter[Cell]:
    return Counter({cell: first[cell] - second[cell] for cell in [*first, *(c for c in second if c not in first)]})


def _mean(
    weights: Mapping[Cell, float], sites: Mapping[str, _Site], trainings: Mapping[str, Sequence[str]]
) -> Interval:
    """The weighted mean of cells, each the mean over its trainings, and its interval."""
    shares = {name: np.zeros(len(site.models)) for name, site in sites.items()}
    parts = []  # of each model: what each of its trainings adds to the mean
    for model in dict.fromkeys(model for model, _ in weights):
        names = trainings.get(model, [model])
        added = np.zeros(len(names))
        for place, weight in ((s, w) for (m, s), w in weights.items() if m == model):
            at = [sites[place].models.index(name) for name in names]
            shares[place][at] += weight / len(names)
            added += weight * sites[place].aucs[at]
        parts.append(added)
    below = above = 0.0
    for name, site in sites.items():
        down, up = shares[name] * (site.aucs - site.low), shares[name] * (site.high - site.aucs)
        low, high = np.where(shares[name] > 0, down, up), np.where(shares[name] > 0, up, down)
        below += max(float(low @ site.correlations @ low), 0.0)
        above += max(float(high @ site.correlations @ high), 0.0)
    estimate = float(sum(part.mean() for part in parts))
    several = [part for part in parts if part.size > 1]
    reach = _reach(several) if several else 0.0
    ends = estimate - (below + reach**2) ** 0.5, estimate + (above + reach**2) ** 0.5
    method = "score intervals of the cells added up (square-and-add, DeLong correlations, by patient), sites "
    if not several:
        return Interval(estimate, *ends, method + "and networks held")
    times = min(part.size for part in parts)
    return Interval(estimate, *ends, f"{method}held; with the spread over trainings ({times} or more of each network)")


def _reach(parts: Sequence[Floats]) -> float:
    """Half-width of the 95 % interval that the spread over trainings alone gives."""
    variances = np.array([part.var(ddof=1) / part.size for part in parts])
    if not variances.any():
        return 0.0
    freedom = float(variances.sum() ** 2 / (variances**2 / [part.size - 1 for part in parts]).sum())
    return float(t.ppf(0.5 + LEVEL / 2, freedom)) * float(variances.sum()) ** 0.5

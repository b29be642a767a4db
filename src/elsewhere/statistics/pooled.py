"""Several models' scores at several sites in; mean AUCs over groups of cells, with intervals, out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from elsewhere.statistics.bootstrap import resampled_aucs
from elsewhere.statistics.columns import Floats, check_labels, check_scores
from elsewhere.statistics.intervals import LEVEL, Interval
from elsewhere.statistics.roc import exact_auc

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
    sites: Mapping[str, SiteScores],
    groups: Mapping[str, Sequence[Cell]],
    differences: Sequence[tuple[str, str]] = (),
    *,
    trainings: Mapping[str, Sequence[str]] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Mean AUC of each group of cells from one joint bootstrap, and the differences asked for.

    Patients are drawn within each site, the same for all models of the site, so that cells which share patients move
    together; sites are drawn apart from each other. Sites are held: the interval says how far a mean would move with
    other patients of the same sites, not with other sites.

    A model that was trained several times counts with its mean over trainings, and the interval holds their spread as
    well: the variance over trainings of what a model adds to the mean, over their number, added up over models; joined
    to the bootstrap's ends by square-and-add (Zou & Donner 2008) with a t of Satterthwaite's degrees of freedom. With
    one training of each, the trained networks are held.

    Args:
        sites: site -> its scans.
        groups: name -> (model, site) of its cells, a cell as often as it counts; a group without cells is left out of
            the answer.
        differences: pairs of group names; the answer has "first - second" where both are known.
        trainings: model -> the names of its trainings among the scores of each of its sites, its own among them;
            models that are not named were trained once.
        resamples: number of bootstrap resamples.
        seed: of the draws, which are a function of (seed, place of the site).

    Raises:
        ValueError: a site with one class, NaN, lengths that differ; a cell whose site or model is not there (KeyError).
    """
    found: dict[Cell, tuple[float, Floats]] = {}
    for place, (site, given) in enumerate(sites.items()):
        labels = check_labels(given.labels)
        table = np.stack([check_scores(values, labels.size) for values in given.scores.values()])
        drawn = resampled_aucs(labels, given.patients, table, resamples, seed + place)
        aucs = exact_auc(labels, table)
        found |= {(model, site): (float(aucs[i]), drawn[i]) for i, model in enumerate(given.scores)}
    weights = {name: _weights(cells) for name, cells in groups.items() if cells}
    for first, second in differences:
        if first in weights and second in weights:
            weights[f"{first} - {second}"] = _less(weights[first], weights[second])
    several = {model: names for model, names in (trainings or {}).items() if len(names) > 1}
    return {name: _mean(cells, found, several, resamples) for name, cells in weights.items()}


def _weights(cells: Sequence[Cell]) -> Counter[Cell]:
    return Counter({cell: times / len(cells) for cell, times in Counter(cells).items()})


def _less(first: Counter[Cell], second: Counter[Cell]) -> Counter[Cell]:
    return Counter({cell: first[cell] - second[cell] for cell in [*first, *(c for c in second if c not in first)]})


def _mean(
    weights: Mapping[Cell, float],
    found: Mapping[Cell, tuple[float, Floats]],
    trainings: Mapping[str, Sequence[str]],
    resamples: int,
) -> Interval:
    """The weighted mean of cells, each the mean over its trainings, and its interval."""
    drawn, parts = np.zeros(resamples), []
    for model in dict.fromkeys(model for model, _ in weights):
        names = trainings.get(model, [model])
        own = {site: weight for (m, site), weight in weights.items() if m == model}
        for name in names:
            drawn += np.sum([w * found[name, site][1] for site, w in own.items()], axis=0) / len(names)
        parts.append(np.array([sum(w * found[n, site][0] for site, w in own.items()) for n in names]))
    estimate = float(sum(part.mean() for part in parts))
    low, high = (float(end) for end in np.quantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]))
    method = f"percentiles of {resamples} joint resamples of patients, sites "
    if not any(part.size > 1 for part in parts):
        return Interval(estimate, low, high, method + "and networks held")
    reach = _reach([part for part in parts if part.size > 1])
    low, high = estimate - float(np.hypot(estimate - low, reach)), estimate + float(np.hypot(high - estimate, reach))
    times = min(part.size for part in parts)
    return Interval(
        estimate, low, high, f"{method}held; with the spread over trainings ({times} or more of each network)"
    )


def _reach(parts: Sequence[Floats]) -> float:
    """Half-width of the 95 % interval that the spread over trainings alone gives."""
    variances = np.array([part.var(ddof=1) / part.size for part in parts])
    if not variances.any():
        return 0.0
    freedom = float(variances.sum() ** 2 / (variances**2 / [part.size - 1 for part in parts]).sum())
    return float(t.ppf(0.5 + LEVEL / 2, freedom)) * float(variances.sum()) ** 0.5

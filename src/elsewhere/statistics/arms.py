"""Two ways to train, each several times, at sites that they never saw, in; the difference of their mean AUCs out.

Two networks of one recipe differ too. Where each recipe was trained several times, the interval therefore holds both
spreads: over patients (DeLong's covariance of all networks on the same scans, clustered by patient: Obuchowski 1997)
and over trainings (variance of the paired differences over the seeds). Trained once each, it holds the patients alone,
and the difference is one of two networks, not of two recipes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, t

from elsewhere.statistics.columns import Floats
from elsewhere.statistics.comparison import NO_SPREAD
from elsewhere.statistics.delong import auc_covariance
from elsewhere.statistics.intervals import LEVEL


@dataclass(frozen=True, eq=False)
class RecipeCell:
    """Two recipes trained on the same sites, at one site that they never saw.

    Attributes:
        site: where they are tested.
        trained_on: name of the training sites; the same networks at two sites have the same name.
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        first: scores of the first recipe (trainings, scans).
        second: scores of the second recipe (trainings, scans), the same seeds in the same order.
    """

    site: str
    trained_on: str
    labels: ArrayLike
    patients: ArrayLike
    first: Floats
    second: Floats


@dataclass(frozen=True)
class RecipeDifference:
    """Difference of two recipes' AUCs, first minus second, averaged over trainings and then over sites.

    Attributes:
        first: mean AUC of the first.
        second: mean AUC of the second.
        difference: first - second.
        low: lower end of its 95 % interval, over patients and, with several trainings, over trainings.
        high: upper end.
        p_value: two-sided, of no difference; as if this were the only comparison made.
        trainings: of each recipe on each set of training sites.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    trainings: int


def compare_recipes(cells: Sequence[RecipeCell]) -> RecipeDifference:
    """Two recipes on the same scans of one or several unseen sites.

    With V the patients' variance of the mean difference, and v_k the variance over seeds, over their number S, of what
    the networks of training set k add to it, the difference over √(V + Σ v_k) is compared with Student's t of
    (V + Σ v_k)² / Σ v_k² / (S - 1) degrees of freedom (Satterthwaite 1946; the patients' as if known). A training's own
    variance contains some of the patients', so that the interval is rather wide.

    Args:
        cells: sites weigh alike, and so do the training sets of each; patients of two sites are different people.

    Raises:
        ValueError: no cell, one class only at a site, NaN, lengths that differ.

    >>> labels, noise = [0, 0, 0, 1, 1, 1], np.array([[1, 2, 4, 3, 5, 6], [1, 3, 4, 2, 5, 6]])
    >>> found = compare_recipes([RecipeCell("B", "A", labels, range(6), noise, noise[::-1])])
    >>> round(found.first, 2), round(found.difference, 2), found.trainings
    (0.83, 0.0, 2)
    """
    if not cells:
        raise ValueError("there is no cell to compare in")
    trainings = {len(part) for cell in cells for part in (cell.first, cell.second)}
    if len(trainings) > 1:
        raise ValueError(f"the recipes were trained {sorted(trainings)} times: give as many of each")
    count = trainings.pop()
    by_site = {cell.site: [one for one in cells if one.site == cell.site] for cell in cells}
    means, patients, added = np.zeros(2), 0.0, dict[str, Floats]()
    for own in by_site.values():
        share = 1 / (len(own) * len(by_site))
        scores = np.concatenate([part for cell in own for part in (cell.first, cell.second)])
        aucs, covariance = auc_covariance(own[0].labels, scores, own[0].patients)
        weights = np.tile(np.repeat([share / count, -share / count], count), len(own))
        patients += float(weights @ covariance @ weights)
        for cell, pair in zip(own, aucs.reshape(len(own), 2, count), strict=True):
            means += share * pair.mean(axis=1)
            added[cell.trained_on] = added.get(cell.trained_on, np.zeros(count)) + share * (pair[0] - pair[1])
    spreads = [float(one.var(ddof=1)) / count if count > 1 else 0.0 for one in added.values()]
    return _difference(means, patients, np.array(spreads), count)


def _difference(means: Floats, patients: float, spreads: Floats, count: int) -> RecipeDifference:
    first, second = (float(mean) for mean in means)
    gap, variance = first - second, patients + float(spreads.sum())
    if not np.isfinite(variance) or variance < NO_SPREAD**2:  # unknown, not 0
        return RecipeDifference(first, second, gap, -1.0, 1.0, 1.0, count)
    below = float((spreads**2).sum()) / (count - 1) if count > 1 else 0.0
    law = t(variance**2 / below) if below > 0 else norm
    error = variance**0.5
    half = error * float(law.ppf(0.5 + LEVEL / 2))
    p_value = float(2 * law.sf(abs(gap) / error))
    return RecipeDifference(first, second, gap, max(gap - half, -1.0), min(gap + half, 1.0), p_value, count)


def best_trial(scores: Sequence[float | None]) -> int | None:
    """Place of the highest score, the first of equal ones; None where there is none.

    >>> best_trial([None, 0.7, 0.8, 0.8])
    2
    """
    known = [score for score in scores if score is not None]
    return scores.index(max(known)) if known else None

"""What tests and means of AUCs need of one site, as a few numbers without any scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit

from elsewhere.statistics.columns import Floats, check_groups, check_labels, check_scores
from elsewhere.statistics.delong import auc_spread
from elsewhere.statistics.intervals import auc_interval


@dataclass(frozen=True)
class SiteAucs:
    """AUCs of several models on the same scans of one site, and how they vary together over its patients.

    Attributes:
        models: their names (models,).
        aucs: exact AUCs (models,).
        low: lower ends of their 95 % intervals, by patient (models,).
        high: upper ends (models,).
        covariance: of the AUCs, DeLong's, clustered by patient (models, models).
        worth: how many independent (positives, negatives) the scans are worth for each AUC (models, 2).
        patients: number of patients.

    >>> scores = {"A": [1, 2, 3, 4] * 5, "B": [1, 3, 2, 4] * 5}
    >>> found = site_aucs([0, 0, 1, 1] * 5, range(20), scores).of(["B"])
    >>> found.aucs, round(found.log_odds[0], 2)  # log(0.75 / 0.25)
    ((0.75,), 1.1)
    """

    models: tuple[str, ...]
    aucs: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    worth: tuple[tuple[float, float], ...]
    patients: int

    def __post_init__(self) -> None:
        count = len(self.models)
        lengths = {len(part) for part in (self.aucs, self.low, self.high, self.covariance, self.worth)}
        if lengths != {count} or {len(row) for row in self.covariance} != {count}:
            raise ValueError(f"{count} models, but not as many AUCs, ends, covariances and effective scans")

    def of(self, models: Sequence[str]) -> SiteAucs:
        """The same of some of the models, in their order. Raises ValueError for one that is not there."""
        at = [self.models.index(name) for name in models]
        aucs, low, high = (tuple(part[i] for i in at) for part in (self.aucs, self.low, self.high))
        table = tuple(tuple(self.covariance[i][j] for j in at) for i in at)
        return SiteAucs(tuple(models), aucs, low, high, table, tuple(self.worth[i] for i in at), self.patients)

    @property
    def log_odds(self) -> tuple[float, float] | None:
        """Log-odds of the mean AUC over the models, and their variance, as `over_sites.auc_log_odds`."""
        return mean_log_odds(np.array(self.aucs), np.array(self.covariance), self.worth)


def site_aucs(labels: ArrayLike, patients: ArrayLike, scores: Mapping[str, ArrayLike]) -> SiteAucs:
    """What tests and means of AUCs need of one site.

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        scores: model -> scores (scans,).

    Raises:
        ValueError: no model, one class only, NaN, lengths that differ.

    >>> found = site_aucs([0, 0, 0, 1, 1, 1], range(6), {"A": [1, 2, 4, 3, 5, 6], "B": [2, 4, 3, 1, 6, 5]})
    >>> tuple(round(auc, 2) for auc in found.aucs), round(float(np.array(found.covariance)[0, 1]), 3)
    ((0.89, 0.67), 0.037)
    """
    truth = check_labels(labels)
    groups = check_groups(patients, truth.size)
    if not scores:
        raise ValueError("no model to score")
    table = np.stack([check_scores(values, truth.size) for values in scores.values()])
    aucs, covariance, worth = auc_spread(truth, table, groups)
    ends = [auc_interval(truth, groups, row) for row in table]
    return SiteAucs(
        tuple(scores),
        tuple(aucs.tolist()),
        tuple(one.low for one in ends),
        tuple(one.high for one in ends),
        tuple(map(tuple, covariance.tolist())),
        tuple((float(p), float(n)) for p, n in worth),
        int(groups.max()) + 1,
    )


def mean_log_odds(aucs: Floats, covariance: Floats, worth: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Log-odds of the mean of AUCs (models,) and their variance; None where one class comes from a single patient.

    The AUC goes in as it is, but never nearer to 0 or 1 than 1 / (2 (n + 1)), n the effective scans of the smaller
    class: there it is set so far away, which is where Anscombe's correction (1956: half a scan added to either side)
    puts 0 and 1 themselves. So 1 has log-odds and a variance, and no other AUC is drawn towards 0.5, as adding half a
    scan everywhere would draw it.

    >>> mean_log_odds(np.array([0.5]), np.array([[0.01]]), [(10.0, 10.0)])
    (0.0, 0.16)
    """
    if not np.isfinite(covariance).all():
        return None
    few = min(min(sides) for sides in worth)
    nearest = 0.5 / (few + 1)
    auc = min(max(float(aucs.mean()), nearest), 1 - nearest)
    least = auc * (1 - auc) / (4 * few**2)  # where no scan is misplaced the variance seen is 0, which it is not
    return float(logit(auc)), max(float(covariance.mean()), least) / (auc * (1 - auc)) ** 2

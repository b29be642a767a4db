"""Labels, patients, folds and out-of-fold scores in; the AUC within folds and the pooled one, with intervals, out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.statistics.columns import Floats, Ints, check_both_classes, check_groups, check_labels, check_scores
from elsewhere.statistics.delong import placements
from elsewhere.statistics.intervals import (
    LEVEL,
    Interval,
    Scans,
    auc_interval,
    binormal_variance,
    effective_trials,
    score_ends_of,
    wilson_ends,
    z_value,
)

METHOD = "score interval on twice the variance within folds, clustered by patient"

DEPENDENCE = 2.0
"""What the variance within folds is multiplied by, because networks are fitted on the patients whom others score.

Where patient i moves the score of patient j as j moves that of i (networks that have learned next to nothing from their
patients but their noise, as any kernel machine at chance), each such pair counts twice in one sum: its variance is four
times that of its half, of which the folds' own variance sees two. Nadeau and Bengio (2003) have 1 + k / (k - 1) for
subsampling, from another argument. It is too much where networks hardly differ (docs/cross-validation-tables.md)."""


@dataclass(frozen=True)
class CrossValidated:
    """Discrimination of scores of which each was given by a network that never saw its patient.

    Attributes:
        within: the main value: the share of pairs of a positive and a negative scan *of one fold* that are ranked
            rightly, and its interval. It is the mean of the folds' AUCs, weighted by their pairs.
        pooled: the AUC of all scores taken together, and its interval as of one network's scores.
        aucs: of each fold; NaN where a fold lacks a class, (folds,).
        skipped: scans of folds that lack a class: they are part of no pair.
    """

    within: Interval
    pooled: Interval
    aucs: tuple[float, ...]
    skipped: int


def cross_validated_auc(
    labels: ArrayLike,
    patients: ArrayLike,
    folds: ArrayLike,
    scores: ArrayLike,
    *,
    dependence: float = DEPENDENCE,
) -> CrossValidated:
    """AUC of out-of-fold scores (scans,), within folds and pooled.

    Each fold has a network of its own, and the networks' scores need not be on one scale. The pooled AUC compares the
    scores of one network with those of another; it is therefore biased, mostly downwards (Parker, Günter and Bedo 2007;
    Forman and Scholz 2010; Airola et al. 2011), and the AUC within folds is what is to be reported.

    Its variance is that of its influence function (LeDell, Petersen and van der Laan 2015): placements of DeLong et al.
    1988 within each fold, summed by patient as in Obuchowski 1997, with the folds' degrees of freedom taken off
    (n / (n - folds), n the patients of the class), times `dependence`: what patients score and what they teach others
    hang together, and no estimate from one cross-validation can tell how much (Bengio and Grandvalet 2004). The ends
    are those of `intervals.score_ends`.

    The interval is for the mean AUC of *these* networks over new patients of the same site. It is none for another
    training on other patients, for the ensemble, or for one network trained on all patients (Bates, Hastie and
    Tibshirani 2023).

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,); all scans of a patient are in one fold.
        folds: fold of each scan (scans,).
        scores: larger means more positive (scans,).
        dependence: factor of the variance; 1 takes the networks as fixed.

    Raises:
        ValueError: one class only, no fold with both classes, a patient in two folds, NaN, lengths that differ.

    >>> found = cross_validated_auc([0, 0, 1, 1] * 2, range(8), [1] * 4 + [2] * 4, [1, 2, 3, 4, 11, 12, 13, 14])
    >>> found.within.estimate, found.pooled.estimate, found.aucs
    (1.0, 0.75, (1.0, 1.0))
    """
    truth = check_labels(labels)
    groups, parts = check_groups(patients, truth.size), check_groups(folds, truth.size, "folds")
    values = check_scores(scores, truth.size)
    check_both_classes(truth)
    if np.unique(np.stack([groups, parts]), axis=1).shape[1] > int(groups.max()) + 1:
        raise ValueError("a patient has scans in two folds")
    members = [parts == fold for fold in range(int(parts.max()) + 1)]
    paired = [own for own in members if len(set(truth[own].tolist())) == 2]
    if not paired:
        raise ValueError("no fold has scans of both classes")
    within = _within(truth, groups, values, paired, dependence)
    aucs = tuple(float(_placed(truth, values, own)[1]) if _two(truth, own) else float("nan") for own in members)
    pooled = auc_interval(truth, groups, values)
    return CrossValidated(within, pooled, aucs, truth.size - int(sum(own.sum() for own in paired)))


def _two(truth: Ints, own: np.ndarray) -> bool:
    return len(set(truth[own].tolist())) == 2


def _placed(truth: Ints, values: Floats, own: np.ndarray) -> tuple[Floats, float]:
    """Placements of a fold's scans among its other class, and its AUC."""
    placed = placements(truth[own], values[own][None])[0]
    return placed, float(placed[truth[own] == 1].mean())


def _within(truth: Ints, groups: Ints, values: Floats, folds: list[np.ndarray], dependence: float) -> Interval:
    counts = [(int(truth[own].sum()), int((1 - truth[own]).sum())) for own in folds]
    pairs = np.array([up * down for up, down in counts], dtype=np.float64)
    weights: list[float] = (pairs / pairs.sum()).tolist()
    sums = np.zeros((2, int(groups.max()) + 1))  # of each class and patient: its share of the estimate's error
    auc = 0.0
    for own, weight in zip(folds, weights, strict=True):
        placed, found = _placed(truth, values, own)
        auc += weight * found
        for label in (0, 1):
            of = truth[own] == label
            np.add.at(sums[label], groups[own][of], weight * (placed[of] - found) / of.sum())
    free = [_freedom(groups, folds, truth == label) for label in (0, 1)]
    if not all(map(np.isfinite, free)):
        return Interval(auc, 0.0, 1.0, "unknown: one class comes from a single patient in every fold")
    both = _freedom(groups, folds, np.ones(truth.size, dtype=bool))
    variance = float(free[0] * (sums[0] ** 2).sum() + free[1] * (sums[1] ** 2).sum() + 2 * both * (sums[0] @ sums[1]))
    worth = [(_worth(groups[own & (truth == 1)]), _worth(groups[own & (truth == 0)])) for own in folds]

    alike: dict[Scans, float] = {}  # most folds have as many scans as another
    for weight, one in zip(weights, worth, strict=True):
        alike[one] = alike.get(one, 0.0) + weight**2

    def supposed(value: float) -> float:
        return float(sum(share * binormal_variance(value, one) for one, share in alike.items()))

    total: Scans = (sum(up for up, _ in worth), sum(down for _, down in worth))
    reach = z_value(LEVEL) * dependence**0.5
    return Interval(auc, *score_ends_of(auc, max(variance, 0.0), total, reach, supposed), METHOD)


def cross_validated_share(right: ArrayLike, patients: ArrayLike) -> Interval:
    """Share of right calls (scans,), each by a network that never saw the patient, as `intervals.proportion_interval`.

    The effective scans are divided by `DEPENDENCE`, for the same reason as the variance of the AUC.

    Raises:
        ValueError: no scan, answers other than 0 and 1, lengths that differ.

    >>> found = cross_validated_share([1] * 9 + [0], range(10))
    >>> found.estimate, round(found.low, 2), round(found.high, 2)
    (0.9, 0.46, 0.99)
    """
    values = check_labels(right)
    groups, share = check_groups(patients, values.size), float(values.mean())
    ends = wilson_ends(share, effective_trials(values, groups) / DEPENDENCE)
    return Interval(share, *ends, "Wilson, half the effective sample size by patient")


def _freedom(groups: Ints, folds: list[np.ndarray], of: np.ndarray) -> float:
    """Patients over patients less one for each fold; infinite where each fold has one."""
    patients = sum(np.unique(groups[own & of]).size for own in folds)
    return patients / (patients - len(folds)) if patients > len(folds) else float("inf")


def _worth(groups: Ints) -> float:
    """Scans over their design effect where all scans of a patient agree (Kish 1965)."""
    sizes = np.bincount(groups)
    return float(groups.size**2 / (sizes**2).sum())

"""Labelled scans of a new place in; which to fit on, which way of adapting to take or none, and what it forgets, out.

The way is chosen on the labelled scans alone. Every way is fitted without one fold of patients at a time and asked
about that fold. What it then says is recalibrated by the other folds, and so is what the model says as it is:

1. fewer than 8 patients of a class: **cannot tell**;
2. a way is worth it where it surely saves log loss against recalibrating the model as it is (Platt's map, or isotonic
   regression where that does better): the whole interval of the mean saving lies above 0. Patients are the unit, the
   interval is widened for the ways together (multiplier bootstrap of the largest of their t; 2000 draws) and because
   fits of different folds share scans (a factor 1 + 1 / (folds - 1) on the variance, after Nadeau and Bengio 2003);
3. none is: **do not adapt**; **recalibrate** where that surely saves log loss, else **leave it as it is**;
4. of the ways that are worth it and lie within one standard error of the best, the one that loses least at home, on
   scans of home that are not scored; without such scans the best: **adapt**.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression
from scipy.special import expit
from scipy.stats import t

from elsewhere.statistics.columns import (
    Floats,
    Ints,
    check_both_classes,
    check_groups,
    check_labels,
    check_probabilities,
    check_scores,
)
from elsewhere.statistics.decision import fit_recalibration, log_odds, recalibrate
from elsewhere.statistics.delong import auc_covariance, auc_spread
from elsewhere.statistics.intervals import LEVEL, Interval, score_ends, z_value
from elsewhere.statistics.roc import exact_auc

FIRST = 4
"""Patients of each class on the first step of the ladder; each further step has twice as many."""

FOLDS = 5
LEAST_PATIENTS = 8
"""Patients of each class without which no way is chosen: a fold of one patient ranks nothing."""

RESAMPLES = 2000
LEAST_ISOTONIC = 50
"""Patients of each class from which isotonic regression is tried beside Platt's map."""

CLOSEST = 1e-6
"""Probabilities are kept this far from 0 and 1 in a log loss: one scan never decides by being infinitely wrong."""

Decision = Literal["adapt", "recalibrate", "nothing", "cannot tell"]


# Which scans are fitted on ----------------------------------------------------------------------------------------


def ladder(labels: ArrayLike, patients: ArrayLike) -> tuple[int, ...]:
    """Numbers of patients of each class to fit on: 4, 8, 16, … as far as both classes go.

    A patient with a positive scan counts as positive.

    >>> ladder([1] * 20 + [0] * 40, range(60)), ladder([1] * 3 + [0] * 40, range(43))
    ((4, 8, 16), ())
    """
    most = min(np.bincount(patient_classes(labels, patients)[1], minlength=2))
    return tuple(FIRST * 2**step for step in range(20) if FIRST * 2**step <= most)


def patient_classes(labels: ArrayLike, patients: ArrayLike) -> tuple[Ints, Ints]:
    """Number of each scan's patient (scans,), in the order of their names, and 1 or 0 of each patient (patients,).

    >>> groups, classes = patient_classes([0, 1, 0], ["b", "b", "a"])
    >>> groups.tolist(), classes.tolist()
    ([1, 1, 0], [0, 1])
    """
    truth = check_labels(labels)
    groups = check_groups(patients, truth.size)
    return groups, (np.bincount(groups, truth) > 0).astype(np.int64)


def draw_scans(labels: ArrayLike, patients: ArrayLike, size: int, draw: int, seed: int = 0) -> Ints:
    """Places of all scans of `size` patients of each class, drawn at random.

    Within one draw a smaller step of the ladder is part of every larger one, as in labelling further patients.

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        size: patients of each class.
        draw: number of the draw.
        seed: of all draws.

    Raises:
        ValueError: a class has fewer patients.

    >>> draw_scans([1, 1, 0, 0], ["a", "a", "b", "c"], 1, 0).tolist() in ([0, 1, 2], [0, 1, 3])
    True
    """
    groups, classes = patient_classes(labels, patients)
    chosen = []
    for label in (0, 1):
        own = np.flatnonzero(classes == label)
        if own.size < size:
            raise ValueError(f"{size} patients of each class are to be drawn, and class {label} has {own.size}")
        chosen += np.random.default_rng([seed, draw, label, 7]).permutation(own)[:size].tolist()
    return np.flatnonzero(np.isin(groups, chosen))


def deal_folds(labels: ArrayLike, patients: ArrayLike, seed: int = 0) -> Ints:
    """Fold of each scan (scans,): patients of each class dealt in turn to 5 folds, or to as many as it has.

    >>> np.bincount(deal_folds([0] * 5 + [1] * 5, range(10))).tolist()
    [2, 2, 2, 2, 2]
    """
    groups, classes = patient_classes(labels, patients)
    folds = int(min(FOLDS, *np.bincount(classes, minlength=2)))
    if folds < 2:
        raise ValueError("two patients of each class are the least to leave one out")
    fold = np.empty(classes.size, np.int64)
    for label in (0, 1):
        own = np.random.default_rng([seed, label, 8]).permutation(np.flatnonzero(classes == label))
        fold[own] = np.arange(own.size) % folds
    return fold[groups]


def set_apart(labels: ArrayLike, patients: ArrayLike, share: float, seed: int = 0) -> np.ndarray:
    """True for scans that are scored and never fitted on (scans,): those of `share` of the patients of each class.

    >>> apart = set_apart([0] * 10 + [1] * 10, range(20), 0.3)
    >>> int(apart[:10].sum()), int(apart[10:].sum())
    (3, 3)
    """
    groups, classes = patient_classes(labels, patients)
    apart = np.zeros(classes.size, bool)
    for label in (0, 1):
        own = np.random.default_rng([seed, label, 9]).permutation(np.flatnonzero(classes == label))
        apart[own[: round(share * own.size)]] = True
    return apart[groups]


# Means over scans of patients, and over draws ----------------------------------------------------------------------


def losses(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """Log loss of each scan in nats (scans,).

    >>> losses([1, 0], [0.5, 0.5]).round(3).tolist()
    [0.693, 0.693]
    """
    truth = check_labels(labels)
    values = np.clip(check_probabilities(probabilities, truth.size), CLOSEST, 1 - CLOSEST)
    found: Floats = -np.log(np.where(truth == 1, values, 1 - values))
    return found


def patient_means(values: Floats, groups: Ints) -> Floats:
    """Mean over the scans of each patient (..., scans) -> (..., patients): a patient of many scans counts once.

    >>> patient_means(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1])).tolist()
    [2.0, 5.0]
    """
    rows = np.atleast_2d(values)
    found = np.stack([np.bincount(groups, row) for row in rows]) / np.bincount(groups)
    return found if values.ndim > 1 else found[0]


def clustered_mean(values: ArrayLike, patients: ArrayLike) -> Interval:
    """Mean over patients of the mean of each one's values (scans,), with a t-interval over patients.

    >>> found = clustered_mean([1.0, 2.0, 3.0], ["a", "b", "c"])
    >>> round(found.estimate, 2), round(found.low, 2), round(found.high, 2)
    (2.0, -0.48, 4.48)
    """
    given = np.asarray(values, dtype=np.float64)
    own = patient_means(given, check_groups(patients, given.size))
    middle = float(own.mean())
    if own.size < 2:
        return Interval(middle, -np.inf, np.inf, "unknown: all scans come from one patient")
    half = float(t.ppf(0.5 + LEVEL / 2, own.size - 1) * own.std(ddof=1) / own.size**0.5)
    return Interval(middle, middle - half, middle + half, "mean over patients, t")


def mean_auc(labels: ArrayLike, patients: ArrayLike, scores: ArrayLike) -> Interval:
    """Mean AUC of several fits (fits, scans) on the same scans, with an interval over fits **and** patients.

    The patients' part is the score interval on the DeLong variance of the mean (clustered), the fits' part a
    t-interval; their distances from the mean are squared and added. Of one fit the interval is over patients alone.

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> mean_auc([0, 0, 1, 1], range(4), [[1, 2, 3, 4], [1, 3, 2, 4]]).estimate  # of 1 and 0.75
    0.875
    """
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    aucs, covariance, worth = auc_spread(labels, table, patients)
    middle, variance = float(aucs.mean()), float(covariance.mean())
    if not np.isfinite(variance):
        return Interval(middle, 0.0, 1.0, "unknown: one class comes from a single patient")
    up, down = np.mean(worth, axis=0)
    low, high = score_ends(middle, variance, (float(up), float(down)), z_value(LEVEL))
    spread = _over_fits(aucs)
    ends = middle - np.hypot(middle - low, spread), middle + np.hypot(high - middle, spread)
    return Interval(middle, max(float(ends[0]), 0.0), min(float(ends[1]), 1.0), "over draws and patients")


def mean_difference(labels: ArrayLike, patients: ArrayLike, scores: ArrayLike, before: ArrayLike) -> Interval:
    """Mean AUC of several fits (fits, scans) less the AUC of the model before (scans,), on the same scans.

    Below 0 where the fits rank worse: at an old site that is what was forgotten. Paired DeLong, clustered by patient,
    and a t-interval over fits, added as in `mean_auc`.

    Raises:
        ValueError: one class only, NaN, lengths that differ.

    >>> found = mean_difference([0, 0, 1, 1], range(4), [[1, 2, 3, 4]], [1, 2, 3, 4])
    >>> found.estimate, found.low, found.high
    (0.0, 0.0, 0.0)
    """
    truth = check_labels(labels)
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    whole = np.vstack([table, check_scores(before, truth.size)])
    aucs, covariance = auc_covariance(truth, whole, patients)
    weights = np.append(np.full(len(table), 1 / len(table)), -1.0)
    middle, variance = float(weights @ aucs), float(np.einsum("i,ij,j", weights, covariance, weights))
    if not np.isfinite(variance):
        return Interval(middle, -1.0, 1.0, "unknown: one class comes from a single patient")
    freedom = max(int(check_groups(patients, truth.size).max()), 1)
    patient_part = float(t.ppf(0.5 + LEVEL / 2, freedom)) * max(variance, 0.0) ** 0.5
    half = float(np.hypot(patient_part, _over_fits(aucs[:-1])))
    return Interval(middle, max(middle - half, -1.0), min(middle + half, 1.0), "paired, over draws and patients")


def _over_fits(values: Floats) -> float:
    if values.size < 2:
        return 0.0
    return float(t.ppf(0.5 + LEVEL / 2, values.size - 1) * values.std(ddof=1) / values.size**0.5)


# The choice --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """One way, tried on the labelled scans by leaving out patients.

    Attributes:
        name: of the way.
        log_loss: mean per patient in nats, recalibrated by other folds.
        auc: mean over the folds; None where no fold has both classes.
        saved: log loss saved against recalibrating the model as it is, with the interval of the rule.
        home: AUC at home less that of the model as it is, on scans of home that are not scored; None where there are
            none.
        sure: whether the whole interval lies above 0.
    """

    name: str
    log_loss: float
    auc: float | None
    saved: Interval
    home: float | None = None
    sure: bool = False


@dataclass(frozen=True)
class Choice:
    """What to do with a model at a new place.

    Attributes:
        decision: what to do.
        way: to adapt in; "" where it is not to be adapted.
        reason: in one or two sentences.
        candidates: all that was tried: recalibration first, then the ways.
        patients: of each class, (positive, negative).
        as_it_is: log loss of the model as it is.
    """

    decision: Decision
    way: str
    reason: str
    candidates: tuple[Candidate, ...]
    patients: tuple[int, int]
    as_it_is: float


def choose_way(  # noqa: PLR0917 - columns of one table, then what stands beside it
    labels: ArrayLike,
    patients: ArrayLike,
    folds: ArrayLike,
    before: ArrayLike,
    ways: Mapping[str, ArrayLike],
    home: Mapping[str, float] = {},
) -> Choice:
    """Choose a way of adapting, or none, from labelled scans alone; the rule stands at the head of this file.

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        folds: fold of each scan (scans,), whole patients, as `deal_folds`.
        before: probabilities of the model as it is (scans,).
        ways: way -> probabilities by fits that never saw the scan's fold (scans,).
        home: way -> AUC at home less that of the model as it is, on scans of home that are not scored.

    Raises:
        ValueError: one class only, NaN, probabilities outside 0 to 1, lengths that differ, a patient in two folds.

    >>> labels = [0, 1] * 10
    >>> folds, before = deal_folds(labels, range(20)), np.linspace(0.4, 0.6, 20)
    >>> choice = choose_way(labels, range(20), folds, before, {"head": [0.1, 0.9] * 10})
    >>> choice.decision, choice.way
    ('adapt', 'head')
    """
    truth = check_labels(labels)
    check_both_classes(truth)
    groups, classes = patient_classes(truth, patients)
    fold = check_groups(folds, truth.size, "folds")
    if np.unique(np.stack([groups, fold]), axis=1).shape[1] != classes.size:
        raise ValueError("a patient is in two folds: what is left out of a fit must be whole patients")
    as_is = check_probabilities(before, truth.size)
    counts = int((classes == 1).sum()), int((classes == 0).sum())
    unadapted = {"recalibration": cross_fitted(truth, groups, fold, as_is)}
    if min(counts) >= LEAST_ISOTONIC:
        unadapted["isotonic"] = cross_fitted(truth, groups, fold, as_is, isotonic=True)
    baseline = min(
        (losses(truth, values) for values in unadapted.values()),
        key=lambda one: float(patient_means(one, groups).mean()),
    )
    raw = losses(truth, as_is)
    candidates = [
        Candidate(name, float(patient_means(losses(truth, values), groups).mean()), _fold_auc(truth, fold, as_is),
                  clustered_mean(baseline - losses(truth, values), groups))
        for name, values in unadapted.items()
    ]  # fmt: skip
    given = {name: check_probabilities(said, truth.size) for name, said in ways.items()}
    mapped = {name: cross_fitted(truth, groups, fold, values) for name, values in given.items()}
    gains = np.array([baseline - losses(truth, values) for values in mapped.values()])
    for (name, values), saved in zip(mapped.items(), together(gains, groups, fold), strict=True):
        auc = _fold_auc(truth, fold, given[name])
        loss = float(patient_means(losses(truth, values), groups).mean())
        candidates.append(Candidate(name, loss, auc, saved, home.get(name), saved.low > 0))
    gain = clustered_mean(raw - losses(truth, unadapted["recalibration"]), groups)
    decision, way, reason = _decide(candidates[len(unadapted) :], counts, gain)
    return Choice(decision, way, reason, tuple(candidates), counts, float(patient_means(raw, groups).mean()))


def together(gains: ArrayLike, groups: Ints, folds: Ints) -> list[Interval]:
    """Mean over patients of each row of paired gains (ways, scans), with intervals that hold together at 95 %.

    The critical value is the 97.5 % point of the largest of the ways' t under random signs of the patients' pulls, so
    that ways which say nearly the same cost little; it is never below that of one way.

    >>> found = together([[1.0, 2.0, 3.0]], np.arange(3), np.arange(3))[0]
    >>> found.estimate, round(found.low, 2)  # 2 - 4.303 * √(1 + 1 / 2) / √3
    (2.0, -1.04)
    """
    table = np.asarray(gains, dtype=np.float64)
    if not table.size:
        return []
    own = patient_means(np.atleast_2d(table), groups)
    folds_used, people = int(folds.max()) + 1, own.shape[1]
    middle = own.mean(axis=1)
    pulls = (own - middle[:, None]) / people
    inflate = (1 + 1 / max(folds_used - 1, 1)) * people / max(people - 1, 1)
    spread = np.sqrt((pulls**2).sum(axis=1))
    signs = np.random.default_rng([people, len(own), 10]).choice([-1.0, 1.0], (RESAMPLES, people))
    largest = (signs @ (pulls / np.maximum(spread, 1e-300)[:, None]).T).max(axis=1)
    alone = z_value(LEVEL)
    widened = max(float(np.quantile(largest, 0.5 + LEVEL / 2)) / alone, 1.0)
    half = widened * float(t.ppf(0.5 + LEVEL / 2, max(people - 1, 1))) * np.sqrt(inflate) * spread
    method = "mean over patients, t; all ways together, fits that share scans"
    ends = zip(middle, half, strict=True)
    return [Interval(float(m), float(m - h), float(m + h), method) for m, h in ends]


def _decide(ways: Sequence[Candidate], counts: tuple[int, int], gain: Interval) -> tuple[Decision, str, str]:
    if min(counts) < LEAST_PATIENTS:
        words = (
            f"Only {counts[0]} positive and {counts[1]} negative patients are labelled for fitting; "
            f"{LEAST_PATIENTS} of each are the least to choose a way by."
        )
        return "cannot tell", "", words
    sure = [c for c in ways if c.sure]
    if not sure:
        best = max(ways, key=lambda c: c.saved.estimate, default=None)
        words = "No way of adapting was tried." if best is None else (
            f"No way surely saves log loss against recalibrating the model as it is; the best, {best.name}, saves "
            f"{best.saved.estimate:+.3f} nats per patient ({best.saved.low:+.3f} to {best.saved.high:+.3f})."
        )  # fmt: skip
        helps = gain.low > 0
        then = (
            f" Recalibrating alone saves {gain.estimate:.3f} ({gain.low:.3f} to {gain.high:.3f})."
            if helps
            else " Nor does recalibrating surely save any."
        )
        return ("recalibrate" if helps else "nothing"), "", words + then
    best = max(sure, key=lambda c: c.saved.estimate)
    error = (best.saved.estimate - best.saved.low) / 2
    near = [c for c in sure if c.saved.estimate >= best.saved.estimate - error]
    known = [c for c in near if c.home is not None]
    chosen = max(known, key=lambda c: c.home if c.home is not None else -1.0) if known else best
    words = (
        f"{chosen.name} surely saves log loss against recalibrating the model as it is: "
        f"{chosen.saved.estimate:.3f} nats per patient ({chosen.saved.low:.3f} to {chosen.saved.high:.3f}), on "
        "patients left out of its fits."
    )
    if len(near) > 1 and chosen.home is not None:
        words += f" Of {len(near)} ways that are about as good it loses least at home (AUC {chosen.home:+.3f})."
    return "adapt", chosen.name, words


def cross_fitted(labels: Ints, groups: Ints, folds: Ints, probabilities: Floats, *, isotonic: bool = False) -> Floats:
    """Probabilities (scans,), each recalibrated by a map that was fitted on the other folds, patients counting alike.

    Scans of one patient and class enter a fit as one, at the mean of their log-odds. A map that would turn the ranking
    round, or that cannot be fitted, is the share of positives of the other folds: a score that points the wrong way
    there is worth nothing, and its sign is not learned from a few scans.

    Args:
        labels: 1 or 0 (scans,).
        groups: number of each scan's patient (scans,).
        folds: fold of each scan (scans,).
        probabilities: (scans,).
        isotonic: by isotonic regression instead of Platt's map.

    >>> same = np.full(4, 0.7)  # cannot be fitted: the share of the other fold, (1 + 1) / (2 + 2)
    >>> cross_fitted(np.array([0, 1, 0, 1]), np.arange(4), np.array([0, 0, 1, 1]), same).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    person, place = np.unique(2 * groups + labels, return_inverse=True)
    truth, size = person % 2, np.bincount(place)
    means = expit(np.bincount(place, log_odds(probabilities)) / size)
    fold = np.empty(person.size, np.int64)
    fold[place] = folds
    found = np.empty(labels.size)
    for out in np.unique(folds):
        kept, wanted = fold != out, folds == out
        found[wanted] = _mapped(truth[kept], means[kept], probabilities[wanted], isotonic=isotonic)
    return found


def _mapped(labels: Ints, values: Floats, wanted: Floats, *, isotonic: bool) -> Floats:
    share = (labels.sum() + 1) / (labels.size + 2)
    try:
        line = fit_recalibration(labels, values)
    except ValueError:
        return np.full(wanted.size, share)
    if line.slope <= 0:
        return np.full(wanted.size, share)
    if not isotonic:
        return recalibrate(wanted, line)
    order = np.argsort(values, kind="stable")
    steps = isotonic_regression(labels[order].astype(np.float64)).x
    edge = 1 / (labels.size + 2)
    return np.interp(wanted, values[order], np.clip(steps, edge, 1 - edge))


def _fold_auc(labels: Ints, folds: Ints, values: Floats) -> float | None:
    """Mean over folds with both classes: scores of different fits are never compared."""
    both = [f for f in np.unique(folds) if 0 < labels[folds == f].mean() < 1]
    return float(np.mean([exact_auc(labels[folds == f], values[folds == f]) for f in both])) if both else None

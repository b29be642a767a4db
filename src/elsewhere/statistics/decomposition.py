"""One model's labels, patients and scores at home and elsewhere in; where accuracy was lost between them out.

The scale is accuracy at the model's own operating point: what the paper's threshold
maximises, and a number of scans that a reader can count. A log loss would not do: on it a model whose scores are noise
would look mostly miscalibrated, though recalibration makes nothing useful of it. The parts are differences between
counterfactual scorings in a fixed order, after the reweighting of Cai, Namkoong & Yadlowsky 2023 ("Diagnosing model
performance under distribution shift"); prevalence as label shift after Saerens, Latinne & Decaestecker 2002:

1. home as it is, at the home threshold;
2. home, its strata (age, sex, …) reweighted within each class to those elsewhere: **case mix** is 1 - 2;
3. home, also its classes reweighted to the share of positives elsewhere: **threshold (prevalence)** is 2 - 3;
4. home reweighted as in 3 with the threshold that is best for it, against elsewhere with the threshold that is best
   there: **ranking** is what no threshold brings back;
5. elsewhere as it is. **Calibration** is what the home threshold misses there of the best one, less what it misses at
   home reweighted: the scores themselves have moved.

The four add up to the drop exactly. Intervals resample patients at both sites, and with them the share of positives;
where a study fixed the numbers of positive and negative patients itself, `threshold_held` is the interval of the
threshold part for that design. "Best" thresholds are found on the very scans they are scored on, so that with few
scans elsewhere ranking is shown somewhat too small and calibration too large by the same amount.

Where the model does not discriminate elsewhere, calibration and ranking cannot be told apart: the best threshold there
calls every scan the majority class, or hardly differs from that, and what it restores is no success of a threshold.
`discriminates` is then False, and no part is named as the largest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elsewhere.statistics.bootstrap import draw_patients
from elsewhere.statistics.columns import (
    Floats,
    Ints,
    check_both_classes,
    check_groups,
    check_labels,
    check_probabilities,
)
from elsewhere.statistics.decision import (
    ARGMAX,
    OperatingPoint,
    choose_threshold,
    decide,
    fit_recalibration,
    log_odds,
    recalibrate,
)
from elsewhere.statistics.intervals import LEVEL, Interval, auc_interval, z_value

METHOD = "percentile bootstrap of patients at both sites, share of positives sampled"
METHOD_HELD = "percentile bootstrap of patients at both sites, numbers of positive and negative patients held"
CHANCE = 0.5
FOLDS = 5
SURELY = 0.95
"""A part is named as the largest where it is so in this share of resamples."""
LARGEST_UNCOVERED = 0.2
"""Case mix is not divided off where more of a class elsewhere than this lies in strata that home does not have."""

PARTS = ("case_mix", "threshold", "calibration", "ranking")

BLOCK = 2_000_000
"""Scan weights held at once by the bootstrap."""


@dataclass(frozen=True)
class Decomposition:
    """The drop in accuracy from home to elsewhere and its parts, each positive where something was lost.

    Attributes:
        home: accuracy at home.
        elsewhere: accuracy elsewhere.
        drop: home - elsewhere.
        case_mix: other strata of patients within the classes; None where no strata were given or home lacks them.
        threshold: another share of positives, at a threshold chosen for home's; the interval samples the prevalence.
        threshold_held: the same for numbers of positives and negatives fixed beforehand (case-control): narrower.
        calibration: scores moved or stretched, so that the threshold stands in the wrong place.
        ranking: what no threshold brings back.
        uncovered: share of the scans elsewhere in strata that home does not have; None without strata.
        discriminates: whether the AUC's interval elsewhere lies above 0.5, and a threshold beats the majority class.
        largest: the part that is the largest in 95 % of resamples and above 0 here; "" where no part is, or where the
            model does not discriminate elsewhere.
        note: what could not be divided, and why.
    """

    home: Interval
    elsewhere: Interval
    drop: Interval
    case_mix: Interval | None
    threshold: Interval
    threshold_held: Interval
    calibration: Interval
    ranking: Interval
    uncovered: float | None
    discriminates: bool
    largest: str
    note: str

    @property
    def parts(self) -> dict[str, Interval]:
        """The parts by name; their estimates add up to the drop."""
        named = {
            "case mix": self.case_mix,
            "threshold (prevalence)": self.threshold,
            "calibration": self.calibration,
            "ranking": self.ranking,
        }
        return {name: part for name, part in named.items() if part is not None}


@dataclass(frozen=True)
class Side:
    """One site's scans of one model, checked, in rising order of probability.

    Attributes:
        order: places of the scans in the columns given (scans,).
        labels: 1 or 0 (scans,).
        groups: patient numbers (scans,).
        probabilities: (scans,).
        right: whether the operating point decides rightly (scans,).
    """

    order: Ints
    labels: Ints
    groups: Ints
    probabilities: Floats
    right: NDArray[np.bool_]


def decompose(
    home: tuple[ArrayLike, ArrayLike, ArrayLike],
    elsewhere: tuple[ArrayLike, ArrayLike, ArrayLike],
    point: OperatingPoint,
    strata: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    home_point: OperatingPoint | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Decomposition:
    """Divide the drop in accuracy between two sites (method: this file's first lines).

    Args:
        home: (labels, patients, probabilities), each (scans,), of test scans at home.
        elsewhere: the same at the other site; no patient is at both.
        point: the model's operating point, chosen at home.
        strata: stratum of each scan at home and elsewhere (any values, equal where alike), for case mix.
        home_point: the operating point at home, where a model is used elsewhere at another one.
        resamples: patient-clustered bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ValueError: one class only at a site, NaN, labels other than 0 and 1, lengths that differ.

    >>> labels, point = [0, 1] * 50, OperatingPoint(0.5, "grid", "model", 1.0, 100)
    >>> home, there = ((labels, range(100), pair * 50) for pair in ([0.2, 0.8], [0.6, 0.9]))
    >>> {name: round(p.estimate, 2) + 0 for name, p in decompose(home, there, point, resamples=20).parts.items()}
    {'threshold (prevalence)': 0.0, 'calibration': 0.5, 'ranking': 0.0}
    """
    ours, theirs = _side(home, home_point or point), _side(elsewhere, point)
    tables, uncovered = (None, None) if strata is None else _strata(ours, theirs, strata)
    note = ""
    if strata is None:
        note = "Case mix: no facts (age, sex) are known at both sites; it is inside the other parts."
    elif tables is None:
        note = (
            f"Case mix: {uncovered:.0%} of a class elsewhere is of a kind that home does not have; it is inside "
            "the other parts."
        )
    everyone = (np.ones((1, int(ours.groups.max()) + 1)), np.ones((1, int(theirs.groups.max()) + 1)))
    found = _scorings(ours, theirs, everyone, tables)[:, 0]
    drawn, held = (
        np.concatenate(
            [_scorings(ours, theirs, draws, tables) for draws in _draws(ours, theirs, resamples, seed, fixed)], axis=1
        )
        for fixed in (False, True)
    )
    mix, threshold, calibration, ranking = (
        _interval(part, spread) for part, spread in zip(_parts(found), _parts(drawn), strict=True)
    )
    discriminates = _discriminates(theirs, float(found[4]))
    return Decomposition(
        home=_interval(found[0], drawn[0]),
        elsewhere=_interval(found[5], drawn[5]),
        drop=_interval(found[0] - found[5], drawn[0] - drawn[5]),
        case_mix=None if tables is None else mix,
        threshold=threshold,
        threshold_held=_interval(_parts(found)[1], _parts(held)[1], METHOD_HELD),
        calibration=calibration,
        ranking=ranking,
        uncovered=uncovered,
        discriminates=discriminates,
        largest=_largest(_parts(found), _parts(drawn)) if discriminates else "",
        note=note,
    )


def _discriminates(side: Side, best: float) -> bool:
    """Whether an AUC surely lies above 0.5, and the best accuracy of any threshold above that of the majority class."""
    share = float(side.labels.mean())
    low = auc_interval(side.labels, side.groups, side.probabilities).low
    return bool(low > CHANCE and best > max(share, 1 - share) + 1e-9)


def _largest(parts: Sequence[Floats], drawn: Sequence[Floats]) -> str:
    """The name of the part that is surely the largest, "" for none."""
    winner = int(np.argmax(parts))
    others = np.stack([spread for place, spread in enumerate(drawn) if place != winner]).max(axis=0)
    return PARTS[winner] if parts[winner] > 0 and float(np.mean(drawn[winner] > others)) >= SURELY else ""


def _parts(q: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Case mix, threshold, calibration, ranking from the six scorings (6, ...)."""
    as_is, mixed, weighted, weighted_best, best, there = q
    return as_is - mixed, mixed - weighted, (best - there) - (weighted_best - weighted), weighted_best - best


def _side(columns: tuple[ArrayLike, ArrayLike, ArrayLike], point: OperatingPoint) -> Side:
    labels = check_labels(columns[0])
    check_both_classes(labels)
    groups, values = check_groups(columns[1], labels.size), check_probabilities(columns[2], labels.size)
    order = np.argsort(values, kind="stable")
    labels, groups, values = labels[order], groups[order], values[order]
    return Side(order, labels, groups, values, decide(values, point) == (labels == 1))


def _strata(
    ours: Side, theirs: Side, strata: tuple[ArrayLike, ArrayLike]
) -> tuple[tuple[Ints, Ints] | None, float | None]:
    """Stratum numbers in the sides' own order; None instead where home lacks too many; and the share it lacks."""
    given = [np.asarray([str(v) for v in np.asarray(column)]) for column in strata]
    sizes = (len(given[0]), len(given[1]))
    if sizes != (ours.labels.size, theirs.labels.size):
        raise ValueError(f"{sizes} strata, but {ours.labels.size} and {theirs.labels.size} scans")
    numbers = np.unique(np.concatenate(given), return_inverse=True)[1]
    home, there = numbers[: sizes[0]][ours.order], numbers[sizes[0] :][theirs.order]
    lacking = [~np.isin(there[theirs.labels == c], home[ours.labels == c]) for c in (0, 1)]
    uncovered = max(float(share.mean()) for share in lacking)
    return ((home, there) if uncovered <= LARGEST_UNCOVERED else None), uncovered


def _draws(ours: Side, theirs: Side, resamples: int, seed: int, held: bool) -> Iterator[tuple[Floats, Floats]]:
    pair = [
        draw_patients(s.labels, s.groups, resamples, seed + i, within_classes=held)
        for i, s in enumerate((ours, theirs))
    ]
    step = max(1, BLOCK // max(ours.labels.size, theirs.labels.size))
    for start in range(0, resamples, step):
        yield pair[0][start : start + step], pair[1][start : start + step]


def _scorings(ours: Side, theirs: Side, draws: tuple[Floats, Floats], strata: tuple[Ints, Ints] | None) -> Floats:
    """The six counterfactual accuracies (6, resamples) from draws of both sites' patients (resamples, patients)."""
    at_home, elsewhere = draws[0][:, ours.groups], draws[1][:, theirs.groups]
    share_home, share_there = _share(at_home, ours.labels), _share(elsewhere, theirs.labels)
    mixed = at_home if strata is None else _reweight(at_home, elsewhere, ours.labels, theirs.labels, strata)
    as_is = _with_share(at_home, ours.labels, share_home)
    same_share = _with_share(mixed, ours.labels, share_home)
    weighted = _with_share(mixed, ours.labels, share_there)
    real = _with_share(elsewhere, theirs.labels, share_there)
    return np.stack([
        as_is @ ours.right,
        same_share @ ours.right,
        weighted @ ours.right,
        _best(weighted, ours),
        _best(real, theirs),
        real @ theirs.right,
    ])  # fmt: skip


def _share(weights: Floats, labels: Ints) -> Floats:
    return weights @ labels / weights.sum(axis=1)


def _with_share(weights: Floats, labels: Ints, share: Floats) -> Floats:
    """Weights that sum to 1, positives to `share`."""
    positive, negative = weights * labels, weights * (1 - labels)
    ups = share / positive.sum(axis=1)
    downs = (1 - share) / negative.sum(axis=1)
    return positive * ups[:, None] + negative * downs[:, None]


def _reweight(at_home: Floats, elsewhere: Floats, ours: Ints, theirs: Ints, strata: tuple[Ints, Ints]) -> Floats:
    """Home's weights with, in each class, the strata of elsewhere; strata that home lacks are left out."""
    weights = np.zeros_like(at_home)
    for c in (0, 1):
        for stratum in np.unique(strata[0]):
            here, there = (ours == c) & (strata[0] == stratum), (theirs == c) & (strata[1] == stratum)
            held = at_home[:, here].sum(axis=1)
            wanted = elsewhere[:, there].sum(axis=1) / elsewhere[:, theirs == c].sum(axis=1)
            factor = np.divide(wanted, held, out=np.zeros_like(held), where=held > 0)
            weights[:, here] = at_home[:, here] * factor[:, None]
    lost = np.stack([weights[:, ours == c].sum(axis=1) for c in (0, 1)]).min(axis=0) == 0
    weights[lost] = at_home[lost]  # a resample without any shared stratum says nothing of case mix
    return weights


def _best(weights: Floats, side: Side) -> Floats:
    """Highest weighted accuracy (resamples,) of any threshold, "all positive" and "all negative" among them."""
    steps = np.cumsum(weights * (1 - 2 * side.labels), axis=1)
    cuts = np.append(side.probabilities[1:] > side.probabilities[:-1], True)
    return (weights @ side.labels) + np.maximum(steps[:, cuts].max(axis=1), 0.0)


def _interval(estimate: float | Floats, drawn: Floats, method: str = METHOD) -> Interval:
    low, high = np.quantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Interval(float(estimate), float(low), float(high), method)


# What a few local scans would give --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Relearned:
    """What `scans` labelled local scans would give, tried on the patients that were not drawn.

    Low and high hold 95 % of the draws: the spread over which patients happen to be labelled and which are left to
    try it on. That is not a sampling interval for this hospital.

    Attributes:
        scans: labelled local scans used.
        draws: repeated draws of patients.
        as_is: accuracy of the model as it is.
        rethresholded: with the threshold chosen on those scans.
        recalibrated: with intercept and slope fitted on them, positive from 0.5.
        log_loss_as_is: mean log loss (nats) of the model's probabilities as they are.
        log_loss_recalibrated: of the recalibrated ones.
    """

    scans: int
    draws: int
    as_is: Interval
    rethresholded: Interval
    recalibrated: Interval
    log_loss_as_is: float
    log_loss_recalibrated: float


AS_PUBLISHED = OperatingPoint(ARGMAX, "argmax", "model", float("nan"), 0)


def relearn(
    labels: ArrayLike,
    patients: ArrayLike,
    probabilities: ArrayLike,
    sizes: Sequence[int],
    seed: int = 0,
    *,
    point: OperatingPoint = AS_PUBLISHED,
    draws: int = 200,
) -> tuple[Relearned, ...]:
    """What merely a new threshold, or a recalibration, from n local labelled scans would give.

    For each size, patients are drawn at random until they have n scans, one patient at least being left; the others
    are scored. Where the scans drawn are of one class the model is kept as it is, and a recalibration that would turn
    the model round (slope of 0 or less) becomes the share of positives: nobody should use a model upside down.

    Args:
        labels: 1 or 0 (scans,), at the new site.
        patients: (scans,).
        probabilities: (scans,).
        sizes: numbers of labelled scans to try.
        seed: of the draws; a draw is a function of (seed, size, draw).
        point: operating point of the model as it is.
        draws: repetitions.

    Raises:
        ValueError: a size below 1 or that leaves no scan to try it on, one patient only, NaN, lengths that differ.

    >>> relearn([0, 1] * 20, range(40), [0.6, 0.9] * 20, [20], draws=20)[0].rethresholded.estimate
    1.0
    """
    truth = check_labels(labels)
    groups, values = check_groups(patients, truth.size), check_probabilities(probabilities, truth.size)
    if groups.max() == 0:
        raise ValueError("all scans are of one patient; none is left to try a new threshold on")
    for size in sizes:
        if not 0 < size < truth.size:
            raise ValueError(f"{size} of {truth.size} labelled scans leave none to try a new threshold on")
    found = []
    for size in sizes:
        rows = []
        for draw in range(draws):
            taken = _take(groups, size, np.random.default_rng([seed, size, draw, 1]))
            rows.append([column.mean() for column in _try(truth, values, taken, point)])
        found.append(_summarise(size, np.array(rows)))
    return tuple(found)


def _summarise(size: int, table: Floats) -> Relearned:
    draws = len(table)
    said = f"middle 95 % of {draws} draws of patients"
    ends = np.quantile(table, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    means = table.mean(axis=0)
    as_is, again, calibrated = (Interval(float(means[i]), float(ends[0, i]), float(ends[1, i]), said) for i in range(3))
    return Relearned(size, draws, as_is, again, calibrated, float(means[3]), float(means[4]))


def _take(groups: Ints, size: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Patients in random order until they have `size` scans, but never the last patient."""
    order = random.permutation(int(groups.max()) + 1)
    scans = np.bincount(groups)[order]
    before = (np.cumsum(scans) - scans)[:-1]
    return np.isin(groups, order[:-1][before < size])


def _try(
    labels: Ints, values: Floats, taken: NDArray[np.bool_], point: OperatingPoint
) -> tuple[NDArray, NDArray, NDArray, Floats, Floats]:
    """Of scans not taken: right as is, re-thresholded, recalibrated; log losses as is, recalibrated."""
    truth, rest = labels[~taken], values[~taken]
    as_is = decide(rest, point) == truth
    plain = log_losses(truth, rest)
    if labels[taken].min() == labels[taken].max():
        return as_is, as_is, as_is, plain, plain
    again = decide(rest, choose_threshold(labels[taken], values[taken])) == truth
    calibrated = _recalibrated(labels[taken], values[taken], rest)
    return as_is, again, (calibrated > ARGMAX) == truth, plain, log_losses(truth, calibrated)


def _recalibrated(labels: Ints, values: Floats, rest: Floats) -> Floats:
    share = np.full(rest.size, (labels.sum() + 1) / (labels.size + 2))
    try:
        found = fit_recalibration(labels, values)
    except ValueError:  # all the same probability, or no fit
        return share
    return recalibrate(rest, found) if found.slope > 0 else share


def log_losses(labels: Ints, probabilities: Floats) -> Floats:
    """Log loss of each scan in nats (scans,), probabilities kept 1e-12 away from 0 and 1.

    >>> log_losses(np.array([1, 0]), np.array([0.5, 0.9])).round(3).tolist()  # -ln 0.5, -ln 0.1
    [0.693, 2.303]
    """
    return np.logaddexp(0.0, np.where(labels == 1, -1.0, 1.0) * log_odds(probabilities))


@dataclass(frozen=True)
class LocalGain:
    """What local labels would bring per scan, each scan scored by a fit that never saw its patient.

    Attributes:
        rethreshold: accuracy gained by a local threshold.
        recalibrate: log loss (nats) saved per scan by a local recalibration.
    """

    rethreshold: Interval
    recalibrate: Interval


def local_gain(
    labels: ArrayLike,
    patients: ArrayLike,
    probabilities: ArrayLike,
    point: OperatingPoint,
    *,
    seed: int = 0,
) -> LocalGain:
    """Cross-fitted by patient: gain of a local threshold and of a local recalibration, with clustered intervals.

    Raises:
        ValueError: one class only, one patient only, NaN, lengths that differ.

    >>> local_gain([0, 1] * 20, range(40), [0.6, 0.9] * 20, AS_PUBLISHED).rethreshold.estimate  # accuracy 0.5 becomes 1
    0.5
    """
    truth = check_labels(labels)
    check_both_classes(truth)
    groups, values = check_groups(patients, truth.size), check_probabilities(probabilities, truth.size)
    people = int(groups.max()) + 1
    if people < 2:
        raise ValueError("all scans are of one patient; nothing is left to try a local threshold on")
    order = np.lexsort([np.random.default_rng([seed, people]).random(people), np.bincount(groups, truth) > 0])
    fold = np.empty(people, np.int64)
    fold[order] = np.arange(people) % min(FOLDS, people)
    gains = np.zeros((2, truth.size))
    for f in np.unique(fold):
        out = fold[groups] == f
        as_is, again, _, plain, calibrated = _try(truth, values, ~out, point)
        gains[:, out] = again.astype(float) - as_is, plain - calibrated
    return LocalGain(clustered_mean(gains[0], groups), clustered_mean(gains[1], groups))


def clustered_mean(values: Floats, groups: Ints) -> Interval:
    """Mean of one value per scan with a normal interval whose variance is that between patients (linearised).

    >>> round(clustered_mean(np.array([0.0, 1.0, 0.0, 1.0]), np.arange(4)).high, 3)  # 0.5 + 1.96 * √(1 / 3) / √4
    1.066
    """
    people = int(groups.max()) + 1
    mean = float(values.mean())
    pulls = np.bincount(groups, values - mean)
    error = float(np.sqrt((pulls**2).sum() * people / max(people - 1, 1)) / values.size)
    half = z_value(LEVEL) * error
    return Interval(mean, mean - half, mean + half, "normal, clustered by patient")

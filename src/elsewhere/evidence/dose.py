"""A model's scores at home under graded shifts in; AUC per dose, and the shift that best explains another site, out.

**Which shift explains a site.** The log-odds of the home scans under each shift and dose are laid beside those of the
other site, class by class, and their distance is the mean absolute log-odds by which one distribution must be moved
to become the other (Wasserstein's distance of order 1, averaged over the classes that both sites have). The shift
with the smallest distance is the candidate. It is named only if it brings home closer than the best of all tried
would by luck, were the site no different from home: that luck is drawn from home itself, patients with replacement,
with the same search over all shifts and doses. How sure the name is: the share of resamples of both sites' patients
in which a dose of the same shift comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.evidence.columns import Floats, Ints, check_groups, check_labels, check_probabilities
from elsewhere.evidence.comparison import Comparison, adjust_family, compare_models
from elsewhere.evidence.decision import OperatingPoint, decide, log_odds
from elsewhere.evidence.intervals import auc_interval

LEAST_SCANS = 5
"""Scans of a class at a site below which its scores are no distribution."""

LARGEST_ODDS = 7.0
"""Log-odds further from 0 than this (probability 0.999) count as this: how sure a sure score is, is chance."""

CHANCE = 0.05
"""Level at which luck is ruled out."""

RIVAL = 0.1
"""A shift that comes first in at least this share of resamples cannot be told apart from the best."""

RESAMPLES = 500

NOTHING = "none"
"""Name of the explanation that no shift is needed, or none fits."""


@dataclass(frozen=True)
class Dosed:
    """One model at home under one dose of one shift.

    Attributes:
        dose: of the shift; 0 is as it is.
        scans: scans scored, the same at every dose.
        auc: exact AUC; None where the scans are of one class.
        low: lower end of its 95 % sampling interval, clustered by patient.
        high: upper end.
        difference: AUC less the AUC at dose 0, on the same scans; None at dose 0.
        difference_low: lower end of its 95 % interval (paired DeLong, clustered by patient).
        difference_high: upper end.
        p_value: of no difference, as if it were the only one.
        p_value_holm: adjusted (Holm) for the doses of this shift.
        positive_share: share of scans called positive, with the classes in the shares given.
    """

    dose: float
    scans: int
    auc: float | None
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p_value: float | None
    p_value_holm: float | None
    positive_share: float


def dose_curve(
    labels: ArrayLike,
    patients: ArrayLike,
    probabilities: Mapping[float, ArrayLike],
    point: OperatingPoint,
    positives: float | None = None,
) -> tuple[Dosed, ...]:
    """AUC at each dose of one shift, and its paired difference to dose 0.

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        probabilities: dose -> of being positive (scans,), dose 0 among them.
        point: the model's operating point.
        positives: share of positive scans that `positive_share` is to stand for; that of these scans if None.

    Raises:
        ValueError: no dose 0, NaN, labels other than 0 and 1, lengths that differ.
    """
    truth = check_labels(labels)
    groups = check_groups(patients, truth.size)
    if 0 not in probabilities:
        raise ValueError(f"doses are {sorted(probabilities)}; dose 0, the scans as they are, is missing")
    scores = {dose: check_probabilities(probabilities[dose], truth.size) for dose in sorted(probabilities)}
    moved: dict[float, Comparison] = {}
    if 0 < truth.sum() < truth.size:
        found = [compare_models(truth, groups, scores[d], scores[0]) for d in scores if d]
        moved = dict(zip([d for d in scores if d], adjust_family(found), strict=True))
    share = float(truth.mean()) if positives is None else positives
    return tuple(_dosed(dose, (truth, groups, values), moved.get(dose), _called(truth, decide(values, point), share))
                 for dose, values in scores.items())  # fmt: skip


def _called(labels: Ints, called: np.ndarray, positives: float) -> float:
    """Share called positive if `positives` of the scans were positive."""
    parts = [(labels == 1, positives), (labels == 0, 1 - positives)]
    if any(not kept.any() for kept, weight in parts if weight > 0):
        return float(called.mean())
    return float(sum(weight * called[kept].mean() for kept, weight in parts if weight > 0))


def _dosed(dose: float, columns: tuple[Ints, Ints, Floats], moved: Comparison | None, share: float) -> Dosed:
    labels, groups, values = columns
    if labels.min() == labels.max():
        return Dosed(dose, labels.size, None, None, None, None, None, None, None, None, share)
    auc = auc_interval(labels, groups, values)
    ends = (auc.estimate, auc.low, auc.high)
    if moved is None:
        return Dosed(dose, labels.size, *ends, None, None, None, None, None, share)
    change = (moved.difference, moved.low, moved.high, moved.p_value, moved.p_value_holm)
    return Dosed(dose, labels.size, *ends, *change, share)


# Which shift explains another site --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """One dose of one shift, as an explanation.

    Attributes:
        shift: its name.
        dose: of it.
        distance: between home under this shift and the site, in log-odds.
        first: share of resamples in which this dose of this shift has the smallest distance of all.
    """

    shift: str
    dose: float
    distance: float
    first: float


@dataclass(frozen=True)
class Explanation:
    """What the scores seen at another site look like.

    Attributes:
        candidates: every shift and dose tried, in the order given.
        distance_unshifted: between home as it is and the site, in log-odds.
        p_difference: chance of this distance were the site's patients like home's (patients exchanged at random).
        best: the named candidate, or None where no shift explains more than luck would.
        p_value: chance that the best of all would gain as much were the site like home.
        sureness: share of resamples in which the best one's shift, at any dose, comes first; None without a best.
        rivals: other shifts that come first in at least a tenth of the resamples.
        p_left: chance that what is left under the best would arise by sampling alone; None without a best.
        scans: (home, site) scans compared.
        classes: 1 or 0, those compared.
    """

    candidates: tuple[Candidate, ...]
    distance_unshifted: float
    p_difference: float
    best: Candidate | None
    p_value: float
    sureness: float | None
    rivals: tuple[str, ...]
    p_left: float | None
    scans: tuple[int, int]
    classes: tuple[int, ...]


@dataclass(frozen=True)
class _Class:
    """One class at both sites: log-odds of home (1 + candidates, scans), of the site (scans,), patients of each."""

    home: Floats
    site: Floats
    home_patients: Ints
    site_patients: Ints


def explain(
    home: tuple[ArrayLike, ArrayLike, ArrayLike],
    shifted: Mapping[tuple[str, float], ArrayLike],
    site: tuple[ArrayLike, ArrayLike, ArrayLike],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Explanation:
    """The shift that brings home's scores nearest to those seen at another site (method: this file's first lines).

    Args:
        home: (labels, patients, probabilities), each (scans,), of home scans as they are.
        shifted: (shift, dose) -> probabilities of the same scans (scans,).
        site: (labels, patients, probabilities) at the other site.
        resamples: of patients.
        seed: of the resamples.

    Raises:
        ValueError: no shift; no class with 5 scans at both sites; NaN; lengths that differ.
    """
    if not shifted:
        raise ValueError("no shift was tried; give at least one")
    classes = _classes(home, list(shifted.values()), site)
    if not classes:
        raise ValueError(f"no class has {LEAST_SCANS} scans at home and at the other site")
    given = [_distances(c, *_everyone(c)) for c in classes.values()]
    distances = np.mean(given, axis=0)[:, 0]
    drawn = _resampled(list(classes.values()), resamples, seed)
    luck = _luck(list(classes.values()), resamples, seed)
    firsts = np.argmin(drawn[1:], axis=0)
    candidates = tuple(
        Candidate(name, dose, float(distances[i + 1]), float((firsts == i).mean()))
        for i, (name, dose) in enumerate(shifted)
    )
    place = int(np.argmin(distances[1:]))
    p_value = _beyond(luck[0] - luck[1:].min(axis=0), distances[0] - distances[1:].min())
    p_difference = _beyond(_exchanged(list(classes.values()), resamples, seed), distances[0])
    named = max(p_value, p_difference) <= CHANCE and distances[0] > distances[place + 1]
    wins = _wins(candidates)
    alone = [_Class(c.home[[place + 1]], c.site, c.home_patients, c.site_patients) for c in classes.values()]
    left = _luck(alone, resamples, seed)[0] if named else None
    return Explanation(
        candidates=candidates,
        distance_unshifted=float(distances[0]),
        p_difference=p_difference,
        best=candidates[place] if named else None,
        p_value=p_value,
        sureness=wins[candidates[place].shift] if named else None,
        rivals=tuple(s for s, share in wins.items() if share >= RIVAL and s != candidates[place].shift)
        if named
        else (),
        p_left=None if left is None else _beyond(left, distances[place + 1]),
        scans=(sum(c.home.shape[1] for c in classes.values()), sum(c.site.size for c in classes.values())),
        classes=tuple(classes),
    )


def _classes(
    home: tuple[ArrayLike, ArrayLike, ArrayLike], shifted: Sequence[ArrayLike], site: tuple[ArrayLike, ...]
) -> dict[int, _Class]:
    labels, there = check_labels(home[0]), check_labels(site[0])
    patients, others = np.asarray(home[1]), np.asarray(site[1])
    check_groups(patients, labels.size)
    check_groups(others, there.size)
    rows = np.stack([_odds(row, labels.size) for row in (home[2], *shifted)])
    far = _odds(site[2], there.size)
    found = {}
    for c in (1, 0):
        ours, theirs = labels == c, there == c
        if min(ours.sum(), theirs.sum()) >= LEAST_SCANS:
            groups = [np.unique(p, return_inverse=True)[1] for p in (patients[ours], others[theirs])]
            found[c] = _Class(rows[:, ours], far[theirs], groups[0], groups[1])
    return found


def _odds(probabilities: ArrayLike, scans: int) -> Floats:
    return np.clip(log_odds(check_probabilities(probabilities, scans)), -LARGEST_ODDS, LARGEST_ODDS)


def _everyone(c: _Class) -> tuple[Floats, Floats]:
    return np.ones((1, c.home.shape[1])), np.ones((1, c.site.size))


def _distances(c: _Class, ours: Floats, theirs: Floats) -> Floats:
    """Wasserstein-1 distance of each row of home to the site (rows, resamples), scans weighted (resamples, scans)."""
    mass = _mass(ours, theirs)
    return np.stack([_area(np.concatenate([row, c.site]), mass) for row in c.home])


def wasserstein(first: Floats, second: Floats, ours: Floats, theirs: Floats) -> Floats:
    """Mean absolute difference between two samples' quantiles (resamples,): area between their distributions.

    Args:
        first: values of one sample (n,).
        second: of the other (m,).
        ours: weights of the first in each resample (resamples, n); each row sums to more than 0.
        theirs: of the second (resamples, m).
    """
    return _area(np.concatenate([first, second]), _mass(ours, theirs))


def _mass(ours: Floats, theirs: Floats) -> Floats:
    """Each scan's share of its sample, that of the second sample negative (scans of both, resamples)."""
    shares = [ours / ours.sum(axis=1, keepdims=True), -theirs / theirs.sum(axis=1, keepdims=True)]
    return np.ascontiguousarray(np.concatenate(shares, axis=1).T)


def _area(values: Floats, mass: Floats) -> Floats:
    """Area between two distribution functions (resamples,), from the values of both (scans,) and `_mass`."""
    order = np.argsort(values, kind="stable")
    gaps = np.diff(values[order])
    between = np.cumsum(mass[order[:-1]], axis=0)
    return np.asarray(gaps @ np.abs(between, out=between))


def _resampled(classes: Sequence[_Class], resamples: int, seed: int) -> Floats:
    """Mean distance over classes (rows, resamples) with the patients of both sites drawn with replacement."""
    parts = []
    for number, c in enumerate(classes):
        ours = _draw(c.home_patients, None, resamples, [seed, number, 0])
        theirs = _draw(c.site_patients, None, resamples, [seed, number, 1])
        parts.append(_distances(c, ours, theirs))
    return np.mean(parts, axis=0)


def _luck(classes: Sequence[_Class], resamples: int, seed: int) -> Floats:
    """The same were the site nothing but other patients of home as its first row has it."""
    parts = []
    for number, c in enumerate(classes):
        ours = _draw(c.home_patients, None, resamples, [seed, number, 2])
        theirs = _draw(c.home_patients, int(c.site_patients.max()) + 1, resamples, [seed, number, 3])
        twin = _Class(c.home, c.home[0], c.home_patients, c.home_patients)
        parts.append(_distances(twin, ours, theirs))
    return np.mean(parts, axis=0)


def _exchanged(classes: Sequence[_Class], resamples: int, seed: int) -> Floats:
    """The same for home as it is, its patients and the site's exchanged at random (a permutation test; resamples,)."""
    parts = []
    for number, c in enumerate(classes):
        values, ours = np.concatenate([c.home[0], c.site]), int(c.home_patients.max()) + 1
        patients = np.concatenate([c.home_patients, ours + c.site_patients])
        order = np.random.default_rng([seed, number, 4]).random((resamples, int(patients.max()) + 1))
        stays = (order.argsort(axis=1).argsort(axis=1) < ours)[:, patients].astype(np.float64)
        parts.append(wasserstein(values, values, stays, 1 - stays))
    return np.mean(parts, axis=0)


def _draw(patients: Ints, size: int | None, resamples: int, seed: Sequence[int]) -> Floats:
    """How often each scan is drawn (resamples, scans), its patient drawn with replacement.

    One patient fewer is drawn than there are (or than `size`), so that the spread is that of a sample, not of a copy
    of it (Rao & Wu 1988).
    """
    count = int(patients.max()) + 1
    drawn = np.random.default_rng(list(seed)).integers(count, size=(resamples, max((size or count) - 1, 1)))
    flat = drawn + count * np.arange(resamples)[:, None]
    counts = np.bincount(flat.ravel(), minlength=resamples * count).reshape(resamples, count)
    return counts[:, patients].astype(np.float64)


def _beyond(luck: Floats, seen: float) -> float:
    """Share of draws that reach what was seen, itself counted among them."""
    return float((1 + (luck >= seen - 1e-12).sum()) / (1 + luck.size))


def _wins(candidates: Sequence[Candidate]) -> dict[str, float]:
    wins: dict[str, float] = {}
    for candidate in candidates:
        wins[candidate.shift] = wins.get(candidate.shift, 0.0) + candidate.first
    return wins


def say(said: Explanation, words: Mapping[tuple[str, float], str], home: str, site: str) -> str:
    """What an explanation means, in one plain sentence; `words` describe each (shift, dose)."""
    apart = f"scores of {home} and {site} lie {said.distance_unshifted:.2f} log-odds apart"
    if said.best is None:
        if said.p_difference > CHANCE:
            return f"{apart}, no more than chance: there is nothing to explain."
        return f"{apart}, and none of the shifts tried explains it beyond chance (p = {said.p_value:.2f})."
    assert said.sureness is not None
    assert said.p_left is not None
    best = said.best
    rest = "the rest is chance" if said.p_left > CHANCE else "the rest has another cause"
    others = f"; it cannot be told apart from {', '.join(said.rivals)}" if said.rivals else ""
    return (
        f"{apart}; '{words[best.shift, best.dose]}' comes nearest and leaves {best.distance:.2f} ({rest}), "
        f"first in {said.sureness:.0%} of resamples{others}."
    )

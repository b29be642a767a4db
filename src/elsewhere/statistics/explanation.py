"""A model's scores at home under graded shifts, and at another site, in; the shift that could explain the site out.

**Distance.** The log-odds of the home scans under each shift and dose are laid beside those of the other site, class by
class; their distance is the mean absolute log-odds by which one distribution must be moved to become the other
(Wasserstein's distance of order 1, averaged over the classes that both sites have).

**When a shift is named.** Many causes move scores, most of them on no list. A shift is named only where all of this
holds: both sites have 100 scans; their scores lie at least `LEAST_DISTANCE` apart and further than patients exchanged
at random; the site's pictures show the shift (`shows`); under it home's scores are no further from the site's than
chance, in each class; that leaves at most half of the distance; and it gains more than the best of all shifts would
were the site no different from home (drawn from home itself, with the same search). The nearest of those is named, with
the others that pass. It moves the scores as the site does: other causes are not excluded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from scipy.stats import mannwhitneyu

from elsewhere.statistics.columns import Floats, Ints, check_groups, check_labels, check_probabilities
from elsewhere.statistics.decision import log_odds
from elsewhere.statistics.permutation import p_words

FEWEST = 100
"""Scans of each site, in the classes compared, below which no shift is named."""

LEAST_SCANS = 5
"""Scans of a class at a site below which its scores are no distribution."""

LEAST_DISTANCE = 0.2
"""Log-odds; sites whose scores lie closer are alike for all that is decided with them."""

LARGEST_ODDS = 7.0
"""Log-odds further from 0 than this (probability 0.999) count as this: how sure a sure score is, is chance."""

CHANCE = 0.05
"""Level at which luck is ruled out."""

LEFT = 0.5
"""Share of the distance that a shift which explains the site leaves at most."""

LEAST_MARK, MARK_LEVEL = 0.3, 0.01
"""A mark moved by less than this share of its spread over home scans says nothing; level of its test."""

PROGRESS = (0.5, 2.0)
"""How far the site's mark lies on the way from home to home under the shift, at least and at most."""

RESAMPLES = 500

NOTHING = "none"
"""Name of the explanation that no shift is needed, or none is named."""

Key = tuple[str, float]
Outcome = Literal["too few", "alike", "named", "pictures", "scores"]


@dataclass(frozen=True)
class Candidate:
    """One dose of one shift, as an explanation.

    Attributes:
        shift: its name.
        dose: of it.
        distance: between home under this shift and the site, in log-odds.
        shown: whether the site's pictures show it; None where they cannot tell.
        p_left: chance that what it leaves would arise by sampling, the smaller of the classes' (times their number);
            None where the pictures do not show it or it leaves too much.
        fits: whether it passes every condition.
        first: share of resamples in which it is the nearest of those that fit.
    """

    shift: str
    dose: float
    distance: float
    shown: bool | None
    p_left: float | None
    fits: bool
    first: float


@dataclass(frozen=True)
class Explanation:
    """What the scores seen at another site look like.

    Attributes:
        outcome: "named"; or why no shift is: "too few" scans, scores "alike", no shift that the "pictures" show, or
            none of those fits the "scores".
        candidates: every shift and dose tried, in the order given.
        distance_unshifted: between home as it is and the site, in log-odds.
        p_difference: chance of this distance were the site's patients like home's (patients exchanged at random).
        best: the named candidate, or None.
        p_value: chance that the best of all would gain as much were the site like home.
        sureness: share of resamples in which the best one's shift, at any dose, comes first among those that fit.
        rivals: other shifts that fit too.
        scans: (home, site) scans compared.
        classes: 1 or 0, those compared.
    """

    outcome: Outcome
    candidates: tuple[Candidate, ...]
    distance_unshifted: float
    p_difference: float
    best: Candidate | None
    p_value: float
    sureness: float | None
    rivals: tuple[str, ...]
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
    shifted: Mapping[Key, ArrayLike],
    site: tuple[ArrayLike, ArrayLike, ArrayLike],
    shows: Mapping[Key, bool | None],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Explanation:
    """The shift that could explain another site's scores (method: this file's first lines).

    Args:
        home: (labels, patients, probabilities), each (scans,), of home scans as they are.
        shifted: (shift, dose) -> probabilities of the same scans (scans,).
        site: (labels, patients, probabilities) at the other site.
        shows: (shift, dose) -> whether the site's pictures show it (`pictures_show`), for every one in `shifted`.
        resamples: of patients.
        seed: of the resamples.

    Raises:
        ValueError: no shift; no class with 5 scans at both sites; NaN; lengths that differ.

    >>> labels, people, site = [0, 1] * 50, range(100), [0.5, 0.9] * 50
    >>> key = ("blur", 1.0)
    >>> found = explain((labels, people, [0.3, 0.7] * 50), {key: site}, (labels, people, site), {key: True})
    >>> found.outcome, found.best.distance, round(found.distance_unshifted, 2)  # logit 0.5 - logit 0.3, 0.9 less 0.7
    ('named', 0.0, 1.1)
    """
    if not shifted:
        raise ValueError("no shift was tried; give at least one")
    classes = _classes(home, list(shifted.values()), site)
    if not classes:
        raise ValueError(f"no class has {LEAST_SCANS} scans at home and at the other site")
    parts, keys = list(classes.values()), list(shifted)
    apart = np.array([_distances(c, *_everyone(c))[:, 0] for c in parts])
    distances = apart.mean(axis=0)
    twins = _twin_masses(parts, resamples, seed)
    luck = np.mean([_rows(c.home, c.home[0], mass) for c, mass in zip(parts, twins, strict=True)], axis=0)
    p_value = _beyond(luck[0] - luck[1:].min(axis=0), distances[0] - distances[1:].min())
    p_difference = _beyond(_exchanged(parts, resamples, seed), distances[0])
    scans = (sum(c.home.shape[1] for c in parts), sum(c.site.size for c in parts))
    few, alike = min(scans) < FEWEST, p_difference > CHANCE or distances[0] < LEAST_DISTANCE
    left: list[float | None] = [None] * len(keys)
    if not few and not alike:
        near = [bool(shows[key]) and distances[i + 1] <= LEFT * distances[0] for i, key in enumerate(keys)]
        left = [_p_left(parts, twins, apart[:, i + 1], i + 1) if near[i] else None for i in range(len(keys))]
    fits = [p is not None and p > CHANCE and p_value <= CHANCE for p in left]
    firsts = _firsts(parts, fits, resamples, seed)
    candidates = tuple(
        Candidate(*key, float(distances[i + 1]), shows[key], left[i], fits[i], firsts[i]) for i, key in enumerate(keys)
    )
    best = min((c for c in candidates if c.fits), key=lambda c: c.distance, default=None)
    wins = {name: sum(c.first for c in candidates if c.shift == name) for name in dict.fromkeys(k[0] for k in keys)}
    seen: Outcome = "scores" if any(shows.values()) else "pictures"
    return Explanation(
        outcome="too few" if few else "alike" if alike else "named" if best else seen,
        candidates=candidates,
        distance_unshifted=float(distances[0]),
        p_difference=p_difference,
        best=best,
        p_value=p_value,
        sureness=wins[best.shift] if best else None,
        rivals=tuple(dict.fromkeys(c.shift for c in candidates if c.fits and best and c.shift != best.shift)),
        scans=scans,
        classes=tuple(classes),
    )


def with_midpoints(as_is: ArrayLike, shifted: Mapping[Key, ArrayLike]) -> dict[Key, Floats]:
    """Each shift's doses and, between each two of them (the first and none), the dose in the middle.

    Args:
        as_is: probabilities of scans as they are (scans,).
        shifted: (shift, dose) -> probabilities of the same scans (scans,).

    Returns:
        (shift, dose) -> probabilities; in the middle those of the mean log-odds.

    >>> found = with_midpoints([0.5], {("blur", 2.0): [0.9]})  # odds 1, 9, and 3 between them
    >>> {key: values.round(2).tolist() for key, values in found.items()}
    {('blur', 1.0): [0.75], ('blur', 2.0): [0.9]}
    """
    found: dict[Key, Floats] = {}
    for name in dict.fromkeys(name for name, _ in shifted):
        doses = sorted(dose for other, dose in shifted if other == name)
        rows = [np.asarray(as_is, dtype=np.float64), *(np.asarray(shifted[name, dose], np.float64) for dose in doses)]
        for place, dose in enumerate(doses):
            middle = (log_odds(rows[place]) + log_odds(rows[place + 1])) / 2
            found[name, (dose + ([0.0, *doses][place])) / 2] = expit(middle)
            found[name, dose] = rows[place + 1]
    return found


def shown(
    home: Mapping[str, ArrayLike], shifted: Mapping[Key, Mapping[str, ArrayLike]], site: Mapping[str, ArrayLike]
) -> dict[Key, bool | None]:
    """`pictures_show` for each dose of each shift and each dose between (`with_midpoints`).

    Args:
        home: mark -> its values in home scans as they are (scans,); NaN where a scan does not tell.
        shifted: (shift, dose) -> mark of the shift -> its values in the same scans under it.
        site: mark -> its values in the site's scans.

    >>> home, blurred = {"sharpness": range(20)}, {"sharpness": range(-10, 10)}
    >>> shown(home, {("blur", 2.0): blurred}, blurred)
    {('blur', 1.0): True, ('blur', 2.0): True}
    """
    found: dict[Key, bool | None] = {}
    for name in dict.fromkeys(name for name, _ in shifted):
        doses = sorted(dose for other, dose in shifted if other == name)
        rows = [{mark: home.get(mark, ()) for mark in shifted[name, doses[0]]}, *(shifted[name, d] for d in doses)]
        for place, dose in enumerate(doses):
            low, high = ({m: np.asarray(v, np.float64) for m, v in row.items()} for row in rows[place : place + 2])
            middle = {m: (low[m] + high[m]) / 2 for m in high if m in low and low[m].size == high[m].size}
            found[name, (dose + ([0.0, *doses][place])) / 2] = pictures_show(home, middle, site)
            found[name, dose] = pictures_show(home, high, site)
    return found


def pictures_show(
    home: Mapping[str, ArrayLike], shifted: Mapping[str, ArrayLike], site: Mapping[str, ArrayLike]
) -> bool | None:
    """Whether a site's pictures differ from home's as a shift makes home's differ.

    Every mark that the shift moves by 0.3 of its spread at home or more must differ between home and the site beyond
    chance (Mann-Whitney, p <= 0.01), and the site's median must lie half as far to twice as far from home's as the
    shift brings it.

    Args:
        home: mark -> its values in home scans as they are (scans,); NaN where a scan does not tell.
        shifted: mark of the shift -> its values in the same scans under it.
        site: mark -> its values in the site's scans.

    Returns:
        None where no mark is moved, or known of half of the scans of either site.

    >>> home, blurred = {"sharpness": range(20)}, {"sharpness": range(-10, 10)}
    >>> pictures_show(home, blurred, blurred), pictures_show(home, blurred, home), pictures_show(home, home, blurred)
    (True, False, None)
    """
    found = []
    for mark, values in shifted.items():
        ours, theirs = (np.asarray(column.get(mark, ()), dtype=np.float64) for column in (home, site))
        after = np.asarray(values, dtype=np.float64)
        if any(part.size == 0 or np.isnan(part).mean() > 0.5 for part in (ours, after, theirs)):
            continue
        ours, after, theirs = (part[~np.isnan(part)] for part in (ours, after, theirs))
        start, way = np.median(ours), np.median(after) - np.median(ours)
        spread = float(np.subtract(*np.percentile(ours, (75, 25)))) / 1.349
        if way == 0 or abs(way) < LEAST_MARK * spread:
            continue
        on_the_way = PROGRESS[0] <= (np.median(theirs) - start) / way <= PROGRESS[1]
        found.append(bool(on_the_way and mannwhitneyu(ours, theirs).pvalue <= MARK_LEVEL))
    return all(found) if found else None


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
    return _rows(c.home, c.site, _mass(ours, theirs))


def _rows(rows: Floats, other: Floats, mass: Floats) -> Floats:
    """Distance of each row (rows, scans) to another sample, in each resample of `_mass`."""
    return np.stack([_area(np.concatenate([row, other]), mass) for row in rows])


def wasserstein(first: Floats, second: Floats, ours: Floats, theirs: Floats) -> Floats:
    """Mean absolute difference between two samples' quantiles (resamples,): area between their distributions.

    ∫ |F(x) − G(x)| dx, F and G the weighted distribution functions (Vallender 1974).

    Args:
        first: values of one sample (n,).
        second: of the other (m,).
        ours: weights of the first in each resample (resamples, n); each row sums to more than 0.
        theirs: of the second (resamples, m).

    >>> one = np.ones((1, 2))
    >>> wasserstein(np.array([0.0, 1.0]), np.array([2.0, 4.0]), one, one).tolist()
    [2.5]
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


def _firsts(classes: Sequence[_Class], fits: Sequence[bool], resamples: int, seed: int) -> list[float]:
    """Share of resamples, patients of both sites drawn with replacement, in which each that fits is the nearest."""
    places = [i for i, fit in enumerate(fits) if fit]
    shares = [0.0] * len(fits)
    if not places:
        return shares
    parts = []
    for number, c in enumerate(classes):
        ours = _draw(c.home_patients, None, resamples, [seed, number, 0])
        theirs = _draw(c.site_patients, None, resamples, [seed, number, 1])
        rows = c.home[[place + 1 for place in places]]
        parts.append(_distances(_Class(rows, c.site, c.home_patients, c.site_patients), ours, theirs))
    nearest = np.argmin(np.mean(parts, axis=0), axis=0)
    for number, place in enumerate(places):
        shares[place] = float((nearest == number).mean())
    return shares


def _twin_masses(classes: Sequence[_Class], resamples: int, seed: int) -> list[Floats]:
    """`_mass` of each class were the site other patients of home: two draws of them, of both sites' sizes."""
    masses = []
    for number, c in enumerate(classes):
        ours = _draw(c.home_patients, None, resamples, [seed, number, 2])
        theirs = _draw(c.home_patients, int(c.site_patients.max()) + 1, resamples, [seed, number, 3])
        masses.append(_mass(ours, theirs))
    return masses


def _p_left(classes: Sequence[_Class], twins: Sequence[Floats], apart: Floats, row: int) -> float:
    """Chance of the distances (classes,) that are left under one row, were the site home as this row has it."""
    found = [
        _beyond(_rows(c.home[[row]], c.home[row], mass)[0], float(left))
        for c, mass, left in zip(classes, twins, apart, strict=True)
    ]
    return min(1.0, min(found) * len(found))


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


# In words ---------------------------------------------------------------------------------------------------------


def say(said: Explanation, words: Mapping[Key, str], home: str, site: str, tried: tuple[int, int]) -> str:
    """What an explanation means, in one plain sentence.

    Args:
        said: the explanation.
        words: description of each (shift, dose).
        home: name of the training site.
        site: name of the other.
        tried: how many shifts could be tried on home's scans, and how many there are.

    >>> few = Explanation("too few", (), 0.4, 0.3, None, 1.0, None, (), (40, 30), (1, 0))
    >>> say(few, {}, "North", "South", (5, 8)).partition(":")[0]
    'scores of North and South lie 0.40 log-odds apart'
    """
    apart = f"scores of {home} and {site} lie {said.distance_unshifted:.2f} log-odds apart"
    if said.outcome == "too few":
        counts = f"{said.scans[0]} and {said.scans[1]} scans"
        return f"{apart}: {counts} are too few to name a shift (at least {FEWEST} of each site)."
    if said.outcome == "alike":
        if said.p_difference > CHANCE:
            return f"{apart}, within sampling error ({p_words(said.p_difference)}): there is nothing to explain."
        return f"{apart}, which is less than {LEAST_DISTANCE:g}: there is nothing to explain."
    of = f"{tried[0]} of {tried[1]} shifts could be tried"
    names = list(dict.fromkeys(c.shift for c in said.candidates if c.shown))
    if said.outcome == "pictures":
        return f"{apart}; {of}, and the scans of {site} show none of them: no shift is named, the cause is another."
    if said.outcome == "scores":
        return (
            f"{apart}; {of}, the scans of {site} show {', '.join(names)}, but none of these alone moves the scores as "
            "they lie there: no shift is named, the cause is another, or several."
        )
    assert said.best is not None
    assert said.sureness is not None
    best = said.best
    first = f" (nearest in {said.sureness:.0%} of resamples)" if said.rivals else ""
    others = f"; so does {', '.join(said.rivals)}" if said.rivals else ""
    return (
        f"{apart}; '{words[best.shift, best.dose]}' moves the scores alike (leaves {best.distance:.2f}, within "
        f"sampling error) and the scans of {site} show it{first}{others}; other causes are not excluded; {of}."
    )

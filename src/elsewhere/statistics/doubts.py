"""A product that meets its requirements over all scans in; the same answer, or "cannot tell", out.

It works only where nothing that the pooled numbers hide speaks against it:

* a site or a subgroup where a requirement is surely not met (intervals for all of them together, Bonferroni);
* patients: counted once each, whatever their number of scans, a share is surely below its requirement;
* a site of which no scan has both a score and a label;
* many scans repeat another's score, label and further columns, as copies do;
* labels that depend on its call: scans that it calls are labelled more often, or less often, than others of their
  site, over all sites or at one. Labels that depend on the score in another way, as of clear cases alone, are not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from elsewhere.statistics.acceptance import at_level
from elsewhere.statistics.adaptation import clustered_mean
from elsewhere.statistics.columns import Floats, Ints, check_groups, count_groups
from elsewhere.statistics.intervals import LEVEL, Interval
from elsewhere.statistics.product_sites import SiteRow
from elsewhere.statistics.requirements import Measure, Requirement
from elsewhere.statistics.scored import Scored
from elsewhere.statistics.subgroups import Subgroup
from elsewhere.statistics.verdict_rule import HOLDS, Answer, brief, doubted
from elsewhere.wording import numbered

LABELS_ALIKE = 0.01
"""p-value (`labels_follow`) below which the shares of labelled scans among called and other ones differ."""

LEAST_EXPECTED = 5
"""Patients expected in each cell of labelled by called."""

GRID = 0.15
"""Share of the recurring scores that recur with both labels, from which scores are taken to lie on a grid."""

REPEATED = 0.2
"""Share of the rows that must recur beyond chance, scores of more than three digits, before copies are suspected."""


@dataclass(frozen=True)
class Part:
    """Some of the scans.

    Attributes:
        where: which, in words ("site South", "scanner C").
        found: measure -> what it is there; None where it cannot be measured.
    """

    where: str
    found: Mapping[Measure, Interval | None]


def doubt(
    answer: Answer,
    requirements: Sequence[Requirement],
    scans: Scored,
    parts: Sequence[Part],
    silent: Mapping[str, int],
) -> Answer:
    """The answer after every doubt at the head of this file, the first that holds.

    >>> scans = Scored(np.array([0, 1]), np.arange(2), np.array([0.1, 0.9]))
    >>> doubt(Answer("nothing", "It works.", "", ()), [], scans, [], {"South": 12}).reason.partition("; but ")[2]
    'no scan has both a score and a label at South (12 rows).'
    """
    answer = doubt_parts(answer, requirements, parts)
    return doubt_silent_sites(doubt_patients(answer, requirements, scans), silent)


def parts_of(sites: Sequence[SiteRow], groups: Sequence[Subgroup]) -> list[Part]:
    """Sites and subgroups as parts.

    >>> [part.where for part in parts_of([SiteRow("South", 40, 20, None, None, None, None)], [])]
    ['site South']
    """
    parts = [Part(f"site {s.site}", by_measure(s.auc, s.sensitivity, s.specificity)) for s in sites]
    return parts + [Part(f"{g.column} {g.level}", by_measure(g.auc, g.sensitivity, g.specificity)) for g in groups]


def by_measure(
    auc: Interval | None, sensitivity: Interval | None, specificity: Interval | None
) -> dict[Measure, Interval | None]:
    """AUC, sensitivity and specificity under their names.

    >>> list(by_measure(None, None, None))
    ['discrimination (AUC)', 'sensitivity', 'specificity']
    """
    return {"discrimination (AUC)": auc, "sensitivity": sensitivity, "specificity": specificity}


def silent_sites(sites: Sequence[str], used: NDArray[np.bool_]) -> dict[str, int]:
    """Sites of the rows (rows,) of which none was evaluated (`used`, (rows,)), with their numbers of rows.

    >>> silent_sites(["A", "B", "A"], np.array([True, False, True]))
    {'B': 1}
    """
    judged = {site for site, one in zip(sites, used, strict=False) if one}
    return dict(Counter(site for site in sites if site not in judged))


def doubt_parts(answer: Answer, requirements: Sequence[Requirement], parts: Sequence[Part]) -> Answer:
    """The answer, or "cannot tell" where a part of the scans surely fails what all together meet.

    Args:
        answer: what the rule says of all scans.
        requirements: what was asked of them.
        parts: sites and subgroups; those of one column overlap with those of another.

    >>> need = Requirement("sensitivity", 0.7, True, "", None, None, None, "met")
    >>> part = Part("site South", by_measure(None, Interval(0.4, 0.3, 0.5, ""), None))
    >>> doubt_parts(Answer("nothing", "It works.", "", ()), [need], [part]).action
    'cannot tell'
    """
    if answer.action not in HOLDS:
        return answer
    limits = {r.measure: r.limit for r in requirements if not r.against}
    asked = [
        (part.where, measure, here)
        for part in parts
        for measure, here in part.found.items()
        if measure in limits and here is not None
    ]
    level = 1 - (1 - LEVEL) / max(len(asked), 1)
    lost = [(w, m, i) for w, m, i in asked if at_level(i, level, bounds=(0.0, 1.0)).high < limits[m]]
    if not lost:
        return answer
    where, measure, here = min(lost, key=lambda one: one[2].estimate - limits[one[1]])
    more = [w for w in dict.fromkeys(w for w, _, _ in lost) if w != where]
    also = f" (as at {', '.join(more[:3])}{' and others' if len(more) > 3 else ''})" if more else ""
    words = (
        f"Over all scans it meets the requirements; but for {where} {measure} is {brief(here)}, surely below the "
        f"required {limits[measure]:.2f}{also}, by intervals for all {len(asked)} looks at sites and subgroups."
    )
    advice = f"Do not use it for {where} as it is; find out what differs there, and judge that part by itself."
    return doubted(answer, words, advice)


def doubt_patients(answer: Answer, requirements: Sequence[Requirement], scans: Scored) -> Answer:
    """The answer, or "cannot tell" where a share over patients, each counted once, does not surely reach it too.

    Asked where patients have unequal numbers of scans: over scans, those with many that are called rightly hide those
    with one that is not.

    >>> patients, called = np.array([0] * 8 + [1]), np.array([True] * 8 + [False])  # over patients 0.5, over scans 0.89
    >>> need = Requirement("sensitivity", 0.7, True, "", None, Interval(0.89, 0.75, 0.95, ""), None, "met")
    >>> scans = Scored(np.ones(9, int), patients, np.arange(9.0), called)
    >>> doubt_patients(Answer("nothing", "It works.", "", ()), [need], scans).action
    'cannot tell'
    """
    if answer.action not in HOLDS or scans.called is None:
        return answer
    kinds: Mapping[Measure, int] = {"sensitivity": 1, "specificity": 0}
    for r in requirements:
        if r.against or r.measure not in kinds or r.here is None:
            continue
        own = scans.labels == kinds[r.measure]
        if np.ptp(np.unique(scans.patients[own], return_counts=True)[1]) == 0:
            continue
        found = over_patients((scans.called[own] == kinds[r.measure]).astype(np.float64), scans.patients[own])
        if found.low < r.limit:
            words = (
                f"Over scans {r.measure} is {brief(r.here)}; but over patients, each counted once, it is "
                f"{brief(found)}, {'surely below' if found.high < r.limit else 'not surely'} the required "
                f"{r.limit:.2f}: patients with many scans may hide those with few."
            )
            advice = "Decide what counts, a scan or a patient, and judge one scan of each patient."
            return doubted(answer, words, advice)
    return answer


def doubt_unlabelled(answer: Answer, answered: Scored) -> Answer:
    """The answer, or "cannot tell" where labels depend on the product's own call (verification bias).

    Where only what it calls is followed up, missed patients have no label, and sensitivity looks better than it is
    (Begg & Greenes 1983).

    Args:
        answer: what the rule says of the labelled scans.
        answered: all scans with a score; labels 1, 0, or -1 where not known.

    >>> labels, called = np.array([1] * 20 + [-1] * 20), np.array([True] * 20 + [False] * 20)  # labelled where called
    >>> scans = Scored(labels, np.arange(40), np.arange(40.0), called)
    >>> doubt_unlabelled(Answer("nothing", "It works.", "", ()), scans).reason.partition(":")[0]
    'Of the 20 scans that it calls positive 100% have a label, of the 20 others 0%'
    """
    if answer.action not in (*HOLDS, "re-threshold") or answered.called is None:
        return answer
    known, called = answered.labels >= 0, answered.called
    if known.all() or called.all() or not called.any():
        return answer
    where, more, p = _labels_follow_most(known, called, answered)
    if p >= LABELS_ALIKE:
        return answer
    better = "sensitivity" if more > 0 else "specificity"
    own = np.ones(known.size, bool) if where is None or answered.sites is None else answered.sites == where
    place = "" if where is None else "at one site, "
    words = (
        f"{place}of the {int((called & own).sum())} scans that it calls positive "
        f"{known[called & own].mean():.0%} have a label, of the {int((~called & own).sum())} others "
        f"{known[~called & own].mean():.0%}"
        f"{', and they differ within sites' if where is None and answered.sites is not None else ''}: where labels "
        f"depend on what it says, {better} on the labelled scans looks better than it is."
    )
    words = words[0].upper() + words[1:]
    advice = (
        "Label a random part of the scans without a label, and judge scans whose labels do not depend on its calls."
    )
    return doubted(answer, words, advice)


def _labels_follow_most(
    known: NDArray[np.bool_], called: NDArray[np.bool_], scans: Scored
) -> tuple[int | None, float, float]:
    """Where labels follow calls most (None: all sites together), the statistic there, p for all looks (Bonferroni)."""
    looks: list[tuple[int | None, float, float]] = [(None, *labels_follow(known, called, scans.patients, scans.sites))]
    for site in np.unique(scans.sites).tolist() if scans.sites is not None else ():
        own = scans.sites == site
        looks.append((site, *labels_follow(known[own], called[own], check_groups(scans.patients[own], int(own.sum())))))
    where, more, p = min(looks, key=lambda look: look[2])
    return where, more, min(p * len(looks), 1.0)


def labels_follow(
    known: NDArray[np.bool_], called: NDArray[np.bool_], patients: Ints, sites: Ints | None = None
) -> tuple[float, float]:
    """Whether scans that are called have a label more often than others of their site, and the p-value of that.

    T = Σ (k − mean of k) (c − mean of c), k 1 for a labelled scan and c 1 for a called one, means those of its
    site.

    The statistic is Mantel and Haenszel's over sites (1959), its variance that of the sums of patients, whose scans
    often get their labels together; two-sided, t with as many degrees of freedom as there are patients less one. Where
    fewer than 5 patients are expected in one of the four cells nothing is told (Cochran 1954).

    Args:
        known: scans with a label (scans,).
        called: scans that the product calls positive (scans,).
        patients: patient of each scan (scans,).
        sites: site of each scan (scans,); None for one.

    Returns:
        The statistic, above 0 where called scans are labelled more often, and p; (0, 1) where nothing can be told.

    >>> known, called = np.array([True] * 20 + [False] * 20), np.array([True] * 20 + [False] * 20)
    >>> found, p = labels_follow(known, called, np.arange(40))
    >>> found, p < 0.001  # 40 scans, each 0.5 * 0.5
    (10.0, True)
    """
    place = np.zeros(known.size, np.int64) if sites is None else sites
    counts = np.maximum(np.bincount(place), 1)
    shares = [(np.bincount(place, one) / counts)[place] for one in (known, called)]
    each = known.size / max(count_groups(patients), 1)
    cells = [(a * b).sum() / each for a in (shares[0], 1 - shares[0]) for b in (shares[1], 1 - shares[1])]
    if min(cells) < LEAST_EXPECTED:
        return 0.0, 1.0
    by_patient = np.bincount(patients, (known - shares[0]) * (called - shares[1]))
    by_patient = by_patient[np.bincount(patients, minlength=by_patient.size) > 0]
    spread = float(np.sqrt((by_patient**2).sum()))
    if by_patient.size < 2 or spread == 0:
        return 0.0, 1.0
    found = float(by_patient.sum())
    return found, float(2 * t.sf(abs(found) / spread, by_patient.size - 1))


def repeated_rows(scores: Floats, labels: Ints, columns: Sequence[Sequence[str]]) -> int:
    """Scans that repeat another in all but their names; 0 where they are few, or scores too coarse to tell.

    Scores count as equal to five digits: a product that is run again says the same up to rounding. Columns that hardly
    repeat (numbers, dates, names of a row) say nothing. Three things look alike and are none: scores that a product
    clips repeat too, but only two of them; scores on a grid repeat with both labels; and so many scores of so few
    values also meet by chance.

    Args:
        scores: (scans,).
        labels: (scans,).
        columns: further columns, one value of each scan.

    >>> repeated_rows(np.array([0.123456, 0.123457, 0.312341]), np.array([1, 1, 1]), [["a", "b", "c"]])
    1
    """
    equal = np.array([float(f"{score:.5g}") for score in scores.tolist()])
    told = [column for column in columns if len(set(column)) <= scores.size / 2]
    seen = Counter(zip(equal.tolist(), labels.tolist(), *told, strict=True))
    again, by_score = scores.size - len(seen), Counter[float]()
    for (score, *_), times in seen.items():
        by_score[score] += times - 1
    clipped = sum(times for _, times in by_score.most_common(2)) > again / 2 and len(by_score) > 2
    fine = sum(score != float(f"{score:.3g}") for score in equal.tolist())
    beyond = again - sum(_by_chance(equal[labels == label]) for label in np.unique(labels))
    if beyond < REPEATED * scores.size or fine <= scores.size / 2 or clipped or _has_grid(equal, labels):
        return 0
    return again


def _has_grid(scores: Floats, labels: Ints) -> bool:
    """Whether more than this share of the scores that recur do so with both labels, as a copy's never does."""
    both = {value: set(labels[scores == value].tolist()) for value, n in Counter(scores.tolist()).items() if n > 1}
    return sum(len(found) > 1 for found in both.values()) > GRID * max(len(both), 1)


def _by_chance(scores: Floats) -> float:
    """Scores (scans,) that repeat another by chance, where each falls anywhere within its hundred steps of the grid.

    A step is the smallest gap between two of them.
    """
    gaps = np.diff(np.unique(scores))
    if not gaps.size:
        return float(scores.size - 1)
    together = np.unique(np.floor(scores / (100 * float(gaps.min()))), return_counts=True)[1]
    return float((together - 100 * (1 - 0.99**together)).sum())


def repeated_words(again: int, scans: int) -> str:
    """What was seen of scans that repeat others.

    >>> repeated_words(30, 100)[:33]
    "30 of 100 scans repeat another's "
    """
    return f"{again} of {scans} scans repeat another's score (to five digits), label and further columns"


def doubt_copies(answer: Answer, again: int, scans: int) -> Answer:
    """The answer, or "cannot tell" where so many of the scans (`again` of `scans`) repeat another as copies would.

    >>> doubt_copies(Answer("nothing", "It works.", "", ()), 30, 100).action
    'cannot tell'
    """
    if answer.action not in HOLDS or not again:
        return answer
    words = f"{repeated_words(again, scans)}: copies of one scan say nothing new, and with them it only seems sure."
    advice = "Look whether they are copies; leave one row of each scan, and judge again."
    return doubted(answer, words, advice)


def over_patients(right: Floats, patients: Ints) -> Interval:
    """Mean over patients of each one's share of right decisions (scans,), within 0 to 1 (`clustered_mean`).

    >>> over_patients(np.array([1.0, 1.0, 1.0, 0.0]), np.array([0, 0, 0, 1])).estimate
    0.5
    """
    found = clustered_mean(right, patients)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def doubt_silent_sites(answer: Answer, silent: Mapping[str, int]) -> Answer:
    """The answer, or "cannot tell" where sites (name -> rows) have no scan with both a score and a label.

    >>> doubt_silent_sites(Answer("nothing", "It works.", "", ()), {"South": 12}).reason.partition("; but ")[2]
    'no scan has both a score and a label at South (12 rows).'
    """
    if answer.action not in HOLDS or not silent:
        return answer
    told = ", ".join(f"{name} ({numbered(rows, 'row')})" for name, rows in silent.items())
    words = f"Where it can be judged it meets the requirements; but no scan has both a score and a label at {told}."
    advice = "Get scores and labels from there, or leave these rows out and judge the other sites alone."
    return doubted(answer, words, advice)

"""Metadata of scans in; subgroups, and whether a product does otherwise in one of them, out.

Each subgroup is compared with all other scans, and every comparison of one evaluation counts: a difference is marked
where it is sure at a level of 1 - 0.05 / comparisons (Bonferroni), so that a product that does alike everywhere is
marked in at most 5 % of evaluations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from elsewhere.statistics.acceptance import at_level
from elsewhere.statistics.columns import Floats, count_groups
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.requirements import subtract
from elsewhere.statistics.scored import Scored, discrimination, shares
from elsewhere.statistics.strata import AGES
from elsewhere.statistics.verdict_rule import LEAST_PATIENTS

MOST_LEVELS = 12
"""A column of words with more values than this is no subgroup (an id, a comment)."""
FEW_NUMBERS = 6
"""Numbers with at most this many values stand as they are; more are cut into thirds."""
NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Subgroup:
    """One subgroup. None stands where it has fewer than 10 patients of the class (of each class, for the AUC).

    Attributes:
        column: of the metadata.
        level: its value.
        scans: scans with a score and a label.
        patients: patients they come from.
        positives: positive scans.
        auc: discrimination.
        sensitivity: at the product's decisions.
        specificity: at the product's decisions.
        differs: measures in which it surely differs from all other scans, after correction, as "lower sensitivity".
    """

    column: str
    level: str
    scans: int
    patients: int
    positives: int
    auc: Interval | None
    sensitivity: Interval | None
    specificity: Interval | None
    differs: tuple[str, ...] = ()


def levels(name: str, values: Sequence[str]) -> list[str] | None:
    """The level of each scan in one column of metadata; None where the column makes no subgroups.

    Ages are cut at 40 and 60, other numbers with more than six values into thirds; dates become quarters, or years.

    >>> levels("age", ["35", "71", ""])
    ['under 40', '60 and over', 'not known']
    >>> levels("comment", [str(i) + " x" for i in range(30)]) is None
    True
    >>> levels("date", ["2026-01-05", "2026-03-31"]) is None  # one quarter
    True
    """
    counts = Counter(values)
    told = sorted(v for v in counts if v)
    names = _level_names(name, told, [counts[v] for v in told]) if len(told) > 1 else None
    if names is None:
        return None
    found = dict(zip(told, names, strict=True)) | {"": NOT_KNOWN}
    grouped = [found[v] for v in values]
    return grouped if len(set(grouped)) > 1 else None


def _level_names(name: str, told: Sequence[str], times: Sequence[int]) -> Sequence[str] | None:
    """The level of each different value, which so many scans have; None where they make no subgroups."""
    numbers = _numbers(told)
    if numbers is not None and ("age" in name.lower().split("_") or name.lower().endswith("age")):
        return _banded(numbers, AGES, f"under {AGES[0]}", f"{AGES[-1]} and over")
    if numbers is not None and len(told) > FEW_NUMBERS:
        cuts = np.unique(np.quantile(np.repeat(numbers, times), [1 / 3, 2 / 3]))
        return _banded(numbers, tuple(cuts.tolist()), f"under {cuts[0]:.4g}", f"{cuts[-1]:.4g} and over")
    if all(len(v) == 10 and v[4] == v[7] == "-" for v in told):
        quarters = [f"{v[:4]} Q{(int(v[5:7]) + 2) // 3}" for v in told]
        return quarters if len(set(quarters)) <= MOST_LEVELS else [v[:4] for v in told]
    return told if len(told) <= MOST_LEVELS else None


def level_order(level: str) -> tuple[int, float, str]:
    """Key that puts levels in the order of their numbers, and what is not known last.

    >>> sorted(["60 and over", "not known", "40 to under 60", "under 40"], key=level_order)
    ['under 40', '40 to under 60', '60 and over', 'not known']
    """
    try:
        first = float(level.split(maxsplit=1)[0])
    except (ValueError, IndexError):
        first = np.inf
    return 2 if level == NOT_KNOWN else 0 if level.startswith("under ") else 1, first, level


def _numbers(told: Sequence[str]) -> Floats | None:
    try:
        found = np.array([float(v) for v in told])
    except ValueError:
        return None
    return found if np.isfinite(found).all() else None


def _banded(numbers: Floats, cuts: Sequence[float], first: str, last: str) -> list[str]:
    names = [first, *(f"{a:.4g} to under {b:.4g}" for a, b in pairwise(cuts)), last]
    band = np.digitize(numbers, cuts)
    return [names[b] for b in band]


def find_subgroups(
    scans: Scored, metadata: Mapping[str, Sequence[str]]
) -> tuple[tuple[Subgroup, ...], int, tuple[str, ...]]:
    """Every subgroup, the number of comparisons made, and the columns that make none.

    Args:
        scans: with scores and labels.
        metadata: column -> value of each scan, "" where not known.

    >>> labels, scanners = np.tile([0, 1], 40), ["A"] * 40 + ["B"] * 40
    >>> scans = Scored(labels, np.arange(80), labels * 1.0, (labels == 1) & (np.arange(80) < 40))  # B: all missed
    >>> groups, comparisons, _ = find_subgroups(scans, {"scanner": scanners})
    >>> [(group.level, group.differs) for group in groups], comparisons
    ([('A', ('higher sensitivity',)), ('B', ('lower sensitivity',))], 3)
    """
    order = np.argsort(scans.scores, kind="stable")  # once: what is sorted already sorts in no time
    scans = scans.subset(order)
    cut = {name: levels(name, values) for name, values in metadata.items()}
    unused = tuple(name for name, found in cut.items() if found is None)
    drawn: list[tuple[Subgroup, dict[str, Interval]]] = []
    comparisons = 0
    for name, found in cut.items():
        if found is None:
            continue
        names = sorted(set(found), key=level_order)
        places = {level: place for place, level in enumerate(names)}
        column = np.array([places[level] for level in found])[order]
        for place, level in enumerate(names):
            inside = column == place
            here = _measures(scans.subset(inside))
            repeated = len(names) == 2 and place == 1  # the same two groups, compared the other way round
            if repeated:
                gaps = {m: Interval(-g.estimate, -g.high, -g.low, g.method) for m, g in drawn[-1][1].items()}
            else:
                rest = _measures(scans.subset(~inside))
                gaps = {m: subtract(here[m], rest[m]) for m in here if m in rest}
                comparisons += len(gaps)
            people = count_groups(scans.patients[inside])
            counts = int(inside.sum()), people, int(scans.labels[inside].sum())
            shown = (here.get("AUC"), here.get("sensitivity"), here.get("specificity"))
            drawn.append((Subgroup(name, level, *counts, *shown), gaps))
    level_of_all = 1 - 0.05 / max(comparisons, 1)
    marked = []
    for group, gaps in drawn:
        sure = []
        for measure, gap in gaps.items():
            wide = at_level(gap, level_of_all, bounds=(-1.0, 1.0))
            if wide.low > 0 or wide.high < 0:
                sure.append(f"{'higher' if wide.low > 0 else 'lower'} {measure}")
        marked.append(replace(group, differs=tuple(sure)))
    return tuple(marked), comparisons, unused


def _measures(scans: Scored) -> dict[str, Interval]:
    """Measure -> interval, of those for which there are enough patients."""
    positive, negative = (n >= LEAST_PATIENTS for n in scans.class_patients)
    sensitivity, specificity = shares(scans)
    found = {
        "AUC": discrimination(scans) if positive and negative else None,
        "sensitivity": sensitivity if positive else None,
        "specificity": specificity if negative else None,
    }
    return {name: interval for name, interval in found.items() if interval is not None}

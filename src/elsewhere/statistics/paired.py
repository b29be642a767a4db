"""Differences between two ways of deciding about the same scans, with patient-clustered intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import t

from elsewhere.statistics.columns import check_groups, check_labels
from elsewhere.statistics.intervals import LEVEL, Interval, z_value


def paired_mean(sites: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Interval:
    """Mean over all cells of the mean difference over a cell's scans, with its 95 % interval.

    Each cell (one model at one site) has the same weight. Patients are the unit: what the cells of one site say of one
    patient is added up before the spread between patients is taken (linearised mean, G / (G - 1) for G patients),
    sites are independent, and t has one degree of freedom fewer than patients for each site.

    Args:
        sites: site -> (patient of each scan (scans,), differences (cells, scans), each from -1 to 1).

    Raises:
        ValueError: no cell, lengths that differ.

    >>> found = paired_mean({"A": (["p", "q", "r", "s"], [[0, 1, 1, 0]])})
    >>> round(found.estimate, 2), round(found.low, 2), round(found.high, 2)
    (0.5, -0.42, 1.0)
    """
    tables = {site: np.atleast_2d(np.asarray(values, dtype=np.float64)) for site, (_, values) in sites.items()}
    cells = sum(len(table) for table in tables.values())
    if not cells:
        raise ValueError("no cell to take a mean of")
    estimate = variance = 0.0
    freedom, known = 0, True
    for site, (patients, _) in sites.items():
        summed = tables[site].sum(axis=0) / cells
        groups = check_groups(patients, summed.size)
        estimate += float(summed.mean())
        pulls = np.bincount(groups, summed - summed.mean()) / summed.size
        known &= pulls.size > 1
        freedom += pulls.size - 1
        variance += float((pulls**2).sum()) * pulls.size / max(pulls.size - 1, 1)
    if not known:
        return Interval(estimate, -1.0, 1.0, "unknown: all scans of a site come from one patient")
    half = float(t.ppf(0.5 + LEVEL / 2, freedom)) * variance**0.5
    method = "linearised mean of paired differences, clustered by patient; sites and networks held"
    return Interval(estimate, max(estimate - half, -1.0), min(estimate + half, 1.0), method)


def paired_share_difference(first: ArrayLike, second: ArrayLike, patients: ArrayLike) -> Interval:
    """Share of right answers of the first less that of the second, on the same scans: Tango's (1998) score interval.

    The counts of scans that only one answers rightly are divided by the design effect of the differences: their
    variance between patients over that between scans, kept between 1 and its value when all scans of a patient agree
    (Kish 1965), which also stands in where both answer alike everywhere. So no change seen is not "no change".

    Args:
        first: 1 where the first is right (scans,).
        second: 1 where the second is right (scans,).
        patients: patient of each scan (scans,).

    Raises:
        ValueError: no scan, answers other than 0 and 1, lengths that differ.

    >>> found = paired_share_difference([1] * 20, [1] * 20, range(20))
    >>> round(found.estimate, 2), round(found.low, 2), round(found.high, 2)
    (0.0, -0.16, 0.16)
    """
    one, two = check_labels(first), check_labels(second)
    if one.size != two.size:
        raise ValueError(f"{one.size} answers of the first and {two.size} of the second")
    groups = check_groups(patients, one.size)
    moves = (one - two).astype(np.float64)
    sizes = np.bincount(groups).astype(np.float64)
    gained, lost = float((moves > 0).sum()), float((moves < 0).sum())
    gap = (gained - lost) / one.size
    if sizes.size < 2 and one.size > 1:
        return Interval(gap, -1.0, 1.0, "unknown: all scans come from one patient")
    agreeing = float((sizes**2).sum() / one.size)
    alone = float(((moves - gap) ** 2).sum())
    design = agreeing
    if alone > 0:
        between = float((np.bincount(groups, moves - gap) ** 2).sum()) * sizes.size / max(sizes.size - 1, 1)
        design = float(np.clip(between / (alone * one.size / max(one.size - 1, 1)), 1.0, agreeing))
    low, high = tango_ends(gained / design, lost / design, one.size / design)
    return Interval(gap, low, high, "Tango's score interval, effective sample size by patient")


def tango_ends(gained: float, lost: float, pairs: float, level: float = LEVEL) -> tuple[float, float]:
    """Ends of Tango's (1998) score interval of (gained - lost) / pairs; counts may be effective ones.

    >>> low, high = tango_ends(1, 7, 21)
    >>> round(low, 3), round(high, 3)
    (-0.517, -0.026)
    """
    z = z_value(level)

    def excess(gap: float) -> float:
        a, c = 2 * pairs, -lost * gap * (1 - gap)
        b = -gained - lost + (2 * pairs - gained + lost) * gap
        share = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = max(pairs * (2 * share + gap * (1 - gap)), 0.0)
        return float((gained - lost - pairs * gap) ** 2 - z**2 * variance)

    middle, tiny = (gained - lost) / pairs, 1e-9
    low, high = -1.0, 1.0
    if middle > -1 + 2 * tiny and excess(tiny - 1) > 0:
        low = float(brentq(excess, tiny - 1, middle - tiny))
    if middle < 1 - 2 * tiny and excess(1 - tiny) > 0:
        high = float(brentq(excess, middle + tiny, 1 - tiny))
    return low, high

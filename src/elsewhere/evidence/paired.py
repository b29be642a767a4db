"""Mean of paired differences between two ways of deciding about the same scans, with its patient-clustered interval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from elsewhere.evidence.columns import check_groups
from elsewhere.evidence.intervals import LEVEL, Interval


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

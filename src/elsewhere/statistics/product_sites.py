"""A product at several sites: each by itself, their mean, and what to expect of one more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from elsewhere.statistics.columns import check_groups
from elsewhere.statistics.intervals import Interval, effective_trials
from elsewhere.statistics.over_sites import OverSites, auc_over_sites, over_sites
from elsewhere.statistics.predictive import PredictiveValues, local_values
from elsewhere.statistics.scored import Scored, decisions, discrimination, shares


@dataclass(frozen=True)
class SiteRow:
    """One site of several.

    Attributes:
        site: its name.
        scans: scans with a score and a label.
        positives: positive ones.
        auc: discrimination there; None with one class.
        sensitivity: there.
        specificity: there.
        values: PPV, NPV and alerts there, at its own prevalence; None without decisions.
    """

    site: str
    scans: int
    positives: int
    auc: Interval | None
    sensitivity: Interval | None
    specificity: Interval | None
    values: PredictiveValues | None


def site_rows(scans: Scored, names: NDArray[np.str_] | None) -> tuple[SiteRow, ...]:
    """Each of several sites by itself; nothing where there is one. `names` are those of the scans' sites (scans,).

    >>> labels, sites = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    >>> scans = Scored(labels, np.arange(4), np.array([0.1, 0.9, 0.6, 0.4]), None, sites)
    >>> [(row.site, row.scans, row.auc.estimate) for row in site_rows(scans, np.array(["A", "A", "B", "B"]))]
    [('A', 2, 1.0), ('B', 2, 0.0)]
    """
    if scans.sites is None or names is None:
        return ()
    found = []
    for site in np.unique(names):
        here = scans.subset(names == site)
        values = None if here.called is None else local_values(*decisions(here))
        counts = here.labels.size, int(here.labels.sum())
        found.append(SiteRow(str(site), *counts, discrimination(here), *shares(here), values))
    return tuple(found)


def product_over_sites(scans: Scored) -> dict[str, OverSites]:
    """Measure -> its mean over sites and what to expect of a new one; nothing where there is one site.

    >>> labels = np.tile([0, 1], 20)
    >>> scans = Scored(labels, np.arange(40), labels * 1.0, labels == 1, np.repeat([0, 1], 20))
    >>> round(product_over_sites(scans)["sensitivity"].mean, 3)  # 10 of 10 at both sites: 10.5 / 11
    0.955
    """
    if scans.sites is None:
        return {}
    parts = [scans.subset(scans.sites == site) for site in np.unique(scans.sites)]
    found: dict[str, OverSites | None] = {}
    two = [(p.labels, p.patients, p.scores) for p in parts if p.labels.min() < p.labels.max()]
    try:
        found["discrimination (AUC)"] = auc_over_sites(two) if len(two) > 1 else None
    except ValueError:  # one patient makes up a class at every site
        found["discrimination (AUC)"] = None
    if scans.called is not None:
        for name, kind in (("sensitivity", 1), ("specificity", 0)):
            rights = [(p.called[p.labels == kind] == kind, p.patients[p.labels == kind]) for p in parts]  # type: ignore[index]
            found[name] = share_over_sites([(r, g) for r, g in rights if r.size])
    return {name: summary for name, summary in found.items() if summary is not None}


def share_over_sites(sites: Sequence[tuple[ArrayLike, ArrayLike]]) -> OverSites | None:
    """A share (sensitivity, specificity) over hospitals, from (right answers, patients) of each; None below two.

    Of r right in n: log((r + ½) / (n − r + ½)), variance 1 / (r + ½) + 1 / (n − r + ½) (Haldane 1956, Gart &
    Zweifel 1967).

    Pooled in log-odds, with the effective number of scans of each site and half a scan of either kind added, so that a
    share of 0 or 1 has log-odds and a variance.

    >>> site = ([1] * 9 + [0], range(10))
    >>> round(share_over_sites([site, site]).mean, 3)  # 9.5 / 11
    0.864
    """
    points = []
    for right, patients in sites:
        values = np.asarray(right, dtype=np.float64)
        trials = effective_trials(values, check_groups(patients, values.size))
        share = (float(values.mean()) * trials + 0.5) / (trials + 1)
        points.append((float(logit(share)), 1 / ((trials + 1) * share * (1 - share))))
    if len(points) < 2:
        return None
    found = over_sites(*zip(*points, strict=True))
    low, high, new_low, new_high = (
        None if end is None else float(expit(end)) for end in (found.low, found.high, found.new_low, found.new_high)
    )
    return OverSites(found.sites, float(expit(found.mean)), low, high, found.between, new_low, new_high)

"""A product's scored scans of one finding: the columns that every question asked of them needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from elsewhere.statistics.columns import Floats, Ints, check_groups, count_groups
from elsewhere.statistics.intervals import Interval, auc_interval
from elsewhere.statistics.learned import auc_within_sites
from elsewhere.statistics.requirements import class_shares


@dataclass(frozen=True)
class Scored:
    """Scans with a score and a label.

    Attributes:
        labels: 1 or 0 (scans,).
        patients: patient of each scan, as integers (scans,).
        scores: larger meaning more positive (scans,).
        called: the product's decisions (scans,); None where neither calls nor a threshold are known.
        sites: site of each scan, as integers (scans,); None where there is one.

    >>> scans = Scored(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 2, 2, 2]), np.array([0.2, 0.4, 0.7, 0.8, 0.9]))
    >>> scans.class_patients, scans.class_worth, scans.subset(scans.labels == 0).scores.tolist()
    ((1, 2), (1.0, 2.0), [0.2, 0.4])
    """

    labels: Ints
    patients: Ints
    scores: Floats
    called: NDArray[np.bool_] | None = None
    sites: Ints | None = None

    def subset(self, kept: NDArray[np.bool_] | Ints) -> Scored:
        """Some of the scans, chosen by a mask (scans,) or by their places, in that order."""
        called = None if self.called is None else self.called[kept]
        sites = None if self.sites is None else self.sites[kept]
        patients = check_groups(self.patients[kept], kept.size if kept.dtype != bool else int(kept.sum()))
        return replace(
            self, labels=self.labels[kept], patients=patients, scores=self.scores[kept], called=called, sites=sites
        )

    @property
    def class_patients(self) -> tuple[int, int]:
        """Patients with a positive scan, and with a negative one."""
        positive, negative = (count_groups(self.patients[self.labels == c]) for c in (1, 0))
        return positive, negative

    @property
    def class_worth(self) -> tuple[float, float]:
        """The same, as so many patients with equal numbers of scans (`worth_of`)."""
        positive, negative = (worth_of(self.patients[self.labels == c]) for c in (1, 0))
        return positive, negative


def worth_of(patients: Ints) -> float:
    """How many patients with equal numbers of scans these scans (scans,) are worth, (Σ m)² / Σ m² (Kish 1965).

    Where one patient has most of the scans that is near 1, and no interval over patients holds.

    >>> worth_of(np.array([0, 0, 1, 1])), round(worth_of(np.array([0, 0, 0, 0, 0, 0, 0, 1])), 2)
    (2.0, 1.28)
    """
    if not patients.size:
        return 0.0
    scans = np.unique(patients, return_counts=True)[1].astype(np.float64)
    return float(scans.sum() ** 2 / (scans**2).sum())


def discrimination(scans: Scored) -> Interval | None:
    """AUC with its interval; with several sites over pairs of scans of one site. None without a pair to compare.

    >>> labels, sites = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    >>> scores = np.array([1.0, 2, 3, 4])  # pairs of one site are ranked rightly, of all four pairs three
    >>> [discrimination(Scored(labels, np.arange(4), scores, None, places)).estimate for places in (None, sites)]
    [0.75, 1.0]
    """
    if scans.labels.size == 0 or scans.labels.min() == scans.labels.max():
        return None
    if scans.sites is None or count_groups(scans.sites) == 1:
        return auc_interval(scans.labels, scans.patients, scans.scores)
    found = auc_within_sites(scans.labels, scans.patients, scans.sites, scans.scores)
    return None if found is None else Interval(*found, "score interval on the DeLong variance, pairs within sites")


def shares(scans: Scored) -> tuple[Interval | None, Interval | None]:
    """Sensitivity and specificity of the product's decisions; None for an absent class, or without decisions.

    >>> called = np.array([False, True, True, True])
    >>> [share.estimate for share in shares(Scored(np.array([0, 0, 1, 1]), np.arange(4), np.arange(4.0), called))]
    [1.0, 0.5]
    """
    if scans.called is None:
        return None, None
    return class_shares(scans.labels, scans.patients, scans.called.astype(np.int64))


def decisions(scans: Scored) -> tuple[Ints, Ints, Ints]:
    """Labels, patients and decisions of scans whose decisions are known.

    >>> scans = Scored(np.array([0, 1]), np.arange(2), np.array([0.2, 0.7]), np.array([False, True]))
    >>> [column.tolist() for column in decisions(scans)]
    [[0, 1], [0, 1], [0, 1]]
    """
    assert scans.called is not None
    return scans.labels, scans.patients, scans.called.astype(np.int64)

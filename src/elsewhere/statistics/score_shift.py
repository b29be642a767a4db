"""Scores of two versions on the same scans in; how they moved, by stratum, and a threshold that undoes it, out.

No label is needed. The proposed threshold calls as many scans positive as the old version did (the quantile of the new
scores at the old share of calls). It keeps the number of alerts, not sensitivity or specificity, and is only as good
as its supposition that the scans are like those that the threshold is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from elsewhere.statistics.acceptance import at_level
from elsewhere.statistics.columns import Floats, Ints
from elsewhere.statistics.intervals import LEVEL, Interval
from elsewhere.statistics.paired import paired_share_difference
from elsewhere.statistics.requirements import class_shares, subtract
from elsewhere.statistics.subgroups import level_order, levels
from elsewhere.statistics.verdict_rule import LEAST_PATIENTS

ALL = "all scans"


@dataclass(frozen=True)
class Shift:
    """How the scores of one stratum moved.

    Attributes:
        column: of the metadata; "" for all scans.
        level: its value.
        scans: scans answered by both versions.
        mean: mean of new less old, 95 % interval, patients as the unit; None with fewer than 10 patients.
        differs: "more" or "less" than that of all other scans, surely (Bonferroni over all strata); "" otherwise.
    """

    column: str
    level: str
    scans: int
    mean: Interval | None
    differs: str = ""


@dataclass(frozen=True)
class Realignment:
    """A threshold for the new version, found without labels.

    Attributes:
        threshold: on the new scores.
        shown: in words of the product's scale.
        scans: scans it was found on.
        old_calls: of them, called positive by the old version.
        new_calls: by the new version at its present threshold; None where not known.
        calls: at the proposed threshold.
        otherwise: scans that are still decided otherwise than by the old version.
        change: share called by the new version now, less that of the old one; None where not known.
        proposed: whether the share called has surely changed (or the new version has no threshold).
        sensitivity: at the proposed threshold, on the labelled scans among them; None where there is none.
        specificity: likewise.
    """

    threshold: float
    shown: str
    scans: int
    old_calls: int
    new_calls: int | None
    calls: int
    otherwise: int
    change: Interval | None
    proposed: bool
    sensitivity: Interval | None
    specificity: Interval | None

    @property
    def sentence(self) -> str:
        """What is proposed, in words; or why nothing is.

        >>> found = Realignment(0.6, "from 0.6", 100, 20, 22, 20, 4, Interval(0.02, -0.02, 0.06, ""), False, None, None)
        >>> found.sentence.partition(":")[0]
        'Of 100 scans the old version calls 20 positive, the new one 22'
        """
        now = "" if self.new_calls is None else f", the new one {self.new_calls}"
        seen = f"Of {self.scans} scans the old version calls {self.old_calls} positive{now}"
        if not self.proposed:
            return f"{seen}: the share called has not surely changed, and no other threshold is proposed."
        return (
            f"{seen}. Proposed, found without labels and not yet checked: call positive {self.shown}. Then "
            f"{self.calls} are called, {self.otherwise} of the {self.scans} otherwise than by the old version. It "
            "keeps the number of alerts, not sensitivity; check it on labelled scans before use."
        )


def clustered_mean(values: Floats, groups: Ints) -> Interval:
    """Mean of values (scans,) with its 95 % t interval, patients as the unit (linearised mean, G / (G - 1)).

    >>> found = clustered_mean(np.array([0.0, 1.0, 1.0, 0.0]), np.array([0, 1, 2, 3]))
    >>> round(found.low, 2), found.estimate
    (-0.42, 0.5)
    """
    mean, count = float(values.mean()), np.unique(groups).size
    if count < 2:
        return Interval(mean, float("-inf"), float("inf"), "unknown: one patient")
    pulls = np.bincount(groups, values - mean) / values.size
    error = float((pulls**2).sum() * count / (count - 1)) ** 0.5
    half = float(t.ppf(0.5 + LEVEL / 2, count - 1)) * error
    return Interval(mean, mean - half, mean + half, "linearised mean, clustered by patient")


def score_shifts(new: Floats, old: Floats, groups: Ints, metadata: Mapping[str, Sequence[str]]) -> tuple[Shift, ...]:
    """Shift of all scans, then of each stratum.

    Args:
        new: scores of the new version (scans,).
        old: of the old one (scans,).
        groups: patient of each scan, as integers (scans,).
        metadata: column -> value of each scan, "" where not known.

    >>> shift = score_shifts(np.full(20, 0.6), np.full(20, 0.5), np.arange(20), {})[0]
    >>> shift.level, round(shift.mean.estimate, 2)
    ('all scans', 0.1)
    """
    if new.size == 0:
        return ()
    moves = new - old
    found = [Shift("", ALL, moves.size, _mean(moves, groups))]
    gaps: list[Interval | None] = [None]
    for column, values in metadata.items():
        cut = np.array(levels(column, values) or [])
        names = sorted(set(cut.tolist()), key=level_order)
        for place, level in enumerate(names):
            inside = cut == level
            here, rest = _mean(moves[inside], groups[inside]), _mean(moves[~inside], groups[~inside])
            repeated = len(names) == 2 and place == 1  # the same two groups, compared the other way round
            gaps.append(None if here is None or rest is None or repeated else subtract(here, rest))
            found.append(Shift(column, level, int(inside.sum()), here))
    level_of_all = 1 - 0.05 / max(sum(g is not None for g in gaps), 1)
    marked = []
    for shift, gap in zip(found, gaps, strict=True):
        wide = None if gap is None else at_level(gap, level_of_all, bounds=(-np.inf, np.inf))
        sign = "" if wide is None else "more" if wide.low > 0 else "less" if wide.high < 0 else ""
        marked.append(replace(shift, differs=sign))
    return tuple(marked)


def _mean(moves: Floats, groups: Ints) -> Interval | None:
    return clustered_mean(moves, groups) if np.unique(groups).size >= LEAST_PATIENTS else None


def realign(
    new: Floats,
    old_called: NDArray[np.bool_],
    new_called: NDArray[np.bool_] | None,
    labels: Ints,
    groups: Ints,
    *,
    show: Callable[[float], str] = "from {:.4g}".format,
) -> Realignment | None:
    """The threshold at which the new version calls as many of the scans positive as the old one.

    None where the old one called all or none, or the new scores are all alike. Midway between two scores; of two
    thresholds equally near, the one that calls more.

    Args:
        new: scores of the new version (scans,).
        old_called: decisions of the old one (scans,).
        new_called: decisions of the new one now (scans,); None where not known.
        labels: 1, 0, or -1 where not known (scans,); looked at only to show what the threshold would do.
        groups: patient of each scan, as integers (scans,).
        show: a threshold in words of the product's scale.

    >>> new, old_called = np.array([0.2, 0.4, 0.6, 0.8]), np.array([False, False, False, True])
    >>> found = realign(new, old_called, new >= 0.5, np.array([0, 0, 1, 1]), np.arange(4))
    >>> round(found.threshold, 2), found.new_calls, found.calls, found.sensitivity.estimate
    (0.7, 2, 1, 0.5)
    """
    wanted = int(old_called.sum())
    if wanted in {0, new.size} or new.min() == new.max():
        return None
    values, counts = np.unique(new, return_counts=True)
    above = new.size - np.cumsum(counts) + counts  # called from values[i] on
    place = int(np.argmin(np.abs(above - wanted)))
    if place == 0:
        threshold = float(values[0])
    else:
        middle = (float(values[place - 1]) + float(values[place])) / 2
        threshold = middle if values[place - 1] < middle <= values[place] else float(values[place])
    called = new >= threshold
    change = None
    if new_called is not None:
        change = paired_share_difference(new_called.astype(np.int64), old_called.astype(np.int64), groups)
    known = labels >= 0
    shares = class_shares(labels[known], groups[known], called[known].astype(np.int64)) if known.any() else (None, None)
    return Realignment(
        threshold=threshold,
        shown=show(threshold),
        scans=new.size,
        old_calls=wanted,
        new_calls=None if new_called is None else int(new_called.sum()),
        calls=int(called.sum()),
        otherwise=int((called != old_called).sum()),
        change=change,
        proposed=change is None or change.low > 0 or change.high < 0,
        sensitivity=shares[0],
        specificity=shares[1],
    )

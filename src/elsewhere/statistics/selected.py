"""How often the best of several validation checks ranks as well as the kept one by chance alone.

A network's weights are kept from one of many checks on the same validation scans, and its discrimination on these
scans is then the best of many: an interval that knows nothing of that calls noise real more often than it says.
Measured: docs/selection-tables.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elsewhere.statistics.columns import Floats, Ints, check_groups, check_labels

Criterion = Literal["accuracy", "log_loss", "auc"]
PERMUTATIONS = 1999
EDGE = 1e-12
"""Probabilities are kept so far from 0 and 1; AUCs that differ by less are equal."""
ARRANGEMENTS = 2000
"""So many ways to exchange labels there must be among patients with about as many scans."""
AT_ONCE = 1 << 24
"""Numbers of one array of scores at the most, (permutations, checks)."""


@dataclass(frozen=True)
class Selected:
    """What choosing among checks can do by chance.

    Attributes:
        checks: number of checks.
        p: share of permutations of the patients' labels within sites after which the check that would then be kept has
            at least the AUC within sites of the one that was; None where no site has both classes.
    """

    checks: int
    p: float | None


def chance_of_selection(  # noqa: PLR0917 - columns of equal length, then which of them was kept and why
    labels: ArrayLike,
    patients: ArrayLike,
    sites: ArrayLike,
    probabilities: ArrayLike,
    kept: int,
    criterion: Criterion,
    *,
    balanced: bool = False,
    permutations: int = PERMUTATIONS,
) -> Selected:
    """Whether the AUC of the kept check is more than the best of all checks has by chance.

    Labels are exchanged among the patients of each site who have about as many scans (up to twice as many), and among
    the scans of a patient who has both: one patient with most of a class's scans is exchanged with none of the others
    (Good 2005, restricted permutations). Where that leaves fewer than `ARRANGEMENTS` ways, as where all positives and
    no negatives have many scans, they are exchanged whatever their number of scans. For every exchange the check that
    the criterion would keep is found anew, and its AUC within sites is compared with that of the check that was kept.
    The share of exchanges that reach it is the p-value of a permutation test whose statistic includes the selection
    (Westfall & Young 1993), right however alike the checks are.

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan; the same name at two sites is two patients (scans,).
        sites: site of each scan (scans,).
        probabilities: of every check (checks, scans).
        kept: place of the check whose weights were kept.
        criterion: "accuracy" keeps the first of the highest at 0.5, "log_loss" the last of the lowest, "auc" the last
            of the highest within sites, as `elsewhere.model.selection`.
        balanced: whether the log loss is the mean of the two classes' means.
        permutations: their number.

    Raises:
        ValueError: no scan, labels other than 0 and 1, NaN, shapes that differ.

    Examples:
        >>> labels, scores = [0, 0, 0, 0, 1, 1, 1, 1], [[0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]]
        >>> found = chance_of_selection(labels, range(8), [0] * 8, scores, 0, "auc")
        >>> found.checks, found.p < 0.03
        (1, True)
    """
    truth = check_labels(labels)
    places = check_groups(sites, truth.size, "sites")
    people = check_groups([f"{s}/{p}" for s, p in zip(places, np.asarray(patients).tolist(), strict=True)], truth.size)
    scores = np.atleast_2d(np.asarray(probabilities, dtype=np.float64))
    if scores.shape[1] != truth.size or not np.isfinite(scores).all():
        raise ValueError(f"probabilities must be finite and of shape (checks, {truth.size}), have {scores.shape}")
    ranks = _Ranks(places, scores)
    observed = ranks.auc(truth[None, :])[0, kept]
    if np.isnan(observed):
        return Selected(len(scores), None)
    exchange, random = _Exchange(truth, people, places), np.random.default_rng(0)
    at_once, done, reached = max(AT_ONCE // max(scores.shape), 1), 0, 0
    while done < permutations:
        count = min(at_once, permutations - done)
        drawn = exchange.draw(count, random)
        aucs = ranks.auc(drawn)
        best = _best(_goodness(drawn, scores, aucs, criterion, balanced=balanced), first=criterion == "accuracy")
        reached += int((aucs[np.arange(count), best] >= observed - EDGE).sum())
        done += count
    return Selected(len(scores), (1 + reached) / (1 + permutations))


class _Exchange:
    """Exchanges labels among the patients of each site, and among the scans of patients who have both."""

    def __init__(self, labels: Ints, people: Ints, sites: Ints) -> None:
        self.labels, self.people = labels, people
        first = np.unique(people, return_index=True)[1]
        self.own = labels[first]
        both = np.zeros(first.size, bool)
        np.logical_or.at(both, people, labels != self.own[people])
        self.free = ~both[people]
        bits = np.frexp(np.bincount(people))[1].astype(np.int64)
        alike, place = sites[first] * (bits.max() + 1) + bits, sites[first]
        self.parts = self._split(alike, ~both)
        if sum(_ways(self.own[part]) for part in self.parts) < np.log(ARRANGEMENTS):
            self.parts = self._split(place, ~both)
        self.mixed = [np.flatnonzero(people == person) for person in np.flatnonzero(both)]

    @staticmethod
    def _split(kinds: Ints, free: NDArray[np.bool_]) -> list[Ints]:
        """Places of the free patients of each kind (patients,)."""
        return [np.flatnonzero((kinds == kind) & free) for kind in np.unique(kinds)]

    def draw(self, count: int, random: np.random.Generator) -> Ints:
        """Labels (count, scans)."""
        new = np.tile(self.own, (count, 1))
        for part in self.parts:
            new[:, part] = random.permuted(new[:, part], axis=1)
        labels = np.where(self.free, new[:, self.people], self.labels)
        for scans in self.mixed:
            labels[:, scans] = random.permuted(labels[:, scans], axis=1)
        return labels


def _ways(labels: Ints) -> float:
    """Logarithm of the number of ways to order these labels (patients,)."""
    return math.log(math.comb(labels.size, int(labels.sum())))


class _Ranks:
    """Mid-ranks of every check's scores within each site, from which any labels' AUCs are a product of matrices."""

    def __init__(self, sites: Ints, scores: Floats) -> None:
        from scipy.stats import rankdata  # noqa: PLC0415 - takes half a second to import

        self.parts = [np.flatnonzero(sites == site) for site in np.unique(sites)]
        self.ranks = [rankdata(scores[:, part], axis=1) for part in self.parts]
        self.checks = len(scores)

    def auc(self, labels: Ints) -> Floats:
        """AUC over pairs of one site, sites weighted as `auc_within_sites` (rows, checks); NaN without a pair."""
        total, weights = np.zeros((len(labels), self.checks)), np.zeros((len(labels), 1))
        for part, ranks in zip(self.parts, self.ranks, strict=True):
            own = labels[:, part].astype(np.float64)
            positives = own.sum(axis=1, keepdims=True)
            pairs = positives * (part.size - positives)
            area = (own @ ranks.T - positives * (positives + 1) / 2) / np.maximum(pairs, 1)
            total += pairs / part.size * area
            weights += pairs / part.size
        with np.errstate(invalid="ignore"):
            found: Floats = total / weights
        return found


def _goodness(labels: Ints, scores: Floats, aucs: Floats, criterion: Criterion, *, balanced: bool) -> Floats:
    """Of every check under every labelling (rows, checks); higher is better."""
    if criterion == "auc":
        return aucs
    positive, negative = labels.astype(np.float64), 1.0 - labels
    if criterion == "accuracy":
        called = (scores > 0.5).astype(np.float64)
        right: Floats = positive @ called.T + negative @ (1 - called).T
        return right
    inside = scores.clip(EDGE, 1 - EDGE)
    parts: list[NDArray[np.float64]] = [positive @ np.log(inside).T, negative @ np.log(1 - inside).T]
    if not balanced:
        return parts[0] + parts[1]
    counts = (positive.sum(axis=1, keepdims=True), negative.sum(axis=1, keepdims=True))
    return parts[0] / np.maximum(counts[0], 1) + parts[1] / np.maximum(counts[1], 1)


def _best(goodness: Floats, *, first: bool) -> Ints:
    """Place of the best check of each row: of equals the first, or the last."""
    rounded = goodness.round(12)
    if first:
        return rounded.argmax(axis=1)
    last: Ints = rounded.shape[1] - 1 - rounded[:, ::-1].argmax(axis=1)
    return last

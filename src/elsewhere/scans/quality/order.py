"""A small picture of a scan in; slices that are repeated, out of order or missing out.

Neighbouring slices are alike: in a scan in order, each slice's nearest other slice is one of its two neighbours. A
slice that is much nearer to one far away stands in the wrong place; a jump that no other slice would fill is a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.quality.shrunk import Array, Shrunk

Floats = NDArray[np.float64]
Kind = Literal["repeated", "permuted", "missing"]

FEWEST = 6
"""Fewer slices have no order to speak of."""

REPEATED = 1e-3
"""Slices nearer than this share of the usual distance of neighbours are the same picture."""

BREAK, GAP, ELSEWHERE = 1.5, 1.9, 0.67
"""Measured (docs, forensics tables): a step of `BREAK` times the nearest distances starts a new run of slices; a run's
end belongs elsewhere when another run is nearer than `ELSEWHERE` of that step; a step of `GAP` is a gap."""

DETAIL = 0.02
"""Slices with less spread than this (share of the step from air to tissue) show nothing."""


@dataclass(frozen=True)
class OrderFault:
    """One fault of a scan's slice order.

    Attributes:
        kind: "repeated", "permuted" or "missing".
        slices: the slices at fault, from 0; for a gap, the slice before it.
        strength: steps in units of what is usual there (0 for repeated ones).
    """

    kind: Kind
    slices: tuple[int, ...]
    strength: float

    def __str__(self) -> str:
        named = ", ".join(str(i) for i in self.slices[:8]) + (", …" if len(self.slices) > 8 else "")
        words = {"repeated": "repeated", "permuted": "out of order at", "missing": "missing after"}
        return f"slices {words[self.kind]} {named}"


def find_order_faults(small: Shrunk) -> list[OrderFault]:
    """Faults of the slice order; slices that show nothing (black, air) are left aside."""
    pictures = _pictures(small)
    shown = np.flatnonzero(pictures.std(axis=1) >= DETAIL)
    if len(shown) < FEWEST:
        return []
    distance = _distances(pictures[shown])
    found, kept = _repeated(distance)
    faults = [OrderFault("repeated", tuple(int(i) for i in shown[found]), 0.0)] if len(found) else []
    if len(kept) >= FEWEST:
        faults += _jumps(distance[np.ix_(kept, kept)], shown[kept])
    return faults


def _pictures(small: Shrunk) -> Array:
    """Slices as rows of numbers, 0 air .. 1 tissue, half as fine as the small picture."""
    levels = small.levels
    values = np.clip((small.values - levels.dark) / max(levels.bright - levels.dark, 1e-6), -0.5, 1.5)
    rows, columns = (max(1, n // 2) for n in values.shape[1:])
    if min(values.shape[1:]) >= 2:
        values = values[:, : 2 * rows, : 2 * columns].reshape(-1, rows, 2, columns, 2).mean(axis=(2, 4))
    return values.reshape(len(values), -1)


def _distances(pictures: Array) -> Floats:
    """Root mean square differences of all pairs, infinite on the diagonal."""
    exact = pictures.astype(np.float64)
    squares = (exact**2).sum(axis=1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares - 2 * exact @ exact.T, 0) / exact.shape[1])
    np.fill_diagonal(distance, np.inf)
    return distance


def _repeated(distance: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(slices that repeat an earlier one, the others)."""
    usual = np.median(distance.min(axis=1))
    again = (np.tril(distance < max(REPEATED * usual, 1e-6))).any(axis=1)
    if usual == 0:  # most slices are repeated: the others tell what is usual
        again = np.tril(distance == 0).any(axis=1)
    return np.flatnonzero(again), np.flatnonzero(~again)


def _jumps(distance: Floats, numbers: NDArray[np.int64]) -> list[OrderFault]:
    nearest = distance.min(axis=1)
    steps = np.diagonal(distance, 1) / np.maximum(np.maximum(nearest[:-1], nearest[1:]), 1e-9)
    run = np.concatenate([[0], np.cumsum(steps > BREAK)])
    misplaced = [i for i in range(len(distance)) if _belongs_elsewhere(i, distance, run, nearest)]
    if misplaced:
        worst = max(float(steps[max(0, i - 1) : i + 1].max()) for i in misplaced)
        return [OrderFault("permuted", tuple(int(numbers[i]) for i in misplaced), round(worst, 2))]
    gaps = np.flatnonzero(steps > GAP)
    if len(gaps):
        return [OrderFault("missing", tuple(int(numbers[i]) for i in gaps), round(float(steps[gaps].max()), 2))]
    return []


def _belongs_elsewhere(i: int, distance: Floats, run: NDArray[np.int64], nearest: Floats) -> bool:
    """Whether a slice at the end of a run is much nearer to another run than to the one that follows it here."""
    last = len(distance) - 1
    for partner in (i - 1, i + 1):
        outside = partner < 0 or partner > last
        if not outside and run[partner] == run[i]:
            continue
        others = distance[i][run != run[i]]
        if not len(others):
            continue
        step = 2 * np.median(nearest[max(0, i - 4) : i + 5]) if outside else distance[i, partner]
        if others.min() < ELSEWHERE * step:
            return True
    return False

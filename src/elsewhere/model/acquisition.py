"""Stored slices of a scan in; the same as another scanner or protocol might have made them out, to train on.

The shifts are those of `elsewhere stress` (`scans.shifts`), of random kind and dose. They act on the prepared volume,
since that is what a training reads: a network meets the changed pixels, but not another crop by changed lungs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.model.sample import Case
from elsewhere.scans.shifts import LADDERS, Shift, apply_shift, obstacle, plan_shift
from elsewhere.scans.volume import Spacing, Units, Volume

KINDS = ("blur", "sharpen", "noise", "thickness", "window", "narrow", "wide")
"""Kernel (two), noise, slice thickness, window of 8 bits, and field of view (two)."""

ACQUISITION = 4  # what a random number is for, beside those of sample.py and features.py


@dataclass(frozen=True)
class Grid:
    """What a prepared volume's numbers and voxels mean; as in `Volume`."""

    units: Units
    offset: float | None
    spacing: Spacing | None

    def volume(self, voxels: NDArray[Any]) -> Volume:
        """Voxels, int16 or uint8 [slice, row, column], on it."""
        return Volume(voxels, self.units, self.spacing, self.offset)


GridOf = Callable[[Case], Grid]


def draw_shift(rng: np.random.Generator, grid: Grid, share: float, strength: float) -> Shift | None:
    """With probability `share` a shift that this scan can have; its dose from the usual range times `strength`.

    The range is that between the lowest and the highest usual dose of `elsewhere stress`.
    """
    coin, place, within = rng.random(3)
    if coin >= share:
        return None
    sample = grid.volume(np.zeros((1, 1, 1), np.uint8 if grid.units == "relative" else np.int16))
    known = [name for name in KINDS if not obstacle(sample, plan_shift(name, LADDERS[name].doses[0]))]
    name = known[int(place * len(known))]
    low, high = LADDERS[name].doses[0], LADDERS[name].doses[-1]
    return plan_shift(name, min((low + within * (high - low)) * strength, LADDERS[name].largest))


class Acquire:
    """Changes stored slices as `draw_shift` says: a function of (seed, draw, scan).

    Args:
        share: of the draws that are changed.
        strength: factor on the doses.
        grid_of: what a scan's stored numbers mean.
        seed: of kind, dose and noise.
    """

    def __init__(self, share: float, strength: float, grid_of: GridOf, seed: int) -> None:
        self._share, self._strength, self._grid_of, self._seed = share, strength, grid_of, seed

    def __call__(self, draw: int, case: Case, voxels: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int]]:
        """Slices [slice, row, column] as changed, of the same type, and the volume's minimum and maximum then.

        They do not leave the volume's own range, which normalisation knows; cut to a window it is narrower.
        """
        ends, grid = (case.minimum, case.maximum), self._grid_of(case)
        rng = np.random.default_rng([self._seed, draw, ACQUISITION])
        shift = draw_shift(rng, grid, self._share, self._strength)
        if shift is None:
            return voxels, ends
        if shift.name == "window":
            cut = apply_shift(grid.volume(np.array([[ends]], voxels.dtype)), shift).voxels
            ends = int(cut[0, 0, 0]), int(cut[0, 0, 1])
        changed = apply_shift(grid.volume(np.ascontiguousarray(voxels)), shift, (self._seed, draw)).voxels
        return np.clip(changed, *ends), ends

"""A map's size in, DropBlock's corners out, as `dropblock.draw_blocks` draws them but without a map of voxels."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.model.dropblock import bernoulli_positions, plan_blocks


@dataclass(frozen=True)
class Blocks:
    """The dropped blocks of one sample's maps.

    Attributes:
        corners: first voxels, ascending, as indices into (channel, slice, row, column) of where whole blocks fit.
        shape: of the maps, (channel, slice, row, column).
        block: edges of a block, (slice, row, column).
    """

    corners: Tensor
    shape: tuple[int, ...]
    block: tuple[int, ...]

    @classmethod
    def draw(cls, shape: Sequence[int], share: float, size: int) -> Blocks:
        """What `draw_blocks` draws from torch's random state for the same arguments."""
        block, grid, chance = plan_blocks(shape[1:], share, size)
        return cls(bernoulli_positions(shape[0] * math.prod(grid), chance, None), tuple(shape), block)

    @property
    def grid(self) -> tuple[int, ...]:
        """Places where a block may start, (channel, slice, row, column)."""
        return self.shape[0], *(edge - b + 1 for edge, b in zip(self.shape[1:], self.block, strict=True))

    @functools.cached_property
    def lines(self) -> tuple[Tensor, Tensor]:
        """The corners by line of the grid: where each line's begin, int32 (lines + 1,), and their columns, int32."""
        lines, columns = math.prod(self.grid[:3]), self.grid[3]
        begins = torch.searchsorted(self.corners, torch.arange(lines + 1) * columns)
        return begins.to(torch.int32), (self.corners % columns).to(torch.int32)

    def mask(self, first: int, last: int) -> Tensor:
        """Which voxels of slices first:last are dropped: bool (channel, slice, row, column)."""
        dropped = torch.zeros(self.shape[0], last - first, *self.shape[2:], dtype=torch.bool)
        channel, slice_, row, column = torch.unravel_index(self.corners, self.grid)
        depth, height, width = self.block
        for i in range(depth):
            inside = (slice_ + i >= first) & (slice_ + i < last)
            at = [part[inside] for part in (channel, slice_ + i - first, row, column)]
            for j in range(height):
                for k in range(width):
                    dropped[at[0], at[1], at[2] + j, at[3] + k] = True
        return dropped

    def count(self) -> int:
        """Dropped voxels."""
        slices = self.shape[1]
        return sum(int(self.mask(first, min(first + 8, slices)).sum()) for first in range(0, slices, 8))

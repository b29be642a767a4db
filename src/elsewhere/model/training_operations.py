"""Maps and weights of a level of 3×3×3 convolutions in, what one training step needs of it out, in torch operations.

The reference of `training_kernel.py`, for machines without a compiler and for other dtypes. Every operation works on a
run of slices of maps of which only some slices are held; what is not held counts as 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv3d_weight

from elsewhere.model.dropped_blocks import Blocks

TOUCHED, NOTHING = 64, 128
"""Marks of a pool that DropBlock reached, and of one of which it kept nothing, beside the place of its maximum."""

Size = tuple[int, int, int]
Run = tuple[int, int]
"""First slice, and the one after the last."""

Line = tuple[Tensor, Tensor, Tensor]
"""Gain, base and slope, (sample, channel) each."""

Pooled = tuple[Tensor, Tensor]
"""All slices of pooled maps, or of their gradients, and of their places and marks, uint8."""


@dataclass(frozen=True)
class Maps:
    """Slices of maps, and how they are read.

    Attributes:
        data: (sample, channel, slice, row, column), contiguous.
        origin: number of the first slice held.
        scale: (sample, channel), multiplied on reading; None: as it is.
        shift: (sample, channel), added on reading.
        blocks: one sample's each, read as 0; None: nothing dropped.
        step: read 1 where a value is above 0, else 0.
    """

    data: Tensor
    origin: int = 0
    scale: Tensor | None = None
    shift: Tensor | None = None
    blocks: tuple[Blocks, ...] | None = None
    step: bool = False

    def held(self, first: int, last: int) -> Tensor:
        """Slices first:last, all of them held, as stored: a view."""
        return self.data[:, :, first - self.origin : last - self.origin]

    def read(self, first: int, last: int) -> Tensor:
        """Slices first:last as they are read."""
        begin, end = max(first, self.origin), min(last, self.origin + self.data.shape[2])
        maps = self.held(begin, end)
        if self.step:
            maps = (maps > 0).to(maps.dtype)
        if self.scale is not None and self.shift is not None:
            maps = maps * _spread(self.scale, maps) + _spread(self.shift, maps)
        if self.blocks is not None:
            maps = maps.masked_fill(self.dropped(begin, end), 0)
        return F.pad(maps, (0, 0, 0, 0, begin - first, last - end))

    def dropped(self, first: int, last: int) -> Tensor:
        """Which voxels of slices first:last are dropped."""
        assert self.blocks is not None
        return torch.stack([blocks.mask(first, last) for blocks in self.blocks])


def convolve(maps: Maps, weights: Tensor, bias: Tensor | None, run: Run, out: Maps, *, rectify: bool) -> Tensor:
    """Fill a run of slices of `out`; their sums and sums of squares in float64, (sample, filter, 2)."""
    first, last = run
    result = F.conv3d(maps.read(first - 1, last + 1), weights, bias, padding=(0, 1, 1))
    target = out.held(first, last)
    target.copy_(result.relu_() if rectify else result)
    exact = target.double().flatten(2)
    return torch.stack([exact.sum(2), exact.square().sum(2)], 2)


def weigh(maps: Maps, gradients: Maps, run: Run) -> Tensor:
    """Gradient of the weights between `maps` and a run of `gradients`: float64 (filter, channel, 3, 3, 3)."""
    first, last = run
    given = gradients.read(first, last)
    shape = given.shape[1], maps.data.shape[1], 3, 3, 3
    return conv3d_weight(maps.read(first - 1, last + 1), shape, given, padding=(0, 1, 1)).double()


def pool(maps: Maps, run: Run, size: Size, sign: Tensor, pooled: Pooled) -> None:
    """Fill slices of `pooled` with the largest of sign · map over pools, dropped voxels passed over, and its place."""
    (first, last), (best, index) = run, pooled
    values = maps.held(first, last) * sign[:, None, None, None]
    dropped = maps.dropped(first, last) if maps.blocks is not None else torch.zeros_like(values, dtype=torch.bool)
    pools, gone = _pools(values, size), _pools(dropped, size)
    most, place = pools.masked_fill_(gone, -torch.inf).max(-1)
    code = place.to(torch.uint8) + TOUCHED * gone.any(-1).to(torch.uint8)
    nothing = gone.all(-1)
    within = slice(first // size[0], last // size[0])
    best[:, :, within] = most.masked_fill_(nothing, 0)
    index[:, :, within] = code.masked_fill_(nothing, TOUCHED + NOTHING)


def unpool(maps: Maps, run: Run, size: Size, pooled: Pooled, line: Line) -> Tensor:
    """Replace a run of maps after a ReLU by the gradient before it; `pooled` holds that of the pools.

    Where a map is above 0 that is base + slope · map, and gain · gradient at its pool's place; elsewhere 0.

    Returns:
        Its sums in float64, (slice, sample, filter).
    """
    (first, last), (gradients, index) = run, pooled
    target = maps.held(first, last)
    gain, base, slope = (_spread(part, target) for part in line)
    within = slice(first // size[0], -(-last // size[0]))
    places = (index[:, :, within] & ~TOUCHED & 0xFF)[..., None] == torch.arange(size[0] * size[1] * size[2])
    spread = _unpools((gradients[:, :, within] * gain)[..., None] * places, size)
    spread = spread[:, :, first % size[0] :][:, :, : last - first]
    target.copy_(torch.where(target > 0, base + slope * target + spread, 0))
    return target.double().sum((3, 4)).permute(2, 0, 1)


def gate(gradients: Maps, maps: Maps, run: Run, kept: Tensor, line: Line | None) -> Tensor:
    """Replace a run of gradients by kept · gradient, 0 where dropped, and then by what passes a ReLU.

    The latter, with a line (gain, base, slope): gain · gradient + base + slope · map where the map is above 0, else 0.

    Returns:
        Sums in float64, (sample, channel, 4): of kept · gradient, of that · map, of what leaves, of maps above 0.
    """
    first, last = run
    values = gradients.read(first, last) * kept[:, None, None, None, None]
    map_, target = maps.held(first, last), gradients.held(first, last)
    target.copy_(values)
    if line:
        gain, base, slope = (_spread(part, target) for part in line)
        target.copy_(torch.where(map_ > 0, gain * values + base + slope * map_, 0))
    parts = values, values * map_, target, map_ > 0
    return torch.stack([part.double().sum((2, 3, 4)) for part in parts], 2)


def _spread(values: Tensor, maps: Tensor) -> Tensor:
    return values.to(maps.dtype)[:, :, None, None, None]


def _pools(maps: Tensor, size: Size) -> Tensor:
    """(…, slice, row, column) → (…, pool, pool, pool, place)."""
    edges = [n for edge, by in zip(maps.shape[2:], size, strict=True) for n in (edge // by, by)]
    return maps.reshape(*maps.shape[:2], *edges).permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5)


def _unpools(pools: Tensor, size: Size) -> Tensor:
    apart = pools.unflatten(5, size).permute(0, 1, 2, 5, 3, 6, 4, 7)
    return apart.reshape(*pools.shape[:2], *(edge * by for edge, by in zip(pools.shape[2:5], size, strict=True)))

"""Feature maps in, the same with random blocks of voxels set to zero out (DropBlock in three dimensions)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

VOXELS_AT_ONCE = 1 << 22  # indices painted per call: bounds the memory of a full-size level to 32 MB


class DropBlock(nn.Module):
    """DropBlock (Ghiasi, Lin and Le, NeurIPS 2018, algorithm 1), here with boxes of voxels, each channel its own.

    Every position at which a whole block fits starts one with probability γ, chosen so that about `share` of the
    voxels are dropped: γ = share · Π map / (Π block · Π (map − block + 1)). What is kept is scaled by
    voxels / kept voxels, sample by sample. Does nothing in evaluation mode.

    Args:
        share: share of voxels to drop; 0 switches it off.
        size: edge of a block in voxels; clipped to the map on each axis.
    """

    def __init__(self, share: float, size: int) -> None:
        super().__init__()
        self.share, self.size = share, size

    def forward(self, maps: Tensor) -> Tensor:
        """Drop blocks of (batch, channel, slice, row, column), in place."""
        if not self.training or self.share == 0:
            return maps
        dropped = torch.stack([draw_blocks(one.shape, self.share, self.size, maps.device) for one in maps])
        kept = 1 - dropped.flatten(1).sum(1, dtype=torch.float64) / dropped[0].numel()
        scale = torch.where(kept > 0, 1 / kept, 0.0).to(maps.dtype)
        return _Drop.apply(maps, dropped, scale.view(-1, 1, 1, 1, 1))

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"share={self.share}, size={self.size}"


def draw_blocks(shape: tuple[int, ...], share: float, size: int, device: torch.device | None = None) -> Tensor:
    """Where one sample is dropped: bool (channel, slice, row, column), from torch's current random state.

    Only the few block corners are drawn (the gaps of a Bernoulli process are geometric), which is exactly the
    article's Bernoulli map at a small part of its cost.
    """
    channels, *map_size = shape
    block, grid, gamma = plan_blocks(map_size, share, size)
    starts = [channels, *grid]
    positions = bernoulli_positions if device is None or device.type == "cpu" else _positions_unasked
    corners = positions(math.prod(starts), gamma, device)
    strides = [math.prod(shape[axis + 1 :]) for axis in range(4)]
    first = sum(part * stride for part, stride in zip(_unravel(corners, starts), strides, strict=True))
    inside = sum(
        torch.arange(edge, device=device).view([-1 if axis == a else 1 for a in range(3)]) * strides[axis + 1]
        for axis, edge in enumerate(block)
    )
    assert isinstance(first, Tensor)
    assert isinstance(inside, Tensor)
    beyond = 1 + sum((edge - 1) * stride for edge, stride in zip(block, strides[1:], strict=True))
    dropped = torch.zeros(math.prod(shape) + beyond, dtype=torch.bool, device=device)
    for some in first.split(max(1, VOXELS_AT_ONCE // inside.numel())):
        dropped.index_fill_(0, (some[:, None] + inside.flatten()).flatten(), True)
    return dropped[: math.prod(shape)].view(shape)


def plan_blocks(shape: Sequence[int], share: float, size: int) -> tuple[tuple[int, ...], tuple[int, ...], float]:
    """Edges of a block, places where one may start, and the chance γ that one does; `shape` is (slice, row, column)."""
    block = tuple(min(size, edge) for edge in shape)
    grid = tuple(edge - b + 1 for edge, b in zip(shape, block, strict=True))
    return block, grid, share * math.prod(shape) / (math.prod(block) * math.prod(grid))


def bernoulli_positions(trials: int, chance: float, device: torch.device | None) -> Tensor:
    """Positions of the successes among independent trials, ascending."""
    expected = trials * chance
    found = torch.full((1,), -1, dtype=torch.int64, device=device)
    while found[-1] < trials:
        gaps = torch.empty(math.ceil(expected + 5 * math.sqrt(expected) + 5), dtype=torch.float64, device=device)
        found = torch.cat([found, found[-1] + gaps.geometric_(chance).to(torch.int64).cumsum(0)])
    return found[(found >= 0) & (found < trials)]


def _positions_unasked(trials: int, chance: float, device: torch.device | None) -> Tensor:
    """The same without asking a card for a value, which would empty its queue; `trials` stands for "none".

    So many gaps that they fall short of the last trial less often than once in 10^20 maps.
    """
    expected = trials * chance
    gaps = torch.empty(math.ceil(expected + 10 * math.sqrt(expected) + 20), dtype=torch.float64, device=device)
    return (gaps.geometric_(chance).to(torch.int64).cumsum(0) - 1).clamp_(max=trials)


def _unravel(positions: Tensor, shape: list[int]) -> list[Tensor]:
    parts = []
    for edge in reversed(shape):
        parts.append(positions % edge)
        positions = positions // edge
    return parts[::-1]


class _Drop(torch.autograd.Function):
    """Zero and scale in place: GroupNorm before it needs its input, not this output, to go backwards."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, dropped: Tensor, scale: Tensor) -> Tensor:
        ctx.mark_dirty(maps)
        ctx.save_for_backward(dropped, scale)
        return maps.mul_(scale).masked_fill_(dropped, 0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override, unused-ignore]
        dropped, scale = ctx.saved_tensors
        return (gradient * scale).masked_fill_(dropped, 0), None, None

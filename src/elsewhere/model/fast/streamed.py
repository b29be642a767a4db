"""Stored voxels of one window and level 1's weights in, level 1's pooled output out, streamed in torch operations.

The same slabs as the compiled kernel, so the same memory, for machines without a compiler and for other dtypes; the
time is about that of the plain module.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from elsewhere.model.fast.kernel import FILTERS, POOL, Level1, Window

Block = tuple[int, int]
"""First slice and first row of POOL slices and ROWS rows of the window."""

ROWS = 64  # output rows at once: some 15 MB for each array of 8 filters, 6 slices, 512 columns


def level1(parameters: Level1, window: Window, dtype: torch.dtype = torch.float32) -> Tensor:
    """Level 1 of one window, pooled and normalised: [filter, slice, row, column], a quarter of each axis."""
    rows, columns = window.voxels.shape[1:]
    size = (window.length // POOL, rows // POOL, columns // POOL)
    voxels = window.length * rows * columns
    sums = [_sums(_first(parameters, window, at, margin=0, dtype=dtype)) for at in _blocks(window)]
    norm = _affine(parameters, 0, sums, voxels, dtype)
    sign = torch.from_numpy(np.where(parameters.scales[1] < 0, -1, 1)).to(dtype)[:, None, None, None]
    out = torch.empty(FILTERS, *size, dtype=dtype)
    sums = []
    for at in _blocks(window):
        y = _second(parameters, window, at, norm=norm, dtype=dtype)
        sums.append(_sums(y))
        pooled = F.max_pool3d(y.mul_(sign), POOL)
        corner = out[:, at[0] // POOL :, at[1] // POOL :]
        corner[:, : pooled.shape[1], : pooled.shape[2]] = pooled
    scale, shift = _affine(parameters, 1, sums, voxels, dtype)
    return out.mul_(scale * sign).add_(shift)


def _blocks(window: Window) -> Iterator[Block]:
    rows = window.voxels.shape[1]
    return ((slice_, row) for slice_ in range(0, window.length, POOL) for row in range(0, rows, ROWS))


def _first(parameters: Level1, window: Window, at: Block, *, margin: int, dtype: torch.dtype) -> Tensor:
    """The rectified first convolution of one block and `margin` voxels more on each side, outside ones included."""
    slice_, row = at
    last = min(row + ROWS, window.voxels.shape[1])
    x = window.normalise(slice_ - margin - 1, slice_ + POOL + margin + 1, dtype)
    x = F.pad(x, (margin + 1,) * 4)[:, row : last + 2 * (margin + 1)]
    weights, bias = (torch.from_numpy(a).to(dtype) for a in (parameters.weights[0], parameters.biases[0]))
    return F.conv3d(x[None], weights, bias).relu_()


def _second(
    parameters: Level1, window: Window, at: Block, *, norm: tuple[Tensor, Tensor], dtype: torch.dtype
) -> Tensor:
    h = _first(parameters, window, at, margin=1, dtype=dtype).mul_(norm[0]).add_(norm[1])
    slice_, row = at
    ends = (slice_, window.length - slice_), (row, window.voxels.shape[1] - row), (0, window.voxels.shape[2])
    for axis, (before, after) in enumerate(ends, start=1):  # padding comes after the norm
        if before == 0:
            h.narrow(axis, 0, 1).zero_()
        if after + 2 <= h.shape[axis]:
            h.narrow(axis, h.shape[axis] - 1, 1).zero_()
    weights, bias = (torch.from_numpy(a).to(dtype) for a in (parameters.weights[1], parameters.biases[1]))
    return F.conv3d(h, weights, bias).relu_()


def _sums(y: Tensor) -> Tensor:
    flat = y.flatten(1).double()
    return torch.stack([flat.sum(1), flat.square().sum(1)], dim=1)


def _affine(
    parameters: Level1, layer: int, sums: list[Tensor], voxels: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    total: NDArray[np.float64] = torch.stack(sums).numpy()
    scale, shift = (torch.from_numpy(a).to(dtype) for a in parameters.affine(layer, total, voxels))
    return scale[:, None, None, None], shift[:, None, None, None]

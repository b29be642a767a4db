"""Stored voxels of one window and level 1's weights in, level 1's pooled output out, streamed in torch operations.

Slabs as in the compiled kernel, so little memory, for machines without a compiler and for other dtypes; the time is
about that of the plain module.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from elsewhere.model.level1_prediction import FILTERS, POOL, Level1, Window

Block = tuple[int, int, int]
"""First slice, first row and rows of POOL slices of the window."""

ROWS = 64  # at most, in one block: 8 filters of 6 slices and 512 columns are 7 MB


def level1(parameters: Level1, window: Window, dtype: torch.dtype = torch.float32) -> Tensor:
    """Level 1 of one window, pooled and normalised: [filter, slice, row, column], a quarter of each axis."""
    rows, columns = window.voxels.shape[1:]
    voxels = window.length * rows * columns
    sums = torch.stack([_sums(_first(parameters, window, at, margin=0, dtype=dtype)) for at in _blocks(window)])
    norm = _affine(parameters, 0, sums, voxels, dtype)
    sign = torch.from_numpy(np.where(parameters.scales[1] < 0, -1, 1)).to(dtype)[:, None, None, None]
    out = torch.empty(FILTERS, window.length // POOL, rows // POOL, columns // POOL, dtype=dtype)
    sums.zero_()
    for index, at in enumerate(_blocks(window)):
        y = _second(parameters, window, at, norm=norm, dtype=dtype)
        sums[index] = _sums(y)
        pooled = F.max_pool3d(y.mul_(sign), POOL)[:, :, 0].transpose(0, 1).flatten(1, 2)
        out[:, at[0] // POOL, at[1] // POOL :][:, : pooled.shape[1]] = pooled
    scale, shift = _affine(parameters, 1, sums, voxels, dtype)
    return out.mul_(scale * sign).add_(shift)


def _blocks(window: Window) -> Iterator[Block]:
    rows = window.voxels.shape[1]
    for slice_ in range(0, window.length, POOL):
        yield from ((slice_, row, min(ROWS, rows - row)) for row in range(0, rows, ROWS))


def _first(parameters: Level1, window: Window, at: Block, *, margin: int, dtype: torch.dtype) -> Tensor:
    """The rectified first convolution of a block and `margin` voxels around it, those outside the window included.

    The rows come as two halves of a batch, (half, filter, slice, row, column): torch sends a single small input
    to its slow convolution.
    """
    slice_, row, rows = at
    edge = margin + 1
    x = F.pad(window.normalise(slice_ - edge, slice_ + POOL + edge, dtype), (edge,) * 4)
    halves = 2 if rows % (2 * POOL) == 0 else 1
    x = x[:, row : row + rows + 2 * edge].unfold(1, rows // halves + 2 * edge, rows // halves)
    weights, bias = (torch.from_numpy(a).to(dtype) for a in (parameters.weights[0], parameters.biases[0]))
    return F.conv3d(x.permute(1, 0, 3, 2)[:, None], weights, bias).relu_()


def _second(
    parameters: Level1, window: Window, at: Block, *, norm: tuple[Tensor, Tensor], dtype: torch.dtype
) -> Tensor:
    h = _first(parameters, window, at, margin=1, dtype=dtype).mul_(norm[0]).add_(norm[1])
    slice_, row, rows = at
    padding = (
        (slice_ == 0, h[:, :, 0]),
        (slice_ + POOL == window.length, h[:, :, -1]),
        (row == 0, h[0, :, :, 0]),
        (row + rows == window.voxels.shape[1], h[-1, :, :, -1]),
        (True, h[..., 0]),
        (True, h[..., -1]),
    )
    for outside, face in padding:  # it comes after the norm
        if outside:
            face.zero_()
    weights, bias = (torch.from_numpy(a).to(dtype) for a in (parameters.weights[1], parameters.biases[1]))
    return F.conv3d(h, weights, bias).relu_()


def _sums(y: Tensor) -> Tensor:
    flat = y.transpose(0, 1).flatten(1).double()
    return torch.stack([flat.sum(1), flat.square_().sum(1)], dim=1)


def _affine(parameters: Level1, layer: int, sums: Tensor, voxels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    scale, shift = (torch.from_numpy(a).to(dtype) for a in parameters.affine(layer, sums.numpy(), voxels))
    return scale[:, None, None, None], shift[:, None, None, None]

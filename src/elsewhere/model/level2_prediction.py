"""Level 1's pooled maps and level 2's weights in, level 2's pooled maps out, through the compiled kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elsewhere.errors import BadKernelCall
from elsewhere.model.dropblock import DropBlock
from elsewhere.model.kernels import abi
from elsewhere.model.kernels.library import REPORT, address, kernels, lanes, require
from elsewhere.model.level1_prediction import LANES
from elsewhere.model.network import Network, NetworkSettings, max_pool

KERNEL, POOL, BLOCK = (5, 5, 5), (2, 4, 4), 8
"""What the kernel is built for: the paper's level 2, filters in blocks of 8."""


def fits(settings: NetworkSettings) -> bool:
    """Whether level 2 is the paper's, on maps of whole pools and whole vectors."""
    if len(settings.filters) < 2 or settings.kernels[1] != KERNEL or settings.pools[1:2] != (POOL,):
        return False
    slices, rows, columns = settings.map_sizes[1]
    return (
        slices % POOL[0]
        == rows % POOL[1]
        == columns % LANES
        == settings.filters[1] % BLOCK
        == settings.filters[0] % 2
        == 0
    )


def level2(network: Network, maps: NDArray[np.float32], *, fast: bool = False) -> Tensor:
    """Level 2, pooled: (1, filter, slice, row, column) of maps [channel, slice, row, column].

    In training mode DropBlock drops, drawing from torch's random state what `network` draws. The same bytes for any
    number of threads.
    """
    level = network.levels[1]
    conv1, conv2 = (module for module in level.modules() if isinstance(module, nn.Conv3d))
    norm1, norm2 = (module for module in level.modules() if isinstance(module, nn.GroupNorm))
    (channels, *size), filters = maps.shape, conv1.out_channels
    drops = network.training and network.settings.dropblock > 0
    identity = np.ones(channels), np.zeros(channels)
    hidden = np.empty((filters, *size), np.float32)
    sums = _convolve(conv1, maps, identity, np.ones(filters), hidden, fast=fast)
    norm = _affine(norm1, sums, size)
    if drops:
        _drop(level, hidden, norm)
        norm = np.ones(filters), np.zeros(filters)
    sign = np.where(norm2.weight.detach().numpy() < 0, -1.0, 1.0)
    pooled = tuple(edge // by for edge, by in zip(size, POOL, strict=True))
    out = np.empty((filters, *(size if drops else pooled)), np.float32)
    norm = _affine(norm2, _convolve(conv2, hidden, norm, sign, out, fast=fast), size)
    if drops:
        return max_pool(_drop(level, out, norm), POOL)
    scale, shift = (torch.from_numpy(a).float().view(-1, 1, 1, 1) for a in norm)
    return torch.from_numpy(out).mul_(scale.abs()).add_(shift)[None]


def _drop(level: nn.Module, maps: NDArray[np.float32], norm: tuple[NDArray[Any], NDArray[Any]]) -> Tensor:
    """GroupNorm's affine and DropBlock, in place: (1, filter, slice, row, column)."""
    scale, shift = (torch.from_numpy(a).float().view(-1, 1, 1, 1) for a in norm)
    (drop,) = (module for module in level.modules() if isinstance(module, DropBlock))
    dropped: Tensor = drop(torch.from_numpy(maps).mul_(scale).add_(shift)[None])
    return dropped


def _affine(norm: nn.GroupNorm, sums: NDArray[np.float64], size: list[int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A GroupNorm as scale and shift per filter, from [slice, filter, (sum, sum of squares)] in float64."""
    voxels = np.prod(size) * norm.num_channels // norm.num_groups
    mean, square = sums.sum(axis=0).reshape(norm.num_groups, -1, 2).sum(axis=1).T / voxels
    rate = 1 / np.sqrt(np.maximum(square - mean**2, 0) + norm.eps)
    filters = norm.num_channels // norm.num_groups
    scale = norm.weight.detach().numpy() * np.repeat(rate, filters)
    return scale, norm.bias.detach().numpy() - np.repeat(mean, filters) * scale


def _convolve(
    conv: nn.Conv3d,
    maps: NDArray[np.float32],
    norm: tuple[NDArray[Any], NDArray[Any]],
    sign: NDArray[np.float64],
    out: NDArray[np.float32],
    *,
    fast: bool,
) -> NDArray[np.float64]:
    """One convolution of the normalised maps, rectified, into `out`, whole or pooled; its sums per slice."""
    filters, (channels, *size), single = conv.out_channels, maps.shape, np.float32
    if conv.bias is None:
        raise BadKernelCall("level 2", "has a convolution without a bias", REPORT)
    fits = size[0] % POOL[0] == size[1] % POOL[1] == size[2] % LANES == filters % BLOCK == channels % 2 == 0
    require(fits, "maps", f"{list(maps.shape)}, for {filters} filters, must be whole pools, vectors and blocks")
    weights, bias = (tensor.detach().contiguous().numpy() for tensor in (conv.weight, conv.bias))
    scale, shift, signs = (array.astype(single) for array in (*norm, sign))
    sums = np.zeros((size[0], filters, 2))
    pools = out.shape[1] != size[0]
    made = [edge // by for edge, by in zip(size, POOL, strict=True)] if pools else size
    layer = abi.Layer(
        address("maps", maps, single),
        *maps.shape,
        filters,
        address("scale", scale, single, (channels,)),
        address("shift", shift, single, (channels,)),
        address("weights", weights, single, (filters, channels, *KERNEL)),
        address("bias", bias, single, (filters,)),
        address("sign", signs, single, (filters,)),
        pools,
        address("out", out, single, (filters, *made), filled=True),
        address("sums", sums, np.float64, filled=True),
        *(lanes(fast=fast), torch.get_num_threads()),
    )
    if kernels().elsewhere_level2(layer):
        raise MemoryError("the level-2 kernel found no memory (under 1 MB a thread)")
    return sums

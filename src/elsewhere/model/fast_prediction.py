"""Stored voxels of one window in, features or logits out: the network with its first level fused and streamed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elsewhere.errors import BadKernelCall
from elsewhere.model import level1_prediction, level1_streamed, level2_prediction
from elsewhere.model.dropblock import bernoulli_positions, plan_blocks
from elsewhere.model.kernels.library import REPORT, library
from elsewhere.model.level1_prediction import FILTERS, MOST_WINDOWS, POOL, Level1, Window
from elsewhere.model.network import Network, NetworkSettings, max_pool
from elsewhere.model.network_settings import PAPER


def available() -> bool:
    """Whether the compiled kernel is there; without it the same results come from torch operations."""
    return library() is not None


def streams(settings: NetworkSettings) -> bool:
    """Whether level 1 is the paper's: 1 → 8 → 8 filters, 3×3×3, one GroupNorm group a filter, pooled 4×4×4."""
    if settings.kind != PAPER:
        return False
    level = (settings.filters[0], settings.groups, settings.kernels[0], settings.pools[:1])
    whole = all(edge % POOL == 0 for edge in settings.input)
    return whole and level == (FILTERS, FILTERS, (3, 3, 3), ((POOL, POOL, POOL),))


@torch.inference_mode()
def predict_logits(network: Network, window: Window, *, fast: bool = False) -> Tensor:
    """Logits (1, classes) of one window, as `network` gives them in evaluation mode but for rounding.

    `fast` multiplies in bfloat16 where the processor can: `fast_error` says what that costs.
    """
    return network.head(predict_trunk(network, window, fast=fast))


@torch.inference_mode()
def predict_trunk(network: Network, window: Window, *, fast: bool = False) -> Tensor:
    """The trunk's features (1, flat) of one window, as `network.trunk` gives them in evaluation mode."""
    return _rest(network, predict_level1(network, window, fast=fast), fast=fast)


def fast_error(network: Network, window: Window) -> float:
    """Largest change of a logit that the fast mode makes on this window, to be shown wherever it is used."""
    exact, fast = (predict_logits(network, window, fast=mode) for mode in (False, True))
    return float((exact - fast).abs().max())


@torch.inference_mode()
def predict_level1(network: Network, window: Window, *, fast: bool = False) -> Tensor:
    """Level 1's pooled maps (1, filters, slices, rows, columns), as `network.level1` gives them.

    Through the compiled kernel, through torch operations where it is missing or takes no such window, through the
    plain module where level 1 is not the paper's or lies on another device.
    """
    weight = network.last.weight
    if _compiled(network, window):
        return torch.from_numpy(level1_prediction.level1(read_level1(network), window, fast=fast))[None]
    if streams(network.settings) and weight.device.type == "cpu" and weight.dtype in {torch.float32, torch.float64}:
        return level1_streamed.level1(read_level1(network), window, weight.dtype)[None]
    return network.level1(_inputs(network, window))


def _rest(network: Network, maps: Tensor, *, fast: bool = False) -> Tensor:
    """`network.rest`, its second level through the compiled kernel where that is the paper's."""
    settings, plain = network.settings, maps.device.type == "cpu" and maps.dtype == torch.float32
    if not plain or not available() or not level2_prediction.fits(settings):
        return network.rest(maps)
    maps = level2_prediction.level2(network, maps[0].contiguous().numpy(), fast=fast)
    for level, pool in zip_longest(list(network.levels)[2:], settings.pools[2:]):
        maps = level(maps) if pool is None else max_pool(level(maps), pool)
    return maps.flatten(1)


@torch.inference_mode()
def predict_windows(
    network: Network, scan: Window, starts: Sequence[int], length: int, *, fast: bool = False
) -> list[Tensor]:
    """The trunk's features (1, flat) of several windows of one scan, each what `predict_trunk` gives but for rounding.

    Overlapping windows that lie whole pools of four slices apart share their convolutions exactly; the others are
    predicted one by one. At most eight windows' pooled maps (134 MB at full size) are held at once.

    Args:
        network: in evaluation mode.
        scan: the scan and its normalisation; its `length` is not read.
        starts: first slice of each window, counted from `scan.start`.
        length: slices of a window, the network's.
        fast: as in `predict_logits`; where windows share level 1, that is exact all the same.
    """
    features: dict[int, Tensor] = {}
    for run in share(starts, length):
        first, last = starts[run[0]], starts[run[-1]]
        union = replace(scan, start=scan.start + first, length=last - first + length)
        if len(run) > 1 and _compiled(network, union) and union.voxels.shape[2] > level1_prediction.LANES:
            maps = level1_prediction.level1_windows(
                read_level1(network), union, [starts[index] - first for index in run], length
            )
            features.update(
                (index, _rest(network, torch.from_numpy(maps[i][None]), fast=fast)) for i, index in enumerate(run)
            )
        else:
            for index in run:
                window = replace(scan, start=scan.start + starts[index], length=length)
                features[index] = predict_trunk(network, window, fast=fast)
    return [features[index] for index in range(len(starts))]


class TrunkPasses:
    """The trunk's features of one window in passes with DropBlock on; what does not depend on the blocks, once.

    Every call draws from torch's random state what `network.trunk` in training mode draws, so that the same seed
    gives the same blocks, and the plain network's features but for rounding.

    Args:
        network: in training mode.
        window: the window.
        fast: multiply in bfloat16 after level 1, where the processor can.
    """

    def __init__(self, network: Network, window: Window, *, fast: bool = False) -> None:
        self._network, self._fast = network, fast
        self._level1 = level1_prediction.Passes(read_level1(network), window) if _compiled(network, window) else None
        self._inputs = None if self._level1 else _inputs(network, window)

    @torch.inference_mode()
    def __call__(self) -> Tensor:
        """Features (1, flat) of one pass."""
        if self._level1 is None:
            assert self._inputs is not None
            return self._network.trunk(self._inputs)
        shape, settings = self._level1.shape, self._network.settings
        first, second = (_draw_drops(shape, settings.dropblock, settings.block) for _ in range(2))
        return _rest(self._network, torch.from_numpy(self._level1.level1((first, second)))[None], fast=self._fast)


def _draw_drops(shape: Sequence[int], share: float, size: int) -> level1_prediction.Drops:
    """Blocks as `dropblock.draw_blocks` draws them, without their map of 268 MB."""
    block, grid, gamma = plan_blocks(shape[1:], share, size)
    corners = bernoulli_positions(shape[0] * math.prod(grid), gamma, None) if share else torch.empty(0)
    return level1_prediction.Drops.of(corners.numpy().astype(np.int64), shape, block)


def share(starts: Sequence[int], length: int) -> list[list[int]]:
    """Which windows share a call: indices of `starts` in runs that overlap and lie whole pools apart."""
    runs: list[list[int]] = []
    for index in sorted(range(len(starts)), key=lambda i: (starts[i] % POOL, starts[i])):
        gap = starts[index] - starts[runs[-1][-1]] if runs else length
        if 0 < gap < length and gap % POOL == 0 and len(runs[-1]) < MOST_WINDOWS:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def _inputs(network: Network, window: Window) -> Tensor:
    return window.normalise(0, window.length).to(network.last.weight)[None, None]


def _compiled(network: Network, window: Window) -> bool:
    weight = network.last.weight
    usual = weight.device.type == "cpu" and weight.dtype == torch.float32
    return usual and streams(network.settings) and available() and level1_prediction.fits(window)


def read_level1(network: Network) -> Level1:
    """Level 1's weights, ready to be folded."""
    modules = list(network.levels[0].modules())
    conv1, conv2 = (module for module in modules if isinstance(module, nn.Conv3d))
    norm1, norm2 = (module for module in modules if isinstance(module, nn.GroupNorm))
    return Level1(
        weights=(_array(conv1.weight), _array(conv2.weight)),
        biases=(_array(conv1.bias), _array(conv2.bias)),
        scales=(_array(norm1.weight), _array(norm2.weight)),
        shifts=(_array(norm1.bias), _array(norm2.bias)),
        epsilons=(norm1.eps, norm2.eps),
    )


def _array(parameter: Tensor | None) -> NDArray[np.float32]:
    if parameter is None:
        raise BadKernelCall("level 1", "has a convolution without a bias, or a norm without parameters", REPORT)
    array: NDArray[np.float32] = parameter.detach().contiguous().numpy()
    return array

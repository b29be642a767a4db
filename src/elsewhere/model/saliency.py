"""A scan and a network in; where its evidence for COVID comes from, and how much of that lies in a mask, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool3d

from elsewhere.model.batch import SMALL, TOGETHER
from elsewhere.model.fast_prediction import predict_level1, streams
from elsewhere.model.network import Network, max_pool
from elsewhere.model.prediction import POSITIVE, window_at
from elsewhere.model.sample import (
    WINDOW_STRIDE,
    Case,
    Read,
    SampleSettings,
    evaluation_input,
    evaluation_plan,
    evaluation_windows,
)

PAPER = SampleSettings()
FINEST = 8
"""Rows and columns that the map has at least: coarser ones cannot tell lung from chest wall."""


@dataclass(frozen=True, eq=False)
class Saliency:
    """Where a network's evidence for COVID in a scan comes from, and what comes of it.

    Attributes:
        probability: of COVID, the highest over the windows.
        features: what the last layer sees of that window, float32 (last dense width,).
        cells: evidence, not negative, float32 (slices, rows, columns) of a level's maps; they divide the input evenly.
        start: first slice of the window.
        count: stored slices in it.
        top: padding slices above them.
        length: slices of the window with its padding.
    """

    probability: float
    features: NDArray[np.float32]
    cells: NDArray[np.float32]
    start: int
    count: int
    top: int
    length: int

    def share_inside(self, mask: NDArray[np.bool_]) -> tuple[float | None, float]:
        """(share of the evidence inside a mask, share of the window that the mask takes: what chance would give).

        A cell that the mask fills in part counts in part. None where there is no evidence for COVID at all.

        Args:
            mask: of the whole scan [slice, row, column].
        """
        window = np.zeros((self.length, *mask.shape[1:]), np.float32)
        window[self.top : self.top + self.count] = mask[self.start : self.start + self.count]
        shares = adaptive_avg_pool3d(torch.from_numpy(window)[None], self.cells.shape)[0].numpy()
        total = float(self.cells.sum(dtype=np.float64))
        inside = float((self.cells * shares).sum(dtype=np.float64)) / total if total > 0 else None
        return inside, float(shares.mean())


def find_saliency(
    network: Network,
    case: Case,
    read: Read,
    settings: SampleSettings = PAPER,
    stride: int = WINDOW_STRIDE,
    *,
    level: int | None = None,
) -> Saliency:
    """Saliency of a scan's most COVID-like window.

    HiResCAM (Draelos & Carin 2020, arXiv:2011.08891): the gradient of the difference of the two logits times the maps
    of a level, cell by cell, summed over channels; what is below 0 speaks against COVID and is left out. Grad-CAM
    (Selvaraju et al. 2017) takes each channel's mean gradient instead, which says where a network looked only if it
    pools globally at its end; the paper's does not.

    Args:
        network: in evaluation mode, on any device.
        case: the scan.
        read: gives its stored slices.
        settings: how stored voxels become inputs.
        stride: slices from one window to the next.
        level: index of the level; None means `map_level`.
    """
    chosen = map_level(network) if level is None else level
    length = network.settings.input[0]
    starts = evaluation_windows(case.slices, length, stride)
    with torch.no_grad():
        maps = _maps(network, case, read, settings, starts, chosen)
        logits = torch.cat([network.head(_flat(network, one[None], chosen)) for one in maps])
    probabilities = logits.double().softmax(1)[:, POSITIVE]
    best = int((logits[:, POSITIVE] - logits[:, 1 - POSITIVE]).argmax())
    cells, features = _explain(network, maps[best][None], chosen)
    plan = evaluation_plan(case, starts[best], length)
    return Saliency(float(probabilities[best]), features, cells, plan.start, plan.count, plan.top, length)


def map_level(network: Network) -> int:
    """The deepest level whose maps still have `FINEST` rows and columns; the first where none has."""
    sizes = network.settings.map_sizes
    return max((level for level, size in enumerate(sizes) if min(size[1:]) >= FINEST), default=0)


def _maps(  # noqa: PLR0917
    network: Network, case: Case, read: Read, settings: SampleSettings, starts: Sequence[int], level: int
) -> list[Tensor]:
    """Maps of a level before its pooling, (channels, slices, rows, columns) for each window."""
    device, size = network.last.weight.device, network.settings.input
    if level and device.type == "cpu" and streams(network.settings):
        firsts = (predict_level1(network, window_at(network, case, read, settings, start)) for start in starts)
        return [_upto(network, first.clone(), 1, level)[0] for first in firsts]
    inputs = [torch.from_numpy(evaluation_input(case, read, start, settings, size[0])) for start in starts]
    together = TOGETHER if prod(size) <= SMALL else 1
    groups = [torch.stack(inputs[i : i + together])[:, None].to(device) for i in range(0, len(inputs), together)]
    return [maps for group in groups for maps in _upto(network, group, 0, level)]


def _upto(network: Network, maps: Tensor, done: int, level: int) -> Tensor:
    for index in range(done, level):
        maps = max_pool(network.levels[index](maps), network.settings.pools[index])
    found: Tensor = network.levels[level](maps)
    return found


def _flat(network: Network, maps: Tensor, level: int) -> Tensor:
    """The trunk's features from a level's maps."""
    pools = network.settings.pools
    for index in range(level + 1, len(network.levels)):
        maps = network.levels[index](max_pool(maps, pools[index - 1]))
    return maps.flatten(1)


def _explain(network: Network, maps: Tensor, level: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    with torch.enable_grad():
        leaf = maps.detach().clone().requires_grad_()
        features = network.penultimate(_flat(network, leaf, level))
        logits = network.last(features)[0]
        gradient = torch.autograd.grad(logits[POSITIVE] - logits[1 - POSITIVE], leaf)[0]
    cells: NDArray[np.float32] = (gradient * leaf.detach()).sum(1)[0].clamp_min(0).cpu().numpy()
    seen: NDArray[np.float32] = features[0].detach().float().cpu().numpy()
    return cells, seen

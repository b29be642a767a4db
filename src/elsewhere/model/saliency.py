"""A scan and a network in; where its evidence for COVID comes from, and how much of that lies in a mask, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool3d

from elsewhere.errors import BadStudy
from elsewhere.model.batch import side_by_side
from elsewhere.model.fast_prediction import predict_level1, streams
from elsewhere.model.network import Network, NetworkSettings, max_pool
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
PAPER_KIND = NetworkSettings().kind
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
        method: how it was found.
    """

    probability: float
    features: NDArray[np.float32]
    cells: NDArray[np.float32]
    start: int
    count: int
    top: int
    length: int
    method: Literal["HiResCAM", "occlusion"] = "HiResCAM"

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
    (found,) = find_saliencies(network, [(case, read)], settings, stride, level=level)
    return found


def find_saliencies(
    network: Network,
    scans: Sequence[tuple[Case, Read]],
    settings: SampleSettings = PAPER,
    stride: int = WINDOW_STRIDE,
    *,
    level: int | None = None,
) -> list[Saliency]:
    """`find_saliency` of several scans; a small network takes them side by side, up to rounding the same."""
    if network.settings.kind != PAPER_KIND:
        what = f"is {network.settings.kind!r}: gradients at a level are known of the paper's network alone"
        raise BadStudy("network.kind", what, "Its probabilities, and those of parts of scans, need no gradient")
    chosen = map_level(network) if level is None else level
    length = network.settings.input[0]
    windows = [
        (i, start) for i, (case, _) in enumerate(scans) for start in evaluation_windows(case.slices, length, stride)
    ]
    together = side_by_side(network)
    best: dict[int, _Window] = {}
    for first in range(0, len(windows), together):
        group = windows[first : first + together]
        with torch.no_grad():
            maps = _maps(network, [(*scans[i], start) for i, start in group], settings, chosen)
            logits = network.head(_flat(network, maps, chosen))
        margins = logits[:, POSITIVE] - logits[:, 1 - POSITIVE]
        for place, (i, start) in enumerate(group):
            if i not in best or margins[place] > best[i].margin:
                best[i] = _Window(start, margins[place], logits[place], maps[place].clone())
    found: list[Saliency] = []
    for first in range(0, len(scans), together):
        chosen_windows = [best[i] for i in range(first, min(first + together, len(scans)))]
        cells, features = _explain(network, torch.stack([w.maps for w in chosen_windows]), chosen)
        for place, window in enumerate(chosen_windows):
            plan = evaluation_plan(scans[first + place][0], window.start, length)
            probability = float(window.logits.double().softmax(0)[POSITIVE])
            found.append(Saliency(probability, features[place], cells[place], plan.start, plan.count, plan.top, length))
    return found


class _Window(NamedTuple):
    start: int
    margin: Tensor
    logits: Tensor
    maps: Tensor


def map_level(network: Network) -> int:
    """The deepest level whose maps still have `FINEST` rows and columns; the first where none has."""
    sizes = network.settings.map_sizes
    return max((level for level, size in enumerate(sizes) if min(size[1:]) >= FINEST), default=0)


def _maps(network: Network, windows: Sequence[tuple[Case, Read, int]], settings: SampleSettings, level: int) -> Tensor:
    """Maps of a level before its pooling, (windows, channels, slices, rows, columns)."""
    device, slices = network.last.weight.device, network.settings.input[0]
    if level and device.type == "cpu" and streams(network.settings):
        firsts = (predict_level1(network, window_at(network, *window[:2], settings, window[2])) for window in windows)
        return torch.cat([_upto(network, first.clone(), 1, level) for first in firsts])
    inputs = [torch.from_numpy(evaluation_input(case, read, start, settings, slices)) for case, read, start in windows]
    return _upto(network, torch.stack(inputs)[:, None].to(device), 0, level)


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
    """Evidence of each window's cells, and what the last layer sees of it."""
    with torch.enable_grad():
        leaf = maps.detach().clone().requires_grad_()
        features = network.penultimate(_flat(network, leaf, level))
        logits = network.last(features)
        gradient = torch.autograd.grad((logits[:, POSITIVE] - logits[:, 1 - POSITIVE]).sum(), leaf)[0]
    cells: NDArray[np.float32] = (gradient * leaf.detach()).sum(1).clamp_min(0).cpu().numpy()
    seen: NDArray[np.float32] = features.detach().float().cpu().numpy()
    return cells, seen

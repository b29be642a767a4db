"""Stored voxels of one window in, features or logits out: the network with its first level fused and streamed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elsewhere.model.fast import kernel, streamed
from elsewhere.model.fast.kernel import FILTERS, POOL, Level1, Window
from elsewhere.model.network import Network, NetworkSettings


def available() -> bool:
    """Whether the compiled kernel is there; without it the same results come from torch operations."""
    return kernel.library() is not None


def streams(settings: NetworkSettings) -> bool:
    """Whether level 1 is the paper's: 1 → 8 → 8 filters, 3×3×3, one GroupNorm group a filter, pooled 4×4×4."""
    level = (settings.filters[0], settings.groups, settings.kernels[0], settings.pools[:1])
    whole = all(edge % POOL == 0 for edge in settings.input)
    return whole and level == (FILTERS, FILTERS, (3, 3, 3), ((POOL, POOL, POOL),))


@torch.inference_mode()
def predict_logits(network: Network, window: Window) -> Tensor:
    """Logits (1, classes) of one window, as `network` gives them in evaluation mode, within 1e-5 of float64."""
    return network.head(predict_trunk(network, window))


@torch.inference_mode()
def predict_trunk(network: Network, window: Window) -> Tensor:
    """The trunk's features (1, flat) of one window, as `network.trunk` gives them in evaluation mode."""
    return network.rest(predict_level1(network, window))


@torch.inference_mode()
def predict_level1(network: Network, window: Window) -> Tensor:
    """Level 1's pooled maps (1, filters, slices, rows, columns), as `network.level1` gives them.

    Through the compiled kernel, through torch operations where it is missing or takes no such window, through the
    plain module where level 1 is not the paper's or lies on another device.
    """
    weight = network.last.weight
    if not streams(network.settings) or weight.device.type != "cpu" or weight.dtype != torch.float32:
        x = window.normalise(0, window.length).to(weight.device, weight.dtype)
        return network.level1(x[None, None])
    parameters = read_level1(network)
    if available() and kernel.fits(window):
        return torch.from_numpy(kernel.level1(parameters, window))[None]
    return streamed.level1(parameters, window)[None]


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
    assert parameter is not None
    array: NDArray[np.float32] = parameter.detach().contiguous().numpy()
    return array

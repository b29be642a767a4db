"""How a network is trained: the settings, the optimizer, its learning rate, and the average of the weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from elsewhere.model.network import Network
from elsewhere.model.settings import TrainingSettings


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam, or AdamW where there is a weight decay; it spares biases and GroupNorm's parameters.

    Parameters that need no gradient are left out: they stay as they are.
    """
    parameters = [one for one in network.parameters() if one.requires_grad]
    if settings.weight_decay == 0:
        return torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)
    groups = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [one for one in parameters if one.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def rate_at(iteration: int, settings: TrainingSettings) -> float:
    """The learning rate of iteration 0, 1, …: it rises to its value over `warm_up`, then follows `schedule`.

    Examples:
        >>> settings = TrainingSettings(iterations=10, learning_rate=1.0, warm_up=2, schedule="cosine")
        >>> [round(rate_at(i, settings), 2) for i in (0, 1, 2, 6, 9)]
        [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    if iteration < settings.warm_up:
        return settings.learning_rate * (iteration + 1) / settings.warm_up
    if settings.schedule == "constant":
        return settings.learning_rate
    done = (iteration - settings.warm_up) / (settings.iterations - settings.warm_up)
    return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2


class Average:
    """An exponential moving average of a network's weights.

    After n updates it is (1 - d) / (1 - d^n) · Σ d^(n - k) · w_k over k = 1 … n: the initial weights have no share in
    it, as in the moments of Adam (Kingma and Ba, ICLR 2015, section 3).

    Args:
        network: the network in training; its average is `self.network`, a network of its own on the same device.
        decay: d, in (0, 1).
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network, self._decay = copy.deepcopy(network).requires_grad_(requires_grad=False).eval(), decay

    @torch.no_grad()
    def update(self, network: Network, iterations: int) -> None:
        """Take in the weights after `iterations`, 1 or more, counted from the beginning of the training."""
        share = (1 - self._decay) / (1 - self._decay**iterations)
        for own, current in zip(self.network.parameters(), network.parameters(), strict=True):
            own.lerp_(current, share)
        for kept, seen in zip(self.network.buffers(), network.buffers(), strict=True):
            kept.copy_(seen)  # what batches were like, where a network keeps that: no weight to be averaged

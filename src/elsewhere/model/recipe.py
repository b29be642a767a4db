"""How a network is trained: the settings, the optimizer, its learning rate, and the average of the weights."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from elsewhere.errors import BadStudy
from elsewhere.model.network import Network
from elsewhere.model.sample import Sampling
from elsewhere.model.selection import Select


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained; the values given here are the paper's (section "Training and Data Augmentation").

    Attributes:
        iterations: training steps.
        batch: examples per step and device.
        learning_rate: of Adam.
        validate_every: iterations between validations (and one after the last iteration).
        save_every: iterations between saved states, besides one at each validation; a killed training repeats at
            most so many.
        seed: of initial weights, order, augmentation and dropout.
        sampling: "uniform" over the pooled training scans (protocol page, "Nine models", our reading), or "balanced",
            sites in turn.
        balanced_classes: draw the classes in turn, each through its own epochs; under sampling "balanced" every class
            of every site in turn, so that the site says nothing of the label where it has both.
        select: which validated weights are kept: the first of the highest "accuracy" at threshold 0.5 (the paper's),
            the last of the lowest "log_loss", or the last of the highest "auc" within sites (by log loss where no site
            has both classes among its validation scans).
        warm_up: iterations in which the learning rate rises linearly to its value; 0 for none.
        schedule: of the learning rate after them: "constant", or "cosine", half a cosine down to 0 at the end.
        weight_decay: of AdamW (decoupled; Loshchilov and Hutter, ICLR 2019), on the weights of convolutions and dense
            layers; 0 is Adam.
        clip: largest norm of the gradient of all parameters together; longer ones are shortened to it; 0 for no limit.
        ema: decay of an exponential moving average of the weights over iterations, in [0, 1), which is then what is
            validated and kept; 0 for none.
        precision: "32-true", or "bf16-mixed" for devices that have it.
        accelerator: "cpu", "cuda", or "auto" for CUDA where there is a device.
        devices: number of devices; each takes its own share of every step (distributed data parallel).
        loaders: threads that read ahead for a graphics card.
        card_gib: GiB of prepared volumes that may be kept on each graphics card, so that they are read once.
        pinned_gib: GiB of them that may be kept in the machine's memory, pinned, by each card's process.
        threads: processor threads of torch; 0 leaves torch's own choice. Results are the same to the last bit only
            for the same number.
        tensorboard: write TensorBoard events beside curves.csv.
    """

    iterations: int = 250_000
    batch: int = 1
    learning_rate: float = 1e-5
    validate_every: int = 500
    save_every: int = 500
    seed: int = 0
    sampling: Sampling = "uniform"
    balanced_classes: bool = False
    select: Select = "accuracy"
    warm_up: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: float = 0.0
    clip: float = 0.0
    ema: float = 0.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    loaders: int = 4
    card_gib: float = 0.0
    pinned_gib: float = 0.0
    threads: int = 0
    tensorboard: bool = True

    def __post_init__(self) -> None:
        least = {
            "iterations": 1,
            "batch": 1,
            "validate_every": 1,
            "save_every": 1,
            "seed": 0,
            "warm_up": 0,
            "weight_decay": 0,
            "clip": 0,
            "devices": 1,
            "loaders": 1,
            "card_gib": 0,
            "pinned_gib": 0,
            "threads": 0,
        }
        for name, low in least.items():
            if not low <= getattr(self, name) < math.inf:
                raise BadStudy(f"training.{name}", f"is {getattr(self, name)}", f"Give {low} or more")
        if not 0 < self.learning_rate < math.inf:
            raise BadStudy("training.learning_rate", f"is {self.learning_rate}", "Give a number above 0")
        if not 0 <= self.ema < 1:
            raise BadStudy("training.ema", f"must be in [0, 1), is {self.ema}", "Give a decay such as 0.99; 0 for none")
        if self.warm_up >= self.iterations:
            raise BadStudy(
                "training.warm_up",
                f"is {self.warm_up}, but there are {self.iterations} iterations",
                "Give fewer than iterations, such as a twentieth of them",
            )


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam, or AdamW where there is a weight decay; it spares biases and GroupNorm's parameters."""
    if settings.weight_decay == 0:
        return torch.optim.Adam(network.parameters(), lr=settings.learning_rate, fused=True)
    parameters = list(network.parameters())
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

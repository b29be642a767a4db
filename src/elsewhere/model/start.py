"""Weights that a training starts from, which of them it may change, and what holds it to where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.model.network import Network
from elsewhere.model.sample import Case, hash_cases

if TYPE_CHECKING:
    from elsewhere.model.features import Features

TRUNK = ("levels.", "inner.")
"""What the names of the convolutional part's parameters begin with: of the paper's network, and of others."""


@dataclass(frozen=True, eq=False)
class Start:
    """Where a training starts that does not begin with random weights.

    Attributes:
        weights: name of each parameter -> value, as `Network.state_dict` has them.
        trainable: names of the parameters that it changes; the others stay as they are, to the last bit.
        anchor: a of the penalty a / 2 · Σ (w - w0)² over them (L2-SP: Li, Grandvalet and Davoine, ICML 2018); 0 for
            none.
        replay: share of the examples that are scans of home, evenly spread, in [0, 1).
        home: those scans.
        distil: weight of the distance to what the network said before, on every training input (Li and Hoiem, TPAMI
            2018); 0 for none.
        temperature: that softens both answers there.
        views: training inputs of each scan whose features are computed, once, where the convolutional part stays as it
            is.
        features: of all scans, where they are at hand already; else they are computed where they are needed.
    """

    weights: Mapping[str, Tensor] = field(repr=False)
    trainable: Sequence[str]
    anchor: float = 0.0
    replay: float = 0.0
    home: Sequence[Case] = ()
    distil: float = 0.0
    temperature: float = 2.0
    views: int = 8
    features: Features | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.trainable) - set(self.weights))
        if unknown or not self.trainable:
            what = f"has no parameter {unknown[0]}" if unknown else "is to change no parameter"
            raise BadStudy("the network", what, "Name parameters of it")
        if not 0 <= self.replay < 1:
            raise BadStudy("replay", f"must be in [0, 1), is {self.replay:g}", "Give a share such as 0.25")
        if self.replay and not self.home:
            raise BadStudy("replay", f"is {self.replay:g}, but there are no scans of home", "Give them, or no replay")
        if not 0 <= self.anchor < float("inf"):
            raise BadStudy("anchor", f"must be 0 or more, is {self.anchor:g}", "Give a number such as 0.01")
        if not 0 <= self.distil < float("inf"):
            raise BadStudy("distil", f"must be 0 or more, is {self.distil:g}", "Give a number such as 1")
        if not 0 < self.temperature < float("inf"):
            raise BadStudy("temperature", f"must be above 0, is {self.temperature:g}", "Give a number such as 2")

    @property
    def trunk_stays(self) -> bool:
        """Whether the convolutional part is left as it is."""
        return not any(name.startswith(TRUNK) for name in self.trainable)

    def identity(self) -> dict[str, object]:
        """Everything of it that decides a training's result, JSON-able."""
        return {
            "weights": hash_weights(self.weights),
            "trainable": sorted(self.trainable),
            "anchor": self.anchor,
            "replay": self.replay,
            "home": hash_cases(self.home) if self.replay else "",
            "views": self.views if self.trunk_stays else 0,
            **({"distil": self.distil, "temperature": self.temperature} if self.distil else {}),
        }

    def begin(self, network: Network) -> None:
        """Give a network these weights, and let only the trainable ones change.

        Raises:
            BadCheckpoint: the weights are of another network.
        """
        try:
            network.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            raise BadCheckpoint("the start", f"is of another network ({error})", "Give its own weights") from error
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in self.trainable)

    def pull(self, network: Network) -> None:
        """Add the penalty's gradient, a · (w - w0), to those of the trainable parameters."""
        if self.anchor:
            pull_back(network, self.weights, self.trainable, self.anchor)


@torch.no_grad()
def pull_back(network: Network, weights: Mapping[str, Tensor], trainable: Collection[str], strength: float) -> None:
    """Add strength · (w - w0) to the gradient of each trainable parameter that has one."""
    for name, parameter in network.named_parameters():
        if name in trainable and parameter.grad is not None:
            parameter.grad.add_(parameter - weights[name].to(parameter.device), alpha=strength)


def hash_weights(weights: Mapping[str, Tensor]) -> str:
    """Hash of parameters, by name and to the bit."""
    found = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.numpy().tobytes())
    return found.hexdigest()[:32]

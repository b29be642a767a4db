"""A network with its GroupNorms taken apart, for export: at the size of a CT other runtimes sum them wrongly."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class StagedGroupNorm(nn.Module):
    """GroupNorm (Wu and He, ECCV 2018) whose means are taken along one axis after the other.

    A mean of means of equally many values is the mean; no sum is longer than an axis, so that single precision is
    enough whatever the runtime's order of summation is.

    Args:
        norm: with the weights.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, …) → the same shape."""
        parts = maps.reshape(maps.shape[0], self.groups, -1, *maps.shape[2:])
        centred = parts - _mean(parts)
        normed = (centred * torch.rsqrt(_mean(centred * centred) + self.eps)).reshape(maps.shape)
        if self.weight is None:
            return normed
        along = (1, -1, *(1 for _ in maps.shape[2:]))
        return normed * self.weight.view(along) + self.bias.view(along)


def _mean(parts: Tensor) -> Tensor:
    """Mean over all axes but the first two, which stay."""
    for axis in range(parts.ndim - 1, 1, -1):
        parts = parts.mean(axis, keepdim=True)
    return parts


def with_staged_norms(network: nn.Module) -> nn.Module:
    """A copy of a network that gives the same up to rounding, each GroupNorm a `StagedGroupNorm`; to be exported.

    >>> norm = nn.Sequential(nn.GroupNorm(2, 4))
    >>> maps = torch.arange(32.0).reshape(1, 4, 2, 2, 2)
    >>> torch.allclose(norm(maps), with_staged_norms(norm)(maps), atol=1e-6)
    True
    """
    copied = copy.deepcopy(network)
    for name, part in list(copied.named_modules()):
        if isinstance(part, nn.GroupNorm) and name:
            parent, _, leaf = name.rpartition(".")
            setattr(copied.get_submodule(parent), leaf, StagedGroupNorm(part))
    return copied

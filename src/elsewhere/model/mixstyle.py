"""MixStyle (Zhou et al., ICLR 2021): statistics of feature maps mixed between the scans of a batch, as new styles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

EPSILON = 1e-6  # under the root, as in the authors' code


@dataclass(frozen=True)
class Mix:
    """What is mixed in one batch, drawn before.

    Attributes:
        order: the scan that each one takes statistics from.
        shares: λ, the share of its own statistics that each scan keeps, in [0, 1].
    """

    order: tuple[int, ...]
    shares: tuple[float, ...]


def draw_mix(rng: np.random.Generator, batch: int, probability: float, alpha: float) -> Mix | None:
    """With this probability a random order and shares from Beta(alpha, alpha), one a scan; else None."""
    coin, order, shares = rng.random(), rng.permutation(batch), rng.beta(alpha, alpha, batch)
    if coin >= probability:
        return None
    return Mix(tuple(int(i) for i in order), tuple(float(share) for share in shares))


def mix_styles(maps: Tensor, mix: Mix) -> Tensor:
    """Maps with each channel's mean and SD over its voxels mixed with another scan's.

    No gradient passes through the statistics. The variance is over one voxel fewer than there are, as in the authors'
    code.

    Args:
        maps: (batch, channel, slices, rows, columns).
        mix: from `draw_mix`.
    """
    over = (2, 3, 4)
    mean = maps.mean(over, keepdim=True).detach()
    deviation = (maps.var(over, keepdim=True) + EPSILON).sqrt().detach()
    own = torch.tensor(mix.shares, dtype=maps.dtype, device=maps.device).view(-1, 1, 1, 1, 1)
    order = list(mix.order)
    new_mean, new_deviation = (own * part + (1 - own) * part[order] for part in (mean, deviation))
    return (maps - mean) / deviation * new_deviation + new_mean

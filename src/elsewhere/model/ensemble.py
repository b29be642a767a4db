"""Several networks of one kind as one model: the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from elsewhere.errors import BadStudy
from elsewhere.model.network import MEMBERS, Network, save_checkpoint


class Ensemble(nn.Module):
    """Networks of the same settings, to be kept in one checkpoint.

    Args:
        networks: two or more.

    Raises:
        BadStudy: fewer, or networks of different settings.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        if len(networks) < 2 or any(network.settings != networks[0].settings for network in networks):
            raise BadStudy("the ensemble", "needs two or more networks of the same settings", "Train its folds again")
        self.members = nn.ModuleList(networks)
        self.settings = networks[0].settings


def save_ensemble(stem: Path, networks: Sequence[Network], record: Mapping[str, object]) -> None:
    """Write networks as one checkpoint; `network.load_networks` reads it. Raises BadStudy as `Ensemble`."""
    save_checkpoint(stem, cast(Network, Ensemble(networks)), {**record, MEMBERS: len(networks)})


def mean_probability(probabilities: ArrayLike) -> NDArray[np.float64]:
    """What an ensemble says: the plain mean of its members' probabilities, (members, ...) -> (...).

    Probabilities and not log-odds: a saturated network (0 or 1 in its last digit) has no finite log-odds and would
    decide alone. The mean is nearer to 0.5 than most members are, which is what their disagreement means.

    >>> mean_probability([[0.2, 1.0], [0.4, 0.5]]).round(3).tolist()
    [0.3, 0.75]
    """
    return np.asarray(probabilities, dtype=np.float64).mean(axis=0)

"""Scans as models that were not trained here are given them, and tiny networks to ask, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from elsewhere.model.declared import InputSettings, OwnNetwork
from elsewhere.model.network import Network, NetworkSettings, save_checkpoint
from elsewhere.model.runnable.protocol import GivenScan
from elsewhere.scans.volume import Spacing, Volume

SETTINGS = NetworkSettings((4, 16, 16), (2, 4), ((3, 3, 3), (3, 3, 3)), ((2, 4, 4),), (8,), 1, 1, dropblock=0.0)
"""Of a network of a few hundred parameters."""
INPUT = InputSettings(size=(4, 16, 16), stride=2, smooth=False, window=(-1000, 100))
"""What it takes, as a stranger would declare it."""
RECORD = {
    "preparation": {
        "size": [4, 16, 16],
        "grid": "in_plane",
        "encoding": "hu",
        "minimum": -1000.0,
        "maximum": 100.0,
    },
    "sample": {"normalisation": "window", "window": [-1000, 100]},
    "training_sites": ["Here"],
}


def a_volume(seed: int = 0, slices: int = 7, spacing: Spacing | None = (5.0, 0.8, 0.7)) -> Volume:
    """A volume of noise around -500 HU, with values beyond every window."""
    hu = np.random.default_rng(seed).normal(-500, 500, (slices, 20, 24))
    return Volume(hu.astype(np.int16), "HU", spacing, 0.0)


def a_scan(seed: int = 0, dicom: tuple[Path, ...] = ()) -> GivenScan:
    """A scan with that volume."""
    return GivenScan("There", f"p{seed}", f"s{seed}", a_volume(seed), None, dicom)


def a_network(seed: int = 0) -> Network:
    """The tiny network with random weights, large enough that probabilities differ."""
    torch.manual_seed(seed)
    network = Network(SETTINGS)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    return network.eval()


def a_checkpoint(folder: Path, seed: int = 0) -> OwnNetwork:
    """The tiny network as another study's checkpoint."""
    stem = folder / "models" / "A" / "checkpoint"
    save_checkpoint(stem, a_network(seed), RECORD)
    return OwnNetwork(name="Own", checkpoint=stem, stride=2)

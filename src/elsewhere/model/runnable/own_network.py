"""A network that a study trained, or the mean of several, as any model: scans are prepared as that study did it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from elsewhere.errors import BadCheckpoint
from elsewhere.model.declared import OwnNetwork
from elsewhere.model.ensemble import mean_probability
from elsewhere.model.network import load_networks, read_checkpoint_record
from elsewhere.model.network_settings import PAPER, NetworkSettings
from elsewhere.model.prediction import extract_features, predict
from elsewhere.model.runnable.protocol import Ability, GivenScan
from elsewhere.model.saliency import Saliency, find_saliency
from elsewhere.model.sample import Case, Read, SampleSettings
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.volume import prepare

SUFFIXES = (".json", ".safetensors")


class LoadedOwnNetwork:
    """The network of a checkpoint, or the mean of its networks, asked through the protocol of all models.

    A mean has neither features nor gradients: each of its networks sees the scan in another way.

    Args:
        declared: what the study file says of it.
        device: "cpu" or "cuda".
        trusted: see `load_checkpoint`.

    Raises:
        BadCheckpoint: a file is missing, damaged, or says nothing of how scans are prepared.
    """

    remarks: tuple[str, ...] = ()

    def __init__(self, declared: OwnNetwork, device: str, trusted: NetworkSettings | None = None) -> None:
        stem = checkpoint_stem(declared.checkpoint)
        networks, record = load_networks(stem, trusted)
        self._networks = [network.to(device) for network in networks]
        self._network, alone = self._networks[0], len(networks) == 1
        gradients: tuple[Ability, ...] = ("gradients",) if self._network.settings.kind == PAPER else ()
        self.abilities: frozenset[Ability] = frozenset({"features", *gradients} if alone else ())
        for part in ("preparation", "sample"):
            if part not in record:
                raise BadCheckpoint(stem, f"does not say `{part}`", "Give a checkpoint that `elsewhere train` wrote")
        self.preparation = TypeAdapter(Preparation).validate_python(record["preparation"])
        self._sample = TypeAdapter(SampleSettings).validate_python(record["sample"])
        self._stride = declared.stride

    def score(self, given: GivenScan) -> NDArray[np.float64]:
        """Probability of each window; of a mean that of the scan, whose networks may see it in different windows."""
        case = self._case(given)
        found = [predict(one, *case, self._sample, self._stride) for one in self._networks]
        return found[0] if len(found) == 1 else mean_probability([[one.max()] for one in found])

    def features(self, given: GivenScan) -> NDArray[np.float32]:
        """What the last layer sees of the most positive window."""
        return extract_features(self._network, *self._case(given), self._sample, self._stride)

    def saliency(self, given: GivenScan) -> Saliency:
        """HiResCAM of the most positive window, on the grid that this network's scans are prepared to.

        Raises:
            BadStudy: it is not the paper's network.
        """
        return find_saliency(self._network, *self._case(given), self._sample, self._stride)

    def _case(self, given: GivenScan) -> tuple[Case, Read]:
        window = given.relative_window or self.preparation.relative_window
        voxels, _ = prepare(given.volume, replace(self.preparation, relative_window=window))

        def read(_: Case, start: int, stop: int) -> NDArray[Any]:
            return voxels[start:stop]

        extrema = int(voxels.min()), int(voxels.max())
        return Case(given.site, given.patient, given.scan, 0, len(voxels), *extrema), read


def checkpoint_stem(path: Path) -> Path:
    """A checkpoint's path without suffix, whichever of its files was named."""
    return path.with_name(path.stem) if path.suffix in SUFFIXES else path


def hash_of_checkpoint(path: Path) -> str:
    """Hash of a checkpoint's weights and of how its scans are prepared.

    Raises:
        BadCheckpoint: its record is missing or damaged.
    """
    record = read_checkpoint_record(checkpoint_stem(path))
    parts = [record.get(name) for name in ("sha256", "network", "preparation", "sample")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def own_threshold(path: Path) -> float | None:
    """The threshold that the other study chose on the validation scans of its training sites; None where it has none.

    Raises:
        BadCheckpoint: its record is missing or damaged.
    """
    found = read_checkpoint_record(checkpoint_stem(path)).get("thresholds", {}).get("model", {})
    values = {float(point["threshold"]) for point in found.values()}
    return values.pop() if len(values) == 1 else None

"""Features of scans from a convolutional part that stays as it is, computed once; a dense part trained on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from elsewhere.errors import BadCheckpoint
from elsewhere.files import write_whole
from elsewhere.model.batch import side_by_side
from elsewhere.model.job import Job, draws_of, samples_of
from elsewhere.model.network import Network
from elsewhere.model.prediction import probabilities, trunk_features, trunk_of
from elsewhere.model.sample import Case, Read, SampleSettings, draw_plan, make_input, seed_of

VIEW = 3  # what a random number is for, beside those of sample.py
Place = tuple[str, str]
"""Site and scan."""


@dataclass(frozen=True, eq=False)
class Features:
    """What leaves the convolutional part for each scan.

    Attributes:
        views: scan -> features of its training inputs, (views, flat).
        windows: scan -> features of its evaluation windows, (windows, flat).
    """

    views: Mapping[Place, Tensor]
    windows: Mapping[Place, Tensor]

    def save(self, path: Path) -> None:
        """Write them; the file appears whole or not at all."""
        tensors = {
            f"{part}\n{site}\n{scan}": value.contiguous()
            for part, of in (("view", self.views), ("window", self.windows))
            for (site, scan), value in of.items()
        }
        write_whole(path, save(tensors))

    @classmethod
    def load(cls, path: Path) -> Features:
        """Read them.

        Raises:
            BadCheckpoint: the file is missing or damaged.
        """
        views: dict[Place, Tensor] = {}
        windows: dict[Place, Tensor] = {}
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - no mapping
                    part, site, scan = name.split("\n")
                    (views if part == "view" else windows)[site, scan] = file.get_tensor(name)
        except (OSError, SafetensorError, ValueError) as error:
            raise BadCheckpoint(path, f"cannot be read ({error})", "Remove it: it is computed again") from error
        return cls(views, windows)

    def probability(self, network: Network, case: Case) -> float:
        """Of a scan, without dropout: the highest over its windows.

        Raises:
            BadScan: a probability is not a number.
        """
        with torch.inference_mode():
            logits = network.head(self.windows[case.site, case.scan].to(network.last.weight.device))
        return float(probabilities(logits, case).max())


def compute_features(
    network: Network,
    read: Read,
    settings: SampleSettings,
    stride: int,
    *,
    trained: Iterable[Case],
    predicted: Iterable[Case],
    views: int,
    seed: int,
) -> Features:
    """Features of scans, without dropout.

    The inputs that are trained on are drawn as in a training, each a function of (seed, scan, view).

    Args:
        network: on any device; only its convolutional part is asked.
        read: gives stored slices.
        settings: how scans become inputs.
        stride: slices from one window to the next.
        trained: scans that a dense part may be trained on.
        predicted: scans that it may be asked about.
        views: training inputs of each of the first.
        seed: of these inputs.

    Raises:
        BadScan: a stored volume is damaged or gone.
    """
    before = network.training
    network.eval()
    with torch.inference_mode():
        found = Features(
            {(c.site, c.scan): _views(network, c, read, settings, views, seed) for c in trained},
            {(c.site, c.scan): trunk_features(network, c, read, settings, stride).cpu() for c in predicted},
        )
    network.train(before)
    return found


def _views(  # noqa: PLR0917 - as its caller has them
    network: Network, case: Case, read: Read, settings: SampleSettings, views: int, seed: int
) -> Tensor:
    slices = network.settings.input[0]
    inputs = []
    for view in range(views):
        rng = np.random.default_rng([seed_of(seed, case.site, case.scan, view), VIEW])
        inputs.append(make_input(read, case, draw_plan(rng, case, settings, slices), settings, slices))
    device, together = network.last.weight.device, side_by_side(network)
    parts = [np.stack(inputs[first : first + together])[:, None] for first in range(0, views, together)]
    return torch.cat([trunk_of(network, torch.from_numpy(part).to(device)).cpu() for part in parts])


class Head(nn.Module):
    """The dense part of a network in training, from features."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, classes) of features (batch, flat)."""
        return self.network.head(features)


class FeatureBatches:
    """The batches of a training whose convolutional part stays as it is, each a function of the iteration.

    A draw takes the scan that a training of the whole network would take, and one of its kept inputs.

    Args:
        job: the training; its start has the convolutional part.
        network: with these weights.
        device: where the batches are wanted.
        rank: this device's number.
        devices: number of devices.
    """

    def __init__(self, job: Job, network: Network, device: torch.device, rank: int = 0, devices: int = 1) -> None:
        self._job, self._device, self._samples = job, device, samples_of(job)
        self._draws = partial(draws_of, job.settings.batch, rank, devices)
        start = job.start
        known = start.features if start else job.features() if job.features else None
        self._features = known or compute_features(
            network,
            job.read,
            job.sample,
            job.stride,
            trained=[*job.training, *(start.home if start and start.replay else ())],
            predicted=job.validation,
            views=start.views if start else 1,
            seed=job.settings.seed,
        )

    def __enter__(self) -> FeatureBatches:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def take(self, iteration: int) -> tuple[Tensor, Tensor, list[Case]]:
        """Features (batch, flat), labels (batch,) and cases."""
        draws = self._draws(iteration)
        cases = [self._samples.case(draw) for draw in draws]
        taken = [self._view(case, draw) for case, draw in zip(cases, draws, strict=True)]
        labels = torch.tensor([case.label for case in cases])
        return torch.stack(taken).to(self._device), labels.to(self._device), cases

    def _view(self, case: Case, draw: int) -> Tensor:
        views = self._features.views[case.site, case.scan]
        return views[int(np.random.default_rng([self._job.settings.seed, draw, VIEW]).integers(len(views)))]

    def windows(self, network: Network, cases: Sequence[Case]) -> list[NDArray[np.float64]]:
        """COVID probability of each window of each scan, without dropout, as `predict_many`."""
        with torch.inference_mode():
            logits: list[Any] = [
                network.head(self._features.windows[case.site, case.scan].to(self._device)) for case in cases
            ]
        return [probabilities(one, case) for one, case in zip(logits, cases, strict=True)]

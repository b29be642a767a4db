"""One training as a value: what it is made from, what decides its result, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor

from elsewhere.errors import BadStudy
from elsewhere.model.acquisition import Acquire, GridOf
from elsewhere.model.cuda_loader import GIB, DeviceBatches, Volumes
from elsewhere.model.network import NetworkSettings
from elsewhere.model.sample import (
    WINDOW_STRIDE,
    Acquired,
    Case,
    Examples,
    Read,
    Replayed,
    Samples,
    hash_cases,
    seed_of,
)
from elsewhere.model.settings import SampleSettings, Sampling, TrainingSettings
from elsewhere.model.start import Start

if TYPE_CHECKING:
    from elsewhere.model.features import Features

CHECKPOINT = "checkpoint"
WITHOUT_EFFECT = (
    "save_every",
    "tensorboard",
    "loaders",
    "card_gib",
    "pinned_gib",
)  # settings that may change between a kill and the restart

NEW = (
    "patience",
    "objective",
    "group_rate",
    "penalty",
    "penalty_from",
    "mixstyle",
    "mixstyle_alpha",
    "acquisition",
    "acquisition_strength",
)
"""Settings that earlier versions did not have: where they do nothing, a training is known as it was then."""

SCANS = ("training_scans", "validation_scans")  # of a job's identity

Progress = Callable[[int, int, str], None]


class SampleOptions(TypedDict):
    """What a training says of its examples' order, and how it changes their acquisition."""

    sampling: Sampling
    balanced_classes: bool
    acquire: Acquired | None


@dataclass(frozen=True)
class Job:
    """Everything that one training needs; see `train`.

    `start` where it does not begin with random weights; `features` where those of its scans are kept somewhere;
    `grid_of` where its inputs' acquisition is changed.
    """

    network: NetworkSettings
    sample: SampleSettings
    settings: TrainingSettings
    training: Sequence[Case]
    validation: Sequence[Case]
    read: Read
    folder: Path
    record: Mapping[str, Any]
    progress: Progress | None
    stride: int = WINDOW_STRIDE
    start: Start | None = None
    grid_of: GridOf | None = None
    features: Callable[[], Features] | None = None

    @property
    def trunk_stays(self) -> bool:
        """Whether the convolutional part is left as it is, so that features are computed once."""
        return self.network.is_pretrained or (self.start is not None and self.start.trunk_stays)

    @property
    def stem(self) -> Path:
        """The checkpoint's path, without suffix."""
        return self.folder / CHECKPOINT

    @property
    def state_path(self) -> Path:
        """The file that holds the current state."""
        return self.folder / "state" / "current.safetensors"

    def identity(self) -> dict[str, Any]:
        """Everything that decides the result, JSON-able."""
        return {
            "network": self.network.record(),
            "sample": asdict(self.sample),
            "training": deciding(asdict(self.settings)),
            "record": {name: value for name, value in self.record.items() if name != "versions"},
            "training_scans": hash_cases(self.training),
            "validation_scans": hash_cases(self.validation),
            "stride": self.stride,
            "torch": str(torch.__version__),
            **({} if self.start is None else {"start": self.start.identity()}),
        }


def lengthened(before: Mapping[str, object], now: Mapping[str, object]) -> Mapping[str, object]:
    """A training's settings as of one of more iterations, where its learning rate does not depend on them."""
    old, new = before.get("iterations"), now.get("iterations")
    if before.get("schedule") != "constant" or not isinstance(old, int) or not isinstance(new, int) or old >= new:
        return before
    return {**before, "iterations": new}


def deciding(training: Mapping[str, object]) -> dict[str, object]:
    """The settings of a training that decide its result; without options of later versions that are not used."""
    kept = {name: value for name, value in training.items() if name not in WITHOUT_EFFECT}
    usual = asdict(TrainingSettings())
    return {name: value for name, value in kept.items() if name not in NEW or value != usual[name]}


def make_batches(job: Job, rank: int, devices: int, device: torch.device) -> Batches | DeviceBatches:
    """The batches of device number `rank` of `devices`, made there if it is a graphics card."""
    settings = job.settings
    if device.type != "cuda":
        return Batches(job, rank, devices)
    volumes = Volumes(job.read, device, int(settings.card_gib * GIB), int(settings.pinned_gib * GIB))
    samples, slices = samples_of(job), job.network.input[0]
    draws = partial(draws_of, settings.batch, rank, devices)
    return DeviceBatches(
        samples, job.sample, volumes, slices=slices, draws=draws, device=device, threads=settings.loaders
    )


def samples_of(job: Job) -> Examples:
    """The training examples of a job; where it has a start with a replay, examples of home among them."""
    settings, slices = job.settings, job.network.input[0]
    options: SampleOptions = {
        "sampling": settings.sampling,
        "balanced_classes": settings.balanced_classes,
        "acquire": _acquire(job),
    }
    own = Samples(job.training, job.read, job.sample, slices, seed=settings.seed, **options)
    if job.start is None or not job.start.replay:
        return own
    seed = seed_of(settings.seed, "replay")
    home = Samples(job.start.home, job.read, job.sample, slices, seed=seed, **options)
    return Replayed(own, home, job.start.replay)


def _acquire(job: Job) -> Acquire | None:
    settings = job.settings
    if not settings.acquisition:
        return None
    if job.grid_of is None:
        what = f"is {settings.acquisition}, but nothing tells what the stored numbers mean"
        raise BadStudy("training.acquisition", what, "Set it to 0")
    seed = seed_of(settings.seed, "acquisition")
    return Acquire(settings.acquisition, settings.acquisition_strength, job.grid_of, seed)


def draws_of(batch: int, rank: int, devices: int, iteration: int) -> range:
    """The numbers of one device's examples: each iteration's are shared out among the devices."""
    first = (iteration * devices + rank) * batch
    return range(first, first + batch)


class Batches:
    """The batches of one processor, each a function of the iteration, into one buffer.

    Args:
        job: the training.
        rank: this device's number.
        devices: number of devices.
    """

    def __init__(self, job: Job, rank: int, devices: int) -> None:
        self._samples, self._draws = samples_of(job), partial(draws_of, job.settings.batch, rank, devices)
        self._buffer = torch.empty((job.settings.batch, 1, *job.network.input))

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def take(self, iteration: int) -> tuple[Tensor, Tensor, list[Case]]:
        """Inputs (batch, 1, slices, rows, columns), labels (batch,) and cases; good until the next call."""
        cases = [
            self._samples.example(draw, out=inputs[0].numpy())[1]
            for draw, inputs in zip(self._draws(iteration), self._buffer, strict=True)
        ]
        return self._buffer, torch.tensor([case.label for case in cases]), cases

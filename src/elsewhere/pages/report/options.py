"""A study's settings as they are shown in; the options that sentences of the page tell, each with its type, out.

A section that the settings do not hold is None; so is an option that a study of an earlier version did not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True)
class SplitOptions:
    """How patients were divided: their shares for training and testing, and the folds of a cross-validation."""

    train: float | None = None
    test: float | None = None
    folds: int = 0


@dataclass(frozen=True)
class PreparationOptions:
    """How volumes were prepared: as `scans.preparation.Preparation`."""

    size: Sequence[int] = ()
    grid: str | None = None
    encoding: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    crop: str | None = None


@dataclass(frozen=True)
class NetworkOptions:
    """What kind of network, and its sizes: as `model.network_settings.NetworkSettings`."""

    kind: str = "paper"
    input: Sequence[int] | None = None
    filters: Sequence[int] | None = None
    kernels: Sequence[Sequence[int]] | None = None
    pools: Sequence[Sequence[int]] | None = None
    dense: Sequence[int] | None = None
    dropout: float | None = None
    dropblock: float | None = None
    classes: int | None = None


@dataclass(frozen=True)
class SampleOptions:
    """How voxels become inputs: as `model.settings.SampleSettings`."""

    normalisation: str | None = None
    padding: str | None = None
    augment: bool | None = None


@dataclass(frozen=True)
class TrainingOptions:
    """How networks were trained: as `model.settings.TrainingSettings`."""

    iterations: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    validate_every: int | None = None
    seed: int | None = None
    sampling: str | None = None
    balanced_classes: bool = False
    select: str = "accuracy"
    warm_up: int = 0
    schedule: str = "constant"
    weight_decay: float = 0.0
    clip: float = 0.0
    ema: float = 0.0
    precision: str | None = None


@dataclass(frozen=True)
class EvaluationOptions:
    """How predictions became scores: the threshold reading that headlines, and the bootstrap's resamples."""

    threshold: Literal["model", "site"] = "site"
    resamples: int | None = None


@dataclass(frozen=True)
class Options:
    """The options of one study that sentences of the page tell; `seed`: of the split."""

    seed: int | None = None
    split: SplitOptions | None = None
    preparation: PreparationOptions | None = None
    network: NetworkOptions | None = None
    sample: SampleOptions | None = None
    training: TrainingOptions | None = None
    evaluation: EvaluationOptions | None = None


SECTIONS = {
    "split": SplitOptions,
    "preparation": PreparationOptions,
    "network": NetworkOptions,
    "sample": SampleOptions,
    "training": TrainingOptions,
    "evaluation": EvaluationOptions,
}


def options_of(settings: Mapping[str, Any]) -> Options:
    """The options among a study's settings, nested as in `study.json`."""
    sections = {name: _section(kind, settings.get(name)) for name, kind in SECTIONS.items()}
    return Options(settings.get("seed"), **sections)


def _section(kind: type, given: object) -> Any:
    if not isinstance(given, Mapping):
        return None
    return kind(**{f.name: given[f.name] for f in fields(kind) if f.name in given})

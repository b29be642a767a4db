"""A training's state on disk: weights, Adam's moments, iteration, best so far and curves, in one file at a time."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.files import write_whole

MOMENTS = ("exp_avg", "exp_avg_sq")  # what torch's Adam keeps of each parameter, besides the step


@dataclass
class State:
    """Where a training stands.

    Attributes:
        job: everything that decides its result; a training never goes on with another job.
        iteration: iterations done.
        best_iteration: after which the kept model was validated; 0 for none yet.
        best_accuracy: its validation accuracy.
        loss_sum: of the training losses since the last row of the curves.
        curves: one row (iteration, training loss, validation accuracy) per validation.
    """

    job: dict[str, Any]
    iteration: int = 0
    best_iteration: int = 0
    best_accuracy: float = -1.0
    loss_sum: float = 0.0
    curves: list[tuple[int, float, float]] = field(default_factory=list)


def save_state(path: Path, state: State, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write a state; one rename makes it current, so a kill leaves the old one or the new one, whole."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": moments[name] for name in MOMENTS}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content = save(tensors, metadata={"state": json.dumps(asdict(state))})
    write_whole(path, content)


def read_state(path: Path) -> State | None:
    """A state without its tensors; None where there is none.

    Raises:
        BadCheckpoint: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            fields = json.loads(file.metadata()["state"])
        return State(**{**fields, "curves": [(int(i), loss, accuracy) for i, loss, accuracy in fields["curves"]]})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BadCheckpoint(
            path,
            f"the training's state is damaged ({error})",
            "Remove the file, and the training starts from its beginning",
        ) from error


def restore(path: Path, state: State, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a state's weights and moments back, bit by bit."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    network.load_state_dict({name: tensors[f"network.{name}"] for name in network.state_dict()})
    adam = optimizer.state_dict()
    adam["state"] = {
        index: {"step": torch.tensor(float(state.iteration)), **_moments(tensors, index)}
        for index in adam["param_groups"][0]["params"]
    }
    optimizer.load_state_dict(adam)


def _moments(tensors: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    return {name: tensors[f"adam.{index}.{name}"] for name in MOMENTS}


def check_job(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with a training under other settings.

    Raises:
        BadStudy: names the first setting that changed, with both values.
    """
    change = next(_changes(before, json.loads(json.dumps(now))), None)
    if change:
        name, old, new = change
        raise BadStudy(
            folder,
            f"this training was started with {name} = {old}, now it is {new}",
            "Restore the setting, or remove the folder to train from the beginning",
        )


def _changes(before: Any, now: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _changes(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
    elif before != now:
        yield name, before, now


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep a second training out of a folder for as long as this one runs; a killed process lets go by itself.

    Raises:
        BadStudy: another process is training there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadStudy(
                folder.parent, "another process is training this model", "Wait for it, or give another folder"
            ) from error
        yield

"""A training's state on disk: weights, their average, Adam's moments, iteration and curves, in one file at a time."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from elsewhere.checksum import PLACE, is_sealed_file, write_sealed
from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.files import write_whole
from elsewhere.model.selection import Check

try:
    import fcntl
except ImportError:  # as on Windows
    fcntl = None  # type: ignore[assignment]

UNLOCKABLE = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)  # as some shared file systems answer
CHECKED = "validation.probabilities"
MOMENTS = ("exp_avg", "exp_avg_sq")  # what torch's Adam keeps of each parameter, besides the step


@dataclass
class State:
    """Where a training stands.

    Attributes:
        job: everything that decides its result; a training never goes on with another job.
        iteration: iterations done.
        best_iteration: after which the kept model was validated; 0 for none yet.
        loss_sum: of the training losses since the last row of the curves.
        curves: one check per validation.
        probabilities: of the validation scans at every check, (scans,) each; fewer where an earlier version began.
        site_weights: training site -> weight of GroupDRO; empty for other objectives.
    """

    job: dict[str, Any]
    iteration: int = 0
    best_iteration: int = 0
    loss_sum: float = 0.0
    curves: list[Check] = field(default_factory=list)
    probabilities: list[NDArray[np.float64]] = field(default_factory=list)
    site_weights: dict[str, float] = field(default_factory=dict)


def save_state(
    path: Path,
    state: State,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None = None,
) -> None:
    """Write a state; one rename makes it current, so a kill leaves the old one or the new one, whole.

    Args:
        path: the file.
        state: where the training stands.
        network: the network in training.
        optimizer: its Adam or AdamW.
        average: the network of its averaged weights, where there is one.
    """
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": moments[name] for name in MOMENTS}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    if state.probabilities:
        tensors[CHECKED] = torch.from_numpy(np.stack(state.probabilities))
    fields = {name: value for name, value in vars(state).items() if name != "probabilities"}
    if not state.site_weights:
        del fields["site_weights"]
    content = save(tensors, metadata={"state": json.dumps({"checksum": PLACE, **fields})})
    write_whole(path, partial(write_sealed, content=content))


def read_state(path: Path) -> State | None:
    """A state without its weights and moments; None where there is none.

    Raises:
        BadCheckpoint: the file is damaged, or was written by a version whose states had no checksum.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            fields = dict(json.loads(file.metadata()["state"]))
            checked = list(file.get_tensor(CHECKED).numpy()) if CHECKED in file.keys() else []  # noqa: SIM118
        checksum = fields.pop("checksum", None)
        whole = is_sealed_file(path, checksum)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if checksum is None:
        raise BadCheckpoint(
            path,
            "the training's state has no checksum: an earlier version of elsewhere wrote it, or it is damaged",
            "Finish the training with that version, or remove the file to train from the beginning",
        )
    if not whole:
        raise _damaged(path, "its content does not fit its checksum")
    return State(**{**fields, "curves": [Check(*row) for row in fields["curves"]], "probabilities": checked})


def _damaged(path: Path, why: str) -> BadCheckpoint:
    next_step = "Remove the file, and the training starts from its beginning"
    return BadCheckpoint(path, f"the training's state is damaged ({why})", next_step)


def restore(
    path: Path,
    state: State,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None = None,
) -> None:
    """Put a state's weights, their average where there is one, and moments back, bit by bit."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    for part, prefix in ((network, "network"), (average, "average")):
        if part is not None:
            part.load_state_dict({name: tensors[f"{prefix}.{name}"] for name in part.state_dict()})
    adam = optimizer.state_dict()
    adam["state"] = {
        index: {"step": torch.tensor(float(state.iteration)), **_moments(tensors, index)}
        for group in adam["param_groups"]
        for index in group["params"]
        if f"adam.{index}.{MOMENTS[0]}" in tensors  # a parameter that no loss depends on has none
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

    A second one, as of a job that was started again while its first copy lives on, says on stderr whom it waits for,
    and goes on when that has ended: it finds the work done then, or takes it up. Where the system or the file system
    has no locks, that is said and the training goes on.

    Raises:
        OSError: the folder cannot be written, or the file system fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as file:
        if fcntl is None:
            _warn_of_no_lock(folder, "system")
        else:
            try:
                _wait_for(file, folder)
            except OSError as error:
                if error.errno not in UNLOCKABLE:
                    raise
                _warn_of_no_lock(folder, "file system")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _wait_for(file: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        who = file.read().strip() or "another process"
        print(f"{folder.parent}: {who} is training this model; waiting for it to end.", file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)


def _warn_of_no_lock(folder: Path, what: str) -> None:
    then = "Make sure that no second training runs here, or set ELSEWHERE_LOCKS=local"
    print(f"{folder}: this {what} has no file locks. {then}.", file=sys.stderr)

"""Trainings where file locks hold on one machine alone: each copy in a folder of its own, and one rename decides.

A scheduler that hears nothing of a machine starts its job again, and both copies come to an end. Where a lock of one
machine is none on another one (some NFS mounts), neither copy knows of the other. With ELSEWHERE_LOCKS=local each works
in `attempts/`, begun where the furthest copy stands; the first that is done is the training's result.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from elsewhere.errors import BadCheckpoint, BadOption
from elsewhere.files import write_whole
from elsewhere.model.job import CHECKPOINT
from elsewhere.model.network import checkpoint_is_whole, read_checkpoint_record
from elsewhere.model.state import read_state

LOCKS = "ELSEWHERE_LOCKS"
CHOSEN = "chosen-"
MARK = "attempt"  # stays in a chosen folder, so that no other one can be renamed to its name
TRIES = 3  # to copy the files of a training that goes on
STATE = Path("state", "current.safetensors")


def locks_are_local() -> bool:
    """Whether file locks are said to hold on one machine alone.

    Raises:
        BadOption: `ELSEWHERE_LOCKS` is neither "shared" nor "local".
    """
    text = os.environ.get(LOCKS, "") or "shared"
    if text not in {"shared", "local"}:
        raise BadOption(
            LOCKS, f"is {text!r}", "Set it to local where locks hold on one machine alone, or leave it unset"
        )
    return text == "local"


@contextmanager
def attempt(folder: Path, identity: object) -> Iterator[Path]:
    """A folder of this copy's own, begun where the furthest copy stands; done, it is the result unless one is there.

    Args:
        folder: the training's.
        identity: what decides its result, JSON-able; each has one result.

    Raises:
        OSError: the folder cannot be written.
    """
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    before = len(list(folder.glob(f"attempts/{CHOSEN}{key}-*")))  # whose files were removed since
    chosen = folder / "attempts" / f"{CHOSEN}{key}-{before}"
    own = folder / "attempts" / f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(8)}" / folder.name
    _begin(own, [folder, *folder.glob(f"attempts/*/{folder.name}")])
    write_whole(own / MARK, own.parent.name)
    try:
        yield own
        own.rename(chosen)
    except Exception:
        if not (chosen / MARK).exists():
            raise  # else another copy was first, and may have removed this one's folder
    settle(folder)
    for other in (folder / "attempts").iterdir():
        if not other.name.startswith(CHOSEN):
            shutil.rmtree(other, ignore_errors=True)


def settle(folder: Path) -> None:
    """Put the files of a chosen attempt into the training's folder, its state last; whoever comes by may do it."""
    for chosen in folder.glob(f"attempts/{CHOSEN}*"):
        files = [path.relative_to(chosen) for path in chosen.rglob("*") if path.is_file()]
        for name in sorted(files, key=lambda name: name == STATE):
            if name != Path(MARK):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):  # another copy does the same
                    (chosen / name).replace(folder / name)


def _begin(own: Path, others: Sequence[Path]) -> None:
    """Copy what the furthest of other copies has; nothing where it does not fit together, being written just now."""
    done = {other: _iteration(other) for other in others}
    furthest = max(done, key=lambda other: done[other])
    for _ in range(TRIES if done[furthest] else 0):
        _copy(furthest, own)
        state = read_state(own / STATE)
        if state is not None and _fits(own / CHECKPOINT, state.best_iteration):
            return
        shutil.rmtree(own, ignore_errors=True)


def _copy(there: Path, own: Path) -> None:
    for name in [path.relative_to(there) for path in there.rglob("*") if path.is_file()]:
        if "attempts" not in name.parts and name.name not in {MARK, "lock"} and name.suffix != ".part":
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # of a copy that has just gone
                shutil.copyfile(there / name, own / name)


def _fits(stem: Path, best: int) -> bool:
    """Whether a checkpoint is that of a state whose best validation was after so many iterations."""
    return not best or (checkpoint_is_whole(stem) and read_checkpoint_record(stem)["iteration"] == best)


def _iteration(folder: Path) -> int:
    """Iterations done of a copy; 0 where it has no state, or a damaged one."""
    with suppress(BadCheckpoint):
        state = read_state(folder / STATE)
        return 0 if state is None else state.iteration
    return 0

"""What every engine knows of its tasks: what they need of a machine, and how a process that did one may end."""

from __future__ import annotations

import pickle
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from elsewhere.errors import ElsewhereError
from elsewhere.stages import stage

Died = Callable[[int, "Ended"], Any]
"""Index of a task and how its worker ended -> its result, or an error."""


@dataclass(frozen=True)
class Needs:
    """What tasks need of a machine that is not this one; what a run gives none of stays on this machine.

    Attributes:
        reads: folders and files that have to lie there under the same paths.
        writes: folders that have to be the same there, and writable; they are made where they are not there yet.
        accelerator: "cpu"; "cuda" for a GPU; "auto" for one where the machines have some.
        devices: GPUs of one task.
    """

    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    accelerator: str = "cpu"
    devices: int = 1


@dataclass(frozen=True)
class Ended:
    """How a worker process ended that gave no answer; its text continues "the worker process …".

    Attributes:
        code: exit code of the process; below 0 the negative number of a signal; None where it was lost with its
            machine, or by whatever ran it there.
    """

    code: int | None

    @property
    def killed(self) -> bool:
        """Whether something outside ended it, as the kernel does for lack of memory: another try may go well."""
        return self.code is None or self.code == -signal.SIGKILL

    def __str__(self) -> str:
        if self.code is None:
            return "was lost with the machine or the job that it ran in"
        if self.code >= 0:
            return f"ended without an answer (exit code {self.code})"
        name = signal.Signals(-self.code).name if -self.code in signal.valid_signals() else "unknown"
        return f"was ended by signal {-self.code} ({name})"


class WorkerDied(ElsewhereError):
    """A worker process ended without an answer (out of memory, or killed)."""


class BadWorker(ElsewhereError):
    """A machine that was to do work has not what the work needs: a folder, room on it, or the same versions."""


def measure(describe: str, function: Callable[..., Any], *task: Any) -> Any:
    """Do a task as a stage of the run."""
    with stage(describe):
        return function(*task)


def give_up(name: str, index: int, how: Ended) -> NoReturn:
    """The error of a task whose worker died twice.

    Raises:
        WorkerDied: always.
    """
    raise WorkerDied(
        name,
        f"the worker process of task {index + 1} {how}, and again when it was tried alone",
        "Start again (finished work is kept), on a machine with more memory if that is short",
    )


def sendable(error: Exception) -> Exception:
    """The error, with the worker's traceback as a note; one that cannot be sent becomes its text."""
    text = "".join(traceback.format_exception(error))
    try:
        error.add_note(text)
        copy: Exception = pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(text)
    return copy

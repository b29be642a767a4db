"""On another machine: tasks done one after the other in a process of their own, and what it says passed on."""

from __future__ import annotations

import os
import pickle
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from elsewhere import stages
from elsewhere.engine.choice import ENGINE
from elsewhere.engine.processes import Process
from elsewhere.engine.speech import Voice, voice
from elsewhere.engine.tasks import Needs, sendable

PAUSE = 0.3  # seconds between two words on how far a task is
CARRIED = ("ELSEWHERE_", "MLFLOW_TRACKING_URI")
"""Beginnings of the names of variables that mean the same on every machine."""


@dataclass(frozen=True)
class Order:
    """What a process on another machine is started with.

    Attributes:
        work: what it does with each task.
        ticks: whether the work says how far it is.
        threads: CPU threads of it.
        voice: what the run says.
        measured: whether stages are measured.
        place: the working folder.
        variables: of the environment, which a study file may name.
    """

    work: Callable[..., Any]
    ticks: bool
    threads: int
    voice: Voice
    measured: bool
    place: str
    variables: Mapping[str, str]


def order(work: Callable[..., Any], ticks: bool, threads: int, needs: Needs | None = None) -> bytes:
    """An order of this process, ready to be sent; where the log lies stays a matter of this machine.

    Args:
        work: what is done with each task.
        ticks: whether it says how far it is.
        threads: CPU threads of it.
        needs: whose folders a study file may name by variables; these go along. None where what hands the order over
            brings the environment itself. No other variable goes: a shell's may hold secrets.
    """
    paths = [] if needs is None else [os.path.abspath(path) for path in (*needs.reads, *needs.writes)]
    variables = {
        name: value
        for name, value in os.environ.items()
        if name != ENGINE and (name.startswith(CARRIED) or (len(value) > 1 and any(value in path for path in paths)))
    }
    quiet = replace(voice(), log=None)
    return pickle.dumps(Order(work, ticks, threads, quiet, stages.measuring(), os.getcwd(), variables))


class Attendant:
    """Does the tasks of one order; a process that dies is made anew for the next task."""

    def __init__(self, given: bytes) -> None:
        self.order: Order = pickle.loads(given)
        os.chdir(self.order.place)
        os.environ.update(self.order.variables)
        for name in [name for name in os.environ if name.startswith("SLURM_") or name == ENGINE]:
            del os.environ[name]  # so that a training is what it is anywhere else
        if self.order.measured:
            stages.start()
        self.process: Process | None = None

    def messages(self, task: bytes) -> Iterator[bytes]:
        """Words, and at the end the answer ("done", "error" or "died"), each pickled."""
        if self.process is None:
            self.process = Process(self.order.work, self.order.ticks, self.order.threads, far=self.order.voice)
        process = self.process  # `stop` comes in another thread
        process.give(0, pickle.loads(task))
        said = 0.0
        while True:
            kind, content = process.answer()
            if kind == "tick":
                if time.monotonic() - said < PAUSE:
                    continue
                said = time.monotonic()
            if kind == "error":
                content = _placed(content)
            if kind == "died":
                self.process = None
            yield pickle.dumps((kind, content))
            if kind not in {"tick", "said"}:
                return

    def stop(self) -> None:
        """End the process, and wait until it is gone."""
        if self.process is not None:
            process, self.process = self.process.process, None
            process.terminate()
            process.join(2)


def _placed(error: Exception) -> Exception:
    """An error that says on which machine it was: the path of a full disk alone would not."""
    host = socket.gethostname()
    error.add_note(f"on {host}")
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        placed = type(error)(error.errno, error.strerror, f"{host}: {error.filename}")
        for note in error.__notes__:
            placed.add_note(note)
        return sendable(placed)
    return error

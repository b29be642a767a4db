"""Named stretches of work in; how often each ran and its wall and processor time, over all processes, out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """What one stage took.

    Attributes:
        count: how often it ran.
        wall: seconds on the clock, without the stages inside it.
        cpu: processor seconds of the whole process meanwhile (all its threads), without the stages inside it.
    """

    count: int = 0
    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.count + other.count, self.wall + other.wall, self.cpu + other.cpu)


_measured: dict[str, Spent] | None = None  # None: nobody asked, and a stage costs two calls
_lock, _here = threading.Lock(), threading.local()


class stage:  # noqa: N801 - a context manager, used like a function
    """Count the time of a `with` block under a name; a stage inside another is counted once, as itself.

    Args:
        name: in the user's words.
        wait: called before the clock is read, for work that goes on in a device's queue.
    """

    __slots__ = ("cpu", "inner", "name", "outer", "wait", "wall")

    def __init__(self, name: str, wait: Callable[[], object] | None = None) -> None:
        self.name, self.wait, self.wall = name, wait, 0.0

    def __enter__(self) -> None:
        if _measured is None:
            return
        self.outer: stage | None = getattr(_here, "stage", None)
        self.inner = Spent()
        _here.stage = self
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *error: object) -> None:
        if not self.wall:
            return
        if self.wait:
            self.wait()
        whole = Spent(0, time.perf_counter() - self.wall, time.process_time() - self.cpu)
        _here.stage = self.outer
        if self.outer is not None:
            self.outer.inner += whole
        add({self.name: Spent(1, whole.wall - self.inner.wall, whole.cpu - self.inner.cpu)})


def measuring() -> bool:
    """Whether stages are measured in this process."""
    return _measured is not None


def start() -> None:
    """Measure from now on."""
    global _measured  # noqa: PLW0603 - one account a process
    _measured = {}


def add(spent: Mapping[str, Spent]) -> None:
    """Put time on the account: of a stage that ended here, or what a worker sent. Nothing where nobody asked."""
    with _lock:
        if _measured is not None:
            for name, one in spent.items():
                _measured[name] = _measured.get(name, Spent()) + one


def take() -> dict[str, Spent]:
    """What was measured since the last call, in the order of first ends; measuring goes on."""
    global _measured  # noqa: PLW0603
    with _lock:
        taken = _measured or {}
        _measured = None if _measured is None else {}
    return taken


def stop() -> dict[str, Spent]:
    """What was measured since the last call; measuring ends."""
    global _measured
    taken, _measured = take(), None
    return taken

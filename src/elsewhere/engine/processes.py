"""Tasks in, answers out: in this process, or in processes of this machine."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from elsewhere import stages
from elsewhere.engine.crew import Crew
from elsewhere.engine.progress import Tick
from elsewhere.engine.speech import Voice, pass_on, speak, voice
from elsewhere.engine.tasks import Died, Ended, sendable
from elsewhere.stages import Spent

START = "start of a worker"
ENDING = 2.0  # seconds that a worker has to remove its half-written files


def cores() -> int:
    """Number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_here(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], advance: Tick, ticks: bool
) -> Iterator[tuple[int, Any]]:
    """One task after the other, in this process."""
    for i, task in enumerate(tasks):
        tick = [lambda share, text, i=i: advance(i + share, text)] if ticks else []
        result = function(*task, *tick)
        advance(i + 1, "")
        yield i, result


def run_in_processes(  # noqa: PLR0917 - called from one place
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int, ticks: bool, advance: Tick, died: Died
) -> Iterator[tuple[int, Any]]:
    """The tasks shared out among processes, which share the cores out."""

    begun = 0

    def fresh(number: int) -> Process:
        nonlocal begun
        begun, threads = begun + 1, max(1, cores() // number)
        found = _take_idle(threads) if begun <= workers and not is_of_main(function) else None
        if found is None:  # one that takes the place of another is always new
            return Process(function, ticks, threads)
        found.assign(function, ticks, voice())
        return found

    def ready(crew: Sequence[Process], seconds: float) -> list[Process]:
        pipes = wait([worker.pipe for worker in crew], seconds)
        return [worker for worker in crew if worker.pipe in pipes]

    yield from Crew(tasks, workers, fresh, ready).run(advance, died)


_idle: list[list[Process]] = []
"""Processes without work, for the runs inside `kept`; no list outside."""


@contextmanager
def kept() -> Iterator[None]:
    """Runs inside go on with the processes of the runs before: libraries take seconds to import, in each of them.

    A worker that died is replaced by a new process, and all end with the outermost `kept`.
    """
    if _idle:
        yield
        return
    _idle.append([])
    try:
        yield
    finally:
        for process in _idle.pop():
            process.end()


def _take_idle(threads: int) -> Process | None:
    """A process without work that has so many threads; None where there is none, and where stages are measured anew."""
    waiting = _idle[0] if _idle else []
    while found := next((p for p in waiting if p.threads == threads and p.measuring == stages.measuring()), None):
        waiting.remove(found)
        if found.process.is_alive():
            return found
        found.end()
    return None


@dataclass(frozen=True)
class _Assignment:
    """What a process is to do from now on."""

    work: Callable[..., Any]
    ticks: bool
    voice: Voice


class Process:
    """A worker: one process of this machine and the pipe to it."""

    def __init__(self, work: Callable[..., Any], ticks: bool, threads: int, *, far: Voice | None = None) -> None:
        """`far`: for a run on another machine, with its voice; what the process says comes as messages then."""
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.threads, self.measuring, self.far = threads, stages.measuring(), far is not None
        asked = time.time() if self.measuring else 0.0
        given = theirs, _Assignment(work, ticks, far or voice()), os.getpid(), asked, self.far
        self.process = context.Process(target=_serve, args=given)
        with _threads(threads), _without_main(work):
            self.process.start()
        theirs.close()
        self.index: int | None = None

    def assign(self, work: Callable[..., Any], ticks: bool, says: Voice) -> None:
        """Other work from now on, where it has ended what it had."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(_Assignment(work, ticks, says))

    def leave(self) -> bool:
        """Whether it stays for the next run, its tasks being done; else it is to be ended."""
        if not _idle or self.far:
            return False
        self.index = None
        _idle[0].append(self)
        return True

    def give(self, index: int, task: tuple[Any, ...]) -> None:
        """Start a task; a worker that is dead already is met when its answer is waited for."""
        self.index = index
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(task)

    def answer(self) -> tuple[str, Any]:
        """The next message, once there is one; ("died", how) where there will be none."""
        try:
            kind, content = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return "died", Ended(self.process.exitcode)
        return kind, content

    def stop(self) -> None:
        """Ask the process to end, and to remove what it has written half."""
        self.process.terminate()

    def end(self) -> None:
        """End the process at once: what it wrote is whole or not there."""
        self.process.terminate()
        self.pipe.close()
        self.process.join(ENDING)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Processes started inside find the number of threads set before any library of theirs asks for it."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(number)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def is_of_main(work: Callable[..., Any]) -> bool:
    """Whether work, or a part of it, is defined in the script that started this process."""
    parts = [work, *getattr(work, "args", ())]
    return any(getattr(getattr(part, "func", part), "__module__", "") == "__main__" for part in parts)


@contextmanager
def _without_main(work: Callable[..., Any]) -> Iterator[None]:
    """Processes started inside do not import the script that started this one: it needs no `if __name__ == …` then.

    Only where the work itself is defined in that script it has to be imported.
    """
    main = sys.modules["__main__"]
    if is_of_main(work):
        yield
        return
    hidden: dict[str, object] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    vars(main).update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        vars(main).update(hidden)


def _serve(pipe: Connection, assignment: _Assignment, parent: int, asked: float, far: bool) -> None:
    """A worker's life: a task in, its answer out, until the pipe is closed."""
    _start_worker(parent, asked)
    speak(assignment.voice)
    if far:
        pass_on(lambda text: pipe.send(("said", text)))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = pipe.recv()
            if asked:
                stages.add({START: Spent(1, time.time() - asked, time.process_time())})
                asked = 0.0
            if isinstance(task, _Assignment):
                assignment = task
                speak(assignment.voice)
                continue
            tick = [lambda share, text: pipe.send(("tick", (share, text)))] if assignment.ticks else []
            try:
                message: Any = "done", (assignment.work(*task, *tick), stages.take())
            except Exception as error:  # whatever a task raised is raised in the parent
                message = "error", sendable(error)
            pipe.send(message)


def _start_worker(parent: int, asked: float) -> None:
    """Measure stages where wanted, let Ctrl-C reach the parent alone, and let no worker outlive a killed parent."""
    if asked:
        stages.start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that half-written files go
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

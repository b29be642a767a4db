"""A map over tasks, in this process or in one per core, with progress. Nothing else knows where work is done."""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from elsewhere import stages
from elsewhere.errors import ElsewhereError
from elsewhere.stages import Spent, stage

Result = TypeVar("Result")
Tick = Callable[[float, str], None]
Answer = tuple[Any, dict[str, Spent]]  # what a worker sends: the result, and the time of its stages
START = "start of a worker"
console = Console(stderr=True)


class WorkerDied(ElsewhereError):
    """A worker process ended without an answer (out of memory, or killed)."""


def cores() -> int:
    """Number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    function: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    *,
    workers: int | None = None,
    describe: str = "Working",
    ticks: bool = False,
) -> Iterator[tuple[int, Result]]:
    """Call `function(*task)` for every task; yield (index, result) as each ends, in any order.

    Args:
        function: importable by name; with more than one worker it runs in fresh (spawned) processes.
        tasks: argument tuples, picklable.
        workers: processes; 1 runs everything in this process; None means one per core.
        describe: what the progress bar says.
        ticks: the function takes a last argument `tick(share, text)` and calls it now and then, so that long
            tasks move the bar.

    Raises:
        WorkerDied: a worker was killed, for example by the kernel for lack of memory.
        Exception: whatever a task raised, after the other running tasks were cancelled.
    """
    workers = min(workers or cores(), max(1, len(tasks)))
    work = partial(_measure, describe, function)
    try:
        with _progress(describe, len(tasks)) as advance:
            if workers == 1:
                yield from _run_here(work, tasks, advance, ticks)
            else:
                yield from _run_in_processes(work, tasks, workers, advance, ticks)
    except BrokenProcessPool as error:
        raise WorkerDied(
            function.__name__,
            "a worker process was killed",
            "Start again (finished work is kept), with fewer --workers if memory is short",
        ) from error


def _measure(describe: str, function: Callable[..., Result], *task: Any) -> Result:
    with stage(describe):
        return function(*task)


def _run_here(
    function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], advance: Tick, ticks: bool
) -> Iterator[tuple[int, Result]]:
    for i, task in enumerate(tasks):
        tick = [lambda share, text, i=i: advance(i + share, text)] if ticks else []
        result = function(*task, *tick)
        advance(i + 1, "")
        yield i, result


def _run_in_processes(
    function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], workers: int, advance: Tick, ticks: bool
) -> Iterator[tuple[int, Result]]:
    context = get_context("spawn")
    messages = context.Queue() if ticks else None
    start = (os.getpid(), max(1, cores() // workers), messages, time.time() if stages.measuring() else 0.0)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=start)
    try:
        pending = {pool.submit(_call, function, i, task, ticks): i for i, task in enumerate(tasks)}
        yield from _collect(pending, messages, advance)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _collect(pending: dict[Future[Answer], int], messages: Any, advance: Tick) -> Iterator[tuple[int, Any]]:
    shares: dict[int, float] = {}
    done = 0
    waiting = set(pending)
    while waiting:
        finished, waiting = wait(waiting, timeout=0.3, return_when=FIRST_COMPLETED)
        text = _drain(messages, shares)
        for future in finished:
            index = pending[future]
            shares.pop(index, None)
            done += 1
            result, spent = future.result()
            stages.add(spent)
            advance(done + sum(shares.values()), text)
            yield index, result
        advance(done + sum(shares.values()), text)


def _drain(messages: Any, shares: dict[int, float]) -> str:
    text = ""
    while messages is not None:
        try:
            index, share, text = messages.get_nowait()
        except queue.Empty:
            break
        shares[index] = share
    return text


_messages: Any = None  # a worker's way to its parent, set when it starts


def _call(function: Callable[..., Any], index: int, task: tuple[Any, ...], ticks: bool) -> Answer:
    _count_start()
    tick = [lambda share, text: _messages.put((index, share, text))] if ticks else []
    return function(*task, *tick), stages.take()


_started = 0.0  # when this worker was asked for, if stages are measured and its start is not yet counted


def _count_start() -> None:
    global _started  # noqa: PLW0603
    if _started:
        stages.add({START: Spent(1, time.time() - _started, time.process_time())})
        _started = 0.0


def _start_worker(parent: int, threads: int, messages: Any, asked: float) -> None:
    """Share the cores out, let Ctrl-C reach the parent alone, and let no worker outlive a killed parent."""
    global _messages, _started
    _messages, _started = messages, asked
    if asked:
        stages.start()
    if messages is not None:
        messages.cancel_join_thread()  # a worker that ends must not wait for its last words to be read
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


@contextmanager
def profiled(wanted: bool) -> Iterator[None]:
    """Where wanted, measure the stages of what runs inside, here and in workers, and print them at the end."""
    if not wanted:
        yield
        return
    stages.start()
    began = time.perf_counter()
    try:
        yield
    finally:
        console.print(_stage_table(stages.stop(), time.perf_counter() - began))


def _stage_table(spent: dict[str, Spent], clock: float) -> Table:
    whole = sum(one.wall for one in spent.values())
    caption = f"{clock:.1f} s on the clock; stages are summed over processes, and a stage inside another counts once"
    table = Table("stage", title="Where the time went", caption=caption)
    for head in ("share", "wall s", "CPU s", "times", "ms each"):
        table.add_column(head, justify="right")
    for name, one in sorted(spent.items(), key=lambda item: -item[1].wall):
        each = 1000 * one.wall / one.count
        shown = f"{each:.0f}" if each >= 100 else f"{each:.3g}"
        row = (f"{one.wall / whole:.1%}", f"{one.wall:.2f}", f"{one.cpu:.2f}", str(one.count), shown)
        table.add_row(name, *row)
    return table


class _Rate(ProgressColumn):
    """Tasks per second, or seconds per task."""

    def render(self, task: Task) -> Text:
        return Text(_rate(task.finished_speed or task.speed or 0.0))


def _rate(speed: float) -> str:
    if not speed:
        return ""
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"


@contextmanager
def _progress(describe: str, total: int) -> Iterator[Tick]:
    """A bar on a terminal; a line every tenth of the way elsewhere (a log file, CI)."""
    if not console.is_terminal:
        yield _plain_progress(describe, total)
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    ]
    with Progress(*columns, console=console, speed_estimate_period=120) as progress:
        bar = progress.add_task(describe, total=total, text="")
        yield lambda done, text: progress.update(bar, completed=round(done, 2), text=text)


def _plain_progress(describe: str, total: int) -> Tick:
    last, began = [-1], time.perf_counter()

    def advance(done: float, text: str) -> None:
        tenth = int(10 * done / total) if total else 10
        if tenth > last[0]:
            last[0] = tenth
            rate = _rate(done / (time.perf_counter() - began))
            line = f"{describe}: {round(done, 1):g} of {total}{', ' * bool(rate)}{rate} {text}"
            console.print(line.rstrip(), highlight=False, soft_wrap=True)

    return advance

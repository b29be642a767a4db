"""A map over tasks, in this process or in one per core, with progress. Nothing else knows where work is done."""

from __future__ import annotations

import ctypes
import io
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from elsewhere import stages
from elsewhere.errors import ElsewhereError
from elsewhere.stages import Spent, stage

Result = TypeVar("Result")
Tick = Callable[[float, str], None]
START = "start of a worker"
PAUSE = 0.3  # seconds between looks at the workers
LEAST_DONE = 0.05  # of a task, before anything is said of its speed
ENDING = 2.0  # seconds that a worker has to remove its half-written files


@dataclass(frozen=True)
class Voice:
    """What a run says, and where.

    Attributes:
        quiet: nothing but results and errors.
        json: results as JSON, by whoever started the run: `tell` is silent.
        verbose: also where the time went, and the traceback of an error.
        log: file to which everything that is said is added, with its time; None for none.
    """

    quiet: bool = False
    json: bool = False
    verbose: bool = False
    log: Path | None = None


class Speaker(Console):
    """The console of a run; what it prints goes into the log, too."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, and add the same to the log where there is one."""
        super().print(*objects, **options)
        log(*objects, **options)


console: Console = Speaker(stderr=True, markup=False)  # names and paths of users hold square brackets
_voices = [Voice()]


def voice() -> Voice:
    """What this run says."""
    return _voices[-1]


def speak(voice: Voice) -> None:
    """Say from now on what a voice says, in workers, too.

    Raises:
        OSError: the log cannot be written.
    """
    _voices[:], console.quiet = [voice], voice.quiet
    if voice.log is not None:
        voice.log.parent.mkdir(parents=True, exist_ok=True)
        voice.log.open("a").close()


def log(*objects: Any, **options: Any) -> None:
    """Add to the log, where there is one, what is printed elsewhere."""
    path = voice().log
    if path is not None:
        text = io.StringIO()
        Console(file=text, width=160, markup=False, color_system=None).print(*objects, **options)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text.getvalue()}")


@dataclass(frozen=True)
class Ended:
    """How a worker process ended that gave no answer; its text continues "the worker process …".

    Attributes:
        code: exit code of the process; below 0 the negative number of a signal.
    """

    code: int | None

    @property
    def killed(self) -> bool:
        """Whether something outside ended it, as the kernel does for lack of memory: another try may go well."""
        return self.code == -signal.SIGKILL

    def __str__(self) -> str:
        if self.code is None or self.code >= 0:
            return f"ended without an answer (exit code {self.code})"
        name = signal.Signals(-self.code).name if -self.code in signal.valid_signals() else "unknown"
        return f"was ended by signal {-self.code} ({name})"


class WorkerDied(ElsewhereError):
    """A worker process ended without an answer (out of memory, or killed)."""


def sheet(title: str, *heads: str) -> Table:
    """A table for the console; on a narrow one long cells go on in the next line, and nothing is cut off."""
    table = Table(title=title, box=SIMPLE_HEAD)
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def say(words: object, mark: str = "", style: str = "") -> None:
    """Print a line as it stands, whatever brackets it holds.

    Args:
        words: the line.
        mark: printed before it, in a style.
        style: of the mark, as rich names it.
    """
    console.print(Text.assemble((f"{mark} " if mark else "", style), str(words)), soft_wrap=True)


def tell(words: object) -> None:
    """Print a result on the standard output, as it stands; nothing where results are wanted as JSON."""
    if not voice().json:
        print(words)
    log(Text(str(words)), soft_wrap=True)


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
    died: Callable[[int, Ended], Result] | None = None,
) -> Iterator[tuple[int, Result]]:
    """Call `function(*task)` for every task; yield (index, result) as each ends, in any order.

    A worker that dies takes its own task with it and no other: the task is tried once more when all others are done,
    alone in a fresh process, so that what failed for want of memory beside others still gets its chance.

    Args:
        function: importable by name; with more than one worker it runs in fresh (spawned) processes.
        tasks: argument tuples, picklable.
        workers: processes; None means one per core. 1 runs everything in this process, unless `died` is given.
        describe: what the progress bar says.
        ticks: the function takes a last argument `tick(share, text)` and calls it now and then, so that long
            tasks move the bar.
        died: gives the result of a task whose worker died both times, from its index and how it ended; such tasks
            always run in processes of their own. Without it that is an error.

    Raises:
        WorkerDied: the worker of a task died twice, for example ended by the kernel for lack of memory.
        Exception: whatever a task raised; the workers of the others are ended at once.
    """
    workers = min(max(1, workers or cores()), max(1, len(tasks)))
    work = partial(_measure, describe, function)
    with _progress(describe, len(tasks)) as advance:
        if workers == 1 and died is None:
            yield from _run_here(work, tasks, advance, ticks)
        else:
            yield from _Crew(work, tasks, workers, ticks).run(advance, died or partial(_give_up, function.__name__))


def _measure(describe: str, function: Callable[..., Result], *task: Any) -> Result:
    with stage(describe):
        return function(*task)


def _give_up(name: str, index: int, how: Ended) -> NoReturn:
    raise WorkerDied(
        name,
        f"the worker process of task {index + 1} {how}, and again when it was tried alone",
        "Start again (finished work is kept), on a machine with more memory if that is short",
    )


def _run_here(
    function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], advance: Tick, ticks: bool
) -> Iterator[tuple[int, Result]]:
    for i, task in enumerate(tasks):
        tick = [lambda share, text, i=i: advance(i + share, text)] if ticks else []
        result = function(*task, *tick)
        advance(i + 1, "")
        yield i, result


class _Worker:
    """One process and the pipe to it; `index` is the task under way."""

    def __init__(self, work: Callable[..., Any], ticks: bool, threads: int) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        asked = time.time() if stages.measuring() else 0.0
        self.process = context.Process(target=_serve, args=(theirs, work, ticks, os.getpid(), asked, voice()))
        with _threads(threads), _without_main(work):
            self.process.start()
        theirs.close()
        self.index: int | None = None

    def give(self, index: int, task: tuple[Any, ...]) -> None:
        """Start a task; a worker that is dead already is met when its answer is waited for."""
        self.index = index
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(task)

    def answer(self) -> tuple[str, Any]:
        """The next message, or ("died", how)."""
        try:
            kind, content = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return "died", Ended(self.process.exitcode)
        return kind, content

    def end(self) -> None:
        """End the process at once: what it wrote is whole or not there."""
        self.process.terminate()
        self.pipe.close()
        self.process.join(ENDING)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class _Crew:
    """Workers that share out tasks, one at a time each."""

    def __init__(self, work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int, ticks: bool) -> None:
        self.tasks, self.workers = tasks, workers
        self.fresh = partial(_Worker, work, ticks)
        self.crew: list[_Worker] = []
        self.done, self.shares, self.text = 0, dict[int, float](), ""

    def run(self, advance: Tick, died: Callable[[int, Ended], Any]) -> Iterator[tuple[int, Any]]:
        """All tasks, then once more, one by one, those whose worker died."""
        lost: dict[int, Ended] = {}
        try:
            yield from self._share_out(list(range(len(self.tasks))), self.workers, lost, advance)
            for index in list(lost):
                again: dict[int, Ended] = {}
                yield from self._share_out([index], 1, again, advance)
                if again:
                    self._count(index, advance)
                    yield index, died(index, again[index])
        finally:
            for worker in self.crew:
                worker.process.terminate()  # all of them first: ending waits for each
            for worker in self.crew:
                worker.end()

    def _share_out(
        self, waiting: list[int], workers: int, lost: dict[int, Ended], advance: Tick
    ) -> Iterator[tuple[int, Any]]:
        """Answers to the waiting tasks; `lost` gains those whose worker died, with how it ended."""
        self._end(self.crew)
        waiting.reverse()
        for _ in range(min(workers, len(waiting))):
            self._begin(waiting, workers)
        while self.crew:
            ready = wait([worker.pipe for worker in self.crew], PAUSE)
            for worker in [w for w in self.crew if w.pipe in ready]:
                index, (kind, content) = worker.index, worker.answer()
                assert index is not None
                if kind == "tick":
                    self.shares[index], self.text = content
                    continue
                if kind == "error":
                    raise content
                if kind == "died":
                    lost[index] = content
                    self.shares.pop(index, None)
                    self._end([worker])
                    self._begin(waiting, workers)
                    continue
                result, spent = content
                stages.add(spent)
                if waiting:
                    following = waiting.pop()
                    worker.give(following, self.tasks[following])
                else:
                    self._end([worker])
                self._count(index, advance)
                yield index, result
            advance(self.done + sum(self.shares.values()), self.text)

    def _begin(self, waiting: list[int], workers: int) -> None:
        if waiting:
            index = waiting.pop()
            worker = self.fresh(max(1, cores() // workers))
            self.crew.append(worker)
            worker.give(index, self.tasks[index])

    def _end(self, workers: Sequence[_Worker]) -> None:
        for worker in list(workers):
            self.crew.remove(worker)
            worker.end()

    def _count(self, index: int, advance: Tick) -> None:
        self.shares.pop(index, None)
        self.done += 1
        advance(self.done + sum(self.shares.values()), self.text)


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


@contextmanager
def _without_main(work: Callable[..., Any]) -> Iterator[None]:
    """Processes started inside do not import the script that started this one: it needs no `if __name__ == …` then.

    Only where the work itself is defined in that script it has to be imported.
    """
    main = sys.modules["__main__"]
    parts = [work, *getattr(work, "args", ())]
    if any(getattr(getattr(part, "func", part), "__module__", "") == "__main__" for part in parts):
        yield
        return
    hidden: dict[str, object] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    vars(main).update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        vars(main).update(hidden)


def _serve(  # noqa: PLR0917 - a process is given its arguments by place
    pipe: Connection, work: Callable[..., Any], ticks: bool, parent: int, asked: float, voice: Voice
) -> None:
    """A worker's life: a task in, its answer out, until the pipe is closed."""
    _start_worker(parent, asked)
    speak(voice)
    tick = [lambda share, text: pipe.send(("tick", (share, text)))] if ticks else []
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = pipe.recv()
            if asked:
                stages.add({START: Spent(1, time.time() - asked, time.process_time())})
                asked = 0.0
            try:
                message: Any = "done", (work(*task, *tick), stages.take())
            except Exception as error:  # whatever a task raised is raised in the parent
                message = "error", _sendable(error)
            pipe.send(message)


def _sendable(error: Exception) -> Exception:
    """The error, with the worker's traceback as a note; one that cannot be sent becomes its text."""
    text = "".join(traceback.format_exception(error))
    try:
        error.add_note(text)
        copy: Exception = pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(text)
    return copy


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


@contextmanager
def profiled(wanted: bool) -> Iterator[None]:
    """Where wanted, or verbose, measure the stages of what runs inside, here and in workers; print them at the end."""
    if not (wanted or voice().verbose):
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
    """Tasks per second, or the time of one."""

    def render(self, task: Task) -> Text:
        return Text(_rate(task.completed, task.finished_speed or task.speed or 0.0))


def _rate(done: float, speed: float) -> str:
    """Speed in words; nothing while too little is done to tell it."""
    if not speed or done < LEAST_DONE:
        return ""
    return f"{speed:.1f}/s" if speed >= 1 else f"{_duration(1 / speed)} each"


def _duration(seconds: float) -> str:
    """A time as a person says it: 7.2 s, 4 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def _progress(describe: str, total: int) -> Iterator[Tick]:
    """A bar on a terminal; a line every tenth of the way elsewhere (a log file, CI)."""
    if not console.is_terminal:
        yield _plain_progress(describe, total)
        return
    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
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
            rate = _rate(done, done / (time.perf_counter() - began))
            line = f"{describe}: {round(done, 1):g} of {total}{', ' * bool(rate)}{rate} {text}"
            console.print(line.rstrip(), highlight=False, soft_wrap=True)

    return advance

"""How far a run is, and where its time went, on the console."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from elsewhere import stages
from elsewhere.engine import speech
from elsewhere.engine.speech import voice
from elsewhere.stages import Spent

Tick = Callable[[float, str], None]
LEAST_DONE = 0.05  # of a task, before anything is said of its speed


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
        speech.console.print(_stage_table(stages.stop(), time.perf_counter() - began))


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
        return Text(rate(task.completed, task.finished_speed or task.speed or 0.0))


def rate(done: float, speed: float) -> str:
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
def progress(describe: str, total: int) -> Iterator[Tick]:
    """A bar on a terminal; a line every tenth of the way elsewhere (a log file, CI)."""
    if not speech.console.is_terminal:
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
    with Progress(*columns, console=speech.console, speed_estimate_period=120) as shown:
        bar = shown.add_task(describe, total=total, text="")
        yield lambda done, text: shown.update(bar, completed=round(done, 2), text=text)


def _plain_progress(describe: str, total: int) -> Tick:
    last, began = [-1], time.perf_counter()

    def advance(done: float, text: str) -> None:
        tenth = int(10 * done / total) if total else 10
        if tenth > last[0]:
            last[0] = tenth
            speed = rate(done, done / (time.perf_counter() - began))
            line = f"{describe}: {round(done, 1):g} of {total}{', ' * bool(speed)}{speed} {text}"
            speech.console.print(line.rstrip(), highlight=False, soft_wrap=True)

    return advance

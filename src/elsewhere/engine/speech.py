"""What a run says, where, and in which form."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text


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


def say_as_it_is(text: str) -> None:
    """Print what a worker on another machine said."""
    console.print(Text(text), soft_wrap=True, end="")


class _PassedOn(io.StringIO):
    """A file whose text is sent on, print by print."""

    def __init__(self, send: Callable[[str], None]) -> None:
        super().__init__()
        self.send = send

    def flush(self) -> None:
        """Send what was written since the last time."""
        if text := self.getvalue():
            self.seek(0)
            self.truncate()
            self.send(text)


def pass_on(send: Callable[[str], None]) -> None:
    """Send from now on what would be printed on the console."""
    console.file = _PassedOn(send)

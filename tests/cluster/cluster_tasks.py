"""Work for the tests of engines: importable by name on every machine."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from elsewhere import engine
from elsewhere.errors import BadScan
from elsewhere.files import write_whole
from elsewhere.stages import stage


def in_words(index: int, how: engine.Ended) -> str:
    return f"{index} {how}"


def needs(folder: Path) -> engine.Needs:
    return engine.Needs((), (folder,))


def square(x: int) -> int:
    with stage("square"):
        return x * x


def wait_in_vain(x: int) -> None:
    """Take so long that a machine that is slow to say what is wrong there says it before the run is over."""
    time.sleep(3600 + x)


def talk(x: int, tick: Callable[[float, str], None]) -> int:
    engine.say(f"word {x}")
    tick(0.5, "half")
    return x


def fail(x: int) -> int:
    raise BadScan("scan.dcm", "is broken", "Mend it")


def fill(path: str) -> None:
    raise OSError(28, "No space left on device", path)


def die_on_one(x: int) -> int:
    if x == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    return x * x


def lose_its_agent_once(folder: str, x: int) -> int:
    """The first time, end the process that stands for the worker: a Ray worker, or a Slurm job's."""
    mark = Path(folder, f"{x}.killed")
    if x == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return x * x


def stay_until(folder: str, x: int) -> str:
    """Leave a mark, and stay where it was left; on another machine, or with the word to go on, end at once."""
    here = os.environ.get("RAY_NODE_ID", "") or str(os.getppid())
    mark = Path(folder, f"{x}.began")
    if not mark.exists():
        write_whole(mark, here)
        while not Path(folder, "go").exists():
            time.sleep(0.1)
    return mark.read_text()


def leave_copies(folder: str, x: int) -> int:
    """Leave a mark of each copy; what was begun first on node one ends with the word "cut", all others with "go"."""
    mine = Path(folder, f"{x}.{secrets.token_hex(4)}.copy")
    mine.touch()
    alone = [path.name for path in Path(folder).glob(f"{x}.*.copy")] == [mine.name]
    word = "cut" if alone and os.environ["SLURMD_NODENAME"] == "one" else "go"
    while not Path(folder, word).exists():
        time.sleep(0.1)
    return x


def stay(folder: str, x: int) -> None:
    """Hold a half-written file for an hour."""

    def content(path: Path) -> None:
        path.write_text("half")
        Path(folder, f"{x}.pid").write_text(f"{os.getpid()} {socket.gethostname()}")
        time.sleep(3600)

    write_whole(Path(folder, f"{x}.result"), content)


def use_card(folder: str, x: int, others: int) -> tuple[str, int]:
    """The card that is seen, and how many tasks there were at once; waits until there are so many others."""
    mark = Path(folder, f"{x}.on")
    mark.touch()
    until = time.monotonic() + (60 if others else 0.3)
    most = 0
    while time.monotonic() < until and most <= others:
        most = max(most, len(list(Path(folder).glob("*.on"))))
        time.sleep(0.02)
    if others:
        Path(folder, f"{x}.met").touch()
        while len(list(Path(folder).glob("*.met"))) <= others and time.monotonic() < until:
            time.sleep(0.02)
    mark.unlink()
    return os.environ.get("CUDA_VISIBLE_DEVICES", ""), most

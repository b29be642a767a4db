"""`make fuzz`: mutated inputs of every format and record, each read in a process that may end, hang or eat memory.

    python tests/fuzz/run.py --minutes 15 --seed 1

Every other file of this folder has `inputs(seed, folder)`, an iterator of (name, callable) pairs or of callables. A
callable may return, or raise an error of `elsewhere.errors`. Exit code 1 where one did anything else.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from elsewhere.errors import ElsewhereError

HERE = Path(__file__).parent
MODULES = sorted(p.stem for p in HERE.glob("*.py") if p != Path(__file__))
SECONDS, GIB = 20.0, 2 * 2**30
START = 600.0  # seconds for a process to begin with its first input
ROUND = 1500  # inputs of one module and seed
COLUMNS = ("read", "refused", "foreign", "ended", "hang", "memory")


def work(module: str, seed: int, folder: Path, first: int, count: int) -> None:
    """Run a module's inputs from number `first` on, up to `count`; a line before each and one after."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{module}", HERE / f"{module}.py")
    assert spec
    assert spec.loader
    source = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = source
    spec.loader.exec_module(source)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    for number, given in enumerate(itertools.islice(source.inputs(seed, folder), count)):
        name, call = given if isinstance(given, tuple) else (str(number), given)
        if number < first:
            continue
        print(f"begin\t{number}\t{name}".replace("\n", " "), file=out)
        try:
            volumes = call()
            answer = "refused" if isinstance(volumes, int) and not volumes else "read"
        except ElsewhereError:
            answer = "refused"
        except BaseException as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            answer = f"foreign\t{type(error).__name__}: {str(error)[:120]} ({Path(at.filename).name}:{at.lineno})"
        print(f"end\t{answer}".replace("\n", " "), file=out)


def watch(module: str, seed: int, seconds: float, count: int, counts: Counter[str]) -> list[str]:
    """Run a module with one seed in processes of its own; what went wrong, a line each.

    The seconds are those of the inputs: however long a process takes to start, it comes to read some.
    """
    faults: list[str] = []
    following = 0
    with tempfile.TemporaryDirectory() as folder:
        while seconds > 0:
            asked = (module, seed, Path(folder), following, count)
            number, name, how, spent = _watch_one(asked, seconds, counts, faults)
            if how is None:
                break
            seconds -= spent
            counts[how] += 1
            faults.append(f"{how}: {module}, seed {seed}, {name}")
            following = number + 1
    return faults


def _watch_one(
    asked: tuple[str, int, Path, int, int], seconds: float, counts: Counter[str], faults: list[str]
) -> tuple[int, str, str | None, float]:
    """The number and name of the input at which a process ended, how (None: it came through), and the seconds."""
    module, seed, folder, first, count = asked
    command = [sys.executable, __file__, "--work", module, "--seed", str(seed), "--folder", str(folder)]
    command += ["--first", str(first), "--count", str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout
    number, name, begun, rest, told = first, "its start", 0.0, b"", 0
    opened, started = time.monotonic(), False
    try:
        while True:
            if select.select([process.stdout], [], [], 0.1)[0]:
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    how = None if process.wait() == 0 and not begun else "ended"
                    return number, name, how, time.monotonic() - opened
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    kind, *values = line.decode(errors="replace").split("\t")
                    if kind == "begin":
                        opened = opened if started else time.monotonic()
                        started = True
                        number, name, begun = int(values[0]), values[1], time.monotonic()
                    else:
                        counts[values[0]] += 1
                        begun = 0.0
                        if values[0] == "foreign":
                            faults.append(f"foreign: {module}, seed {seed}, {name}: {values[1]}")
            told = _resident(process.pid)
            now = time.monotonic()
            if (begun and now - begun > SECONDS) or (not started and now - opened > START):
                return number, name, "hang", now - opened
            if told > GIB:
                return number, name, "memory", now - opened
            brief = not begun or now - begun < 1  # one that takes long is waited for
            if started and brief and now - opened > seconds:
                return number, name, None, now - opened
    finally:
        process.kill()
        process.wait()


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def main() -> int:
    """Run all modules, seed after seed, until the time is up; print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=MODULES, nargs="*", default=MODULES)
    for name in ("--work", "--folder"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=ROUND, help="inputs of one module and seed, at most")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.seed, Path(given.folder), given.first, given.count)
        return 0
    until = time.monotonic() + 60 * given.minutes
    counts: dict[str, Counter[str]] = {module: Counter() for module in given.only}
    faults: list[str] = []
    seeds: list[int] = []
    for seed in itertools.count(given.seed):
        if time.monotonic() > until:
            break
        seeds.append(seed)
        for place, module in enumerate(given.only):
            share = (until - time.monotonic()) / (len(given.only) - place)  # so that every format has its turn
            faults += watch(module, seed, max(1.0, share), given.count, counts[module])
    print("\n".join([*faults, f"seeds {seeds[0]} to {seeds[-1]}" if seeds else "no time", ""]))
    print(f"{'inputs':12}" + "".join(f"{name:>9}" for name in COLUMNS))
    for module, found in counts.items():
        print(f"{module:12}" + "".join(f"{found[name]:9}" for name in COLUMNS))
    print(f"{sum(sum(c.values()) for c in counts.values())} inputs in all")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

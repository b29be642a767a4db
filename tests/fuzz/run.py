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
ROUND = 1500  # inputs of one module and seed
COLUMNS = ("read", "refused", "foreign", "ended", "hang", "memory")


def work(module: str, seed: int, folder: Path, first: int) -> None:
    """Run a module's inputs from number `first` on; a line before each and one after."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{module}", HERE / f"{module}.py")
    assert spec
    assert spec.loader
    source = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = source
    spec.loader.exec_module(source)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    for number, given in enumerate(itertools.islice(source.inputs(seed, folder), ROUND)):
        name, call = given if isinstance(given, tuple) else (str(number), given)
        if number < first:
            continue
        print(f"begin\t{number}\t{name}".replace("\n", " "), file=out)
        try:
            call()
            answer = "read"
        except ElsewhereError:
            answer = "refused"
        except BaseException as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            answer = f"foreign\t{type(error).__name__}: {str(error)[:120]} ({Path(at.filename).name}:{at.lineno})"
        print(f"end\t{answer}".replace("\n", " "), file=out)


def watch(module: str, seed: int, until: float, counts: Counter[str]) -> list[str]:
    """Run a module with one seed in processes of its own; what went wrong, a line each."""
    faults: list[str] = []
    following = 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until:
            number, name, how = _watch_one(module, seed, Path(folder), following, until, counts, faults)
            if how is None:
                break
            counts[how] += 1
            faults.append(f"{how}: {module}, seed {seed}, {name}")
            following = number + 1
    return faults


def _watch_one(
    module: str, seed: int, folder: Path, first: int, until: float, counts: Counter[str], faults: list[str]
) -> tuple[int, str, str | None]:
    """The number and name of the input at which a process ended, and how; None where it came through."""
    command = [sys.executable, __file__, "--work", module, "--seed", str(seed), "--folder", str(folder)]
    process = subprocess.Popen([*command, "--first", str(first)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout
    number, name, begun, rest, told = first, "its start", 0.0, b"", 0
    try:
        while True:
            if select.select([process.stdout], [], [], 0.1)[0]:
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    return number, name, None if process.wait() == 0 and not begun else "ended"
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    kind, *values = line.decode(errors="replace").split("\t")
                    if kind == "begin":
                        number, name, begun = int(values[0]), values[1], time.monotonic()
                    else:
                        counts[values[0]] += 1
                        begun = 0.0
                        if values[0] == "foreign":
                            faults.append(f"foreign: {module}, seed {seed}, {name}: {values[1]}")
            told = _resident(process.pid)
            if begun and time.monotonic() - begun > SECONDS:
                return number, name, "hang"
            if told > GIB:
                return number, name, "memory"
            if time.monotonic() > until and not begun:
                return number, name, None
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
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.seed, Path(given.folder), given.first)
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
            faults += watch(module, seed, time.monotonic() + max(0.0, share), counts[module])
    print("\n".join([*faults, f"seeds {seeds[0]} to {seeds[-1]}" if seeds else "no time", ""]))
    print(f"{'inputs':12}" + "".join(f"{name:>9}" for name in COLUMNS))
    for module, found in counts.items():
        print(f"{module:12}" + "".join(f"{found[name]:9}" for name in COLUMNS))
    print(f"{sum(sum(c.values()) for c in counts.values())} inputs in all")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

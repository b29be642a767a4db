"""Kill `prepare`, `train` and `study` with -9 at random moments, start them again, and compare every byte at the end.

python benchmarks/kills.py [--kills 50] [--seed 0]

Prints one line per verb (kills, how many of them came after the run had written something, runs that ended before
they were killed) and the number of files compared; exits 1 where a byte differs. The sites and the network are the
tests' tiny ones. Everything is compared: `study.json`, `audit.json`, the tables, and the prepared volumes, which the
killed runs make anew. Only state files and TensorBoard events are left out (they hold times).
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from os import killpg
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from tiny_sites import TINY_STUDY, write_tiny_sites

DONE = (0, 30)  # 30: done, but a network did not learn, which tiny ones need not
ITERATIONS = 60  # long enough that kills fall into training
SHORTER = 0.9  # of a run's longest life, each time that one ended before it was killed


@dataclass(frozen=True)
class Verb:
    """A command, and the folders that it makes: without them it starts from its beginning."""

    command: list[str]
    makes: list[Path]

    def start(self) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-c", "from elsewhere.cli import main; main()", *self.command]
        return subprocess.Popen(line, stderr=subprocess.DEVNULL, start_new_session=True)

    def run(self) -> float:
        """Run to the end; the seconds that it took."""
        before = time.monotonic()
        if (code := self.start().wait()) not in DONE:
            sys.exit(f"failed ({code}): elsewhere {' '.join(self.command)}")
        return time.monotonic() - before

    def forget(self) -> None:
        for folder in self.makes:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study, out, store = str(_write_study(folder)), folder / "out", folder / "store"
        # one folder for both, because the report quotes it; forgotten, so that the killed runs make everything anew
        everything = Verb(["study", study, str(out), "--workers", "1"], [out, store])
        everything.run()
        expected, volumes = _hashes(out), _hashes(store)
        everything.forget()
        share = arguments.kills // 5
        prepare = Verb(["prepare", study, str(out), "--workers", "1"], [out, store])
        train = Verb(["train", study, "UTSW", str(out)], [out / "models"])
        for verb, kills in ((prepare, share), (train, share), (everything, arguments.kills - 2 * share)):
            print(_survive(verb, kills, chance), flush=True)
        _compare(expected, _hashes(out))
        _compare(volumes, _hashes(store))
        print(f"{len(expected)} results and {len(volumes)} prepared volumes equal to the last byte after all kills")


def _write_study(folder: Path) -> Path:
    sites = write_tiny_sites(folder / "sites")
    study = folder / "tiny.toml"
    study.write_text(TINY_STUDY.replace("iterations = 6", f"iterations = {ITERATIONS}") + sites)
    return study


def _survive(verb: Verb, kills: int, chance: random.Random) -> str:
    """Start a command until it has been killed so often, then let it end; what happened.

    Lives are drawn between half of what a run with nothing left to do takes (its start) and what a whole one takes.
    """
    verb.forget()
    longest, shortest = verb.run(), verb.run() / 2
    verb.forget()
    done = working = ended = 0
    while done < kills:
        before = _traces(verb)
        process = verb.start()
        try:
            code = process.wait(chance.uniform(shortest, max(shortest, longest)))
            if code not in DONE:
                sys.exit(f"failed ({code}) after {done} kills: elsewhere {' '.join(verb.command)}")
            ended, longest = ended + 1, longest * SHORTER
            verb.forget()
        except subprocess.TimeoutExpired:
            killpg(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
            working += before != _traces(verb)
    verb.run()
    return f"{verb.command[0]}: {done} kills, {working} of them after something was written; {ended} runs ended first"


def _traces(verb: Verb) -> set[tuple[Path, int]]:
    """Every file that a command has made so far, and when."""
    files = {file for folder in verb.makes for file in folder.rglob("*") if file.is_file()}
    return {(file, file.stat().st_mtime_ns) for file in files}


def _hashes(root: Path) -> dict[str, str]:
    files = (p for p in root.rglob("*") if p.is_file() and not {"state", "tensorboard"} & set(p.parts))
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _compare(expected: dict[str, str], found: dict[str, str]) -> None:
    different = sorted(n for n in {*expected, *found} if expected.get(n) != found.get(n))
    if different:
        sys.exit(f"different after kills: {', '.join(different)}")


if __name__ == "__main__":
    main()

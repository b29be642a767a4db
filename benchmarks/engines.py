"""What Ray costs beside the processes of one machine: the same tiny trainings and predictions under both.

python benchmarks/engines.py [--trainings 9] [--iterations 60] [--repeats 3] [--engines cores,ray]

Prints a table: the first run of each engine, which starts it, and the median of the following ones; exits 1 where a
weight or a prediction differs by one bit. Run it on an idle machine: where others compute, the medians are theirs.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from elsewhere import engine
from elsewhere.commands.prepare import prepare
from elsewhere.commands.study import run_study
from elsewhere.studies.folder import Folder
from tiny_sites import TINY_STUDY, write_tiny_sites


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--trainings", type=int, default=9)
    ask.add_argument("--iterations", type=int, default=60)
    ask.add_argument("--repeats", type=int, default=3)
    ask.add_argument("--engines", default="cores,ray")
    given = ask.parse_args()
    with tempfile.TemporaryDirectory() as place:
        file = write_study(Path(place), given.trainings, given.iterations)
        prepare(file, Path(place) / "prepared")
        seconds: dict[str, list[float]] = {name: [] for name in given.engines.split(",")}
        made: dict[str, str] = {}
        for turn in range(given.repeats + 1):
            for name, taken in seconds.items():
                engine.choose(name)
                out = Path(place) / f"{name}{turn}"
                shutil.copytree(Path(place) / "prepared", out)
                began = time.perf_counter()
                run_study(file, Folder(out))
                taken.append(time.perf_counter() - began)
                made.setdefault(hashed(out), name)
    print(f"\n{given.trainings} trainings of {given.iterations} iterations, 4 sites, {engine.cores()} cores\n")
    print("| engine | first run, with its start (s) | median of the others (s) |\n|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {taken[0]:.1f} | {median(taken[1:]):.1f} |")
    if len(made) > 1:
        sys.exit(f"weights or predictions differ: {made}")


def write_study(place: Path, trainings: int, iterations: int) -> Path:
    """A study of so many networks, over the tests' tiny sites."""
    tables = write_tiny_sites(place)
    head, tail = TINY_STUDY.split("[training]")
    seeds = f"seeds = {list(range(1, trainings + 1))}\n"
    head = head.replace(
        'combinations = [["UTSW"], ["COVID-CTset", "MosMedData"]]\n', f'combinations = [["UTSW"]]\n{seeds}'
    )
    file = place / "tiny.toml"
    file.write_text(head + "[training]" + tail.replace("iterations = 6", f"iterations = {iterations}") + tables)
    return file


def hashed(out: Path) -> str:
    """SHA-256 of all weights and predictions."""
    found = hashlib.sha256()
    for path in sorted([*out.glob("models/*/checkpoint.safetensors"), *out.rglob("predictions/**/*.parquet")]):
        found.update(path.relative_to(out).as_posix().encode() + path.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()

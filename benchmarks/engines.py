"""What Ray costs beside the processes of one machine: the same trainings under both, in turn.

python benchmarks/engines.py [--trainings 9] [--iterations 1500] [--repeats 3]

Prints seconds of each turn, a run's start apart, and the ratio Ray / cores beyond it; exits 1 where a weight differs by
one bit. Each turn runs both right after one another, the order changing, so that what else a machine does
meets both; run it on an idle one all the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from elsewhere import engine
from elsewhere.commands.prepare import prepare
from elsewhere.commands.train import train_model, training_needs
from elsewhere.model.training import scan_hashes_of
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from tiny_sites import TINY_STUDY, write_tiny_sites


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--trainings", type=int, default=9)
    ask.add_argument("--iterations", type=int, default=1500)
    ask.add_argument("--repeats", type=int, default=3)
    given = ask.parse_args()
    with tempfile.TemporaryDirectory() as place:
        file = write_study(Path(place), given.trainings, given.iterations)
        prepare(file, Path(place) / "prepared")
        print(f"\n{given.trainings} trainings of {given.iterations} iterations, {engine.cores()} cores; ", end="")
        print(f"Ray's first start took {start_of('ray', Path(place)):.1f} s. Seconds of a run's start, and after it:\n")
        print("| turn | load | start, cores | start, ray | cores | ray | ray / cores |\n|---|---|---|---|---|---|---|")
        ratios, made = list[float](), set[str]()
        for turn in range(given.repeats):
            load, start, taken = os.getloadavg()[0], dict[str, float](), dict[str, float]()
            for name in ("cores", "ray") if turn % 2 else ("ray", "cores"):
                start[name] = start_of(name, Path(place))
                out = Folder(Path(place) / f"{name}{turn}")
                shutil.copytree(Path(place) / "prepared", out.root)
                taken[name] = seconds_of(name, file, out) - start[name]
                made.add(hashed(out.root))
                shutil.rmtree(out.root)
            ratios.append(taken["ray"] / taken["cores"])
            row = (start["cores"], start["ray"], taken["cores"], taken["ray"])
            print(
                f"| {turn + 1} | {load:.1f} | {' | '.join(f'{one:.1f}' for one in row)} | {ratios[-1]:.3f} |",
                flush=True,
            )
    print(f"\nmedian ratio {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    if len(made) > 1:
        sys.exit("weights differ")


def start_of(name: str, place: Path) -> float:
    """Seconds of a run whose tasks are nothing: its workers' start, with the libraries that a training imports."""
    engine.choose(name)
    began = time.perf_counter()
    for _ in engine.run(scan_hashes_of, [({},), ({},)], workers=2, needs=engine.Needs((), (place / "start",))):
        pass
    return time.perf_counter() - began


def seconds_of(name: str, file: Path, out: Folder) -> float:
    """Seconds of all trainings of a prepared study."""
    engine.choose(name)
    study = load_study(file)
    jobs = [(file, out.root, model) for model in study.trainings]
    began = time.perf_counter()
    for _ in engine.run(train_model, jobs, describe=name, ticks=True, needs=training_needs([(study, file, out)])):
        pass
    return time.perf_counter() - began


def write_study(place: Path, trainings: int, iterations: int) -> Path:
    """A study of so many networks, over the tests' tiny sites."""
    tables = write_tiny_sites(place)
    head, tail = TINY_STUDY.split("[training]")
    seeds = f"seeds = {list(range(1, trainings + 1))}\n"
    head = head.replace(
        'combinations = [["UTSW"], ["COVID-CTset", "MosMedData"]]\n', f'combinations = [["UTSW"]]\n{seeds}'
    )
    tail = tail.replace("iterations = 6", f"iterations = {iterations}").replace("save_every = 2", "save_every = 100")
    tail = tail.replace("validate_every = 3", "validate_every = 100")
    file = place / "tiny.toml"
    file.write_text(head + "[training]" + tail + tables)
    return file


def hashed(out: Path) -> str:
    """SHA-256 of all weights."""
    found = hashlib.sha256()
    for path in sorted(out.glob("models/*/checkpoint.safetensors")):
        found.update(path.parent.name.encode() + path.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()

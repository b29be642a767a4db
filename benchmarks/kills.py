"""Kill `prepare`, `train` and `study` with -9 at random moments, start them again, and compare every byte at the end.

python benchmarks/kills.py [--kills 50] [--seed 0]

Prints one line per verb: kills survived and files compared; exits 1 where a byte differs. The sites and the network
are the tests' tiny ones. `study.json`, `audit.json` and the tables are compared too; state files and TensorBoard
events are left out (they hold times).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from conftest import TINY_STUDY, write_tiny_sites

ITERATIONS = 60  # long enough that kills fall into training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = _write_study(folder)
        _run(["study", str(study), str(folder / "whole"), "--workers", "1"])
        share = arguments.kills // 5
        plan = {"prepare": share, "train": share, "study": arguments.kills - 2 * share}
        for verb, kills in plan.items():
            extra = ["UTSW"] if verb == "train" else []
            command = [
                verb,
                str(study),
                *extra,
                str(folder / "killed"),
                *(["--workers", "1"] if verb != "train" else []),
            ]
            print(f"{verb}: {_survive(command, kills, chance, folder / 'killed')} kills", flush=True)
        compared = _compare(folder / "whole", folder / "killed")
        print(f"{compared} files equal to the last byte after all kills")


def _write_study(folder: Path) -> Path:
    sites = write_tiny_sites(folder / "sites")
    text = TINY_STUDY.replace("iterations = 6", f"iterations = {ITERATIONS}")
    study = folder / "tiny.toml"
    study.write_text(text + sites)
    return study


def _survive(command: list[str], kills: int, chance: random.Random, out: Path) -> int:
    """Start the command until it has been killed so often (what it made is removed when it ends too early)."""
    done = 0
    while done < kills:
        process = subprocess.Popen(_line(command), stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(chance.uniform(1.5, 14))
            shutil.rmtree(out.parent / "store", ignore_errors=True)
            if command[0] != "train":
                shutil.rmtree(out, ignore_errors=True)
            else:
                shutil.rmtree(out / "models", ignore_errors=True)
                _run(["prepare", command[1], str(out), "--workers", "1"])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
    _run(command)
    return done


def _run(command: list[str]) -> None:
    subprocess.run(_line(command), check=True, stderr=subprocess.DEVNULL)


def _line(command: list[str]) -> list[str]:
    return [sys.executable, "-c", "from elsewhere.cli import main; main()", *command]


def _compare(whole: Path, killed: Path) -> int:
    def results(root: Path) -> dict[str, bytes]:
        files = (p for p in root.rglob("*") if p.is_file() and not {"state", "tensorboard"} & set(p.parts))
        return {str(p.relative_to(root)): p.read_bytes() for p in files}

    first, second = results(whole), results(killed)
    different = sorted({*first, *second} - {n for n in first if first[n] == second.get(n)})
    if different:
        sys.exit(f"different after kills: {', '.join(different)}")
    return len(first)


if __name__ == "__main__":
    main()

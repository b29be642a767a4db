"""Every stage of the path in; its time, memory and size beside its rivals' on one Markdown page, and a plot, out.

    python benchmarks/run.py [--rounds 5] [--threads 2] [--only predict,store] [--out FILE]

Each part runs in a process of its own, one after the other. A rival that is not installed gives a row that says so.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from cost import PLOT
from measure import FIGURE_HEAD, HEAD, Missing, Part, machine, table

PACKAGES = (
    "elsewhere",
    "torch",
    "numpy",
    "blosc2",
    "monai",
    "openvino",
    "SimpleITK",
    "pydicom",
    "nibabel",
    "scikit-learn",
)


@dataclass(frozen=True)
class Asked:
    """How thoroughly: rounds of each comparison, processor threads, dropout passes."""

    rounds: int
    threads: int
    passes: int


def predict(asked: Asked) -> Part:
    module = import_module("predict")
    network = module.make_network()
    rows = module.time_rows(network, asked.rounds, asked.passes)
    return Part(rows, text=f"{module.memory_table()}\n{module.error_table(network)}")


def sample(asked: Asked) -> Part:
    module = import_module("sample")
    missing = [Missing("window from store + normalise + augment", "MONAI", module.MISSING)] if module.MISSING else []
    return Part([*module.rows(asked.rounds), *missing])


def peers(asked: Asked) -> Part:
    return import_module("peers").measure(asked.rounds, asked.threads)


def cost(_: Asked) -> Part:
    return import_module("cost").measure(PLOT)


def measured(name: str) -> Callable[[Asked], Part]:
    return lambda asked: import_module(name).measure(asked.rounds)


PARTS: dict[str, tuple[str, Callable[[Asked], Part]]] = {
    "predict": ("Prediction", predict),
    "peers": ("Prediction against OpenVINO", peers),
    "sample": ("Training inputs", sample),
    "train": ("Training", measured("train")),
    "store": ("Store", measured("store")),
    "prepare": ("Preparation of a DICOM site", measured("prepare")),
    "scores": ("Study statistics", measured("scores")),
    "cold": ("Cold starts", measured("cold")),
    "cost": ("Cost against slices, scans and sites", cost),
    "gpu": ("GPU", measured("gpu")),
}

PAGE = """# Measured speed and memory

Made by `make bench`: {machine}. {rounds} interleaved rounds, {threads} threads; medians, in square brackets the range.
The whole took {minutes:.1f} minutes. Our time and the rival's were taken in turn in one process, each with the same
output; a target counts as met only if the ratio of wall time *and* that of processor time meet it. A row without a
target is there for the picture. Targets are those of the project's issue on speed.

{parts}"""


def run_part(name: str, asked: Asked) -> Part:
    """In a process of its own, so that one part's threads and memory are not the next one's."""
    import torch  # noqa: PLC0415 - only in the process that measures

    torch.set_num_threads(asked.threads)
    return PARTS[name][1](asked)


def apart(name: str, asked: Asked) -> Part:
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run_part, name, asked).result()


def shown(name: str, part: Part, seconds: float) -> str:
    tables = [table(HEAD, [row.cells() for row in part.rows])] if part.rows else []
    tables += [table(FIGURE_HEAD, [figure.cells() for figure in part.figures])] if part.figures else []
    picture = [f"![Cost against slices, scans and sites](images/{PLOT.name})\n"] if name == "cost" else []
    body = "\n".join([*picture, *tables, *([part.text] if part.text else [])])
    return f"## {PARTS[name][0]}\n\n{body}\nThis part took {seconds:.0f} s.\n"


def measure(names: list[str], asked: Asked) -> tuple[str, int]:
    """The page, and how many parts failed."""
    began, parts, failed = time.perf_counter(), [], 0
    for name in names:
        start = time.perf_counter()
        try:
            part = apart(name, asked)
        except Exception as error:  # one part that fails must not cost the others
            part, failed = Part([Missing(PARTS[name][0], "", f"failed: {type(error).__name__}: {error}")]), failed + 1
        parts.append(shown(name, part, time.perf_counter() - start))
        sys.stderr.write(parts[-1] + "\n")
    minutes = (time.perf_counter() - began) / 60
    page = PAGE.format(
        machine=machine(PACKAGES), rounds=asked.rounds, threads=asked.threads, minutes=minutes, parts="\n".join(parts)
    )
    return page, failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, joined by commas [all]")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    names = [name for name in given.only.split(",") if name in PARTS]
    page, failed = measure(names, Asked(given.rounds, given.threads, given.passes))
    if given.out:
        given.out.write_text(page, encoding="utf-8")
    else:
        sys.stdout.write(page)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

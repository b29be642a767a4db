"""A cold process in; seconds until `elsewhere --help` or a typo's message is there, and until a first prediction, out.

    python benchmarks/cold.py [--rounds 5]

The first prediction's process imports everything, loads a full-size checkpoint, reads the first window from the store
and predicts it. What it takes above the prediction itself (a second one in the same process) is to stay below 3 s.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from measure import FIGURE_HEAD, Figure, Part, in_subprocess, table

SLICES = 128
MAIN = ("-c", "from elsewhere.cli import main; main()")
TYPOS = {
    "command": "",
    "section": "[trainig]\n",
    "option of the training": "[training]\niteration = 5\n",
    "option of a site": 'lables = "b"\n',
}
"""What is mistyped -> the line of the study file that has it."""


def measure(rounds: int) -> Part:
    helps = [seconds([*MAIN, "--help"]) for _ in range(rounds)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.toml"
        typos = {}
        for name, line in TYPOS.items():
            file.write_text(f'[sites.A]\nkind = "dicom"\nroot = "a"\n{line}')
            words = ["stduy"] if name == "command" else ["study", str(file)]
            typos[name] = [processor_seconds([*MAIN, *words]) for _ in range(rounds)]
        in_subprocess(__file__, "--write", folder)
        whole, again = zip(*(first_prediction(Path(folder)) for _ in range(max(3, rounds // 2))), strict=True)
    above = [a - b for a, b in zip(whole, again, strict=True)]
    return Part(
        figures=[
            Figure("`elsewhere --help`, cold process", statistics.median(helps), "s", 0.5, spread(helps)),
            *(
                Figure(
                    f"message on a mistyped {name}, processor time", statistics.median(found), "s", 0.5, spread(found)
                )
                for name, found in typos.items()
            ),
            Figure(
                "import, load, first window: above the prediction", statistics.median(above), "s", 3.0, spread(above)
            ),
            Figure("the prediction itself", statistics.median(again), "s", None, spread(again)),
        ]
    )


def spread(values: Sequence[float]) -> str:
    return f"{min(values):.2g}–{max(values):.2g} s, {len(values)} starts"


def seconds(arguments: Sequence[str]) -> float:
    """Wall time of a fresh interpreter."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def processor_seconds(arguments: Sequence[str]) -> float:
    """Processor time of a fresh interpreter that ends with an error, as it should."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert subprocess.run([sys.executable, *arguments], check=False, capture_output=True).returncode in {1, 2}
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first_prediction(folder: Path) -> tuple[float, float]:
    """Seconds of the whole process, and of a second prediction in it (which the whole includes, and is taken off)."""
    start = time.perf_counter()
    again = float(in_subprocess(__file__, "--predict", str(folder)))
    return time.perf_counter() - start - again, again


def write(folder: Path) -> None:
    import torch  # noqa: PLC0415 - not in the process that measures
    from predict import make_scan  # noqa: PLC0415

    from elsewhere.model.network import Network, save_checkpoint  # noqa: PLC0415
    from elsewhere.scans import store  # noqa: PLC0415

    torch.manual_seed(0)
    save_checkpoint(folder / "checkpoint", Network(), {})
    store.write(folder / "scan.b2nd", make_scan(SLICES).voxels, {})


def predict(folder: Path) -> float:
    """One prediction from nothing; then a second one, whose seconds are returned."""
    from elsewhere.model import prediction  # noqa: PLC0415 - the imports are part of what is measured
    from elsewhere.model.network import load_checkpoint  # noqa: PLC0415
    from elsewhere.model.sample import Case  # noqa: PLC0415
    from elsewhere.scans import store  # noqa: PLC0415

    network, _ = load_checkpoint(folder / "checkpoint")
    stored = store.find(folder / "scan.b2nd")
    assert stored is not None
    case = Case("site", "patient", "scan", 1, stored.slices, stored.minimum, stored.maximum)
    prediction.predict(network, case, lambda _, start, stop: stored.read(start, stop))
    start = time.perf_counter()
    prediction.predict(network, case, lambda _, start, stop: stored.read(start, stop))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--predict", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write(given.write)
    elif given.predict:
        print(predict(given.predict))
    else:
        print(table(FIGURE_HEAD, [figure.cells() for figure in measure(given.rounds).figures]))


if __name__ == "__main__":
    main()

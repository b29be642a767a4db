"""Studies of growing size in; processor time for each scan and memory of the process, stage by stage, out.

    python benchmarks/size.py [--scans 1000 3000 10000] [--stages 7] [--keep FOLDER]

Tiny simulated chests (matrix 64, slices of 6 mm and more) at two sites, five scans of each patient (shifted, other
noise), one small network trained for 20 iterations at the first. Every size is a process of its own, with two workers
of one thread. Time is its own and its workers'; memory is its own, the parent's, above what it held before the study.
`--keep` leaves the sites in a folder, and takes those that lie there; the studies are made anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from measure import Figure, Part, in_subprocess, memory_mb, table

SCANS = (1000, 3000, 10000)
SITES, TRAINED, SEED, STAGES = 2, "S0", 2029, 7
MATRIX, FINEST, WORKERS = 64, 6.0, 2
SCANS_OF_PATIENT, NOISE, SHIFT = 5, 20, 3  # HU; voxels
PADDING = -1300
"""HU; below it is no body."""

STUDY = """
protocol = "paper"
allow_leak = true
combinations = [["S0"]]
[split]
train = 0.5
test = 0.3
[preparation]
grid = "fixed"
[network]
input = [16, 64, 64]
filters = [4, 8]
kernels = [[3, 3, 3], [3, 3, 3]]
pools = [[4, 4, 4]]
dense = [32]
groups = 4
dense_groups = 4
[training]
iterations = 20
validate_every = 20
threads = 1
tensorboard = false
[prediction]
passes = 2
"""


def write_study(root: Path, scans: int) -> None:
    """Two sites of simulated chests, as many scans in all, and the study file."""
    from elsewhere.scans.phantom.exam import make  # noqa: PLC0415 - each point loads only what it needs
    from elsewhere.scans.phantom.sites import default_sites, plan_site  # noqa: PLC0415
    from elsewhere.scans.scan import Scan  # noqa: PLC0415
    from elsewhere.scans.sites import volumes  # noqa: PLC0415

    text, patients = STUDY, scans // SITES // SCANS_OF_PATIENT
    for place in range(SITES):
        site, listed = f"S{place}", []
        for plan in plan_site(replace(default_sites()[0], patients=patients), SEED + place, FINEST)[:patients]:
            volume = make(plan, MATRIX).volume
            for voxels in again(volume.voxels, len(listed)):
                facts = {"extension": ".mha"}
                scan = Scan(site, plan.patient_id, f"{len(listed):06d}", plan.label, (), facts=facts)
                volumes.write(root / site, scan, replace(volume, voxels=voxels))
                listed.append(scan)
        volumes.write_tables(root / site, listed)
        text += f'[sites.{site}]\nkind = "volumes"\nroot = "{root / site}"\n'
    (root / "study.toml").write_text(text)


def again(voxels: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """A patient's scans: the same body somewhere else in the picture, with other noise."""
    random = np.random.default_rng([SEED, seed])
    for _ in range(SCANS_OF_PATIENT):
        moved = np.roll(voxels, random.integers(-SHIFT, SHIFT + 1, 2), axis=(1, 2))
        noisy = (moved + random.normal(0, NOISE, voxels.shape)).round().astype(np.int16)
        yield np.where(moved < PADDING, moved, noisy)  # the same value everywhere outside the scanned circle


def stages_of(file: Path, root: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """What a study does, in its order."""
    from elsewhere.commands.predict import predict_site  # noqa: PLC0415
    from elsewhere.commands.report import report  # noqa: PLC0415
    from elsewhere.commands.study import run_study  # noqa: PLC0415
    from elsewhere.commands.train import train_model  # noqa: PLC0415
    from elsewhere.studies.auditing import audit_study  # noqa: PLC0415
    from elsewhere.studies.file import load_study  # noqa: PLC0415
    from elsewhere.studies.folder import Folder  # noqa: PLC0415
    from elsewhere.studies.preparing import prepare_study  # noqa: PLC0415
    from elsewhere.studies.scan_features import keep_scan_features  # noqa: PLC0415

    plan, folder = load_study(file), Folder(root)

    def quiet(*_: object) -> None:
        pass

    yield "prepare, split", lambda: prepare_study(plan, folder, WORKERS, whole=True)
    yield "audit, near-duplicates", lambda: audit_study(folder, WORKERS)
    yield "measures of the scans", lambda: keep_scan_features(plan, folder, WORKERS)
    yield "train (20 iterations)", lambda: train_model(file, root, TRAINED, quiet)
    yield "predict", lambda: [predict_site(file, root, TRAINED, f"S{i}", quiet) for i in range(SITES)]
    yield "scores", lambda: run_study(file, folder, WORKERS)
    yield "page", lambda: report([root])


def of_size(scans: int, keep: Path | None, stages: int) -> list[dict[str, float | str]]:
    """Each stage's processor seconds, and the most that the parent held in it above its start."""
    found: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) if keep is None else keep / str(scans)
        root.mkdir(parents=True, exist_ok=True)
        file = root / "study.toml"
        if not file.is_file():
            write_study(root, scans)
        for made in ("results", "store"):
            shutil.rmtree(root / made, ignore_errors=True)
        work = [*stages_of(file, root / "results")][:stages]
        __import__("lightning")  # what a training loads is the same at every size
        start = memory_mb("VmRSS")
        for name, stage in work:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            cpu = _cpu()
            stage()
            found.append({"stage": name, "cpu": _cpu() - cpu, "memory": memory_mb("VmHWM") - start})
            print(scans, found[-1], file=sys.stderr, flush=True)
    return found


def _cpu() -> float:
    """Processor seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def measure(sizes: tuple[int, ...] = SCANS, keep: Path | None = None, stages: int = STAGES) -> Part:
    given = ["--stages", str(stages)]
    given += [] if keep is None else ["--keep", str(keep)]
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    found = {size: json.loads(in_subprocess(__file__, "--point", str(size), *given).splitlines()[-1]) for size in sizes}
    return Part(figures=figures(found), text=text_of(found))


def figures(found: dict[int, list[dict[str, float | str]]]) -> list[Figure]:
    """How the time of one scan, and the memory, grow from the smallest size to the largest."""
    least, most = min(found), max(found)
    cpu = {size: sum(one["cpu"] for one in found[size]) / size for size in (least, most)}
    memory = {size: max(one["memory"] for one in found[size]) for size in (least, most)}
    name, times = f"scans {least} → {most}", most / least
    return [
        Figure(f"time of one scan grows with {name}", cpu[most] / cpu[least], "×", 1.25, "flat would be 1"),
        Figure(f"memory grows with {name}", memory[most] / memory[least], "×", None, f"linear would be {times:g}"),
    ]


def text_of(found: dict[int, list[dict[str, float | str]]]) -> str:
    names = [one["stage"] for one in next(iter(found.values()))]
    head = ["stage", *(f"{size} scans: ms each (MB)" for size in found)]
    rows = [[name, *(_cell(size, rows[i]) for size, rows in found.items())] for i, name in enumerate(names)]
    return table(head, rows)


def _cell(size: int, one: dict[str, float | str]) -> str:
    return f"{1000 * one['cpu'] / size:.2f} ({one['memory']:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, nargs="+", default=SCANS)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--stages", type=int, default=STAGES, help="the first so many")
    parser.add_argument("--point", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.point:
        print(json.dumps(of_size(given.point, given.keep, given.stages)))
    else:
        found = measure(tuple(given.scans), given.keep, given.stages)
        print(found.text)
        print("\n".join(f"{f.what}: {f.value:.2f} ({f.note})" for f in found.figures))


if __name__ == "__main__":
    main()

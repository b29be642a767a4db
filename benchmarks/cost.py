"""Scans of growing length, studies of growing size in; processor time and memory of each, and a plot of them, out.

    python benchmarks/cost.py [--plot docs/images/cost.svg]

Three questions: how does predicting one scan at full size grow with its slices; how does a whole study (small simulated
scans, one small network) grow with the number of scans at two sites; and does it matter at how many sites as many scans
lie? Every point is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import Figure, Part, in_subprocess, peak_above, table

SLICES = (64, 128, 192, 256, 320)
SCANS = (32, 64, 128, 256)
SITES = (1, 2, 4)
SITES_OF_SCANS, SCANS_IN_ALL = 2, 128
SHAPE, SPACING = (16, 64, 64), (8.0, 4.0, 4.0)
PLOT = Path("docs/images/cost.svg")

STUDY = """
protocol = "paper"
combinations = [["S0"]]
[split]
train = 0.5
test = 0.3
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
[evaluation]
resamples = 200
"""


def of_slices(slices: int) -> dict[str, float]:
    """Cost of predicting one scan of so many slices with the full network."""
    import torch  # noqa: PLC0415 - each point loads only what it needs
    from predict import make_network, make_scan  # noqa: PLC0415

    from elsewhere.model.prediction import predict  # noqa: PLC0415
    from elsewhere.model.sample import Case  # noqa: PLC0415

    torch.set_num_threads(1)
    network, voxels = make_network(), make_scan(slices).voxels
    case = Case("site", "patient", "scan", 1, slices, int(voxels.min()), int(voxels.max()))
    return cost(lambda: predict(network, case, lambda _, start, stop: voxels[start:stop]))


def of_study(scans: int, sites: int) -> dict[str, float]:
    """Cost of a study from DICOM to scores, in one process."""
    from elsewhere.commands.study import run_study  # noqa: PLC0415
    from elsewhere.studies.folder import Folder  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        file = write_study(Path(folder), scans, sites)
        return cost(lambda: run_study(file, Folder(Path(folder, "results")), workers=1))


def write_study(root: Path, scans: int, sites: int) -> Path:
    """Sites of as many small scans each, noise with a brighter box in the positives, and the study file."""
    from elsewhere.scans.scan import Scan  # noqa: PLC0415
    from elsewhere.scans.sites import dicom  # noqa: PLC0415
    from elsewhere.scans.volume import Volume  # noqa: PLC0415

    random, text = np.random.default_rng(0), STUDY
    for site in (f"S{i}" for i in range(sites)):
        listed = [Scan(site, f"{site}-{i}", f"{site}-{i}", i % 2, ()) for i in range(scans // sites)]
        for scan in listed:
            voxels = random.integers(-900, 200, SHAPE).astype(np.int16)
            voxels[4:8, 16:32, 16:32] += 300 * (scan.label or 0)
            dicom.write(root / site, scan, Volume(voxels, "HU", SPACING, 0.0))
        dicom.write_tables(root / site, listed)
        text += f'[sites.{site}]\nkind = "dicom"\nroot = "{root / site}"\n'
    file = root / "study.toml"
    file.write_text(text)
    return file


def cost(work) -> dict[str, float]:
    """Wall and processor seconds, and the highest memory above what the loaded process held."""
    wall, cpu = time.perf_counter(), time.process_time()
    memory = peak_above(work)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "memory": memory}


def points(what: str, sizes: tuple[int, ...], repeats: int = 1) -> list[dict[str, float]]:
    """Each size's cost, the least of some repeats: a busy machine only adds."""
    found = []
    for size in sizes:
        costs = [json.loads(in_subprocess(__file__, "--point", what, str(size))) for _ in range(repeats)]
        found.append({"size": size, **{field: min(one[field] for one in costs) for field in costs[0]}})
    return found


def measure(plot: Path) -> Part:
    found = {"slices": points("slices", SLICES), "scans": points("scans", SCANS), "sites": points("sites", SITES, 2)}
    draw(found, plot)
    return Part(figures=[*linear_figures(found)], text=points_table(found))


def linear_figures(found: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """How far each curve is from what it should be: growing no faster than its size, or not growing."""
    figures = []
    for what, grows in (("slices", True), ("scans", True), ("sites", False)):
        first, last = found[what][0], found[what][-1]
        allowed = last["size"] / first["size"] if grows else 1.0
        name = f"{what} {first['size']:g} → {last['size']:g}"
        for field, word in (("cpu", "time"), ("memory", "memory")):
            growth = last[field] / first[field]
            note = f"{'linear' if grows else 'flat'} would be {allowed:g}"
            figures.append(Figure(f"{word} grows with {name}", growth, "×", round(1.25 * allowed, 2), note))
    return figures


def points_table(found: dict[str, list[dict[str, float]]]) -> str:
    rows = [
        [f"{p['size']:g} {what}", f"{p['cpu']:.2f}", f"{p['wall']:.2f}", f"{p['memory']:.0f}"]
        for what, line in found.items()
        for p in line
    ]
    return table(["point", "CPU s", "wall s", "MB above the loaded process"], rows)


def draw(found: dict[str, list[dict[str, float]]], plot: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - not in the processes that measure

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "cost", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    from matplotlib import pyplot as plt  # noqa: PLC0415

    titles = {
        "slices": "Predict one scan, full network",
        "scans": "A study, scans at two sites",
        "sites": f"A study of {SCANS_IN_ALL} scans",
    }
    figure, axes = plt.subplots(2, 3, figsize=(9, 4.6), sharex="col")
    for column, (what, line) in zip(axes.T, found.items(), strict=True):
        for axis, field, unit in zip(column, ("cpu", "memory"), ("CPU seconds", "MB above the start"), strict=True):
            axis.plot([p["size"] for p in line], [p[field] for p in line], "o-", color="#2a6cab", linewidth=1.5)
            axis.set_ylim(0, 1.15 * max(p[field] for p in line))
            axis.set_ylabel(unit)
        column[0].set_title(titles[what])
        column[1].set_xlabel(what)
        column[1].set_xlim(0)
    figure.tight_layout()
    plot.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(plot, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, default=PLOT)
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.point:
        what, size = given.point[0], int(given.point[1])
        made = {
            "slices": lambda: of_slices(size),
            "scans": lambda: of_study(size, SITES_OF_SCANS),
            "sites": lambda: of_study(SCANS_IN_ALL, size),
        }
        print(json.dumps(made[what]()))
    else:
        found = measure(given.plot)
        print(found.text)
        print("\n".join(f"{f.what}: {f.value:.2f} ({f.note})" for f in found.figures))


if __name__ == "__main__":
    main()

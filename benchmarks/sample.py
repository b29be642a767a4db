"""A made-up scan in; time of a training input (window, normalise, augment) here and with MONAI out, as Markdown.

    python benchmarks/sample.py [--rounds 10] [--threads 1]

Both ways carry out the same drawn plans, another in each round, and must give the same numbers. MONAI's transforms are
those that a plan asks for and no others, without the drawing; its dataset keeps the scan as MONAI's own reader would
give it, in float32.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import BRIEF, HEAD, Row, interleave, machine, table
from numpy.typing import NDArray
from predict import LENGTH, make_scan

from elsewhere.model.sample import Case, Plan, SampleSettings, apply_plan, draw_plan, make_input
from elsewhere.scans.store import Stored, write

try:
    from monai.data import PersistentDataset
    from monai.transforms import (
        Compose,
        Flip,
        Randomizable,
        Rotate90,
        ScaleIntensity,
        ScaleIntensityRange,
        SpatialCrop,
        Transform,
        Transpose,
    )
except ImportError as error:
    MISSING = f"MONAI cannot be imported ({error}): `pip install monai`"
else:
    MISSING = ""

SLICES = 300
PAPER = SampleSettings()


def make_case(voxels: NDArray[np.int16]) -> Case:
    return Case("site", "patient", "scan", 1, len(voxels), int(voxels.min()), int(voxels.max()))


def draw_plans(case: Case, count: int) -> list[Plan]:
    return [draw_plan(np.random.default_rng([7, i]), case) for i in range(count)]


def monai_transforms(case: Case, plan: Plan) -> Compose:
    """The plan in MONAI's words, of (1, slice, row, column); a user would draw each with its Rand… form."""
    span = case.maximum - case.minimum
    divisor = 1 << span.bit_length() if plan.power_of_two else span
    steps: list[Transform] = [
        SpatialCrop(roi_start=(plan.start, 0, 0), roi_end=(plan.start + plan.count, 10_000, 10_000)),
        ScaleIntensityRange(case.minimum, case.minimum + divisor, 0.0, 1.0),
    ]
    steps += [Flip(spatial_axis=axis) for axis in range(3) if plan.flip[axis]]
    if plan.transpose:
        steps.append(Transpose((0, 1, 3, 2)))
    if plan.turns:
        steps.append(Rotate90(k=plan.turns, spatial_axes=(1, 2)))
    if plan.scale != 1:
        steps.append(ScaleIntensity(minv=None, maxv=None, factor=plan.scale - 1))
    return Compose(steps)


def monai_ways(case: Case, voxels: NDArray[np.int16], plans: Iterable[Plan], cache: Path) -> Mapping[str, Any]:
    """MONAI from its dataset on disk and from memory, one plan a call."""
    drawn = iter(plans)

    class Planned(Randomizable, Transform):
        """The next plan's transforms: what comes before them is what the dataset keeps."""

        def __call__(self, item: Mapping[str, torch.Tensor]) -> torch.Tensor:
            return monai_transforms(case, next(drawn))(item["scan"]).contiguous()

    whole = torch.from_numpy(voxels.astype(np.float32))[None]

    class Load(Transform):
        """The scan as its reader would give it; only what a `Transform` gives is kept on disk."""

        def __call__(self, _: Mapping[str, str]) -> dict[str, torch.Tensor]:
            return {"scan": whole}

    dataset = PersistentDataset([{"name": case.scan}], Compose([Load(), Planned()]), cache_dir=cache)
    return {"dataset": lambda: dataset[0], "transforms": lambda: Planned()({"scan": whole})}


def our_ways(case: Case, voxels: NDArray[np.int16], stored: Stored, plans: Iterable[Plan]) -> Mapping[str, Any]:
    """The same here, into one buffer that is used again, as training does."""
    drawn = iter(plans)
    buffer = torch.empty(LENGTH, 512, 512)

    def from_store() -> torch.Tensor:
        make_input(lambda _, start, stop: stored.read(start, stop), case, next(drawn), PAPER, out=buffer.numpy())
        return buffer

    def from_memory() -> torch.Tensor:
        plan = next(drawn)
        window = voxels[plan.start : plan.start + plan.count]
        apply_plan(window, plan, PAPER, (case.minimum, case.maximum), out=buffer.numpy())
        return buffer

    return {"store": from_store, "memory": from_memory}


def rows(rounds: int) -> list[Row]:
    """Nothing where MONAI is missing; `MISSING` says why."""
    if MISSING:
        return []
    voxels = make_scan(SLICES).voxels
    case = make_case(voxels)
    rounds = max(rounds, 2 * BRIEF)  # plans differ in cost, and the machine's memory in its mood
    plans = draw_plans(case, rounds + 1)
    with tempfile.TemporaryDirectory() as folder:
        stored = write(Path(folder, "scan.b2nd"), voxels, {})
        each = [plan for plan in plans for _ in range(2)]  # two ways a round draw from one list
        ours, theirs = our_ways(case, voxels, stored, cycle(each)), monai_ways(case, voxels, cycle(each), Path(folder))
        for _ in plans[:5]:
            for one, other in zip(ours.values(), theirs.values(), strict=True):
                np.testing.assert_allclose(one().numpy(), np.asarray(other())[0], atol=1e-6)
        kept = sum(file.stat().st_size for file in Path(folder).glob("*.pt"))
        assert kept >= 4 * voxels.size, f"MONAI's dataset keeps {kept} bytes: not the scan"
        times = interleave({**ours, **theirs}, rounds)
    note = f"{rounds} rounds"
    return [
        Row("normalise + augment one window", "MONAI's transforms", times["memory"], times["transforms"], 0.025, note),
        Row(
            "window from store + normalise + augment",
            "and PersistentDataset",
            times["store"],
            times["dataset"],
            0.10,
            note,
        ),
    ]


def report(rounds: int, threads: int) -> str:
    torch.set_num_threads(threads)
    where = f"{machine(['torch', 'monai', 'numpy'])}, {threads} threads, medians of {rounds}"
    return f"{where}\n\n{MISSING or table(HEAD, [row.cells() for row in rows(rounds)])}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    sys.stdout.write(report(given.rounds, given.threads))


if __name__ == "__main__":
    main()

"""One scan of 300 slices in; time of a random 128-slice window from the store and from its rivals, and sizes, out.

    python benchmarks/store.py [--rounds 5]

The rivals: .nii.gz through nibabel's slicing, and MONAI's PersistentDataset, which keeps float32 tensors. The voxels
are six real chests one after the other where ELSEWHERE_REAL_DATA has them, else a made-up one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from measure import FIGURE_HEAD, HEAD, Figure, Missing, Part, Row, interleave, real_data, table
from numpy.typing import NDArray
from predict import LENGTH, make_scan

from elsewhere.scans.dicom import read_volume
from elsewhere.scans.store import write

SLICES = 300
WINDOW = "read a random 128-slice window of 300"
CHESTS = "covid-ct-md/*/*"


def voxels_of(slices: int) -> tuple[NDArray[np.int16], str]:
    """HU clipped as the paper does, int16 [slice, 512, 512], and where they come from."""
    root = real_data()
    folders = sorted(f for f in root.glob(CHESTS) if f.is_dir()) if root else []
    if not folders:
        return make_scan(slices).voxels, "made-up chest"
    chests = [read_volume(tuple(sorted(f.glob("*.dcm"))), f.name).voxels for f in folders]
    real = np.concatenate(chests).clip(-1000)
    return np.resize(real, (slices, *real.shape[1:])), "real chests (COVID-CT-MD)"


def monai_reader(scan: Path, cache: Path) -> Callable[[], object]:
    """A random window as MONAI gives it: the whole volume cached as a tensor, the crop drawn at every read."""
    from monai.data import PersistentDataset  # noqa: PLC0415 - a peer, in the [bench] extra only
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandSpatialCropd  # noqa: PLC0415

    steps = [LoadImaged("image"), EnsureChannelFirstd("image"), RandSpatialCropd("image", (-1, -1, LENGTH))]
    data = PersistentDataset([{"image": str(scan)}], Compose(steps), cache)
    return lambda: data[0]["image"].shape


def measure(rounds: int) -> Part:
    voxels, source = voxels_of(SLICES)
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours, cache = Path(folder, "scan.nii.gz"), Path(folder, "scan.b2nd"), Path(folder, "monai")
        nib.save(nib.Nifti1Image(voxels.T, np.eye(4)), theirs)
        stored = write(ours, voxels, {})
        random = np.random.default_rng(0)

        def start() -> int:
            return int(random.integers(SLICES - LENGTH + 1))

        def window(read: Callable[[int, int], Any]) -> object:
            first = start()
            return read(first, first + LENGTH)

        ways: dict[str, Callable[[], object]] = {
            "ours": lambda: window(stored.read),
            "nibabel": lambda: window(lambda a, b: np.asarray(nib.load(theirs).dataobj[..., a:b])),
        }
        why = ""
        try:
            ways["monai"] = monai_reader(theirs, cache)
        except ImportError as error:
            why = str(error)
        times = interleave(ways, rounds)
        kept = ours.stat().st_size
        figures = [Figure("store against .nii.gz", kept / theirs.stat().st_size, "× its size", 1.0, source)]
        if not why:
            cached = sum(file.stat().st_size for file in cache.iterdir())
            figures.append(Figure("store against MONAI's cache", kept / cached, "× its size", None, source))
    rows: list[Row | Missing] = [Row(WINDOW, ".nii.gz, nibabel", times["ours"], times["nibabel"], 0.10, source)]
    peer = "MONAI's PersistentDataset"
    rows.append(Missing(WINDOW, peer, why) if why else Row(WINDOW, peer, times["ours"], times["monai"], 0.33, source))
    return Part(rows, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    found = measure(parser.parse_args().rounds)
    print(table(HEAD, [row.cells() for row in found.rows]))
    print(table(FIGURE_HEAD, [figure.cells() for figure in found.figures]))


if __name__ == "__main__":
    main()

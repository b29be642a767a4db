"""A made-up scan in; time of reading a random window from the store and from .nii.gz, and both sizes, out."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from measure import Row, interleave
from predict import LENGTH, make_scan

from elsewhere.scans.store import write

SLICES = 300


def rows(rounds: int) -> list[Row]:
    voxels = make_scan(SLICES).voxels
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = Path(folder, "scan.nii.gz"), Path(folder, "scan.b2nd")
        nib.save(nib.Nifti1Image(voxels.T, np.eye(4)), theirs)
        stored = write(ours, voxels, {})
        starts = np.random.default_rng(0).integers(SLICES - LENGTH + 1, size=2 * (rounds + 1)).tolist()
        times = interleave(
            {
                "ours": lambda: stored.read(start := starts.pop(), start + LENGTH),
                "theirs": lambda: np.asarray(nib.load(theirs).dataobj[..., (start := starts.pop()) : start + LENGTH]),
            },
            rounds,
        )
        sizes = f"size {ours.stat().st_size / theirs.stat().st_size:.2f} ×"
    return [
        Row("read a random 128-slice window of 300", ".nii.gz, nibabel", times["ours"], times["theirs"], 0.10, sizes)
    ]

"""A new site for models of the tiny study: scans that no site of it has, with a signal in the positives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import dcmread

from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import Volume

ENDS = {"volumes": ".nii.gz", "images": ".tif"}


ONE_SITE_STUDY = """
protocol = "paper"
[sites.Here]
kind = "dicom"
root = "{root}"
[network]
input = [4, 16, 16]
filters = [2, 4]
kernels = [[3, 3, 3], [3, 3, 3]]
pools = [[2, 4, 4]]
dense = [8]
groups = 1
dense_groups = 1
[training]
iterations = 4
validate_every = 2
save_every = 2
threads = 1
tensorboard = false
[prediction]
passes = 2
stride = 2
[evaluation]
resamples = 20
"""
"""A study that trains a tiny network on one site, at `root`."""

UIDS = ("SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID")


def write_secret_site(root: Path, *, scans: int = 24, seed: int = 0) -> set[str]:
    """DICOM of patients, one of them 93, whose ids, paths and UIDs cannot stand in a file by chance; all of these."""
    module, rows = reader("dicom"), []
    for i in range(scans):
        name = f"ZZ-PATIENT-{seed:02d}{i:04d}"
        scan = Scan(root.name, name, name, i % 2, facts={"age": 93 if i == 3 else 50 + i})
        hu = np.random.default_rng([seed, i]).normal(-800, 60, (6, 16, 16))
        hu[:, :, :3] = 40
        hu[2:4, 5:9, 5:9] += 500 * (i % 2)
        module.write(root, scan, Volume(hu.astype(np.int16), "HU", (8.0, 0.7, 0.7), 0))
        rows.append(scan)
    module.write_tables(root, rows)
    found = module.find(root, root.name).scans
    uids = {str(getattr(dcmread(f, stop_before_pixels=True), name)) for s in found for f in s.files for name in UIDS}
    secrets = {s.patient for s in found} | {s.scan for s in found} | uids | {f.name for s in found for f in s.files}
    return secrets | {str(root), "ZZ-PATIENT"}


def write_new_site(root: Path, kind: str = "volumes", *, labelled: bool = True, scans: int = 24, seed: int = 9) -> Path:
    """Scans Q0, Q1, …, every second one positive, one per patient; with a labels table where `labelled`."""
    module = reader(kind)
    rows = [Scan(root.name, f"Q{i}", f"Q{i}", i % 2, facts={"extension": ENDS.get(kind)}) for i in range(scans)]
    root.mkdir(parents=True, exist_ok=True)
    for i, scan in enumerate(rows):
        hu = np.random.default_rng([seed, i]).normal(-800, 60, (6, 16, 16))
        hu[:, :, :3] = 40
        hu[2:4, 5:9, 5:9] += 500 * (i % 2)
        module.write(root, scan, Volume(hu.astype(np.int16), "HU", (8.0, 0.7, 0.7), 0))
    if labelled:
        module.write_tables(root, rows)
    return root

"""Four sites of tiny volumes in their published layouts, and study files over them, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import Volume

TINY_SITES = {"UTSW": "dicom", "CC-CCII": "cc_ccii", "COVID-CTset": "covid_ctset", "MosMedData": "mosmeddata"}
TINY_STUDY = """
protocol = "paper"
combinations = [["UTSW"], ["COVID-CTset", "MosMedData"]]
[network]
input = [4, 16, 16]
filters = [2, 4]
kernels = [[3, 3, 3], [3, 3, 3]]
pools = [[2, 4, 4]]
dense = [8]
groups = 1
dense_groups = 1
[training]
iterations = 6
validate_every = 3
save_every = 2
learning_rate = 1e-3
threads = 1
tensorboard = false
[prediction]
passes = 3
stride = 2
[evaluation]
resamples = 50
"""


LEARNABLE = """combinations = [["UTSW"]]
[sample]
normalisation = "window"
window = [-1000, 100]
intensity = [0.8, 1.2]
[network]
input = [4, 16, 16]
filters = [8, 8]
kernels = [[3, 3, 3], [3, 3, 3]]
pools = [[2, 4, 4]]
dense = [32]
dropblock = 0.0
dropout = 0.05
[training]"""


def write_tiny_sites(root: Path) -> str:
    """Write the tiny sites below `root`; their tables for a study file."""
    for name, kind in TINY_SITES.items():
        module, scans = reader(kind), list(_tiny_scans(name))
        for scan in scans:
            module.write(root / name, scan, _tiny_volume(name, scan))
        module.write_tables(root / name, scans)
    return tiny_tables(root)


def tiny_tables(root: Path) -> str:
    """The sites' tables of a study file."""
    return "".join(f'[sites.{n}]\nkind = "{k}"\nroot = "{root / n}"\n' for n, k in TINY_SITES.items())


def _tiny_scans(site: str) -> Iterator[Scan]:
    for i in range(24):
        label = 1 if site == "MosMedData" else i % 2
        if site == "CC-CCII":
            facts = {"class": "NCP" if label else ("CP" if i % 4 else "Normal"), "extension": ".png"}
            yield Scan(site, str(10 + i), str(500 + i), label, facts=facts)
        elif site == "COVID-CTset":
            facts = {"folder": "covid1" if label else "normal1"}
            yield Scan(site, f"patient{i + 1}", f"patient{i + 1}/SR_2", label, facts=facts)
        elif site == "MosMedData":
            yield Scan(site, f"study_{i + 255:04d}", f"study_{i + 255:04d}", label, facts={"category": "CT-1"})
        else:
            yield Scan(site, f"P{i}", f"P{i}", label)


def _tiny_volume(site: str, scan: Scan) -> Volume:
    rng = np.random.default_rng([len(site), int("".join(c for c in scan.patient if c.isdigit()))])
    hu = rng.normal(-800, 60, (6, 16, 16))
    hu[:, :, :3] = 40
    if scan.label:
        hu[2:4, 5:9, 5:9] += 500
    if site == "CC-CCII":
        return Volume(np.clip((hu + 1350) / 1500 * 255, 0, 255).astype(np.uint8), "relative")
    if site == "COVID-CTset":
        return Volume((hu + 1024).clip(0, 4095).astype(np.int16), "ct_number", None, 1024)
    return Volume(hu.astype(np.int16), "HU", (8.0, 0.7, 0.7), 0)

"""Two small sites of made-up chests with lungs and lesions, for tests of models that were not trained here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import Volume

SCANS = 14
LESION = (slice(3, 6), slice(13, 18), slice(8, 12))
"""Where positives have one: in the lung that the picture shows on the left."""


def chest(site: str, number: int) -> Volume:
    """Two lungs in a body; every other scan has a lesion, those of B are noisier."""
    random = np.random.default_rng([ord(site), number])
    z, y, x = np.mgrid[-1:1:10j, -1:1:32j, -1:1:32j]
    hu = np.full(z.shape, -990.0)
    hu[(y / 0.7) ** 2 + (x / 0.85) ** 2 < 1] = 40
    for centre in (-0.4, 0.4):
        hu[(z / 0.9) ** 2 + (y / 0.45) ** 2 + ((x - centre) / 0.28) ** 2 < 1] = -860
    if number % 2:
        hu[LESION] = -350
    hu += random.normal(0, 20 if site == "A" else 60, hu.shape)
    return Volume(hu.round().astype(np.int16), "HU", (5.0, 1.0, 1.0), 0)


def write_sites(root: Path) -> str:
    """Write the sites A and B below `root`; their tables for a study file."""
    tables, module = "", reader("volumes")
    for site in "AB":
        scans = [Scan(site, f"{site}{i}", f"{site}{i}", i % 2, facts={"extension": ".nii.gz"}) for i in range(SCANS)]
        for i, scan in enumerate(scans):
            module.write(root / site, scan, chest(site, i))
        module.write_tables(root / site, scans)
        tables += f'[sites.{site}]\nkind = "volumes"\nroot = "{root / site}"\nuse = "test"\n'
    return tables

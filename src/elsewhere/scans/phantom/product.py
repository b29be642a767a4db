"""The planted truth of simulated sites in; the scores of a made-up vendor's product, before and after an update, out.

The product is a formula, not a network: it sees the planted lesions, is unsure by chance, refuses thin slices, and its
update no longer sees what sharp kernels show. All of it is an assumption, so that a score table can be shown.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from elsewhere.files import write_whole
from elsewhere.scans.phantom.planting import truth_files

Version = Literal["1.0", "2.0"]

THINNEST = 2.0  # mm; thinner slices are refused
DRIFT = 1.5  # log-odds that the update takes from scans of sharp kernels
SHARP = ("sharp", "lung")
COVID, INFECTION, OTHER, PER_SHARE, UNSURE = 0.6, -1.6, -2.4, 6.0, 0.8  # log-odds; per share of lung that lesions take


@dataclass(frozen=True)
class ProductScan:
    """What the product says of one scan, as a hospital would put it into a table.

    Attributes:
        scan: id.
        patient: id.
        site: where it is from.
        label: 1 positive, 0 negative.
        score: probability; "" where the product refuses.
        refused: why it gives no score; "" where it does.
        version: of the product.
        age: in years.
        sex: "F" or "M".
        kernel: that the scan was made with.
        thickness: of its slices in mm.
    """

    scan: str
    patient: str
    site: str
    label: int
    score: str
    refused: str
    version: str
    age: str
    sex: str
    kernel: str
    thickness: float


def product_scans(truth: Sequence[Mapping[str, str]], version: Version, seed: int) -> list[ProductScan]:
    """One row per scan of the planted truth; the two versions share their chance, so that they can be compared.

    Args:
        truth: rows of a site's `.truth.csv`.
        version: "1.0", or "2.0" after the update.
        seed: of the chance.
    """
    return [_scan(row, version, seed, place) for place, row in enumerate(truth)]


def _scan(row: Mapping[str, str], version: Version, seed: int, place: int) -> ProductScan:
    chance = np.random.default_rng([seed, sum(map(ord, row["site"])), place]).normal()
    start = COVID if row["label"] == "1" else OTHER if row["disease"] == "normal" else INFECTION
    drift = DRIFT if version == "2.0" and row["kernel"] in SHARP else 0.0
    odds = start + PER_SHARE * float(row["lesion_share"]) + UNSURE * chance - drift
    thickness = float(row["thickness"])
    refused = f"slices thinner than {THINNEST:g} mm" if thickness < THINNEST else ""
    return ProductScan(
        scan=f"{row['site']}: {row['scan']}",
        patient=f"{row['site']}: {row['patient']}",
        site=row["site"],
        label=int(row["label"]),
        score="" if refused else f"{1 / (1 + np.exp(-odds)):.4f}",
        refused=refused,
        version=version,
        age=row["age"],
        sex=row["sex"],
        kernel=row["kernel"],
        thickness=thickness,
    )


def write_product(sites: Path, names: Sequence[str], out: Path, seed: int) -> tuple[Path, Path]:
    """The product's tables of all scans of simulated sites, `version-1.csv` and `version-2.csv`; gives their paths.

    Args:
        sites: folder of the sites and of their planted truth.
        names: of the sites.
        out: folder for the tables.
        seed: of the product's chance.
    """
    truth = []
    for name in names:
        with truth_files(sites, name)[0].open(encoding="utf-8", newline="") as file:
            truth.append(list(csv.DictReader(file)))
    paths, versions = [], dict[Version, str]({"1.0": "version-1.csv", "2.0": "version-2.csv"})
    for version, name in versions.items():
        scans = [scan for rows in truth for scan in product_scans(rows, version, seed)]
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(ProductScan)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(scan) for scan in scans)
        write_whole(out / name, text.getvalue())
        paths.append(out / name)
    return paths[0], paths[1]

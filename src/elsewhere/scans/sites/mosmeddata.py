"""MosMedData COVID19_1110 (Russia): studies/CT-0…4/study_BBBB.nii.gz and the registry in; HU volumes out.

The layout is described on the sites page, "MosMedData COVID19_1110". The study ids are sorted by category, so the
order of the files tells the label; nothing here depends on that order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.nifti import read_nifti, write_nifti
from elsewhere.scans.scan import CLASSES, NEGATIVE, POSITIVE, Fact, Found, Scan
from elsewhere.scans.slices import walk
from elsewhere.scans.tables import read_rows, write_rows
from elsewhere.scans.values import normal_path
from elsewhere.scans.volume import Volume

READER_VERSION = 2

REGISTRY_NAMES = ("dataset_registry.xlsx", "dataset_registry.csv")
REGISTRY_COLUMNS = ("study_id", "category", "study_file", "mask_file")
CATEGORIES = ("CT-0", "CT-1", "CT-2", "CT-3", "CT-4")
WITHOUT_FINDINGS = "CT-0"
"""No sign of pneumonia; may hold positives, and the paper leaves it out (protocol page, table of sites)."""

STUDY = re.compile(r"(study_\d+)\.nii(\.gz)?", re.IGNORECASE)


def find(root: Path, site: str, labels: Path | None = None, *, ct0: Literal["omit", "negative"] = "omit") -> Found:
    """List the studies; the category comes from the registry, and from the folders where there is none.

    Args:
        root: folder at or above `studies`.
        site: name of the site.
        labels: another place for the registry (XLSX or CSV).
        ct0: "omit" leaves CT-0 out, as the paper does; "negative" uses it as COVID-negative, as others do.

    Raises:
        BadSite: no studies, or a registry that cannot be read or agrees with no study.
    """
    if ct0 not in ("omit", "negative"):
        raise BadSite(site, f"ct0 is '{ct0}'", "Set it to omit or negative")
    files, bad, registry, archives = _walk_studies(Path(root))
    if not files:
        raise _nothing_found(Path(root), archives)
    registry = Path(labels) if labels is not None else registry
    categories, notes = _categories(files, registry)
    scans = []
    for study, path in sorted(files.items()):
        if study not in categories:
            bad.append(BadScan(path, f"is not in {registry and registry.name}", "Add it to the registry, or remove it"))
            continue
        try:
            _check_category(study, path, categories[study])
        except BadScan as error:
            bad.append(error)
            continue
        scans.append(_as_scan(site, study, path, categories[study]))
    wanted = [s for s, category in categories.items() if ct0 == "negative" or category != WITHOUT_FINDINGS]
    gone = [study for study in wanted if study not in files]
    absent = [_absent(study, registry) for study in gone]
    kept = [scan for scan in scans if ct0 == "negative" or scan.label == POSITIVE]
    if len(kept) < len(scans):
        notes.append(f"{len(scans) - len(kept)} studies of {WITHOUT_FINDINGS} are left out (ct0 = omit)")
    missing = tuple(NEGATIVE if categories[study] == WITHOUT_FINDINGS else POSITIVE for study in gone)
    return Found(tuple(kept), (*bad, *absent), tuple(notes), missing)


def read(scan: Scan) -> Volume:
    """HU volume of one study. Raises BadScan."""
    grid = read_nifti(scan.files[0])
    if grid.voxels.dtype == np.uint8:
        raise BadScan(scan.files[0], "holds uint8 values, which cannot be HU", "Download the study again")
    return Volume(grid.voxels, "HU", grid.spacing, offset=0, notes=grid.notes)


def write(root: Path, scan: Scan, volume: Volume) -> None:
    """Write `studies/<category>/<scan>.nii.gz`, axes left-anterior-superior; fact `category` (CT-1) says where.

    Raises:
        BadScan: the volume is not in HU, has no spacing, or its id is not like study_0255.
    """
    if volume.units != "HU":
        raise BadScan(scan.scan, f"has units {volume.units}, expected HU", "Convert it first")
    if not STUDY.fullmatch(f"{scan.scan}.nii"):
        raise BadScan(scan.scan, "is no id of this layout", "Name scans like study_0255")
    write_nifti(Path(root) / "studies" / _category_of(scan) / f"{scan.scan}.nii.gz", volume)


def write_tables(root: Path, scans: list[Scan]) -> None:
    """Write `dataset_registry.csv`, as published: sorted ids, paths that begin with a slash."""
    rows = [
        {
            "study_id": int(scan.scan.rpartition("_")[2]),
            "category": _category_of(scan),
            "study_file": f"/studies/{_category_of(scan)}/{scan.scan}.nii.gz",
            "mask_file": "",
        }
        for scan in sorted(scans, key=lambda s: s.scan)
    ]
    write_rows(Path(root) / REGISTRY_NAMES[1], REGISTRY_COLUMNS, rows)


def _category_of(scan: Scan) -> str:
    return str(scan.facts.get("category") or ("CT-1" if scan.label == POSITIVE else WITHOUT_FINDINGS))


def _walk_studies(root: Path) -> tuple[dict[str, Path], list[BadScan], Path | None, list[str]]:
    """Study id → file; studies that stand twice; the registry; archives still packed."""
    files: dict[str, Path] = {}
    bad: list[BadScan] = []
    registries: list[Path] = []
    archives: list[str] = []
    for folder, names in walk(root, bad) if root.is_dir() else ():
        archives.extend(name for name in names if name.lower().endswith((".zip", ".rar", ".7z", ".tar")))
        registries.extend(folder / name for name in REGISTRY_NAMES if name in names)
        for name in names:
            matched = STUDY.fullmatch(name)
            if not matched:
                continue
            study = matched[1].lower()
            if study in files:
                what = f"{study} stands twice, here and at {files[study]}"
                bad.append(BadScan(folder / name, what, "Keep one of the two files"))
            else:
                files[study] = folder / name
    return files, bad, registries[0] if registries else None, archives


def _nothing_found(root: Path, archives: list[str]) -> BadSite:
    if archives:
        return BadSite(root, f"holds {archives[0]}, not unpacked, and no studies", "Unpack it here first")
    what = "holds no studies like studies/CT-1/study_0255.nii.gz"
    return BadSite(root, what, "Point `root` at the folder above `studies`")


def _categories(files: Mapping[str, Path], registry: Path | None) -> tuple[dict[str, str], list[str]]:
    """Study id → category, from the registry or, with a remark, from the folders."""
    if registry is None:
        note = f"no {' or '.join(REGISTRY_NAMES)}: categories are taken from the folders"
        return {study: path.parent.name.upper() for study, path in files.items()}, [note]
    rows = read_rows(registry, REGISTRY_COLUMNS[:3])
    categories = {_study_of(row): row["category"].upper() for row in rows}
    if not set(categories) & set(files):
        listed, found = next(iter(categories), "nothing"), next(iter(files))
        raise BadSite(registry, f"none of its {len(rows)} studies is there ({listed}; found {found})", "Check `root`")
    return categories, []


def _study_of(row: Mapping[str, str]) -> str:
    name = normal_path(row["study_file"]).rpartition("/")[2]
    matched = STUDY.fullmatch(name)
    return matched[1].lower() if matched else f"study_{row['study_id'].removeprefix('study_').zfill(4)}"


def _check_category(study: str, path: Path, category: str) -> None:
    if category not in CATEGORIES:
        what = f"{study} has the category '{category}', expected one of {', '.join(CATEGORIES)}"
        raise BadScan(path, what, "Use the registry or folders as published")
    folder = path.parent.name.upper()
    if folder in CATEGORIES and folder != category:
        what = f"{study} lies under {folder}, but the registry says {category}"
        raise BadScan(path, what, "Find out which is right, and correct the other")


def _as_scan(site: str, study: str, path: Path, category: str) -> Scan:
    label = NEGATIVE if category == WITHOUT_FINDINGS else POSITIVE
    facts: dict[str, Fact] = {"category": category, "severity": CATEGORIES.index(category)}
    return Scan(site, study, study, label, (path,), CLASSES[label], facts)


def _absent(study: str, registry: Path | None) -> BadScan:
    assert registry is not None
    return BadScan(study, f"{registry.name} lists it, but its file is not there", "Unpack or download it again")

"""Folders of image slices, or one image per scan, and a labels table in; volumes out. For any hospital.

`labels.csv` (`patient_id, label, path`): each path is a folder of PNG/JPG/BMP/TIFF slices, sorted by number, first the
most superior; or a single image, which is a scan of one slice (two-dimensional collections).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from elsewhere.errors import BadSite
from elsewhere.scans.labels import LabelRow, find_table, match, read_labels, row_of, unlabelled, write_labels
from elsewhere.scans.scan import Fact, Found, Scan
from elsewhere.scans.slices import IMAGE_SUFFIXES, encode_slice, natural_key, read_slices, suffix, walk
from elsewhere.scans.units import DeclaredUnits, check_declared, with_units
from elsewhere.scans.volume import Volume

READER_VERSION = 1


def find(
    root: Path,
    site: str,
    labels: Path | None = None,
    *,
    units: DeclaredUnits = "auto",
    offset: float | None = None,
) -> Found:
    """List the folders and images that the labels table names.

    Args:
        root: folder of the images, at any depth.
        site: name of the site.
        labels: the labels table; else `labels.csv` or `labels.xlsx` in the root.
        units: "auto" takes 8-bit values as relative and deeper ones for HU when the lowest is at most −500; "HU",
            "ct_number" (HU + offset) and "relative" are taken as said, "HU" and "ct_number" for deeper ones only.
        offset: what to subtract to get HU, for "HU" (0) and "ct_number" (1024).

    Raises:
        BadSite: no images, no table, or a table that is wrong.
    """
    root, declared = Path(root), check_declared(units, offset, site)
    folders = _walk_images(root)
    if not folders:
        raise _nothing(root)
    table = find_table(root, labels, site)
    rows = read_labels(table, site, keys=("path",))
    matched = match(rows, _scans_on_disk(root, folders, rows), table)
    scans = [row.as_scan(site, files, _facts(files, declared)) for row, files in matched.pairs]
    return Found(tuple(scans), matched.bad, matched.notes)


def _nothing(root: Path) -> BadSite:
    what = f"holds no {', '.join(sorted(IMAGE_SUFFIXES))} file" if root.is_dir() else "no such folder"
    return BadSite(root, what, "Point `root` at the folder of the images (archives must be unpacked)")


def read(scan: Scan) -> Volume:
    """The volume of one scan, no spacing. Raises BadScan."""
    where = scan.files[0] if len(scan.files) == 1 else scan.files[0].parent
    stored, notes = read_slices(scan.files, str(where))
    facts = dict(scan.facts)
    if stored.dtype == np.uint8 and facts.get("declared_units") == "auto":
        facts["declared_units"] = "relative"
    return with_units(stored, facts, where, None, notes)


def write(root: Path, scan: Scan, volume: Volume) -> None:
    """Write slices as `<scan id>/<nnnn><extension>`; fact `extension` (.png for 8 bits, .tif for 16) says how."""
    folder = Path(root) / scan.scan
    folder.mkdir(parents=True, exist_ok=True)
    extension = str(scan.facts.get("extension") or (".png" if volume.voxels.dtype == np.uint8 else ".tif"))
    for number, pixels in enumerate(volume.voxels):
        encode_slice(folder / f"{number:04d}{extension}", pixels)


def write_tables(root: Path, scans: list[Scan]) -> None:
    """Write `labels.csv`."""
    write_labels(Path(root) / "labels.csv", [row_of(scan, path=scan.scan) for scan in scans])


def _walk_images(root: Path) -> dict[Path, list[str]]:
    """Folder → the names of its images, in natural order."""
    found = {}
    for folder, names in walk(root) if root.is_dir() else ():
        if images := [name for name in names if suffix(name) in IMAGE_SUFFIXES]:
            found[folder] = sorted(images, key=natural_key)
    return found


def _scans_on_disk(root: Path, folders: dict[Path, list[str]], rows: list[LabelRow]) -> dict[str, tuple[Path, ...]]:
    """Path below the root → files: a folder is one scan, unless the table names images in it one by one."""
    wanted = {row.path for row in rows}
    found: dict[str, tuple[Path, ...]] = {}
    for folder, names in folders.items():
        files = {(folder / name).relative_to(root).as_posix(): folder / name for name in names}
        if wanted.isdisjoint(files):
            found[folder.relative_to(root).as_posix()] = tuple(files.values())
        else:
            found.update({name: (path,) for name, path in files.items()})
    return found


def _facts(files: tuple[Path, ...], declared: dict[str, Fact]) -> dict[str, Fact]:
    return {"extension": suffix(files[0].name), **declared}


# Without a table --------------------------------------------------------------------------------------------------


def find_unlabelled(root: Path, site: str, *, units: DeclaredUnits = "auto", offset: float | None = None) -> Found:
    """List all folders of images, without labels, each of a patient of its own; the options are those of `find`.

    Raises:
        BadSite: no images.
    """
    declared, folders = check_declared(units, offset, site), _walk_images(Path(root))
    if not folders:
        raise _nothing(Path(root))
    scans = unlabelled(site, _scans_on_disk(Path(root), folders, []), declared)
    return Found(tuple(replace(scan, facts=_facts(scan.files, declared)) for scan in scans))

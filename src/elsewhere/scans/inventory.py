"""A folder of scans nobody has described yet: which layout it has, and which scans lie in it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.labels import TABLE_ENDS
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import lister, reader
from elsewhere.scans.slices import IMAGE_SUFFIXES, no_such_folder, suffix, walk

VOLUME_ENDS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
MAGIC, MAGIC_AT = b"DICM", 128  # DICOM PS3.10, section 7.1
PUBLISHED = {
    "mosmeddata": re.compile(r"(^|/)CT-[0-4]/study_\d+\.nii(\.gz)?$", re.IGNORECASE),
    "covid_ctset": re.compile(r"(^|/)(covid|normal)\d+/patient\d+/SR_\d+/[^/]+\.tiff?$", re.IGNORECASE),
    "cc_ccii": re.compile(r"(^|/)(NCP|CP|Normal)(-\d+)?/\d+/\d+/[^/]+\.(png|jpe?g|bmp|tiff?)$", re.IGNORECASE),
}
"""Paths that only a published layout has (sites page)."""


@dataclass(frozen=True)
class Inventory:
    """What one folder holds.

    Attributes:
        root: the folder.
        kind: of site, a key of `elsewhere.scans.sites.KINDS`.
        published: its layout is one of the published ones, which bring their labels with them.
        scans: path below the root (DICOM: series UID) -> scan; of a published layout with labels, else without.
        bad: what cannot be used.
        notes: remarks, a sentence each.
    """

    root: Path
    kind: str
    published: bool
    scans: dict[str, Scan]
    bad: tuple[BadScan, ...] = ()
    notes: tuple[str, ...] = ()


def take_inventory(root: Path, kind: str | None = None) -> Inventory:
    """Recognise a folder's layout and list its scans; no pixel is decoded.

    Args:
        root: the folder.
        kind: of site, where it is known; else it is recognised.

    Raises:
        BadSite: there is no such folder, or nothing in it that is read as a scan.
    """
    if not root.is_dir():
        raise no_such_folder(root)
    notes: list[str] = []
    kind = kind or _recognise(root, notes)
    published = kind in PUBLISHED
    listed = (lister(kind) or reader(kind).find)(root, root.name)
    scans = {_name(scan, root, kind): scan for scan in listed.scans}
    return Inventory(root, kind, published, scans, listed.bad, (*notes, *listed.notes))


def _name(scan: Scan, root: Path, kind: str) -> str:
    if kind == "dicom":
        return scan.scan
    several = len(scan.files) > 1 and kind == "images"
    return (scan.files[0].parent if several else scan.files[0]).relative_to(root).as_posix()


def _recognise(root: Path, notes: list[str]) -> str:
    """The kind whose files make up most of the folder; a published layout goes first."""
    seen: Counter[str] = Counter()
    others: Counter[str] = Counter()
    folders: Counter[str] = Counter()
    for folder, names in walk(root, []):
        formats = Counter(_format(folder / name) for name in names)
        seen.update(formats)
        folders.update(name for name in formats if name)
        others.update(suffix(name) for name in names if not _format(folder / name))
        for name in names:
            below = (folder / name).relative_to(root).as_posix()
            seen.update(kind for kind, pattern in PUBLISHED.items() if pattern.search(below))
    for kind in PUBLISHED:
        if seen[kind]:
            return kind
    # A scan is one file of a volume format, but a whole folder of DICOM; a picture beside either is a screenshot.
    weights = {"volumes": seen["volumes"], "dicom": folders["dicom"]}
    if not any(weights.values()):
        weights = {"images": seen["images"]}
    kind = max(weights, key=lambda name: weights[name])
    if not weights[kind]:
        there = ", ".join(f"{n} {end or 'without extension'}" for end, n in others.most_common(5)) or "nothing"
        formats_read = f"DICOM, {', '.join(VOLUME_ENDS)}, {', '.join(sorted(IMAGE_SUFFIXES))}"
        raise BadSite(
            root,
            f"holds no scan of a format that is read ({formats_read}); it holds: {there}",
            "Give the folder of the scans; unpack archives first",
        )
    beside = [name for name in ("volumes", "dicom", "images") if name != kind and seen[name]]
    notes += [f"{seen[name]} files that may be {name} lie beside them and are not used" for name in beside]
    return kind


def _format(path: Path) -> str:
    """`volumes`, `images` or `dicom` by the name, and by the first bytes where a name says nothing; "" for others."""
    name = path.name.lower()
    if name.endswith(VOLUME_ENDS):
        return "volumes"
    end = suffix(name)
    if end in IMAGE_SUFFIXES:
        return "images"
    if end in {".dcm", ".ima", ".dicom"}:
        return "dicom"
    if end in TABLE_ENDS or name == "dicomdir":
        return ""
    try:
        with path.open("rb") as file:
            return "dicom" if file.read(MAGIC_AT + 4)[MAGIC_AT:] == MAGIC else ""
    except OSError:
        return ""

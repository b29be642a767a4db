"""CC-CCII (China): folders class/patient/scan of 8-bit slices in; relative volumes out. Raw or cleaned release.

The layout, its faults and its tables are described on the sites page, "CC-CCII". Nothing tells units, spacing or
orientation: slices are taken in the order of their numbers, first the most superior, unless the cleaned release
(`ct_*.json`, `CT_cleaned_v2.csv` in the root) says otherwise.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.scan import CLASSES, NEGATIVE, POSITIVE, Fact, Found, Scan
from elsewhere.scans.slices import IMAGE_SUFFIXES, encode_slice, read_slices, suffix, walk
from elsewhere.scans.tables import read_rows, write_rows
from elsewhere.scans.units import check_window
from elsewhere.scans.volume import Volume

READER_VERSION = 2

LABELS = {"NCP": POSITIVE, "CP": NEGATIVE, "Normal": NEGATIVE}
CLASS_FOLDER = re.compile(r"(?P<kind>NCP|COVID-?19|CP|Normal)(-\d+)?", re.IGNORECASE)
CLASS_OF = {"ncp": "NCP", "covid19": "NCP", "covid-19": "NCP", "cp": "CP", "normal": "Normal"}

REPAIRS_TABLE = "CT_cleaned_v2.csv"
UNZIP_TABLE = "unzip_filenames.csv"
METADATA_TABLE = "metadata.csv"
LISTS = ("ct_train.json", "ct_val.json", "ct_test.json")
LONGEST_RANGE, LONGEST_NUMBER = 10_000, 9
"""Slices in one range of `CT_cleaned_v2.csv`; digits of a slice's number. More is damage."""


@dataclass(frozen=True)
class _Folder:
    """One scan's folder: its class, ids, and slice number → file name."""

    kind: str
    patient: str
    scan: str
    path: Path
    slices: Mapping[int, str]
    doubled: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.patient}/{self.scan}"


@dataclass(frozen=True)
class _Tree:
    folders: list[_Folder] = field(default_factory=list)
    strays: list[Path] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Release:
    """What the tables in the root say of each scan id: slice lists, repairs, and the list it stands in."""

    order: Mapping[str, Sequence[str]]
    subset: Mapping[str, str]
    repairs: Mapping[str, Mapping[str, str]]


def find(
    root: Path,
    site: str,
    labels: Path | None = None,
    *,
    lists: Sequence[str] = LISTS,
    listed_only: bool = False,
    window: tuple[float, float] | None = None,
) -> Found:
    """List the scans of an unpacked CC-CCII; the class comes from the folders.

    Args:
        root: folder at or above the class folders.
        site: name of the site.
        labels: not used by this layout; `metadata.csv` is answered by a note, any other table refused.
        lists: names of slice lists of the cleaned release; those in the root give the slice order.
        listed_only: leave out the scans that no slice list names.
        window: (low, high) HU that the images were cut with, where it is known; else `preparation.relative_window` is
            assumed.

    Raises:
        BadSite: no scans, or archives that are still packed.
    """
    root = Path(root)
    unread: list[BadScan] = []
    declared = check_window(window, "relative", site)
    notes = _metadata_notes(root, labels)
    tree = _walk_scans(root, unread)
    if not tree.folders:
        raise _nothing_found(root, tree)
    release = _read_release(root, lists)
    folders, bad, doubles = _one_folder_per_scan(tree.folders)
    scans = []
    for folder in folders:
        if listed_only and folder.scan not in release.order:
            continue
        try:
            scans.append(_as_scan(folder, site, release, declared))
        except BadScan as error:
            bad.append(error)
    missing, unzip_notes = _check_unzipped(root, tree.folders)
    notes += [*doubles, *_tree_notes(tree), *_patient_notes(folders), *unzip_notes]
    return Found(tuple(scans), (*bad, *missing, *unread), tuple(notes))


def read(scan: Scan) -> Volume:
    """Relative 8-bit volume of one scan, no spacing. Raises BadScan."""
    where = str(scan.files[0].parent) if scan.files else f"{scan.site}: {scan.scan}"
    voxels, notes = read_slices(scan.files, where)
    if voxels.dtype != np.uint8:
        raise BadScan(where, f"slices are {voxels.dtype}, expected 8-bit grey", "Use the images as published")
    return Volume(voxels.astype(np.uint8, copy=False), "relative", notes=notes)


def write(root: Path, scan: Scan, volume: Volume) -> None:
    """Write slices as `<class>/<patient>/<scan>/<nnnn><extension>`; facts `class` and `extension` (.png) say where.

    Raises:
        BadScan: the volume is not relative 8-bit, or an id is no plain number.
    """
    kind, extension = str(scan.facts.get("class") or _default_class(scan)), str(scan.facts.get("extension") or ".png")
    if volume.units != "relative" or volume.voxels.dtype != np.uint8:
        raise BadScan(scan.scan, f"is {volume.units} {volume.voxels.dtype}, expected relative uint8", "Window it first")
    if not (scan.patient.isdecimal() and scan.scan.isdecimal()):
        raise BadScan(scan.scan, f"ids {scan.patient}/{scan.scan} are not plain numbers", "Number patients and scans")
    folder = Path(root) / kind / scan.patient / scan.scan
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(volume.voxels):
        encode_slice(folder / f"{number:04d}{extension}", pixels)


def write_tables(root: Path, scans: list[Scan]) -> None:
    """Write `unzip_filenames.csv`, which lists each scan with its number of slices."""
    rows = []
    for scan in scans:
        kind = str(scan.facts.get("class") or _default_class(scan))
        slices = sum(1 for _ in (Path(root) / kind / scan.patient / scan.scan).iterdir())
        ids = {"label": kind, "patient_id": scan.patient, "scan_id": scan.scan}
        rows.append({"zip_file": f"{kind}-1.zip", **ids, "n_slice": slices})
    write_rows(Path(root) / UNZIP_TABLE, ("zip_file", "label", "patient_id", "scan_id", "n_slice"), rows)


def _default_class(scan: Scan) -> str:
    return "NCP" if scan.label == POSITIVE else "Normal"


# The tree ----------------------------------------------------------------------------------------------------------


def _walk_scans(root: Path, unread: list[BadScan]) -> _Tree:
    tree = _Tree()
    above = root.resolve().parts
    for path, names in walk(root, unread) if root.is_dir() else ():
        images = [name for name in names if suffix(name) in IMAGE_SUFFIXES]
        tree.archives.extend(name for name in names if name.endswith((".zip", ".ZIP")))
        if not images:
            continue
        kind, patient, scan = ("", "", "", *above, *path.relative_to(root).parts)[-3:]
        matched = CLASS_FOLDER.fullmatch(kind)
        if matched and patient.isdecimal() and scan.isdecimal():
            tree.folders.append(_folder(CLASS_OF[matched["kind"].lower()], patient, scan, path, images))
        else:
            tree.strays.append(path)
    return tree


def _folder(kind: str, patient: str, scan: str, path: Path, images: Sequence[str]) -> _Folder:
    slices: dict[int, str] = {}
    doubled, ignored = [], []
    for name in images:
        stem = name.rpartition(".")[0]
        if not stem.isdecimal():
            ignored.append(name)
        elif int(stem) in slices:
            doubled.append(name)
        else:
            slices[int(stem)] = name
    return _Folder(kind, patient, scan, path, slices, tuple(doubled), tuple(ignored))


def _nothing_found(root: Path, tree: _Tree) -> BadSite:
    if tree.archives:
        some = ", ".join(sorted(tree.archives)[:3])
        what = f"holds {len(tree.archives)} zip files that are not unpacked ({some}), and no slices"
        return BadSite(root, what, "Unpack them here first")
    what = f"holds no folder like NCP/16/1164 with {', '.join(sorted(IMAGE_SUFFIXES))} files"
    if tree.strays:
        what += f" (images lie in {len(tree.strays)} other folders, first {tree.strays[0]})"
    return BadSite(root, what, "Point `root` at the folder above NCP, CP and Normal")


def _one_folder_per_scan(folders: Iterable[_Folder]) -> tuple[list[_Folder], list[BadScan], list[str]]:
    """One folder for each scan id, in order of class and number; ids that stand twice with other contents are bad."""
    groups: dict[str, list[_Folder]] = defaultdict(list)
    for folder in folders:
        groups[folder.scan].append(folder)
    kept, bad, copies = [], [], 0
    for group in groups.values():
        first = group[0]
        if all(other.name == first.name and other.slices == first.slices for other in group):
            kept.append(first)
            copies += len(group) - 1
        else:
            places = ", ".join(str(other.path) for other in group)
            what = f"scan {first.scan} stands {len(group)} times with different contents: {places}"
            bad.append(BadScan(first.path, what, "Keep the right folder; scan ids are unique in the data set"))
    kept.sort(key=lambda f: (list(LABELS).index(f.kind), int(f.patient), int(f.scan)))
    notes = [f"{copies} scan folders are copies of others (same slice names) and are listed once"] if copies else []
    return kept, bad, notes


def _tree_notes(tree: _Tree) -> list[str]:
    notes = []
    if tree.strays:
        notes.append(
            f"images in {len(tree.strays)} folders that are not class/patient/scan are not read: {tree.strays[0]}"
        )
    ignored = [str(folder.path / name) for folder in tree.folders for name in folder.ignored]
    if ignored:
        notes.append(f"{len(ignored)} images whose names are no numbers are not read, first {ignored[0]}")
    return notes


def _patient_notes(folders: Iterable[_Folder]) -> list[str]:
    classes: dict[str, set[str]] = defaultdict(set)
    for folder in folders:
        classes[folder.patient].add(folder.kind)
    several = [f"{patient} ({', '.join(sorted(kinds))})" for patient, kinds in classes.items() if len(kinds) > 1]
    return [f"{len(several)} patients stand in more than one class: {'; '.join(several[:5])}"] if several else []


# One scan ----------------------------------------------------------------------------------------------------------


def _as_scan(folder: _Folder, site: str, release: _Release, declared: Mapping[str, Fact]) -> Scan:
    if folder.doubled:
        what = f"holds the slice of {folder.doubled[0]} twice ({len(folder.doubled)} numbers stand twice)"
        raise BadScan(folder.path, what, "Keep one file for each slice number")
    repair = release.repairs.get(folder.scan, {})
    numbers, order = _slice_order(folder, release.order.get(folder.scan), repair)
    label = LABELS[folder.kind]
    extensions = Counter(folder.slices[n].rpartition(".")[2].lower() for n in numbers)
    facts: dict[str, Fact] = {
        **declared,
        "class": folder.kind,
        "extension": f".{extensions.most_common(1)[0][0]}",
        "slice_order": order,
        "slices_missing": max(folder.slices) - min(folder.slices) + 1 - len(folder.slices),
        "slices_removed": len(folder.slices) - len(numbers),
    }
    if "is_seg" in repair:
        facts["lung_segmented"] = repair["is_seg"] == "1"
    if folder.scan in release.subset:
        facts["published_subset"] = release.subset[folder.scan]
    files = tuple(folder.path / folder.slices[n] for n in numbers)
    return Scan(site, folder.patient, folder.scan, label, files, CLASSES[label], facts)


def _slice_order(folder: _Folder, listed: Sequence[str] | None, repair: Mapping[str, str]) -> tuple[Sequence[int], str]:
    """Numbers of the slices to use, in order, and where that order comes from."""
    numbers, source = sorted(folder.slices), "number"
    if listed is not None:
        numbers, source = [n for n in map(_number, listed) if n in folder.slices], "cleaned list"
    elif repair:
        numbers, source = _repaired(folder, numbers, repair), "cleaned table"
    if not numbers:
        raise BadScan(folder.path, f"no slice is left of {len(folder.slices)} ({source})", "Check the table's row")
    return numbers, source


def _repaired(folder: _Folder, numbers: list[int], repair: Mapping[str, str]) -> list[int]:
    """Apply a row of `CT_cleaned_v2.csv`: `re_order` lists the slices to keep, then `repeat_ids` are removed."""
    removed, order = repair.get("repeat_ids", ""), repair.get("re_order", "")
    if removed == "discard":
        what = f"{REPAIRS_TABLE} discards scan {folder.scan} as unusable"
        raise BadScan(folder.path, what, "Nothing to do; take its row out of the table to use it all the same")
    try:
        drop = set(_ranges(removed, ";"))
        if order == "reverse":
            numbers = numbers[::-1]
        elif order:
            numbers = [n for n in _ranges(order, "+") if n in folder.slices]
    except ValueError as error:
        raise BadScan(
            folder.path,
            f"{REPAIRS_TABLE} has repeat_ids '{removed}' and re_order '{order}' for scan {folder.scan}: {error}",
            "Write ranges as 1;3;5-9 and 5-9+0-4",
        ) from error
    return [n for n in numbers if n not in drop]


def _ranges(text: str, separator: str) -> list[int]:
    """`15-20+0-14` → 15 … 20, 0 … 14, both ends included."""
    numbers: list[int] = []
    for part in filter(None, text.split(separator)):
        first, _, last = part.partition("-")
        ends = int(first), int(last or first)
        if not 0 <= ends[1] - ends[0] <= LONGEST_RANGE:
            raise ValueError(f"'{part}' is no range of slices")
        numbers.extend(range(ends[0], ends[1] + 1))
    return numbers


def _number(name: str) -> int:
    stem = name.rsplit("/", 1)[-1].partition(".")[0]
    return int(stem) if stem.isdecimal() and len(stem) <= LONGEST_NUMBER else -1


# The tables in the root --------------------------------------------------------------------------------------------


def _metadata_notes(root: Path, labels: Path | None) -> list[str]:
    if labels is not None and Path(labels).name != METADATA_TABLE:
        raise BadSite(labels, "CC-CCII takes no labels table: the class is in the folder names", "Remove `labels`")
    if labels is None and not (root / METADATA_TABLE).is_file():
        return []
    return [f"{METADATA_TABLE} is not joined: its scan ids belong to other patients than those of the images"]


def _read_release(root: Path, lists: Sequence[str]) -> _Release:
    order: dict[str, Sequence[str]] = {}
    subset: dict[str, str] = {}
    for name in lists:
        if not (root / name).is_file():
            continue
        for scan, names in _read_list(root / name):
            order[scan], subset[scan] = names, name.removesuffix(".json").removeprefix("ct_")
    repairs = {}
    if (root / REPAIRS_TABLE).is_file():
        rows = read_rows(root / REPAIRS_TABLE, ("scan_id", "is_seg", "repeat_ids", "re_order"))
        repairs = {row["scan_id"]: row for row in rows}
    return _Release(order, subset, repairs)


def _read_list(path: Path) -> list[tuple[str, Sequence[str]]]:
    """(scan id, slice names in order) of a list {class: {patient: {scan: [names]}}}."""
    try:
        classes: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return [
            (str(scan), list(map(str, names)))
            for patients in classes.values()
            for scans in patients.values()
            for scan, names in scans.items()
        ]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise BadSite(
            path, f"is no list {{class: {{patient: {{scan: [slices]}}}}}} ({error})", "Use it as published, or move it"
        ) from error


def _check_unzipped(root: Path, folders: Iterable[_Folder]) -> tuple[list[BadScan], list[str]]:
    """Compare what was found with `unzip_filenames.csv`: archives not unpacked, scans missing, slices missing."""
    table = root / UNZIP_TABLE
    if not table.is_file():
        return [], []
    rows = read_rows(table, ("zip_file", "label", "patient_id", "scan_id", "n_slice"))
    slices = {folder.scan: len(folder.slices) for folder in folders}
    found = Counter(row["zip_file"] for row in rows if row["scan_id"] in slices)
    packed = Counter(row["zip_file"] for row in rows if not found[row["zip_file"]])
    notes = [f"{name} is not unpacked: its {scans} scans are not found" for name, scans in packed.items()]
    listed = [
        row
        for row in rows
        if row["scan_id"] in slices and row["n_slice"].isdecimal() and len(row["n_slice"]) <= LONGEST_NUMBER
    ]
    short = [row for row in listed if slices[row["scan_id"]] < int(row["n_slice"])]
    if short:
        row = short[0]
        notes.append(
            f"{len(short)} scans hold fewer slices than {UNZIP_TABLE} says, first {row['label']}/{row['patient_id']}/"
            f"{row['scan_id']}: {slices[row['scan_id']]} of {row['n_slice']}"
        )
    return [_missing(row) for row in rows if row["scan_id"] not in slices and row["zip_file"] not in packed], notes


def _missing(row: Mapping[str, str]) -> BadScan:
    name = f"{row['label']}/{row['patient_id']}/{row['scan_id']}"
    return BadScan(name, f"{UNZIP_TABLE} lists it in {row['zip_file']}, but it is not there", "Unpack that file again")

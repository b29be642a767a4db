"""Folders of image slices, or one image per scan, and a labels table in; volumes out. For any hospital.

`labels.csv` (`patient_id, label, path`): each path is a folder of PNG/JPG/BMP/TIFF slices, sorted by number, first the
most superior; or a single image, which is a scan of one slice (two-dimensional collections).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.label_columns import TableOptions
from elsewhere.scans.labels import LabelRow, find_table, match, read_labels, row_of, unlabelled, write_labels
from elsewhere.scans.naming import number_of, slices_of
from elsewhere.scans.pictures import picture_size
from elsewhere.scans.scan import Fact, Found, Scan
from elsewhere.scans.slices import IMAGE_SUFFIXES, encode_slice, natural_key, no_such_folder, read_slices, suffix, walk
from elsewhere.scans.units import DeclaredUnits, check_declared, check_window, with_units
from elsewhere.scans.values import form
from elsewhere.scans.volume import Volume

READER_VERSION = 4


def find(
    root: Path,
    site: str,
    labels: Path | None = None,
    *,
    units: DeclaredUnits = "auto",
    offset: float | None = None,
    window: tuple[float, float] | None = None,
    patient: str = "",
    consecutive: int = 0,
    columns: dict[str, str] | None = None,
    positive: tuple[str, ...] = (),
    negative: tuple[str, ...] = (),
) -> Found:
    """List the folders and images that the labels table names.

    Args:
        root: folder of the images, at any depth.
        site: name of the site.
        labels: the labels table; else `labels.csv` or `labels.xlsx` in the root.
        units: "auto" takes 8-bit values as relative and deeper ones for HU when the lowest is at most −500; "HU",
            "ct_number" (HU + offset) and "relative" are taken as said, "HU" and "ct_number" for deeper ones only.
        offset: what to subtract to get HU, for "HU" (0) and "ct_number" (1024).
        window: (low, high) HU that this site's relative values were cut with, where it is known; else
            `preparation.relative_window` is assumed.
        patient: a regular expression; what its first group (else all of it) finds in a row's path is the patient's id,
            instead of the table's. Rows whose path it does not find keep theirs.
        consecutive: so many single images, numbered one after the other in one folder under one name and of one label,
            are one patient, where the table gives each an id of its own; 0 leaves the table's.
        columns: name of a labels table's column -> its name in this site's; "" for one that is not to be read.
        positive: labels that are positive; alone, all others are negative.
        negative: labels that are negative.

    Raises:
        BadSite: no images, no table, a table that is wrong, or options that contradict.
    """
    root = Path(root)
    unread: list[BadScan] = []
    declared = check_declared(units, offset, site) | check_window(window, units, site)
    folders = _walk_images(root, unread)
    if not folders:
        raise _nothing_found(root)
    table = find_table(root, labels, site)
    said: list[str] = []
    options = TableOptions(columns or {}, positive, negative)
    listed = read_labels(table, site, keys=("path",), options=options, root=root, notes=said)
    rows, notes = _grouped(listed, patient, consecutive, site)
    on_disk, wrong, remarks = _scans_on_disk(root, folders, {row.path for row in rows})
    matched = match(rows, on_disk, table, _look_up(wrong))
    scans = [row.as_scan(site, files, _facts(files, declared)) for row, files in matched.pairs]
    return Found(tuple(scans), (*matched.bad, *unread), (*matched.notes, *said, *notes, *remarks), matched.missing)


def name_scans(root: Path) -> list[str]:
    """Paths below the root, as a labels table names them, of all scans that lie there.

    A folder is one scan where its images have one size and names of one row of numbers; else each image is one.
    """
    return _name_scans(root, _walk_images(Path(root), []))[0]


def _name_scans(root: Path, folders: Mapping[Path, Sequence[str]]) -> tuple[list[str], tuple[str, ...]]:
    """The names, and a remark on the folders whose images are taken one by one."""
    names: list[str] = []
    apart: list[str] = []
    for folder, images in folders.items():
        why = _no_scan(folder, images)
        named = [folder / name for name in images] if why else [folder]
        names += [path.relative_to(root).as_posix() for path in named]
        if why and len(images) > 1:
            apart.append(f"'{folder.relative_to(root).as_posix()}': {why}")
    if not apart:
        return names, ()
    which = "1 folder are" if len(apart) == 1 else f"{len(apart)} folders are"
    told = f"the images of {which} taken as single pictures; first {apart[0]}"
    return names, (told,)


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


# Folders and images ------------------------------------------------------------------------------------------------


def _walk_images(root: Path, unread: list[BadScan]) -> dict[Path, list[str]]:
    """Folder → the names of its images, in natural order."""
    found = {}
    for folder, names in walk(root, unread) if root.is_dir() else ():
        if images := [name for name in names if suffix(name) in IMAGE_SUFFIXES]:
            found[folder] = sorted(images, key=natural_key)
    return found


def _nothing_found(root: Path) -> BadSite:
    if not root.is_dir():
        return no_such_folder(root)
    what = f"holds no {', '.join(sorted(IMAGE_SUFFIXES))} file"
    names = [name for _, files in walk(root, []) for name in files]
    if arrays := [name for name in names if suffix(name) in {".npy", ".npz"}]:
        then = "Save each slice as a 16-bit .tif, or each volume as NIfTI (kind volumes)"
        return BadSite(root, f"{what}, but {len(arrays)} {suffix(arrays[0])} files, which tell no units", then)
    return BadSite(root, what, "Point `root` at the folder of the images (archives must be unpacked)")


def _scans_on_disk(
    root: Path, folders: Mapping[Path, Sequence[str]], wanted: set[str]
) -> tuple[dict[str, tuple[Path, ...]], dict[str, str], list[str]]:
    """Path below the root → files: a folder is one scan, unless the table names images in it one by one.

    Also form of a path → why the folder's slices cannot be told, and remarks on what lies beside slices.
    """
    found: dict[str, tuple[Path, ...]] = {}
    wrong: dict[str, str] = {}
    forms = {form(path) for path in wanted}
    beside: dict[str, list[str]] = defaultdict(list)
    for folder, names in folders.items():
        files = {(folder / name).relative_to(root).as_posix(): folder / name for name in names}
        if not forms.isdisjoint(map(form, files)):
            found.update({name: (path,) for name, path in files.items()})
            continue
        below = folder.relative_to(root).as_posix()
        found[below] = tuple(files.values())
        try:
            slices = slices_of(folder, names)
        except ValueError as error:
            if form(below) in forms:  # its row says so; no second entry
                wrong[form(below)] = str(error)
                del found[below]
            continue
        found[below] = tuple(folder / name for name in slices.names)
        beside["masks beside slices, told by their names,"] += [f"{below}/{name}" for name in slices.masks]
        beside["copies of slices"] += [f"{below}/{name}" for name in slices.copies]
    notes = [f"{len(n)} {what} are not read, first {n[0]}" for what, n in beside.items() if n]
    return found, wrong, notes


def _look_up(wrong: Mapping[str, str]) -> Callable[[LabelRow], str | None]:
    def look_up(row: LabelRow) -> str | None:
        if (why := wrong.get(form(row.path))) is not None:
            raise BadScan(row.path, why, "Put each scan's slices into a folder of their own")
        if suffix(row.path) in {".npy", ".npz"}:
            what = f"is a {suffix(row.path)} file, which tells no units"
            raise BadScan(row.path, what, "Save it as 16-bit .tif slices, or as NIfTI (kind volumes)")
        return row.path

    return look_up


def _no_scan(folder: Path, names: Sequence[str]) -> str:
    """Why a folder's images are not the slices of one scan; "" where they are one row of numbers, and of one size."""
    try:
        slices = slices_of(folder, names).names
    except ValueError as error:
        return str(error)
    rows = {number[0] for name in slices if (number := number_of(name)) is not None}
    if len(rows) != 1 or any(number_of(name) is None for name in slices):
        return "their names are no single row of numbers"
    return "" if len({picture_size(folder / name) for name in slices}) == 1 else "they differ in size"


# Patients ----------------------------------------------------------------------------------------------------------


def _grouped(rows: list[LabelRow], patient: str, consecutive: int, site: str) -> tuple[list[LabelRow], tuple[str, ...]]:
    """Rows with the patients that the options `patient` or `consecutive` give them, and a remark."""
    if patient and consecutive:
        raise BadSite(site, "has the options `patient` and `consecutive`", "Give one of them")
    if consecutive < 0 or consecutive == 1:
        raise BadSite(site, f"consecutive is {consecutive}", "Set it to 2 or more, or 0 for the table's patients")
    if patient:
        return _by_pattern(rows, patient, site)
    return _by_number(rows, consecutive) if consecutive else (rows, ())


def _by_pattern(rows: Sequence[LabelRow], pattern: str, site: str) -> tuple[list[LabelRow], tuple[str, ...]]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise BadSite(site, f"patient is {pattern!r}, no regular expression ({error})", "Correct it") from error
    found = [compiled.search(row.path) for row in rows]
    ids = [hit and (hit[1] if compiled.groups else hit[0]) for hit in found]
    if not any(ids):
        what = f"the pattern {pattern!r} of the option `patient` is found in none of {len(rows)} paths ({rows[0].path})"
        raise BadSite(site, what, "Correct it: its first group is the patient's id")
    grouped = [replace(row, patient=name) if name else row for row, name in zip(rows, ids, strict=True)]
    kept = sum(not name for name in ids)
    notes = [f"{len(rows)} scans are of {len({row.patient for row in grouped})} patients by the option `patient`"]
    if kept:
        notes.append(f"{kept} paths do not hold its pattern and keep the table's patient")
    return grouped, tuple(notes)


def _by_number(rows: Sequence[LabelRow], size: int) -> tuple[list[LabelRow], tuple[str, ...]]:
    keys = {row.path: _place(row.path) for row in rows}
    ids: dict[str, str] = {}
    first, count, last = "", 0, None
    for row in sorted((r for r in rows if keys[r.path]), key=lambda r: keys[r.path] or ("", 0)):
        text, number = keys[row.path] or ("", 0)
        place = (text, number, row.label)
        if last is None or count == size or last != (text, number - 1, row.label):
            first, count = row.path, 0
        ids[row.path], count, last = first, count + 1, place
    grouped = [replace(row, patient=ids.get(row.path, row.patient)) for row in rows]
    patients = len({row.patient for row in grouped})
    return grouped, (f"{len(rows)} scans are of {patients} patients by the option `consecutive` = {size}",)


def _place(path: str) -> tuple[str, int] | None:
    """A single image's folder and name without its number, and the number; None for what is not one."""
    folder, _, name = path.rpartition("/")
    number = number_of(name) if suffix(name) in IMAGE_SUFFIXES else None
    return number and (f"{folder}/{number[0]}", number[1])


def _facts(files: tuple[Path, ...], declared: dict[str, Fact]) -> dict[str, Fact]:
    return {"extension": suffix(files[0].name), **declared}


# Without a table --------------------------------------------------------------------------------------------------


def find_unlabelled(
    root: Path,
    site: str,
    *,
    units: DeclaredUnits = "auto",
    offset: float | None = None,
    window: tuple[float, float] | None = None,
    patient: str = "",
    consecutive: int = 0,
) -> Found:
    """List all folders of slices and single images, without labels; the options are those of `find`.

    Raises:
        BadSite: no images, or options that contradict.
    """
    root, unread = Path(root), list[BadScan]()
    declared = check_declared(units, offset, site) | check_window(window, units, site)
    folders = _walk_images(root, unread)
    if not folders:
        raise _nothing_found(root)
    named, singly = _name_scans(root, folders)
    on_disk, _, remarks = _scans_on_disk(root, folders, set(named))
    scans = {scan.scan: scan for scan in unlabelled(site, {name: on_disk[name] for name in named}, declared)}
    rows, notes = [LabelRow(name, None, path=name, scan=name) for name in scans], tuple[str, ...]()
    if patient or consecutive:
        rows, notes = _grouped(rows, patient, consecutive, site)
    found = [replace(scans[r.scan], patient=r.patient, facts=_facts(scans[r.scan].files, declared)) for r in rows]
    return Found(tuple(found), tuple(unread), (*notes, *remarks, *singly))

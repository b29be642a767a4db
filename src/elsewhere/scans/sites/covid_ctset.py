"""COVID-CTset (Iran): folders covid1…normal10 / patient<N> / SR_k of 16-bit TIFF slices in; CT-number volumes out.

Stored values are HU + 1024. The layout, its tables and its faults are described on the sites page, "COVID-CTset";
what the copies of 78 patients do to a split on the protocol page, "Known fault 1".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.scan import CLASSES, NEGATIVE, POSITIVE, Fact, Found, Scan
from elsewhere.scans.slices import IMAGE_SUFFIXES, encode_slice, natural_key, read_slices, suffix, walk
from elsewhere.scans.tables import known, read_rows, write_rows
from elsewhere.scans.values import date_or_none, parse_age
from elsewhere.scans.volume import Volume

READER_VERSION = 2

OFFSET = 1024
"""Stored value = HU + 1024 (slope 1, intercept −1024 in every series of `Patients_metadata.csv`)."""

DETAILS_TABLE = "Patient_details.csv"
METADATA_TABLE = "Patients_metadata.csv"
PATIENT = re.compile(r"patient\d+", re.IGNORECASE)
SERIES = re.compile(r"SR_\d+", re.IGNORECASE)
SLICE = re.compile(r"IM\d+\.tiff?", re.IGNORECASE)
SINGLE_SLICE = re.compile(r".+_patient\d+_SR_\d+_IM\d+\.\w+", re.IGNORECASE)
INFECTION = {"positive": POSITIVE, "negative": NEGATIVE}
SERIES_WITH_THICKNESS = ("SR_2", "SR_3", "SR_4")

KEYWORDS = {
    "kernel": "ConvolutionKernel",
    "protocol": "ProtocolName",
    "body_part": "BodyPartExamined",
    "comments": "ImageComments",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "series_description": "SeriesDescription",
}
NUMBERS = {
    "kvp": "KVP",
    "thickness_mm": "SliceThickness",
    "exposure": "Exposure",
    "tube_current": "XRayTubeCurrent",
    "ctdi_vol": "CTDIvol",
    "reconstruction_diameter_mm": "ReconstructionDiameter",
    "pitch": "SpiralPitchFactor",
    "table_height_mm": "TableHeight",
}
PIXEL_SPACING = "PixelSpacing"


@dataclass(frozen=True)
class _Series:
    """One SR_k folder: the root folder it stands under (covid1, normal4, …), ids, and its slices in order."""

    folder: str
    patient: str
    series: str
    path: Path
    slices: tuple[str, ...]
    others: tuple[str, ...] = ()


@dataclass
class _Tree:
    series: list[_Series] = field(default_factory=list)
    tables: dict[str, Path] = field(default_factory=dict)
    singles: list[Path] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)


def find(root: Path, site: str, labels: Path | None = None, *, copies: Literal["merge", "keep"] = "merge") -> Found:
    """List the series of an unpacked COVID-CTset; the class comes from the folders, facts from the two tables.

    Args:
        root: folder at or above covid1 … normal10.
        site: name of the site.
        labels: another place for `Patient_details.csv`.
        copies: "merge" makes one patient of each patient<N>, and lists series that stand under two folders with the
            same slices once (282 negative patients); "keep" counts each folder's patients on their own, as the
            paper did (its 360 "patients"; protocol page, "Known fault 1").

    Raises:
        BadSite: no series, single slices only, or a table that cannot be read.
    """
    if copies not in ("merge", "keep"):
        raise BadSite(site, f"copies is '{copies}'", "Set it to merge or keep")
    unread: list[BadScan] = []
    tree = _walk_series(Path(root), unread)
    if not tree.series:
        raise _nothing_found(Path(root), tree)
    if labels is not None:
        tree.tables[DETAILS_TABLE] = Path(labels)
    details, metadata = _read_table(tree, DETAILS_TABLE), _read_table(tree, METADATA_TABLE)
    notes = _tree_notes(tree, details)
    one_class, bad = _in_one_class(tree.series)
    named, copy_notes = (_merged if copies == "merge" else _kept)(one_class)
    scans: dict[str, Scan] = {}
    for patient, scan, series in named:
        try:
            _check_series(series, details.get(series.patient.lower()), scans.get(scan))
        except BadScan as error:
            bad.append(error)
            continue
        key, label = series.patient.lower(), _label(series.folder)
        files = tuple(series.path / name for name in series.slices)
        facts = _facts(series, details.get(key), metadata.get(key))
        scans[scan] = Scan(site, patient, scan, label, files, CLASSES[label], facts)
    return Found(tuple(scans.values()), (*bad, *unread), (*notes, *copy_notes))


def read(scan: Scan) -> Volume:
    """CT numbers (HU + 1024) of one series, int16; the slice spacing is not published. Raises BadScan."""
    where = str(scan.files[0].parent) if scan.files else f"{scan.site}: {scan.scan}"
    voxels, notes = read_slices(scan.files, where)
    _check_values(voxels, where)
    return Volume(voxels.view(np.int16), "ct_number", offset=OFFSET, notes=notes)


def write(root: Path, scan: Scan, volume: Volume) -> None:
    """Write slices as `<folder>/patient<N>/SR_k/IM<nnnnn>.tif`; fact `folder` (covid1 or normal1) says where.

    Raises:
        BadScan: the volume is relative, has CT numbers below 0, or its id is not like patient7/SR_2.
    """
    patient, _, series = scan.scan.rpartition("/")
    patient = patient.rpartition("/")[2]
    if not (PATIENT.fullmatch(patient) and SERIES.fullmatch(series)):
        raise BadScan(scan.scan, "is no id of this layout", "Name scans like patient7/SR_2")
    if volume.offset is None:
        raise BadScan(scan.scan, "has relative values, expected HU or CT numbers", "Use another layout")
    stored = volume.voxels.astype(np.int32) + (OFFSET - round(volume.offset))
    if stored.min(initial=0) < 0:
        raise BadScan(scan.scan, f"has CT numbers down to {stored.min()}, the format starts at 0", "Clip at −1024 HU")
    folder = Path(root) / _folder_of(scan) / patient / series
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(stored.astype(np.uint16), start=1):
        encode_slice(folder / f"IM{number:05d}.tif", pixels)


def write_tables(root: Path, scans: list[Scan]) -> None:
    """Write `Patient_details.csv` and `Patients_metadata.csv` with what the scans' facts know; 'N/A' for the rest."""
    patients: dict[str, dict[str, Scan]] = defaultdict(dict)
    for scan in scans:
        *_, patient, series = scan.scan.split("/")
        patients[patient][series] = scan
    series_names = sorted({*SERIES_WITH_THICKNESS, *(name for group in patients.values() for name in group)})
    details = [_details_row(patient, group, series_names) for patient, group in patients.items()]
    write_rows(Path(root) / DETAILS_TABLE, list(details[0]) if details else ["Patient ID"], details)
    rows = [_metadata_row(patient, group, series_names) for patient, group in patients.items()]
    write_rows(Path(root) / METADATA_TABLE, list(rows[0]) if rows else ["Patient ID"], rows)


def _folder_of(scan: Scan) -> str:
    return str(scan.facts.get("folder") or ("covid1" if scan.label == POSITIVE else "normal1"))


# The tree ----------------------------------------------------------------------------------------------------------


def _walk_series(root: Path, unread: list[BadScan]) -> _Tree:
    tree = _Tree()
    above = root.resolve().parts
    for path, names in walk(root, unread) if root.is_dir() else ():
        tree.archives.extend(name for name in names if suffix(name) == ".zip")
        for name in {DETAILS_TABLE, METADATA_TABLE}.intersection(names):
            tree.tables.setdefault(name, path / name)
        singles = [path / name for name in names if SINGLE_SLICE.fullmatch(name)]
        tree.singles.extend(singles)
        images = [name for name in names if suffix(name) in IMAGE_SUFFIXES]
        folder, patient, series = ("", "", "", *above, *path.relative_to(root).parts)[-3:]
        if images and not singles and PATIENT.fullmatch(patient) and SERIES.fullmatch(series):
            slices = sorted((name for name in images if SLICE.fullmatch(name)), key=natural_key)
            others = tuple(name for name in images if not SLICE.fullmatch(name))
            tree.series.append(_Series(folder, patient, series, path, tuple(slices), others))
    return tree


def _nothing_found(root: Path, tree: _Tree) -> BadSite:
    if tree.singles:
        return BadSite(
            root,
            f"holds {len(tree.singles)} single slices like {tree.singles[0].name}: the Training&Validation archive "
            "of selected slices, not volumes",
            "Get COVID-CTset.zip, with folders like covid1/patient1/SR_2",
        )
    if tree.archives:
        what = f"holds {len(tree.archives)} zip files that are not unpacked ({tree.archives[0]}), and no slices"
        return BadSite(root, what, "Unpack COVID-CTset.zip here first")
    what = "holds no folder like covid1/patient1/SR_2 with .tif slices"
    return BadSite(root, what, "Point `root` at the folder above covid1 and normal1")


def _read_table(tree: _Tree, name: str) -> dict[str, dict[str, str]]:
    if name not in tree.tables:
        return {}
    required = ("Patient ID", "COVID-19 Infection") if name == DETAILS_TABLE else ("Patient ID",)
    return {row["Patient ID"].lower(): row for row in read_rows(tree.tables[name], required)}


def _tree_notes(tree: _Tree, details: Mapping[str, object]) -> list[str]:
    notes = [f"{name} is not there: its facts are unknown" for name in _absent(tree)]
    if tree.singles:
        notes.append(f"{len(tree.singles)} single slices (Training&Validation) are not read, first {tree.singles[0]}")
    found = {series.patient.lower() for series in tree.series}
    if details and (missing := [name for name in details if name not in found]):
        some = ", ".join(missing[:5])
        notes.append(f"{len(missing)} of {len(details)} patients of {DETAILS_TABLE} have no images: {some}")
    return notes


def _absent(tree: _Tree) -> list[str]:
    return [name for name in (DETAILS_TABLE, METADATA_TABLE) if name not in tree.tables]


def _label(folder: str) -> int:
    return POSITIVE if "covid" in folder.lower() else NEGATIVE


def _check_series(series: _Series, row: Mapping[str, str] | None, same: Scan | None) -> None:
    """The folder's name gives the class; `Patient_details.csv` must not contradict it. Raises BadScan."""
    if same is not None:
        what = f"stands twice under a folder {series.folder}, here and at {same.files[0].parent}"
        raise BadScan(series.path, what, "Keep one of the two")
    if series.others:
        what = f"holds {len(series.others)} images that are not like IM00012.tif, first {series.others[0]}"
        raise BadScan(series.path, what, "Use the 16-bit TIFF slices of COVID-CTset.zip, and move other images away")
    if not re.search("covid|normal", series.folder, re.IGNORECASE):
        what = f"lies under '{series.folder}', which names neither covid nor normal"
        raise BadScan(series.path, what, "Keep the published folders, covid1 … normal10")
    infection = (row or {}).get("COVID-19 Infection", "")
    if row is not None and INFECTION.get(infection.lower()) != _label(series.folder):
        what = f"lies under {series.folder}, but {DETAILS_TABLE} says '{infection}' for {series.patient}"
        raise BadScan(series.path, what, "Find out which is right, and correct the other")


def _in_one_class(found: Sequence[_Series]) -> tuple[list[_Series], list[BadScan]]:
    """Series whose patient stands in one class only; the others are bad."""
    classes: dict[str, set[int]] = defaultdict(set)
    for series in found:
        classes[series.patient].add(_label(series.folder))
    what = "belongs to a patient who stands under a covid and a normal folder"
    both = [series for series in found if len(classes[series.patient]) > 1]
    bad = [BadScan(series.path, what, "Find out which is right, and remove the other") for series in both]
    return [series for series in found if len(classes[series.patient]) == 1], bad


# Copies ------------------------------------------------------------------------------------------------------------

_Named = list[tuple[str, str, _Series]]


def _kept(found: Sequence[_Series]) -> tuple[_Named, list[str]]:
    """(patient id, scan id, series), each folder's patients on their own."""
    named = [(f"{s.folder}/{s.patient}", f"{s.folder}/{s.patient}/{s.series}", s) for s in _in_order(found)]
    folders: dict[str, set[str]] = defaultdict(set)
    for series in found:
        folders[series.patient].add(series.folder)
    twice = sum(len(names) > 1 for names in folders.values())
    notes = [f"{twice} patients stand under two folders and are counted twice (copies = keep)"] if twice else []
    return named, notes


def _merged(found: Sequence[_Series]) -> tuple[_Named, list[str]]:
    """(patient id, scan id, series), one patient per patient<N>; series with the same slices are listed once."""
    groups: dict[str, list[_Series]] = defaultdict(list)
    for series in _in_order(found):
        groups[f"{series.patient}/{series.series}"].append(series)
    named: _Named = []
    copies, patients = 0, set()
    for scan, group in groups.items():
        distinct = {series.slices: series for series in reversed(group)}
        copies += len(group) - len(distinct)
        if len(group) > 1:
            patients.add(group[0].patient)
        for number, series in enumerate(s for s in group if distinct[s.slices] is s):
            named.append((series.patient, scan if number == 0 else f"{series.folder}/{scan}", series))
    if not patients:
        return named, []
    note = f"{len(patients)} patients stand under two folders: {copies} series with the same slices are listed once"
    return named, [note]


def _in_order(found: Iterable[_Series]) -> list[_Series]:
    return sorted(found, key=lambda s: (natural_key(s.folder), natural_key(s.patient), natural_key(s.series)))


# Facts -------------------------------------------------------------------------------------------------------------


def _facts(series: _Series, row: Mapping[str, str] | None, metadata: Mapping[str, str] | None) -> dict[str, Fact]:
    numbers = [int(re.findall(r"\d+", name)[-1]) for name in series.slices]
    facts: dict[str, Fact] = {
        "folder": series.folder,
        "slices_missing": max(numbers) - min(numbers) + 1 - len(numbers),
        **_patient_facts(row or {}),
    }
    headers = {key: (metadata or {}).get(f"{series.series} {word}") for key, word in {**KEYWORDS, **NUMBERS}.items()}
    facts |= {key: known(headers[key]) for key in KEYWORDS}
    facts |= {key: _number(headers[key]) for key in NUMBERS}
    folder_thickness = _number((row or {}).get(f"{series.series} Folder thickness(mm)"))
    if facts["thickness_mm"] is None:
        facts["thickness_mm"] = folder_thickness
    spacing = re.findall(r"[\d.]+", (metadata or {}).get(f"{series.series} {PIXEL_SPACING}") or "")
    facts["pixel_spacing_mm"] = _number(spacing[0]) if spacing else None
    return facts


def _patient_facts(row: Mapping[str, str]) -> dict[str, Fact]:
    age, day = known(row.get("AGE")), known(row.get("Date"))
    return {"sex": known(row.get("SEX")), "age": _age(age), "date": date_or_none(day) if day else None}


def _age(text: str | None) -> float | None:
    try:
        return parse_age(text) if text else None
    except ValueError:
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if (text := known(text)) else None
    except ValueError:
        return None


def _details_row(patient: str, group: Mapping[str, Scan], series_names: Sequence[str]) -> dict[str, object]:
    scan = next(iter(group.values()))
    age, day = scan.facts.get("age"), scan.facts.get("date")
    thickness = {f"{s} Folder thickness(mm)": _fact(group.get(s), "thickness_mm") for s in series_names}
    return {
        "Patient ID": patient,
        "SEX": _fact(scan, "sex"),
        "AGE": f"{age:03.0f}Y" if isinstance(age, int | float) else "N/A",
        "Date": str(day).replace("-", "") if day else "N/A",
        "COVID-19 Infection": "Positive" if scan.label == POSITIVE else "Negative",
        **thickness,
    }


def _metadata_row(patient: str, group: Mapping[str, Scan], series_names: Sequence[str]) -> dict[str, object]:
    words = sorted({**KEYWORDS, **NUMBERS}.items(), key=lambda item: item[1])
    row: dict[str, object] = {"Patient ID": patient}
    for key, word in words:
        row |= {f"{series} {word}": _fact(group.get(series), key) for series in series_names}
    for series in series_names:
        spacing = _fact(group.get(series), "pixel_spacing_mm")
        row[f"{series} {PIXEL_SPACING}"] = spacing if spacing == "N/A" else f"[{spacing}, {spacing}]"
    return row


def _fact(scan: Scan | None, key: str) -> object:
    value = scan.facts.get(key) if scan else None
    return "N/A" if value is None else value


# Values ------------------------------------------------------------------------------------------------------------


def _check_values(voxels: NDArray[np.generic], where: str) -> None:
    if voxels.dtype.kind == "f":
        raise BadScan(
            where,
            f"holds {voxels.dtype} values {voxels.min():.3g} to {voxels.max():.3g}: the max-normalised variant, whose "
            "HU are lost",
            "Get the 16-bit COVID-CTset.zip",
        )
    if voxels.dtype != np.uint16:
        raise BadScan(where, f"holds {voxels.dtype} values, expected uint16 (HU + 1024)", "Get COVID-CTset.zip")
    if voxels.max() > np.iinfo(np.int16).max:
        raise BadScan(where, f"holds values up to {voxels.max()}, expected 0 to 4095", "Get the scan again")

"""DICOM series at any depth and a labels table in (any hospital's, and UTSW's); its scans, and each scan's volume, out.

UTSW's data are not public and publish no layout; this is ours (sites page, "DICOM series with a labels table"):
`<root>/<any depth>/*` DICOM files, and `labels.csv` (see `elsewhere.scans.labels`), whose `series_uid`, `path` (a file
or folder below the root) or `study_uid` names each scan. Where a path or study holds several series, `dicom.choose`
takes one.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.dicom import Series, choose, find_series, read_volume, uid_of, write_series
from elsewhere.scans.label_columns import TableOptions
from elsewhere.scans.labels import LabelRow, Names, find_table, match, printable, read_labels, row_of, write_labels
from elsewhere.scans.scan import Found, Scan
from elsewhere.scans.slices import no_such_folder
from elsewhere.scans.values import form
from elsewhere.scans.volume import Volume

READER_VERSION = 4

Listed = Mapping[str, Series]


def find(
    root: Path,
    site: str,
    labels: Path | None = None,
    *,
    columns: dict[str, str] | None = None,
    positive: tuple[str, ...] = (),
    negative: tuple[str, ...] = (),
) -> Found:
    """List the site's scans from headers alone.

    Args:
        root: the site's folder.
        site: its name.
        labels: the table; without it `labels.csv` or `labels.xlsx` in the root.
        columns: name of a labels table's column -> its name in this site's; "" for one that is not to be read.
        positive: labels that are positive; alone, all others are negative.
        negative: labels that are negative.

    Raises:
        BadSite: no folder, no usable table, no DICOM series, or none that the table names.
    """
    root = Path(root)
    if not root.is_dir():
        raise no_such_folder(root, site)
    table = find_table(root, labels, site)
    remarks: list[str] = []
    options = TableOptions(columns or {}, positive, negative)
    rows = read_labels(table, site, options=options, root=root, notes=remarks)
    series, damaged = find_series(root)
    if not series:
        raise _no_images(f"{site}: {root}", damaged)
    names = _names(series)
    taken, reasons, notes = _resolve(rows, names, root, damaged)
    matched = match(rows, _worth_a_row(names, taken), table, lambda row: _taken(row, taken, reasons))
    scans = tuple(row.as_scan(site, s.files, s.facts) for row, s in matched.pairs)
    remarks += [f"{row.scan}: {note}" for row, s in matched.pairs for note in s.notes]
    told = (*matched.notes, *notes, *_refusals(names), *remarks)
    return Found(scans, (*matched.bad, *damaged), told, matched.missing)


def _no_images(where: str, damaged: Sequence[BadScan]) -> BadSite:
    if damaged:
        first = damaged[0]
        what = f"holds no DICOM image that can be read: {len(damaged)} cannot, first {first.where}: {first.what}"
        return BadSite(where, what, first.next_step)
    return BadSite(where, "holds no DICOM images", "Check the folder, and that the archives are unpacked")


def read(scan: Scan) -> Volume:
    """Read one scan. Raises BadScan (see `dicom.read_volume`)."""
    return read_volume(scan.files, f"{scan.site}/{scan.scan}")


def write(root: Path, scan: Scan, volume: Volume) -> None:
    """Write one scan as a CT series in `<root>/<patient>/<scan>/`; volume in HU."""
    folder = Path(root) / _folder_name(scan.patient) / _folder_name(scan.scan)
    study = uid_of("study", scan.site, scan.patient, scan.scan)
    uid = _series_uid(scan)
    write_series(folder, volume, patient=scan.patient, study_uid=study, series_uid=uid, facts=scan.facts)


def write_tables(root: Path, scans: list[Scan]) -> None:
    """Write `labels.csv`, naming each scan by its series."""
    write_labels(Path(root) / "labels.csv", [row_of(scan, series_uid=_series_uid(scan)) for scan in scans])


def _series_uid(scan: Scan) -> str:
    return uid_of("series", scan.site, scan.patient, scan.scan)


def _folder_name(text: str) -> str:
    """A name that any file system takes, and no two ids share."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", text)
    return safe if safe == text and len(text) < 100 else f"{safe[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


# Rows and series ------------------------------------------------------------------------------------------------


def _names(series: Sequence[Series]) -> Listed:
    """Each series under a name of its own: its UID, with patient and part where several share it."""
    shared = Counter(s.uid for s in series)
    names: dict[str, Series] = {}
    for one in series:
        part = f", {one.part}" if one.part else ""
        name = one.uid if shared[one.uid] == 1 else f"{one.uid} (patient {one.patient}, series {one.number}{part})"
        names[name if name not in names else f"{name} {len(names)}"] = one
    return names


def _resolve(
    rows: Sequence[LabelRow], names: Listed, root: Path, damaged: Sequence[BadScan]
) -> tuple[dict[str, str], dict[str, BadScan], list[str]]:
    """Scan id → name of its series; scan id → why it has none; notes on the series that were not chosen."""
    index = _index(names, root)
    spelt = cache(lambda: Names([value for column, value in index if column == "path"]))
    broken = _broken(damaged, root)
    taken: dict[str, str] = {}
    reasons: dict[str, BadScan] = {}
    notes: list[str] = []
    for row in rows:
        try:
            candidates, otherwise = _candidates(row, index, spelt)
        except BadScan as error:
            reasons[row.scan] = error
            continue
        if otherwise:
            notes.append(f"{row.scan}: the path on disk is spelt '{otherwise}'")
        if not candidates:
            if bad := broken.get(row.path):
                first = f"{Path(bad[0].where).name}: {bad[0].what}"
                what = f"{len(bad)} of {len(bad)} files of '{row.path}' cannot be read, first {first}"
                reasons[row.scan] = BadScan(row.scan, what, bad[0].next_step)
            continue
        try:
            _check_one_owner(row, candidates, names)
            candidates = _of_one_patient(row, candidates, names)
            best, note = choose([names[name] for name in candidates], row.scan)
        except BadScan as error:
            reasons[row.scan] = error
            continue
        notes += note
        taken[row.scan] = next(name for name in candidates if names[name] is best)
    return taken, reasons, notes


def _broken(damaged: Sequence[BadScan], root: Path) -> Mapping[str, Sequence[BadScan]]:
    """Path below the root → the damaged files that it stands for: the file, and all folders above it."""
    found: dict[str, list[BadScan]] = defaultdict(list)
    for bad in damaged:
        path = Path(bad.where).relative_to(root)
        for one in (path, *path.parents):
            found[one.as_posix()].append(bad)
    return found


Index = Mapping[tuple[str, str], Sequence[str]]


def _index(names: Listed, root: Path) -> Index:
    """(column, value) → names of the series it stands for; a path stands for the series in it and below it."""
    index: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, series in names.items():
        index["series_uid", series.uid].append(name)
        index["study_uid", series.study].append(name)
        for path in _paths(series, root):
            index["path", path].append(name)
    return index


def _paths(series: Series, root: Path) -> set[str]:
    """The series' files, its copies and what was left out, and all folders above them, relative to the root."""
    files = {path.relative_to(root) for path in (*series.files, *series.others)}
    folders = {folder for path in {f.parent for f in files} for folder in (path, *path.parents)}
    return {path.as_posix() for path in files | folders}


def _candidates(row: LabelRow, index: Index, spelt: Callable[[], Names]) -> tuple[Sequence[str], str]:
    """Names of the series that a row may mean, and the path on disk where it is spelt otherwise. Raises BadScan where
    several paths are spelt like the row's."""
    for column, value in (("series_uid", row.series_uid), ("path", row.path), ("study_uid", row.study_uid)):
        if not value:
            continue
        if (column, value) not in index and column == "path" and (there := spelt().find(value)):
            return index[column, there], there
        return index.get((column, value), ()), ""
    return (), ""


def _check_one_owner(row: LabelRow, candidates: Sequence[str], names: Listed) -> None:
    """A series_uid that several patients share names none of them."""
    if row.series_uid and len(candidates) > 1:
        whose = ", ".join(names[name].part or f"patient {names[name].patient}" for name in candidates)
        what = f"{len(candidates)} series on disk are called {row.series_uid} ({whose})"
        raise BadScan(row.scan, what, "Name the scan by its `path` instead")


def _of_one_patient(row: LabelRow, candidates: Sequence[str], names: Listed) -> Sequence[str]:
    """The series of the row's patient. Raises BadScan where they are of several, and none has the row's id."""
    usable = [name for name in candidates if not names[name].refusal]
    whose = {name: names[name].patient or names[name].part for name in usable}
    owners = dict.fromkeys(form(owner) for owner in whose.values() if owner)
    if len(owners) < 2:
        return candidates
    if own := [name for name in usable if form(whose[name]) == form(row.patient)]:
        return own
    shown = ", ".join(dict.fromkeys(owner for owner in whose.values() if owner))
    what = f"'{row.key}' holds series of {len(owners)} patients ({shown})"
    raise BadScan(row.scan, what, "Name the scan by its series_uid, or by the `path` of its own folder or file")


def _taken(row: LabelRow, taken: Mapping[str, str], reasons: Mapping[str, BadScan]) -> str | None:
    if row.scan in reasons:
        raise reasons[row.scan]
    return taken.get(row.scan)


def _worth_a_row(names: Listed, taken: Mapping[str, str]) -> Listed:
    """The series that the table names, and usable ones of studies that it does not name at all."""
    chosen = set(taken.values())
    known = {names[name].study for name in chosen}
    return {n: s for n, s in names.items() if n in chosen or not (s.refusal or (s.study and s.study in known))}


def _refusals(names: Listed) -> list[str]:
    """How many series are no axial primary CT, by reason."""
    counts = Counter(s.refusal for s in names.values() if s.refusal)
    return [f"{n} series not used: {reason}" for reason, n in counts.items()]


# Without a table --------------------------------------------------------------------------------------------------


def find_unlabelled(root: Path, site: str) -> Found:
    """List all series that are CT volumes, without labels; those of one PatientID are of one patient.

    Raises:
        BadSite: no folder, or no DICOM series.
    """
    root = Path(root)
    if not root.is_dir():
        raise no_such_folder(root, site)
    series, damaged = find_series(root)
    if not series:
        raise _no_images(f"{site}: {root}", damaged)
    names = _names(series)
    ids, used = printable(names), {name: s for name, s in names.items() if not s.refusal}
    scans = tuple(Scan(site, s.patient or ids[n], ids[n], None, s.files, facts=s.facts) for n, s in used.items())
    remarks = [f"{ids[n]}: {note}" for n, s in used.items() for note in s.notes]
    return Found(scans, tuple(damaged), (*_refusals(names), *remarks))

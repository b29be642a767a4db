"""A site's labels table (CSV or XLSX) in; one checked row per scan out, and rows matched to the scans on disk.

The table's header names its columns, in any order and any case: `patient_id`, `label`, at least one of `series_uid`,
`path`, `study_uid`, and whatever of `scan_id, subset, contrast, date, age, sex` the site knows (sites page, "DICOM
series with a labels table"). Readers use it in three calls::

    table = find_table(root, labels, site)
    rows = read_labels(table, site, keys=("path",))
    matched = match(rows, {name: scan_on_disk, ...}, table)        # name: what the key column says
    Found(tuple(row.as_scan(site, files) for row, files in matched.pairs), matched.bad, matched.notes)
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.scan import NEGATIVE, POSITIVE, Fact, Scan
from elsewhere.scans.tables import read_cells

TABLE_NAMES = ("labels.csv", "labels.xlsx")
KEYS = ("series_uid", "path", "study_uid")
FACTS = ("contrast", "date", "age", "sex")
COLUMNS = ("patient_id", "scan_id", *KEYS, "label", "subset", *FACTS)
SYNONYMS = {
    "patient": "patient_id",
    "patientid": "patient_id",
    "scan": "scan_id",
    "scanid": "scan_id",
    "seriesuid": "series_uid",
    "seriesinstanceuid": "series_uid",
    "series_instance_uid": "series_uid",
    "studyuid": "study_uid",
    "studyinstanceuid": "study_uid",
    "study_instance_uid": "study_uid",
}
LABELS: dict[str, int | None] = {
    **dict.fromkeys(("1", "positive", "pos", "covid", "covid-19", "covid19", "ncp", "true", "yes"), POSITIVE),
    **dict.fromkeys(
        ("0", "negative", "neg", "normal", "non-covid", "noncovid", "cp", "control", "false", "no"), NEGATIVE
    ),
    "unknown": None,
}
MISSING = {"", "n/a", "na", "nan", "none", "null", "-"}
YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}

T = TypeVar("T")


@dataclass(frozen=True)
class LabelRow:
    """One scan as the labels table tells it.

    Attributes:
        patient: patient id.
        label: 1 COVID-positive, 0 COVID-negative, None where the table says `unknown`.
        series_uid: SeriesInstanceUID, or "".
        study_uid: StudyInstanceUID, or "".
        path: file or folder relative to the site's root, with "/" between its parts, or "".
        scan: scan id; the row's key where the table has no `scan_id`.
        subset: the group that is split on its own (becomes `Scan.stratum`), or "".
        facts: of `contrast` (bool or str), `date` (ISO), `age` (years), `sex` ("M", "F" or as written), those known.
    """

    patient: str
    label: int | None
    series_uid: str = ""
    study_uid: str = ""
    path: str = ""
    scan: str = ""
    subset: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What names the scan on disk: the most exact of series_uid, path and study_uid; else the patient id."""
        return self.series_uid or self.path or self.study_uid or self.patient

    def as_scan(self, site: str, files: Iterable[Path], facts: Mapping[str, Fact] | None = None) -> Scan:
        """The `Scan` of this row; what the table says goes before what the headers (`facts`) say."""
        merged = {**(facts or {}), **self.facts}
        return Scan(site, self.patient, self.scan, self.label, tuple(files), self.subset, merged)


def row_of(scan: Scan, *, series_uid: str = "", study_uid: str = "", path: str = "") -> LabelRow:
    """The row that a site's `write_tables` gives a scan: the inverse of `LabelRow.as_scan`."""
    facts = {name: scan.facts[name] for name in FACTS if scan.facts.get(name) is not None}
    return LabelRow(scan.patient, scan.label, series_uid, study_uid, path, scan.scan, scan.stratum, facts)


# Reading and writing the table ----------------------------------------------------------------------------------


def find_table(root: Path, labels: Path | None, site: str) -> Path:
    """The table given, else `labels.csv` or `labels.xlsx` in the site's root.

    Raises:
        BadSite: there is none.
    """
    candidates = [Path(labels)] if labels else [Path(root) / name for name in TABLE_NAMES]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise BadSite(
        f"{site}: {root}",
        f"no labels table ({' or '.join(str(c) for c in candidates)} not found)",
        f"Write one with the columns patient_id, label and one of {', '.join(KEYS)}, or name it with `labels`",
    )


def read_labels(
    path: Path, site: str, keys: Sequence[str] = KEYS, ignore: Collection[str] = (), synonyms: Mapping[str, str] = {}
) -> list[LabelRow]:
    """Read and check a labels table. CSV may have a BOM, CRLF, and commas, semicolons or tabs; XLSX: first sheet.

    Args:
        path: the table.
        site: name of the site, for the error texts.
        keys: columns of which each row must fill at least one; ("patient_id",) where the layout follows from it.
        ignore: further columns that may be there and are not read.
        synonyms: further names of columns, e.g. {"probCOVID": "label"}.

    Raises:
        BadSite: the table is missing, empty or unreadable; a column is missing or unknown; a label is outside the
            classes; a scan stands twice; an age is no age.
    """
    where = f"{site}: {path}"
    header, records = _read_table(Path(path), where)
    columns = _check_columns(header, where, keys, ignore, {k.lower(): v for k, v in synonyms.items()})
    rows, wrong = [], []
    for line, record in records:
        cells = {name: _cell(record[i]) for name, i in columns.items() if i < len(record)}
        try:
            rows.append(_row(cells, keys))
        except ValueError as error:
            wrong.append(f"line {line}: {error}")
    if wrong:
        raise BadSite(where, _some(wrong), f"Correct these rows; labels accepted: {', '.join(LABELS)}")
    _check_twice(rows, where)
    return rows


def write_labels(path: Path, rows: Iterable[LabelRow]) -> None:
    """Write rows as a CSV that `read_labels` reads back equal; columns that no row fills are left out."""
    records = [_record(row) for row in rows]
    columns = [c for c in COLUMNS if c in ("patient_id", "label") or any(record[c] for record in records)]
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def _record(row: LabelRow) -> dict[str, str]:
    facts = {name: "" if row.facts.get(name) is None else str(row.facts[name]) for name in FACTS}
    if isinstance(row.facts.get("contrast"), bool):
        facts["contrast"] = "yes" if row.facts["contrast"] else "no"
    label = "unknown" if row.label is None else str(row.label)
    keys = {"series_uid": row.series_uid, "study_uid": row.study_uid, "path": row.path}
    return {"patient_id": row.patient, "scan_id": row.scan, "label": label, "subset": row.subset, **keys, **facts}


def _read_table(path: Path, where: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header, and (line number, cells) of each row that is not blank."""
    if not path.is_file():
        raise BadSite(where, "no such table", "Check the path given as `labels`")
    lines = read_cells(path, where)
    filled = [(n, cells) for n, cells in enumerate(lines, start=1) if any(_cell(c) for c in cells)]
    if len(filled) < 2:
        raise BadSite(where, f"the table is empty ({len(filled)} lines, header included)", "Give each scan one row")
    return filled[0][1], filled[1:]


def _check_columns(
    header: Sequence[str], where: str, keys: Sequence[str], ignore: Collection[str], synonyms: Mapping[str, str]
) -> dict[str, int]:
    """Column name → its place. Raises BadSite naming what is missing, unknown or twice, and the list accepted."""
    ignored = {name.lower() for name in ignore}
    places = [(_column(name, synonyms), i) for i, name in enumerate(header) if _cell(name).lower() not in ignored]
    names = [name for name, _ in places if name]
    accepted = f"Columns accepted: {', '.join(COLUMNS)}"
    if unknown := [name for name in names if name not in COLUMNS]:
        raise BadSite(where, f"unknown columns: {', '.join(unknown)}", f"Rename or remove them. {accepted}")
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise BadSite(where, f"columns that stand twice: {', '.join(twice)}", "Keep one of each")
    missing = [name for name in ("patient_id", "label") if name not in names]
    if not any(key in names for key in keys):
        missing.append(" or ".join(keys))
    if missing:
        raise BadSite(where, f"missing columns: {', '.join(missing)} (found: {', '.join(names)})", accepted)
    return {name: i for name, i in places if name}


def _column(name: str, synonyms: Mapping[str, str]) -> str:
    name = _cell(name).lower()
    if name in synonyms:
        return synonyms[name]
    name = re.sub(r"[\s\-]+", "_", name)
    return SYNONYMS.get(name, name)


def _cell(text: str) -> str:
    return text.strip().strip("\ufeff").strip()


# One row --------------------------------------------------------------------------------------------------------


def _row(cells: Mapping[str, str], keys: Sequence[str]) -> LabelRow:
    """Raises ValueError with what is wrong."""
    patient = cells.get("patient_id", "")
    if not patient:
        raise ValueError("patient_id is empty")
    if not any(cells.get(key) for key in keys):
        raise ValueError(f"{' and '.join(keys)} empty: nothing names the scan")
    facts = {name: parse(cells[name]) for name, parse in _PARSERS.items() if cells.get(name, "").lower() not in MISSING}
    row = LabelRow(
        patient,
        _label(cells.get("label", "")),
        cells.get("series_uid", ""),
        cells.get("study_uid", ""),
        normal_path(cells.get("path", "")),
        cells.get("scan_id", ""),
        cells.get("subset", ""),
        facts,
    )
    return row if row.scan else LabelRow(**{**vars(row), "scan": row.key})


def normal_path(text: str) -> str:
    """A path as tables write it (backslashes, "./", a leading or trailing "/") → parts joined by "/"."""
    return "/".join(part for part in text.replace("\\", "/").split("/") if part not in ("", "."))


def _label(text: str) -> int | None:
    key = text.lower()
    key = key[:-2] if re.fullmatch(r"[01]\.0", key) else key
    if key not in LABELS:
        raise ValueError(f"label '{text}' is outside the classes")
    return LABELS[key]


def parse_age(text: str) -> int | float:
    """Age in years from `53`, `053Y` or `018M` (DICOM age string). Raises ValueError."""
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*([YMWD]?)", text.strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f"age '{text}' is neither years nor like 053Y")
    years = float(found[1]) * YEARS[found[2].upper() or "Y"]
    return int(years) if years.is_integer() else round(years, 3)


def parse_date(text: str) -> str:
    """ISO date from `20200407`, `2020-04-07`, `2020/4/7` or `7.4.2020`; anything else is left as written."""
    for form in ("%Y%m%d", "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y"):
        try:
            return datetime.strptime(text.partition(" ")[0], form).date().isoformat()
        except ValueError:
            continue
    return text


def _contrast(text: str) -> bool | str:
    return {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}.get(text.lower(), text)


def _sex(text: str) -> str:
    return {"male": "M", "female": "F", "m": "M", "f": "F"}.get(text.lower(), text)


_PARSERS: dict[str, Callable[[str], Fact]] = {
    "contrast": _contrast,
    "date": parse_date,
    "age": parse_age,
    "sex": _sex,
}


def _check_twice(rows: Sequence[LabelRow], where: str) -> None:
    for name, values in (("scan_id", [r.scan for r in rows]), ("key", [r.key for r in rows])):
        twice = [value for value, n in Counter(values).items() if n > 1]
        if twice:
            what = f"{len(twice)} {name}s stand more than once: {_some(twice)}"
            raise BadSite(where, what, "Keep one row per scan (patient_id may repeat, scan_id and the key may not)")


def _some(items: Sequence[str], most: int = 5) -> str:
    shown = "; ".join(items[:most])
    return shown if len(items) <= most else f"{shown}; and {len(items) - most} more"


# Rows and scans -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Matched(Generic[T]):
    """Rows that have a scan, and what is left over on either side.

    Attributes:
        pairs: (row, scan on disk), in the table's order.
        bad: one BadScan for each row without a scan and each scan without a row.
        notes: one sentence for each kind of leftover, with its number.
    """

    pairs: tuple[tuple[LabelRow, T], ...]
    bad: tuple[BadScan, ...]
    notes: tuple[str, ...]


def match(
    rows: Sequence[LabelRow],
    found: Mapping[str, T],
    table: Path,
    look_up: Callable[[LabelRow], str | None] | None = None,
) -> Matched[T]:
    """Join the table's rows with the scans on disk; what is left over is listed, never fatal.

    Args:
        rows: what `read_labels` returned.
        found: name → scan on disk; a name stands for one scan.
        table: the table, for the texts.
        look_up: row → name in `found`, or None; may raise BadScan with a better reason. Without it: `row.key`.

    Raises:
        BadSite: not one row has a scan.
    """
    pairs: list[tuple[LabelRow, T]] = []
    bad: list[BadScan] = []
    taken: dict[str, str] = {}
    for row in rows:
        try:
            name = look_up(row) if look_up else row.key
            _check_name(row, name, found, taken, table)
        except BadScan as error:
            bad.append(error)
            continue
        assert name is not None
        taken[name] = row.scan
        pairs.append((row, found[name]))
    _check_any(rows, found, pairs, bad, table)
    spare = [name for name in found if name not in taken]
    notes = _leftovers(len(bad), len(spare), table)
    next_step = "Add it to the table, or leave it: it is not used"
    return Matched(
        tuple(pairs), (*bad, *(BadScan(name, f"no row in {table.name}", next_step) for name in spare)), notes
    )


def _check_name(row: LabelRow, name: str | None, found: Mapping[str, T], taken: Mapping[str, str], table: Path) -> None:
    if name is None or name not in found:
        what = f"{table.name} lists it as '{row.key}' (patient {row.patient}), but no such scan was found"
        raise BadScan(row.scan, what, "Check the id or path in the table, and that the scan was copied")
    if name in taken:
        raise BadScan(row.scan, f"{table.name} gives it the same images as '{taken[name]}'", "Keep one of the two rows")


def _check_any(
    rows: Sequence[LabelRow], found: Mapping[str, T], pairs: Sequence[object], bad: Sequence[BadScan], table: Path
) -> None:
    if pairs:
        return
    wanted, seen = _some([row.key for row in rows], 3), _some(list(found), 3) or "none"
    what = f"none of its {len(rows)} rows matches a scan (table: {wanted}; on disk: {seen})"
    reason = f". First reason: {bad[0].what}" if bad else ""
    raise BadSite(table, what + reason, f"Make {', '.join(KEYS)} in the table agree with the files")


def _leftovers(rows: int, spare: int, table: Path) -> tuple[str, ...]:
    notes = []
    if rows:
        notes.append(f"{rows} rows of {table.name} have no usable scan")
    if spare:
        notes.append(f"{spare} scans on disk have no row in {table.name} and are not used")
    return tuple(notes)

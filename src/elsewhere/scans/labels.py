"""A site's labels table (CSV or XLSX) in; one checked row per scan out, and rows matched to the scans on disk.

The table's header names its columns, in any order and any case: `patient_id`, `label`, at least one of `series_uid`,
`path`, `study_uid`, and whatever of `scan_id, subset, contrast, date, age, sex` the site knows (sites page, "DICOM
series with a labels table"). Readers use it in three calls::

    table = find_table(root, labels, site)
    rows = read_labels(table, site, keys=("path",))
    matched = match(rows, {name: scan_on_disk, ...}, table)        # name: what the key column says
    scans = tuple(row.as_scan(site, files) for row, files in matched.pairs)
    Found(scans, matched.bad, matched.notes, matched.missing)
"""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Generic, TypeVar

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.label_columns import (
    COLUMNS,
    FACTS,
    KEYS,
    TableOptions,
    below,
    cell,
    check_ids_of,
    column_name,
    find_columns,
    own_lines,
)
from elsewhere.scans.scan import Fact, Scan
from elsewhere.scans.tables import Line, read_lines
from elsewhere.scans.values import (
    LABELS,
    MISSING,
    Order,
    alike,
    check_id,
    form,
    normal_path,
    parse_age,
    parse_contrast,
    parse_date,
    parse_sex,
    slash_order,
)

TABLE_NAMES = ("labels.csv", "labels.xlsx")
TABLE_ENDS = (".csv", ".tsv", ".xlsx", ".xlsm", ".xls", ".ods")
TITLES = 10  # lines above the header that may be titles
NOT_FOUND = "no such scan was found"
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
        remarks: values that cannot be understood and are left out, a sentence each; `match` tells them.
    """

    patient: str
    label: int | None
    series_uid: str = ""
    study_uid: str = ""
    path: str = ""
    scan: str = ""
    subset: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What names the scan on disk: the most exact of series_uid, path and study_uid; else the patient id."""
        return self.series_uid or self.path or self.study_uid or self.patient

    def as_scan(self, site: str, files: Iterable[Path], facts: Mapping[str, Fact] | None = None) -> Scan:
        """The `Scan` of this row; what the table says goes before what the headers (`facts`) say."""
        merged = {**(facts or {}), **self.facts}
        return Scan(site, self.patient, self.scan, self.label, tuple(files), self.subset, merged)


def row_of(scan: Scan, *, series_uid: str = "", path: str = "") -> LabelRow:
    """The row that a site's `write_tables` gives a scan: the inverse of `LabelRow.as_scan`."""
    facts = {name: scan.facts[name] for name in FACTS if scan.facts.get(name) is not None}
    return LabelRow(scan.patient, scan.label, series_uid, "", path, scan.scan, scan.stratum, facts)


def unlabelled(site: str, found: Mapping[str, tuple[Path, ...]], facts: Mapping[str, Fact]) -> tuple[Scan, ...]:
    """Every scan on disk without a label, each of a patient of its own: nothing says which are of one.

    Args:
        site: the site's name.
        found: name on disk -> files, as for `match`.
        facts: of all of them.
    """
    names = printable(found)
    return tuple(Scan(site, names[name], names[name], None, files, facts=facts) for name, files in found.items())


def printable(names: Iterable[str]) -> dict[str, str]:
    """Name on disk -> id: the name itself, with the bytes that are no UTF-8 spelt out, and never one id twice."""
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(names, key=lambda n: (not n.isprintable(), n)):  # those that can stay as they are come first
        text = os.fsencode(name).decode(errors="backslashreplace")
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        copies = (f"{text} ({n})" for n in count(2))
        ids[name] = text if text not in taken else next(c for c in copies if c not in taken)
        taken.add(ids[name])
    return ids


# Reading and writing the table ----------------------------------------------------------------------------------


def find_table(root: Path, labels: Path | None, site: str) -> Path:
    """The table given, else the one in the root that is called `labels` (in any case), else the only table there.

    Raises:
        BadSite: there is none, or several of which none is called so.
    """
    if labels:
        candidates = [Path(labels)] if Path(labels).is_file() else []
        folder = Path(labels).parent
    else:
        folder = Path(root)
        candidates = [p for p in tables_in(folder) if p.name.lower() in TABLE_NAMES] or tables_in(folder)
    if len(candidates) == 1:
        return candidates[0]
    for name in TABLE_NAMES:  # of labels.csv and labels.xlsx side by side the first
        if (exact := folder / name) in candidates:
            return exact
    there = ", ".join(p.name for p in tables_in(folder)) or "none"
    names = str(labels) if labels else " or ".join(str(folder / name) for name in TABLE_NAMES)
    raise BadSite(
        f"{site}: {root}",
        f"no labels table ({names} not found; tables there: {there})",
        f"Write one with the columns patient_id, label and one of {', '.join(KEYS)}, or name it with `labels`",
    )


def tables_in(folder: Path) -> list[Path]:
    """The tables that lie in a folder, whatever they hold."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in TABLE_ENDS and p.is_file())


def read_labels(
    path: Path,
    site: str,
    keys: Sequence[str] = KEYS,
    ignore: Collection[str] = (),
    synonyms: Mapping[str, str] = {},
    *,
    options: TableOptions = TableOptions(),  # noqa: B008 - frozen
    root: Path | None = None,
    notes: list[str] | None = None,
) -> list[LabelRow]:
    """Read and check a labels table. CSV may have a BOM, CRLF, and commas, semicolons or tabs; XLSX: first sheet.

    Args:
        path: the table.
        site: name of the site, for the error texts.
        keys: columns of which each row must fill at least one; ("patient_id",) where the layout follows from it.
        ignore: further columns that may be there and are not read.
        synonyms: further names of columns, e.g. {"probCOVID": "label"}.
        options: what the site's options say of the table.
        root: the site's folder: paths may have it, or its name, in front.
        notes: takes a sentence on unknown columns, and on rows of other sites.

    Raises:
        BadSite: the table is missing, empty or unreadable; a column is missing; a label is outside the
            classes; a scan stands twice; an id was rounded by a spreadsheet.
    """
    where = f"{site}: {path}"
    notes = [] if notes is None else notes
    others = {k.lower(): v for k, v in synonyms.items()}
    others |= {theirs.strip().lower(): ours for ours, theirs in options.columns.items() if theirs}
    header, records = _read_table(Path(path), where, others)
    columns = find_columns(
        header,
        where,
        keys=keys,
        ignore={name.lower() for name in ignore},
        synonyms=others,
        options=options,
        notes=notes,
    )
    lines = [
        (line, {name: cell(record[i]) for name, i in columns.items() if i < len(record)}) for line, record in records
    ]
    lines = own_lines(lines, site, root, where, notes)
    check_ids_of(lines, where)
    order = slash_order(cells.get("date", "") for _, cells in lines)
    rows, wrong = [], []
    for line, cells in lines:
        try:
            rows.append((line, _row(cells, keys, order, options, root)))
        except ValueError as error:
            wrong.append(f"line {line}: {error}")
    if wrong:
        raise BadSite(where, _some(wrong) + _of_all(len(wrong), len(lines)), _correct(wrong))
    _check_twice(rows, where, "scan_id" in columns)
    return [row for _, row in rows]


def _of_all(wrong: int, rows: int) -> str:
    return f" ({wrong} of {rows} rows)" if rows > 1 else ""


def _correct(wrong: Sequence[str]) -> str:
    """What to do about rows that cannot be read."""
    labels = [found[1] for text in wrong if (found := re.search(r"label '(.*)' is outside the classes", text))]
    if not labels:
        return "Correct these rows"
    if all(re.fullmatch(r"0?[.,]\d+", label) for label in labels):
        return "These look like probabilities: a table of scores goes to `elsewhere evaluate`"
    words = f'Say what they mean with the site\'s options, as positive = ["{labels[0]}"]'
    return f"{words}, or correct these rows; labels accepted: {', '.join(LABELS)}"


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


def _read_table(path: Path, where: str, synonyms: Mapping[str, str]) -> tuple[list[str], list[Line]]:
    """Header, and (line number, cells) of each row that is not blank; comments and titles above the header left out."""
    if not path.is_file():
        raise BadSite(where, "no such table", "Check the path given as `labels`")
    lines = [(n, cells) for n, cells in read_lines(path, where) if any(cell(c) for c in cells)]
    lines = [(n, cells) for n, cells in lines if not cell(cells[0]).startswith("#")]
    heads = (i for i, (_, cells) in enumerate(lines[:TITLES]) if "label" in {column_name(c, synonyms) for c in cells})
    lines = lines[next(heads, 0) :]
    if len(lines) < 2:
        raise BadSite(where, f"the table is empty ({len(lines)} lines, header included)", "Give each scan one row")
    return lines[0][1], lines[1:]


# One row --------------------------------------------------------------------------------------------------------


def _row(
    cells: Mapping[str, str], keys: Sequence[str], order: Order | None, options: TableOptions, root: Path | None
) -> LabelRow:
    """Raises ValueError with what is wrong."""
    patient = cells.get("patient_id", "")
    if not patient:
        raise ValueError("patient_id is empty")
    if not any(cells.get(key) for key in keys):
        raise ValueError(f"{' and '.join(keys)} empty: nothing names the scan")
    facts, remarks = _facts(cells, order)
    row = LabelRow(
        check_id(patient),
        options.label(cells.get("label", "")),
        check_id(cells.get("series_uid", "")),
        check_id(cells.get("study_uid", "")),
        below(normal_path(cells.get("path", "")), root),
        check_id(cells.get("scan_id", "")),
        cells.get("subset", ""),
        facts,
        remarks,
    )
    return row if row.scan else replace(row, scan=row.key)


def _facts(cells: Mapping[str, str], order: Order | None) -> tuple[dict[str, Fact], tuple[str, ...]]:
    """What a row says of the patient and the scan, and a remark on each value that cannot be understood."""
    facts: dict[str, Fact] = {}
    remarks = []
    for name, parse in _PARSERS.items():
        if (text := cells.get(name, "")).lower() in MISSING:
            continue
        try:
            facts[name] = parse_date(text, order) if name == "date" else parse(text)
        except ValueError as error:
            remarks.append(str(error))
    return facts, tuple(remarks)


_PARSERS: dict[str, Callable[[str], Fact]] = {
    "contrast": parse_contrast,
    "date": parse_date,
    "age": parse_age,
    "sex": parse_sex,
}


def _check_twice(rows: Sequence[tuple[int, LabelRow]], where: str, has_ids: bool) -> None:
    """Every scan once. Raises BadSite with the lines of those that are not."""
    for value_of, name in ((lambda row: row.key, "scan"), (lambda row: row.scan, "scan_id")):
        lines: dict[str, list[int]] = defaultdict(list)
        for line, row in rows:
            lines[value_of(row)].append(line)
        twice = [f"{value} (lines {' and '.join(map(str, n))})" for value, n in lines.items() if len(n) > 1]
        if twice:
            then = "Keep one row per scan (patient_id may repeat)"
            raise BadSite(where, f"{_count(len(twice), name)} named more than once: {_some(twice)}", then)
        if not has_ids:
            return


def _count(number: int, name: str) -> str:
    return f"1 {name} is" if number == 1 else f"{number} {name}s are"


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
        missing: labels of the rows without a scan.
    """

    pairs: tuple[tuple[LabelRow, T], ...]
    bad: tuple[BadScan, ...]
    notes: tuple[str, ...]
    missing: tuple[int | None, ...] = ()


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
    missing: list[int | None] = []
    taken: dict[str, LabelRow] = {}
    names, otherwise = Names(found), 0
    for row in rows:
        try:
            name = look_up(row) if look_up else row.key
            if name not in found and (name or row.path):
                name = names.find(name or row.path)
                otherwise += name is not None
            _check_name(row, name, found, taken, table)
        except BadScan as error:
            bad.append(error)
            missing.append(row.label)
            continue
        assert name is not None
        taken[name] = row
        pairs.append((row, found[name]))
    _check_any(rows, found, pairs, bad, table)
    spare = [name for name in found if name not in taken]
    notes = [*_leftovers(len(bad), len(spare), table), *_remarks(rows, table), *_cases(rows, table)]
    if otherwise:
        notes.append(
            f"{_count(otherwise, 'scan')} spelt otherwise in {table.name} than on disk (case, accents, spaces)"
        )
    next_step = "Add it to the table, or leave it: it is not used"
    without = (BadScan(name, f"no row in {table.name}", next_step) for name in spare)
    return Matched(tuple(pairs), (*bad, *without), tuple(notes), tuple(missing))


class Names:
    """Names on disk, found also where a table spells them otherwise: composed accents, spaces, then case.

    Args:
        names: as they are on disk.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.by_form: dict[str, list[str]] = defaultdict(list)
        self.by_case: dict[str, list[str]] = defaultdict(list)
        for name in names:
            self.by_form[alike(name)].append(name)
            self.by_case[form(name)].append(name)

    def find(self, name: str) -> str | None:
        """The name on disk; None where there is none.

        Raises:
            BadScan: several names on disk are spelt like it.
        """
        found = self.by_form.get(alike(name)) or self.by_case.get(form(name)) or []
        if len(found) > 1:
            what = f"stands for {len(found)} names on disk: {_some(found, 3)}"
            raise BadScan(name, what, "Write it in the table as it is on disk")
        return found[0] if found else None


def _remarks(rows: Sequence[LabelRow], table: Path) -> list[str]:
    """What could not be understood and is left out, by its first example; no network uses it."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for remark in row.remarks:
            kinds[remark.partition(" ")[0]].append(remark)
    return [
        f"{table.name}: the {kind} of {len(found)} {'row' if len(found) == 1 else 'rows'} is left out: {found[0]}"
        for kind, found in kinds.items()
    ]


def _cases(rows: Sequence[LabelRow], table: Path) -> list[str]:
    """Patients whose ids differ in nothing but case, accents or spaces: two patients, or one spelt twice."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        spellings[form(row.patient)].add(row.patient)
    twice = [sorted(found) for found in spellings.values() if len(found) > 1]
    if not twice:
        return []
    pairs = _some([" and ".join(repr(p) for p in found) for found in twice], 3)
    return [f"{table.name}: patient ids that differ only in their spelling count as different patients: {pairs}"]


def _check_name(
    row: LabelRow, name: str | None, found: Mapping[str, T], taken: Mapping[str, LabelRow], table: Path
) -> None:
    if name is None or name not in found:
        what = f"{table.name} lists it as '{row.key}' (patient {row.patient}), but {NOT_FOUND}"
        raise BadScan(row.scan, what, "Check the id or path in the table, and that the scan was copied")
    if name in taken:
        other = taken[name]
        what = f"{table.name} gives it the same images as '{other.scan}' (patients {row.patient} and {other.patient})"
        raise BadScan(row.scan, what, "Keep one of the two rows")


def _check_any(
    rows: Sequence[LabelRow], found: Mapping[str, T], pairs: Sequence[object], bad: Sequence[BadScan], table: Path
) -> None:
    if pairs:
        return
    wanted, seen = _some([row.key for row in rows], 3), _some(list(found), 3) or "none"
    what = f"none of its {len(rows)} rows matches a scan (table: {wanted}; on disk: {seen})"
    known = [error for error in bad if NOT_FOUND not in error.what]  # found, and of no use
    reason = f". First reason: {(known or bad)[0].what}" if bad else ""
    then = f"Make {', '.join(KEYS)} in the table agree with the files"
    raise BadSite(table, what + reason, known[0].next_step if known else then)


def _leftovers(rows: int, spare: int, table: Path) -> tuple[str, ...]:
    notes = []
    if rows:
        have = "row of {} has" if rows == 1 else "rows of {} have"
        notes.append(f"{rows} {have.format(table.name)} no usable scan")
    if spare:
        have, are = ("scan on disk has", "is") if spare == 1 else ("scans on disk have", "are")
        notes.append(f"{spare} {have} no row in {table.name} and {are} not used")
    return tuple(notes)

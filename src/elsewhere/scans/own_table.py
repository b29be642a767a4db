"""A user's own table of scans, whatever its columns are called: rows with patient, scan, label and site."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from elsewhere.errors import BadTable
from elsewhere.scans.label_columns import cell
from elsewhere.scans.scan import CLASSES, NEGATIVE, POSITIVE
from elsewhere.scans.score_columns import NAMES as SCORE_NAMES
from elsewhere.scans.score_columns import normal_name
from elsewhere.scans.tables import Line, read_lines
from elsewhere.scans.values import MISSING, check_id, check_ids, parse_label

OwnRole = Literal["patient", "path", "series_uid", "study_uid", "label", "site", "date", "age", "sex", "contrast"]
ROLES: tuple[OwnRole, ...] = get_args(OwnRole)
MUST: tuple[OwnRole, ...] = ("patient", "label")
Ask = Callable[[str, Sequence[str]], str]
"""A question and the answers there are -> the answer; None where nobody can be asked."""

NAMES: Mapping[OwnRole, tuple[str, ...]] = {
    "series_uid": ("series_uid seriesuid series_instance_uid seriesinstanceuid",),
    "study_uid": ("study_uid studyuid study_instance_uid studyinstanceuid",),
    "path": (
        "path file filename file_name filepath file_path",
        "image image_path image_file scan scan_path scan_file ct ct_path ct_file nifti nifti_file volume folder",
    ),
    "patient": (*SCORE_NAMES["patient"], "id case case_id"),
    "label": SCORE_NAMES["label"],
    "site": SCORE_NAMES["site"],
    "date": SCORE_NAMES["date"],
    "age": SCORE_NAMES["age"],
    "sex": SCORE_NAMES["sex"],
    "contrast": ("contrast contrast_agent",),
}
"""Names of each column, in order of strength: the strongest that stands in the table is taken."""
HEAD = 10  # lines above the header that may be titles
MOST_KINDS = 12  # values of a column of labels that are shown


@dataclass(frozen=True)
class OwnRow:
    """One row of the table.

    Attributes:
        line: its number in the file.
        cells: role -> text, "" where empty.
        label: 1, 0, or None where the table does not say.
    """

    line: int
    cells: Mapping[OwnRole, str]
    label: int | None


@dataclass(frozen=True)
class OwnTable:
    """A table of scans with its columns understood.

    Attributes:
        path: the file.
        columns: role -> name of the column.
        unused: names of the columns that have no role.
        labels: value of the label column -> 1, 0 or None, and how many rows have it.
        rows: in the order of the file.
    """

    path: Path
    columns: Mapping[OwnRole, str]
    unused: tuple[str, ...]
    labels: Mapping[str, tuple[int | None, int]]
    rows: tuple[OwnRow, ...] = field(repr=False)


def read_own_table(
    path: Path, given: Mapping[OwnRole, str], positive: Collection[str] = (), ask: Ask | None = None
) -> OwnTable:
    """Read a table, recognise its columns and its labels.

    Args:
        path: CSV, XLSX or Parquet.
        given: role -> name of the column, as the user said it.
        positive: values of the label column that are positive; all others are then negative. Without them the words
            that labels tables take are understood (`elsewhere.scans.values.LABELS`).
        ask: asks the user what cannot be recognised.

    Raises:
        BadTable: a column or value that was given is not there, one that is needed is not recognised and nobody can
            be asked, a spreadsheet has rounded an id, or the table is empty. BadSite: it cannot be read.
    """
    if not path.is_file():
        tables = ", ".join(p.name for p in sorted(path.resolve().parent.glob("*")) if p.suffix.lower() in ENDS)
        raise BadTable(path, "no such table", f"Tables in that folder: {tables or 'none'}")
    header, lines = _header_and_lines(read_lines(path, str(path)), path)
    places = _places(header, given, path, ask)
    roles: dict[OwnRole, str] = {role: header[place] for role, place in places.items()}
    texts = [(n, {role: cells[i] if i < len(cells) else "" for role, i in places.items()}) for n, cells in lines]
    try:
        check_ids([check_id(row.get("patient", "")) for _, row in texts])
    except ValueError as error:
        raise BadTable(path, str(error), "Format the column as text and fill the ids in again") from error
    meaning = _meaning(Counter(row["label"] for _, row in texts), roles["label"], positive, path, ask)
    rows = tuple(OwnRow(n, row, meaning[row["label"]]) for n, row in texts)
    counts = Counter(row["label"] for _, row in texts)
    unused = tuple(name for i, name in enumerate(header) if name and i not in places.values())
    return OwnTable(path, roles, unused, {v: (meaning[v], n) for v, n in counts.items()}, rows)


ENDS = (".csv", ".tsv", ".xlsx", ".xlsm", ".parquet")


def _header_and_lines(lines: Sequence[Line], path: Path) -> tuple[list[str], list[Line]]:
    """The header (the fullest of the first lines) and what stands below it, stripped; comments and blanks left out."""
    stripped = [(n, [cell(text) for text in cells]) for n, cells in lines]
    stripped = [(n, cells) for n, cells in stripped if any(cells) and not cells[0].startswith("#")]
    widths = [sum(map(bool, cells)) for _, cells in stripped[:HEAD]]
    start = widths.index(max(widths)) if widths else 0
    if len(stripped) < start + 2:
        raise BadTable(path, "the table has no row below its header", "Give each scan one row")
    return stripped[start][1], stripped[start + 1 :]


def _places(header: Sequence[str], given: Mapping[OwnRole, str], path: Path, ask: Ask | None) -> dict[OwnRole, int]:
    names = [normal_name(name) for name in header]
    found: dict[OwnRole, int] = {}
    for role, name in given.items():
        fitting = [i for i, h in enumerate(header) if h == name.strip()]
        fitting = fitting or [i for i, n in enumerate(names) if n == normal_name(name)]
        if len(fitting) != 1:
            close = difflib.get_close_matches(name, header, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Columns: {_listed(header)}"
            raise BadTable(path, f"{'two columns are' if fitting else 'no column is'} called {name!r}", hint)
        found[role] = fitting[0]
    for role in ROLES:
        if role not in found:
            free = [i for i, name in enumerate(names) if name and i not in found.values()]
            fitting = _fitting(role, names, free)
            if len(fitting) == 1:
                found[role] = fitting[0]
            elif role in MUST or (fitting and role in {"path", "site"}):
                found[role] = _asked(role, fitting or free, header, path, ask)
    return found


def _fitting(role: OwnRole, names: Sequence[str], free: Sequence[int]) -> list[int]:
    for tier in NAMES[role]:
        if places := [i for i in free if names[i] in tier.split()]:
            return places
    return []


def _asked(role: OwnRole, places: Sequence[int], header: Sequence[str], path: Path, ask: Ask | None) -> int:
    choices = [header[i] for i in places]
    if ask is not None and choices:
        return places[choices.index(ask(f"Which column of {path.name} is the {role}?", choices))]
    what = f"it is not clear which column is the {role} (columns: {_listed(header)})"
    raise BadTable(path, what, f"Say which with --{role} COLUMN")


def _meaning(
    counts: Mapping[str, int], column: str, positive: Collection[str], path: Path, ask: Ask | None
) -> dict[str, int | None]:
    """Value of the label column -> 1, 0 or None."""
    known = {value: _known(value) for value in counts}
    unclear = [value for value, (clear, _) in known.items() if not clear]
    if not positive and not unclear:
        return {value: label for value, (_, label) in known.items()}
    values = [value for value in counts if value.lower() not in MISSING and value.lower() != "unknown"]
    shown = ", ".join(f"{value!r} ({counts[value]})" for value in values[:MOST_KINDS])
    if not positive and len(values) > MOST_KINDS:
        what = f"column {column!r} holds {len(values)} different values ({shown}, …): no classes"
        hint = "Name another column with --label; a table of scores goes to `elsewhere evaluate`"
        raise BadTable(path, what, hint)
    if not positive and ask is not None:
        positive = [ask(f"Which value of {column!r} is positive? All others are negative.", values)]
    if not positive:
        what = f"labels of column {column!r} that are not understood: {', '.join(map(repr, unclear[:MOST_KINDS]))}"
        raise BadTable(path, what, f"Say which value is positive with --positive; the values are {shown}")
    wanted = {value.strip().casefold() for value in positive}
    if absent := [value for value in positive if value.strip().casefold() not in {v.casefold() for v in values}]:
        raise BadTable(path, f"no label of column {column!r} is {absent[0]!r}", f"The values are {shown}")
    return {v: (POSITIVE if v.casefold() in wanted else NEGATIVE) if v in values else None for v in counts}


def _known(value: str) -> tuple[bool, int | None]:
    """Whether a label is one of the words that are understood, and which class it is; empty ones are unlabelled."""
    try:
        return True, None if value.lower() in MISSING else parse_label(value)
    except ValueError:
        return False, None


def _listed(header: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in header if name)


def describe_labels(table: OwnTable) -> str:
    """The values of the label column with their class and number, for the user to check.

    Returns:
        such as "'Y' positive (30 rows), 'N' negative (28 rows)".
    """
    parts = [
        f"{value!r} {CLASSES.get(label, 'unlabelled') if label is not None else 'unlabelled'} ({n} rows)"
        for value, (label, n) in table.labels.items()
    ]
    return ", ".join(parts)

"""Rows and columns in; a table for the page and the same table as CSV out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elsewhere.files import csv_text
from elsewhere.pages.figures.cells import MARKS
from elsewhere.pages.report.records import number, record_of, value_in
from elsewhere.pages.report.words import estimate

ROWS_ON_PAGE = 100


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        key: its name in the CSV and in each row.
        heading: its name on the page.
        show: value and row -> words; None prints texts as they are and numbers with their own digits.
        numeric: right-aligned, digits under digits.
        value: row -> value, where it is not what the row has under `key`.
    """

    key: str
    heading: str
    show: Callable[[Any, Any], str] | None = None
    numeric: bool = False
    value: Callable[[Any], object] | None = None

    def value_of(self, row: object) -> Any:
        """The cell's value in the CSV."""
        return self.value(row) if self.value else value_in(row, self.key)

    def print(self, row: object) -> str:
        """The cell's words on the page."""
        value = self.value_of(row)
        return self.show(value, row) if self.show else plain(value)


@dataclass(frozen=True)
class Table:
    """A table of one kind of rows.

    Attributes:
        name: the CSV's stem.
        caption: what it shows.
        columns: the columns that stand on the page.
        rows: frozen dataclasses, or records; the CSV holds all of their columns, the page the first `most` rows.
        note: a sentence under the table.
        most: rows that stand on the page.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Any]
    note: str = ""
    most: int = ROWS_ON_PAGE

    @property
    def shown(self) -> Sequence[Any]:
        """The rows that stand on the page."""
        return self.rows[: self.most]

    def to_csv(self) -> str:
        """All rows and all columns, the page's columns first; nothing rounded."""
        columns = {column.key: column for column in self.columns}
        names = list(dict.fromkeys([*columns, *(name for row in self.rows for name in record_of(row))]))
        values = [[columns[n].value_of(row) if n in columns else value_in(row, n) for n in names] for row in self.rows]
        return csv_text(names, [list(map(_csv_value, row)) for row in values])


def plain(value: Any) -> str:
    """A value as it stands; lists with commas, gaps as an en dash."""
    if value is None or (isinstance(value, float) and number(value) is None):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(plain(v) for v in value) if isinstance(value, (list, tuple)) else str(value)


def plain_table(name: str, caption: str, rows: Sequence[Any], headings: Mapping[str, str] | None = None) -> Table:
    """A table of any rows; columns as they come, or those of `headings` first."""
    keys = list(dict.fromkeys([*(headings or {}), *(key for row in rows for key in record_of(row))]))
    columns = [
        Column(key, (headings or {}).get(key, key.replace("_", " ")), None, _is_numeric(rows, key)) for key in keys
    ]
    return Table(name, caption, columns, rows)


def _is_numeric(rows: Sequence[object], key: str) -> bool:
    values = [value for row in rows if (value := value_in(row, key)) is not None]
    return bool(values) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)


def _csv_value(value: Any) -> Any:
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None or (isinstance(value, float) and number(value) is None) else value


def marked_site(site: str, row: object) -> str:
    """A tested site with the mark of what it is to the network: home, seen or unseen (`kin` of the row)."""
    return f"{MARKS[value_in(row, 'kin')]}\u00a0{site}"


def estimate_column(name: str, heading: str) -> Column:
    """A column of estimates, each with its interval: the fields `name`, `name`_low and `name`_high."""
    ends = f"{name}_low", f"{name}_high"
    return Column(name, heading, lambda v, r: estimate(v, *(value_in(r, end) for end in ends)), numeric=True)

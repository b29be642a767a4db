"""Records and columns in; a table for the page and the same table as CSV out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elsewhere.files import csv_text
from elsewhere.pages.report.content import Record
from elsewhere.pages.report.records import number
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
    """

    key: str
    heading: str
    show: Callable[[Any, Record], str] | None = None
    numeric: bool = False

    def print(self, row: Record) -> str:
        """The cell's words on the page."""
        value = row.get(self.key)
        return self.show(value, row) if self.show else plain(value)


@dataclass(frozen=True)
class Table:
    """A table with its rows as records.

    Attributes:
        name: the CSV's stem.
        caption: what it shows.
        columns: the columns that stand on the page.
        rows: the records; the CSV holds all of their columns, the page the first `most` rows.
        note: a sentence under the table.
        most: rows that stand on the page.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Record]
    note: str = ""
    most: int = ROWS_ON_PAGE

    @property
    def shown(self) -> Sequence[Record]:
        """The rows that stand on the page."""
        return self.rows[: self.most]

    def to_csv(self) -> str:
        """All rows and all columns, the page's columns first; nothing rounded."""
        names = list(dict.fromkeys([c.key for c in self.columns] + [key for row in self.rows for key in row]))
        return csv_text(names, [[_csv_value(row.get(name)) for name in names] for row in self.rows])


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


def plain_table(name: str, caption: str, rows: Sequence[Record], headings: Mapping[str, str] | None = None) -> Table:
    """A table of any records; columns as they come, or those of `headings` first."""
    keys = list(dict.fromkeys([*(headings or {}), *(key for row in rows for key in row)]))
    columns = [
        Column(key, (headings or {}).get(key, key.replace("_", " ")), None, _is_numeric(rows, key)) for key in keys
    ]
    return Table(name, caption, columns, rows)


def _is_numeric(rows: Sequence[Record], key: str) -> bool:
    values = [row.get(key) for row in rows if row.get(key) is not None]
    return bool(values) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)


def _csv_value(value: Any) -> Any:
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None or (isinstance(value, float) and number(value) is None) else value


def estimate_column(name: str, heading: str) -> Column:
    """A column of estimates, each with its interval: the fields `name`, `name`_low and `name`_high."""
    ends = f"{name}_low", f"{name}_high"
    return Column(name, heading, lambda v, r: estimate(v, *(r[end] for end in ends)), numeric=True)

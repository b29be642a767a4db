"""A table that a data set publishes (CSV or XLSX) in; its rows as dictionaries of text out."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from openpyxl import load_workbook

from elsewhere.errors import BadSite

UNKNOWN = {"", "n/a", "na", "nan", "none"}


def read_rows(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Rows as {column: text}, blank rows left out; CSV with or without BOM and CRLF, or the first sheet of an XLSX.

    Raises:
        BadSite: the table cannot be read, or lacks one of the `required` columns.
    """
    if not path.is_file():
        raise BadSite(path, "no such table", "Check its path in the study file")
    lines = _xlsx(path) if path.suffix.lower() == ".xlsx" else _csv(path)
    lines = [line for line in lines if any(line)]
    header = lines[0] if lines else []
    if missing := [name for name in required if name not in header]:
        raise BadSite(
            path,
            f"lacks the columns {', '.join(missing)} (found: {', '.join(header) or 'nothing'})",
            f"Use the table as published, with the columns {', '.join(required)}",
        )
    return [dict(zip(header, line, strict=False)) for line in lines[1:]]


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as CSV; None becomes an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def known(text: str | None) -> str | None:
    """A cell's text, or None where the table says that it does not know ('N/A', empty)."""
    return None if text is None or text.strip().lower() in UNKNOWN else text.strip()


def _csv(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSite(path, f"is not UTF-8 text ({error})", "Use the table as published") from error
    return [[cell.strip() for cell in line] for line in csv.reader(io.StringIO(text, newline=""))]


def _xlsx(path: Path) -> list[list[str]]:
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise BadSite(path, f"is not a readable XLSX file ({error})", "Download it again, or save it as CSV") from error
    try:
        return [[_text(value) for value in row] for row in book.worksheets[0].iter_rows(values_only=True)]
    finally:
        book.close()


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()

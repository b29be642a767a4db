"""A table that a data set publishes (CSV or XLSX) in; its rows as dictionaries of text out."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
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
    lines = [[cell.strip() for cell in line] for line in read_cells(path, str(path))]
    lines = [line for line in lines if any(line)]
    header = lines[0] if lines else []
    if missing := [name for name in required if name not in header]:
        raise BadSite(
            path,
            f"lacks the columns {', '.join(missing)} (found: {', '.join(header) or 'nothing'})",
            f"Use the table as published, with the columns {', '.join(required)}",
        )
    return [dict(zip(header, line, strict=False)) for line in lines[1:]]


def read_cells(path: Path, where: str) -> list[list[str]]:
    """All lines of a CSV (with or without BOM and CRLF; commas, semicolons or tabs) or of the first sheet of an XLSX.

    Args:
        path: the table, which is there.
        where: what the error calls it.

    Raises:
        BadSite: it is no readable XLSX file.
    """
    return _read_xlsx(path, where) if path.suffix.lower() == ".xlsx" else _read_csv(path)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as CSV; None becomes an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def known(text: str | None) -> str | None:
    """A cell's text, or None where the table says that it does not know ('N/A', empty)."""
    return None if text is None or text.strip().lower() in UNKNOWN else text.strip()


def _read_csv(path: Path) -> list[list[str]]:
    text = _decode(path.read_bytes())
    header = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _decode(raw: bytes) -> str:
    """Text of a table saved by Excel or anything else: UTF-8 or UTF-16 with their marks, else Western."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _read_xlsx(path: Path, where: str) -> list[list[str]]:
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise BadSite(where, f"not a readable XLSX file ({error})", "Save it again as .xlsx or as .csv") from error
    try:
        return [[_excel_text(value) for value in row] for row in book.worksheets[0].iter_rows(values_only=True)]
    finally:
        book.close()


def _excel_text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime | date):
        return value.strftime("%Y-%m-%d")
    return "" if value is None else str(value)

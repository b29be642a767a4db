"""A table (CSV, XLSX or Parquet) in; its lines, or its rows as dictionaries of text, out."""

from __future__ import annotations

import csv
import io
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl import load_workbook

from elsewhere.errors import BadSite

Line = tuple[int, list[str]]
"""Number of the line in the file, and its cells."""

MOST_BYTES = 256_000_000  # of a table, also unpacked
MOST_ROWS, MOST_COLUMNS = 500_000, 256
PARQUET_ROWS = 1024  # read at once
MOST_BLANK = 10_000  # blank rows of a sheet, after which nothing more is looked for
LONGEST_CELL = 20  # lines that one cell of a CSV may take
HEAD, DELIMITERS = 1_000_000, ",;\t"  # letters in which a header is looked for, and what may part its cells
EXACT = 1e15  # from here on a spreadsheet rounds
ZIP, OLD_EXCEL, PARQUET = b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"PAR1"
UNKNOWN = {"", "n/a", "na", "nan", "none"}


def read_rows(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Rows as {column: text}, blank rows left out; CSV with or without BOM and CRLF, or the first sheet of an XLSX.

    Raises:
        BadSite: the table cannot be read, or lacks one of the `required` columns.
    """
    if not path.is_file():
        raise BadSite(path, "no such table", "Check its path in the study file")
    lines = [[cell.strip() for cell in line] for _, line in read_lines(path, str(path))]
    lines = [line for line in lines if any(line)]
    header = lines[0] if lines else []
    if missing := [name for name in required if name not in header]:
        raise BadSite(
            path,
            f"lacks the columns {', '.join(missing)} (found: {', '.join(header) or 'nothing'})",
            f"Use the table as published, with the columns {', '.join(required)}",
        )
    return [dict(zip_longest(header, line[: len(header)], fillvalue="")) for line in lines[1:]]


def read_lines(path: Path, where: str) -> list[Line]:
    """All lines of a CSV (with or without BOM and CRLF; commas, semicolons or tabs), a Parquet file or an XLSX's sheet.

    What a file is its first bytes say, not its name. A cell of a CSV may hold line breaks, but not a large part of
    the table: that is a quotation mark which nobody closed.

    Args:
        path: the table, which is there.
        where: what the error calls it.

    Returns:
        (number of the line it begins on, cells), blank ones too.

    Raises:
        BadSite: it is no readable table, a quotation mark is not closed, or it is larger than any table of scans.
    """
    if (size := path.stat().st_size) > MOST_BYTES:
        raise BadSite(where, f"{size / 1e6:.0f} MB: no table of scans is that large", "Give the table of the scans")
    raw = path.read_bytes()
    if raw.startswith(OLD_EXCEL):
        raise BadSite(where, "is a spreadsheet of an old kind (.xls)", "Save it as .xlsx or .csv")
    if raw.startswith(PARQUET):
        return _read_parquet(raw, where)
    if raw.startswith(ZIP) or path.suffix.lower() in {".xlsx", ".xlsm"}:
        return _read_xlsx(raw, where)
    return _read_csv(raw, where)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as CSV; None becomes an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def known(text: str | None) -> str | None:
    """A cell's text, or None where the table says that it does not know ('N/A', empty)."""
    return None if text is None or text.strip().lower() in UNKNOWN else text.strip()


def _read_csv(raw: bytes, where: str) -> list[Line]:
    text = _decode(raw)
    first = [line for line in text[:HEAD].lstrip().splitlines() if not line.startswith("#")]
    header = next((line for line in first if any(mark in line for mark in DELIMITERS)), "")  # below bare titles
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[Line] = []
    limit = csv.field_size_limit(len(text) + 1)
    try:
        begin = 1
        for cells in reader:
            if reader.line_num - begin > LONGEST_CELL:
                raise csv.Error(f"one cell reaches from here to line {reader.line_num}")
            lines.append((begin, cells))
            begin = reader.line_num + 1
    except csv.Error as error:
        what = f"line {begin}: a quotation mark is not closed, or text follows the closing one ({error})"
        raise BadSite(where, what, "Remove the stray quotation mark, or write it twice where it belongs") from error
    finally:
        csv.field_size_limit(limit)
    return lines


def _decode(raw: bytes) -> str:
    """Text of a table saved by Excel or anything else: UTF-8 or UTF-16, with or without their marks, else Western."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", errors="replace")
    if len(raw) > 3 and raw[:100].count(0) > 0.3 * len(raw[:100]):
        return raw.decode("utf-16-le" if raw[1] == 0 else "utf-16-be", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _read_xlsx(raw: bytes, where: str) -> list[Line]:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as packed:
            whole = sum(entry.file_size for entry in packed.infolist())
            if "mimetype" in packed.namelist():
                raise BadSite(where, "is a spreadsheet of another kind (.ods)", "Save it as .xlsx or .csv")
        if whole > MOST_BYTES:
            what = f"unpacks to {whole / 1e6:.0f} MB: no table of scans is that large"
            raise BadSite(where, what, "Give the table of the scans, without other sheets and pictures")
        book = load_workbook(io.BytesIO(raw), read_only=True, data_only=True)
    except BadSite:
        raise
    except Exception as error:  # whatever a damaged archive or its XML raise
        raise BadSite(where, f"not a readable XLSX file ({error})", "Save it again as .xlsx or as .csv") from error
    try:
        return list(_sheet(book.worksheets[0], where))
    except (BadSite, MemoryError):
        raise
    except Exception as error:
        raise BadSite(where, f"not a readable XLSX file ({error})", "Save it again as .xlsx or as .csv") from error
    finally:
        book.close()


def _sheet(sheet: Any, where: str) -> Iterator[Line]:
    """The rows that hold something; a cell far outside makes no rows of empty ones."""
    sheet.reset_dimensions()
    filled = 0
    for number, row in enumerate(sheet.iter_rows(values_only=True, max_col=MOST_COLUMNS), start=1):
        if all(value is None for value in row):
            if number - filled > MOST_BLANK:
                return
            continue
        if number > MOST_ROWS:
            raise BadSite(where, f"has more than {MOST_ROWS} rows", "Give the table of the scans, one row each")
        filled = number
        width = max(i for i, value in enumerate(row, start=1) if value is not None)
        yield number, [_excel_text(value, number, where) for value in row[:width]]


def _read_parquet(raw: bytes, where: str) -> list[Line]:
    """Its size is compared with what a table of scans needs before it is read, and its pages' checksums as it is."""
    try:
        file = pq.ParquetFile(pa.BufferReader(raw), page_checksum_verification=True)
        rows, columns = file.metadata.num_rows, file.metadata.num_columns
        if rows > MOST_ROWS or columns > MOST_COLUMNS:
            raise BadSite(where, f"has {rows} rows and {columns} columns", "Give the table of the scans, one row each")
        lines: list[Line] = [(1, list(file.schema_arrow.names))]
        held = 0
        for batch in file.iter_batches(PARQUET_ROWS):
            texts = [[_plain_text(value) for value in column.to_pylist()] for column in batch.columns]
            held += sum(len(cell) for column in texts for cell in column)
            if held > MOST_BYTES:
                what = f"unpacks to more than {MOST_BYTES / 1e6:.0f} MB: no table of scans is that large"
                raise BadSite(where, what, "Give the table of the scans, without other columns")
            lines += [(n, list(row)) for n, row in enumerate(zip(*texts, strict=True), len(lines) + 1)]
    except (OSError, pa.ArrowException, ValueError, LookupError) as error:
        raise BadSite(where, f"not a readable Parquet file ({error})", "Save it again, or as .csv") from error
    return lines


def _plain_text(value: object) -> str:
    """A cell as a CSV would have it; numbers keep every bit."""
    if isinstance(value, float) and math.isnan(value):
        return ""
    if isinstance(value, datetime | date):
        return value.strftime("%Y-%m-%d")
    return "" if value is None else str(value)


def _excel_text(value: object, row: int, where: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= EXACT:
        what = f"row {row} holds the number {value:.0f}, of which a spreadsheet keeps 15 digits"
        raise BadSite(where, what, "Format the column as text and fill the ids in again")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime | date):
        return value.strftime("%Y-%m-%d")
    return "" if value is None else str(value)

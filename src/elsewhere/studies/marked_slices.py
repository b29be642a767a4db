"""A table of slices that people marked in, and the scans that are shown; the marks of these, out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import zip_longest
from pathlib import Path

from elsewhere.errors import BadStudy
from elsewhere.scans.tables import read_lines
from elsewhere.studies.records import ScanRow

Marks = Mapping[tuple[str, int], str]
"""(scan, slice from 1 at the top of the scan as read) -> word; "" where it was looked at, and not marked."""

MARK_COLUMNS = ("scan", "slice", "mark")


def read_marked_slices(path: Path, rows: Collection[ScanRow]) -> Marks:
    """Slices that people marked in the chosen scans.

    Args:
        path: CSV with the columns `MARK_COLUMNS`.
        rows: the scans.

    Raises:
        BadStudy: the table cannot be read, marks none of these scans, or a slice that they do not have.
    """
    then = f"Give a CSV with the columns {', '.join(MARK_COLUMNS)}"
    if not path.is_file():
        raise BadStudy(path, "cannot be read (no such file)", then)
    lines = [(n, [cell.strip() for cell in cells]) for n, cells in read_lines(path, str(path)) if any(cells)]
    header = lines[0][1] if lines else []
    if len(lines) < 2 or not set(MARK_COLUMNS) <= set(header):
        raise BadStudy(path, f"has {', '.join(header) if len(lines) > 1 else 'no row'}", then)
    scans = {row.scan: row.source_slices for row in rows}
    found: dict[tuple[str, int], str] = {}
    for line, cells in lines[1:]:
        row = dict(zip_longest(header, cells[: len(header)], fillvalue=""))
        if row["scan"] in scans:
            found[row["scan"], _slice(path, line, row["slice"], scans[row["scan"]])] = _word(row["mark"])
    if not found:
        raise BadStudy(path, f"marks none of the scans {', '.join(scans)}", "Write scan ids as scans.parquet has them")
    if len(scans) < len(rows):
        raise BadStudy(path, "marks scans whose id two chosen sites have", "Show them on a page for each site")
    return found


def _slice(path: Path, line: int, text: str, slices: int) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= slices):
        raise BadStudy(path, f"line {line} has slice {text!r}", f"Count from 1 at the top; the scan has {slices}")
    return int(text)


def _word(text: str) -> str:
    return "" if text.strip() in {"", "0"} else "yes" if text.strip() == "1" else text.strip()

"""Two score tables in, of two versions of a product; which row of one is which row of the other, out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadTable
from elsewhere.scans.score_table import ScoreTable
from elsewhere.scans.score_values import UNKNOWN_LABEL


@dataclass(frozen=True)
class RowPairs:
    """Rows of the same scan in two tables.

    Attributes:
        new: row of each pair in the new table (pairs,).
        old: row of each pair in the old table (pairs,).
        label: 1, 0, or -1 where neither table knows it (pairs,).
        added: scans of the new table alone.
        dropped: scans of the old table alone.
    """

    new: NDArray[np.int64]
    old: NDArray[np.int64]
    label: NDArray[np.int64]
    added: int
    dropped: int


def pair_rows(new: ScoreTable, kept: NDArray[np.bool_], old: ScoreTable) -> RowPairs:
    """Pair rows by scan; by patient where neither table has scans; by line where both are the same file.

    Args:
        new: table of the new version.
        kept: its rows of one finding and version (rows,).
        old: table of the old version.

    Raises:
        BadTable: nothing to pair by, several versions in the old table, no scan in common, labels that disagree.
    """
    finding = new.finding[int(np.flatnonzero(kept)[0])]
    theirs = (
        np.array([f == finding for f in old.finding]) if _both(new, old, "finding") else np.ones(len(old.scan), bool)
    )
    versions = sorted({v for v, k in zip(old.version, theirs, strict=True) if k})
    if len(versions) > 1:
        what = f"holds {len(versions)} versions ({', '.join(versions[:4])})"
        raise BadTable(old.where, what, "Keep the rows of the version to compare with")
    ids = _ids(new, old)
    ours, before = (_keyed(t, ids, rows, new, old) for t, rows in ((new, kept), (old, theirs)))
    common = [key for key in ours if key in before]
    if not common:
        first = [key[-1] for key in list(ours)[:3]]
        what = f"has no scan of {new.where} ({', '.join(first)}, …)"
        raise BadTable(old.where, what, "Make the scan ids of both tables agree")
    here, there = np.array([ours[k] for k in common]), np.array([before[k] for k in common])
    mine, other = new.label[here], old.label[there]
    differs = np.flatnonzero((mine != other) & (mine != UNKNOWN_LABEL) & (other != UNKNOWN_LABEL))
    if differs.size:
        i = int(differs[0])
        what = f"line {old.line[there[i]]}: scan {common[i][-1]!r} is labelled {other[i]}, in {new.where} {mine[i]}"
        more = f" ({differs.size} scans differ)" if differs.size > 1 else ""
        raise BadTable(old.where, what + more, "Compare versions on the same labels: correct one table")
    label = np.where(mine == UNKNOWN_LABEL, other, mine)
    return RowPairs(here, there, label, len(ours) - len(common), len(before) - len(common))


def cases_hash(table: ScoreTable, kept: Sequence[bool] | NDArray[np.bool_]) -> str:
    """Fingerprint of the labelled scans (site, scan, label) of some rows: the same cases have the same."""
    rows = sorted(
        f"{table.site[i]}\t{table.scan[i]}\t{table.label[i]}"
        for i in np.flatnonzero(np.asarray(kept))
        if table.label[i] != UNKNOWN_LABEL
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _both(new: ScoreTable, old: ScoreTable, role: str) -> bool:
    return role in new.columns and role in old.columns


def _ids(new: ScoreTable, old: ScoreTable) -> str:
    if _both(new, old, "scan"):
        return "scan"
    if "scan" not in new.columns and "scan" not in old.columns:
        if Path(new.where) == Path(old.where):
            return "scan"  # the line of the one file
        if _both(new, old, "patient"):
            return "patient"
    lacking = next((t.where for t in (new, old) if "scan" not in t.columns), old.where)
    raise BadTable(lacking, "has no column that names the scan, so versions cannot be paired", "Add a column `scan`")


def _keyed(
    table: ScoreTable, ids: str, kept: NDArray[np.bool_], new: ScoreTable, old: ScoreTable
) -> dict[tuple[str, ...], int]:
    names = table.scan if ids == "scan" else table.patient
    sites = _both(new, old, "site")
    found: dict[tuple[str, ...], int] = {}
    for i in np.flatnonzero(kept).tolist():
        key = (table.site[i], names[i]) if sites else (names[i],)
        if key in found:
            what = f"line {table.line[i]}: {ids} {names[i]!r} stands here and in line {table.line[found[key]]}"
            raise BadTable(table.where, what, "Add a column `scan` that tells its scans apart")
        found[key] = i
    return found

"""A study's folder in; its scans, identity, audit and predictions out, each whole and each fitting the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from elsewhere.errors import BadStudy
from elsewhere.model.prediction import SUBSETS, read_predictions
from elsewhere.plan import Folder, read_table
from elsewhere.records import read_record

Row = dict[str, Any]
SCAN = ("site", "patient", "scan", "label", "subset", "status", "file", "facts")
IDENTITY = ("settings", "models", "versions", "split_hash")
AUDIT = ("counts", "facts", "duplicates", "leaks", "site_only_auc", "warnings", "notes", "copies_left_out", "repaired")


def read_scans(folder: Folder) -> list[Row]:
    """The rows of scans.parquet; `file` is the path of the prepared volume as this machine has it.

    Raises:
        BadStudy: the table is missing or damaged.
    """
    rows = read_table(folder.scans, SCAN)
    return [{**row, "file": str(folder.volume(row["file"]))} for row in rows]


def read_identity(folder: Folder) -> dict[str, Any]:
    """What study.json says.

    Raises:
        BadStudy: there is none, or it is damaged.
    """
    if not folder.study.is_file():
        raise BadStudy(folder.root, "holds no study (study.json is missing)", "Run `elsewhere study` into it first")
    return read_record(folder.study, "Run `elsewhere study` again: finished trainings are kept", IDENTITY)


def read_audit(folder: Folder) -> dict[str, Any]:
    """What audit.json says.

    Raises:
        BadStudy: there is none, or it is damaged.
    """
    return read_record(folder.audit, "Run `elsewhere prepare` again: scans in the store are not read again", AUDIT)


def read_findings(path: Path) -> list[Row]:
    """What `elsewhere diagnose` found, from its findings.json; nothing where it was not run.

    Raises:
        BadStudy: the file is damaged.
    """
    if not path.is_file():
        return []
    with suppress(ValueError):  # earlier versions kept a bare list
        if isinstance(found := json.loads(path.read_bytes()), list):
            return found
    findings: list[Row] = read_record(path, "Run `elsewhere diagnose` again", ["findings"])["findings"]
    return findings


def read_fitting_predictions(folder: Folder, model: str, site: str) -> list[Row]:
    """The predictions of one model at one site, which must be of the scans, labels and split of scans.parquet.

    Raises:
        BadStudy: they are missing, damaged or of other scans.
    """
    path = folder.predictions(model, site)
    rows = read_predictions(path)
    state = folder.scans.stat() if folder.scans.is_file() else None
    known = _known_scans(folder, state.st_mtime_ns if state else 0, state.st_size if state else 0)[site]
    seen = {row["scan"]: _standing(row) for row in rows}
    for scan in [*known, *seen]:
        if seen.get(scan) != known.get(scan):
            raise BadStudy(
                path,
                f"is older than scans.parquet, or newer: scan {scan!r} is {_words(seen.get(scan))} in the predictions, "
                f"{_words(known.get(scan))} in the table of scans",
                "Run `elsewhere study` again: it predicts what has changed and keeps the rest",
            )
    return rows


def _standing(row: Mapping[str, Any]) -> tuple[str, int, str]:
    return row["subset"], row["label"], row["patient"]


def _words(standing: tuple[str, int, str] | None) -> str:
    if standing is None:
        return "not there"
    subset, label, patient = standing
    return f"a {subset} scan of patient {patient!r} with label {label}"


class _Sites(dict[str, dict[str, tuple[str, int, str]]]):
    def __missing__(self, site: str) -> dict[str, tuple[str, int, str]]:
        return {}


@lru_cache(maxsize=4)
def _known_scans(folder: Folder, changed: int, size: int) -> _Sites:  # noqa: ARG001 - part of the cache's key
    """site -> scan -> how it stands in the table, of the scans that are predicted."""
    sites = _Sites()
    for row in read_scans(folder):
        if row["status"] == "ok" and row["subset"] in SUBSETS:
            sites.setdefault(row["site"], {})[row["scan"]] = _standing(row)
    return sites


def forget(path: Path) -> None:
    """Remove what a refused run left in a folder, so that it is not taken for what stands now."""
    for file in path.glob("*") if path.is_dir() else ():
        file.unlink()
    if path.is_dir():
        path.rmdir()

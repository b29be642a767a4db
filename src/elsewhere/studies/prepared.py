"""The usable scans of a prepared study: their rows, their metadata, the samples and a reader of their volumes."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.model.sample import Case, Read
from elsewhere.scans import store
from elsewhere.stages import stage
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import read_scans

Row = dict[str, Any]
RULES = {
    "age and sex": ("age", "sex"),
    "month of the scan": ("month",),
    "slice thickness, spacing and number": ("thickness_mm", "slice_spacing_mm", "slices"),
    "kernel": ("kernel",),
    "scanner and protocol": ("manufacturer", "model", "protocol", "kvp", "contrast"),
    "matrix and field of view": ("rows", "columns", "pixel_spacing_mm", "reconstruction_diameter_mm"),
    "encoding": ("dtype", "units", "encoding_kind", "minimum", "maximum"),
    "padding and black share": ("padding_share", "black_share", "padding", "lung_segmented"),
}
"""Rules of metadata and simple measures of the picture (`statistics.confounding.MEASURED`): their name and the facts
they know. Nothing that is derived from the label is a fact."""

PATIENTS = ("age and sex", "month of the scan")
"""Rules of the patient and the day: that anything in the picture goes with them is shown by no audit."""


def usable_rows(folder: Folder) -> list[dict[str, Any]]:
    """The rows of a study's scans that can be used."""
    return [row for row in read_scans(folder) if row["status"] == "ok"]


def cases(rows: Collection[dict[str, Any]], sites: Collection[str], subset: str) -> list[Case]:
    """The labelled scans of some sites and one subset, in a fixed order."""
    chosen = [r for r in rows if r["site"] in sites and r["subset"] == subset]
    return [
        Case(r["site"], r["patient"], r["scan"], r["label"], r["slices"], r["minimum"], r["maximum"])
        for r in sorted(chosen, key=lambda r: (r["site"], r["scan"]))
    ]


def shelf_reader(rows: Collection[dict[str, Any]]) -> Read:
    """A function that reads windows of the stored volumes."""
    shelf = store.Shelf({(r["site"], r["scan"]): Path(r["file"]) for r in rows})

    def read(case: Case, start: int, stop: int) -> NDArray[np.int16] | NDArray[np.uint8]:
        with stage("load window"):
            return shelf.read(case.site, case.scan, start, stop)

    return read


def read_rows(folder: Folder) -> list[Row]:
    """The usable scans of a prepared study, `facts` as a mapping and with what forensics kept of each.

    Raises:
        BadStudy: the study is not prepared.
        BadScan: a prepared volume is damaged or gone.
    """
    return [_row(row) for row in read_scans(folder) if row["status"] == "ok"]


def _row(row: Row) -> Row:
    stored = store.find(Path(row["file"]))
    if stored is None:
        raise store.damaged(Path(row["file"]))
    forensics = stored.record["forensics"]
    facts = json.loads(row["facts"])
    seen = {name: forensics[name] for name in ("encoding_kind", "padding", "lung_segmented")}
    month = {"month": str(facts["date"])[:7]} if facts.get("date") else {}
    return {**row, "facts": {**facts, **seen, **month}, "forensics": forensics}

"""The usable scans of a prepared study: their rows, their metadata, the samples and a reader of their volumes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.model.sample import Case, Read
from elsewhere.scans import store
from elsewhere.scans.scan import Fact
from elsewhere.stages import stage
from elsewhere.studies.folder import Folder
from elsewhere.studies.records import ScanRow, usable_rows

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


@dataclass(frozen=True)
class ExaminedScan(ScanRow):
    """A usable scan; its `facts` know the month and what was seen in the voxels, too.

    Attributes:
        forensics: what `examine` kept of it.
    """

    forensics: Mapping[str, Any]


def cases(rows: Collection[ScanRow], sites: Collection[str], subset: str) -> list[Case]:
    """The labelled scans of some sites and one subset, in a fixed order."""
    chosen = [r for r in rows if r.site in sites and r.subset == subset]
    return [case_of(r) for r in sorted(chosen, key=lambda r: (r.site, r.scan))]


def case_of(row: ScanRow) -> Case:
    """One scan as networks take it; one without a label counts as negative."""
    return Case(row.site, row.patient, row.scan, row.label or 0, row.slices, row.minimum, row.maximum)


def shelf_reader(rows: Collection[ScanRow]) -> Read:
    """A function that reads windows of the stored volumes."""
    shelf = store.Shelf({(r.site, r.scan): Path(r.file) for r in rows})

    def read(case: Case, start: int, stop: int) -> NDArray[np.int16] | NDArray[np.uint8]:
        with stage("load window"):
            return shelf.read(case.site, case.scan, start, stop)

    return read


def examined_scans(folder: Folder) -> list[ExaminedScan]:
    """The usable scans of a prepared study with what forensics kept of each.

    Raises:
        BadStudy: the study is not prepared.
        BadScan: a prepared volume is damaged or gone.
    """
    return [_examined(row) for row in usable_rows(folder)]


def _examined(row: ScanRow) -> ExaminedScan:
    stored = store.find(Path(row.file))
    if stored is None:
        raise store.damaged(Path(row.file))
    forensics = stored.record["forensics"]
    seen = {name: forensics[name] for name in ("encoding_kind", "padding", "lung_segmented")}
    month = {"month": str(row.facts["date"])[:7]} if row.facts.get("date") else {}
    return ExaminedScan(**{**vars(row), "facts": {**row.facts, **seen, **month}}, forensics=forensics)


def one_kind(values: Sequence[Fact]) -> NDArray[np.object_]:
    """One fact of several scans: texts where any is a text, numbers otherwise."""
    if any(isinstance(value, str) for value in values):
        return np.array([None if value is None else str(value) for value in values], dtype=object)
    return np.array([None if value is None else float(value) for value in values], dtype=object)

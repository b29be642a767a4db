"""The usable scans of a prepared study: their rows, their metadata, the samples and a reader of their volumes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere.model.acquisition import Grid, GridOf
from elsewhere.model.sample import Case, Read
from elsewhere.scans import store
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.quality.examination import Examination
from elsewhere.scans.scan import Fact
from elsewhere.scans.shifts import CHEST_WIDTH
from elsewhere.scans.units import USUAL_OFFSET
from elsewhere.scans.volume import Spacing
from elsewhere.stages import stage
from elsewhere.studies.folder import Folder
from elsewhere.studies.records import ScanRow, usable_rows
from elsewhere.table_format import from_json

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


LUNGS = (270.0, 220.0, 290.0)
"""mm along (slice, row, column) of an adult's lungs: the size of a crop to them, which no record keeps."""


@dataclass(frozen=True)
class ExaminedScan(ScanRow):
    """A usable scan; its `facts` know the month and what was seen in the voxels, too.

    Attributes:
        forensics: what `examine` kept of it, but for its fingerprint, which `fingerprints` reads.
        fingerprint: hash of that.
    """

    forensics: Examination
    fingerprint: str = ""


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


def grid_reader(rows: Collection[ScanRow], preparation: Preparation) -> GridOf:
    """A function that tells what the numbers and voxels of a scan's prepared volume mean."""
    known = {(r.site, r.scan): r for r in rows}
    return lambda case: grid_of(known[case.site, case.scan], preparation)


def grid_of(row: ScanRow, preparation: Preparation) -> Grid:
    """What the numbers and voxels of one prepared volume mean.

    After a crop to the lungs their usual size stands for the box; without a pixel size the usual chest's does.
    """
    spacing = _spacing(row, preparation)
    if preparation.encoding == "hu" or row.units == "HU":
        return Grid("HU", 0.0, spacing)
    if row.units == "relative":
        return Grid("relative", None, spacing)
    declared = row.facts.get("declared_offset")
    return Grid("ct_number", float(declared) if isinstance(declared, int | float) else USUAL_OFFSET, spacing)


def _spacing(row: ScanRow, preparation: Preparation) -> Spacing | None:
    """Of the prepared voxels in mm; None where nothing tells the distance of the slices."""
    _, rows, columns = preparation.size
    between, pixel = (row.slice_spacing_mm or row.facts.get("thickness_mm"), row.facts.get("pixel_spacing_mm"))
    cropped = preparation.crop == "lungs"
    along = LUNGS[0] / row.slices if cropped and preparation.grid == "fixed" else None
    if along is None:
        if not isinstance(between, int | float) or between <= 0:
            return None
        along = between * (row.source_slices / row.slices if preparation.grid == "fixed" else 1)
    if cropped:
        return along, LUNGS[1] / rows, LUNGS[2] / columns
    if not isinstance(pixel, int | float) or pixel <= 0:
        return along, CHEST_WIDTH / rows, CHEST_WIDTH / columns
    return along, pixel * row.rows / rows, pixel * row.columns / columns


def examined_scans(folder: Folder) -> list[ExaminedScan]:
    """The usable scans of a prepared study with what forensics kept of each.

    Raises:
        BadStudy: the study is not prepared.
        BadScan: a prepared volume is damaged or gone.
    """
    return [_examined(row) for row in usable_rows(folder)]


def _examined(row: ScanRow) -> ExaminedScan:
    stored = _stored(Path(row.file))
    try:
        seen = from_json(Examination, stored.record["forensics"])
    except TypeError as error:
        raise store.damaged(Path(row.file)) from error
    told = {name: getattr(seen, name) for name in ("encoding_kind", "padding", "lung_segmented")}
    month = {"month": str(row.facts["date"])[:7]} if row.facts.get("date") else {}
    return ExaminedScan(
        **{**vars(row), "facts": {**row.facts, **told, **month}},
        forensics=replace(seen, fingerprint=""),
        fingerprint=hashlib.sha256(seen.fingerprint.encode()).hexdigest()[:32],
    )


def fingerprints(files: Sequence[Path]) -> Iterator[str]:
    """The fingerprints of prepared scans, as texts, one after the other: a study's are too large to be held.

    Raises:
        BadScan: a prepared volume is damaged or gone.
    """
    for file in files:
        yield str(_stored(file).record["forensics"]["fingerprint"])


def _stored(file: Path) -> store.Stored:
    found = store.find(file)
    if found is None:
        raise store.damaged(file)
    return found


def one_kind(values: Sequence[Fact]) -> NDArray[np.object_]:
    """One fact of several scans: texts where any is a text, numbers otherwise."""
    if any(isinstance(value, str) for value in values):
        return np.array([None if value is None else str(value) for value in values], dtype=object)
    return np.array([None if value is None else float(value) for value in values], dtype=object)

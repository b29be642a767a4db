"""The tables of a study: what a row of each is, and the one form in which it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from elsewhere.scans.scan import Fact
from elsewhere.table_format import TableFormat, column

OK, COPY = "ok", "copy"
"""Status of a scan that is used, and of a copy of one."""


@dataclass(frozen=True)
class ScanRow:
    """One scan of a study, as it was prepared.

    Attributes:
        site: name of the site.
        patient: patient id within the site.
        scan: scan id within the site.
        label: 1, 0 or None (unlabelled).
        stratum: group that is split on its own.
        status: "ok", or "copy" for a second volume with the same voxels of one patient.
        file: the prepared volume; in the file relative to the study's folder where it lies beside or below it.
        slices: stored slices.
        minimum: lowest stored value.
        maximum: highest stored value.
        content_hash: of the voxels as read.
        rows: of the matrix as read.
        columns: of the matrix as read.
        units: "HU", "ct_number" or "relative".
        padding_share: share of padding, 0..1.
        black_share: share of black voxels, 0..1.
        slice_spacing_mm: distance of slices; None where the files do not say.
        source_slices: slices as read.
        notes: remarks of its reader.
        facts: metadata of its tables and headers, and what was measured.
        subset: "train", "validation", "test" or "unlabelled".
        prepared_hash: of the stored voxels; "" in tables of early versions.
    """

    site: str
    patient: str
    scan: str
    label: int | None
    stratum: str | None
    status: str
    file: str
    slices: int
    minimum: int
    maximum: int
    prepared_hash: str = field(default="", kw_only=True)
    content_hash: str
    rows: int
    columns: int
    units: str
    padding_share: float
    black_share: float
    slice_spacing_mm: float | None
    source_slices: int
    notes: tuple[str, ...] = field(metadata=column(as_json=True))
    facts: Mapping[str, Fact] = field(metadata=column(as_json=True))
    subset: str

    @property
    def usable(self) -> bool:
        """Whether it is trained on, predicted or shown: no copy of another scan of its patient."""
        return self.status == OK


SCANS = TableFormat("scans", 1, ScanRow, "Run `elsewhere prepare` again: scans in the store are not read again")

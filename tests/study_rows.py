"""Rows of a study's tables for tests: whole ones, of which a test names what matters to it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

from elsewhere.audit_rows import OddityRow
from elsewhere.rows import ScoreRow
from elsewhere.scans.quality.examination import Examination
from elsewhere.studies.predictions import DETERMINISTIC, PredictionRow
from elsewhere.studies.prepared import ExaminedScan
from elsewhere.studies.records import OK, ScanRow

Row = TypeVar("Row")

SCAN = ScanRow(
    site="A",
    patient="p0",
    scan="s0",
    label=1,
    stratum="positive",
    status=OK,
    file="../store/ab/gone.b2nd",
    slices=9,
    minimum=-1000,
    maximum=400,
    content_hash="c0ffee",
    rows=16,
    columns=16,
    units="HU",
    padding_share=0.0,
    black_share=0.0,
    slice_spacing_mm=None,
    source_slices=9,
    notes=(),
    facts={},
    subset="test",
)
PREDICTION = PredictionRow("A", "A", "test", "p0", "s0", 1, 1, DETERMINISTIC, 0.5)


def a_scan(**given: Any) -> ScanRow:
    """A row of scans.parquet."""
    return replace(SCAN, **given)


UNREMARKABLE = Examination("HU", "HU", False, "none", False, (), "")


def an_examined_scan(forensics: Examination = UNREMARKABLE, **given: Any) -> ExaminedScan:
    """A usable scan with what forensics kept of it."""
    return ExaminedScan(**vars(a_scan(**given)), forensics=forensics)


def a_prediction(**given: Any) -> PredictionRow:
    """A row of a predictions table."""
    return replace(PREDICTION, **given)


def partly(kind: type[Row], **given: Any) -> Row:
    """A row of which only some columns were measured."""
    return kind(**{**{f.name: None for f in fields(kind)}, **given})  # type: ignore[arg-type]


def a_score(**given: Any) -> ScoreRow:
    """A row of scores.parquet; what is not given was not measured."""
    return partly(ScoreRow, **{"model": "A", "site": "A", "threshold_reading": "model", "note": "", **given})


def an_oddity(**given: Any) -> OddityRow:
    """Something odd about one scan; about two with `other_scan` and what goes with it."""
    scan = {"finding": "reversed", "site": "A", "patient": "p", "scan": "s", "subset": "test", "detail": ""}
    return OddityRow(**scan | given)

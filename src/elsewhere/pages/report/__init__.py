"""Scores and findings in; one page, its figures and its tables out."""

from elsewhere.pages.report.content import (
    Audit,
    BadScanRow,
    Calibration,
    Diagnosis,
    ExampleSlice,
    Model,
    RanModel,
    Report,
    RocBand,
    Site,
    Stress,
    Study,
    UnansweredRow,
    VisitRow,
)
from elsewhere.pages.report.page import write_report

__all__ = [
    "Audit",
    "BadScanRow",
    "Calibration",
    "Diagnosis",
    "ExampleSlice",
    "Model",
    "RanModel",
    "Report",
    "RocBand",
    "Site",
    "Stress",
    "Study",
    "UnansweredRow",
    "VisitRow",
    "write_report",
]

"""Scores and findings in; one page, its figures and its tables out."""

from elsewhere.evidence.report.content import (
    Audit,
    BadScanRow,
    ExampleSlice,
    Model,
    Report,
    RocBand,
    Site,
    Study,
)
from elsewhere.evidence.report.page import write_report

__all__ = ["Audit", "BadScanRow", "ExampleSlice", "Model", "Report", "RocBand", "Site", "Study", "write_report"]

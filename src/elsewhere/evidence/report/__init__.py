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

__all__ = ["Audit", "BadScanRow", "ExampleSlice", "Model", "Report", "RocBand", "Site", "Study"]

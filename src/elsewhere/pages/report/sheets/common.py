"""A report in; what the answers of the reporting sheets share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from elsewhere.pages.report.content import Report, Study

ORIGINS = {
    "real": "real scans",
    "repacked": "real scans of one data set re-packed into the layouts of others, a test of the software",
    "simulated": "simulated scans, a test of the software: no patient is behind any of them",
}


def first(report: Report) -> Study:
    """The study that speaks where all studies of a report agree."""
    return report.studies[0]


def setting(report: Report, section: str, name: str) -> Any:
    """One setting of the first study, None where it is not there."""
    part = first(report).settings.get(section)
    return part.get(name) if isinstance(part, dict) else None


def each(sentences: Iterable[tuple[str, str]]) -> str:
    """One sentence per study, named where there are several."""
    said = [(name, text) for name, text in sentences if text]
    if len({text for _, text in said}) == 1 and said:
        return said[0][1]
    return " ".join(f"“{name}”: {text}" for name, text in said)

"""What a model says of new scans: one row per scan, as CSV, as JSON, as a pandas table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from elsewhere.files import csv_text
from elsewhere.statistics.decision import OperatingPoint, decide
from elsewhere.statistics.verdict import DISCLAIMER
from elsewhere.studies.new_scans import Bad, NewScan
from elsewhere.table_format import in_pandas

COLUMNS = ("patient", "scan", "label", "probability", "call", "notes", "reason_not_used")

Cell = str | float | int | None


@dataclass(frozen=True)
class Scores:
    """What a model says of the scans of a folder.

    Attributes:
        model: name of the model.
        trained_on: its training sites.
        site: name of the folder or site.
        point: from which probability a call is positive.
        adjusted: how its threshold or its probabilities were adjusted after training; "" where they were not.
        scans: the scans that were predicted, in the order of their ids.
        unused: those that could not be: scan, reason, what to do.
        warnings: in what these scans lie outside what the model has seen, a sentence each.
        checkpoint: SHA-256 of the weights.
        origin: "real", "repacked" or "simulated" data behind the model.
        finding: what the probability is of; "" where the study did not say.
    """

    model: str
    trained_on: tuple[str, ...]
    site: str
    point: OperatingPoint
    adjusted: str
    scans: tuple[NewScan, ...]
    unused: tuple[Bad, ...]
    warnings: tuple[str, ...]
    checkpoint: str
    origin: str
    finding: str = ""

    def rows(self) -> Iterator[tuple[Cell, ...]]:
        """One row per scan with `COLUMNS`, those that could not be used last; the call is 1 or 0."""
        for r in self.scans:
            call = int(decide(r.probability, self.point))
            yield r.patient, r.scan, r.label, r.probability, call, "; ".join(r.notes), ""
        for scan, reason, _ in self.unused:
            yield "", scan, None, None, None, "", reason

    def table(self) -> Any:
        """The rows as a pandas DataFrame.

        Raises:
            BadInstallation: pandas is not installed.
        """
        return in_pandas(list(self.rows()), COLUMNS, "rows()")

    def to_csv(self) -> str:
        """The rows as CSV; probabilities with every digit."""
        rows = ([repr(v) if isinstance(v, float) else v for v in row] for row in self.rows())
        return csv_text(COLUMNS, rows)

    def to_record(self) -> dict[str, object]:
        """JSON-able."""
        return {
            "disclaimer": DISCLAIMER,
            "model": self.model,
            "trained_on": list(self.trained_on),
            "checkpoint": self.checkpoint,
            "origin": self.origin,
            "site": self.site,
            "finding": self.finding,
            "threshold": self.point.threshold,
            "threshold_rule": self.point.rule,
            "adjusted": self.adjusted,
            "warnings": list(self.warnings),
            "scans": [dict(zip(COLUMNS, row, strict=True)) for row in self.rows()],
        }

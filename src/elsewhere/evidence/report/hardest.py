"""The scans that most networks get wrong in; two tables of them, positives and negatives, out."""

from __future__ import annotations

from typing import Any

from elsewhere.evidence.report.content import Record, Study
from elsewhere.evidence.report.folder import Folder
from elsewhere.evidence.report.table import Column, Table
from elsewhere.evidence.report.words import figure


def section(study: Study, slug: str, out: Folder) -> dict[str, Any] | None:
    """What the section shows of one study; None with one network, for there is no consensus then."""
    if len(study.models) < 2:
        return None
    tables = [
        _table(study, f"{slug}-hardest-{name}", label, name) for label, name in ((1, "positives"), (0, "negatives"))
    ]
    return {"words": sentence(study), "tables": [out.add_table(table) for table in tables if table.rows]}


def sentence(study: Study) -> str:
    """How many scans are listed and how many of them are hard even for networks that were trained at their site."""
    if not study.hardest:
        return "No scan is called wrongly by more than half of the networks."
    at_home = [r for r in study.hardest if r["trained_here"]]
    hard = sum(2 * int(r["trained_here_wrong"]) > int(r["trained_here"]) for r in at_home)
    return (
        f"Of the {len(study.hardest)} scans listed, {hard} are called wrongly also by most of the networks that were "
        "trained at their site: those are hard in themselves, or wrongly labelled. The others are hard for "
        "strangers only."
    )


def _table(study: Study, name: str, label: int, kind: str) -> Table:
    columns = [
        Column("scan", "Scan"),
        Column("site", "Site"),
        Column("wrong", "Networks wrong", lambda v, r: f"{v} of {r['models']}", numeric=True),
        Column("trained_here_wrong", "Of those trained at its site", _here, numeric=True),
        Column("mean_probability", "Mean probability", lambda v, _: figure(v), numeric=True),
        Column("known", "What is known of it", lambda v, _: v or "–"),
    ]
    missed = "missed" if label else "called positive"
    rows = [row for row in study.hardest if row["label"] == label]
    return Table(
        name, f"{kind.capitalize()} {missed} by more than half of the networks, the hardest first.", columns, rows
    )


def _here(value: Any, row: Record) -> str:
    return f"{value} of {row['trained_here']}" if row["trained_here"] else "none was"

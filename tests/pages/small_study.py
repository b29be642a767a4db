"""Small studies for tests of the page's sentences: records on either side of a condition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from elsewhere.pages.report import GroupRow, Model, ProtocolMean, Site, Study
from elsewhere.rows import ScoreRow
from study_rows import a_score

REASON = ("its discrimination on the validation scans is not surely above chance",)


def a_cell(model: str, site: str, auc: float | None = None, half: float = 0.1, **values: Any) -> ScoreRow:
    """Scores of one network at one site with two classes."""
    ends = {} if auc is None else {"auc": auc, "auc_sampling_low": auc - half, "auc_sampling_high": auc + half}
    base = {"model": model, "site": site, "positives": 10, "negatives": 10}
    return a_score(**base | {"accuracy": 0.8, "baseline_majority_accuracy": 0.5, "sensitivity": 0.8} | ends | values)


def a_study(*scores: ScoreRow, name: str = "paper", **parts: Any) -> Study:
    """Networks of A, of B, and of both, tested at A, B, C and D (one class)."""
    models = parts.pop("models", (Model("A", ("A",)), Model("B", ("B",)), Model("A+D", ("A", "D"))))
    return Study(name, "In a sentence.", models, tuple(map(Site, "ABCD")), scores=scores, **parts)


def a_group(kind: str, auc: float, low: float, high: float, **values: Any) -> GroupRow:
    """A row of `Study.groups`."""
    return replace(GroupRow(kind, auc, low, high, cells=1, method="joint"), **values)


def a_protocol_mean(auc_first: float, auc_second: float, low: float, high: float, **values: Any) -> ProtocolMean:
    """A row of `Report.protocol_means`: studies "paper" and "harmonised" at sites never seen."""
    means = (auc_first, auc_second, auc_first - auc_second)
    return replace(ProtocolMean("unseen", "paper", "harmonised", *means, low, high, 6), **values)


def marked(study: Study, *names: str) -> Study:
    """The study with these networks marked as degenerate."""
    models = [replace(m, degenerate=REASON) if m.name in names else m for m in study.models]
    return replace(study, models=tuple(models))

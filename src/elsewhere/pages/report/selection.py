"""How each network's kept weights were chosen among its validation checks: a table, and what must be warned of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elsewhere.pages.report.content import Record, Study
from elsewhere.pages.report.learned import marked_name, marked_names
from elsewhere.pages.report.records import number
from elsewhere.pages.report.table import Column, Table
from elsewhere.pages.report.words import figure

KEPT = {
    "accuracy": "Highest accuracy (at threshold 0.5, the first maximum kept)",
    "log_loss": "Lowest log loss (the last minimum kept)",
    "auc": "Highest AUC within sites (the last maximum kept)",
}
"""The rules, as the study file's `training.select` names them."""

SCORES = ("iteration", "accuracy", "log_loss", "auc")


def flat_record(model: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `Study.selections` from what a checkpoint's record says (`selection`: see the study folder's page)."""
    row = {"model": model, **{key: found[key] for key in ("select", "criterion", "checks", "tied")}}
    row |= {f"{which}_{score}": found[which][score] for which in ("kept", "last") for score in SCORES}
    row |= {key: found[key] for key in ("majority_share", "equals_majority")}
    return row | {"warnings": list(found["warnings"])}


def selection_table(study: Study, name: str) -> Table:
    """Rule, ties, and what the kept and the last weights score on the validation scans, one row a network."""
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("criterion", "Weights kept", _rule),
        Column("kept_iteration", "At iteration (last)", lambda v, r: f"{v} ({r['last_iteration']})", numeric=True),
        Column("tied", "Checks as good as the best", lambda v, r: f"{v} of {r['checks']}", numeric=True),
        *(
            Column(f"kept_{score}", f"{heading}: kept (last)", _kept_and_last(score), numeric=True)
            for score, heading in (("auc", "AUC within sites"), ("log_loss", "Log loss"), ("accuracy", "Accuracy"))
        ),
        Column("majority_share", "Majority share", lambda v, _: figure(v), numeric=True),
    ]
    note = "Scores of the validation scans of its own training sites, by which the weights were chosen: too good for "
    note += "new scans. Accuracy at threshold 0.5."
    if any(row["equals_majority"] for row in study.selections):
        note += " * is what always calling the majority class reaches."
    return Table(name, "How the kept weights were chosen.", columns, study.selections, note)


def warnings(study: Study) -> list[str]:
    """What the choice of weights warns of, a sentence or more for each network; empty where nothing is amiss."""
    names = {model.name: marked_name(model) for model in study.models}
    return [f"{names[str(r['model'])]}: {words}." for r in study.selections for words in r["warnings"]]


def _rule(criterion: Any, row: Record) -> str:
    words = KEPT.get(str(criterion), str(criterion))
    return words if criterion == row["select"] else f"{words}; no site has both classes, so not by AUC"


def _kept_and_last(score: str) -> Any:
    def words(value: Any, row: Record) -> str:
        mark = "*" if score == "accuracy" and row["equals_majority"] else ""
        last = row[f"last_{score}"]
        return f"{figure(value)}{mark} ({figure(last)})" if number(value) is not None else "not measured"

    return words

"""How each network's kept weights were chosen among its validation checks: a table, and what must be warned of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from elsewhere.pages.report.content import Study
from elsewhere.pages.report.learned import marked_name, marked_names
from elsewhere.pages.report.records import number, value_in
from elsewhere.pages.report.shown_rows import SelectionRow
from elsewhere.pages.report.table import Column, Table
from elsewhere.pages.report.words import figure

ROUNDING = 1e-9
KEPT = {
    "accuracy": "Highest accuracy (at threshold 0.5, the first maximum kept)",
    "log_loss": "Lowest log loss (the last minimum kept)",
    "auc": "Highest AUC within sites (the last maximum kept)",
}
"""The rules, as the study file's `training.select` names them."""

SCORES = ("iteration", "accuracy", "log_loss", "auc")


def rule_words(select: str, *, balanced: bool) -> str:
    """How weights were kept, in words; `balanced` where the log loss weighs the classes alike (batches did, too)."""
    words = KEPT.get(select, select)
    return words.replace("log loss", "class-balanced log loss") if balanced else words


def selection_row(model: str, found: Mapping[str, Any]) -> SelectionRow:
    """A row of `Study.selections` from what a checkpoint's record says (`selection`: see the study folder's page)."""
    row = {name: found[name] for name in ("select", "criterion", "checks", "tied", "majority_share")}
    row |= {f"{which}_{score}": found[which][score] for which in ("kept", "last") for score in SCORES}
    no_better = float(found["kept"]["accuracy"]) <= float(found["majority_share"]) + ROUNDING
    return SelectionRow(model, **row, no_better_than_majority=no_better, warnings=tuple(found["warnings"]))


def selection_table(study: Study, name: str) -> Table:
    """Rule, ties, and what the kept and the last weights score on the validation scans, one row a network."""
    balanced = is_balanced(study)
    loss = "Class-balanced log loss" if balanced else "Log loss"
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("criterion", "Weights kept", lambda v, r: _rule(v, r, balanced=balanced)),
        Column("kept_iteration", "At iteration (last)", lambda v, r: f"{v} ({r.last_iteration})", numeric=True),
        Column("tied", "Checks as good as the best", lambda v, r: f"{v} of {r.checks}", numeric=True),
        *(
            Column(f"kept_{score}", f"{heading}: kept (last)", _kept_and_last(score), numeric=True)
            for score, heading in (("auc", "AUC within sites"), ("log_loss", loss), ("accuracy", "Accuracy"))
        ),
        Column("majority_share", "Majority share", lambda v, _: figure(v), numeric=True),
    ]
    note = "Scores of the validation scans of its own training sites, by which the weights were chosen: too good for "
    note += "new scans. Accuracy at threshold 0.5."
    if balanced:
        note += (
            " The log loss is the mean of the two classes' means, since the classes were drawn in turn; 0.69 is that "
        )
        note += "of the same answer for every scan."
    if any(row.no_better_than_majority for row in study.selections):
        note += " * is no better than always calling the majority class."
    return Table(name, "How the kept weights were chosen.", columns, study.selections, note)


def warnings(study: Study) -> list[str]:
    """What the choice of weights warns of, a sentence or more for each network; empty where nothing is amiss."""
    names = {model.name: marked_name(model) for model in study.models}
    return [f"{names[row.model]}: {words}." for row in study.selections for words in row.warnings]


def is_balanced(study: Study) -> bool:
    """Whether the classes were drawn in turn, so that the validation log loss weighs them alike."""
    training = study.options.training
    return training is not None and training.balanced_classes


def _rule(criterion: str, row: SelectionRow, *, balanced: bool) -> str:
    words = rule_words(criterion, balanced=balanced)
    return words if criterion == row.select else f"{words}; no site has both classes, so not by AUC"


def _kept_and_last(score: str) -> Callable[[Any, SelectionRow], str]:
    def words(value: Any, row: SelectionRow) -> str:
        mark = "*" if score == "accuracy" and row.no_better_than_majority else ""
        last = value_in(row, f"last_{score}")
        return f"{figure(value)}{mark} ({figure(last)})" if number(value) is not None else "not measured"

    return words

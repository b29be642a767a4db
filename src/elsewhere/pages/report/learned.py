"""Whether each network of a study learned in; its mark wherever it stands, and a table, out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from elsewhere.pages.report.content import Model, Study
from elsewhere.pages.report.shown_rows import JudgementRow
from elsewhere.pages.report.table import Column, Table
from elsewhere.pages.report.words import estimate, figure, shown_name, spaced
from elsewhere.statistics.permutation import p_value
from elsewhere.statistics.selected import PERMUTATIONS

MARK = "did not learn"


FLOOR = 1 / (1 + PERMUTATIONS)


def marked_name(model: Model) -> str:
    """A model's name as it stands at the head of a row: "A + B", or "A + B (did not learn)"."""
    return shown_name(model) + (f" ({MARK})" if model.degenerate else "")


def marked_names(study: Study) -> Callable[[Any, object], str]:
    """What a column of model names shows: each name with its mark."""
    known = {model.name: marked_name(model) for model in study.scored}
    return lambda value, _: known.get(str(value), spaced(str(value)))


def learned_table(study: Study, name: str) -> Table:
    """Every network judged by the validation scans of its own training sites."""
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("scans", "Validation scans", None, numeric=True),
        Column("auc", "Discrimination (AUC, sites apart)", _auc_words, numeric=True),
        Column(
            "by_chance",
            "By chance",
            lambda v, r: "not measured" if v is None else f"{p_value(v, FLOOR)} (best of {r.checks})",
            numeric=True,
        ),
        Column("accuracy", "Best accuracy", lambda v, _: figure(v), numeric=True),
        Column("majority", "Majority class", lambda v, _: figure(v), numeric=True),
        Column("spread", "SD of the log-odds", lambda v, _: figure(v), numeric=True),
        Column(
            "reasons",
            "Did it learn?",
            lambda v, r: f"no: {v}" if v else (f"yes; but {r.remarks}" if r.remarks else "yes"),
        ),
    ]
    note = (
        "Judged by the validation scans of its own training sites, pairs of scans of one site only. A network did not "
        "learn where the interval of its discrimination reaches 0.50 or below, its scores hardly differ, or the best "
        "of as many checks as its weights were chosen from would discriminate as well by chance in 2.5 % of trainings "
        "or more (“By chance”: labels exchanged among the patients of each site)."
    )
    return Table(name, "Did each network learn?", columns, study.learned, note)


def _auc_words(value: Any, row: JudgementRow) -> str:
    return estimate(value, row.auc_low, row.auc_high)

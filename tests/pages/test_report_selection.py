"""How the kept weights were chosen, on the page: from what a checkpoint records, on both sides of each condition."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

from small_study import a_study

from elsewhere.model.sample import Case
from elsewhere.model.selection import Check, describe_selection
from elsewhere.pages.report import Report, Study, selection, write_report


def a_selection(select: str, *checks: tuple[int, float, float, float | None], labels: Sequence[int]) -> dict[str, Any]:
    """What a checkpoint records of checks of (iteration, accuracy, log loss, AUC)."""
    found = [Check(iteration, 0.7, accuracy, loss, auc) for iteration, accuracy, loss, auc in checks]
    cases = [Case("A", f"p{i}", f"s{i}", label, 9, -1000, 100) for i, label in enumerate(labels)]
    return describe_selection(found, select, cases, balanced=False)


HALF = [0, 1] * 5


def printed_row(study: Study) -> dict[str, str]:
    table = selection.selection_table(study, "selection")
    return {column.key: column.print(table.rows[0]) for column in table.columns}


def test_kept_weights_at_the_majority_share_are_marked_and_warned_of(tmp_path: Path) -> None:
    """The paper's rule: no check leaves the majority share, the first is kept, and the last ranks far better."""
    kept = a_selection("accuracy", (35, 0.5, 0.7, 0.55), (70, 0.5, 0.6, 0.7), (105, 0.5, 0.55, 0.77), labels=HALF)
    study = a_study(selections=[selection.selection_row("A", kept)])
    row = printed_row(study)
    assert row["criterion"] == "Highest accuracy (at threshold 0.5, the first maximum kept)"
    assert (row["kept_iteration"], row["tied"]) == ("35 (105)", "3 of 3")
    assert (row["kept_auc"], row["kept_accuracy"], row["majority_share"]) == ("0.55 (0.77)", "0.50* (0.50)", "0.50")
    (said,) = selection.warnings(study)
    assert said.startswith("A: the kept weights (iteration 35) have a validation accuracy at threshold 0.5 of 0.50")
    assert "reached by 3 of 3 checks, no better than always answering the majority class" in said
    write_report(Report("Kept", [study]), tmp_path)
    assert said in unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    with (tmp_path / "tables" / "paper-selection.csv").open(encoding="utf-8", newline="") as file:
        (csv_row,) = csv.DictReader(file)
    assert (csv_row["last_auc"], csv_row["no_better_than_majority"]) == ("0.77", "True")


def test_weights_well_chosen_are_shown_without_a_word(tmp_path: Path) -> None:
    kept = a_selection("log_loss", (30, 0.6, 0.65, 0.7), (60, 0.9, 0.3, 0.95), (90, 0.8, 0.4, 0.93), labels=HALF)
    study = a_study(selections=[selection.selection_row("A", kept)])
    row = printed_row(study)
    assert (row["kept_iteration"], row["tied"], row["kept_log_loss"]) == ("60 (90)", "1 of 3", "0.30 (0.40)")
    assert "*" not in row["kept_accuracy"]
    assert "*" not in selection.selection_table(study, "selection").note
    assert selection.warnings(study) == []
    write_report(Report("Kept", [study]), tmp_path)
    assert "How the kept weights were chosen" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_accuracy_below_the_majority_share_is_marked_and_warned_of_too() -> None:
    """Kept for its log loss, right in 7 of 10 where 8 are negative."""
    labels = [0] * 8 + [1] * 2
    for accuracy, mark in ((0.7, "*"), (0.8, "*"), (0.9, "")):
        kept = a_selection("log_loss", (30, accuracy, 0.4, 0.75), labels=labels)
        study = a_study(selections=[selection.selection_row("A", kept)])
        assert printed_row(study)["kept_accuracy"] == f"{accuracy:.2f}{mark} ({accuracy:.2f})"
        assert ("* is no better than always calling" in selection.selection_table(study, "s").note) == bool(mark)
        assert len(selection.warnings(study)) == bool(mark)


def test_a_log_loss_that_weighs_the_classes_alike_is_named_so() -> None:
    kept = a_selection("log_loss", (30, 0.9, 0.4, 0.75), labels=HALF)
    plain = a_study(selections=[selection.selection_row("A", kept)])
    for balanced, heading in ((True, "Class-balanced log loss: kept (last)"), (False, "Log loss: kept (last)")):
        study = replace(plain, settings={"training": {"balanced_classes": balanced}})
        table = selection.selection_table(study, "selection")
        assert heading in [column.heading for column in table.columns]
        assert ("mean of the two classes' means" in table.note) == balanced
        assert printed_row(study)["criterion"].startswith(
            "Lowest class-balanced log loss" if balanced else "Lowest log"
        )
    assert "Log loss: kept (last)" in [column.heading for column in selection.selection_table(plain, "s").columns]


def test_a_rule_that_could_not_be_followed_is_said_and_a_model_without_a_record_has_no_row(tmp_path: Path) -> None:
    kept = a_selection("auc", (30, 0.9, 0.3, None), labels=HALF)
    row = printed_row(a_study(selections=[selection.selection_row("A", kept)]))
    assert row["criterion"].endswith("(the last minimum kept); no site has both classes, so not by AUC")
    assert row["kept_auc"] == "not measured"
    write_report(Report("Once", [a_study()]), tmp_path)
    assert not (tmp_path / "tables" / "paper-selection.csv").exists()

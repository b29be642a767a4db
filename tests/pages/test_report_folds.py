"""What the page says of a cross-validation, on both sides of each condition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_study import a_cell, a_study

from elsewhere.fold_rows import CrossValidatedRow, EnsembleRow
from elsewhere.pages.report import Model
from elsewhere.pages.report.first_screen import answer as first_answer
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.folds import answer, elsewhere_words, section
from elsewhere.pages.report.matrix import matrix_rows

ROW = CrossValidatedRow(
    "A", "A", 5, 60, 50, 20, 40, 18, 32, 0.8, 0.7, 0.88, 0.7, 0.6, 0.8, (0.7, 0.75, 0.8, 0.85, 0.9),
    0.7, 0.5, 0.85, 0.8, 0.65, 0.9, 0.9, 0.6, 0.98, 10, "", "key",
)  # fmt: skip
ELSEWHERE = EnsembleRow("A~folds", "B", 0.8, 0.75, 0.05, -0.02, 0.12, 0.7, 0.8)


def test_nothing_is_said_without_folds(tmp_path: Path) -> None:
    assert section(a_study(), "paper", Folder(tmp_path)) is None


def test_the_sentence_has_its_numbers() -> None:
    said = answer(ROW)
    assert said.startswith("A at A: discrimination (AUC) 0.80 (0.70–0.88) within folds, 18 positive patients and 32")
    assert "Single folds: 0.70 to 0.90." in said
    assert "The one network of the study's split: 0.90 (0.60–0.98) on its 10 test patients." in said
    assert "chance" not in said


@pytest.mark.parametrize(
    ("pooled", "words"),
    [(0.7, "ranked rightly less often"), (0.81, "changes little"), (0.9, "ranked rightly more often")],
)
def test_the_pooled_value_is_compared(pooled: float, words: str) -> None:
    assert words in answer(replace(ROW, pooled=pooled))


def test_chance_and_worse_are_said() -> None:
    assert "not distinguishable from chance" in answer(replace(ROW, auc=0.6, auc_low=0.45))
    assert "worse than chance" in answer(replace(ROW, auc=0.3, auc_low=0.2, auc_high=0.4))
    assert "cannot tell" in answer(replace(ROW, auc=0.6, auc_low=0.0, auc_high=1.0))


def test_a_site_of_one_class_has_its_reason_alone() -> None:
    assert answer(replace(ROW, auc=None, note="no AUC: all 20 scans are positive")) == (
        "A at A: no AUC: all 20 scans are positive."
    )


def test_the_ensemble_is_surely_better_worse_or_neither() -> None:
    assert elsewhere_words([]) == ""
    assert "In none of 1 cell elsewhere" in elsewhere_words([ELSEWHERE])
    better, worse = replace(ELSEWHERE, low=0.01), replace(ELSEWHERE, low=-0.2, high=-0.01)
    assert "surely better in 1 than" in elsewhere_words([better, ELSEWHERE])
    assert "surely worse in 1 than" in elsewhere_words([worse])
    assert "surely better in 1 and surely worse in 1" in elsewhere_words([better, worse])


def test_ensembles_stand_in_the_matrix_and_are_counted_nowhere() -> None:
    plain = a_study(a_cell("A", "A", 0.9), a_cell("A", "B", 0.7), a_cell("B", "B", 0.9), a_cell("B", "A", 0.6))
    cells = [*plain.scores, a_cell("A~folds", "A", 0.8), a_cell("A~folds", "B", 0.1)]
    ensemble = Model("A~folds", ("A",), folds=5)
    found = replace(plain, scores=cells, ensembles=(ensemble,), cross_validation=(ROW,))
    rows = matrix_rows(found)
    assert [name for name, _ in rows] == ["A", "B", "A + D", "A, mean of 5 folds"]
    home, away = rows[-1][1][:2]
    assert "not the mean here" in home.details
    assert "not the mean here" not in away.details
    assert first_answer(found) == first_answer(plain)
    marked = replace(found, ensembles=(replace(ensemble, degenerate=("no",)),))
    assert matrix_rows(marked)[-1][0] == "A, mean of 5 folds (did not learn)"

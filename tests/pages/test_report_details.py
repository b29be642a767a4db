"""Subgroups, precision against recall and model cards: what the page says of them, on both sides of each condition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_study import a_study, marked

from elsewhere.pages.report import Study, cards, precision, subgroups
from elsewhere.pages.report.details import CellDetails
from elsewhere.pages.report.folder import Folder
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.precision_recall import precision_recall
from elsewhere.statistics.subgroups import Subgroup

SURE = Interval(0.9, 0.8, 0.95, "by hand")
WOMEN = Subgroup("sex", "F", 40, 30, 20, SURE, SURE, SURE)
MEN = replace(WOMEN, level="M", differs=("lower sensitivity",))
FEW = Subgroup("sex", "F", 4, 3, 2, None, None, None)


def _study(*groups: Subgroup, model: str = "A") -> Study:
    return a_study(details=CellDetails(subgroups={(model, "B"): groups}))


def test_nothing_is_made_of_nothing(tmp_path: Path) -> None:
    out = Folder(tmp_path)
    for one in (subgroups, precision, cards):
        assert one.section(a_study(), "paper", out) is None
    assert not out.written


def test_a_difference_is_named_with_its_place() -> None:
    said = subgroups.answer(_study(WOMEN, MEN))
    assert said.startswith("In 1 subgroup of 2 with enough patients a network does surely otherwise")
    assert "A at B, sex M: lower sensitivity." in said


def test_no_difference_is_not_called_equality() -> None:
    said = subgroups.answer(_study(WOMEN))
    assert said.startswith("In none of 1 subgroup with enough patients")
    assert "not to say that all do alike" in said


def test_groups_too_small_tell_nothing() -> None:
    assert subgroups.answer(_study(FEW)).startswith("No subgroup has 10 patients of a class")


def test_a_network_that_did_not_learn_says_nothing_of_subgroups() -> None:
    assert "sex M" in subgroups.answer(_study(MEN))
    assert subgroups.answer(marked(_study(MEN), "A")).startswith("No subgroup has")


def test_the_table_has_what_differs_first_and_all_rows_in_its_file(tmp_path: Path) -> None:
    made = subgroups.section(_study(*[WOMEN] * subgroups.MOST_SHOWN, MEN, FEW), "paper", Folder(tmp_path))
    assert made is not None
    assert made.table.shown[0]["group"] == "sex: M"
    assert len(made.table.shown) == subgroups.MOST_SHOWN
    rows = (tmp_path / "tables" / "paper-subgroups.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == subgroups.MOST_SHOWN + 3
    shown = {column.key: column.print(made.table.rows[-1]) for column in made.table.columns}
    assert shown["auc"] == "–"
    assert shown["differs"] == "no"
    assert "over 1 cell" in made.words


@pytest.mark.parametrize(
    ("other", "words"),
    [([1, 0, 1, 0], "the prevalence, 0.50 at every site"), ([1, 0, 0, 0], "0.25 to 0.50 here: average precisions")],
)
def test_prevalences_are_said_to_be_alike_or_not(tmp_path: Path, other: list[int], words: str) -> None:
    scores = np.array([0.9, 0.8, 0.3, 0.1])
    curves = {("A", "B"): precision_recall([1, 0, 1, 0], scores), ("A", "C"): precision_recall(other, scores)}
    made = precision.section(a_study(details=CellDetails(curves=curves)), "paper", Folder(tmp_path))
    assert made is not None
    assert words in made.words
    drawing = (tmp_path / "figures" / "paper-precision.svg").read_text(encoding="utf-8")
    assert "prevalence 0.50" in drawing
    assert ("prevalence 0.25" in drawing) is (other == [1, 0, 0, 0])


def test_a_cell_of_one_class_beside_others_says_so(tmp_path: Path) -> None:
    curve = precision_recall([1, 0], [0.9, 0.1])
    study = a_study(details=CellDetails(curves={("A", "B"): curve, ("B", "C"): curve}))
    precision.section(study, "paper", Folder(tmp_path))
    assert "one class only" in (tmp_path / "figures" / "paper-precision.svg").read_text(encoding="utf-8")


def test_cards_lie_beside_the_page_and_those_without_are_named(tmp_path: Path) -> None:
    made = cards.section(a_study(details=CellDetails(cards={"A+D": "# A+D"})), "paper", Folder(tmp_path))
    assert made is not None
    assert made.links == (("A+D", "cards/paper-A+D.md"),)
    assert (tmp_path / "cards" / "paper-A+D.md").read_text(encoding="utf-8") == "# A+D"
    assert made.without == ("A", "B")


def test_a_network_that_did_not_learn_is_marked_in_both_tables(tmp_path: Path) -> None:
    curve = precision_recall(np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.2, 0.8]))
    study = a_study(details=CellDetails(subgroups={("A", "B"): (WOMEN,)}, curves={("A", "B"): curve}))
    for one in (subgroups, precision):
        plain, told = (one.section(s, "paper", Folder(tmp_path)).table for s in (study, marked(study, "A")))
        assert [t.columns[0].print(t.shown[0]) for t in (plain, told)] == ["A", "A (did not learn)"]

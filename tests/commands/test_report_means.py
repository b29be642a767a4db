"""Cells worked out by hand in; the means over groups of them, and over the same networks on both sides, out."""

from __future__ import annotations

import numpy as np
import pytest

from elsewhere.commands.report.cells import Cell, group_means
from elsewhere.pages.report import GroupRow, Model

SINGLE = [Model("A", ("A",)), Model("B", ("B",))]
SEVERAL = Model("A+B", ("A", "B"))


def a_cell(wrong: int) -> Cell:
    """Ten positives above ten negatives, but for `wrong` positives, which lie below all: AUC 1 - wrong/10."""
    labels = np.repeat([1, 0], 10)
    scores = np.concatenate([np.where(np.arange(10) < wrong, 0.1, 0.9), np.full(10, 0.5)])
    names = np.array([f"p{i}" for i in range(20)])
    return Cell(names, names, labels, scores, np.empty((0, 20)))


def means(models: list[Model], wrong: dict[tuple[str, str], int]) -> dict[str, GroupRow]:
    cells = {key: a_cell(times) for key, times in wrong.items()}
    return {row.group: row for row in group_means(cells, models, "ABC")}


HOME_AND_AWAY = {
    ("A", "A"): 1,
    ("A", "B"): 3,
    ("A", "C"): 5,
    ("B", "A"): 4,
    ("B", "B"): 1,
    ("B", "C"): 4,
}


def test_the_same_networks_are_set_against_themselves_where_others_stand_elsewhere():
    """A and B lose 0.2, 0.4, 0.3 and 0.3; the network of both is perfect at C, which no difference of theirs holds."""
    found = means([*SINGLE, SEVERAL], HOME_AND_AWAY | {("A+B", site): 0 for site in "ABC"})
    assert found["fall"].auc == pytest.approx(0.9 - np.mean([0.7, 0.5, 0.6, 0.6, 1.0]))
    same = found["fall, same networks"]
    assert same.auc == pytest.approx(np.mean([0.2, 0.4, 0.3, 0.3]))
    assert same.cells == 4
    assert same.auc_low < same.auc < same.auc_high


def test_without_a_cell_at_home_the_training_sites_of_several_stand_for_it():
    """Networks of two sites alone: each of their two cells at training sites against their one elsewhere."""
    wrong = {("A+B", "A"): 1, ("A+B", "B"): 2, ("A+B", "C"): 5, ("C", "A"): 0, ("C", "B"): 0}
    found = means([SEVERAL, Model("C", ("C",))], wrong)
    assert found["fall, same networks"].auc == pytest.approx(np.mean([0.9, 0.8]) - 0.5)


def test_the_same_networks_on_both_sides_need_no_second_difference():
    assert "fall, same networks" not in means(SINGLE, HOME_AND_AWAY)

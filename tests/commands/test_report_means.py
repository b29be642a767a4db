"""Cells worked out by hand in; the means over groups of them, and over the same networks on both sides, out."""

from __future__ import annotations

import numpy as np
import pytest

from elsewhere.commands.report.cells import Cell, group_means
from elsewhere.pages.report import Model

SETTINGS = {"sites": [{"name": name} for name in "ABC"], "evaluation": {"resamples": 200}, "seed": 0}
SINGLE = [Model("A", ("A",)), Model("B", ("B",)), Model("C", ("C",))]
SEVERAL = Model("A+B", ("A", "B"))


def a_cell(wrong: int) -> Cell:
    """Ten positives above ten negatives, but for the lowest `wrong` positives, which lie below all: AUC 1 - wrong/10."""
    labels = np.repeat([1, 0], 10)
    scores = np.concatenate([np.where(np.arange(10) < wrong, 0.1, 0.9), np.full(10, 0.5)])
    names = np.array([f"p{i}" for i in range(20)])
    return Cell(names, names, labels, scores, np.empty((0, 20)))


def means(models: list[Model], wrong: dict[tuple[str, str], int]) -> dict[str, dict]:
    cells = {key: a_cell(times) for key, times in wrong.items()}
    return {row["group"]: row for row in group_means(cells, models, SETTINGS)}


def test_the_same_networks_are_set_against_themselves_where_others_stand_elsewhere():
    """A loses 0.2 and 0.4, B and C lose 0.3 at one site each; the network of two sites is 0.9 better elsewhere."""
    wrong = {("A", "A"): 1, ("A", "B"): 3, ("A", "C"): 5, ("B", "B"): 1, ("B", "C"): 4, ("C", "C"): 1, ("C", "A"): 4}
    found = means([*SINGLE, SEVERAL], wrong | {("A+B", "C"): 0})
    assert found["fall"]["auc"] == pytest.approx(0.9 - np.mean([0.7, 0.5, 0.6, 0.6, 1.0]))
    same = found["fall, same networks"]
    assert same["auc"] == pytest.approx(np.mean([0.2, 0.4, 0.3, 0.3]))  # each pair of cells of one network
    assert same["cells"] == 4
    assert same["auc_low"] < same["auc"] < same["auc_high"]


def test_a_network_weighs_as_much_at_home_as_elsewhere():
    """A has two cells elsewhere and B one: home counts A twice, so that no difference of networks enters."""
    wrong = {("A", "A"): 0, ("A", "B"): 0, ("A", "C"): 0, ("B", "B"): 5, ("B", "A"): 5, ("A+B", "C"): 9}
    found = means([*SINGLE[:2], SEVERAL], wrong)
    assert found["fall, same networks"]["auc"] == pytest.approx(0.0)
    assert found["fall"]["auc"] == pytest.approx(0.75 - np.mean([1, 1, 0.5, 0.1]))


def test_the_same_networks_on_both_sides_need_no_second_difference():
    assert "fall, same networks" not in means(SINGLE[:2], {("A", "A"): 1, ("A", "B"): 3, ("B", "B"): 1, ("B", "A"): 2})

"""Two recipes compared: by hand, as DeLong's test, and how often noise between trainings passes for a difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from elsewhere.statistics.arms import RecipeCell, best_trial, compare_recipes
from elsewhere.statistics.comparison import compare_models
from elsewhere.statistics.roc import exact_auc


def cell(rng, site="B", trained_on="A", trainings=3, scans=60, shift=0.0, noise=0.5, wobble=0.0) -> RecipeCell:
    """Networks that share the patients' signal; each training sees it with its own weight and noise."""
    labels = np.arange(scans) % 2
    signal = labels + rng.normal(size=scans)
    parts = [
        np.stack([(1 + gain) * signal + noise * rng.normal(size=scans) for gain in wobble * rng.normal(size=trainings)])
        for _ in range(2)
    ]
    return RecipeCell(site, trained_on, labels, np.arange(scans), parts[0] + shift * labels, parts[1])


def test_one_training_each_is_the_paired_delong_test():
    one = cell(np.random.default_rng(1), trainings=1)
    found, known = compare_recipes([one]), compare_models(one.labels, one.patients, one.first[0], one.second[0])
    assert (found.difference, found.p_value) == pytest.approx((known.difference, known.p_value))
    assert (found.low, found.high, found.trainings) == pytest.approx((known.low, known.high, 1))


def test_means_are_over_trainings_then_over_sites():
    rng = np.random.default_rng(2)
    cells = [cell(rng, "B", "A+C"), cell(rng, "C", "A+B", shift=1.0), cell(rng, "B", "A")]
    cells[2] = replace(cells[2], labels=cells[0].labels)
    aucs = [exact_auc(one.labels, one.first).mean() for one in cells]
    assert compare_recipes(cells).first == pytest.approx(((aucs[0] + aucs[2]) / 2 + aucs[1]) / 2)


def test_the_spread_over_trainings_widens_the_interval():
    rng = np.random.default_rng(3)
    steady = cell(rng)
    copies = replace(steady, first=np.repeat(steady.first[:1], 3, 0), second=np.repeat(steady.second[:1], 3, 0))
    alone = compare_recipes([replace(steady, first=steady.first[:1], second=steady.second[:1])])
    same = compare_recipes([copies])
    assert same.high - same.low == pytest.approx(alone.high - alone.low)
    bad = replace(steady, first=np.stack([steady.first[0], -steady.first[1], steady.first[2]]))
    assert compare_recipes([bad]).high - compare_recipes([bad]).low > 2 * (same.high - same.low)


def test_networks_at_two_sites_share_the_spread_of_their_trainings():
    """The same unlucky training at both sites does not average out; other networks at the second site do."""
    rng = np.random.default_rng(4)
    first, second = cell(rng, "B", "A"), cell(rng, "C", "A")
    first, second = (replace(one, first=one.first * np.array([[1], [1], [-1]])) for one in (first, second))
    shared, apart = compare_recipes([first, second]), compare_recipes([first, replace(second, trained_on="D")])
    assert shared.difference == apart.difference
    assert shared.p_value > apart.p_value


def rate_of_false_findings(trainings: int, repeats: int = 400) -> float:
    """Two recipes that are the same, whose trainings differ much: how often p < 0.05."""
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(repeats):
        cells = []
        for site in "BCD":
            labels, noises = np.arange(100) % 2, rng.uniform(0, 3, 2 * trainings)
            signal = 1.5 * labels + rng.normal(size=100)
            scores = signal + noises[:, None] * rng.normal(size=(2 * trainings, 100))
            parts = scores[:trainings], scores[trainings:]
            cells.append(RecipeCell(site, f"all but {site}", labels, np.arange(100), *parts))
        found += compare_recipes(cells).p_value < 0.05
    return found / repeats


def test_noise_between_trainings_is_seldom_called_a_difference():
    assert rate_of_false_findings(3) <= 0.05
    assert rate_of_false_findings(1) > 0.2  # patients alone: the difference of the networks, not of the recipes


def test_a_real_difference_is_found():
    rng = np.random.default_rng(6)
    found = compare_recipes([cell(rng, site, f"all but {site}", scans=200, shift=1.0) for site in "BCD"])
    assert found.p_value < 0.01
    assert 0 < found.low < found.difference < found.high


def test_an_unknown_spread_shows_nothing():
    labels = np.array([0, 0, 1, 1])
    perfect, reverse = np.array([[1.0, 2, 3, 4]] * 2), np.array([[4.0, 3, 2, 1]] * 2)
    found = compare_recipes([RecipeCell("B", "A", labels, np.arange(4), perfect, reverse)])
    assert (found.difference, found.low, found.high, found.p_value) == (1.0, -1.0, 1.0, 1.0)
    single = RecipeCell("B", "A", labels, np.array([0, 1, 2, 2]), perfect, reverse + np.arange(4) % 2)
    assert compare_recipes([single]).p_value == 1.0


def test_what_cannot_be_compared_is_named():
    one = cell(np.random.default_rng(7))
    with pytest.raises(ValueError, match="there is no cell"):
        compare_recipes([])
    with pytest.raises(ValueError, match=r"trained \[2, 3\] times"):
        compare_recipes([replace(one, first=one.first[:2])])


def test_the_first_of_the_best_trials_is_chosen():
    assert best_trial([0.7, None, 0.9, 0.9]) == 2
    assert best_trial([None, None]) is None

"""Mean paired differences: by hand, in coverage, and where nothing can be known."""

from __future__ import annotations

import numpy as np
import pytest

from elsewhere.statistics.paired import paired_mean, paired_share_difference, tango_ends

TRUTH = 0.0542  # P(N(0, 2) > 0.3) - P(N(0, 2) > 0.5)


def test_one_cell_is_the_t_interval_of_the_mean() -> None:
    found = paired_mean({"A": (["p", "q", "r", "s"], [[0, 1, 1, 0]])})
    half = 3.182446 * np.std([0, 1, 1, 0], ddof=1) / 2
    assert (found.estimate, found.low, found.high) == pytest.approx((0.5, 0.5 - half, min(0.5 + half, 1)), abs=1e-6)


def test_every_cell_has_the_same_weight_whatever_its_scans() -> None:
    found = paired_mean({"A": (["a", "b"], [[1, 1], [0, 0]]), "B": ([*"cdef"], [[0, 0, 0, 0]])})
    assert found.estimate == pytest.approx(1 / 3)


def test_cells_of_one_site_share_their_patients() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(-1, 2, 60)
    patients = [f"p{i}" for i in range(60)]
    alone, twice = paired_mean({"A": (patients, [one])}), paired_mean({"A": (patients, [one, one])})
    apart = paired_mean({"A": (patients, [one]), "B": (patients, [one])})
    assert (twice.low, twice.high) == pytest.approx((alone.low, alone.high))
    assert apart.high - apart.low < 0.8 * (alone.high - alone.low)


def test_nothing_that_differs_has_no_width_and_one_patient_tells_nothing() -> None:
    same = paired_mean({"A": (["p", "q"], [[0, 0]])})
    assert (same.estimate, same.low, same.high) == (0.0, 0.0, 0.0)
    lone = paired_mean({"A": (["p", "p"], [[1, 0]])})
    assert (lone.low, lone.high) == (-1.0, 1.0)
    assert "one patient" in lone.method
    with pytest.raises(ValueError, match="no cell"):
        paired_mean({})


def test_the_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(20261127)
    hits, trials = 0, 600
    patients = np.repeat(np.arange(25), 2)
    for _ in range(trials):
        sites = {}
        for site in "AB":
            pull = rng.normal(size=25).repeat(2)  # scans of a patient, and both cells, move together
            table = (pull + rng.normal(size=(2, 50)) > 0.3).astype(float) - (pull + rng.normal(size=(2, 50)) > 0.5)
            sites[site] = (patients, table)
        found = paired_mean(sites)
        hits += found.low <= TRUTH <= found.high
    assert 0.93 < hits / trials < 0.97


@pytest.mark.parametrize(
    ("gained", "lost", "pairs", "level", "low", "high"),
    [
        # R: PropCIs::scoreci.mp(7, 1, 21, 0.95), airway reactivity (Fagerland, Lydersen & Laake 2014, table II)
        (1, 7, 21, 0.95, -0.517, -0.026),
        (28, 25, 618, 0.90, -0.0148, 0.0247),  # R: PropCIs::scoreci.mp(25, 28, 618, 0.90)
    ],
)
def test_tangos_interval_is_the_one_that_r_prints(gained, lost, pairs, level, low, high) -> None:
    found = tango_ends(gained, lost, pairs, level)
    assert found == pytest.approx((low, high), abs=6e-4 if pairs == 21 else 6e-5)
    assert tango_ends(lost, gained, pairs, level) == pytest.approx((-found[1], -found[0]), abs=1e-9)


def test_paired_shares_cover_what_is_true_with_scans_of_one_patient() -> None:
    random, inside, runs = np.random.default_rng(20), 0, 300
    for _ in range(runs):
        hard = np.repeat(random.normal(size=60), 2)
        first, second = ((hard + random.normal(size=120) < cut).astype(int) for cut in (1.1, 0.9))
        found = paired_share_difference(first, second, np.repeat(np.arange(60), 2))
        inside += found.low <= 0.0447 <= found.high  # Φ(1.1 / √2) - Φ(0.9 / √2)
    assert 0.92 * runs <= inside


def test_where_nothing_differs_the_interval_keeps_its_width() -> None:
    alone = paired_share_difference([1, 0] * 20, [1, 0] * 20, np.arange(40))
    twins = paired_share_difference([1, 0] * 20, [1, 0] * 20, np.arange(40) // 2)
    assert twins.high > alone.high > 0.08
    one = paired_share_difference([1, 1], [0, 1], ["p", "p"])
    assert (one.low, one.high) == (-1.0, 1.0)
    with pytest.raises(ValueError, match="2 answers of the first and 1 of the second"):
        paired_share_difference([1, 1], [1], ["p", "q"])

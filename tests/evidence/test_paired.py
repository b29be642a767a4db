"""Mean paired differences: by hand, in coverage, and where nothing can be known."""

from __future__ import annotations

import numpy as np
import pytest

from elsewhere.evidence.paired import paired_mean

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

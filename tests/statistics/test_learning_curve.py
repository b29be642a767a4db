"""A fitted learning curve, the number of patients that an AUC takes, and curves that cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri

from elsewhere.statistics.learning_curve import fit_curve, fit_power_law, how_many, patients_for

SIZES = (4, 8, 16, 32, 64)


def scores(aucs: list[float], draws: int = 5, scans: int = 200, spread: float = 0.0, seed: int = 0):
    """Labels, and scores (sizes, draws, scans) with these AUCs on the whole population."""
    random = np.random.default_rng(seed)
    labels = np.arange(scans) % 2
    table = np.empty((len(aucs), draws, scans))
    noise: NDArray[np.float64] = random.normal(size=scans)
    for i, auc in enumerate(aucs):
        for d in range(draws):
            own = np.clip(auc + random.normal(0, spread), 0.05, 0.995)
            table[i, d] = np.sqrt(2) * ndtri(own) * (labels - 0.5) + noise + random.normal(0, 0.05, scans)
    return labels, table


def true_curve(k: int) -> float:
    return 0.95 - 0.7 * k**-0.6


def test_a_curve_without_noise_is_found_back() -> None:
    k = np.array(SIZES)
    np.testing.assert_allclose(fit_power_law(SIZES, [0.95 - 0.7 * k**-0.6]), [[0.95, 0.7, 0.6]], atol=1e-9)


def test_a_falling_row_is_flat_and_no_plateau_lies_above_1() -> None:
    parts = fit_power_law(SIZES, [[0.9, 0.85, 0.8, 0.75, 0.7], [0.5, 0.7, 0.85, 0.97, 1.0]])
    assert parts[0, 1] == 0
    assert parts[0, 0] == pytest.approx(0.8)
    assert parts[1, 0] <= 1


def test_patients_for_an_auc() -> None:
    labels, table = scores([true_curve(k) for k in SIZES])
    curve = fit_curve(labels, range(200), table, SIZES)
    assert curve is not None
    found = how_many(curve, 0.85)
    truth = (0.7 / 0.1) ** (1 / 0.6)
    assert found.patients is not None
    assert truth / 2 < found.patients < 2 * truth
    assert found.low is not None
    assert found.low <= truth
    assert found.high is None or found.high >= truth
    assert found.words.startswith("An AUC of 0.85 takes about")
    for size, low, high in zip(SIZES, curve.low, curve.high, strict=True):
        assert low < true_curve(size) < high


def test_a_flat_curve_cannot_tell() -> None:
    """Flat below the aim: no number of patients is made up from noise."""
    labels, table = scores([0.7] * 5, spread=0.03)
    found = how_many(fit_curve(labels, range(200), table, SIZES), 0.85)
    assert found.patients is None
    assert found.words.startswith("Cannot tell how many")
    assert "does not surely rise" in found.words


def test_two_sizes_cannot_tell() -> None:
    labels, table = scores([0.6, 0.8])
    assert fit_curve(labels, range(200), table, (4, 8)) is None
    assert "a curve needs 3 numbers of patients" in how_many(None, 0.9).words


def test_an_auc_far_above_the_plateau_is_not_promised() -> None:
    labels, table = scores([0.60, 0.70, 0.75, 0.76, 0.762], scans=1000)
    found = how_many(fit_curve(labels, range(1000), table, SIZES), 0.95)
    assert (found.patients, found.high) == (None, None)
    assert "if it is reached at all" in found.words or found.words.startswith("Cannot tell")


def test_an_auc_that_the_fewest_reach_already() -> None:
    labels, table = scores([0.95, 0.96, 0.97, 0.98, 0.98], scans=1000)
    found = how_many(fit_curve(labels, range(1000), table, SIZES), 0.8)
    assert found.patients == 4
    assert "is surely reached with 4 patients" in found.words


def test_one_draw_cannot_hide_what_draws_differ_by() -> None:
    """Draws that differ by 0.05 widen the curve's interval beyond that of the patients."""
    labels, table = scores([true_curve(k) for k in SIZES], spread=0.06, seed=3, scans=2000)
    wide = fit_curve(labels, range(2000), table, SIZES)
    labels, table = scores([true_curve(k) for k in SIZES], spread=0.0, seed=3, scans=2000)
    narrow = fit_curve(labels, range(2000), table, SIZES)
    assert wide is not None
    assert narrow is not None
    assert wide.high[2] - wide.low[2] > 1.5 * (narrow.high[2] - narrow.low[2])


def test_shapes_that_do_not_fit() -> None:
    labels, table = scores([0.6, 0.7, 0.8])
    with pytest.raises(ValueError, match="scores have shape"):
        fit_curve(labels, range(200), table, SIZES)


def test_curves_that_never_reach_it_take_infinitely_many() -> None:
    parts = np.array([[0.8, 0.5, 0.5], [0.9, 0.0, 0.5], [0.9, 0.5, 0.5]])
    assert patients_for(parts, 0.85).tolist() == [np.inf, 0.0, pytest.approx(100.0)]

"""AUCs and ROC curves against hand arithmetic, a double loop, scikit-learn and R's pROC."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from elsewhere.statistics.roc import exact_auc, exact_roc, grid_auc, grid_rates, grid_roc, roc_band

GOLDEN = Path(__file__).parents[1] / "golden"
GIVEN = json.loads((GOLDEN / "proc_input.json").read_text())["sets"]
PROC = json.loads((GOLDEN / "proc.json").read_text())

two_classes = st.lists(st.integers(0, 10).map(lambda k: k / 10), min_size=1, max_size=9)


def slow_auc(positives, negatives):
    return np.mean([(p > n) + 0.5 * (p == n) for p in positives for n in negatives])


def join(positives, negatives):
    return [1] * len(positives) + [0] * len(negatives), [*positives, *negatives]


@given(two_classes, two_classes)
def test_exact_auc_equals_the_double_loop_and_scikit_learn(positives, negatives):
    labels, scores = join(positives, negatives)
    assert exact_auc(labels, scores) == pytest.approx(slow_auc(positives, negatives), abs=1e-12)
    assert exact_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-10)


@given(two_classes, two_classes)
def test_on_the_grid_itself_both_aucs_agree(positives, negatives):
    labels, scores = join(positives, negatives)
    assert grid_auc(labels, scores) == pytest.approx(exact_auc(labels, scores), abs=1e-12)


@given(two_classes, two_classes)
def test_exact_roc_equals_scikit_learn(positives, negatives):
    labels, scores = join(positives, negatives)
    curve = exact_roc(labels, scores)
    false, true, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    assert np.allclose(curve.false_positive_rate, false, atol=1e-12)
    assert np.allclose(curve.true_positive_rate, true, atol=1e-12)
    assert np.array_equal(curve.thresholds, thresholds)


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("model", ["a", "b"])
def test_equal_to_r_proc(name, model):
    data, golden = GIVEN[name], PROC["sets"][name][model]
    assert exact_auc(data["labels"], data[model]) == pytest.approx(golden["auc"], abs=1e-10)
    curve = exact_roc(data["labels"], data[model])
    assert np.allclose(curve.true_positive_rate[::-1], golden["sensitivities"], atol=1e-10)
    assert np.allclose(1 - curve.false_positive_rate[::-1], golden["specificities"], atol=1e-10)


def test_an_auc_below_a_half_stays_there():
    assert PROC["sets"]["below_half"]["a"]["auc"] < 0.5
    assert exact_auc([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1]) == 0.0
    assert grid_auc([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1]) == 0.0


def test_extremes():
    assert exact_auc([0, 1], [0.1, 0.9]) == 1.0
    assert exact_auc([0, 1], [0.9, 0.1]) == 0.0
    assert exact_auc([0, 1, 0, 1], [0.3] * 4) == 0.5
    assert grid_auc([0, 1, 0, 1], [0.3] * 4) == 0.5


def test_grid_roc_by_hand():
    curve = grid_roc([0, 0, 1, 1], [0.005, 0.555, 0.551, 1.0])
    assert curve.thresholds[0] == np.inf
    assert (curve.thresholds[1], curve.thresholds[-1]) == (1.0, 0.0)
    assert curve.thresholds.size == 102
    steps = sorted(set(zip(curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist(), strict=True)))
    assert steps == [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]
    # 0.555 and 0.551 fall between the same grid points: a tie on the grid, a loss in truth
    assert grid_auc([0, 0, 1, 1], [0.005, 0.555, 0.551, 1.0]) == pytest.approx(0.875)
    assert exact_auc([0, 0, 1, 1], [0.005, 0.555, 0.551, 1.0]) == pytest.approx(0.75)


def test_saturated_probabilities_bias_the_grid_auc():
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1], 300)
    odds = random.normal(size=600) + 1.2 * labels
    probabilities = 1 / (1 + np.exp(-12 * odds - 14))
    assert exact_auc(labels, probabilities) - grid_auc(labels, probabilities) > 0.03


def test_passes_are_scored_row_by_row():
    random = np.random.default_rng(4)
    labels, passes = random.integers(0, 2, 60), random.random((5, 60)).round(2)
    assert np.allclose(exact_auc(labels, passes), [roc_auc_score(labels, row) for row in passes], atol=1e-12)
    assert np.allclose(grid_auc(labels, passes), [grid_auc(labels, row) for row in passes], atol=1e-15)


def test_band_by_hand():
    labels = [0, 0, 1, 1]
    perfect, upside_down = [0.1, 0.2, 0.8, 0.9], [0.8, 0.9, 0.1, 0.2]
    band = roc_band(labels, [perfect, upside_down])
    assert band.passes == 2
    assert (band.mean[0], band.mean[50], band.mean[100]) == (0.5, 0.5, 1.0)
    assert band.high[50] == 1.0  # 0.5 + SD 0.707, cut at 1
    assert band.low[50] == 0.0


def test_one_pass_has_no_spread():
    band = roc_band([0, 1, 0, 1], [[0.1, 0.4, 0.3, 0.2]])
    assert np.array_equal(band.low, band.high)


def test_band_meets_the_mean_of_the_curves_between_corners():
    random = np.random.default_rng(5)
    labels = np.repeat([0, 1], 20)  # 20 negatives: every corner lies on the band's grid
    passes = np.clip(random.random((6, 40)) + 0.3 * labels, 0, 1).round(2)
    false, true = grid_rates(labels, passes)
    top = [
        [t[np.isclose(f, x)].max() if np.isclose(f, x).any() else np.nan for x in np.arange(21) / 20]
        for f, t in zip(false, true, strict=True)
    ]
    top = np.array(top)
    whole = ~np.isnan(top).any(axis=0)
    assert whole.sum() > 5
    assert np.allclose(roc_band(labels, passes).mean[::5][whole], top.mean(axis=0)[whole], atol=1e-9)


@pytest.mark.parametrize("statistic", [exact_auc, grid_auc, exact_roc, grid_roc])
def test_one_class_is_refused(statistic):
    with pytest.raises(ValueError, match=r"all 3 scans are positive; a ROC curve or an AUC needs both classes"):
        statistic([1, 1, 1], [0.1, 0.2, 0.3])


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="NaN or infinite"):
        exact_auc([0, 1], [np.nan, 1.0])
    with pytest.raises(ValueError, match="expected 0 to 1"):
        grid_auc([0, 1], [-0.1, 1.0])
    with pytest.raises(ValueError, match=r"expected \(passes, scans\)"):
        roc_band([0, 1], [0.1, 1.0])

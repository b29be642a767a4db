"""A cell's scores against hand arithmetic and scikit-learn; what a cell says when it cannot say."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, confusion_matrix, roc_auc_score

from elsewhere.statistics.calibration import calibration_line
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.roc import exact_auc, grid_auc
from elsewhere.statistics.score import (
    CellScore,
    Confusion,
    average_confusion,
    combine_confusions,
    count_confusion,
    score_cell,
    spread_over_seeds,
)

POINT = OperatingPoint(0.4, "grid", "model", 0.9, 30)


def cell(seed=0, scans=90):
    random = np.random.default_rng(seed)
    people = np.sort(random.integers(0, 40, scans))
    labels = people % 2
    return labels, people, np.clip(random.random(scans) * 0.8 + 0.2 * labels, 0, 1)


def test_confusion_equals_scikit_learn():
    labels, _, probabilities = cell()
    called = probabilities >= 0.4
    found = count_confusion(labels, called)
    assert np.array_equal(found.counts, confusion_matrix(labels, called))
    assert np.allclose(found.normalised, confusion_matrix(labels, called, normalize="true"))
    assert found.accuracy == np.mean(labels == called)


def test_average_and_combined_by_hand():
    first = Confusion(true_positive=8, false_negative=2, false_positive=1, true_negative=9)
    second = Confusion(true_positive=50, false_negative=50, false_positive=0, true_negative=10)
    positives_only = Confusion(true_positive=3, false_negative=1, false_positive=0, true_negative=0)
    assert np.allclose(average_confusion([first, second]), [[0.95, 0.05], [0.35, 0.65]])
    assert np.allclose(average_confusion([first, second, positives_only])[1], [0.9 / 3 + 0.05 / 3, 2.05 / 3])
    assert np.allclose(average_confusion([first, second, positives_only])[0], [0.95, 0.05])
    assert np.isnan(average_confusion([positives_only])[0]).all()
    assert combine_confusions([first, second, positives_only]) == Confusion(61, 53, 1, 19)
    assert combine_confusions([first, second]).accuracy == pytest.approx(77 / 130)


def test_cell_equals_scikit_learn():
    labels, people, probabilities = cell()
    random = np.random.default_rng(1)
    passes = np.clip(probabilities + random.normal(0, 0.1, (7, labels.size)), 0, 1)
    found = score_cell(labels, people, probabilities, passes, operating_point=POINT)
    called = probabilities >= 0.4
    assert found.auc == pytest.approx(roc_auc_score(labels, probabilities), abs=1e-10)
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, called), abs=1e-12)
    counted = [[found.true_negative, found.false_positive], [found.false_negative, found.true_positive]]
    assert np.array_equal(counted, confusion_matrix(labels, called))
    each = [roc_auc_score(labels, row) for row in passes]
    assert (found.auc_dropout_mean, found.auc_dropout_sd) == pytest.approx((np.mean(each), np.std(each, ddof=1)))
    grid = [float(grid_auc(labels, row)) for row in passes]
    assert (found.auc_grid_dropout_mean, found.auc_grid_dropout_sd) == pytest.approx(
        (np.mean(grid), np.std(grid, ddof=1))
    )
    assert (found.scans, found.patients, found.positives + found.negatives) == (90, np.unique(people).size, 90)
    assert found.positive_patients + found.negative_patients == found.patients
    assert found.note == ""


def test_every_interval_holds_its_estimate():
    found = score_cell(*cell(2), operating_point=POINT)
    for name in ("accuracy", "sensitivity", "specificity", "balanced_accuracy", "auc"):
        low, middle, high = (getattr(found, name + end) for end in ("_sampling_low", "", "_sampling_high"))
        assert 0 <= low < middle < high <= 1
    assert found.auc_bootstrap_low < found.auc < found.auc_bootstrap_high


def test_calibration_stands_in_the_cell():
    labels, people, probabilities = cell(9)
    found = score_cell(labels, people, probabilities, operating_point=POINT)
    assert found.brier == pytest.approx(brier_score_loss(labels, probabilities))
    assert found.calibration_slope == pytest.approx(calibration_line(labels, probabilities).slope)
    assert found.calibration_slope_sampling_low < found.calibration_slope < found.calibration_slope_sampling_high
    assert found.observed_expected_sampling_low < found.observed_expected < found.observed_expected_sampling_high
    assert 0 < found.ece_if_calibrated < found.ece < 1
    alone = score_cell([1, 1], [0, 1], [0.2, 0.6], operating_point=POINT)
    assert (alone.brier, alone.calibration_slope, alone.calibration_intercept) == (pytest.approx(0.4), None, None)


def test_the_three_spreads_have_fields_of_their_own():
    names = [f.name for f in fields(CellScore)]
    assert not [n for n in names if n.endswith(("_low", "_high")) and "_sampling_" not in n and "_bootstrap_" not in n]
    assert not [n for n in names if n.endswith("_sd") and "_dropout_" not in n]
    assert not [n for n in names if "seed" in n]


def test_sampling_intervals_do_not_hear_of_dropout():
    labels, people, probabilities = cell(3)
    alone = score_cell(labels, people, probabilities, operating_point=POINT)
    noisy = score_cell(labels, people, probabilities, np.random.default_rng(0).random((9, 90)), operating_point=POINT)
    assert (alone.auc_sampling_low, alone.auc_sampling_high) == (noisy.auc_sampling_low, noisy.auc_sampling_high)
    assert (alone.dropout_passes, noisy.dropout_passes) == (0, 9)
    assert alone.auc_dropout_mean is None
    assert noisy.auc_dropout_sd > 0


@pytest.mark.parametrize(
    ("label", "given", "missing"), [(1, "sensitivity", "specificity"), (0, "specificity", "sensitivity")]
)
def test_a_one_class_site_says_so(label, given, missing):
    found = score_cell(
        [label] * 4, [0, 0, 1, 2], [0.1, 0.5, 0.6, 0.9], [[0.1, 0.5, 0.6, 0.9]] * 3, operating_point=POINT
    )
    assert found.note.startswith(f"One class: all 4 scans are {'positive' if label else 'negative'}")
    assert f"{given} is given" in found.note
    assert getattr(found, given) == (0.75 if label else 0.25) == found.accuracy
    for name in (
        missing,
        "auc",
        "auc_sampling_low",
        "auc_grid",
        "auc_dropout_mean",
        "balanced_accuracy",
        "baseline_chance_auc",
    ):
        assert getattr(found, name) is None
    assert found.dropout_passes == 3


def test_an_auc_below_a_half_is_printed_as_it_is():
    labels, people, probabilities = cell(4)
    up, down = (score_cell(labels, people, p, operating_point=POINT).auc for p in (probabilities, 1 - probabilities))
    assert down == pytest.approx(1 - up)
    assert down < 0.5


def test_argmax_rule_counts_a_half_as_negative():
    point = OperatingPoint(0.5, "argmax", "site", 1.0, 3)
    found = score_cell([0, 1], [0, 1], [0.5, 0.6], operating_point=point)
    assert (found.accuracy, found.threshold_rule, found.threshold_reading) == (1.0, "argmax", "site")


def test_two_scans_of_two_patients():
    found = score_cell([0, 1], ["a", "b"], [0.3, 0.7], operating_point=POINT)
    assert (found.auc, found.auc_sampling_low, found.auc_sampling_high) == (1.0, 0.0, 1.0)
    assert "single patient" in found.auc_sampling_method


def test_records_are_flat_and_fit_a_parquet_table():
    rows = [score_cell(*cell(5), operating_point=POINT), score_cell([1, 1], [0, 1], [0.2, 0.9], operating_point=POINT)]
    table = pa.Table.from_pylist([r.to_record() for r in rows])
    assert table.column_names == [f.name for f in fields(CellScore)]
    assert table["auc"].to_pylist() == [rows[0].auc, None]
    assert all(value is None or isinstance(value, (str, int, float)) for r in rows for value in r.to_record().values())
    assert not any(isinstance(v, float) and math.isnan(v) for r in rows for v in r.to_record().values())


def test_same_seed_same_numbers():
    first, second = (score_cell(*cell(6), operating_point=POINT, seed=4) for _ in range(2))
    assert first == second
    assert score_cell(*cell(6), operating_point=POINT, seed=5).auc_bootstrap_low != first.auc_bootstrap_low


def test_string_patients_are_the_same_as_numbers():
    labels, people, probabilities = cell(7)
    names = np.array([f"patient{p}" for p in people])
    one, other = (score_cell(labels, p, probabilities, operating_point=POINT) for p in (people, names))
    assert (one.auc_sampling_low, one.accuracy_sampling_low) == pytest.approx(
        (other.auc_sampling_low, other.accuracy_sampling_low)
    )


@pytest.mark.parametrize(
    ("labels", "patients", "probabilities", "passes", "says"),
    [
        ([0, 1], [0, 1], [0.1, np.nan], None, "1 NaN"),
        ([0, 1], [0, 1], [0.1, 1.1], None, "reach from 0.1 to 1.1"),
        ([0, 1], [0], [0.1, 0.2], None, "patients have shape"),
        ([0, 1], [0, 1], [0.1], None, "there are 2 labels"),
        ([], [], [], None, "at least one"),
        ([0, 1], [0, 1], [0.1, 0.2], [[0.1, np.nan]], "1 NaN"),
        ([0, 1], [0, 1], [0.1, 0.2], [0.1, 0.2], r"expected \(passes, scans\)"),
        ([0, 1], [0, 1], [[0.1, 0.2]], None, "expected one per scan"),
    ],
)
def test_bad_input_is_refused_in_words(labels, patients, probabilities, passes, says):
    with pytest.raises(ValueError, match=says):
        score_cell(labels, patients, probabilities, passes, operating_point=POINT)


def test_confusion_of_different_lengths_is_refused():
    with pytest.raises(ValueError, match="1 decisions for 2 labels"):
        count_confusion([0, 1], [1])


def test_spread_over_seeds_by_hand():
    found = spread_over_seeds([0.8, 0.9, 0.7])
    assert (found.seeds, found.mean, found.standard_deviation) == (3, pytest.approx(0.8), pytest.approx(0.1))
    assert (found.smallest, found.largest) == (0.7, 0.9)
    assert spread_over_seeds([0.8]).standard_deviation is None
    with pytest.raises(ValueError, match="one score per seed"):
        spread_over_seeds([0.8, np.nan])


def test_the_papers_case_in_which_sampling_error_dwarfs_dropout():
    """UTSW 20/48 at AUC 0.826: sampling standard error about 0.061 (protocol page), dropout ± 0.024 in the paper."""
    random = np.random.default_rng(8)
    labels = np.repeat([1, 0], [20, 48])
    errors = []
    for _ in range(200):
        odds = random.normal(size=68) + 1.327 * labels  # sqrt(2) times the normal quantile of 0.826
        found = score_cell(labels, range(68), 1 / (1 + np.exp(-odds)), operating_point=POINT, resamples=10)
        errors.append((found.auc_sampling_high - found.auc_sampling_low) / 3.92)
    assert np.mean(errors) == pytest.approx(0.055, abs=0.008)
    assert exact_auc(labels, labels) == 1

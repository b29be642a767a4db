"""One model's labels, patients and probabilities at one site in; one row of scores with their uncertainty out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.statistics.bootstrap import resampled_aucs
from elsewhere.statistics.calibration import brier_score, calibration_error, calibration_line
from elsewhere.statistics.columns import Floats, Ints, check_groups, check_labels, check_probabilities, count_groups
from elsewhere.statistics.decision import OperatingPoint, decide
from elsewhere.statistics.intervals import (
    Interval,
    auc_interval,
    bootstrap_interval,
    mean_interval,
    proportion_interval,
)
from elsewhere.statistics.roc import exact_auc, grid_auc

Value = str | int | float | None


@dataclass(frozen=True)
class Confusion:
    """Scans counted by truth and decision.

    Attributes:
        true_positive: positive scans called positive.
        false_negative: positive scans called negative.
        false_positive: negative scans called positive.
        true_negative: negative scans called negative.

    >>> found = Confusion(true_positive=8, false_negative=2, false_positive=3, true_negative=7)
    >>> found.counts.tolist(), found.normalised.tolist()
    ([[7, 3], [2, 8]], [[0.7, 0.3], [0.2, 0.8]])
    >>> found.accuracy, found.sensitivity, found.specificity
    (0.75, 0.8, 0.7)
    """

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int

    @property
    def counts(self) -> Ints:
        """(2, 2): rows the truth, columns the decision, negative first (scikit-learn's order)."""
        return np.array([[self.true_negative, self.false_positive], [self.false_negative, self.true_positive]])

    @property
    def normalised(self) -> Floats:
        """(2, 2): `counts` over the scans of each true class; NaN in the row of a class without scans."""
        return np.stack([row / row.sum() if row.sum() else np.full(2, np.nan) for row in self.counts])

    @property
    def accuracy(self) -> float:
        """Share of scans decided rightly, from the counts."""
        return float((self.true_positive + self.true_negative) / self.counts.sum())

    @property
    def sensitivity(self) -> float:
        """Share of positive scans called positive; NaN without positives."""
        return float(self.normalised[1, 1])

    @property
    def specificity(self) -> float:
        """Share of negative scans called negative; NaN without negatives."""
        return float(self.normalised[0, 0])


def count_confusion(labels: ArrayLike, decisions: ArrayLike) -> Confusion:
    """Confusion matrix of decisions (scans,), true where called positive.

    Raises:
        ValueError: no scan, labels or decisions other than 0 and 1, lengths that differ.

    >>> count_confusion([0, 0, 1, 1], [0, 1, 1, 1])
    Confusion(true_positive=2, false_negative=0, false_positive=1, true_negative=1)
    """
    truth, called = check_labels(labels), check_labels(decisions)
    if truth.shape != called.shape:
        raise ValueError(f"{called.size} decisions for {truth.size} labels")
    missed, false = int((truth > called).sum()), int((truth < called).sum())
    positives = int(truth.sum())
    return Confusion(positives - missed, missed, false, truth.size - positives - false)


def average_confusion(confusions: Iterable[Confusion]) -> Floats:
    """The paper's "Average": unweighted mean over sites of the normalised matrices (2, 2).

    A site without one class counts only in the row of the class it has. Leave a site out of the argument to leave
    it out of the mean: the report shows it with and without MosMedData, which is all positive.

    >>> average_confusion([Confusion(8, 2, 3, 7), Confusion(6, 4, 0, 0)]).round(2).tolist()
    [[0.7, 0.3], [0.3, 0.7]]
    """
    matrices = np.stack([c.normalised for c in confusions])
    known = ~np.isnan(matrices)
    return np.where(known, matrices, 0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)


def combine_confusions(confusions: Iterable[Confusion]) -> Confusion:
    """The paper's "Combined": the counts of all sites added up.

    >>> combine_confusions([Confusion(8, 2, 3, 7), Confusion(6, 4, 0, 0)])
    Confusion(true_positive=14, false_negative=6, false_positive=3, true_negative=7)
    """
    negative, positive = np.sum([c.counts for c in confusions], axis=0)
    return Confusion(int(positive[1]), int(positive[0]), int(negative[1]), int(negative[0]))


@dataclass(frozen=True)
class SeedSpread:
    """Spread of one score over trainings that differ only in their seed; neither sampling nor dropout spread.

    Attributes:
        seeds: number of trainings.
        mean: mean over them.
        standard_deviation: over them, with seeds - 1 below the line; None for one seed.
        smallest: the worst training.
        largest: the best training.
    """

    seeds: int
    mean: float
    standard_deviation: float | None
    smallest: float
    largest: float


def spread_over_seeds(scores: ArrayLike) -> SeedSpread:
    """Spread of a score (seeds,) of the same cell over trainings.

    Raises:
        ValueError: no score, or NaN.

    >>> found = spread_over_seeds([0.8, 0.9])
    >>> round(found.mean, 3), round(found.standard_deviation, 4)  # 0.1 / √2
    (0.85, 0.0707)
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or np.isnan(values).any():
        raise ValueError(f"seed scores have shape {values.shape}; expected one score per seed, none of them NaN")
    deviation = float(values.std(ddof=1)) if values.size > 1 else None
    return SeedSpread(values.size, float(values.mean()), deviation, float(values.min()), float(values.max()))


@dataclass(frozen=True)
class CellScore:
    """Scores of one model at one site. None stands where a number does not exist, and `note` says why.

    Fields with `_sampling_` say how far the score would move with other patients of this site (95 %);
    fields with `_dropout_` say how far it moves over MC-dropout passes of this network on these scans (the paper's
    ±). Neither holds the spread over training seeds: that is `SeedSpread`, over several cells.

    Attributes:
        scans: scans scored.
        patients: patients they come from.
        positives: positive scans.
        negatives: negative scans.
        positive_patients: patients with a positive scan.
        negative_patients: patients with a negative scan.
        note: what this cell cannot say, and why; empty where it says everything.
        threshold: of the operating point.
        threshold_rule: "grid" or "argmax".
        threshold_reading: "model" or "site".
        threshold_note: where the best accuracy is also, or only, that of calling every validation scan the same.
        true_positive: positive scans called positive.
        false_negative: positive scans called negative.
        false_positive: negative scans called positive.
        true_negative: negative scans called negative.
        accuracy: share of scans decided rightly.
        accuracy_sampling_low: lower end.
        accuracy_sampling_high: upper end.
        sensitivity: share of positive scans called positive.
        sensitivity_sampling_low: lower end.
        sensitivity_sampling_high: upper end.
        specificity: share of negative scans called negative.
        specificity_sampling_low: lower end.
        specificity_sampling_high: upper end.
        balanced_accuracy: mean of sensitivity and specificity.
        balanced_accuracy_sampling_low: lower end.
        balanced_accuracy_sampling_high: upper end.
        proportion_sampling_method: how the four intervals above were made.
        auc: exact (Mann-Whitney) AUC of the deterministic probabilities; below 0.5 it stays below 0.5.
        auc_sampling_low: lower end of the product's default interval.
        auc_sampling_high: upper end.
        auc_sampling_method: how it was made.
        auc_bootstrap_low: lower end of the patient-clustered percentile bootstrap interval.
        auc_bootstrap_high: upper end.
        auc_grid: the paper's AUC, thresholds 0..1 by 0.01.
        dropout_passes: number of MC-dropout passes; 0 where there were none.
        auc_dropout_mean: mean over passes of the exact AUC.
        auc_dropout_sd: standard deviation over passes.
        auc_grid_dropout_mean: mean over passes of the grid AUC, the number the paper prints.
        auc_grid_dropout_sd: standard deviation over passes, the paper's ±.
        brier: mean squared distance between probability and label.
        ece: expected calibration error, 10 bins; biased upwards in small samples.
        ece_if_calibrated: what `ece` would be on average for a perfectly calibrated model with these probabilities.
        calibration_intercept: calibration in the large, in log-odds; above 0 where the model says too little.
        calibration_intercept_sampling_low: lower end.
        calibration_intercept_sampling_high: upper end.
        calibration_slope: of labels on log-odds; below 1 overconfident.
        calibration_slope_sampling_low: lower end.
        calibration_slope_sampling_high: upper end.
        observed_expected: positives over the sum of probabilities (O:E).
        observed_expected_sampling_low: lower end.
        observed_expected_sampling_high: upper end.
        calibration_note: why the slope, or all of them, cannot be estimated; empty where they can.
        baseline_majority_accuracy: accuracy of calling every scan the majority class here.
        baseline_chance_auc: 0.5, and also what a rule reaches within one site that knows only the site.

    >>> point = OperatingPoint(0.5, "grid", "model", 1.0, 4)
    >>> cell = score_cell([0, 0, 1, 1], range(4), [0.1, 0.6, 0.7, 0.9], operating_point=point, resamples=10)
    >>> round(cell.to_record()["brier"], 4)  # (0.01 + 0.36 + 0.09 + 0.01) / 4
    0.1175
    """

    scans: int
    patients: int
    positives: int
    negatives: int
    positive_patients: int
    negative_patients: int
    note: str
    threshold: float
    threshold_rule: str
    threshold_reading: str
    threshold_note: str
    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int
    accuracy: float
    accuracy_sampling_low: float
    accuracy_sampling_high: float
    sensitivity: float | None
    sensitivity_sampling_low: float | None
    sensitivity_sampling_high: float | None
    specificity: float | None
    specificity_sampling_low: float | None
    specificity_sampling_high: float | None
    balanced_accuracy: float | None
    balanced_accuracy_sampling_low: float | None
    balanced_accuracy_sampling_high: float | None
    proportion_sampling_method: str
    auc: float | None
    auc_sampling_low: float | None
    auc_sampling_high: float | None
    auc_sampling_method: str | None
    auc_bootstrap_low: float | None
    auc_bootstrap_high: float | None
    auc_grid: float | None
    dropout_passes: int
    auc_dropout_mean: float | None
    auc_dropout_sd: float | None
    auc_grid_dropout_mean: float | None
    auc_grid_dropout_sd: float | None
    brier: float
    ece: float
    ece_if_calibrated: float
    calibration_intercept: float | None
    calibration_intercept_sampling_low: float | None
    calibration_intercept_sampling_high: float | None
    calibration_slope: float | None
    calibration_slope_sampling_low: float | None
    calibration_slope_sampling_high: float | None
    observed_expected: float | None
    observed_expected_sampling_low: float | None
    observed_expected_sampling_high: float | None
    calibration_note: str
    baseline_majority_accuracy: float
    baseline_chance_auc: float | None

    def to_record(self) -> dict[str, Value]:
        """A flat row for a Parquet table: field name -> str, int, float or None."""
        return asdict(self)


def score_cell(
    labels: ArrayLike,
    patients: ArrayLike,
    probabilities: ArrayLike,
    passes: ArrayLike | None = None,
    *,
    operating_point: OperatingPoint,
    called: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> CellScore:
    """Every score of one model at one site (protocol page, "Evaluation").

    Args:
        labels: 1 positive or 0 negative (scans,).
        patients: patient of each scan (scans,).
        probabilities: of being positive, deterministic (scans,).
        passes: the same from MC dropout (passes, scans), or None.
        operating_point: where this model says positive.
        called: its decisions (scans,), where they are not those of the operating point.
        resamples: patient-clustered bootstrap resamples.
        seed: of the bootstrap; the same patients and seed draw the same resamples for every model.

    Raises:
        ValueError: no scan, NaN, labels other than 0 and 1, probabilities outside 0 to 1, lengths that differ.

    >>> point = OperatingPoint(0.5, "grid", "model", 1.0, 4)
    >>> cell = score_cell([0, 0, 1, 1], range(4), [0.1, 0.6, 0.55, 0.9], operating_point=point, resamples=10)
    >>> cell.auc, cell.sensitivity, cell.specificity, cell.balanced_accuracy
    (0.75, 1.0, 0.5, 0.75)
    """
    truth = check_labels(labels)
    groups, values = check_groups(patients, truth.size), check_probabilities(probabilities, truth.size)
    if values.ndim != 1:
        raise ValueError(f"probabilities have shape {values.shape}; expected one per scan, and passes on their own")
    dropout = None if passes is None else _check_passes(passes, truth.size)
    positives = int(truth.sum())
    return CellScore(
        scans=truth.size,
        patients=int(groups.max()) + 1,
        positives=positives,
        negatives=truth.size - positives,
        positive_patients=count_groups(groups[truth == 1]),
        negative_patients=count_groups(groups[truth == 0]),
        note=_note(positives, truth.size),
        threshold=operating_point.threshold,
        threshold_rule=operating_point.rule,
        threshold_reading=operating_point.reading,
        threshold_note=operating_point.note,
        **_decision_fields(truth, groups, decide(values, operating_point) if called is None else called),
        **_ranking_fields(truth, groups, values, resamples, seed),
        **_dropout_fields(truth, dropout),
        **_calibration_fields(truth, groups, values),
        baseline_majority_accuracy=max(positives, truth.size - positives) / truth.size,
        baseline_chance_auc=0.5 if 0 < positives < truth.size else None,
    )


def _check_passes(passes: ArrayLike, scans: int) -> Floats:
    values = check_probabilities(passes, scans)
    if values.ndim != 2:
        raise ValueError(f"passes have shape {values.shape}; expected (passes, scans)")
    return values


def _note(positives: int, scans: int) -> str:
    if 0 < positives < scans:
        return ""
    name, left = ("positive", "sensitivity") if positives else ("negative", "specificity")
    return f"One class: all {scans} scans are {name}, so there is no ROC and no AUC; {left} is given."


def _decision_fields(labels: Ints, groups: Ints, called: ArrayLike) -> dict:
    confusion = count_confusion(labels, called)
    right = (np.asarray(called) == labels).astype(np.int64)
    whole = proportion_interval(right, groups)
    sensitivity, specificity = (_share_within(right, groups, labels == c) for c in (1, 0))
    balanced = mean_interval(sensitivity, specificity) if sensitivity and specificity else None
    shares = {
        "accuracy": whole,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": balanced,
    }
    fields = [_interval_fields(name, interval) for name, interval in shares.items()]
    return (
        asdict(confusion) | {k: v for f in fields for k, v in f.items()} | {"proportion_sampling_method": whole.method}
    )


def _share_within(right: Ints, groups: Ints, kept: np.ndarray) -> Interval | None:
    return proportion_interval(right[kept], groups[kept]) if kept.any() else None


def _interval_fields(name: str, interval: Interval | None) -> dict[str, float | None]:
    values = (interval.estimate, interval.low, interval.high) if interval else (None, None, None)
    return dict(zip((name, f"{name}_sampling_low", f"{name}_sampling_high"), values, strict=True))


def _ranking_fields(labels: Ints, groups: Ints, values: Floats, resamples: int, seed: int) -> dict:
    names = ("auc_sampling_method", "auc_bootstrap_low", "auc_bootstrap_high", "auc_grid")
    if labels.min() == labels.max():
        return _interval_fields("auc", None) | dict.fromkeys(names)
    interval = auc_interval(labels, groups, values)
    drawn = resampled_aucs(labels, groups, values, resamples, seed)[0]
    bootstrap = bootstrap_interval(labels, groups, values, drawn)
    extra = (interval.method, bootstrap.low, bootstrap.high, float(grid_auc(labels, values)))
    return _interval_fields("auc", interval) | dict(zip(names, extra, strict=True))


def _dropout_fields(labels: Ints, passes: Floats | None) -> dict:
    names = ("auc_dropout_mean", "auc_dropout_sd", "auc_grid_dropout_mean", "auc_grid_dropout_sd")
    count = 0 if passes is None else len(passes)
    if passes is None or labels.min() == labels.max():
        return {"dropout_passes": count} | dict.fromkeys(names)
    values = [spread for aucs in (exact_auc(labels, passes), grid_auc(labels, passes)) for spread in _mean_sd(aucs)]
    return {"dropout_passes": count} | dict(zip(names, values, strict=True))


def _calibration_fields(labels: Ints, groups: Ints, values: Floats) -> dict:
    error, line = calibration_error(labels, values), calibration_line(labels, values, groups)
    ends = {
        "calibration_intercept": line.intercept_ends,
        "calibration_slope": line.slope_ends,
        "observed_expected": line.observed_expected_ends,
    }
    return {
        "brier": brier_score(labels, values),
        "ece": error.ece,
        "ece_if_calibrated": error.ece_if_calibrated,
        "calibration_intercept": line.intercept,
        "calibration_slope": line.slope,
        "observed_expected": line.observed_expected,
        "calibration_note": line.note,
        **{f"{name}_sampling_low": low for name, (low, _) in ends.items()},
        **{f"{name}_sampling_high": high for name, (_, high) in ends.items()},
    }


def _mean_sd(values: Floats) -> tuple[float, float | None]:
    return float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else None

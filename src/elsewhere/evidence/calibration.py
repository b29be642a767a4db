"""Labels and probabilities in; reliability curve, calibration error, Brier score, slope and net benefit out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit

from elsewhere.evidence.columns import Floats, Ints, check_groups, check_labels, check_probabilities
from elsewhere.evidence.decision import GRID, counts_at_or_above, log_odds
from elsewhere.evidence.intervals import effective_trials, wilson_ends
from elsewhere.evidence.logistic import fit_logistic

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """What happened against what was said, in bins of equal width (0..1) that hold at least one scan.

    Attributes:
        low_edge: lower edge of each bin (bins,).
        mean_probability: mean probability of its scans (bins,).
        positive_share: share of positives among them (bins,).
        positive_share_low: lower end of its 95 % interval, Wilson on the effective number of scans (bins,).
        positive_share_high: upper end (bins,).
        scans: scans in the bin (bins,).
    """

    low_edge: Floats
    mean_probability: Floats
    positive_share: Floats
    positive_share_low: Floats
    positive_share_high: Floats
    scans: Ints


def reliability_curve(
    labels: ArrayLike, probabilities: ArrayLike, patients: ArrayLike | None = None, bins: int = BINS
) -> Reliability:
    """Reliability curve of probabilities (scans,).

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1, lengths that differ.
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    groups = np.arange(truth.size) if patients is None else check_groups(patients, truth.size)
    place = _bins(values, bins)
    kept = [place == b for b in np.unique(place)]
    shares = np.array([truth[k].mean() for k in kept])
    worth = [effective_trials(truth[k], np.unique(groups[k], return_inverse=True)[1]) for k in kept]
    ends = np.array([wilson_ends(s, n) for s, n in zip(shares.tolist(), worth, strict=True)])
    means, sizes = np.array([values[k].mean() for k in kept]), np.array([k.sum() for k in kept])
    return Reliability(np.unique(place) / bins, means, shares, ends[:, 0], ends[:, 1], sizes)


def _bins(values: Floats, bins: int) -> Ints:
    return np.minimum((values * bins).astype(np.int64), bins - 1)


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error, three ways, because the plain one is too large in small samples.

    Attributes:
        ece: Σ over bins of scans · |share - mean probability| / all scans (Naeini et al. 2015). Biased upwards: a
            perfectly calibrated model gets `ece_if_calibrated` on average, not 0.
        ece_if_calibrated: the mean ECE of labels drawn from the probabilities themselves.
        ece_debiased: ece - ece_if_calibrated, not below 0.
        rms_debiased: root of the debiased squared error (Kumar, Liang & Ma 2019), 0 where the estimate is negative.
    """

    ece: float
    ece_if_calibrated: float
    ece_debiased: float
    rms_debiased: float


def calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS, draws: int = 500, seed: int = 0
) -> CalibrationError:
    """Calibration error of probabilities (scans,) in bins of equal width.

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1, lengths that differ.
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    place = _bins(values, bins)
    found = float(_ece(truth[None], values, place, bins)[0])
    drawn = np.random.default_rng(seed).random((draws, truth.size)) < values
    if_calibrated = float(_ece(drawn, values, place, bins).mean())
    return CalibrationError(found, if_calibrated, max(found - if_calibrated, 0.0), _rms(truth, values, place))


def _ece(labels: np.ndarray, values: Floats, place: Ints, bins: int) -> Floats:
    """ECE of several label rows (rows, scans) for the same probabilities: (rows,)."""
    members = (place[:, None] == np.arange(bins)).astype(np.float64)
    return np.abs((labels - values) @ members).sum(axis=1) / values.size


def _rms(labels: Ints, values: Floats, place: Ints) -> float:
    """Square of each bin's gap less the sampling variance of its share; a bin with one scan says nothing."""
    total, counted = 0.0, 0
    for b in np.unique(place):
        here = place == b
        size, share = int(here.sum()), float(labels[here].mean())
        if size > 1:
            gap = (share - float(values[here].mean())) ** 2 - share * (1 - share) / (size - 1)
            total, counted = total + size * gap, counted + size
    return max(total / counted, 0.0) ** 0.5 if counted else 0.0


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance between probability and label (Brier 1950): 0 perfect, 0.25 for always 0.5.

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1, lengths that differ.
    """
    truth = check_labels(labels)
    return float(np.mean((check_probabilities(probabilities, truth.size) - truth) ** 2))


@dataclass(frozen=True)
class CalibrationLine:
    """Logistic calibration (Cox 1958). None where it does not exist, and `note` says why.

    Attributes:
        intercept: calibration in the large: log-odds to add to every scan (slope held at 1) until the mean
            probability is the share of positives; above 0 where the model says too little.
        slope: of labels on log-odds; below 1 overconfident, below 0 it ranks the wrong way round.
        slope_intercept: the intercept fitted together with that slope.
        mean_probability: mean probability.
        positive_share: share of positives.
        note: why a number is missing.
    """

    intercept: float | None
    slope: float | None
    slope_intercept: float | None
    mean_probability: float
    positive_share: float
    note: str


def calibration_line(labels: ArrayLike, probabilities: ArrayLike) -> CalibrationLine:
    """Calibration intercept and slope of probabilities (scans,), by maximum likelihood.

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1, lengths that differ.
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    mean, share, odds = float(values.mean()), float(truth.mean()), log_odds(values)
    if share in {0.0, 1.0}:
        return CalibrationLine(None, None, None, mean, share, "one class: calibration slope and intercept need both")
    intercept = float(brentq(lambda a: float(expit(a + odds).mean()) - share, -100.0, 100.0))
    if np.ptp(odds) == 0:
        return CalibrationLine(intercept, None, None, mean, share, "all probabilities are equal: no slope")
    centre, spread = odds.mean(), odds.std()
    try:
        above, slope = fit_logistic(((odds - centre) / spread)[:, None], truth.astype(np.float64))
    except ValueError:
        return CalibrationLine(intercept, None, None, mean, share, "the classes are separated: the slope is infinite")
    return CalibrationLine(intercept, float(slope / spread), float(above - slope * centre / spread), mean, share, "")


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit per scan against the probability at which one would act (Vickers & Elkin 2006).

    Attributes:
        threshold: (99,) 0.01..0.99; acting at t means one missed positive weighs (1 - t) / t false alarms.
        model: net benefit of acting where p ≥ t.
        treat_all: of acting on every scan.
        treat_none: of never acting: 0.
    """

    threshold: Floats
    model: Floats
    treat_all: Floats
    treat_none: Floats


def decision_curve(labels: ArrayLike, probabilities: ArrayLike) -> DecisionCurve:
    """Net benefit of probabilities (scans,) as they are; the site's own share of positives is taken as it is.

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1, lengths that differ.
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    inner, share = GRID[1:-1], float(truth.mean())
    weight = inner / (1 - inner)
    hits, alarms = (counts_at_or_above(values[truth == c])[1:-1] / truth.size for c in (1, 0))
    return DecisionCurve(inner, hits - alarms * weight, share - (1 - share) * weight, np.zeros_like(inner))

"""Labels and probabilities in; reliability curve, calibration error, Brier score, slope and net benefit out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import t

from elsewhere.statistics.columns import Floats, Ints, check_groups, check_labels, check_probabilities
from elsewhere.statistics.decision import GRID, counts_at_or_above, log_odds
from elsewhere.statistics.intervals import LEVEL, effective_trials, wilson_ends
from elsewhere.statistics.logistic import fit_logistic

BINS = 10

Ends = tuple[float, float] | tuple[None, None]
"""An interval, or Nones where there is none."""

SINGULAR = 1e-12
"""Relative determinant below which a matrix of two columns is taken as singular."""

BLOCK = 200
"""Scans whose sum is worked out scan by scan."""

LEAST_SPREAD = 0.1
"""Standard deviation of the log-odds below which scores hardly differ: near 0.5, less than 0.025 in probability."""


@dataclass(frozen=True)
class Reliability:
    """What happened against what was said, in bins of equal width (0..1) that hold at least one scan.

    Attributes:
        mean_probability: mean probability of its scans (bins,).
        positive_share: share of positives among them (bins,).
        positive_share_low: lower end of its 95 % interval, Wilson on the effective number of scans (bins,).
        positive_share_high: upper end (bins,).
        scans: scans in the bin (bins,).
    """

    mean_probability: Floats
    positive_share: Floats
    positive_share_low: Floats
    positive_share_high: Floats
    scans: Ints


def reliability_curve(labels: ArrayLike, probabilities: ArrayLike, patients: ArrayLike | None = None) -> Reliability:
    """Reliability curve of probabilities (scans,).

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1, lengths that differ.

    >>> found = reliability_curve([0, 1, 1, 1], [0.22, 0.28, 0.82, 0.88])
    >>> found.mean_probability.round(2).tolist(), found.positive_share.tolist(), found.scans.tolist()
    ([0.25, 0.85], [0.5, 1.0], [2, 2])
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    groups = np.arange(truth.size) if patients is None else check_groups(patients, truth.size)
    place = _bins(values)
    kept = [place == b for b in np.unique(place)]
    shares = np.array([truth[k].mean() for k in kept])
    worth = [effective_trials(truth[k], np.unique(groups[k], return_inverse=True)[1]) for k in kept]
    ends = np.array([wilson_ends(s, n) for s, n in zip(shares.tolist(), worth, strict=True)])
    means, sizes = np.array([values[k].mean() for k in kept]), np.array([k.sum() for k in kept])
    return Reliability(means, shares, ends[:, 0], ends[:, 1], sizes)


def _bins(values: Floats) -> Ints:
    return np.minimum((values * BINS).astype(np.int64), BINS - 1)


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error, and what a calibrated model would get: the plain one is too large in small samples.

    Attributes:
        ece: Σ over bins of scans · |share - mean probability| / all scans (Naeini et al. 2015). Biased upwards: a
            perfectly calibrated model gets `ece_if_calibrated` on average, not 0.
        ece_if_calibrated: what `ece` is on average where labels are drawn from the probabilities themselves, exactly
            and whatever the order of the scans; scans count as independent.
    """

    ece: float
    ece_if_calibrated: float


def calibration_error(labels: ArrayLike, probabilities: ArrayLike) -> CalibrationError:
    """Calibration error of probabilities (scans,) in bins of equal width.

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1, lengths that differ.

    >>> found = calibration_error([0, 1, 1, 1], [0.22, 0.28, 0.82, 0.88])
    >>> round(found.ece, 3), round(found.ece_if_calibrated, 3)
    (0.2, 0.249)
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    order = np.argsort(values, kind="stable")
    truth, values = truth[order], values[order]
    place = _bins(values)
    kept = [place == b for b in np.unique(place)]
    ece = sum(abs(float(truth[k].sum()) - float(values[k].sum())) for k in kept) / truth.size
    if_calibrated = sum(_expected_gap(values[k]) for k in kept) / truth.size
    return CalibrationError(ece, if_calibrated)


def _expected_gap(values: Floats) -> float:
    """Mean distance of a sum of independent 0/1 draws with these probabilities (scans,) from its own mean, exactly.

    From the distribution of the sum (Poisson binomial), built scan by scan in blocks that are then joined in pairs, so
    that the time does not grow with the square of the scans.
    """
    size = min(values.size, BLOCK)
    table = np.zeros((-(-values.size // size), size))  # scans that fill the last block up have probability 0
    table.flat[: values.size] = values
    law = np.zeros((len(table), size + 1))
    law[:, 0] = 1
    for p in table.T[:, :, None]:
        law[:, 1:] = law[:, 1:] * (1 - p) + law[:, :-1] * p
        law[:, :1] *= 1 - p
    parts = list(law)
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        parts = [_joined(a, b) for a, b in pairs] + parts[len(parts) // 2 * 2 :]
    return float(parts[0] @ np.abs(np.arange(parts[0].size) - values.sum()))


def _joined(first: Floats, second: Floats) -> Floats:
    """Distribution of the sum of two independent sums."""
    size = first.size + second.size - 1
    return np.maximum(np.fft.irfft(np.fft.rfft(first, size) * np.fft.rfft(second, size), size), 0.0)


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance between probability and label (Brier 1950): 0 perfect, 0.25 for always 0.5.

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1, lengths that differ.

    >>> round(brier_score([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.9]), 3)
    0.085
    """
    truth = check_labels(labels)
    return float(np.mean((check_probabilities(probabilities, truth.size) - truth) ** 2))


@dataclass(frozen=True)
class CalibrationLine:
    """Logistic calibration (Cox 1958) with 95 % intervals by patient. None where it does not exist: `note` says why.

    Attributes:
        intercept: calibration in the large: log-odds to add to every scan (slope held at 1) until the mean
            probability is the share of positives; above 0 where the model says too little.
        slope: of labels on log-odds; below 1 overconfident, below 0 it ranks the wrong way round.
        observed_expected: positives over the sum of probabilities (O:E); above 1 where the model says too little.
        intercept_ends: interval of `intercept`.
        slope_ends: interval of `slope`.
        observed_expected_ends: interval of `observed_expected`, symmetrical in its logarithm.
        mean_probability: mean probability.
        positive_share: share of positives.
        spread: standard deviation of the log-odds; below `LEAST_SPREAD` no slope is given.
        note: why a number is missing.
    """

    intercept: float | None
    slope: float | None
    observed_expected: float | None
    intercept_ends: Ends
    slope_ends: Ends
    observed_expected_ends: Ends
    mean_probability: float
    positive_share: float
    spread: float
    note: str


def calibration_line(labels: ArrayLike, probabilities: ArrayLike, patients: ArrayLike | None = None) -> CalibrationLine:
    """Calibration intercept, slope and O:E of probabilities (scans,), by maximum likelihood.

    Intervals are those of cluster-robust variances with each patient's leverage taken out (CR3, the jackknife's;
    Bell & McCaffrey 2002) and a t distribution of patients - 1 (intercept) or - 2 (slope) degrees of freedom.

    Args:
        labels: 1 or 0 (scans,).
        probabilities: of being positive (scans,).
        patients: patient of each scan (scans,); left out, every scan is its own.

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1, lengths that differ.

    >>> found = calibration_line([0, 0, 1, 0, 1, 1], [0.1, 0.3, 0.4, 0.6, 0.7, 0.9])
    >>> round(found.slope, 2), round(found.intercept, 2), round(found.observed_expected, 2)
    (1.5, 0.0, 1.0)
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    groups = np.arange(truth.size) if patients is None else check_groups(patients, truth.size)
    mean, share, odds = float(values.mean()), float(truth.mean()), log_odds(values)
    spread, nothing = float(odds.std()), (None, None)
    if share in {0.0, 1.0}:
        note = "one class: calibration slope and intercept need both"
        return CalibrationLine(None, None, None, nothing, nothing, nothing, mean, share, spread, note)
    intercept = float(brentq(lambda a: float(expit(a + odds).mean()) - share, -100.0, 100.0))
    level = _ends(truth, expit(intercept + odds), np.ones((truth.size, 1)), groups, np.array([intercept]))
    ratio, ratio_ends = _observed_expected(truth, values, groups)
    slope, ends, note = _slope(truth, odds, groups)
    return CalibrationLine(intercept, slope, ratio, level, ends, ratio_ends, mean, share, spread, note)


def _slope(labels: Ints, odds: Floats, groups: Ints) -> tuple[float | None, Ends, str]:
    """Slope, its interval, and why there is none."""
    centre, spread = odds.mean(), odds.std()
    if spread < LEAST_SPREAD:
        why = (
            f"the scores hardly differ (standard deviation of the log-odds {spread:.3f}): the slope cannot be estimated"
        )
        return None, (None, None), why
    design = np.column_stack([np.ones(odds.size), (odds - centre) / spread])
    try:
        beta = fit_logistic(design[:, 1:], labels.astype(np.float64))
    except ValueError:
        why = "the scores separate the classes: the slope is infinite and cannot be estimated"
        return None, (None, None), why
    low, high = _ends(labels, expit(design @ beta), design, groups, beta)
    ends = (None, None) if low is None or high is None else (low / float(spread), high / float(spread))
    return float(beta[1] / spread), ends, ""


def _ends(labels: Ints, fitted: Floats, design: Floats, groups: Ints, beta: Floats) -> Ends:
    """Interval of the last coefficient of a logistic fit (scans, columns), CR3 by patient; Nones with too few.

    A patient's leverage H = X B X'W has the rank of the columns, so that X'(I - H)⁻¹ r is
    X'r + X'X (B⁻¹ - X'WX)⁻¹ X'W r (Woodbury): sums over each patient's scans, and one small matrix to solve with.
    """
    people, columns = int(groups.max()) + 1, design.shape[1]
    if people <= columns:
        return None, None
    weight, residual = fitted * (1 - fitted), labels - fitted

    def added(values: Floats) -> Floats:
        return np.bincount(groups, values, people).astype(np.float64)

    pairs = [(i, j) for i in range(columns) for j in range(columns)]
    inside = np.empty((people, columns, columns))
    weighed = np.empty_like(inside)
    for i, j in pairs:
        both = design[:, i] * design[:, j]
        inside[:, i, j], weighed[:, i, j] = added(both), added(both * weight)
    plain = np.stack([added(design[:, i] * residual) for i in range(columns)], axis=1)
    heavy = np.stack([added(design[:, i] * residual * weight) for i in range(columns)], axis=1)
    whole = weighed.sum(axis=0)
    bread = np.linalg.pinv(whole)
    freed = _solve(whole - weighed, heavy)
    pulls = plain + np.einsum("pij,pj->pi", inside, freed)
    variance = (bread @ (pulls.T @ pulls) @ bread)[-1, -1] * (people - 1) / people
    half = float(t.ppf(0.5 + LEVEL / 2, people - columns)) * float(variance) ** 0.5
    return float(beta[-1]) - half, float(beta[-1]) + half


def _solve(matrices: Floats, right: Floats) -> Floats:
    """matrices (patients, columns, columns) x = right (patients, columns), least squares where one is singular."""
    if matrices.shape[1] == 1:
        size = matrices[:, 0, 0]
        return np.divide(right, size[:, None], out=np.zeros_like(right), where=size[:, None] != 0)
    a, b, c, d = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1]
    determinant = a * d - b * c
    found = np.stack([d * right[:, 0] - b * right[:, 1], a * right[:, 1] - c * right[:, 0]], axis=1)
    flat = np.abs(determinant) <= SINGULAR * np.maximum(np.abs(a * d), np.abs(b * c))
    found /= np.where(flat, 1.0, determinant)[:, None]
    if flat.any():
        found[flat] = (np.linalg.pinv(matrices[flat]) @ right[flat][..., None])[..., 0]
    return found


def _observed_expected(labels: Ints, values: Floats, groups: Ints) -> tuple[float | None, Ends]:
    """O:E and its interval by patient, from the linearised variance of its logarithm (Debray et al. 2017)."""
    people, expected = int(groups.max()) + 1, float(values.sum())
    if expected <= 0:
        return None, (None, None)
    ratio = float(labels.sum()) / expected
    if people < 2:
        return ratio, (None, None)
    pulls = np.bincount(groups, labels - ratio * values) / (ratio * expected)
    half = float(t.ppf(0.5 + LEVEL / 2, people - 1)) * float((pulls**2).sum() * people / (people - 1)) ** 0.5
    return ratio, (ratio * float(np.exp(-half)), ratio * float(np.exp(half)))


def prior_corrected(probabilities: ArrayLike, trained: float, share: float) -> Floats:
    """Probabilities (scans,) of a model trained at one share of positives, corrected to another (Saerens et al. 2002).

    The odds are multiplied by the ratio of the prior odds; nothing else may differ between the two.

    Args:
        probabilities: of being positive (scans,).
        trained: share of positives in training.
        share: share of positives where the model is used.

    Raises:
        ValueError: NaN, probabilities outside 0 to 1, a share that is not between 0 and 1.

    Examples:
        >>> prior_corrected([0.5, 0.9], 0.5, 0.1).round(3)
        array([0.1, 0.5])
    """
    if not (0 < trained < 1 and 0 < share < 1):
        raise ValueError(f"shares of positives must be above 0 and below 1, are {trained:g} and {share:g}")
    values = np.asarray(probabilities, dtype=np.float64)
    odds = log_odds(check_probabilities(values, values.size))
    return expit(odds + float(logit(share)) - float(logit(trained)))


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

    >>> curve = decision_curve([0, 0, 1, 1], [0.1, 0.6, 0.6, 0.9])
    >>> at = int(curve.threshold.searchsorted(0.5))
    >>> float(curve.model[at]), float(curve.treat_all[at])
    (0.25, 0.0)
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    inner, share = GRID[1:-1], float(truth.mean())
    weight = inner / (1 - inner)
    hits, alarms = (counts_at_or_above(values[truth == c])[1:-1] / truth.size for c in (1, 0))
    return DecisionCurve(inner, hits - alarms * weight, share - (1 - share) * weight, np.zeros_like(inner))

"""AUCs of fits on growing numbers of patients in; a fitted curve, and how many patients an AUC takes, out.

AUC(k) = a - b · k^-c, k patients of each class, with 0 ≤ b, a ≤ 1 and c between 0.2 and 1.5 (an inverse power law, as
for learning curves of classifiers: Figueroa et al. 2012). Intervals: the curve is fitted again to resampled draws of
the fitted patients and resampled patients of those scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.statistics.bootstrap import resampled_aucs
from elsewhere.statistics.columns import Floats, check_labels
from elsewhere.statistics.roc import exact_auc

EXPONENTS = np.linspace(0.2, 1.5, 27)
LEAST_SIZES = 3
"""Steps of the ladder that three numbers of a curve need."""

FURTHEST = 8
"""A curve is believed up to this many times the largest number of patients that was tried."""

TAIL = 0.025
RESAMPLES = 1000


@dataclass(frozen=True)
class LearningCurve:
    """A fitted curve.

    Attributes:
        sizes: patients of each class that were fitted on.
        aucs: mean over draws at each.
        plateau: a.
        drop: b.
        exponent: c.
        low: lower end of the 95 % interval of the curve at each size.
        high: upper end.
        rise: AUC gained from the smallest to the largest size, with its interval ends: (estimate, low, high).
        draws: (a, b, c) of every resample, (resamples, 3).
    """

    sizes: tuple[int, ...]
    aucs: tuple[float, ...]
    plateau: float
    drop: float
    exponent: float
    low: tuple[float, ...]
    high: tuple[float, ...]
    rise: tuple[float, float, float]
    draws: Floats


@dataclass(frozen=True)
class HowMany:
    """How many patients of each class an AUC takes.

    Attributes:
        aim: the AUC.
        patients: of each class; None where the curve does not say.
        low: lower end of the 95 % interval; None likewise.
        high: upper end; None where none is known: more than the curve is believed for.
        words: the answer in a sentence.
    """

    aim: float
    patients: int | None
    low: int | None
    high: int | None
    words: str


def fit_curve(
    labels: ArrayLike, patients: ArrayLike, scores: ArrayLike, sizes: Sequence[int], *, seed: int = 0
) -> LearningCurve | None:
    """The curve of fits on growing numbers of patients, all scored on the same scans.

    Args:
        labels: 1 or 0 of the scored scans (scans,).
        patients: patient of each (scans,).
        scores: (sizes, draws, scans).
        sizes: patients of each class that were fitted on, growing.
        seed: of the resampling.

    Returns:
        None where there are fewer than three sizes.

    Raises:
        ValueError: one class only, NaN, shapes that differ.

    >>> scores = [[[1, 4, 2, 3]], [[1, 3, 2, 4]], [[1, 2, 3, 4]]]  # three sizes, one draw of each
    >>> found = fit_curve([0, 0, 1, 1], range(4), scores, (4, 8, 16))
    >>> found.aucs, found.rise[0]
    ((0.5, 0.75, 1.0), 0.5)
    """
    truth = check_labels(labels)
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 3 or table.shape[0] != len(sizes) or table.shape[2] != truth.size:
        raise ValueError(f"scores have shape {table.shape}; ({len(sizes)}, draws, {truth.size}) is wanted")
    if len(sizes) < LEAST_SIZES:
        return None
    number, draws, _ = table.shape
    flat = table.reshape(number * draws, -1)
    seen = exact_auc(truth, flat).reshape(number, draws)
    drawn = resampled_aucs(truth, patients, flat, RESAMPLES, seed).reshape(number, draws, RESAMPLES)
    random = np.random.default_rng([seed, number, draws, 11])
    weights = random.multinomial(draws, np.full(draws, 1 / draws), RESAMPLES) / draws
    if draws > 1:  # a resample of few draws spreads too little by (draws - 1) / draws
        weights = 1 / draws + (weights - 1 / draws) * np.sqrt(draws / (draws - 1))
    means = np.einsum("sdr,rd->rs", drawn, weights)
    parts = fit_power_law(sizes, np.vstack([seen.mean(axis=1), means]))
    lines = parts[:, :1] - parts[:, 1:2] * np.asarray(sizes, float)[None] ** -parts[:, 2:]
    low, high = np.quantile(lines[1:], [TAIL, 1 - TAIL], axis=0)
    rises = means[:, -1] - means[:, 0]
    ends = np.quantile(rises, [TAIL, 1 - TAIL])
    return LearningCurve(
        sizes=tuple(sizes),
        aucs=tuple(float(v) for v in seen.mean(axis=1)),
        plateau=float(parts[0, 0]),
        drop=float(parts[0, 1]),
        exponent=float(parts[0, 2]),
        low=tuple(float(v) for v in low),
        high=tuple(float(v) for v in high),
        rise=(float(seen[-1].mean() - seen[0].mean()), float(ends[0]), float(ends[1])),
        draws=parts[1:],
    )


def fit_power_law(sizes: Sequence[int], aucs: ArrayLike) -> Floats:
    """(a, b, c) of each row of AUCs (rows, sizes), by least squares with 0 ≤ b, a ≤ 1, c on a grid: (rows, 3).

    >>> k = np.array([4, 8, 16, 32])
    >>> fit_power_law(k, [0.9 - 0.5 * k**-0.5]).round(3).tolist()
    [[0.9, 0.5, 0.5]]
    """
    values = np.atleast_2d(np.asarray(aucs, dtype=np.float64))
    best = np.full(len(values), np.inf)
    found = np.empty((len(values), 3))
    for exponent in EXPONENTS:
        x = np.asarray(sizes, dtype=np.float64) ** -exponent
        centred = x - x.mean()
        drop = np.maximum(-(values @ centred) / (centred @ centred), 0.0)
        plateau = values.mean(axis=1) + drop * x.mean()
        over = plateau > 1
        drop = np.where(over, np.maximum(((1 - values) @ x) / (x @ x), 0.0), drop)
        plateau = np.minimum(plateau, 1.0)
        error = ((values - plateau[:, None] + drop[:, None] * x[None]) ** 2).sum(axis=1)
        better = error < best - 1e-15
        found[better] = np.stack([plateau, drop, np.full(len(values), exponent)], axis=1)[better]
        best = np.where(better, error, best)
    return found


def patients_for(parts: Floats, aim: float) -> Floats:
    """Patients of each class from which each curve (rows, 3) reaches an AUC; infinite where it never does.

    >>> patients_for(np.array([[0.9, 0.5, 0.5], [0.7, 0.5, 0.5]]), 0.8).round(1).tolist()
    [25.0, inf]
    """
    plateau, drop, exponent = parts.T
    with np.errstate(divide="ignore", invalid="ignore"):
        found = ((plateau - aim) / drop) ** (-1 / exponent)
    found = np.where(plateau <= aim, np.inf, found)
    return np.where((plateau > aim) & (drop <= 0), 0.0, found)


def how_many(curve: LearningCurve | None, aim: float) -> HowMany:
    """How many patients of each class the fitted curve takes for an AUC; "cannot tell" where it shows no rise.

    Args:
        curve: None where too few sizes were tried.
        aim: the AUC wanted.

    >>> law = np.full((9, 3), (0.9, 0.5, 0.5))  # 0.9 - 0.5 / √k is 0.8 at k = 25
    >>> curve = LearningCurve((4, 8, 16), (0.65, 0.72, 0.78), 0.9, 0.5, 0.5, (), (), (0.13, 0.05, 0.2), law)
    >>> how_many(curve, 0.8).words
    'An AUC of 0.80 takes about 25 patients of each class (95 % interval 25 to 25).'
    """
    if curve is None:
        words = f"Cannot tell how many: a curve needs {LEAST_SIZES} numbers of patients, and fewer were tried."
        return HowMany(aim, None, None, None, words)
    least, most = curve.sizes[0], curve.sizes[-1]
    reach = FURTHEST * most
    needs = patients_for(curve.draws, aim)
    central = float(patients_for(np.array([[curve.plateau, curve.drop, curve.exponent]]), aim)[0])
    low, high = (float(np.quantile(needs, q, method="nearest")) for q in (TAIL, 1 - TAIL))
    if high <= least:
        words = (
            f"An AUC of {aim:.2f} is surely reached with {least} patients of each class, the fewest that were tried."
        )
        return HowMany(aim, least, None, least, words)
    if curve.rise[1] <= 0:
        words = (
            f"Cannot tell how many an AUC of {aim:.2f} takes: from {least} to {most} patients of each class the AUC "
            f"does not surely rise ({curve.rise[0]:+.3f}, 95 % interval {curve.rise[1]:+.3f} to {curve.rise[2]:+.3f})."
        )
        return HowMany(aim, None, None, None, words)
    if low > reach:
        words = (
            f"An AUC of {aim:.2f} takes more than {reach} patients of each class in this way, if it is reached at all; "
            f"the curve levels off at {curve.plateau:.2f}."
        )
        return HowMany(aim, None, reach, None, words)
    if central > reach:
        words = (
            f"Cannot tell how many an AUC of {aim:.2f} takes: the curve levels off at {curve.plateau:.2f}; at the best "
            f"it takes {_whole(low)} patients of each class."
        )
        return HowMany(aim, None, _whole(low), None, words)
    top = None if high > reach else _whole(high)
    ends = f"{_whole(low)} to {top}" if top is not None else f"{_whole(low)} to more than {reach}"
    words = f"An AUC of {aim:.2f} takes about {_whole(central)} patients of each class (95 % interval {ends})."
    return HowMany(aim, _whole(central), _whole(low), top, words)


def _whole(number: float) -> int:
    return max(1, int(np.ceil(number - 1e-9)))

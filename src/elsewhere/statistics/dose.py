"""A model's scores of its home scans under each dose of a shift in; AUC per dose, and its paired difference, out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.statistics.columns import Floats, Ints, check_groups, check_labels, check_probabilities
from elsewhere.statistics.comparison import Comparison, adjust_family, compare_models, holm
from elsewhere.statistics.decision import OperatingPoint, decide
from elsewhere.statistics.intervals import auc_interval

SURE = 0.05
"""Largest adjusted p of a fall that is spoken of as significant."""


def significant_falls(differences: ArrayLike, p_values: ArrayLike) -> list[bool]:
    """Which of a study's doses lower the AUC significantly: one family of every dose, shift and network (Holm 1979).

    Args:
        differences: AUC less that at dose 0 (doses,).
        p_values: of no difference, each as if it were the only one (doses,).

    Raises:
        ValueError: NaN among the p-values, or lengths that differ.

    >>> significant_falls([-0.3, -0.1, 0.2], [0.01, 0.04, 0.001])
    [True, True, False]
    """
    pairs = zip(np.asarray(differences, dtype=np.float64), holm(p_values), strict=True)
    return [bool(difference < 0 and p <= SURE) for difference, p in pairs]


@dataclass(frozen=True)
class Dosed:
    """One model at home under one dose of one shift.

    Attributes:
        dose: of the shift; 0 is as it is.
        scans: scans scored, the same at every dose.
        auc: exact AUC; None where the scans are of one class.
        low: lower end of its 95 % sampling interval, clustered by patient.
        high: upper end.
        difference: AUC less the AUC at dose 0, on the same scans; None at dose 0.
        difference_low: lower end of its 95 % interval (paired DeLong, clustered by patient).
        difference_high: upper end.
        p_value: of no difference, as if it were the only one.
        p_value_holm: adjusted (Holm) for the doses of this shift.
        positive_share: share of scans called positive, with the classes in the shares given.
    """

    dose: float
    scans: int
    auc: float | None
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p_value: float | None
    p_value_holm: float | None
    positive_share: float


def dose_curve(
    labels: ArrayLike,
    patients: ArrayLike,
    probabilities: Mapping[float, ArrayLike],
    point: OperatingPoint,
    positives: float | None = None,
) -> tuple[Dosed, ...]:
    """AUC at each dose of one shift, and its paired difference to dose 0.

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        probabilities: dose -> of being positive (scans,), dose 0 among them.
        point: the model's operating point.
        positives: share of positive scans that `positive_share` is to stand for; that of these scans if None.

    Raises:
        ValueError: no dose 0, NaN, labels other than 0 and 1, lengths that differ.

    >>> point = OperatingPoint(0.5, "grid", "model", 1.0, 4)
    >>> found = dose_curve([0, 0, 1, 1], range(4), {0: [0.1, 0.2, 0.8, 0.9], 1: [0.1, 0.6, 0.55, 0.9]}, point)
    >>> [(d.dose, d.auc, d.difference, d.positive_share) for d in found]
    [(0, 1.0, None, 0.5), (1, 0.75, -0.25, 0.75)]
    """
    truth = check_labels(labels)
    groups = check_groups(patients, truth.size)
    if 0 not in probabilities:
        raise ValueError(f"doses are {sorted(probabilities)}; dose 0, the scans as they are, is missing")
    scores = {dose: check_probabilities(probabilities[dose], truth.size) for dose in sorted(probabilities)}
    moved: dict[float, Comparison] = {}
    if 0 < truth.sum() < truth.size:
        found = [compare_models(truth, groups, scores[d], scores[0]) for d in scores if d]
        moved = dict(zip([d for d in scores if d], adjust_family(found), strict=True))
    share = float(truth.mean()) if positives is None else positives
    return tuple(_dosed(dose, (truth, groups, values), moved.get(dose), _called(truth, decide(values, point), share))
                 for dose, values in scores.items())  # fmt: skip


def _called(labels: Ints, called: np.ndarray, positives: float) -> float:
    """Share called positive if `positives` of the scans were positive."""
    parts = [(labels == 1, positives), (labels == 0, 1 - positives)]
    if any(not kept.any() for kept, weight in parts if weight > 0):
        return float(called.mean())
    return float(sum(weight * called[kept].mean() for kept, weight in parts if weight > 0))


def _dosed(dose: float, columns: tuple[Ints, Ints, Floats], moved: Comparison | None, share: float) -> Dosed:
    labels, groups, values = columns
    if labels.min() == labels.max():
        return Dosed(dose, labels.size, None, None, None, None, None, None, None, None, share)
    auc = auc_interval(labels, groups, values)
    ends = (auc.estimate, auc.low, auc.high)
    if moved is None:
        return Dosed(dose, labels.size, *ends, None, None, None, None, None, share)
    change = (moved.difference, moved.low, moved.high, moved.p_value, moved.p_value_holm)
    return Dosed(dose, labels.size, *ends, *change, share)

"""Features and labels in, coefficients of a logistic regression out (numpy only, ridge optional)."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from elsewhere.statistics.columns import Floats

LARGEST_STEP = 5.0
MOST_STEPS = 100


def fit_logistic(features: Floats, targets: Floats, ridge: float = 0.0) -> Floats:
    """Coefficients (1 + columns), the intercept first, by Newton's method on the penalised likelihood.

    Args:
        features: (scans, columns).
        targets: (scans,) in 0..1; fractions are allowed (Platt's smoothed targets).
        ridge: penalty ridge/2 · |coefficients|², never on the intercept.

    Raises:
        ValueError: it does not converge, as where a feature separates the classes and ridge is 0.

    >>> features, labels = np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([0.0, 1.0, 1.0, 1.0])
    >>> fit_logistic(features, labels, ridge=1.0).round(2).tolist()
    [0.9, 0.42]
    """
    design = np.column_stack([np.ones(len(features)), features])
    penalty = np.full(design.shape[1], ridge)
    penalty[0] = 0.0
    beta = np.zeros(design.shape[1])
    for _ in range(MOST_STEPS):
        step = _newton_step(design, targets, penalty, beta)
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            return beta
    raise ValueError(
        "the logistic regression does not converge: the classes are separated, or the columns are too alike"
    )


def _newton_step(design: Floats, targets: Floats, penalty: Floats, beta: Floats) -> Floats:
    """One step, shortened where it would leap (the plain step overshoots on separated classes)."""
    fitted = expit(design @ beta)
    slope = design.T @ (targets - fitted) - penalty * beta
    curvature = (design * (fitted * (1 - fitted))[:, None]).T @ design + np.diag(penalty)
    try:
        step = np.linalg.solve(curvature, slope)
    except np.linalg.LinAlgError as error:
        raise ValueError("the logistic regression does not converge: the classes are separated") from error
    return step * min(1.0, LARGEST_STEP / max(np.abs(step).max(), 1e-300))

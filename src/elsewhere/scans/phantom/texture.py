"""Key and grid in, random texture out, drawn on a lattice fixed in mm: a patient looks the same at every resolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.phantom.patient import generator
from elsewhere.scans.phantom.shape import Array, Grid

NORMAL = 1.5**1.5  # linear interpolation keeps (2/3)³ of the variance on average
LOW, HIGH = np.array([-50.0, -160.0, -200.0]), np.array([350.0, 160.0, 200.0])  # mm: what a lattice covers (z, y, x)


def texture(key: int, name: str, grain: float, grid: Grid, period: int | None = None) -> Array:
    """Smooth noise of mean 0 and standard deviation about 1, [slice, row, column].

    Args:
        key: the patient's key.
        name: which texture of this patient.
        grain: distance of the lattice's points in mm.
        grid: where to sample; beyond the lattice the texture repeats its edge.
        period: points after which the texture repeats along every axis, so that a fine one costs little.
    """
    counts = np.ceil((HIGH - LOW) / grain).astype(int) + 1 if period is None else np.full(3, period)
    lattice = generator(key, name).standard_normal(tuple(counts), np.float32)
    weigh = _linear if period is None else _around
    z, y, x = (weigh(p, LOW[i], grain, counts[i]) for i, p in enumerate((grid.z, grid.y, grid.x)))
    field = (z @ lattice.reshape(len(lattice), -1)).reshape(-1, *lattice.shape[1:])
    return np.matmul(np.matmul(y, field), x.T * np.float32(NORMAL))


def _linear(positions: Array, start: float, grain: float, count: int) -> NDArray[np.float32]:
    return _between(np.clip((positions - start) / grain, 0, count - 1.001), count)


def _around(positions: Array, start: float, grain: float, count: int) -> NDArray[np.float32]:
    return _between((positions - start) / grain % count, count)


def _between(place: Array, count: int) -> NDArray[np.float32]:
    """Weights [position, point] of the two points beside each place; the first follows the last."""
    low = place.astype(int)
    rest = (place - low).astype(np.float32)
    weights = np.zeros((len(place), count), np.float32)
    rows = np.arange(len(place))
    weights[rows, low % count], weights[rows, (low + 1) % count] = 1 - rest, rest
    return weights

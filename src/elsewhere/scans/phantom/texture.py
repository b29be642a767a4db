"""Key and grid in, random texture out, drawn on a lattice fixed in mm: a patient looks the same at every resolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.phantom.patient import generator
from elsewhere.scans.phantom.shape import Array, Grid

NORMAL = 1.5**1.5  # linear interpolation keeps (2/3)³ of the variance on average
LOW, HIGH = np.array([-50.0, -160.0, -200.0]), np.array([350.0, 160.0, 200.0])  # mm: what a lattice covers (z, y, x)


def texture(key: int, name: str, grain: float, grid: Grid) -> Array:
    """Smooth noise of mean 0 and standard deviation about 1, [slice, row, column].

    Args:
        key: the patient's key.
        name: which texture of this patient.
        grain: distance of the lattice's points in mm.
        grid: where to sample; beyond the lattice the texture repeats its edge.
    """
    counts = np.ceil((HIGH - LOW) / grain).astype(int) + 1
    lattice = generator(key, name).standard_normal(tuple(counts), np.float32)
    z, y, x = (_linear(p, LOW[i], grain, counts[i]) for i, p in enumerate((grid.z, grid.y, grid.x)))
    field = (z @ lattice.reshape(len(lattice), -1)).reshape(-1, *lattice.shape[1:])
    return np.matmul(np.matmul(y, field), x.T * np.float32(NORMAL))


def _linear(positions: Array, start: float, grain: float, count: int) -> NDArray[np.float32]:
    place = np.clip((positions - start) / grain, 0, count - 1.001)
    low = place.astype(int)
    rest = (place - low).astype(np.float32)
    weights = np.zeros((len(positions), count), np.float32)
    rows = np.arange(len(positions))
    weights[rows, low], weights[rows, low + 1] = 1 - rest, rest
    return weights

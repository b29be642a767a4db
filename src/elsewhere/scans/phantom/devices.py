"""Patient in, what an in-patient carries out: electrodes on the skin, a central line, a tube, a pacemaker."""

from __future__ import annotations

import numpy as np

from elsewhere.scans.phantom.anatomy import Chest
from elsewhere.scans.phantom.shape import capsule, ellipsoid

METAL, PLASTIC = 2600.0, 350.0


def paint_devices(chest: Chest, rng: np.random.Generator) -> None:
    """Three to five electrodes with leads, and by chance a central line, a breathing tube, a pacemaker."""
    p, grid = chest.patient, chest.grid
    front = -(p.lung_depth + 14 + p.muscle + p.fat)
    for _ in range(int(rng.integers(3, 6))):
        x, height = rng.uniform(-0.9, 0.9) * p.lung_width, rng.uniform(0.2, 0.8)
        y = front * np.sqrt(max(0.1, 1 - (x / (1.45 * p.lung_width)) ** 2))
        ellipsoid(chest.hu, grid, (chest.at(height), y, x), (6, 3, 6), METAL)
        lead = (chest.at(height), y - 4, x), (chest.at(height) - 60, y - 6, 0.3 * x)
        capsule(chest.hu, grid, lead, 1.5, 900)
    if rng.random() < 0.6:
        line = (chest.at(0.05), -30, p.shift_x - 45), (chest.at(0.45), -12, p.shift_x - 29)
        capsule(chest.hu, grid, line, 1.6, 1400)
    if rng.random() < 0.3:
        tube = (chest.at(-0.2), 5, p.shift_x), (chest.at(0.28), 17, p.shift_x)
        capsule(chest.hu, grid, tube, 5.0, PLASTIC)
        capsule(chest.hu, grid, tube, 3.6, -990.0)
    if rng.random() < 0.08 and p.age > 60:
        ellipsoid(chest.hu, grid, (chest.at(0.1), front * 0.82, 80), (20, 5, 22), METAL)

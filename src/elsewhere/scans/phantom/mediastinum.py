"""Chest wall in, chest with heart, great vessels and airways out (paints into a `Chest`)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from elsewhere.scans.phantom.anatomy import MUSCLE, Blood, Chest, spine_bend, spine_front
from elsewhere.scans.phantom.shape import capsule, column, ellipsoid, turn_towards

LUMEN = -985.0
HEART_AXIS = (0.42, -0.42, 0.80)  # base to apex of the heart: down, forward, left


def paint_mediastinum(chest: Chest, blood: Blood) -> None:
    """Heart, great vessels, gullet, windpipe and main bronchi; all are taken out of the lungs."""
    paint_heart(chest, blood)
    paint_vessels(chest, blood)
    paint_airway(chest)


def heart_centre(chest: Chest) -> tuple[float, float, float]:
    """(z, y, x) of the middle of the heart in mm: it rests on the diaphragm."""
    p = chest.patient
    return chest.at(0.70 + 0.07 * p.inspiration) - 22 * p.heart, -0.30 * p.lung_depth, 16 + p.shift_x


def paint_heart(chest: Chest, blood: Blood) -> None:
    """Pericardial fat, muscle and four chambers."""
    scale = chest.patient.heart * chest.patient.lung_width / 132
    centre = np.array(heart_centre(chest))
    turn = turn_towards(HEART_AXIS)
    radii = np.array([68, 50, 51]) * scale
    for canvas, value, grow in (
        (chest.lung, 0.0, 3.0),
        (chest.hu, -70.0, 3.0),
        (chest.hu, 42 + 0.9 * blood.organs, 0.0),
    ):
        ellipsoid(canvas, chest.grid, centre, radii + grow, turn, value)
    chambers = (
        ((8, 8, 26), (33, 22, 23), blood.left),  # left ventricle
        ((6, -26, 2), (36, 15, 30), blood.right),  # right ventricle
        ((-8, -4, -38), (27, 24, 19), blood.right),  # right atrium
        ((-22, 24, -4), (19, 17, 30), blood.left),  # left atrium
    )
    for offset, size, value in chambers:
        ellipsoid(chest.hu, chest.grid, centre + np.array(offset) * scale, np.array(size) * scale, np.eye(3), value)


def paint_vessels(chest: Chest, blood: Blood) -> None:
    """Aorta with its arch, pulmonary trunk and arteries, caval veins, neck vessels."""
    at, p, grid = chest.at, chest.patient, chest.grid
    s = p.lung_width / 132
    x0, front = p.shift_x, spine_front(p)
    aorta = (13.5 + 0.05 * (p.age - 55)) * s
    down = [(at(h), front - 12 + float(spine_bend(p, np.array([at(h)], np.float32))[0]) * 0.7, x0 + x * s, r * aorta)
            for h, x, r in ((0.25, 27, 1), (0.5, 25, 0.96), (0.8, 18, 0.92), (1.0, 10, 0.88), (1.5, 4, 0.8))]  # fmt: skip
    back = down[0]
    for canvas, grow, left, right, veins in (
        (chest.lung, 2.0, 0.0, 0.0, 0.0),
        (chest.hu, 0.0, blood.left, blood.right, blood.veins),
    ):
        column(canvas, grid, [(z, y, x, r + grow) for z, y, x, r in down], left)
        column(canvas, grid, [(at(0.22), -22 * s, x0 - 12 * s, 1.12 * aorta + grow),
                              (at(0.50), -24 * s, x0 - 4 * s, 1.2 * aorta + grow)], left)  # fmt: skip
        arch = [(at(0.235), -20 * s, x0 - 10 * s), (at(0.20), 4 * s, x0 + 8 * s), (at(0.215), 26 * s, x0 + 20 * s),
                back[:3]]  # fmt: skip
        for a, b in pairwise(arch):
            capsule(canvas, grid, a, b, aorta + grow, left)
        trunk = [(at(0.52), -42 * s, x0 + 22 * s), (at(0.41), -10 * s, x0 + 24 * s)]
        capsule(canvas, grid, trunk[0], trunk[1], 14.5 * s + grow, right)
        capsule(canvas, grid, trunk[1], (at(0.425), 2 * s, x0 - 40 * s), 11 * s + grow, right)
        capsule(canvas, grid, trunk[1], (at(0.40), 18 * s, x0 + 46 * s), 11.5 * s + grow, right)
        column(canvas, grid, [(at(0.12), -24 * s, x0 - 27 * s, 8 * s + grow),
                              (at(0.52), -8 * s, x0 - 30 * s, 9.5 * s + grow)], veins)  # fmt: skip
        column(canvas, grid, [(at(0.72), 2 * s, x0 - 26 * s, 11 * s + grow),
                              (at(1.4), 26 * s, x0 - 24 * s, 11 * s + grow)], 0.6 * left + 0.4 * right)  # fmt: skip
        capsule(canvas, grid, (at(0.13), -26 * s, x0 - 24 * s), (at(0.06), -24 * s, x0 + 30 * s), 6.5 * s + grow, veins)
        for x, y in ((-17, -6), (12, -10), (22, 10)):
            column(
                canvas,
                grid,
                [(at(-0.3), y + 6, x0 + 1.3 * x, 4.5 * s + grow), (at(0.2), y, x0 + 0.8 * x, 5 * s + grow)],
                left,
            )
    if p.calcified > 0.4:
        rng = np.random.default_rng(p.key)
        for turn in rng.uniform(0, 2 * np.pi, 4):
            z, y, x, r = down[int(turn) % 4]
            ellipsoid(chest.hu, grid, (z, y + r * np.sin(turn), x + r * np.cos(turn)), (8, 2.2, 2.2), np.eye(3), 650)


def paint_airway(chest: Chest) -> None:
    """Gullet, windpipe to the carina, main and intermediate bronchi with their walls."""
    at, p, grid = chest.at, chest.patient, chest.grid
    s = p.lung_width / 132 * (1.0 if p.sex == "M" else 0.88)
    x0, front = p.shift_x, spine_front(p)
    column(
        chest.hu,
        grid,
        [(at(-0.3), 24, x0 + 4, 7), (at(0.4), front - 16, x0 + 5, 7.5), (at(1.0), front - 22, x0 + 14, 9)],
        36.0,
    )
    path = [(at(-0.4), 2.0), (at(-0.05), 6.0), (at(0.2), 14.0), (at(0.385), 22.0)]
    carina = (at(0.385), 22.0, x0)
    bronchi = (((at(0.455), 24.0, x0 - 36 * s), 7.2 * s), ((at(0.485), 28.0, x0 + 48 * s), 6.2 * s))
    lower = (((at(0.57), 30.0, x0 - 42 * s), 5.5 * s), ((at(0.58), 36.0, x0 + 52 * s), 5.0 * s))
    for grow, value in ((1.8, MUSCLE - 10), (0.0, LUMEN)):
        column(chest.hu, grid, [(z, y, x0, 9.5 * s + grow) for z, y in path], value)
        for (end, r), (foot, q) in zip(bronchi, lower, strict=True):
            capsule(chest.hu, grid, carina, end, r + grow, value)
            capsule(chest.hu, grid, end, foot, q + grow, value)
            if grow:
                capsule(chest.lung, grid, carina, end, r + grow, 0.0)
                capsule(chest.lung, grid, end, foot, q + grow, 0.0)


def hila(chest: Chest) -> dict[int, tuple[float, float, float]]:
    """Where vessels and bronchi enter each lung: {-1 right, +1 left} -> (z, y, x) in mm."""
    s = chest.patient.lung_width / 132
    return {
        side: (chest.at(0.44 if side > 0 else 0.46), 12.0, chest.patient.shift_x + side * 40 * s) for side in (-1, 1)
    }

"""Chest wall in, chest with heart, great vessels and airways out (paints into a `Chest`)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from elsewhere.scans.phantom.anatomy import MUSCLE, Blood, Chest, spine_bend, spine_front
from elsewhere.scans.phantom.patient import Patient
from elsewhere.scans.phantom.shape import Array, capsule, column, ellipsoid, turn_towards

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
    z, y, x = p.form.heart_shift
    return chest.at(0.70 + 0.07 * p.inspiration) - 22 * p.heart + z, -0.30 * p.lung_depth + y, 16 + p.shift_x + x


def paint_heart(chest: Chest, blood: Blood) -> None:
    """Pericardial fat, muscle and four chambers."""
    p = chest.patient
    scale = p.heart * p.lung_width / 132
    centre = np.array(heart_centre(chest))
    down, forward, left = HEART_AXIS
    tilt = p.form.heart_turn
    turn = turn_towards((down - 0.8 * tilt, forward, left + 0.4 * tilt))
    radii = np.array([68, 50, 51]) * scale * p.form.heart_shape
    for canvas, value, grow in (
        (chest.lung, 0.0, 3.0),
        (chest.hu, -70.0, 3.0),
        (chest.hu, 42 + 0.9 * blood.organs, 0.0),
    ):
        ellipsoid(canvas, chest.grid, centre, radii + grow, value, turn=turn)
    chambers = (
        ((8, 8, 26), (33, 22, 23), blood.left),  # left ventricle
        ((6, -26, 2), (36, 15, 30), blood.right),  # right ventricle
        ((-8, -4, -38), (27, 24, 19), blood.right),  # right atrium
        ((-22, 24, -4), (19, 17, 30), blood.left),  # left atrium
    )
    for offset, size, value in chambers:
        ellipsoid(chest.hu, chest.grid, centre + np.array(offset) * scale, np.array(size) * scale, value)


def paint_vessels(chest: Chest, blood: Blood) -> None:
    """Aorta with its arch, pulmonary trunk and arteries, caval veins, neck vessels, and calcium in old aortas."""
    aorta = _descending_aorta(chest)
    for canvas, grow, colour in ((chest.lung, 2.0, Blood(0.0, 0.0, 0.0)), (chest.hu, 0.0, blood)):
        column(canvas, chest.grid, [(z, y, x, r + grow) for z, y, x, r in aorta], colour.left)
        _paint_arch(chest, canvas, grow, colour.left, aorta[0])
        _paint_pulmonary(chest, canvas, grow, colour.right)
        _paint_veins(chest, canvas, grow, colour)
    if chest.patient.calcified > 0.4:
        for turn in np.random.default_rng(chest.patient.key).uniform(0, 2 * np.pi, 4):
            z, y, x, r = aorta[int(turn) % 4]
            plaque = z, y + r * np.sin(turn), x + r * np.cos(turn)
            ellipsoid(chest.hu, chest.grid, plaque, (8, 2.2, 2.2), 650)


def _descending_aorta(chest: Chest) -> list[tuple[float, float, float, float]]:
    """Points (z, y, x, radius) in mm from the end of the arch to the belly, along the spine."""
    p, s = chest.patient, _scale(chest)
    wide, back, aside = p.form.aorta
    width = (13.5 + 0.05 * (p.age - 55)) * s * wide
    levels = ((0.25, 27, 1.0), (0.5, 25, 0.96), (0.8, 18, 0.92), (1.0, 10, 0.88), (1.5, 4, 0.8))
    heights = np.array([chest.at(h) for h, _, _ in levels], np.float32)
    bend = 0.7 * spine_bend(p, heights)
    y = spine_front(p) - 12 + back * 0.5
    return [
        (chest.at(h) + p.form.arch, y + float(b), p.shift_x + x * s + aside, r * width)
        for (h, x, r), b in zip(levels, bend, strict=True)
    ]


def _scale(chest: Chest) -> float:
    return chest.patient.lung_width / 132


def _paint_arch(chest: Chest, canvas: Array, grow: float, value: float, end: tuple[float, float, float, float]) -> None:
    s, x0, width, lift = _scale(chest), chest.patient.shift_x, end[3], chest.patient.form.arch

    def at(height: float) -> float:
        return chest.at(height) + lift

    ascending = [
        (at(0.22), -22 * s, x0 - 12 * s, 1.12 * width + grow),
        (at(0.50), -24 * s, x0 - 4 * s, 1.2 * width + grow),
    ]
    column(canvas, chest.grid, ascending, value)
    arch = [(at(0.235), -20 * s, x0 - 10 * s), (at(0.20), 4 * s, x0 + 8 * s), (at(0.215), 26 * s, x0 + 20 * s), end[:3]]
    for ends in pairwise(arch):
        capsule(canvas, chest.grid, ends, width + grow, value)
    for x, y in ((-17, -6), (12, -10), (22, 10)):
        branch = [(at(-0.3), y + 6, x0 + 1.3 * x, 4.5 * s + grow), (at(0.2), y, x0 + 0.8 * x, 5 * s + grow)]
        column(canvas, chest.grid, branch, value)


def _paint_pulmonary(chest: Chest, canvas: Array, grow: float, value: float) -> None:
    at, s, x0 = chest.at, _scale(chest), chest.patient.shift_x
    fork = (at(0.41), -10 * s, x0 + 24 * s)
    capsule(canvas, chest.grid, ((at(0.52), -42 * s, x0 + 22 * s), fork), 14.5 * s + grow, value)
    capsule(canvas, chest.grid, (fork, (at(0.425), 2 * s, x0 - 40 * s)), 11 * s + grow, value)
    capsule(canvas, chest.grid, (fork, (at(0.40), 18 * s, x0 + 46 * s)), 11.5 * s + grow, value)


def _paint_veins(chest: Chest, canvas: Array, grow: float, blood: Blood) -> None:
    at, s, x0 = chest.at, _scale(chest), chest.patient.shift_x
    upper = [(at(0.12), -24 * s, x0 - 27 * s, 8 * s + grow), (at(0.52), -8 * s, x0 - 30 * s, 9.5 * s + grow)]
    column(canvas, chest.grid, upper, blood.veins)
    lower = [(at(0.72), 2 * s, x0 - 26 * s, 11 * s + grow), (at(1.4), 26 * s, x0 - 24 * s, 11 * s + grow)]
    column(canvas, chest.grid, lower, 0.6 * blood.left + 0.4 * blood.right)
    innominate = (at(0.13), -26 * s, x0 - 24 * s), (at(0.06), -24 * s, x0 + 30 * s)
    capsule(canvas, chest.grid, innominate, 6.5 * s + grow, blood.veins)


def paint_airway(chest: Chest) -> None:
    """Gullet, windpipe to the carina, main and intermediate bronchi with their walls."""
    at, p, grid = chest.at, chest.patient, chest.grid
    s = _scale(chest) * (1.0 if p.sex == "M" else 0.88)
    x0, front = p.shift_x, spine_front(p)
    gullet = [(at(-0.3), 24, x0 + 4, 7), (at(0.4), front - 16, x0 + 5, 7.5), (at(1.0), front - 22, x0 + 14, 9)]
    column(chest.hu, grid, gullet, 36.0)
    dz, dy, dx = p.form.carina
    s *= p.form.airway
    carina = (at(0.385) + dz, 22.0 + dy, x0 + dx)
    bow = p.form.windpipe
    windpipe = [(at(-0.4), 2.0, x0), (at(-0.05), 6.0, x0 + 0.3 * bow), (at(0.2), 14.0, x0 + bow), carina]
    for grow, value in ((1.4, MUSCLE - 10), (0.0, LUMEN)):
        column(chest.hu, grid, [(z, y, x, 9.5 * s + grow) for z, y, x in windpipe], value)
        for ends, radius in _bronchi(chest, carina, s):
            wall = min(grow, 0.2 * radius)
            capsule(chest.hu, grid, ends, radius + wall, value)
            if grow:
                capsule(chest.lung, grid, ends, radius + wall, 0.0)


Point = tuple[float, float, float]


def _bronchi(chest: Chest, carina: Point, s: float) -> list[tuple[tuple[Point, Point], float]]:
    """Main bronchi and those to the lower lobes: (ends, radius in mm)."""
    height, found = chest.patient.lung_height, []
    z, y, x = carina
    for side, steep, r in zip((-1, 1), chest.patient.form.bronchi, (7.2 * s, 6.2 * s), strict=True):
        reach = 36 if side < 0 else 48
        hilum = z + (0.07 if side < 0 else 0.10) * height * steep, y + (2 if side < 0 else 6), x + side * reach * s
        foot = hilum[0] + 0.10 * height, hilum[1] + 7, hilum[2] + side * 5 * s
        found += [((carina, hilum), r), ((hilum, foot), 0.7 * r)]
    return found


def hila(patient: Patient) -> dict[int, tuple[float, float, float]]:
    """Where vessels and bronchi enter each lung: {-1 right, +1 left} -> (z, y, x) in mm."""
    dz, dy, dx = patient.form.carina
    x, half = patient.shift_x + dx, 40 * (patient.lung_width / 132)
    return {
        side: ((0.44 if side > 0 else 0.46) * patient.lung_height + dz, 12.0 + dy, x + side * half) for side in (-1, 1)
    }

"""Patient and grid in, HU of the healthy body and the mask of its lungs out: outer wall, skeleton and belly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elsewhere.scans.phantom.patient import Patient, generator
from elsewhere.scans.phantom.shape import (
    Array,
    Grid,
    capsule,
    column,
    ellipse_distance,
    ellipsoid,
    paint,
    profile,
    soft,
    superellipse_distance,
)
from elsewhere.scans.phantom.texture import texture

AIR, FAT, MUSCLE, CANCELLOUS, CORTEX = -1000.0, -102.0, 52.0, 210.0, 900.0
CHEST_WALL = 13.0  # mm from the pleura to the outer face of the ribs
VERTEBRA = 26.0  # mm from disc to disc, mid-thoracic
RIBS = 12


@dataclass(frozen=True)
class Blood:
    """HU of blood and of what takes up contrast agent.

    Attributes:
        veins: superior vena cava and brachiocephalic veins.
        right: right heart and pulmonary arteries.
        left: left heart, pulmonary veins and aorta.
        organs: added to liver, spleen, muscle and heart wall.
    """

    veins: float = 42.0
    right: float = 42.0
    left: float = 42.0
    organs: float = 0.0


@dataclass(frozen=True, eq=False)
class Chest:
    """A body being drawn on a grid.

    Attributes:
        patient: whose body.
        grid: where the samples lie.
        hu: HU so far, float32 [slice, row, column].
        lung: share of each sample that is lung, 0..1.
        wall: distance to the pleura of the chest wall in mm, negative inside the rib cage.
        depth: depth below the nearest pleura in mm, negative outside the lungs.
        gland: share of each sample that is breast gland.
    """

    patient: Patient
    grid: Grid
    hu: Array
    lung: Array
    wall: Array
    depth: Array
    gland: Array

    def at(self, height: float) -> float:
        """z in mm of a height given as a share of the lung height."""
        return height * self.patient.lung_height

    def carve(self, box: tuple[slice, slice, slice], mask: Array) -> None:
        """Take the mask out of the lungs."""
        view = self.lung[box]
        view *= 1 - mask


def draw_body(patient: Patient, grid: Grid, blood: Blood) -> Chest:
    """The body without mediastinum: air, table, fat, muscle, skeleton, belly, and the lungs' mask (not yet filled)."""
    wall = rib_cage(patient, grid)
    depth, below = lung_depth(patient, grid, wall)
    hu, gland = np.full(grid.shape, AIR, np.float32), np.zeros(grid.shape, np.float32)
    chest = Chest(patient, grid, hu, soft(-depth, grid.pixel), wall, depth, gland)
    paint_outline(chest, blood)
    paint_ribs(chest)
    paint_belly(chest, below, blood)
    paint_shoulders(chest)
    paint_spine(chest)
    return chest


def hemithorax(patient: Patient, z: Array) -> tuple[Array, Array, Array, Array]:
    """Ellipse of one lung at each height z (mm): (centre |x|, centre y, half width, half depth) in mm, each [n]."""
    t = z / np.float32(patient.lung_height)
    outer = profile([(0, 0.38), (0.05, 0.53), (0.12, 0.67), (0.25, 0.83), (0.42, 0.94), (0.65, 1.0), (0.9, 1.0),
                     (1.1, 0.97), (1.4, 0.92)], t)  # fmt: skip
    inner = profile([(0, 0.38), (0.04, 0.22), (0.12, 0.1), (0.25, 0.03), (0.5, -0.03), (1.2, -0.03)], t)
    depth = profile([(0, 0.0), (0.04, 0.28), (0.12, 0.52), (0.25, 0.76), (0.42, 0.92), (0.65, 1.0), (0.85, 1.02),
                     (1.1, 1.0), (1.4, 0.95)], t)  # fmt: skip
    back = profile([(0, 24), (0.12, 18), (0.3, 8), (0.5, 2), (0.8, 3), (1.3, 4)], t)
    w, d = np.float32(patient.lung_width), np.float32(patient.lung_depth)
    half_width = np.maximum((outer - inner) / 2 * w, 0.5)
    return (outer + inner) / 2 * w, back, half_width, np.maximum(depth * d, 0.5)


def rib_cage(patient: Patient, grid: Grid) -> Array:
    """Distance to the inner face of the rib cage in mm, negative inside: two leaning ellipses and one between them."""
    _, y, x = grid.axes()
    cx, cy, a, b = (p[:, None, None] for p in hemithorax(patient, grid.z))
    side = np.abs(x)
    lobe = ellipse_distance(side - cx - np.float32(0.1) * y, y - cy, a, b)
    middle = ellipse_distance(x + 0 * y, y - cy - 3, np.maximum(0.62 * (cx + a), 25), np.maximum(0.93 * b, 22))
    return np.minimum(lobe, middle, out=lobe)


def diaphragm(patient: Patient, y: Array, x: Array) -> Array:
    """Height z of the diaphragm in mm over (y, x): two domes, the right one higher, deep recesses behind."""
    w, d, h = patient.lung_width, patient.lung_depth, patient.lung_height
    dome = h * (0.70 + 0.07 * patient.inspiration)
    square = ((np.abs(x) - 0.45 * w) / (0.60 * w)) ** 2 + ((y + 0.12 * d) / (1.08 * d)) ** 2
    recess = h * (0.91 + 0.10 * y / d)
    top = np.where(x < 0, dome, dome + patient.form.right_dome * h)
    return (top + (recess - top) * np.clip(square, 0, 1.3) ** 1.7).astype(np.float32)


def lung_depth(patient: Patient, grid: Grid, wall: Array) -> tuple[Array, Array]:
    """(depth below the pleura in mm, height below the diaphragm in mm), heart and vessels not yet taken out."""
    z, y, x = grid.axes()
    t = grid.z / np.float32(patient.lung_height)
    width = profile([(-0.1, 42), (0, 36), (0.1, 30), (0.2, 32), (0.3, 36), (0.42, 38), (0.55, 34), (0.8, 30),
                     (1.1, 36)], t)  # fmt: skip
    shape = profile([(-1.1, 0.16), (-0.75, 0.16), (-0.45, 0.7), (-0.15, 1), (0.3, 1), (0.6, 0.72), (0.9, 0.5),
                     (1.1, 0.55)], grid.y / np.float32(patient.lung_depth))  # fmt: skip
    middle = x - np.float32(patient.shift_x + 3)
    below = z - diaphragm(patient, y, x)
    right, left = patient.form.mediastinum
    half = (width[:, None] * shape[None, :])[:, :, None] * np.where(middle < 0, right, left).astype(np.float32)
    depth = half + _bulges(patient, grid, middle) - np.abs(middle)
    # a hemidiaphragm rises steeply at its rim, so height overstates distance
    np.maximum(depth, below * np.float32(0.8), out=depth)
    np.maximum(depth, wall, out=depth)
    return np.negative(depth, out=depth), below


def _bulges(patient: Patient, grid: Grid, middle: Array) -> Array:
    """How far fat and nodes push the mediastinum's sides out in mm, over (z, y) and on each side its own."""
    rough = generator(patient.key, "bulges").normal(0, 6, (2, 24, 18)).astype(np.float32)
    z, y = np.clip((grid.z + 40) / 24, 0, 22.9), np.clip((grid.y + 160) / 24, 0, 16.9)
    i, j = z.astype(int), y.astype(int)
    u, v = (z - i)[:, None], (y - j)[None, :]
    i, j = i[:, None], j[None, :]
    right, left = (
        (1 - u) * ((1 - v) * r[i, j] + v * r[i, j + 1]) + u * ((1 - v) * r[i + 1, j] + v * r[i + 1, j + 1])
        for r in rough
    )
    return np.where(middle < 0, right[:, :, None], left[:, :, None])


def body_outline(patient: Patient, grid: Grid) -> Array:
    """Distance to the skin in mm, negative inside."""
    _, y, x = grid.axes()
    t = grid.z / np.float32(patient.lung_height)
    shoulders = 1.10 if patient.arms_up else 1.24
    w = profile([(-0.45, 0.36), (-0.25, 0.42), (-0.1, 0.92 * shoulders), (0.04, shoulders),
                 (0.2, 0.5 + 0.5 * shoulders), (0.4, 1), (0.8, 0.97), (1.1, 0.95), (1.4, 0.97)], t)  # fmt: skip
    d = profile([(-0.45, 0.52), (-0.2, 0.6), (0.0, 0.76), (0.2, 0.9), (0.4, 0.98), (0.6, 1.0), (1.0, 0.98),
                 (1.4, 1.0)], t)  # fmt: skip
    back = profile([(-0.3, 20), (0, 14), (0.4, 9), (1.2, 6)], t)
    cover = CHEST_WALL + patient.muscle + patient.fat
    half_width = (patient.lung_width + cover + 3) * w
    half_depth = (patient.lung_depth + cover * (1.0 if patient.bmi < 30 else 1.1)) * d
    a, b, c = (p.astype(np.float32)[:, None, None] for p in (half_width, half_depth, back))
    skin = superellipse_distance(x, y - c, a, b, 2.35)
    rest = np.float32(8 + back.mean() + half_depth.max() * 0.94)
    return np.maximum(skin, -rest - y + 14 if patient.prone else y - rest, out=skin)


def paint_outline(chest: Chest, blood: Blood) -> None:
    """Table, skin, fat, muscle and breasts."""
    patient, grid = chest.patient, chest.grid
    skin = body_outline(patient, grid)
    if patient.sex == "F":
        _add_breasts(chest, skin)
    whole = (slice(None),) * 3
    _paint_table(chest, skin)
    paint(chest.hu, whole, soft(skin, grid.pixel), FAT)
    rim = soft(np.abs(skin + 1.0) - 1.0, grid.pixel)
    paint(chest.hu, whole, rim, 10.0)
    if patient.sex == "F":
        paint(chest.hu, whole, chest.gland, 12.0)
    _, y, x = grid.axes()
    front = np.exp(-(((np.abs(x) - 75) / 45) ** 2)) * (y < 0)
    t = chest.grid.z / np.float32(patient.lung_height)
    upper = profile([(-0.2, 3.2), (0.0, 3.0), (0.15, 1.6), (0.35, 0.8), (0.55, 0.0)], t)[:, None, None]
    side = np.float32(CHEST_WALL + 0.55 * patient.muscle) + np.float32(0.4 * patient.muscle) * (np.abs(x) > 60)
    limit = side + np.float32(patient.muscle) * upper * front.astype(np.float32)
    shoulder = profile([(-0.25, 60), (-0.05, 62), (0.1, 46), (0.22, 14), (0.4, 0)], t)[:, None, None]
    limit = limit + shoulder * (np.abs(x) > 0.3 * patient.lung_width)
    mass = np.maximum(chest.wall - limit, skin + np.float32(0.85 * patient.fat + 2))
    paint(chest.hu, whole, soft(mass, grid.pixel), _muscle(chest, blood))
    inside = soft(chest.wall + 1.5, grid.pixel)
    paint(chest.hu, whole, inside, FAT + 12)


def _paint_table(chest: Chest, skin: Array) -> None:
    patient, grid = chest.patient, chest.grid
    sign = -1 if patient.prone else 1
    inside = np.nonzero((skin < 0).any((0, 2)))[0]
    if not len(inside):
        return
    edge = float(grid.y[inside[-1 if sign > 0 else 0]]) * sign
    y, x = sign * grid.y[:, None], grid.x[None, :]
    top = edge + 4 - x**2 / 900  # the board is a trough: its rim rises towards the patient's sides
    top = top + 4
    board = np.maximum(np.abs(np.abs(y - top - 14) - 12) - 2, np.abs(x) - 215)
    foam = np.maximum(np.abs(y - top - 14) - 12, np.abs(x) - 213)
    outside = soft(-skin, grid.pixel)
    whole = (slice(None),) * 3
    paint(chest.hu, whole, outside * soft(foam, grid.pixel)[None], -930.0)
    paint(chest.hu, whole, outside * soft(board, grid.pixel)[None], -180.0)


def _muscle(chest: Chest, blood: Blood) -> Array:
    """HU of the muscle mass: sheets of fat part one muscle from the next, and lie under the outer ones."""
    planes = np.abs(texture(chest.patient.key, "planes", 26.0, chest.grid))
    inner = np.abs(chest.wall - np.float32(CHEST_WALL + 0.5 * chest.patient.muscle)) * np.float32(0.06)
    share = np.clip(1.15 - np.minimum(planes, inner) * np.float32(9), 0, 1) * (chest.wall > CHEST_WALL)
    value = np.float32(MUSCLE + 0.15 * blood.organs)
    return value + share * (np.float32(FAT + 20) - value)


def _add_breasts(chest: Chest, skin: Array) -> None:
    """Push the skin forward over two ellipsoids, and give them gland; they flatten and spread when supine."""
    p, grid = chest.patient, chest.grid
    size = 0.75 + 0.035 * (p.bmi - 22)
    reach = np.array([64, 46 if p.prone else 34, 70]) * size
    front = -(p.lung_depth + CHEST_WALL + 0.9 * (p.muscle + p.fat)) * (0.97 if not p.prone else 0.9)
    for side in (-1, 1):
        centre = (chest.at(0.50), front + 14, side * 0.62 * p.lung_width)
        box = grid.box(*((c - 1.6 * r, c + 1.6 * r) for c, r in zip(centre, reach, strict=True)))
        axes = zip(grid.part(box).axes(), centre, reach, strict=True)
        level = np.sqrt(sum(((axis - np.float32(c)) / np.float32(r)) ** 2 for axis, c, r in axes)) - 1
        breast = level * np.float32(reach.min())
        view = skin[box]
        # a smooth union, so that the breast rises from the chest without a fold
        near = np.clip(1 - np.abs(view - breast) / 24, 0, 1)
        np.subtract(np.minimum(view, breast), near * near * 6, out=view)
        if p.age < 75:
            core = soft(breast + np.float32(16 + 0.12 * p.age), 10.0) * (view < -3)
            chest.gland[box] = np.maximum(chest.gland[box], core)


def paint_ribs(chest: Chest) -> None:
    """Twelve pairs of ribs that fall towards the front, their cartilage, and the sternum."""
    p, grid = chest.patient, chest.grid
    z, y, x = grid.axes()
    angle = np.arctan2(np.abs(x) / p.lung_width, (y - 5) / p.lung_depth)[0]
    form = p.form
    drop = 0.19 * form.rib_drop * p.lung_height * (1 - np.cos(angle)) - 4 + np.where(x < 0, *form.rib_phase)[0]
    # levels have no rib number of their own: the phase along z picks the nearest
    pitch = np.float32(0.098 * form.rib_pitch * p.lung_height)
    phase = (z + 6 - drop[None].astype(np.float32)) / pitch
    number = np.rint(phase)
    rise = (phase - number) * (pitch * np.float32(0.84))
    ring = np.sqrt(((chest.wall - np.float32(6.5)) / np.float32(3.6)) ** 2 + (rise / np.float32(4.1)) ** 2)
    ring[(number < 0) | (number >= RIBS)] = 9
    mask = soft((ring - 1) * np.float32(4.6), grid.pixel)
    bone = np.clip((ring - np.float32(0.45)) * np.float32(2.2), 0, 1) * np.float32(620) + np.float32(230)
    cartilage = ((angle > 0.80 * np.pi) * soft(np.float32(12) - np.abs(x)[0], 6.0))[None]
    bone += (np.float32(85 + 230 * p.calcified) - bone) * cartilage
    mask *= ((angle > 0.07 * np.pi) & (angle < 0.97 * np.pi))[None]
    paint(chest.hu, (slice(None),) * 3, mask, bone)
    _paint_sternum(chest)


def _paint_sternum(chest: Chest) -> None:
    p, grid = chest.patient, chest.grid
    box = grid.box((chest.at(0.12), chest.at(0.72)), (-p.lung_depth - 30, 0), (-32, 32))
    part = grid.part(box)
    _, y, x = part.axes()
    _, cy, _, b = (q[:, None, None] for q in hemithorax(p, part.z))
    width = profile([(0.12, 26), (0.25, 24), (0.32, 15), (0.6, 18), (0.72, 10)], part.z / np.float32(p.lung_height))
    middle = cy + 3 - np.maximum(0.93 * b, 22) - 7
    distance = np.maximum(np.abs(y - middle) - 5.5, np.abs(x) - width[:, None, None])
    value = CANCELLOUS - 60 + 330 * np.clip((distance + 3) / 3, 0, 1)
    paint(chest.hu, box, soft(distance, grid.pixel), value)


def paint_spine(chest: Chest) -> None:
    """Vertebral bodies and discs, canal, arch with transverse and spinous processes, muscles beside them."""
    p, grid = chest.patient, chest.grid
    y0 = spine_front(p) + 15
    box = grid.box((float(grid.z[0]) - 1, float(grid.z[-1]) + 1), (y0 - 30, y0 + 85), (-75, 75))
    part = grid.part(box)
    _, y, x = part.axes()
    v = y - (y0 + spine_bend(p, part.z))[:, None, None]
    level = np.mod(part.z / VERTEBRA, 1)[:, None, None].astype(np.float32)
    erector = ellipse_distance(np.abs(x) - 27 + 0 * v, v - 38, 27.0, 19.0)
    paint(chest.hu, box, soft(erector, grid.pixel), MUSCLE - 6)
    body = ellipse_distance(x + 0 * v, v, 18.5, 15.0)
    disc = np.clip((np.abs(level - 0.5) - 0.38) * 12, 0, 1)
    value = (CANCELLOUS - 1.2 * (p.age - 50)) + 300 * np.clip((body + 3.5) / 3.5, 0, 1)
    value = value + (85 - value) * disc
    mask = soft(body, grid.pixel)
    arch = np.maximum(np.abs(ellipse_distance(x + 0 * v, v - 25, 14.0, 13.0)) - 3.5, -(v - 12))
    beside = np.maximum(np.abs(v - 27 - 0.25 * (np.abs(x) - 15)) - 4.5, np.abs(np.abs(x) - 24) - 13)
    beside = np.maximum(beside, np.abs(level - 0.45) * VERTEBRA - 6.5)
    spinous = np.maximum(np.abs(x) - 3.2, np.abs(v - 48) - 13) + 0 * level
    posterior = np.minimum(np.minimum(arch, beside), spinous)
    canal = soft(ellipse_distance(x + 0 * v, v - 25, 10.0, 9.5), grid.pixel)
    bone = np.maximum(mask, soft(posterior, grid.pixel))
    chest.carve(box, np.maximum(bone, np.maximum(canal, soft(body - 3, grid.pixel))))
    paint(chest.hu, box, soft(posterior, grid.pixel), 520.0)
    paint(chest.hu, box, mask, value)
    paint(chest.hu, box, canal, 28.0)


def spine_front(patient: Patient) -> float:
    """y in mm of the front of the vertebral bodies at mid-chest."""
    return 0.56 * patient.lung_depth


def spine_bend(patient: Patient, z: Array) -> Array:
    """Backward bend of the spine along z in mm: most at mid-chest."""
    t = z / np.float32(patient.lung_height)
    return (patient.kyphosis * (1 - ((t - 0.5) / 0.75) ** 2)).clip(-40, 30).astype(np.float32)


def paint_shoulders(chest: Chest) -> None:
    """Shoulder blades, collar bones, humeri."""
    p, grid = chest.patient, chest.grid
    w, up = p.lung_width, p.arms_up
    for side in (-1, 1):
        clavicle = (chest.at(0.10), -0.62 * p.lung_depth, side * 20), (chest.at(-0.05), -12, side * 1.12 * w)
        capsule(chest.hu, grid, clavicle, 5.5, 420)
        _paint_blade(chest, side)
        shoulder = (chest.at(-0.10 if up else 0.0), 18, side * (1.16 if up else 1.30) * w)
        ellipsoid(chest.hu, grid, shoulder, (36, 34, 34), MUSCLE)
        ellipsoid(chest.hu, grid, shoulder, (22, 21, 21), 330)
        if not up:
            _paint_arm(chest, side, shoulder)


def _paint_blade(chest: Chest, side: int) -> None:
    p, grid = chest.patient, chest.grid
    lift = -0.08 if p.arms_up else 0.0
    box = grid.box(
        (chest.at(lift), chest.at(0.56 + lift)), (10, 150), (min(side * 55, side * 190), max(side * 55, side * 190))
    )
    part = grid.part(box)
    _, y, x = part.axes()
    t = part.z / np.float32(p.lung_height) - lift
    reach = profile([(0, 44), (0.15, 42), (0.35, 26), (0.56, 6)], t)[:, None, None]
    along = np.float32(0.80) * (side * x - 1.02 * p.lung_width) - np.float32(0.6) * (y - 48)
    across = np.float32(0.6) * (side * x - 1.02 * p.lung_width) + np.float32(0.80) * (y - 48)
    curved = across + along**2 / 260 - 6
    ends = np.abs(along) - reach
    muscle = np.maximum(np.abs(curved) - 15, ends - 12)
    paint(chest.hu, box, soft(muscle, grid.pixel) * (1 - chest.lung[box]) * (chest.wall[box] > 10), MUSCLE)
    plate = np.maximum(np.abs(curved) - np.float32(2.2) - np.float32(2.5) * (along > reach - 16), ends)
    paint(chest.hu, box, soft(plate, grid.pixel) * (chest.wall[box] > 10), 560.0)


def _paint_arm(chest: Chest, side: int, shoulder: tuple[float, float, float]) -> None:
    p, grid = chest.patient, chest.grid
    outer = side * (1.22 * (p.lung_width + CHEST_WALL + p.muscle + p.fat) + 26)
    path = [(shoulder[0], 18.0, shoulder[2]), (chest.at(0.35), 22.0, outer), (chest.at(1.5), 12.0, outer + side * 6)]
    radius = 36 + 0.8 * (p.bmi - 25)
    column(chest.hu, grid, [(*q, radius) for q in path], FAT)
    column(chest.hu, grid, [(*q, radius - 0.6 * p.fat - 3) for q in path], MUSCLE)
    column(chest.hu, grid, [(*q, 11.0) for q in path], 900.0)
    column(chest.hu, grid, [(*q, 6.0) for q in path], 150.0)


def paint_belly(chest: Chest, below: Array, blood: Blood) -> None:
    """Diaphragm, liver, stomach with its air, spleen."""
    p, grid = chest.patient, chest.grid
    w, d = p.lung_width, p.lung_depth
    inside = soft(np.maximum(chest.wall + 1, 1 - below), grid.thickness)
    paint(chest.hu, (slice(None),) * 3, inside * soft(below - 4, grid.thickness), MUSCLE - 10)
    dome = chest.at(0.70 + 0.07 * p.inspiration)
    cavity = np.full(grid.shape, FAT + 4, np.float32)
    organs = blood.organs
    turned = np.array([[0.97, 0.0, 0.24], [0.0, 1.0, 0.0], [-0.24, 0.0, 0.97]])
    ellipsoid(cavity, grid, (dome + 62, -4, -0.40 * w), (78, 1.0 * d, 0.86 * w), 58 + organs, turn=turned)
    ellipsoid(cavity, grid, (dome + 58, 0.45 * d, 0.70 * w), (48, 0.42 * d, 0.26 * w), 50 + 1.2 * organs)
    stomach = (dome + 58, -0.22 * d, 0.42 * w)
    ellipsoid(cavity, grid, stomach, (46, 0.48 * d, 0.36 * w), 45.0)
    ellipsoid(cavity, grid, stomach, (42, 0.43 * d, 0.32 * w), 18.0)
    _paint_gas(cavity, grid, stomach, (42, 0.43 * d, 0.32 * w), p)
    belly = inside * soft(3 - below, grid.thickness)
    paint(chest.hu, (slice(None),) * 3, belly, cavity)


def _paint_gas(
    cavity: Array, grid: Grid, centre: tuple[float, ...], radii: tuple[float, ...], patient: Patient
) -> None:
    box = grid.box(*((c - r, c + r) for c, r in zip(centre, radii, strict=True)))
    z, y, x = (axis - np.float32(c) for axis, c in zip(grid.part(box).axes(), centre, strict=True))
    inside = np.sqrt((z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2) - 1
    level = (2 * patient.gas - 1) * radii[1] * (-1 if patient.prone else 1)
    above = (level - y if patient.prone else y - level) + 0 * inside
    paint(cavity, box, soft(np.maximum(inside * min(radii), above), grid.pixel), -960.0)

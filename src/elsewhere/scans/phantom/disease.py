"""Patient and a site's lesion style in, a list of lesions out; lesions and lungs in, sick lungs out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from elsewhere.scans.phantom.anatomy import Chest, hemithorax
from elsewhere.scans.phantom.patient import Patient, generator
from elsewhere.scans.phantom.shape import Array, profile, soft
from elsewhere.scans.phantom.texture import texture
from elsewhere.scans.phantom.tree import lung_points

Kind = Literal[
    "normal", "covid", "lobar_pneumonia", "bronchopneumonia", "diffuse_ground_glass", "nodules", "oedema", "fibrosis",
    "atelectasis", "emphysema", "scars",
]  # fmt: skip
INFECTION: tuple[Kind, ...] = ("lobar_pneumonia", "bronchopneumonia", "diffuse_ground_glass")
MOST_LESIONS = 60
OTHER: tuple[Kind, ...] = ("nodules", "oedema", "fibrosis", "atelectasis", "emphysema", "scars")


@dataclass(frozen=True)
class LesionStyle:
    """How disease looks at one site: its own severity, texture and edge.

    Attributes:
        severity: median share of the lung that COVID takes, 0..1.
        spread: standard deviation of the logarithm of that share.
        ground: mean HU of ground glass.
        solid: mean share of a lesion that is consolidated.
        radius: median radius of a lesion in mm.
        edge: width of a lesion's border in mm.
        ragged: how far texture pushes the border in and out, as a share of the radius.
        paving: strength of the crazy-paving lines in HU.
        grain: distance of texture lattice points in mm.
        peripheral: 0 anywhere .. 1 all under the pleura.
    """

    severity: float = 0.14
    spread: float = 0.8
    ground: float = -560.0
    solid: float = 0.3
    radius: float = 20.0
    edge: float = 8.0
    ragged: float = 0.35
    paving: float = 90.0
    grain: float = 9.0
    peripheral: float = 0.8


@dataclass(frozen=True)
class Lesion:
    """An ellipsoid of changed lung.

    Attributes:
        centre: (z, y, x) in mm.
        radii: half axes along z, y, x in mm.
        ground: HU of the lung inside, outside the core.
        solid: 0..1, size of the consolidated core (HU about 30).
        edge: width of the border in mm.
        ragged: how far texture moves the border, as a share of the radius.
        paving: HU of the lines of crazy paving.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    ground: float
    solid: float
    edge: float
    ragged: float
    paving: float = 0.0


@dataclass(frozen=True)
class Disease:
    """What ails a patient.

    Attributes:
        kind: the diagnosis.
        severity: planned share of the lung, 0..1 (what is drawn is measured on the scan).
        lesions: patches.
        grain: lattice of their texture in mm.
        effusion: height of the pleural fluid on the right and left, in mm from the back.
        fibrosis: 0..1, reticulation and honeycombing under the pleura of the bases.
        emphysema: 0..1, holes.
        haze: HU added to the dependent lung (oedema).
    """

    kind: Kind = "normal"
    severity: float = 0.0
    lesions: tuple[Lesion, ...] = ()
    grain: float = 9.0
    effusion: tuple[float, float] = (0.0, 0.0)
    fibrosis: float = 0.0
    emphysema: float = 0.0
    haze: float = 0.0


def draw_disease(patient: Patient, kind: Kind, style: LesionStyle, key: tuple[int | str, ...]) -> Disease:
    """Draw one patient's disease of a given kind in a site's style."""
    rng = generator(*key, "disease", kind)
    drawn = _DRAW[kind](patient, style, rng)
    smoker = rng.random() < 0.12 and patient.age > 45
    return replace(drawn, emphysema=max(drawn.emphysema, rng.uniform(0.1, 0.4) if smoker else 0.0))


def worsen(disease: Disease, factor: float) -> Disease:
    """The same disease at another time: every lesion's volume and the severity times `factor`."""
    scale = factor ** (1 / 3)
    lesions = tuple(
        replace(m, radii=(m.radii[0] * scale, m.radii[1] * scale, m.radii[2] * scale)) for m in disease.lesions
    )
    return replace(disease, lesions=lesions, severity=min(0.9, disease.severity * factor))


def _covid(patient: Patient, style: LesionStyle, rng: np.random.Generator) -> Disease:
    severity = float(np.clip(style.severity * np.exp(rng.normal(0, style.spread)), 0.015, 0.85))
    heights = np.clip(rng.beta(3.2, 1.9, MOST_LESIONS) * 0.92 + 0.06, 0.1, 0.95) * patient.lung_height
    budget = severity * patient.lung_volume * 1.35  # a third of a subpleural ellipsoid lies outside the lung
    lesions: list[Lesion] = []
    for height, *ellipse in zip(heights, *hemithorax(patient, heights), strict=True):
        size = style.radius * np.exp(rng.normal(0, 0.35)) * (0.7 + 1.2 * severity**0.5)
        lesions.append(_subpleural(style, rng, float(size), (height, *ellipse)))
        budget -= 4.19 * float(np.prod(lesions[-1].radii)) * (0.75 if len(lesions) > 8 else 1.0)
        if budget <= 0:
            break
    return Disease("covid", severity, tuple(lesions), style.grain)


def _subpleural(style: LesionStyle, rng: np.random.Generator, size: float, level: tuple[float, ...]) -> Lesion:
    height, cx, cy, a, b = (float(v) for v in level)
    side = -1 if rng.random() < 0.5 else 1
    back = rng.normal(0.62, 0.55) if rng.random() < 0.8 else rng.uniform(-2.4, 2.4)
    reach = rng.uniform(0.8, 0.97) if rng.random() < style.peripheral else rng.uniform(0.2, 0.8)
    y = cy + b * reach * np.sin(back)
    x = side * (cx + 0.1 * y + a * reach * np.cos(back))
    flat = rng.uniform(0.55, 0.9)
    # patches hug the pleura: thinner across it than along it
    across = abs(np.cos(back))
    radii = (size * rng.uniform(0.8, 1.25), size * (1 - (1 - flat) * (1 - across)), size * (1 - (1 - flat) * across))
    solid = float(np.clip(rng.beta(1.2, 2.2) * 2 * style.solid, 0, 0.9)) if rng.random() < 0.75 else 0.0
    edge, paving = style.edge * rng.uniform(0.7, 1.4), style.paving * rng.uniform(0, 1.4)
    ground = style.ground + rng.normal(0, 60)
    return Lesion((height, float(y), float(x)), radii, ground, solid, edge, style.ragged, paving)


def _patches(points: Array, sizes: Array, like: Lesion) -> tuple[Lesion, ...]:
    """Round lesions of these radii at these points, otherwise like the given one."""
    return tuple(
        replace(like, centre=(float(p[0]), float(p[1]), float(p[2])), radii=(float(r),) * 3)
        for p, r in zip(points, sizes, strict=True)
    )


def _like(ground: float, solid: float, edge: float, style: LesionStyle) -> Lesion:
    return Lesion((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), ground, solid, edge, style.ragged)


def _lobar(patient: Patient, style: LesionStyle, rng: np.random.Generator) -> Disease:
    side = -1 if rng.random() < 0.55 else 1
    lower = rng.random() < 0.6
    height = (rng.uniform(0.55, 0.72) if lower else rng.uniform(0.2, 0.38)) * patient.lung_height
    cx, _, a, b = _ellipse(patient, height)
    size = rng.uniform(0.45, 0.85)
    centre = (height, (0.55 if lower else -0.35) * b * rng.uniform(0.6, 1.1), side * (cx + 0.25 * a))
    radii = (0.26 * patient.lung_height * size, 0.75 * b * size, 0.95 * a * size)
    lesion = Lesion(centre, radii, -380.0, rng.uniform(0.7, 0.95), 4.0, 0.2)
    share = 4.19 * float(np.prod(radii)) / patient.lung_volume * 0.8
    return Disease("lobar_pneumonia", share, (lesion,), style.grain, effusion=_fluid(rng, 0.3, 18, side))


def _broncho(patient: Patient, style: LesionStyle, rng: np.random.Generator) -> Disease:
    lesions: tuple[Lesion, ...] = ()
    sides = (-1, 1) if rng.random() < 0.45 else (int(rng.choice([-1, 1])),)
    for side in sides:
        middle = lung_points(patient, side, 1, rng, 0.7)[0]
        count = int(rng.integers(12, 40))
        points = middle + rng.normal(0, [30, 22, 18], (count, 3))
        lesions += _patches(points, rng.uniform(4, 11, count), _like(-480, 0.55, 5.0, style))
    return Disease("bronchopneumonia", min(0.3, 0.002 * len(lesions)), lesions, style.grain)


def _diffuse(patient: Patient, style: LesionStyle, rng: np.random.Generator) -> Disease:
    lesions: tuple[Lesion, ...] = ()
    for side in (-1, 1):
        points = lung_points(patient, side, int(rng.integers(5, 10)), rng, 0.62)
        points[:, 0] *= rng.uniform(0.75, 0.95)
        lesions += _patches(points, rng.uniform(22, 40, len(points)), _like(-640 + rng.normal(0, 50), 0.0, 22.0, style))
    return Disease("diffuse_ground_glass", 0.35, lesions, style.grain)


def _nodules(patient: Patient, style: LesionStyle, rng: np.random.Generator) -> Disease:
    count = int(rng.geometric(0.25))
    points = np.concatenate([lung_points(patient, side, count, rng) for side in (-1, 1)])
    points = points[rng.permutation(2 * count)[:count]]
    lesions = _patches(points, np.clip(rng.lognormal(1.9, 0.5, count), 3, 25), _like(10.0, 1.0, 1.5, style))
    return Disease("nodules", 0.01, lesions, style.grain)


def _oedema(_patient: Patient, style: LesionStyle, rng: np.random.Generator) -> Disease:
    right = rng.uniform(15, 60)
    fluid = (right, right * rng.uniform(0.3, 1.0))
    return Disease("oedema", 0.3, (), style.grain, effusion=fluid, haze=rng.uniform(40, 170))


def _fibrosis(_patient: Patient, style: LesionStyle, rng: np.random.Generator) -> Disease:
    strength = rng.uniform(0.4, 1.0)
    return Disease("fibrosis", 0.2 * strength, (), style.grain, fibrosis=strength)


def _atelectasis(patient: Patient, style: LesionStyle, rng: np.random.Generator) -> Disease:
    lesions: list[Lesion] = []
    for side in (-1, 1) if rng.random() < 0.6 else (int(rng.choice([-1, 1])),):
        height = rng.uniform(0.62, 0.82) * patient.lung_height
        cx, cy, a, b = _ellipse(patient, height)
        centre = (height, cy + rng.uniform(0.2, 0.75) * b, side * (cx + rng.uniform(-0.2, 0.5) * a))
        radii = (rng.uniform(3, 8), rng.uniform(12, 30), rng.uniform(18, 40))
        lesions.append(Lesion(centre, radii, -300.0, 0.8, 3.0, 0.15))
    return Disease("atelectasis", 0.02, tuple(lesions), style.grain, effusion=_fluid(rng, 0.35, 22, 1))


def _emphysema(_patient: Patient, style: LesionStyle, rng: np.random.Generator) -> Disease:
    return Disease("emphysema", 0.0, (), style.grain, emphysema=rng.uniform(0.4, 1.0))


def _scars(patient: Patient, style: LesionStyle, rng: np.random.Generator) -> Disease:
    lesions: list[Lesion] = []
    for _ in range(int(rng.integers(2, 7))):
        height, side = rng.uniform(0.06, 0.3) * patient.lung_height, int(rng.choice([-1, 1]))
        cx, cy, a, b = _ellipse(patient, height)
        turn = rng.uniform(-1.2, 2.4)
        centre = (height, cy + 0.85 * b * np.sin(turn), side * (cx + 0.85 * a * np.cos(turn)))
        radii = rng.uniform(2, 9, 3)
        lesions.append(Lesion(centre, (float(radii[0]), float(radii[1]), float(radii[2])), -250.0, 0.7, 2.5, 0.3))
    return Disease("scars", 0.005, tuple(lesions), style.grain)


def _normal(_patient: Patient, style: LesionStyle, _rng: np.random.Generator) -> Disease:
    return Disease(grain=style.grain)


def _ellipse(patient: Patient, height: float) -> tuple[float, float, float, float]:
    cx, cy, a, b = hemithorax(patient, np.array([height], np.float32))
    return float(cx[0]), float(cy[0]), float(a[0]), float(b[0])


def _fluid(rng: np.random.Generator, chance: float, height: float, side: int) -> tuple[float, float]:
    depth = float(rng.uniform(0.4, 1.3) * height) if rng.random() < chance else 0.0
    return (depth, 0.0) if side < 0 else (0.0, depth)


_DRAW = {
    "normal": _normal, "covid": _covid, "lobar_pneumonia": _lobar, "bronchopneumonia": _broncho,
    "diffuse_ground_glass": _diffuse, "nodules": _nodules, "oedema": _oedema, "fibrosis": _fibrosis,
    "atelectasis": _atelectasis, "emphysema": _emphysema, "scars": _scars,
}  # fmt: skip


def paint_lungs(chest: Chest, disease: Disease, fine: Array) -> Array:
    """Fill the lungs with aerated, then with sick parenchyma; returns each sample's share of lesion, 0..1.

    Args:
        chest: healthy body; `hu` and `lung` are changed in place (effusion takes lung away).
        disease: what to draw.
        fine: the patient's parenchyma texture, SD 1.
    """
    p, grid = chest.patient, chest.grid
    y = grid.axes()[1]
    fluid = _paint_effusion(chest, disease)
    dependent = (-y if p.prone else y) / np.float32(p.lung_depth)
    tissue = np.float32(p.lung_hu) + np.float32(28 - 14 * p.inspiration) * dependent + fine * np.float32(12)
    # vessels and bronchioles too small to draw one by one: grains that stand out of the parenchyma
    grains = texture(p.key, "grains", 3.0, grid, period=48)
    tissue += np.float32(85) * np.maximum(grains - np.float32(0.6), 0) - np.float32(14)
    if disease.haze:
        tissue += np.float32(disease.haze) * np.clip(0.5 + 0.5 * dependent + 0.12 * fine, 0, 1.3)
    if disease.emphysema:
        _paint_emphysema(tissue, chest, disease)
    ground = _paint_lesions(tissue, chest, disease)
    if disease.fibrosis:
        ground = np.maximum(ground, _paint_fibrosis(tissue, chest, disease, fine))
    chest.hu[:] += chest.lung * (tissue - chest.hu)
    return np.maximum(ground * chest.lung, fluid)


def _paint_lesions(tissue: Array, chest: Chest, disease: Disease) -> Array:
    ground = np.zeros_like(tissue)
    if not disease.lesions:
        return ground
    p, grid = chest.patient, chest.grid
    wobble = texture(p.key, "lesion", disease.grain, grid)
    lines = texture(p.key, "septa", 5.0, grid) if any(m.paving for m in disease.lesions) else None
    for lesion in disease.lesions:
        reach = [r * (1 + lesion.ragged) + lesion.edge for r in lesion.radii]
        box = grid.box(*((c - r, c + r) for c, r in zip(lesion.centre, reach, strict=True)))
        axes = zip(grid.part(box).axes(), lesion.centre, lesion.radii, strict=True)
        square = sum(((axis - np.float32(c)) / np.float32(r)) ** 2 for axis, c, r in axes)
        radius = float(np.cbrt(np.prod(lesion.radii)))
        level = np.sqrt(square).astype(np.float32) - 1 + np.float32(0.6 * lesion.ragged) * wobble[box]
        share = soft(level * np.float32(radius), max(lesion.edge, grid.pixel))
        _mix(tissue[box], lesion, share, level, wobble=wobble[box], lines=None if lines is None else lines[box])
        view = ground[box]
        np.maximum(view, share, out=view)
    return ground


def _mix(view: Array, lesion: Lesion, share: Array, level: Array, *, wobble: Array, lines: Array | None) -> None:
    radius = float(np.cbrt(np.prod(lesion.radii)))
    value = np.float32(lesion.ground) + wobble * np.float32(30)
    if lines is not None and lesion.paving:
        value += np.float32(lesion.paving) * np.clip(1.2 - 3 * np.abs(lines), 0, 1)
    if lesion.solid:
        core = soft((level + np.float32(1.0 - lesion.solid)) * np.float32(radius), max(1.2 * lesion.edge, 3.0))
        value += core * (np.float32(30) - value)
    denser = np.maximum(value, view)  # overlapping patches do not thin each other
    view += share * (denser - view)


def _paint_effusion(chest: Chest, disease: Disease) -> Array:
    fluid = np.zeros_like(chest.lung)
    if not any(disease.effusion):
        return fluid
    p, grid = chest.patient, chest.grid
    z, y, x = grid.axes()
    rise = profile([(0.2, 1.3), (0.6, 0.75), (1.0, 0.0)], grid.z / np.float32(p.lung_height))[:, None, None]
    sign = -1 if p.prone else 1
    for side, height in zip((-1, 1), disease.effusion, strict=True):
        if height:
            level = (
                np.float32(p.lung_depth) - np.float32(height * 1.4) * (1 - rise) + np.maximum(side * x - 60, 0) * -0.12
            )
            mask = soft(level - sign * y + 0 * z, grid.pixel) * (side * x > 0) * chest.lung
            fluid += mask
    chest.hu[:] += fluid * (np.float32(12) - chest.hu)
    chest.lung[:] = chest.lung * (1 - fluid)
    return fluid


def _paint_emphysema(tissue: Array, chest: Chest, disease: Disease) -> None:
    p, grid = chest.patient, chest.grid
    holes = texture(p.key, "holes", 8.0, grid)
    upper = profile([(0, 0.9), (0.4, 0.5), (1, -0.2)], grid.z / np.float32(p.lung_height))[:, None, None]
    share = np.clip((holes + upper + np.float32(1.4 * disease.emphysema - 1.7)) * 1.4, 0, 1)
    tissue += share * (np.float32(-975) - tissue)
    tissue -= np.float32(25 * disease.emphysema)


def _paint_fibrosis(tissue: Array, chest: Chest, disease: Disease, fine: Array) -> Array:
    p, grid = chest.patient, chest.grid
    y = grid.axes()[1]
    low = profile([(0.1, -0.5), (0.45, 0.15), (0.85, 1)], grid.z / np.float32(p.lung_height))[:, None, None]
    rim = np.float32(4 + 18 * disease.fibrosis) * np.clip(low + y / np.float32(3 * p.lung_depth), 0, 1.2)
    share = soft(chest.depth - rim, 8.0) * (rim > 1)
    mesh = texture(p.key, "mesh", 4.0, grid)
    value = np.where(np.abs(mesh) < 0.7, -330, -880) + 60 * fine
    tissue += share * (value.astype(np.float32) - tissue)
    return share

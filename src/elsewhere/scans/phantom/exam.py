"""One planned examination in, its volume and what was truly drawn out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.phantom.acquisition import Protocol, acquire, blood, encode, lay_grid
from elsewhere.scans.phantom.anatomy import Blood, Chest, draw_body
from elsewhere.scans.phantom.devices import paint_devices
from elsewhere.scans.phantom.disease import Disease, paint_lungs
from elsewhere.scans.phantom.mediastinum import hila, paint_airway, paint_mediastinum
from elsewhere.scans.phantom.patient import Patient, generator
from elsewhere.scans.phantom.shape import Array, Grid, paint
from elsewhere.scans.phantom.texture import texture
from elsewhere.scans.phantom.tree import Tree, grow, join, lung_points, occupancy
from elsewhere.scans.scan import Fact
from elsewhere.scans.volume import Volume

TIPS, TWIGS = 512, 32  # ends of one vessel tree and of the bronchi of one lung
THICK = 6.5  # mm; a thicker slice is the mean of two thinner ones


@dataclass(frozen=True)
class Plan:
    """Everything that decides one simulated scan; making it is a pure function of this and the matrix.

    Attributes:
        site: name of the site.
        patient_id: as the site's tables have it.
        scan_id: as the site's tables have it.
        label: 1 COVID-positive, 0 negative.
        stratum: control group, or "".
        patient: the body.
        disease: what ails it.
        protocol: how it is scanned.
        key: names the scan's own random numbers (noise, contrast, devices).
        facts: what the site's tables say of the scan.
    """

    site: str
    patient_id: str
    scan_id: str
    label: int
    stratum: str
    patient: Patient
    disease: Disease
    protocol: Protocol
    key: tuple[int | str, ...]
    facts: dict[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Made:
    """One simulated scan.

    Attributes:
        volume: as the site stores it.
        lung: share of each voxel that is lung, lesions included, float32 [slice, row, column].
        lesion: share of each voxel that is diseased, float32 [slice, row, column].
    """

    volume: Volume
    lung: Array
    lesion: Array

    @property
    def lesion_share(self) -> float:
        """Diseased share of the lungs, 0..1."""
        return float(self.lesion.sum() / max(float(self.lung.sum()), 1e-9))


def make(plan: Plan, matrix: int) -> Made:
    """Make one scan on a matrix of so many rows and columns."""
    protocol, patient = plan.protocol, plan.patient
    grid = lay_grid(patient, protocol, matrix)
    hu, lung, lesion = _average(plan, grid) if protocol.thickness >= THICK else draw(plan, grid)
    image = acquire(hu, grid, patient, protocol, plan.key)
    return Made(_as_volume(encode(image, lung, protocol), plan, grid), lung, lesion)


def draw(plan: Plan, grid: Grid) -> tuple[Array, Array, Array]:
    """The patient on a grid without any scanner: (HU, share of lung, share of lesion)."""
    rng = generator(*plan.key, "blood")
    grid = unmatched(plan.patient, grid)
    agent = blood(plan.protocol.contrast, rng)
    chest = draw_body(plan.patient, grid, agent)
    paint_mediastinum(chest, agent)
    fine = texture(plan.patient.key, "parenchyma", 6.0, grid)
    whole = chest.lung.copy()
    lesion = paint_lungs(chest, plan.disease, fine)
    _paint_trees(chest, agent)
    paint_airway(chest)
    chest.hu[:] += np.where(chest.hu > -300, 5 * fine, 0)
    if plan.protocol.devices:
        paint_devices(chest, rng)
    return chest.hu, whole, lesion


def unmatched(patient: Patient, grid: Grid) -> Grid:
    """The grid in the coordinates of a chest whose halves match: the left half of this one is narrower or wider."""
    half = np.float32(patient.form.left / 2)
    return replace(grid, x=grid.x * np.where(grid.x > 0, 1 + half, 1 - half))


def _average(plan: Plan, grid: Grid) -> tuple[Array, Array, Array]:
    quarter = np.float32(grid.thickness / 4)
    halves = [
        draw(plan, Grid(grid.z + shift, grid.y, grid.x, grid.pixel, grid.thickness / 2))
        for shift in (-quarter, quarter)
    ]
    hu, lung, lesion = ((a + b) / 2 for a, b in zip(*halves, strict=True))
    return hu, lung, lesion


def _paint_trees(chest: Chest, agent: Blood) -> None:
    """Arteries, veins and bronchi of both lungs, drawn over healthy and sick parenchyma alike."""
    arteries, veins, airway = _grow_trees(chest.patient)
    walls = replace(airway, radius=airway.radius * 1.25 + 0.4)
    for tree, level in ((arteries, agent.right), (veins, agent.left), (walls, 20.0)):
        _overlay(chest, occupancy(tree, chest.grid), level)
    paint(chest.hu, (slice(None),) * 3, occupancy(airway, chest.grid) * chest.lung, -950.0)


@lru_cache(maxsize=1)  # both halves of a thick slice show the same trees
def _grow_trees(p: Patient) -> tuple[Tree, Tree, Tree]:
    """Arteries, veins and bronchi of both lungs."""
    arteries, veins, bronchi = [], [], []
    for side, (z, y, x) in hila(p).items():
        rng = generator(p.key, "tree", "left" if side > 0 else "right")
        arteries.append(grow((z, y, x), lung_points(p, side, TIPS, rng), rng.uniform(0.90, 1.10), rng))
        veins.append(grow((z + 14, y + 4, x), lung_points(p, side, TIPS, rng), rng.uniform(0.90, 1.10), rng))
        bronchi.append(grow((z + 6, y + 8, x), lung_points(p, side, TWIGS, rng, 0.8), 0.9, rng))
    return join(arteries), join(veins), join(bronchi)


def _overlay(chest: Chest, share: Array, level: float) -> None:
    gain = np.float32(level) - chest.hu
    np.maximum(gain, 0, out=gain)
    gain *= share
    gain *= chest.lung
    chest.hu[:] += gain


def _as_volume(voxels: NDArray[np.int16] | NDArray[np.uint8], plan: Plan, grid: Grid) -> Volume:
    protocol = plan.protocol
    facts: dict[str, Fact] = {
        "thickness_mm": protocol.thickness,
        "kernel": protocol.kernel,
        "manufacturer": protocol.scanner,
    }
    if protocol.encoding == "window":
        return Volume(voxels, "relative", None, None, facts={})
    units, offset = ("ct_number", 1024.0) if protocol.encoding == "ct_number" else ("HU", 0.0)
    return Volume(voxels, units, (protocol.spacing, grid.pixel, grid.pixel), offset, facts=facts)  # type: ignore[arg-type]

"""One planned examination in, its volume and what was truly drawn out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.phantom.acquisition import Protocol, acquire, blood, encode, lay_grid
from elsewhere.scans.phantom.anatomy import Blood, Chest, draw_body
from elsewhere.scans.phantom.devices import paint_devices
from elsewhere.scans.phantom.disease import Disease, paint_lungs
from elsewhere.scans.phantom.mediastinum import hila, paint_airway, paint_mediastinum
from elsewhere.scans.phantom.patient import Patient, generator
from elsewhere.scans.phantom.shape import Array, Grid
from elsewhere.scans.phantom.texture import texture
from elsewhere.scans.phantom.tree import grow, lung_points, occupancy
from elsewhere.scans.scan import Fact
from elsewhere.scans.volume import Volume

TIPS = 512  # twigs of one vessel tree of one lung
THICK = 6.0  # mm; a thicker slice is the mean of two thinner ones


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
    p, grid = chest.patient, chest.grid
    for side, hilum in hila(chest).items():
        rng = generator(p.key, "tree", "left" if side > 0 else "right")
        for level, offset in ((agent.right, (0, 0, 0)), (agent.left, (14, 4, 0))):
            root = tuple(np.add(hilum, offset))
            tree = grow(root, lung_points(p, side, TIPS, rng), rng.uniform(0.52, 0.64))
            _overlay(chest, occupancy(tree, grid), level)
        bronchi = grow((hilum[0] + 6, hilum[1] + 8, hilum[2]), lung_points(p, side, 32, rng, 0.8), 0.9)
        walls = replace(bronchi, radius=bronchi.radius * 1.25 + 0.4)
        _overlay(chest, occupancy(walls, grid), 20.0)
        share = occupancy(bronchi, grid) * chest.lung
        chest.hu[:] += share * (np.float32(-950) - chest.hu)


def _overlay(chest: Chest, share: NDArray[np.float32], level: float) -> None:
    gain = np.maximum(np.float32(level) - chest.hu, 0)
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

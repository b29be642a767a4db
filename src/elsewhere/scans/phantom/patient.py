"""Seed in, simulated patient out: sizes in mm, tissues in HU; nothing here depends on scanner or resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np


@dataclass(frozen=True)
class Form:
    """What makes two chests of one size look different: sides that do not match, where ribs, heart and airways lie.

    Attributes:
        left: how much narrower the left half of the body is than the right, as a share of its width.
        right_dome: how much higher the right dome of the diaphragm stands than the left, as a share of lung height.
        rib_phase: offset of the ribs along z in mm, (right, left).
        rib_pitch: distance of the ribs, 1 usual.
        rib_drop: how steeply ribs fall towards the front, 1 usual.
        mediastinum: width of the mediastinum, 1 usual, (right, left).
        heart_turn: turn of the heart's axis to the left (+) or downwards (-), in radians.
        heart_shift: offset of the heart in mm, (z, y, x).
        heart_shape: its three radii, 1 usual.
        carina: offset of the carina and all below it in mm, (z, y, x).
        windpipe: lateral bow of the windpipe in mm.
        airway: width of the airways, 1 usual.
        bronchi: steepness of the main bronchi, 1 usual, (right, left).
        aorta: (width, 1 usual; offset of the descending part in mm, y and x).
        arch: offset of the aortic arch along z in mm.
    """

    left: float
    right_dome: float
    rib_phase: tuple[float, float]
    rib_pitch: float
    rib_drop: float
    mediastinum: tuple[float, float]
    heart_turn: float
    heart_shift: tuple[float, float, float]
    heart_shape: tuple[float, float, float]
    carina: tuple[float, float, float]
    windpipe: float
    airway: float
    bronchi: tuple[float, float]
    aorta: tuple[float, float, float]
    arch: float


@dataclass(frozen=True)
class Patient:
    """One simulated adult chest. x runs to the patient's left, y to the back, z to the feet; z = 0 at the lung apex.

    Attributes:
        key: names the patient's own random numbers (vessel tree, texture).
        age: years.
        sex: "F" or "M".
        bmi: body mass index in kg/m².
        lung_height: apex to costophrenic angle in mm, at this patient's inspiration.
        lung_width: half the inner width of the chest in mm, at its widest.
        lung_depth: half the inner depth of the chest in mm, at its deepest.
        inspiration: 0 expired .. 1 full; sets lung density and the domes.
        lung_hu: HU of aerated parenchyma without vessels.
        fat: thickness of the subcutaneous fat in mm.
        muscle: thickness of the chest wall muscle outside the ribs in mm.
        heart: scale of the heart, 1 normal.
        kyphosis: forward bend of the thoracic spine in mm.
        arms_up: arms above the head; otherwise beside the body.
        prone: lies on the belly.
        shift_x: lateral offset of the mediastinum in mm.
        calcified: 0..1, calcium in rib cartilage and aorta.
        gas: share of the stomach filled with air.
        form: what else differs from chest to chest.
    """

    key: int
    age: int
    sex: Literal["F", "M"]
    bmi: float
    lung_height: float
    lung_width: float
    lung_depth: float
    inspiration: float
    lung_hu: float
    fat: float
    muscle: float
    heart: float
    kyphosis: float
    arms_up: bool
    prone: bool
    shift_x: float
    calcified: float
    gas: float
    form: Form

    @property
    def lung_volume(self) -> float:
        """Approximate volume of both lungs in mm³, from the shape alone."""
        return 2.05 * self.lung_height * self.lung_width * self.lung_depth * 0.62


def generator(*names: int | str) -> np.random.Generator:
    """Random numbers that are a function of the names alone, whatever the process has done before."""
    return np.random.default_rng([n if isinstance(n, int) else crc32(n.encode()) for n in names])


def draw_patient(key: tuple[int | str, ...], age: float = 55.0, arms_up: float = 0.85, prone: float = 0.0) -> Patient:
    """Draw one patient.

    Args:
        key: names of the patient, e.g. (seed, site, patient id).
        age: mean age in years (SD 15, limits 18 and 90).
        arms_up: probability of arms above the head.
        prone: probability of lying on the belly.
    """
    rng = generator(*key, "patient")
    years = int(np.clip(rng.normal(age, 15), 18, 90))
    male = bool(rng.random() < 0.55)
    bmi = float(np.clip(rng.normal(26.5, 4.5), 17, 42))
    size = float(np.clip(rng.normal(1.03 if male else 0.93, 0.045), 0.82, 1.16))
    inspiration = float(np.clip(rng.beta(5, 2), 0.15, 1))
    return Patient(
        key=int(rng.integers(2**31)),
        age=years,
        sex="M" if male else "F",
        bmi=bmi,
        lung_height=245 * size * (0.84 + 0.2 * inspiration) * rng.normal(1, 0.03),
        lung_width=132 * size * (0.97 + 0.04 * inspiration) * rng.normal(1, 0.025),
        lung_depth=92 * size * (0.93 + 0.09 * inspiration) * rng.normal(1, 0.04) * (1 + 0.0015 * (years - 50)),
        inspiration=inspiration,
        lung_hu=-864.0 - 55 * (inspiration - 0.7) - 0.3 * (years - 55) + rng.normal(0, 14),
        fat=max(4.0, (4 if male else 9) + 1.25 * (bmi - 20) + rng.normal(0, 2)),
        muscle=max(6.0, (15 if male else 10.5) * size - 0.06 * (years - 50) + rng.normal(0, 1.5)),
        heart=float(np.clip(rng.normal(1 + 0.002 * (years - 55) + 0.006 * (bmi - 26), 0.06), 0.85, 1.3)),
        kyphosis=max(0.0, 6 + 0.25 * (years - 50) + rng.normal(0, 4)),
        arms_up=bool(rng.random() < arms_up),
        prone=bool(rng.random() < prone),
        shift_x=rng.normal(0, 3),
        calcified=float(np.clip((years - 45) / 45 + rng.normal(0, 0.2), 0, 1)),
        gas=rng.uniform(0.15, 0.7),
        form=draw_form(key, years),
    )


def draw_form(key: tuple[int | str, ...], age: float) -> Form:
    """Draw the form of one chest: the spreads are set so that chests differ by eye as real ones of one size do."""
    rng = generator(*key, "form")

    def normal(*spreads: float) -> tuple[float, ...]:
        return tuple(float(v) for v in rng.normal(0, spreads))

    return Form(
        left=0.04 + normal(0.05)[0],
        right_dome=0.05 + normal(0.025)[0],
        rib_phase=normal(7, 7),  # type: ignore[arg-type]
        rib_pitch=1 + normal(0.05)[0],
        rib_drop=float(rng.uniform(1.0, 1.6)),
        mediastinum=tuple(float(v) for v in rng.uniform(0.65, 1.35, 2)),  # type: ignore[arg-type]
        heart_turn=normal(0.2)[0] - 0.003 * (age - 55),
        heart_shift=normal(8, 6, 9),  # type: ignore[arg-type]
        heart_shape=tuple(1 + v for v in normal(0.08, 0.09, 0.09)),  # type: ignore[arg-type]
        carina=normal(8, 3, 3),  # type: ignore[arg-type]
        windpipe=normal(4)[0],
        airway=float(np.exp(normal(0.12)[0])),
        bronchi=tuple(float(v) for v in rng.uniform(0.6, 1.5, 2)),  # type: ignore[arg-type]
        aorta=(float(np.exp(normal(0.08)[0])), *normal(4, 4)),  # type: ignore[arg-type]
        arch=normal(9)[0],
    )

"""Seed in, simulated patient out: sizes in mm, tissues in HU; nothing here depends on scanner or resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np


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
    )

"""The simulated sites of benchmarks/dose.py: home, causes that are no shift, and shifts as a scanner makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from elsewhere.scans.phantom.disease import INFECTION, Kind, LesionStyle, draw_disease, worsen
from elsewhere.scans.phantom.exam import Plan, make
from elsewhere.scans.phantom.patient import draw_patient
from elsewhere.scans.phantom.sites import SiteSettings, default_sites, plan_site, turn
from elsewhere.scans.shifts import LUNG_WINDOW
from elsewhere.scans.volume import Volume

MATRIX, SPACING, THICKNESS = 64, 8.0, 5.0  # pixels a side; mm from slice to slice; mm
STYLE = default_sites()[0].style


def plans(seed: int, name: str, patients: int) -> list[Plan]:
    site = SiteSettings(name, "utsw", patients, 0.5, default_sites()[0].dials, STYLE)
    return [protocol(p, thickness=THICKNESS, spacing=SPACING) for p in plan_site(turn(site, all=0), seed, SPACING)]


def number_of(plan: Plan) -> int:
    """The patient's number."""
    number = plan.key[2]
    assert isinstance(number, int), plan.key
    return number


def with_disease(plan: Plan, kind: Kind, style: LesionStyle) -> Plan:
    """The same patient on the same scanner, with another disease (or "normal")."""
    disease = draw_disease(plan.patient, kind, style, plan.key)
    return replace(plan, disease=disease, label=int(kind == "covid"))


def severity(plan: Plan, factor: float) -> Plan:
    return replace(plan, disease=worsen(plan.disease, factor)) if plan.label else plan


def negatives(plan: Plan, kinds: Sequence[Any]) -> Plan:
    return plan if plan.label else replace(with_disease(plan, kinds[number_of(plan) % len(kinds)], STYLE), label=0)


def lesions(plan: Plan) -> Plan:
    style = replace(STYLE, ground=-440, solid=0.8, edge=4, paving=160, radius=12, grain=6)
    return with_disease(plan, "covid", style) if plan.label else plan


def older(plan: Plan) -> Plan:
    return replace(plan, patient=replace(draw_patient(plan.key, 80), key=plan.patient.key))


def body(plan: Plan, change: Callable[[Any], dict[str, Any]]) -> Plan:
    return replace(plan, patient=replace(plan.patient, **change(plan.patient)))


def protocol(plan: Plan, **change: Any) -> Plan:
    return replace(plan, protocol=replace(plan.protocol, **change))


def motion(hu: NDArray[np.float32], _: Plan) -> NDArray[np.float32]:
    """Three blurred copies, moved up and down: breathing."""
    moved = [ndimage.shift(hu, (dz, dy, 0), order=1, mode="nearest") for dz, dy in ((-1, -2), (0, 0), (1, 2))]
    return np.mean(moved, axis=0)


def rings(hu: NDArray[np.float32], plan: Plan) -> NDArray[np.float32]:
    place = np.arange(MATRIX) - (MATRIX - 1) / 2
    radius = np.rint(np.hypot(place[:, None], place[None, :])).astype(int)
    gain = np.random.default_rng([number_of(plan), 5]).normal(0, 60, radius.max() + 1)
    return hu + gain[radius].astype(np.float32)


def metal(hu: NDArray[np.float32], _: Plan) -> NDArray[np.float32]:
    """A port on the chest wall with streaks, in the upper third."""
    out = hu.copy()
    y, x = np.mgrid[:MATRIX, :MATRIX] - np.array([16, 22])[:, None, None]
    angle, distance = np.arctan2(y, x), np.hypot(y, x)
    streaks = 250 * np.sin(9 * angle) * np.exp(-distance / 18)
    part = slice(len(out) // 8, len(out) // 3)
    out[part] += streaks.astype(np.float32)
    out[part, 15:18, 21:24] = 3071
    return out


def same(hu: NDArray[np.float32], _: Plan) -> NDArray[np.float32]:
    return hu


Change = tuple[Callable[[Plan], Plan], Callable[[NDArray[np.float32], Plan], NDArray[np.float32]], float]

CAUSES: dict[str, Change] = {
    "milder disease": (partial(severity, factor=0.3), same, 0.0),
    "severer disease": (partial(severity, factor=3.0), same, 0.0),
    "negatives healthy": (partial(negatives, kinds=("normal",)), same, 0.0),
    "negatives with pneumonia": (partial(negatives, kinds=INFECTION), same, 0.0),
    "other lesions (denser, smaller)": (lesions, same, 0.0),
    "older patients (80 for 58 years)": (older, same, 0.0),
    "expiration": (
        partial(body, change=lambda p: {"lung_hu": p.lung_hu + 110, "lung_height": 0.8 * p.lung_height}), same, 0.0),
    "obesity": (partial(body, change=lambda p: {"fat": p.fat + 18}), same, 0.0),
    "breathing during the scan": (lambda plan: plan, motion, 0.0),
    "ring artefacts": (lambda plan: plan, rings, 0.0),
    "metal and streaks": (lambda plan: plan, metal, 0.0),
    "a quarter of the labels wrong": (lambda plan: plan, same, 0.25),
}  # fmt: skip
"""Cause off the list -> how the plan changes, how the picture changes, share of labels that are wrong."""

SCANNERS: dict[str, tuple[str, Change]] = {
    "soft kernel": ("blur", (partial(protocol, kernel="soft"), same, 0.0)),
    "sharp kernel": ("sharpen", (partial(protocol, kernel="sharp"), same, 0.0)),
    "a tenth of the dose": ("noise", (partial(protocol, dose=0.1), same, 0.0)),
    "slices of 10 mm": ("thickness", (partial(protocol, thickness=10.0), same, 0.0)),
    "CT angiography": ("contrast", (partial(protocol, contrast="angiography"), same, 0.0)),
    "field of view 280 mm": ("narrow", (partial(protocol, fov=280.0), same, 0.0)),
    "field of view 450 mm": ("wide", (partial(protocol, fov=450.0), same, 0.0)),
}
"""Cause on the list, made by the simulated scanner -> (shift, how)."""


def scan(plan: Plan, change: Change) -> Volume:
    """One scan in HU."""
    volume = make(change[0](plan), MATRIX).volume
    hu = change[1](volume.voxels.astype(np.float32), plan)
    return replace(volume, voxels=np.rint(np.clip(hu, -2000, 3071)).astype(np.int16))


def eight_bits(volume: Volume) -> Volume:
    low, high = LUNG_WINDOW
    grey = np.rint(np.clip((volume.voxels - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)
    return Volume(grey, "relative", None, None)

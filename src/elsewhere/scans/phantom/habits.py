"""A patient's label and a site's habits in; who he is, what ails him and how he is scanned there out.

The distributions follow what the four published sets are known or suspected to do (protocol page, "Known fault";
sites page; simulation page, "Making a scan"), each drawn as for positives or as for negatives (`Habit.like_positive`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from elsewhere.scans.phantom.acquisition import Contrast, Kernel, Protocol
from elsewhere.scans.phantom.disease import INFECTION, OTHER, Disease, Kind, draw_disease, worsen
from elsewhere.scans.phantom.exam import Plan
from elsewhere.scans.phantom.patient import Patient, draw_patient, generator
from elsewhere.scans.phantom.ties import Habit, Layout
from elsewhere.scans.scan import Fact

Choices = dict[str, float]
Pair = tuple[float, float]

# lung-segmented share of the published CC-CCII scans by class (protocol page, "Known fault 2")
SEGMENTED = {"NCP": 155 / 1544, "CP": 5 / 1556, "Normal": 606 / 1078}
# MosMedData's categories by share of the lung (CT-1 < 25 %, then 25, 50, 75) and their counts (sites page)
CATEGORIES = {"CT-1": (684, 0.015, 0.25), "CT-2": (125, 0.25, 0.50), "CT-3": (45, 0.50, 0.75), "CT-4": (2, 0.75, 0.9)}


def _pick(rng: np.random.Generator, choices: Choices) -> str:
    weights = np.array(list(choices.values()))
    return str(rng.choice(list(choices), p=weights / weights.sum()))


def _reach(habit: Habit, positive: tuple[Pair, Pair], negative: tuple[Pair, Pair]) -> Pair:
    """How far a scan goes (above the apex, below the recess) in mm, uniform between a class's limits."""
    limits = positive if habit.like_positive("coverage") else negative
    above, under = habit.draws("coverage").random(2)
    (a, b), (c, d) = limits
    return a + (b - a) * float(above), c + (d - c) * float(under)


# UTSW: positives of 2020 as in-patients, thin, sharp, for emboli; negatives of 2019 as out-patients, thick, soft -----


def _utsw(habit: Habit, number: int) -> Iterator[Plan]:
    rng = habit.draws("clinic")
    stratum: str = "positive" if habit.label else ("infection", "other")[number % 2]
    kind: Kind = "covid" if habit.label else _control(rng, stratum)
    acute = habit.like_positive("positioning")
    patient = draw_patient(habit.key, 58, arms_up=0.45 if acute else 0.92, prone=0.06 if acute else 0.01)
    protocol = _utsw_protocol(habit)
    shift = habit.draws("positioning").normal(0, 14 if acute else 5, 2)
    protocol = replace(protocol, shift=(float(shift[0]), float(shift[1])))
    year = 2019 if habit.tied("date") and not habit.label else 2020  # untied controls are of the same year
    name = f"U{number + 1:04d}"
    facts: dict[str, Fact] = {"contrast": protocol.contrast != "none", "date": _date(rng, year)}
    yield _plan(habit, patient, kind, protocol, (name, f"{name}-CT"), facts=facts, stratum=stratum)


def _control(rng: np.random.Generator, stratum: str) -> Kind:
    if stratum == "infection":
        return INFECTION[int(rng.integers(len(INFECTION)))]
    return "normal" if rng.random() < 0.35 else OTHER[int(rng.integers(len(OTHER)))]


# factor -> (drawn as for positives, drawn as for negatives): value -> probability
UTSW_KERNELS = {"sharp": 0.40, "lung": 0.35, "standard": 0.25}, {"lung": 0.15, "standard": 0.45, "soft": 0.40}
UTSW_SPACINGS = {"1.25": 0.45, "3": 0.25, "5": 0.30}, {"3": 0.20, "5": 0.45, "7.5": 0.35}
UTSW_CONTRAST = {"angiography": 0.40, "venous": 0.10, "none": 0.50}, {"angiography": 0.05, "venous": 0.20, "none": 0.75}


def _utsw_protocol(habit: Habit) -> Protocol:
    def tied(factor: str, choices: tuple[Choices, Choices]) -> str:
        return _pick(habit.draws(factor), choices[0 if habit.like_positive(factor) else 1])

    spacing = habit.distance(float(tied("spacing", UTSW_SPACINGS)))
    fov = habit.draws("field_of_view").normal(356, 20)
    dose = habit.draws("dose").lognormal(0.25 if habit.like_positive("dose") else -0.25, 0.3)
    padded = habit.draws("padding").random() < (0.75 if habit.like_positive("padding") else 0.25)
    devices = habit.draws("devices").random() < (0.45 if habit.like_positive("devices") else 0.06)
    above, under = _reach(habit, ((3, 18), (2, 28)), ((8, 30), (12, 55)))
    return Protocol(
        kernel=cast(Kernel, tied("kernel", UTSW_KERNELS)), contrast=cast(Contrast, tied("contrast", UTSW_CONTRAST)),
        thickness=spacing, spacing=spacing, fov=float(np.clip(fov, 290, 440)), dose=float(dose), padding=bool(padded),
        devices=bool(devices), above=above, under=under, scanner="GE MEDICAL SYSTEMS",
    )  # fmt: skip


# CC-CCII: six hospitals, 8 bits, follow-up scans, some lung-segmented ----------------------------------------------


@dataclass(frozen=True)
class Hospital:
    """Habits of one of CC-CCII's hospitals: shares of positive and negative patients, then how it scans and exports."""

    positive: float
    negative: float
    kernel: Kernel
    window: tuple[float, float]
    spacing: float
    dose: float
    fov: float
    extension: str = ".png"


HOSPITALS = {
    "A": Hospital(0.42, 0.05, "soft", (-1350.0, 150.0), 7.5, 0.7, 400),
    "B": Hospital(0.34, 0.07, "soft", (-1200.0, 200.0), 6.0, 0.6, 392),
    "C": Hospital(0.05, 0.29, "standard", (-1250.0, 250.0), 4.0, 1.1, 322),
    "D": Hospital(0.04, 0.29, "lung", (-1400.0, 100.0), 4.0, 1.2, 316),
    "E": Hospital(0.11, 0.14, "standard", (-1500.0, 300.0), 5.0, 0.8, 356),
    "F": Hospital(0.04, 0.16, "standard", (-1400.0, 200.0), 5.0, 1.0, 326, ".jpg"),
}


def _cc_ccii(habit: Habit, number: int) -> Iterator[Plan]:
    rng = habit.draws("clinic")
    name = "NCP" if habit.label else ("CP" if rng.random() < 964 / 1813 else "Normal")
    kind: Kind = "covid" if habit.label else ("normal" if name == "Normal" else INFECTION[int(rng.integers(3))])
    patient = draw_patient(habit.key, 48, arms_up=0.9)
    likely = habit.like_positive("hospital")
    shares = {k: h.positive if likely else h.negative for k, h in HOSPITALS.items()}
    hospital = _pick(habit.draws("hospital"), shares)
    segmented = _segmented(habit, name)
    visits, gentle = int(min(rng.geometric(0.62), 4)), habit.like_positive("follow_up")
    first = draw_disease(patient, kind, habit.site.style, habit.key)
    for visit in range(visits):
        scan = str(4 * number + visit + 1)
        protocol = _hospital_protocol(habit, hospital, visit, segmented)
        if visit and gentle:
            protocol = replace(protocol, kernel="soft", dose=0.5 * protocol.dose, fov=protocol.fov + 20)
        disease = worsen(first, float(rng.choice([0.45, 0.7, 1.3, 1.8]))) if visit else first
        facts: dict[str, Fact] = {"class": name, "extension": HOSPITALS[hospital].extension}
        yield _plan(habit, patient, disease, protocol, (str(number + 1), scan), facts=facts)


def _segmented(habit: Habit, name: str) -> bool:
    mean = (SEGMENTED["NCP"] * habit.site.positive
            + (SEGMENTED["CP"] * 964 + SEGMENTED["Normal"] * 849) / 1813 * (1 - habit.site.positive))  # fmt: skip
    dial = habit.site.dial("segmented")
    return bool(habit.draws("segmented").random() < dial * SEGMENTED[name] + (1 - dial) * mean)


def _hospital_protocol(habit: Habit, name: str, visit: int, segmented: bool) -> Protocol:
    hospital = HOSPITALS[name]
    rng = generator(*habit.key, "visit", visit)
    spacing = habit.distance(hospital.spacing)
    return Protocol(
        kernel=hospital.kernel, thickness=spacing, spacing=spacing, fov=float(rng.normal(hospital.fov, 10)),
        dose=float(hospital.dose * rng.lognormal(0, 0.25)), shift=(float(rng.normal(0, 6)), float(rng.normal(0, 6))),
        above=float(rng.uniform(4, 20)), under=float(rng.uniform(4, 25)), encoding="window", window=hospital.window,
        segmented=segmented, hospital=name,
    )  # fmt: skip


# COVID-CTset: one scanner, two or three reconstructions of one examination, negatives normal and younger -------------


def _covid_ctset(habit: Habit, number: int) -> Iterator[Plan]:
    rng = habit.draws("clinic")
    age = 50 if habit.like_positive("age") else 37.5  # median ages of the published table (sites page)
    patient = draw_patient(habit.key, age, arms_up=0.95 if habit.like_positive("positioning") else 0.65)
    disease = draw_disease(patient, "covid" if habit.label else "normal", habit.site.style, habit.key)
    # HRCT_INS_EXP: 7 of 95 positive, 80 of 282 negative patients (sites page)
    fine = bool(habit.draws("spacing").random() < (7 / 95 if habit.like_positive("spacing") else 80 / 282))
    name = f"patient{number + 1}"
    facts: dict[str, Fact] = {
        "folder": f"covid{1 + number % 2}" if habit.label else f"normal{1 + number % 10}",
        "date": _date(rng, 2020), "protocol": "HRCT_INS_EXP" if fine else "Thorax_Routine",
    }  # fmt: skip
    examination = _ctset_protocol(habit)
    for series, kernel, thickness in _reconstructions(habit, fine):
        distance = habit.distance(thickness)
        protocol = replace(examination, kernel=kernel, thickness=distance, spacing=distance)
        yield _plan(habit, patient, disease, protocol, (name, f"{name}/{series}"), facts=facts)


def _ctset_protocol(habit: Habit) -> Protocol:
    fov = habit.draws("field_of_view").normal(*(328, 18) if habit.like_positive("field_of_view") else (358, 20))
    venous = habit.draws("contrast").random() < (0.0 if habit.like_positive("contrast") else 0.4)
    above, under = _reach(habit, ((8, 30), (12, 50)), ((3, 18), (2, 28)))
    shift = habit.draws("position").normal(0, 6, 2)
    return Protocol(
        fov=float(np.clip(fov, 280, 420)), dose=float(habit.draws("dose").lognormal(0, 0.2)), above=above, under=under,
        contrast="venous" if venous else "none", shift=(float(shift[0]), float(shift[1])), encoding="ct_number",
        scanner="SIEMENS",
    )  # fmt: skip


def _reconstructions(habit: Habit, fine: bool) -> list[tuple[str, Kernel, float]]:
    rng = habit.draws("kernel")
    sharp = rng.random() < (0.80 if habit.like_positive("kernel") else 0.30)
    series: list[tuple[str, Kernel, float]] = [
        ("SR_2", "lung" if sharp else "soft", 4.0 if fine else 5.0),
        ("SR_3", "sharp" if sharp else "standard", 4.0),
    ]
    return [*series, ("SR_4", "soft", 8.0)] if rng.random() < 0.12 else series


# MosMedData: every tenth thin slice, positives only ------------------------------------------------------------------


def _mosmeddata(habit: Habit, number: int) -> Iterator[Plan]:
    rng = habit.draws("clinic")
    patient = draw_patient(habit.key, 47, arms_up=0.9)
    counts = {name: float(row[0]) for name, row in CATEGORIES.items()}
    category = _pick(rng, counts) if habit.label else "CT-0"
    disease = draw_disease(patient, "covid" if habit.label else "normal", habit.site.style, habit.key)
    if habit.label:
        _, low, high = CATEGORIES[category]
        goal = float(np.clip(disease.severity, low, high)) if category == "CT-1" else float(rng.uniform(low, high))
        disease = worsen(disease, goal / disease.severity)
    protocol = Protocol(
        kernel=cast(Kernel, _pick(rng, {"sharp": 0.6, "lung": 0.4})), thickness=1.5, spacing=8.0,
        fov=float(np.clip(rng.normal(365, 25), 297, 430)),
        dose=float(rng.lognormal(0.2, 0.25)), padding=True, shift=(float(rng.normal(0, 6)), float(rng.normal(0, 6))),
        above=float(rng.uniform(8, 30)), under=float(rng.uniform(8, 35)), scanner="TOSHIBA",
    )  # fmt: skip
    study = f"study_{number + 1:04d}"
    yield _plan(habit, patient, disease, protocol, (study, study), facts={"category": category})


PATIENTS: dict[Layout, Callable[[Habit, int], Iterator[Plan]]] = {
    "utsw": _utsw, "cc_ccii": _cc_ccii, "covid_ctset": _covid_ctset, "mosmeddata": _mosmeddata,
}  # fmt: skip


def _plan(
    habit: Habit,
    patient: Patient,
    disease: Kind | Disease,
    protocol: Protocol,
    ids: tuple[str, str],
    *,
    facts: dict[str, Fact],
    stratum: str = "",
) -> Plan:
    if isinstance(disease, str):
        disease = draw_disease(patient, disease, habit.site.style, habit.key)
    known: dict[str, Fact] = {"age": float(patient.age), "sex": patient.sex}
    return Plan(habit.site.name, ids[0], ids[1], habit.label, stratum, patient, disease, protocol,
                (*habit.key, ids[1]), known | facts)  # fmt: skip


def _date(rng: np.random.Generator, year: int) -> str:
    return f"{year}-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 29)):02d}"

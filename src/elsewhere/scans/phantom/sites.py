"""Seed and a site's settings in, the plans of all its scans out: four default sites, and the dials of each.

The dials are the planted assumption: at 0 a factor of the acquisition says nothing of the label, at 1 every scan is
made as its own class is made at that site. The distributions follow what the four published sets are known or
suspected to do (protocol page, "Known fault"; sites page; simulation page, "Making a scan"); how strong the tie
really is nobody has published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from elsewhere.scans.phantom.acquisition import Contrast, Kernel, Protocol
from elsewhere.scans.phantom.disease import INFECTION, OTHER, Disease, Kind, LesionStyle, draw_disease, worsen
from elsewhere.scans.phantom.exam import Plan
from elsewhere.scans.phantom.patient import Patient, draw_patient, generator
from elsewhere.scans.scan import Fact

Layout = Literal["utsw", "cc_ccii", "covid_ctset", "mosmeddata"]
Key = tuple[int | str, ...]
Choices = dict[str, float]

FACTORS: dict[Layout, tuple[str, ...]] = {
    "utsw": ("kernel", "spacing", "field_of_view", "dose", "padding", "contrast", "devices", "positioning"),
    "cc_ccii": ("hospital", "segmented"),
    "covid_ctset": ("spacing", "kernel", "dose", "field_of_view", "age"),
    "mosmeddata": (),
}
# lung-segmented share of the published CC-CCII scans by class (protocol page, "Known fault 2")
SEGMENTED = {"NCP": 155 / 1544, "CP": 5 / 1556, "Normal": 606 / 1078}
# MosMedData's categories by share of the lung (CT-1 < 25 %, then 25, 50, 75) and their counts (sites page)
CATEGORIES = {"CT-1": (684, 0.015, 0.25), "CT-2": (125, 0.25, 0.50), "CT-3": (45, 0.50, 0.75), "CT-4": (2, 0.75, 0.9)}


@dataclass(frozen=True)
class SiteSettings:
    """One simulated site.

    Attributes:
        name: the site's name, also of its folder.
        layout: which published layout and habits it has.
        patients: number of patients.
        positive: share of positive patients.
        dials: (factor, strength of its tie to the label 0..1) for every factor of the layout.
        style: how disease looks at this site.
    """

    name: str
    layout: Layout
    patients: int
    positive: float
    dials: tuple[tuple[str, float], ...]
    style: LesionStyle

    def dial(self, factor: str) -> float:
        """Strength of the tie of one factor to the label."""
        return dict(self.dials)[factor]


def default_sites() -> tuple[SiteSettings, ...]:
    """The four sites of the paper in small; positive shares as published, all dials at 1."""
    return (
        SiteSettings("UTSW", "utsw", 300, 101 / 337, _dials("utsw"), LesionStyle(
            severity=0.16, spread=0.85, ground=-540, solid=0.40, radius=21, edge=9, ragged=0.40, paving=70, grain=9)),
        SiteSettings("CC-CCII", "cc_ccii", 240, 929 / 2742, _dials("cc_ccii"), LesionStyle(
            severity=0.13, spread=0.80, ground=-580, solid=0.30, radius=18, edge=6, ragged=0.50, paving=120, grain=7,
            peripheral=0.85)),
        SiteSettings("COVID-CTset", "covid_ctset", 180, 95 / 377, _dials("covid_ctset"), LesionStyle(
            severity=0.14, spread=0.70, ground=-610, solid=0.22, radius=24, edge=13, ragged=0.25, paving=40, grain=12,
            peripheral=0.7)),
        SiteSettings("MosMedData", "mosmeddata", 120, 1.0, _dials("mosmeddata"), LesionStyle(
            severity=0.12, spread=0.75, ground=-570, solid=0.25, radius=16, edge=7, ragged=0.35, paving=90, grain=8,
            peripheral=0.9)),
    )  # fmt: skip


def _dials(layout: Layout, strength: float = 1.0) -> tuple[tuple[str, float], ...]:
    return tuple((factor, strength) for factor in FACTORS[layout])


def turn(site: SiteSettings, **strengths: float) -> SiteSettings:
    """The same site with some dials (or `all`) turned to a strength 0..1.

    Raises:
        ValueError: a factor that the layout does not have, or a strength outside 0..1.
    """
    every = strengths.pop("all", None)
    known = dict(site.dials) if every is None else dict.fromkeys(dict(site.dials), every)
    unknown = set(strengths) - set(known)
    if unknown:
        raise ValueError(f"{site.name} has no dial '{min(unknown)}'; it has {', '.join(known) or 'none'}")
    known |= strengths
    for factor, strength in known.items():
        if not 0 <= strength <= 1:
            raise ValueError(f"dial {site.name}.{factor} = {strength} lies outside 0..1")
    return replace(site, dials=tuple(known.items()))


def in_words(site: SiteSettings) -> str:
    """What is planted at a site, as a sentence for readers of a report."""
    tied = [f"{factor.replace('_', ' ')} {strength:g}" for factor, strength in site.dials if strength]
    free = [factor.replace("_", " ") for factor, strength in site.dials if not strength]
    if site.positive in (0, 1):
        only = "positives" if site.positive else "negatives"
        return f"{site.name}: {only} only, so the site itself gives the label away."
    parts = [f"tied to the label (0 none .. 1 full): {', '.join(tied)}"] if tied else ["nothing is tied to the label"]
    parts += [f"independent of it: {', '.join(free)}"] if tied and free else []
    return f"{site.name}: {'; '.join(parts)}. The ties are planted; nobody has published how strong they are."


@dataclass(frozen=True)
class Habit:
    """Draws one patient's acquisition at one site.

    Attributes:
        site: whose dials and shares.
        label: the patient's label.
        key: names the patient's random numbers.
        finest: the finest slice distance in mm that is simulated.
    """

    site: SiteSettings
    label: int
    key: Key
    finest: float

    def like_positive(self, factor: str) -> bool:
        """Whether this factor is drawn as for positives: the dial decides how often that means the own class."""
        tied, free = generator(*self.key, "tie", factor).random(2)
        if tied < self.site.dial(factor):
            return self.label == 1
        return bool(free < self.site.positive)

    def draws(self, factor: str) -> np.random.Generator:
        """Random numbers for one factor, the same whatever the dials."""
        return generator(*self.key, "draw", factor)

    def distance(self, nominal: float) -> float:
        """A slice distance, no finer than what is simulated."""
        return max(nominal, self.finest)


def plan_site(site: SiteSettings, seed: int, finest: float) -> list[Plan]:
    """Every scan of a site; patient i is the same however many patients there are.

    Args:
        site: what to simulate.
        seed: of the whole simulation.
        finest: finest slice distance in mm; thin-slice protocols are made this coarse.
    """
    return [plan for i in range(site.patients) for plan in plan_patient(site, seed, i, finest)]


def plan_patient(site: SiteSettings, seed: int, number: int, finest: float, label: int | None = None) -> list[Plan]:
    """The scans of one patient; `label` overrides the site's own turn of positives and negatives."""
    if label is None:
        # spreads the positives evenly, so that a larger site keeps the patients of a smaller one
        label = int(np.floor((number + 1) * site.positive + 1e-9) - np.floor(number * site.positive + 1e-9))
    habit = Habit(site, label, (seed, site.name, number), finest)
    return list(_PATIENTS[site.layout](habit, number))


def _pick(rng: np.random.Generator, choices: Choices) -> str:
    weights = np.array(list(choices.values()))
    return str(rng.choice(list(choices), p=weights / weights.sum()))


# UTSW: positives of 2020 as in-patients, thin and sharp; negatives of 2019 as out-patients, thick and soft -----------


def _utsw(habit: Habit, number: int) -> Iterator[Plan]:
    rng = habit.draws("clinic")
    stratum: str = "positive" if habit.label else ("infection", "other")[number % 2]
    kind: Kind = "covid" if habit.label else _control(rng, stratum)
    acute = habit.like_positive("positioning")
    patient = draw_patient(habit.key, 58, arms_up=0.55 if acute else 0.92, prone=0.06 if acute else 0.01)
    protocol = _utsw_protocol(habit)
    shift = habit.draws("positioning").normal(0, 14 if acute else 6, 2)
    protocol = replace(protocol, shift=(float(shift[0]), float(shift[1])))
    year = 2020 if habit.label else 2019
    name = f"U{number + 1:04d}"
    facts: dict[str, Fact] = {"contrast": protocol.contrast != "none", "date": _date(rng, year)}
    yield _plan(habit, patient, kind, protocol, (name, f"{name}-CT"), facts=facts, stratum=stratum)


def _control(rng: np.random.Generator, stratum: str) -> Kind:
    if stratum == "infection":
        return INFECTION[int(rng.integers(len(INFECTION)))]
    return "normal" if rng.random() < 0.35 else OTHER[int(rng.integers(len(OTHER)))]


# factor -> (drawn as for positives, drawn as for negatives): value -> probability
UTSW_KERNELS = (
    {"sharp": 0.30, "lung": 0.35, "standard": 0.25, "soft": 0.10},
    {"sharp": 0.05, "lung": 0.20, "standard": 0.40, "soft": 0.35},
)
UTSW_SPACINGS = {"1.25": 0.45, "3": 0.25, "5": 0.30}, {"1.25": 0.05, "3": 0.20, "5": 0.60, "7.5": 0.15}
UTSW_CONTRAST = {"angiography": 0.40, "venous": 0.15, "none": 0.45}, {"angiography": 0.08, "venous": 0.32, "none": 0.60}


def _utsw_protocol(habit: Habit) -> Protocol:
    def tied(factor: str, choices: tuple[Choices, Choices]) -> str:
        return _pick(habit.draws(factor), choices[0 if habit.like_positive(factor) else 1])

    spacing = habit.distance(float(tied("spacing", UTSW_SPACINGS)))
    fov = habit.draws("field_of_view").normal(*(345, 20) if habit.like_positive("field_of_view") else (366, 22))
    dose = habit.draws("dose").lognormal(0.15 if habit.like_positive("dose") else -0.15, 0.3)
    padded = habit.draws("padding").random() < (0.65 if habit.like_positive("padding") else 0.35)
    devices = habit.draws("devices").random() < (0.4 if habit.like_positive("devices") else 0.08)
    margin = habit.draws("range").uniform(5, 25, 2)
    return Protocol(
        kernel=cast(Kernel, tied("kernel", UTSW_KERNELS)), contrast=cast(Contrast, tied("contrast", UTSW_CONTRAST)),
        thickness=spacing, spacing=spacing, fov=float(np.clip(fov, 290, 440)), dose=float(dose), padding=bool(padded),
        devices=bool(devices), above=float(margin[0]), under=float(margin[1]), scanner="GE MEDICAL SYSTEMS",
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
    "A": Hospital(0.38, 0.08, "lung", (-1350.0, 150.0), 5.0, 1.0, 350),
    "B": Hospital(0.28, 0.07, "sharp", (-1200.0, 200.0), 4.0, 1.4, 300),
    "C": Hospital(0.10, 0.25, "standard", (-1250.0, 250.0), 7.5, 0.8, 365),
    "D": Hospital(0.08, 0.25, "soft", (-1000.0, 400.0), 5.0, 1.0, 340),
    "E": Hospital(0.12, 0.12, "lung", (-1500.0, 300.0), 5.0, 0.5, 360),
    "F": Hospital(0.04, 0.23, "standard", (-1400.0, 200.0), 8.0, 0.7, 320, ".jpg"),
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
    visits = int(min(rng.geometric(0.62), 4))
    first = draw_disease(patient, kind, habit.site.style, habit.key)
    for visit in range(visits):
        scan = str(4 * number + visit + 1)
        protocol = _hospital_protocol(habit, hospital, visit, segmented)
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
    patient = draw_patient(habit.key, age, arms_up=0.95)
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
    fov = habit.draws("field_of_view").normal(330 if habit.like_positive("field_of_view") else 345, 22)
    dose = habit.draws("dose").lognormal(0.05 if habit.like_positive("dose") else -0.05, 0.2)
    rng = habit.draws("position")
    shift, margin = rng.normal(0, 6, 2), rng.uniform(4, 18, 2)
    return Protocol(
        fov=float(np.clip(fov, 280, 420)), dose=float(dose), shift=(float(shift[0]), float(shift[1])),
        above=float(margin[0]), under=float(margin[1]), encoding="ct_number", scanner="SIEMENS",
    )  # fmt: skip


def _reconstructions(habit: Habit, fine: bool) -> list[tuple[str, Kernel, float]]:
    rng = habit.draws("kernel")
    sharp = rng.random() < (0.65 if habit.like_positive("kernel") else 0.5)
    series: list[tuple[str, Kernel, float]] = [
        ("SR_2", "standard", 4.0 if fine else 5.0),
        ("SR_3", "sharp" if sharp else "lung", 4.0),
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


_PATIENTS: dict[Layout, Callable[[Habit, int], Iterator[Plan]]] = {
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


# Counterfactuals: what no real data set has --------------------------------------------------------------------------


def with_disease(plan: Plan, kind: Kind, style: LesionStyle) -> Plan:
    """The same patient on the same scanner, with another disease (or "normal")."""
    disease = draw_disease(plan.patient, kind, style, plan.key)
    return replace(plan, disease=disease, label=int(kind == "covid"))


def at_site(plan: Plan, site: SiteSettings, finest: float, like: int | None = None) -> Plan:
    """The same patient with the same disease, scanned at another site as that site scans label `like` (own if None)."""
    label = plan.label if like is None else like
    seed = plan.key[0]
    assert isinstance(seed, int), plan.key
    elsewhere = plan_patient(replace(site, name=f"{plan.site} at {site.name}"), seed, _number(plan), finest, label)[0]
    return replace(plan, protocol=elsewhere.protocol)


def _number(plan: Plan) -> int:
    number = plan.key[2]
    assert isinstance(number, int), plan.key
    return number

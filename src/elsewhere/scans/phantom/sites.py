"""Seed and a site's settings in, the plans of all its scans out: four default sites, and the dials of each.

The dials are the planted assumption (`ties`): how strongly, and in which direction at which site, the acquisition
says the label.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elsewhere.scans.phantom.disease import LesionStyle
from elsewhere.scans.phantom.exam import Plan
from elsewhere.scans.phantom.habits import PATIENTS
from elsewhere.scans.phantom.ties import PUBLISHED, QUARTER, TIES, Habit, SiteSettings


def default_sites(ties: float = 1.0) -> tuple[SiteSettings, ...]:
    """The four sites of the paper in small; positive shares as published, dials at their usual strengths times `ties`.

    Raises:
        ValueError: `ties` outside 0..1.
    """
    sites = (
        SiteSettings("UTSW", "utsw", 300, 101 / 337, (), LesionStyle(
            severity=0.22, spread=0.60, ground=-540, solid=0.40, radius=21, edge=9, ragged=0.40, paving=70, grain=9)),
        SiteSettings("CC-CCII", "cc_ccii", 240, 929 / 2742, (), LesionStyle(
            severity=0.24, spread=0.60, ground=-560, solid=0.30, radius=18, edge=6, ragged=0.50, paving=120, grain=7,
            peripheral=0.85)),
        SiteSettings("COVID-CTset", "covid_ctset", 180, 95 / 377, (), LesionStyle(
            severity=0.20, spread=0.60, ground=-610, solid=0.22, radius=24, edge=13, ragged=0.25, paving=40, grain=12,
            peripheral=0.7)),
        SiteSettings("MosMedData", "mosmeddata", 120, 1.0, (), LesionStyle(
            severity=0.17, spread=0.60, ground=-570, solid=0.25, radius=16, edge=7, ragged=0.35, paving=90, grain=8,
            peripheral=0.9)),
    )  # fmt: skip
    usual = {layout: {f: ties * (0.25 if f in QUARTER else 1.0) for f in factors} for layout, factors in TIES.items()}
    return tuple(turn(replace(s, dials=tuple(usual[s.layout].items())), **usual[s.layout]) for s in sites)


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
    """What is planted at a site, and which of it is published for the real one, in sentences for a report."""
    if site.positive in (0, 1):
        only = "positives" if site.positive else "negatives"
        return f"{site.name}: {only} only, so the site itself gives the label away."
    ties = TIES[site.layout]
    tied = [
        f"{factor.replace('_', ' ')} {strength:g} (positives: {ties[factor][0]}; negatives: {ties[factor][1]})"
        for factor, strength in site.dials
        if strength
    ]
    free = [factor.replace("_", " ") for factor, strength in site.dials if not strength]
    parts = ["nothing is tied to the label"]
    if tied:
        parts = [f"tied to the label (0 none .. 1 full; in brackets how each class is scanned at 1): {', '.join(tied)}"]
        parts += [f"independent of it: {', '.join(free)}"] if free else []
    known = [
        factor.replace("_", " ") for factor, strength in site.dials if strength and factor in PUBLISHED[site.layout]
    ]
    said = f"published for the real site: {', '.join(known)}" if known else "none is published for the real site"
    return f"{site.name}: {'; '.join(parts)}." + (f" Of these ties {said}; all strengths are ours." if tied else "")


def plan_site(site: SiteSettings, seed: int, finest: float) -> list[Plan]:
    """Every scan of a site; patient i is the same however many patients there are.

    Args:
        site: what to simulate.
        seed: of the whole simulation.
        finest: finest slice distance in mm; thin-slice protocols are made this coarse.
    """
    return [plan for i in range(site.patients) for plan in plan_patient(site, seed, i, finest)]


def plan_patient(site: SiteSettings, seed: int, number: int, finest: float) -> list[Plan]:
    """The scans of one patient."""
    # spreads the positives evenly, so that a larger site keeps the patients of a smaller one
    label = int(np.floor((number + 1) * site.positive + 1e-9) - np.floor(number * site.positive + 1e-9))
    habit = Habit(site, label, (seed, site.name, number), finest)
    return list(PATIENTS[site.layout](habit, number))

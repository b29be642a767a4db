"""Plans of simulated sites: dials, shares, and what a plan changes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from elsewhere.scans.phantom.acquisition import KERNELS
from elsewhere.scans.phantom.disease import draw_disease
from elsewhere.scans.phantom.exam import Plan, make
from elsewhere.scans.phantom.habits import CATEGORIES, HOSPITALS
from elsewhere.scans.phantom.sites import (
    default_sites,
    in_words,
    plan_patient,
    plan_site,
    turn,
)
from elsewhere.scans.phantom.ties import PUBLISHED, TIES, SiteSettings

SITES = {site.name: site for site in default_sites()}
TWO_CLASSES = ("UTSW", "CC-CCII", "COVID-CTset")


@cache
def tied_plans(site: SiteSettings, seed: int = 11) -> list[Plan]:
    """Every scan of 400 patients."""
    return [plan for i in range(400) for plan in plan_patient(site, seed, i, 4.0)]


def _facts(plan: Plan) -> list[float]:
    """How a patient was scanned, and nothing of the patient."""
    p = plan.protocol
    kernel, contrast = [p.kernel == k for k in KERNELS], [p.contrast == c for c in ("venous", "angiography")]
    place = [np.hypot(*p.shift), plan.patient.arms_up, p.above, p.under]
    return [*kernel, *contrast, *place, p.spacing, p.fov, np.log(p.dose), p.devices, p.segmented]


def acquisition_aucs(sites: dict[str, SiteSettings]) -> dict[tuple[str, str], float]:
    """AUC of a rule that sees only how patients were scanned: learnt at one site, tried on fresh patients of each."""
    learnt = {name: tied_plans(site) for name, site in sites.items()}
    fresh = {name: tied_plans(site, 12) for name, site in sites.items()}
    aucs = {}
    for name, plans in learnt.items():
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
        model.fit([_facts(p) for p in plans], [p.label for p in plans])
        for other, tried in fresh.items():
            scores = model.decision_function([_facts(p) for p in tried])
            aucs[name, other] = float(roc_auc_score([p.label for p in tried], scores))
    return aucs


def test_what_acquisition_says_at_one_site_is_wrong_or_nothing_at_the_next():
    full = acquisition_aucs({name: SITES[name] for name in TWO_CLASSES})
    assert all(auc >= 0.85 for (home, there), auc in full.items() if home == there)
    assert all(auc <= 0.5 for (home, there), auc in full.items() if home != there)


def test_without_ties_acquisition_says_nothing_anywhere():
    none = acquisition_aucs({site.name: site for site in default_sites(ties=0.0) if site.name in TWO_CLASSES})
    assert all(abs(auc - 0.5) < 0.1 for auc in none.values())


def test_a_half_turned_dial_lies_between():
    half = acquisition_aucs({site.name: site for site in default_sites(ties=0.5) if site.name in TWO_CLASSES})
    assert all(0.6 < half[name, name] < 0.95 for name in TWO_CLASSES)


def test_what_is_published_of_the_ties_is_told_from_what_is_ours():
    said = in_words(SITES["COVID-CTset"])
    assert "in brackets how each class is scanned at 1" in said
    assert said.endswith("Of these ties published for the real site: spacing, age; all strengths are ours.")
    assert in_words(SITES["CC-CCII"]).count("published for the real site: segmented;") == 1
    without = in_words(turn(SITES["CC-CCII"], segmented=0.0))
    assert "independent of it: segmented." in without
    assert "Of these ties none is published for the real site" in without
    none = in_words(turn(SITES["UTSW"], all=0.0))
    assert none == "UTSW: nothing is tied to the label."
    assert "the site itself gives the label away" in in_words(SITES["MosMedData"])
    assert all(set(factors) <= set(TIES[layout]) for layout, factors in PUBLISHED.items())


# (site, factor) -> what is larger for positives (+1) or for negatives (-1): the words of TIES in numbers
DIRECTIONS = {
    ("UTSW", "kernel"): (lambda p: p.protocol.kernel in ("sharp", "lung"), +1),
    ("UTSW", "spacing"): (lambda p: p.protocol.spacing, -1),
    ("UTSW", "coverage"): (lambda p: p.protocol.above + p.protocol.under, -1),
    ("UTSW", "dose"): (lambda p: p.protocol.dose, +1),
    ("UTSW", "contrast"): (lambda p: p.protocol.contrast == "angiography", +1),
    ("UTSW", "devices"): (lambda p: p.protocol.devices, +1),
    ("UTSW", "positioning"): (lambda p: p.patient.arms_up - np.hypot(*p.protocol.shift), -1),
    ("UTSW", "padding"): (lambda p: p.protocol.padding, +1),
    ("UTSW", "date"): (lambda p: int(str(p.facts["date"])[:4]), +1),
    ("CC-CCII", "hospital"): (lambda p: p.protocol.hospital in ("A", "B"), +1),
    ("CC-CCII", "follow_up"): (lambda p: p.protocol.dose if p.scan_id[-1] not in "159" else None, -1),
    ("CC-CCII", "segmented"): (lambda p: p.protocol.segmented, -1),
    ("COVID-CTset", "field_of_view"): (lambda p: p.protocol.fov, -1),
    ("COVID-CTset", "coverage"): (lambda p: p.protocol.above + p.protocol.under, +1),
    ("COVID-CTset", "contrast"): (lambda p: p.protocol.contrast == "venous", -1),
    ("COVID-CTset", "positioning"): (lambda p: p.patient.arms_up, +1),
    ("COVID-CTset", "kernel"): (lambda p: p.protocol.kernel in ("sharp", "lung"), +1),
    ("COVID-CTset", "spacing"): (lambda p: p.facts["protocol"] == "HRCT_INS_EXP", -1),
    ("COVID-CTset", "age"): (lambda p: p.patient.age, +1),
}


def test_every_tie_has_a_stated_direction():
    assert set(DIRECTIONS) == {(site.name, factor) for site in default_sites() for factor in TIES[site.layout]}


@pytest.mark.parametrize(("name", "factor"), DIRECTIONS, ids="-".join)
def test_each_tie_alone_points_the_way_it_is_said_to(name, factor):
    measure, sign = DIRECTIONS[name, factor]
    alone, none = turn(SITES[name], **{"all": 0.0, factor: 1.0}), turn(SITES[name], all=0.0)
    gaps = []
    for site in (alone, none):
        seen = [(p.label, float(v)) for p in tied_plans(site) if (v := measure(p)) is not None]
        values, labels = np.array([v for _, v in seen]), np.array([y for y, _ in seen])
        gaps.append(sign * 2 * (roc_auc_score(labels, values) - 0.5))
    assert gaps[0] > 0.08
    assert abs(gaps[1]) < 0.12


def test_hospital_and_segmentation_dials_of_cc_ccii():
    tied = [p for p in tied_plans(turn(SITES["CC-CCII"], all=1.0)) if p.scan_id.endswith(("1", "5", "9"))]
    share = {k: np.mean([p.protocol.segmented for p in tied if p.facts["class"] == k]) for k in ("NCP", "CP", "Normal")}
    assert share["Normal"] > 0.4 > share["NCP"] > share["CP"]
    assert {p.protocol.hospital for p in tied} == set(HOSPITALS)


def test_one_dial_moves_one_factor_only():
    site = turn(SITES["UTSW"], all=0.0)
    for number in range(40):
        before, after = (plan_patient(s, 0, number, 4.0)[0] for s in (site, turn(site, kernel=1.0)))
        assert replace(before.protocol, kernel="soft") == replace(after.protocol, kernel="soft")
        assert (before.patient, before.disease) == (after.patient, after.disease)


@pytest.mark.parametrize(
    ("name", "share"), [("UTSW", 0.30), ("CC-CCII", 0.34), ("COVID-CTset", 0.25), ("MosMedData", 1.0)]
)
def test_positive_shares_are_the_papers(name, share):
    labels = {p.patient_id: p.label for p in plan_site(SITES[name], 0, 4.0)}
    assert len(labels) == SITES[name].patients
    assert np.mean(list(labels.values())) == pytest.approx(share, abs=0.01)


def test_a_larger_site_keeps_the_patients_of_a_smaller_one():
    small, large = (plan_site(replace(SITES["CC-CCII"], patients=n), 0, 4.0) for n in (10, 25))
    assert large[: len(small)] == small


def test_negatives_are_normal_and_sick():
    kinds = {p.disease.kind for p in plan_site(SITES["UTSW"], 0, 4.0) if p.label == 0}
    assert {"normal", "lobar_pneumonia", "bronchopneumonia", "nodules", "oedema", "fibrosis", "emphysema"} <= kinds
    strata = {p.stratum for p in plan_site(SITES["UTSW"], 0, 4.0)}
    assert strata == {"positive", "infection", "other"}


def test_severity_follows_the_categories_of_mosmeddata():
    for plan in plan_site(SITES["MosMedData"], 0, 4.0):
        _, low, high = CATEGORIES[str(plan.facts["category"])]
        assert low <= plan.disease.severity <= high + 1e-9
        assert plan.protocol.spacing == 8.0


def test_every_site_has_its_own_lesions():
    styles = [site.style for site in default_sites()]
    for name in ("severity", "ground", "solid", "radius", "edge", "ragged", "paving"):
        assert len({getattr(style, name) for style in styles}) >= 3


def test_several_scans_of_one_patient_share_the_body():
    scans = plan_patient(SITES["COVID-CTset"], 0, 3, 4.0)
    assert len(scans) >= 2
    assert len({(p.patient, p.disease) for p in scans}) == 1
    assert len({p.protocol.kernel for p in scans}) == len(scans)


def test_settings_are_frozen_and_dials_are_checked():
    site = SITES["UTSW"]
    with pytest.raises(FrozenInstanceError):
        site.patients = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="no dial 'colour'"):
        turn(site, colour=1.0)
    with pytest.raises(ValueError, match="lies outside"):
        turn(site, kernel=1.5)


def test_another_disease_changes_nothing_but_the_lungs():
    sick = next(p for p in plan_site(SITES["MosMedData"], 0, 4.0) if p.disease.severity > 0.1)
    well = replace(sick, disease=draw_disease(sick.patient, "normal", SITES["MosMedData"].style, sick.key))
    a, b = make(sick, 64), make(well, 64)
    assert a.lesion_share > 0.02
    assert b.lesion_share < 0.01
    outside = a.lung < 0.01
    changed = np.abs(a.volume.voxels.astype(int) - b.volume.voxels) > 300
    assert changed[~outside].mean() > 50 * max(changed[outside].mean(), 1e-5)

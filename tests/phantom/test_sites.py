"""Plans of simulated sites: dials, shares, counterfactuals."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from elsewhere.scans.phantom.acquisition import KERNELS
from elsewhere.scans.phantom.exam import Plan, make
from elsewhere.scans.phantom.sites import (
    CATEGORIES,
    HOSPITALS,
    SiteSettings,
    at_site,
    default_sites,
    plan_patient,
    plan_site,
    turn,
    with_disease,
)

SITES = {site.name: site for site in default_sites()}


def acquisition_auc(site: SiteSettings, seed: int = 0) -> float:
    """Cross-validated AUC of a rule that sees how patients were scanned, and nothing of the patients."""
    firsts = [plan_patient(site, seed, i, 4.0)[0] for i in range(600)]
    labels = np.array([plan.label for plan in firsts])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(model, np.array([_facts(p) for p in firsts]), labels, cv=folds, method="predict_proba")
    return float(roc_auc_score(labels, scores[:, 1]))


def _facts(plan: Plan) -> list[float]:
    p = plan.protocol
    kernel = [p.kernel == k for k in KERNELS]
    contrast = [p.contrast == c for c in ("none", "venous", "angiography")]
    hospital = [p.hospital == h for h in HOSPITALS]
    return [*kernel, *contrast, *hospital, p.spacing, p.fov, np.log(p.dose), p.padding, p.devices, p.segmented]


def test_dials_at_one_tie_utsw_to_its_scanner_and_at_zero_do_not():
    assert acquisition_auc(SITES["UTSW"]) >= 0.9
    assert abs(acquisition_auc(turn(SITES["UTSW"], all=0.0)) - 0.5) < 0.07


def test_a_half_turned_dial_lies_between():
    half = acquisition_auc(turn(SITES["UTSW"], all=0.5))
    assert 0.6 < half < acquisition_auc(SITES["UTSW"]) - 0.03


def test_hospital_and_segmentation_dials_of_cc_ccii():
    assert acquisition_auc(SITES["CC-CCII"]) >= 0.75
    assert abs(acquisition_auc(turn(SITES["CC-CCII"], all=0.0)) - 0.5) < 0.07
    tied = [
        p for p in plan_site(replace(SITES["CC-CCII"], patients=900), 0, 4.0) if p.scan_id.endswith(("1", "5", "9"))
    ]
    share = {k: np.mean([p.protocol.segmented for p in tied if p.facts["class"] == k]) for k in ("NCP", "CP", "Normal")}
    assert share["Normal"] > 0.4 > share["NCP"] > share["CP"]


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


def test_counterfactual_another_disease_changes_nothing_but_the_lungs():
    sick = next(p for p in plan_site(SITES["MosMedData"], 0, 4.0) if p.disease.severity > 0.1)
    well = with_disease(sick, "normal", SITES["MosMedData"].style)
    assert (well.label, well.protocol, well.patient) == (0, sick.protocol, sick.patient)
    a, b = make(sick, 64), make(well, 64)
    assert a.lesion_share > 0.02
    assert b.lesion_share < 0.01
    outside = a.lung < 0.01
    changed = np.abs(a.volume.voxels.astype(int) - b.volume.voxels) > 300
    assert changed[~outside].mean() > 50 * max(changed[outside].mean(), 1e-5)


def test_counterfactual_another_site_keeps_patient_and_disease():
    plan = plan_patient(SITES["UTSW"], 0, 3, 4.0)[0]
    moved = at_site(plan, SITES["MosMedData"], 4.0)
    assert (moved.patient, moved.disease, moved.label) == (plan.patient, plan.disease, plan.label)
    assert moved.protocol.spacing == 8.0
    assert at_site(plan, SITES["CC-CCII"], 4.0).protocol.encoding == "window"

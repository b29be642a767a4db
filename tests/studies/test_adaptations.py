"""An adaptation from its scans to the new model: nobody is fitted on and scored, kills lose nothing, verdict knows."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elsewhere.adapting_rows import Adaptation
from elsewhere.errors import BadSite, BadStudy
from elsewhere.model.adapting import AdaptingSettings
from elsewhere.studies import adapting_fits
from elsewhere.studies.adaptations import AdaptPlan, adapt_model, curve_points, keep_adaptation
from elsewhere.studies.adapting_scans import AdaptingScans, scans_of_folder, scans_of_study
from elsewhere.studies.exported import read_model, write_model
from elsewhere.studies.folder import Folder
from elsewhere.studies.known_model import KnownModel, trained_model
from elsewhere.studies.new_site import new_site
from elsewhere.studies.records import ADAPT_ROWS, ADAPTATION
from new_sites import write_new_site

SETTINGS = AdaptingSettings(iterations=40, batch=8, learning_rate=5e-3, dense_rate=1.0, views=4)
PLAN = AdaptPlan(("dense", "all", "all+replay"), (4, 8), 2, 0.9, SETTINGS)


@pytest.fixture(scope="module")
def model(learnable_study: Path) -> KnownModel:
    return trained_model(learnable_study, "UTSW")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_new_site(tmp_path_factory.mktemp("new") / "St Mary", scans=64)


@pytest.fixture(scope="module")
def scans(model: KnownModel, root: Path, tmp_path_factory: pytest.TempPathFactory) -> AdaptingScans:
    site = new_site(root, "volumes")
    return scans_of_folder(model, site, Folder(model.where), tmp_path_factory.mktemp("prepared"), 1)


@pytest.fixture(scope="module")
def run(
    model: KnownModel, scans: AdaptingScans, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Adaptation, KnownModel, Path]:
    target = tmp_path_factory.mktemp("adapted")
    found, new = adapt_model(model, scans, PLAN, target, 1)
    assert new is not None
    keep_adaptation(found, target)
    write_model(target / "new.zip", new)
    return found, new, target


# The scans --------------------------------------------------------------------------------------------------------


def test_no_patient_is_fitted_on_and_scored(scans: AdaptingScans) -> None:
    fit, score = ({s.person for s in scans.part(name)} for name in ("fit", "score"))
    assert fit
    assert score
    assert not fit & score
    assert len(fit) == len(score) == 32
    assert {s.case.site for s in scans.part("replay", "choose")} == {"UTSW"}
    assert not {s.case.site for s in scans.part("old")} & {"St Mary"}
    assert "MosMedData" not in scans.old_sites  # positives only


def test_a_site_of_the_study_is_scored_on_its_test_set_or_on_half(model: KnownModel) -> None:
    scans = scans_of_study(model, "CC-CCII")
    fit, score = ({s.person for s in scans.part(name)} for name in ("fit", "score"))
    assert not fit & score
    assert {s.case.site for s in scans.part("old")} >= {"UTSW", "COVID-CTset"}
    assert "CC-CCII" not in {s.case.site for s in scans.part("old", "choose", "replay")}
    with pytest.raises(BadStudy, match="is a site that UTSW was trained on"):
        scans_of_study(model, "UTSW")
    with pytest.raises(BadStudy, match="has no site 'Nowhere'"):
        scans_of_study(model, "Nowhere")
    with pytest.raises(BadStudy, match="of the rarer class to fit on"):
        scans_of_study(model, "MosMedData")


def test_a_folder_without_labels_and_one_with_too_few(model: KnownModel, tmp_path: Path) -> None:
    bare = new_site(write_new_site(tmp_path / "bare", labelled=False, scans=8), "volumes")
    with pytest.raises(BadSite, match="has no labelled scan"):
        scans_of_folder(model, bare, None, tmp_path / "a", 1)
    few = new_site(write_new_site(tmp_path / "few", scans=10), "volumes")
    with pytest.raises(BadStudy, match="8 patients of each class are the least"):
        scans_of_folder(model, few, None, tmp_path / "b", 1)


def test_copies_of_what_it_was_trained_on_are_left_out(model: KnownModel, tiny_sites: Path, tmp_path: Path) -> None:
    """The training site's own folder, given as a new place: only its test scans are new to the model."""
    site = replace(new_site(tiny_sites / "UTSW", "dicom"), name="copy")
    try:
        scans = scans_of_folder(model, site, None, tmp_path, 1)
    except BadStudy:
        return
    assert any("is a copy of UTSW" in reason for _, reason, _ in scans.bad)


def test_a_folder_named_as_an_old_site_is_kept_apart(model: KnownModel, tmp_path: Path) -> None:
    site = new_site(write_new_site(tmp_path / "CC-CCII", scans=24), "volumes")
    scans = scans_of_folder(model, site, Folder(model.where), tmp_path / "store", 1)
    assert scans.place == "CC-CCII (new)"
    assert {s.case.site for s in scans.part("fit", "score")} == {"CC-CCII (new)"}


# The run ----------------------------------------------------------------------------------------------------------


def test_what_can_be_learned_is_adapted_to_and_surely_better(run: tuple[Adaptation, KnownModel, Path]) -> None:
    found, _, target = run
    assert found.decision == "adapt", found.choice
    assert found.after is not None
    assert found.after.estimate > 0.9 > found.before.estimate
    assert (found.exit_code, found.surely_better) == (0, True)
    rows = ADAPT_ROWS.read(target / "curve.parquet")
    assert {(r.way, r.size) for r in rows} >= {(w, k) for w in (*PLAN.ways, "threshold") for k in (4, 8)}
    assert {r.relation for r in rows} == {"here", "home", "other"}
    assert all(r.auc is None for r in rows if r.site == "MosMedData")
    assert {r.fitted for r in rows if r.size == 4} == {8}
    assert ADAPTATION.read(target / "adaptation.json")["decision"] == "adapt"


def test_what_is_forgotten_at_two_homes_compares_no_scans_of_different_sites(
    model: KnownModel, scans: AdaptingScans
) -> None:
    """Each site is ranked as before, but one lies above the other: pooled, that would look like forgetting."""
    both = replace(model, trained_on=("UTSW", "COVID-CTset"))
    old = [s for s in scans.part("old") if s.case.site in both.trained_on]
    assert {s.case.site for s in old} == set(both.trained_on)
    places = {(s.case.site, s.case.scan): s for s in scans.scans}
    before = {place: 0.2 + 0.1 * s.case.label for place, s in places.items()}
    after = {place: p + 0.5 * (place[0] == "UTSW") for place, p in before.items()}
    fits = [adapting_fits.Fit("all", 4, 0, -1, (), ())]
    (point,) = curve_points(both, scans, fits, [after], before)
    assert point.home is not None
    assert point.home.estimate == 0
    turned = {place: 0.9 - p if place[0] == "UTSW" else p for place, p in before.items()}
    (point,) = curve_points(both, scans, fits, [turned], before)
    assert point.home is not None
    assert point.home.estimate == pytest.approx(-0.5)


def test_scored_patients_were_never_fitted_on_or_asked_in_choosing(
    model: KnownModel, scans: AdaptingScans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fit of a run is looked at, whatever it is for."""
    fits: list[adapting_fits.Fit] = []

    class Stopped(Exception):
        pass

    def look(bench: adapting_fits.Bench, given, features, workers, describe: str):
        fits.extend(given)
        if describe == "Choosing":
            raise Stopped
        return [dict.fromkeys(((s.case.site, s.case.scan) for s in fit.asked), 0.5) for fit in given]

    monkeypatch.setattr("elsewhere.studies.adaptations.carry_out", look)
    with pytest.raises(Stopped):
        adapt_model(model, scans, PLAN, tmp_path, 1)
    scored = {s.person for s in scans.part("score")}
    home = {s.person for s in scans.part("old")}
    assert {fit.fold for fit in fits} > {-1, 0, 1}
    for fit in fits:
        fitted, asked = ({s.person for s in part} for part in (fit.fitted, fit.asked))
        assert not fitted & (scored | home)
        assert not fitted & asked
        if fit.fold >= 0:
            assert not asked & (scored | home)


def test_a_second_run_fits_nothing_and_says_the_same(
    run: tuple[Adaptation, KnownModel, Path], model: KnownModel, scans: AdaptingScans, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _, target = run
    monkeypatch.setattr("elsewhere.studies.adapting_fits.make_fit", sys.exit)
    again, _ = adapt_model(model, scans, PLAN, target, 1)
    assert replace(again, seconds=0) == replace(found, seconds=0)


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(
    run: tuple[Adaptation, KnownModel, Path],
    model: KnownModel,
    scans: AdaptingScans,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, made = adapting_fits.make_fit, []

    def stopping(bench, fit, features):
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(fit)
        real(bench, fit, features)

    with monkeypatch.context() as patched:
        patched.setattr("elsewhere.studies.adapting_fits.make_fit", stopping)
        with pytest.raises(KeyboardInterrupt):
            adapt_model(model, scans, PLAN, tmp_path, 1)
    kept = len(list((tmp_path / "fits").glob("*.parquet")))
    assert kept == 5
    again, new = adapt_model(model, scans, PLAN, tmp_path, 1)
    assert replace(again, seconds=0) == replace(run[0], seconds=0)
    assert new is not None
    assert new.checkpoint == run[1].checkpoint


def test_the_new_model_knows_its_parent_and_the_scans_it_was_adapted_with(
    run: tuple[Adaptation, KnownModel, Path], model: KnownModel, scans: AdaptingScans
) -> None:
    """Through the file that leaves the house: fitted scans are known to it, scored ones and other voxels are not."""
    new = read_model(run[2] / "new.zip")
    assert new.adapted is not None
    assert new.adapted.parent == model.checkpoint != new.checkpoint
    assert (new.adapted.positives, new.adapted.negatives, new.adapted.scans) == (16, 16, 32)
    for scan in scans.part("fit"):
        assert "on which this model was trained or chosen" in new.reason_known(scan.hashes)
    assert not any(new.reason_known(scan.hashes) for scan in scans.part("score", "old"))
    home = scans.part("replay")[0]
    assert "a scan of UTSW" in new.reason_known(home.hashes)  # what its parent was trained on, still
    assert new.adjustment is not None
    assert new.adjustment.source.startswith("chosen on 32 scans of St Mary, each left out of the fit that scored it")
    assert new.trained_on == ("UTSW", "St Mary")
    probabilities = {s.probability for s in new.scores if (s.site, s.subset) == ("St Mary", "test")}
    assert len(probabilities) > 10
    text = (run[2] / "new.zip").read_bytes()
    assert b"Q1/" not in text
    assert str(run[2]).encode() not in text


def test_an_exported_model_has_no_home_to_replay_or_to_forget(model: KnownModel, root: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "m.zip", model)
    exported = read_model(tmp_path / "m.zip")
    scans = scans_of_folder(exported, new_site(root, "volumes"), None, tmp_path / "p", 1)
    plan = replace(PLAN, ways=("dense", "all+replay"), draws=1)
    found, new = adapt_model(exported, scans, plan, tmp_path / "t", 1)
    assert {p.way for p in found.curve} == {"dense"}
    assert found.forgotten == ()
    assert any("Scans of home are not at hand" in note for note in found.notes)
    if new is not None:
        write_model(tmp_path / "n.zip", new)
        assert read_model(tmp_path / "n.zip").trained_on == ("St Mary",)


def test_labels_that_say_nothing_are_not_adapted_to(model: KnownModel, scans: AdaptingScans, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    labels = {
        p: int(v)
        for p, v in zip(sorted({s.person for s in scans.part("fit")}), random.permutation(32) % 2, strict=True)
    }
    mixed = tuple(replace(s, case=replace(s.case, label=labels.get(s.person, s.case.label))) for s in scans.scans)
    found, _ = adapt_model(model, replace(scans, scans=mixed), replace(PLAN, draws=1), tmp_path, 1)
    assert found.decision in {"nothing", "recalibrate"}
    assert found.exit_code in {10, 15}
    assert found.after is None

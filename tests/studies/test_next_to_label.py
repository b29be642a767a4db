"""Patients to label next, chosen by a trained network from a folder; what was chosen is known to a later adaptation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elsewhere.errors import BadOption
from elsewhere.studies.known_model import KnownModel, trained_model
from elsewhere.studies.new_site import new_site
from elsewhere.studies.next_to_label import (
    Waiting,
    choose_next,
    chosen_before,
    chosen_note,
    waiting_in_folder,
    waiting_in_study,
)
from new_sites import write_new_site


@pytest.fixture(scope="module")
def model(learnable_study: Path) -> KnownModel:
    return trained_model(learnable_study, "UTSW")


@pytest.fixture(scope="module")
def waiting(model: KnownModel, tmp_path_factory: pytest.TempPathFactory) -> Waiting:
    folder = tmp_path_factory.mktemp("next")
    root = write_new_site(folder / "St Mary", labelled=False, scans=24)
    return waiting_in_folder(model, new_site(root, "volumes"), folder, 1)


def test_random_needs_no_prediction_and_weighs_all_alike(model: KnownModel, waiting: Waiting, tmp_path: Path) -> None:
    found = choose_next(model, waiting, 6, "random", tmp_path, 1, 1)
    assert (found.patients, found.unlabelled, len(found.scans)) == (6, 24, 6)
    assert {row.weight for row in found.scans} == {4.0}
    assert not (tmp_path / "features").exists()
    lines = (tmp_path / "next.csv").read_text().splitlines()
    assert lines[0] == "scan_id,patient_id,label,weight"
    assert [line.split(",")[0] for line in lines[1:]] == [row.scan for row in found.scans]
    assert all(line.split(",")[2] == "" for line in lines[1:])


def test_stratified_weights_add_up_to_the_patients(model: KnownModel, waiting: Waiting, tmp_path: Path) -> None:
    found = choose_next(model, waiting, 8, "stratified", tmp_path, 1, 1)
    assert sum(row.weight or 0 for row in found.scans) == pytest.approx(24)


def test_k_centre_starts_from_what_is_labelled(model: KnownModel, waiting: Waiting, tmp_path: Path) -> None:
    """The patients chosen first, once labelled, are centres: asked again it chooses on as if asked at once."""
    whole = choose_next(model, waiting, 8, "k-centre", tmp_path / "a", 1, 1)
    first = choose_next(model, waiting, 3, "k-centre", tmp_path / "b", 1, 1)
    assert [r.scan for r in whole.scans[:3]] == [r.scan for r in first.scans]
    assert {row.weight for row in whole.scans} == {None}
    labelled = replace(waiting, labelled=frozenset(r.scan for r in first.scans))
    rest = choose_next(model, labelled, 5, "k-centre", tmp_path / "b", 1, 1)
    assert rest.unlabelled == 21
    assert [r.scan for r in rest.scans] == [r.scan for r in whole.scans[3:]]


def test_a_choice_that_was_not_drawn_alike_is_told_of_later(
    model: KnownModel, waiting: Waiting, tmp_path: Path
) -> None:
    assert chosen_note(tmp_path, waiting.scans) == ""
    choose_next(model, waiting, 5, "random", tmp_path, 1, 1)
    assert chosen_note(tmp_path, waiting.scans) == ""
    first = choose_next(model, waiting, 5, "k-centre", tmp_path, 1, 1)
    assert len(chosen_before(tmp_path)) == 5  # the random ones were never labelled
    labelled = replace(waiting, labelled=frozenset(r.scan for r in first.scans))
    choose_next(model, labelled, 4, "stratified", tmp_path, 1, 1)
    assert [row.how for row in chosen_before(tmp_path)] == ["k-centre"] * 5 + ["stratified"] * 4
    note = chosen_note(tmp_path, waiting.scans)
    assert note.startswith("9 labelled scans of 24 were chosen by --next (k-centre or stratified), not drawn alike")


def test_scans_of_a_labelled_patient_are_not_asked_for(waiting: Waiting) -> None:
    one = waiting.scans[0]
    twin = replace(one, case=replace(one.case, scan="second"))
    both = Waiting("x", (one, twin), frozenset([one.case.scan]))
    assert both.patients(labelled=False) == {}
    assert len(both.patients(labelled=True)[one.person]) == 2


def test_more_than_there_are_is_refused(model: KnownModel, waiting: Waiting, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="is 25, but 24 patients of St Mary have no label"):
        choose_next(model, waiting, 25, "random", tmp_path, 1, 1)
    here = waiting_in_study(model, "CC-CCII")
    assert here.patients(labelled=False) == {}
    with pytest.raises(BadOption, match="Adapt with the labels that are there"):
        choose_next(model, here, 1, "random", tmp_path, 1, 1)

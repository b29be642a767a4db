"""A study's folder in the place of its study file: the same study, wherever it was moved; trainings put aside."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from elsewhere.errors import BadStudy
from elsewhere.records import write_record
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder, folder_of, open_study, put_aside
from elsewhere.studies.records import read_identity
from elsewhere.studies.trainings import checkpoint_record


def test_the_folder_of_a_study_is_the_study(finished_study: Path, tiny_study_file: Path) -> None:
    assert load_study(finished_study) == load_study(tiny_study_file)
    assert open_study(finished_study) == (load_study(tiny_study_file), Folder(finished_study))
    assert open_study(tiny_study_file)[1] == Folder(Path("runs/tiny"))
    assert open_study(finished_study, Path("elsewhere"))[1] == Folder(Path("elsewhere"))
    assert folder_of(finished_study).root == finished_study
    assert folder_of(tiny_study_file).root == Path("runs/tiny")


def test_paths_move_with_the_folder(finished_study: Path, tmp_path: Path) -> None:
    """Sites that lay beside the folder are found beside it where it is now; others stay where they were."""
    copy = tmp_path / "there" / "run"
    shutil.copytree(finished_study, copy, ignore=shutil.ignore_patterns("models", "predictions"))
    identity = read_identity(Folder(copy))
    identity["settings"]["sites"][0] |= {"root": "../ct/here", "labels": "../labels.csv"}
    identity["settings"]["store"] = "../store"
    write_record(copy / "study.json", identity)
    study = load_study(copy)
    assert study.sites[0].root == tmp_path / "there" / "ct" / "here"
    assert study.sites[0].labels == tmp_path / "there" / "labels.csv"
    assert study.store == tmp_path / "there" / "store"
    assert study.sites[1].root == load_study(finished_study).sites[1].root


def test_a_folder_without_a_study(finished_study: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadStudy, match=r"holds no study that was run \(study\.json is missing\)\. Give a study file; those in it: none"
    ):
        load_study(tmp_path)
    identity = read_identity(Folder(finished_study))
    for broken in ({"seed": "many"}, {"sites": [{"name": "A"}]}, {"combinations": 5}):
        write_record(tmp_path / "study.json", identity | {"settings": identity["settings"] | broken})
        with pytest.raises(BadStudy, match="holds settings that this version does not know"):
            load_study(tmp_path)


def test_trainings_are_put_aside_and_nothing_is_deleted(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    assert put_aside(folder) is None
    for turn in ("first", "second"):
        folder.checkpoint("A").parent.mkdir(parents=True)
        folder.checkpoint("A").write_text(turn)
        folder.predictions("A", "B").parent.mkdir(parents=True)
        folder.step("A-then-B naive~1").mkdir(parents=True)
        (folder.root / "scans.parquet").write_text("stays")
        place = put_aside(folder)
        assert place is not None
        assert (place / "models" / "A" / "checkpoint").read_text() == turn
        assert (place / "predictions" / "A").is_dir()
        assert (place / "sequence" / "steps").is_dir()
        assert not folder.model("A").exists()
        assert not folder.sequence.exists()
    assert sorted(p.name for p in (folder.root / "earlier").iterdir()) == ["1", "2"]
    assert (folder.root / "scans.parquet").read_text() == "stays"


def test_the_finding_names_the_positive_class(tmp_path: Path) -> None:
    """Where it is not given, the record is what it was before there was such a key."""
    file = tmp_path / "study.toml"
    site = '[sites.A]\nkind = "volumes"\nroot = "a"\n'
    file.write_text(site)
    plain = load_study(file)
    assert (plain.finding, "finding" in plain.settings()) == ("", False)
    assert "finding" not in checkpoint_record(plain, "A", ["A"], [])
    file.write_text(f'finding = "pneumonia"\n{site}')
    named = load_study(file)
    assert named.settings()["finding"] == checkpoint_record(named, "A", ["A"], [])["finding"] == "pneumonia"
    file.write_text(f"finding = 5\n{site}")
    with pytest.raises(BadStudy, match="key `finding` is 5"):
        load_study(file)

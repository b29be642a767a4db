"""`elsewhere kit`: what the file holds and must not hold, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands.study import run_study
from elsewhere.errors import BadCheckpoint, BadOption, BadStudy
from elsewhere.model.network import load_checkpoint
from elsewhere.studies.folder import Folder
from elsewhere.studies.kit import kit_networks, make_kit, read_kit
from elsewhere.studies.known_model import trained_model
from elsewhere.studies.records import read_identity, read_scores
from new_sites import ONE_SITE_STUDY, write_secret_site


@pytest.fixture(scope="module")
def study(finished_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: a kit leaves a record in its study's folder."""
    return Path(shutil.copytree(finished_study, tmp_path_factory.mktemp("kit") / "out"))


@pytest.fixture(scope="module")
def kit(study: Path) -> Path:
    path = study.parent / "kit.zip"
    make_kit(Folder(study), ["UTSW", "COVID-CTset+MosMedData"], "", path)
    return path


def load_all(path: Path) -> None:
    kit = read_kit(path)
    for place in range(len(kit.models)):
        kit_networks(path, kit, place)


def test_the_command_takes_all_models_and_says_what_is_inside(study: Path, tmp_path: Path) -> None:
    target = tmp_path / "kit.zip"
    result = CliRunner().invoke(app, ["kit", str(study), "--out", str(target), "--hospital", "St. Mary"])
    assert result.exit_code == 0, result.output
    assert "2 models" in result.output
    assert "no patient id, path or UID is inside" in result.output
    found = read_kit(target)
    assert [m.name for m in found.models] == list(read_identity(Folder(study))["models"])
    assert found.hospital == "St. Mary"


def test_the_same_models_make_the_same_bytes(study: Path, kit: Path, tmp_path: Path) -> None:
    make_kit(Folder(study), ["UTSW", "COVID-CTset+MosMedData"], "", tmp_path / "kit.zip")
    assert (tmp_path / "kit.zip").read_bytes() == kit.read_bytes()
    make_kit(Folder(study), ["UTSW"], "", tmp_path / "other.zip")
    assert read_kit(tmp_path / "other.zip").number != read_kit(kit).number


def test_it_holds_the_models_and_their_thresholds(study: Path, kit: Path) -> None:
    found = read_kit(kit)
    scores = read_scores(Folder(study), read_identity(Folder(study)))
    for place, name in enumerate(("UTSW", "COVID-CTset+MosMedData")):
        model, (network,) = found.models[place], kit_networks(kit, found, place)
        known = trained_model(study, name)
        row = next(r for r in scores if (r.model, r.threshold_reading) == (name, "model"))
        assert (model.name, model.checkpoint, model.settings) == (name, known.checkpoint, known.settings)
        assert (model.point.threshold, model.point.rule) == (row.threshold, row.threshold_rule)
        assert (model.point.threshold, model.point.rule) == (known.home_point.threshold, known.home_point.rule)
        assert set(model.learned_from) == set(known.learned_from)
        ours, _ = load_checkpoint(Folder(study).checkpoint(name))
        assert all((a == b).all() for a, b in zip(network.parameters(), ours.parameters(), strict=True))


def test_no_patient_id_path_uid_or_score_is_inside(tmp_path: Path) -> None:
    """A study whose ids cannot stand in a file by chance; every byte of its kit is looked through, packed and not."""
    secrets = write_secret_site(tmp_path / "hospital-secret-folder" / "ct")
    (tmp_path / "study.toml").write_text(ONE_SITE_STUDY.format(root=tmp_path / "hospital-secret-folder" / "ct"))
    folder = Folder(tmp_path / "run-secret-folder")
    run_study(tmp_path / "study.toml", folder, workers=1)
    make_kit(folder, [], "", tmp_path / "kit.zip")
    secrets |= {"hospital-secret-folder", "run-secret-folder", str(tmp_path)}
    secrets |= {repr(s.probability) for s in trained_model(folder.root, "Here").scores}
    assert len(secrets) > 48
    with zipfile.ZipFile(tmp_path / "kit.zip") as file:
        contents = {"zip": (tmp_path / "kit.zip").read_bytes(), **{name: file.read(name) for name in file.namelist()}}
    assert set(contents) == {"zip", "kit.json", "README.md", "0.json", "0.safetensors"}
    for name, content in contents.items():
        inside = [s for s in secrets if s.encode() in content or s.encode("utf-16-le") in content]
        assert inside == [], f"{name} holds {inside[:3]}"
        assert not re.search(rb"1\.2\.\d+\.\d+\.\d+", content), name
        assert b"thresholds" not in content  # those of other sites were chosen on single scans there


@pytest.mark.parametrize("name", ["kit.json", "0.json", "0.safetensors", "1.safetensors"])
def test_one_bit_changed_inside_is_refused(kit: Path, tmp_path: Path, name: str) -> None:
    changed = tmp_path / "kit.zip"
    with zipfile.ZipFile(kit) as old, zipfile.ZipFile(changed, "w") as new:
        for one in old.namelist():
            content = bytearray(old.read(one))
            if one == name:
                content[len(content) // 2] ^= 1
            new.writestr(one, bytes(content))
    with pytest.raises(BadCheckpoint, match=r"kit\.zip"):
        load_all(changed)


def test_weights_of_another_model_are_refused(study: Path, kit: Path, tmp_path: Path) -> None:
    changed = tmp_path / "kit.zip"
    with zipfile.ZipFile(kit) as old, zipfile.ZipFile(changed, "w") as new:
        for one in old.namelist():
            new.writestr(one, old.read({"0.json": "1.json", "0.safetensors": "1.safetensors"}.get(one, one)))
    with pytest.raises(BadCheckpoint, match=r"is not the one that its kit\.json names"):
        load_all(changed)


def test_what_is_no_kit_is_refused(study: Path, kit: Path, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="no such file"):
        read_kit(tmp_path / "absent.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(BadCheckpoint, match="damaged or no zip"):
        read_kit(tmp_path / "text.zip")
    result = CliRunner().invoke(app, ["export", str(study), "UTSW", str(tmp_path / "model.zip")])
    assert result.exit_code == 0
    with pytest.raises(BadCheckpoint, match=r"is no kit: it has no kit\.json"):
        read_kit(tmp_path / "model.zip")
    with pytest.raises(BadOption, match="is there already"):
        make_kit(Folder(study), [], "", kit)
    with pytest.raises(BadOption, match=r"ends in \.zip"):
        make_kit(Folder(study), [], "", tmp_path / "kit.tar")
    with pytest.raises(BadOption, match=r"hospital is '\.\./x'"):
        make_kit(Folder(study), [], "../x", tmp_path / "new.zip")
    with pytest.raises(BadStudy, match="has no model 'Utsw'"):
        make_kit(Folder(study), ["Utsw"], "", tmp_path / "new.zip")
    assert not (tmp_path / "new.zip").exists()


def test_a_model_that_the_study_did_not_train_is_refused(study: Path, tmp_path: Path) -> None:
    folder = Folder(Path(shutil.copytree(study, tmp_path / "out")))
    record = json.loads(folder.study.read_text())
    record["settings"]["products"] = [{"name": "Vendor", "kind": "scores"}]
    folder.study.write_text(json.dumps({k: v for k, v in record.items() if k not in {"checksum", "record"}}))
    with pytest.raises(BadStudy, match=r"Vendor was not trained by this study \(kind 'scores'\)"):
        make_kit(folder, ["UTSW", "Vendor"], "", tmp_path / "kit.zip")
    assert not (tmp_path / "kit.zip").exists()

"""`elsewhere export`: what the file holds and must not hold, and that commands take it as they take a study."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands.study import run_study
from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.model.network import load_checkpoint
from elsewhere.studies.exported import NAMES, read_model, write_model
from elsewhere.studies.folder import Folder
from elsewhere.studies.known_model import Adjustment, trained_model
from elsewhere.studies.records import usable_rows
from new_sites import ONE_SITE_STUDY, write_new_site, write_secret_site


@pytest.fixture(scope="module")
def exported(finished_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.zip"
    write_model(path, trained_model(finished_study, "UTSW"))
    return path


def parts(path: Path) -> Iterator[tuple[str, bytes]]:
    """The file as it is, and each file in it; tables also as text, since Parquet is packed once more."""
    yield "zip", path.read_bytes()
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            yield name, file.read(name)
            if name.endswith(".parquet"):
                yield f"{name} as text", as_text(io.BytesIO(file.read(name)))


def as_text(table: io.BytesIO | Path) -> bytes:
    """Every value of a Parquet table."""
    return str(pq.read_table(table).to_pylist()).encode()


def test_the_command_writes_it_and_says_what_is_inside(finished_study: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.zip"
    result = CliRunner().invoke(app, ["export", str(finished_study), "UTSW", str(target)])
    assert result.exit_code == 0, result.output
    assert "no patient id, path or UID is inside" in result.output
    assert zipfile.ZipFile(target).namelist() == list(NAMES)
    again = CliRunner().invoke(app, ["export", str(finished_study / "models" / "UTSW"), str(target)])
    assert again.exit_code == 2
    assert "is there already" in again.output


def test_no_patient_id_path_or_uid_is_inside(tmp_path: Path) -> None:
    """A study whose ids cannot stand in a file by chance; its every byte is looked through, packed and unpacked."""
    root = tmp_path / "hospital-secret-folder" / "ct"
    secrets = write_secret_site(root)
    file = tmp_path / "study.toml"
    file.write_text(ONE_SITE_STUDY.format(root=root))
    folder = Folder(tmp_path / "run-secret-folder")
    run_study(file, folder, workers=1)
    write_model(tmp_path / "model.zip", trained_model(folder.root, "Here"))
    secrets |= {"hospital-secret-folder", "run-secret-folder", str(tmp_path), "ZZ-PATIENT"}
    assert len(secrets) > 24
    for name, content in parts(tmp_path / "model.zip"):
        inside = [s for s in secrets if s.encode() in content or s.encode("utf-16-le") in content]
        assert inside == [], f"{name} holds {inside[:3]}"
        assert not re.search(rb"1\.2\.\d+\.\d+\.\d+", content), name
    assert b"ZZ-PATIENT-" in as_text(folder.predictions("Here", "Here"))  # what it is made from does hold them


def test_patients_are_numbered_in_an_order_that_says_nothing(finished_study: Path, exported: Path) -> None:
    inside, outside = read_model(exported).scores, trained_model(finished_study, "UTSW").scores
    assert len(inside) == len(outside)
    assert {s.person for s in inside} == {str(i) for i in range(len({s.person for s in outside}))}
    keys = [(s.site, s.subset, s.label, s.probability, s.stratum or "") for s in inside]
    assert keys == sorted(keys)
    assert sorted(keys) == sorted((s.site, s.subset, s.label, s.probability, s.stratum or "") for s in outside)


def test_it_is_the_model_again(finished_study: Path, exported: Path) -> None:
    kept, known = read_model(exported), trained_model(finished_study, "UTSW")
    assert (kept.name, kept.trained_on, kept.checkpoint) == (known.name, known.trained_on, known.checkpoint)
    assert (kept.settings, kept.home_point, kept.learned) == (known.settings, known.home_point, known.learned)
    assert set(kept.learned_from) == set(known.learned_from)
    ours, _ = load_checkpoint(Folder(finished_study).checkpoint("UTSW"))
    assert all((a == b).all() for a, b in zip(kept.load()[0].parameters(), ours.parameters(), strict=True))
    again = exported.with_name("again.zip")
    write_model(again, kept)
    assert again.read_bytes() == exported.read_bytes()


def test_the_card_says_what_it_is_and_what_it_is_not(exported: Path) -> None:
    card = dict(parts(exported))["MODEL_CARD.md"].decode()
    assert card.startswith("# UTSW\n")
    assert "Research use only. Not a medical device." in card
    assert "| UTSW | home |" in card
    assert "| CC-CCII | elsewhere |" in card
    assert "slice spacing (mm)" in card


def _verdict(words: list[str], out: Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["verdict", *words, "--kind", "volumes", "--out", str(out), "--workers", "1"])
    record: dict[str, Any] = json.loads((out / "verdict.json").read_text())
    assert result.exit_code == record["exit_code"]
    return record


@pytest.mark.parametrize("labelled", [True, False])
def test_a_verdict_from_the_file_is_that_of_the_study(
    finished_study: Path, exported: Path, tmp_path: Path, labelled: bool
) -> None:
    """Patients have other numbers, so that bootstraps differ; everything else is the same number."""
    root = write_new_site(tmp_path / "new", labelled=labelled)
    ours = _verdict([str(finished_study), "UTSW", str(root)], tmp_path / "a")
    for words in ([str(exported), str(root)], [str(finished_study / "models" / "UTSW"), str(root)]):
        theirs = _verdict(words, tmp_path / "b")
        for key in ("action", "reason", "auc", "home_auc", "sensitivity", "outside", "checkpoint", "scans"):
            assert theirs[key] == ours[key], key
        if ours["estimate"] is not None:
            assert theirs["estimate"]["auc"] == pytest.approx(ours["estimate"]["auc"], rel=1e-12)
            assert theirs["estimate"]["left_out"] == ours["estimate"]["left_out"]


def test_scans_that_it_learned_from_are_left_out_without_their_names(
    exported: Path, tiny_sites: Path, tmp_path: Path
) -> None:
    words = ["verdict", str(exported), str(tiny_sites / "UTSW"), "--kind", "dicom", "--out", str(tmp_path)]
    assert CliRunner().invoke(app, [*words, "--workers", "1"]).exit_code != 1
    reasons = {b["reason"] for b in json.loads((tmp_path / "verdict.json").read_text())["bad_scans"]}
    assert reasons == {"is a copy of a scan of UTSW, on which this model was trained or chosen"}


def test_without_out_it_lies_beside_the_runs(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_new_site(tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["verdict", str(exported), str(root), "--kind", "volumes", "--workers", "1"])
    assert (tmp_path / "runs" / "model" / "verdicts" / "UTSW" / "new" / "verdict.html").is_file()
    said = "".join(result.output.split("\n"))
    assert "Prepared scans are kept in runs/model/verdicts/store (patient data" in said


def test_what_is_no_exported_model_is_refused(exported: Path, finished_study: Path, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="no such file"):
        read_model(tmp_path / "absent.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(BadCheckpoint, match="is damaged or no zip"):
        read_model(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(BadCheckpoint, match=r"has no model\.json \(it holds readme\.txt\)"):
        read_model(tmp_path / "other.zip")
    with pytest.raises(BadStudy, match="no model is named"):
        CliRunner().invoke(app, ["export", str(finished_study)], catch_exceptions=False)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "MODEL_CARD.md"])
def test_a_file_with_one_bit_changed_inside_is_refused(exported: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "model.zip"
    with zipfile.ZipFile(exported) as old, zipfile.ZipFile(target, "w") as new:
        for one in old.namelist():
            content = bytearray(old.read(one))
            if one == name:
                content[len(content) // 2] ^= 1
            new.writestr(one, bytes(content))
    with pytest.raises(BadCheckpoint):
        read_model(target).load()


def test_a_file_cut_short_is_refused(exported: Path, tmp_path: Path) -> None:
    target = Path(shutil.copy(exported, tmp_path / "model.zip"))
    content = target.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        target.write_bytes(content[: int(share * len(content))])
        with pytest.raises(BadCheckpoint):
            read_model(target).load()


def test_the_finding_travels_and_names_what_the_probability_is_of(exported: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "model.zip", replace(read_model(exported), finding="pneumonia"))
    assert read_model(tmp_path / "model.zip").finding == "pneumonia"
    assert "gives the probability of pneumonia." in dict(parts(tmp_path / "model.zip"))["MODEL_CARD.md"].decode()
    assert "gives the probability of the positive class." in dict(parts(exported))["MODEL_CARD.md"].decode()


def test_an_adjustment_travels(exported: Path, tmp_path: Path) -> None:
    known = read_model(exported)
    change = Adjustment(0.3, -0.5, 1.25, "given", 0, ("abc",))
    write_model(tmp_path / "model.zip", replace(known, adjustment=change))
    assert read_model(tmp_path / "model.zip").adjustment == change
    assert "Positive from 0.3 on" in dict(parts(tmp_path / "model.zip"))["MODEL_CARD.md"].decode()


def test_the_viewer_takes_it(finished_study: Path, exported: Path, tmp_path: Path) -> None:
    scan = next(r for r in usable_rows(Folder(finished_study)) if r.site == "UTSW" and r.subset == "test")
    pages = []
    for name in (str(exported), "UTSW"):
        page = tmp_path / f"{Path(name).stem}.html"
        words = ["view", str(finished_study), "--scan", f"UTSW/{scan.scan}", "--model", name, "--page", str(page)]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.exception
        pages.append(page.read_text(encoding="utf-8"))
    shown = [re.findall(r'"p": ?[\d.e-]+|probability[^<]{0,40}', text) for text in pages]
    assert shown[0] == shown[1]
    words = ["view", str(finished_study), "--model", str(exported), "--hardest", "2"]
    assert "which this study did not test" in str(CliRunner().invoke(app, words).exception)

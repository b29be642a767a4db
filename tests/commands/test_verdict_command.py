"""`elsewhere verdict` on tiny sites: with labels, without, with faults; its files, its three lines, its exit codes."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands import verdict as command
from elsewhere.commands.study import run_study
from elsewhere.commands.verdict import judge_site
from elsewhere.errors import BadCheckpoint, BadSite, BadStudy
from elsewhere.records import write_record
from elsewhere.scans.dicom import write_series
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.slices import encode_slice
from elsewhere.scans.volume import Volume
from elsewhere.statistics.verdict import Action, Verdict
from elsewhere.studies.folder import Folder, read_table
from elsewhere.studies.known_model import trained_model
from elsewhere.studies.new_scans import NewScan, scored_scans
from elsewhere.studies.new_site import new_site, read_options
from elsewhere.studies.records import read_identity

ENDS = {"volumes": ".nii.gz", "images": ".tif"}


@pytest.fixture(scope="module")
def made(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study's folder."""
    out = tmp_path_factory.mktemp("verdict") / "out"
    run_study(tiny_study_file, Folder(out), workers=1)
    return out


def _new_site(root: Path, kind: str, labelled: bool = True, spacing: float = 8.0) -> Path:
    """24 scans that no site of the study has."""
    module = reader(kind)
    scans = [Scan(root.name, f"Q{i}", f"Q{i}", i % 2, facts={"extension": ENDS.get(kind)}) for i in range(24)]
    root.mkdir(parents=True, exist_ok=True)
    for i, scan in enumerate(scans):
        hu = np.random.default_rng([9, i]).normal(-800, 60, (6, 16, 16))
        hu[:, :, :3] = 40
        hu[2:4, 5:9, 5:9] += 500 * (i % 2)
        module.write(root, scan, Volume(hu.astype(np.int16), "HU", (spacing, 0.7, 0.7), 0))
    if labelled:
        module.write_tables(root, scans)
    return root


def _record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    return record


def test_with_labels_it_measures(made: Path, tmp_path: Path) -> None:
    root = _new_site(tmp_path / "new", "dicom")
    result = CliRunner().invoke(app, ["verdict", str(made), "UTSW", str(root), "--out", str(tmp_path / "v")])
    record = _record(tmp_path / "v")
    assert result.exit_code == record["exit_code"]
    assert record["exit_code"] in {0, 10, 11, 12, 20}
    lines = [line for line in result.stdout.splitlines() if line]
    assert lines[:3] == [f"{record['headline']}.", record["reason"], record["next_step"]]
    assert (record["estimated"], record["scans"], record["positives"]) == (False, 24, 12)
    assert 0 <= record["auc"]["estimate"] <= 1
    assert "Not a medical device" in (tmp_path / "v" / "verdict.html").read_text(encoding="utf-8")


def test_its_probabilities_are_those_of_predict(made: Path, tiny_sites: Path, tmp_path: Path) -> None:
    """A site of the study again: what the model was never trained on is scored as in the study, to the last bit."""
    judge_site(trained_model(made, "UTSW"), new_site(tiny_sites / "CC-CCII", "cc_ccii"), out=tmp_path, workers=1)
    with (tmp_path / "scans.csv").open() as file:
        found = {r["scan"]: float(r["probability"]) for r in csv.DictReader(file)}
    known = [r for r in read_table(Folder(made).predictions("UTSW", "CC-CCII")) if r["pass"] == -1]
    assert len(found) == 24
    assert len(known) > 3
    assert {r["scan"]: r["probability"] for r in known} == {r["scan"]: found[r["scan"]] for r in known}


@pytest.mark.parametrize("kind", ["dicom", "volumes", "images"])
def test_without_a_table_it_estimates_or_refuses(made: Path, tmp_path: Path, kind: str) -> None:
    root = _new_site(tmp_path / "new", kind, labelled=False)
    said = judge_site(trained_model(made, "UTSW"), new_site(root, kind), out=tmp_path / "v", workers=1)
    record = _record(tmp_path / "v")
    assert (said.estimated, record["estimated"], record["auc"], record["scans"]) == (True, True, None, 24)
    assert said.exit_code == 21
    if said.estimate is not None:
        assert {s.site for s in said.estimate.left_out} == {"CC-CCII", "COVID-CTset"}  # MosMedData has one class
    assert not (root / "labels.csv").exists()


def test_thick_slices_lie_outside_everything_measured(made: Path, tmp_path: Path) -> None:
    root = _new_site(tmp_path / "new", "volumes", labelled=False, spacing=30.0)
    said = judge_site(trained_model(made, "UTSW"), new_site(root, "volumes"), out=tmp_path / "v", workers=1)
    assert said.exit_code == 21
    assert any("slice_spacing_mm is 30" in words for words in said.outside)


def test_a_model_with_one_unseen_site_of_two_classes_cannot_be_estimated(made: Path, tmp_path: Path) -> None:
    one = read_identity(Folder(made))
    one["settings"]["sites"] = [s for s in one["settings"]["sites"] if s["name"] != "COVID-CTset"]
    copy = shutil.copytree(made, tmp_path / "runs" / "copy")
    write_record(copy / "study.json", one)
    root = _new_site(tmp_path / "new", "volumes", labelled=False)
    said = judge_site(trained_model(copy, "UTSW"), new_site(root, "volumes"), out=tmp_path / "v", workers=1)
    assert (said.exit_code, said.estimate) == (21, None)
    assert "1 site(s)" in said.reason or said.outside


def test_bad_scans_are_listed_and_the_rest_is_judged(made: Path, tmp_path: Path) -> None:
    root = _new_site(tmp_path / "new", "volumes")
    (root / "Q3.nii.gz").write_bytes(b"no volume")
    (root / "Q4.nii.gz").unlink()
    said = judge_site(trained_model(made, "UTSW"), new_site(root, "volumes"), out=tmp_path / "v", workers=1)
    record = _record(tmp_path / "v")
    assert (said.scans, len(record["bad_scans"])) == (22, 2)
    assert any("Q3" in b["scan"] + b["reason"] for b in record["bad_scans"])
    assert any("Q4" in b["scan"] + b["reason"] for b in record["bad_scans"])
    assert all(b["next_step"] for b in record["bad_scans"])
    assert "Scans that could not be used: 2" in (tmp_path / "v" / "verdict.html").read_text(encoding="utf-8")


def test_what_is_no_chest_is_scored_with_a_remark_or_not_used_at_all(made: Path, tmp_path: Path) -> None:
    """A block of tissue among chests: a model that crops nothing scores it and says so, one that crops does not."""
    root = _new_site(tmp_path / "new", "volumes", spacing=30.0)
    for i in range(24):
        hu = np.random.default_rng([7, i]).normal(-985, 15, (6, 16, 16))
        hu[:, 2:14, 1:15] += 1020
        if i != 5:
            hu[1:, 4:12, 3:7] -= 900
            hu[1:, 4:12, 9:13] -= 850 + 40 * (i % 2)
        scan = Scan(root.name, f"Q{i}", f"Q{i}", i % 2, facts={"extension": ".nii.gz"})
        reader("volumes").write(root, scan, Volume(hu.astype(np.int16), "HU", (30.0, 0.7, 0.7), 0))
    model = trained_model(made, "UTSW")
    judge_site(model, new_site(root, "volumes"), name="St Mary", out=tmp_path / "v", workers=1)
    rows = {r["scan"]: r for r in csv.DictReader((tmp_path / "v" / "scans.csv").read_text().splitlines())}
    assert "lungs not found" in rows["Q5"]["remarks"]
    assert not any("lungs" in row["remarks"] for name, row in rows.items() if name != "Q5")
    assert rows["Q5"]["probability"]
    page = (tmp_path / "v" / "verdict.html").read_text(encoding="utf-8")
    assert "lungs not found" in page
    assert "Will UTSW work at St Mary?" in page
    assert "--name 'St Mary' --out v" in page.replace("&#39;", "'")
    assert _record(tmp_path / "v")["hospital"] == "St Mary"

    cropped = replace(model.settings, preparation=replace(model.settings.preparation, crop="lungs"))
    judge_site(replace(model, settings=cropped), new_site(root, "volumes"), out=tmp_path / "c", workers=1)
    assert "St Mary" not in (tmp_path / "c" / "verdict.html").read_text(encoding="utf-8")
    rows = {r["scan"]: r for r in csv.DictReader((tmp_path / "c" / "scans.csv").read_text().splitlines())}
    assert rows["Q5"]["probability"] == ""
    assert "cropped to the lungs, and this one cannot be: lungs not found" in rows["Q5"]["reason_not_used"]
    assert sum(bool(row["probability"]) for row in rows.values()) == 23


def test_scans_that_the_model_learned_from_are_left_out(made: Path, tiny_sites: Path, tmp_path: Path) -> None:
    said = judge_site(trained_model(made, "UTSW"), new_site(tiny_sites / "UTSW", "dicom"), out=tmp_path, workers=1)
    learned = [r for r in read_table(Folder(made).scans) if r["site"] == "UTSW" and r["subset"] != "test"]
    bad = _record(tmp_path)["bad_scans"]
    assert {b["scan"] for b in bad} == {r["scan"] for r in learned}
    assert all("is a copy of UTSW" in b["reason"] for b in bad)
    assert said.scans == 24 - len(learned)


def test_a_labels_table_of_its_own_and_scans_without_label(made: Path, tmp_path: Path) -> None:
    root = _new_site(tmp_path / "new", "volumes")
    table = tmp_path / "other.csv"
    rows = (root / "labels.csv").read_text().splitlines()
    column = rows[0].split(",").index("label")
    for i in (1, 2):
        cells = rows[i].split(",")
        cells[column] = "unknown"
        rows[i] = ",".join(cells)
    table.write_text("\n".join(rows) + "\n")
    said = judge_site(trained_model(made, "UTSW"), new_site(root, "volumes", table), out=tmp_path / "v", workers=1)
    assert (said.scans, said.estimated) == (22, False)
    assert any("2 scans without a label" in note for note in said.notes)


def test_case_mix_counts_only_where_every_stratum_is_known() -> None:
    rows = [NewScan("a", f"s{stratum}", 1, 0.5, stratum, {}) for stratum in ("F 0", "M 1")]
    assert list(np.asarray(scored_scans(rows).strata)) == ["F 0", "M 1"]
    assert scored_scans([*rows, replace(rows[0], stratum=None)]).strata is None


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("nothing", 0),
        ("recalibrate", 10),
        ("adapt", 11),
        ("do not use", 12),
        ("estimate only", 21),
        ("not learned", 30),
    ],
)
def test_the_exit_code_is_the_verdicts(monkeypatch: pytest.MonkeyPatch, action: Action, code: int) -> None:
    said = Verdict(action, "why", "what", False, 1, 1, 1, 0.5, "grid", 0.5)
    monkeypatch.setattr(command, "judge_site", lambda *_, **__: said)
    monkeypatch.setattr(command, "named_model", lambda *_: (None, ["scans"]))
    result = CliRunner().invoke(app, ["verdict", "study", "A", "scans"])
    assert result.exit_code == code


def test_what_it_refuses(made: Path, tmp_path: Path) -> None:
    with pytest.raises(BadStudy, match=r"study\.json is missing"):
        judge_site(trained_model(tmp_path, "UTSW"), new_site(tmp_path))
    with pytest.raises(BadStudy, match="Choose one of its models: "):
        judge_site(trained_model(made, "nonsense"), new_site(tmp_path))
    with pytest.raises(BadStudy, match="--kind: is 'nonsense'"):
        new_site(tmp_path, "nonsense")
    with pytest.raises(BadSite, match="no such folder"):
        judge_site(trained_model(made, "UTSW"), new_site(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadSite):
        judge_site(trained_model(made, "UTSW"), new_site(tmp_path / "empty", "volumes"))


def test_site_options_are_read_as_in_a_study_file() -> None:
    assert read_options(["units=HU", "offset=-1024", "listed_only=true", 'lists=["a.csv"]']) == {
        "units": "HU",
        "offset": -1024,
        "listed_only": True,
        "lists": ["a.csv"],
    }
    for wrong in (["units"], ["=HU"], ["units=HU", "units=relative"]):
        with pytest.raises(BadStudy, match="Write each as KEY=VALUE once"):
            read_options(wrong)


def test_options_that_the_kind_has_not_are_refused(tmp_path: Path) -> None:
    assert new_site(tmp_path, "volumes", options={"units": "HU", "offset": 5}).options == {"units": "HU", "offset": 5.0}
    with pytest.raises(BadStudy, match=r"--option: key `unit` is unknown\. Did you mean `units`"):
        new_site(tmp_path, "volumes", options={"unit": "HU"})
    with pytest.raises(BadStudy, match="--option: key `units` is 'mm'"):
        new_site(tmp_path, "volumes", options={"units": "mm"})
    with pytest.raises(BadStudy, match=r"key `units` is unknown\. Known keys: columns, positive, negative"):
        new_site(tmp_path, "dicom", options={"units": "HU"})


def test_a_site_of_a_study_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    here = '[sites.Here]\nkind = "volumes"\nroot = "scans"\nlabels = "labels.csv"\nunits = "HU"\nuse = "test"\n'
    file.write_text(here)
    site = new_site(file)
    assert (site.name, site.kind, site.root, site.options) == ("Here", "volumes", tmp_path / "scans", {"units": "HU"})
    assert site.labels == tmp_path / "labels.csv"
    file.write_text(f'{here}[sites.There]\nkind = "images"\nroot = "scans"\n')
    assert new_site(file, name="There").kind == "images"
    with pytest.raises(BadStudy, match=r"has several sites\. Choose one with --site: Here, There"):
        new_site(file)
    with pytest.raises(BadStudy, match="has no site 'Nowhere'"):
        new_site(file, name="Nowhere")
    with pytest.raises(BadStudy, match="names kind, labels and options itself"):
        new_site(file, "volumes", name="Here")
    with pytest.raises(BadStudy, match="is no study file"):
        new_site(tmp_path, name="Here")


def test_the_option_reaches_the_reader(made: Path, tmp_path: Path) -> None:
    """Stored values are CT numbers, 1024 above HU: with the site's option the scans are those that were written."""
    root = _new_site(tmp_path / "new", "volumes")
    plain = judge_site(trained_model(made, "UTSW"), new_site(root, "volumes"), out=tmp_path / "v", workers=1)
    same = judge_site(
        trained_model(made, "UTSW"), new_site(root, "volumes", options={"units": "HU"}), out=tmp_path / "w", workers=1
    )
    assert same.called_positive == plain.called_positive
    shifted = new_site(root, "volumes", options={"units": "relative"})
    judge_site(trained_model(made, "UTSW"), shifted, out=tmp_path / "x", workers=1)
    assert (tmp_path / "x" / "scans.csv").read_text() != (tmp_path / "w" / "scans.csv").read_text()
    assert "--option units=relative" in (tmp_path / "x" / "verdict.html").read_text(encoding="utf-8")


def test_requirements_from_the_command_line_stand_in_the_record(made: Path, tmp_path: Path) -> None:
    root = _new_site(tmp_path / "new", "volumes")
    wanted = ["--least-sensitivity", "0.8", "--net-benefit-at", "0.2", "--margin", "0.05", "--prevalence", "0.1"]
    command_line = ["verdict", str(made), "UTSW", str(root), "--kind", "volumes", "--out", str(tmp_path / "v"), *wanted]
    result = CliRunner().invoke(app, command_line)
    record = _record(tmp_path / "v")
    assert result.exit_code == record["exit_code"]
    demands = {r["demand"]: r for r in record["requirements"]}
    assert "sensitivity at least 0.80 (stated)" in demands
    assert "specificity at most 0.05 below home (stated)" in demands
    assert "net benefit above that of treat-all (stated)" in demands
    assert all(r["met"] == (r["status"] == "met") for r in demands.values())
    assert [p["given"] for p in record["predictive"]] == [False, True]


@pytest.mark.parametrize(("flag", "value"), [("--least-auc", "1.2"), ("--margin", "0"), ("--prevalence", "1")])
def test_a_requirement_outside_its_range_is_a_wrong_command_line(flag: str, value: str) -> None:
    result = CliRunner().invoke(app, ["verdict", "study", "A", "scans", flag, value])
    assert result.exit_code == 2
    assert "must be above" in result.output


def test_a_study_that_was_tried_at_home_alone_still_measures(made: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(made, tmp_path / "runs" / "copy")
    for site in ("CC-CCII", "COVID-CTset", "MosMedData"):
        Folder(copy).predictions("UTSW", site).unlink()
    root = _new_site(tmp_path / "new", "volumes")
    assert (
        judge_site(trained_model(copy, "UTSW"), new_site(root, "volumes"), out=tmp_path / "v", workers=1).auc
        is not None
    )
    Folder(copy).predictions("UTSW", "UTSW").unlink()
    with pytest.raises(BadStudy, match=r"UTSW\.parquet: does not exist\. Run `elsewhere study` again"):
        judge_site(trained_model(copy, "UTSW"), new_site(root, "volumes"), out=tmp_path / "v", workers=1)


def test_a_damaged_checkpoint_is_an_error(made: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(made, tmp_path / "runs" / "copy")
    (copy / "models" / "UTSW" / "checkpoint.safetensors").write_bytes(b"cut")
    with pytest.raises(BadCheckpoint):
        judge_site(
            trained_model(copy, "UTSW"),
            new_site(_new_site(tmp_path / "new", "volumes"), "volumes"),
            out=tmp_path / "v",
            workers=1,
        )


def test_a_study_that_was_copied_is_not_tied_to_where_it_was(made: Path, tmp_path: Path) -> None:
    """Neither read from there nor written to: the verdict is the same, and the old place keeps its every byte."""
    copy = Path(shutil.copytree(made, tmp_path / "runs" / "copy"))
    root = _new_site(tmp_path / "new", "volumes")
    before = {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in made.parent.rglob("*")}
    said = judge_site(trained_model(copy, "UTSW"), new_site(root, "volumes"), workers=1)
    assert {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in made.parent.rglob("*")} == before
    assert (copy / "verdicts" / "UTSW" / "new" / "verdict.html").is_file()
    assert list((copy / "verdicts" / "store").rglob("*.b2nd"))
    assert str(made) not in (copy / "verdicts" / "UTSW" / "new" / "verdict.json").read_text()
    here = judge_site(trained_model(made, "UTSW"), new_site(root, "volumes"), out=tmp_path / "v", workers=1)
    assert here.to_record() == said.to_record()


def test_a_path_in_square_brackets_is_told_as_it_is(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = _new_site(tmp_path / "CT [thorax] [/old] [red]x[", "volumes")
    (root / "Q3.nii.gz").write_bytes(b"no volume")
    judge_site(trained_model(made, "UTSW"), new_site(root, "volumes"), out=tmp_path / "[v]", workers=1)
    said = "".join(capsys.readouterr().err.split("\n"))
    assert "1 scan could not be used; the first: Q3" in said
    assert str(tmp_path / "[v]" / "verdict.html") in said


def test_names_that_no_text_holds_are_no_obstacle(made: Path, tmp_path: Path) -> None:
    root = _new_site(tmp_path / "new", "volumes", labelled=False)
    os.rename(root / "Q3.nii.gz", os.fsencode(root) + b"/M\xfcller.nii.gz")
    (root / "Q4.nii.gz").rename(root / " lead.nii.gz")
    (root / "._Q5.nii.gz").write_bytes(b"mac")
    broken = os.fsencode(root) + b"/b\xf6se.nii.gz"
    Path(os.fsdecode(broken)).write_bytes(b"no volume")
    judge_site(trained_model(made, "UTSW"), new_site(root, "volumes"), out=tmp_path / "v", workers=1)
    record = _record(tmp_path / "v")
    assert (record["scans"], [b["scan"] for b in record["bad_scans"]]) == (24, [r"b\xf6se.nii.gz"])
    with (tmp_path / "v" / "scans.csv").open(encoding="utf-8", newline="") as file:
        assert {r["scan"] for r in csv.DictReader(file)} >= {r"M\xfcller.nii.gz", " lead.nii.gz"}


@pytest.mark.parametrize(("workers", "labelled"), [("1", True), ("2", False)])
def test_a_file_that_ends_its_reader_costs_its_own_scan(
    made: Path, tmp_path: Path, inject: Callable[[dict[str, str]], None], workers: str, labelled: bool
) -> None:
    root = _new_site(tmp_path / "new", "volumes", labelled)
    inject({"Q3.nii": "SIGSEGV", "Q5.nii": "SIGABRT"})
    asked = ["verdict", str(made), "UTSW", str(root), "--kind", "volumes", "--out", str(tmp_path / "v")]
    result = CliRunner().invoke(app, [*asked, "--workers", workers])
    record = _record(tmp_path / "v")
    assert result.exit_code == record["exit_code"] != 1
    assert record["scans"] == 22
    reasons = [b["reason"] for b in record["bad_scans"]]
    assert ["SIGSEGV" in r or "SIGABRT" in r for r in reasons] == [True, True]
    inject({})
    CliRunner().invoke(app, asked)
    assert [b["reason"] for b in _record(tmp_path / "v")["bad_scans"]] == reasons  # not tried until its file changes
    os.utime(root / "Q3.nii.gz", (1, 1))
    CliRunner().invoke(app, asked)
    assert _record(tmp_path / "v")["scans"] == 23


def test_a_copy_of_a_training_scan_in_another_matrix_is_found(made: Path, tiny_sites: Path, tmp_path: Path) -> None:
    """Saved at twice its size it has other voxels, and is the same to the network."""
    learned = [r for r in read_table(Folder(made).scans) if r["site"] == "UTSW" and r["subset"] == "train"]
    scan = next(s for s in reader("dicom").find(tiny_sites / "UTSW", "UTSW").scans if s.scan == learned[0]["scan"])
    volume = reader("dicom").read(scan)
    wide = volume.voxels.repeat(2, axis=1).repeat(2, axis=2)
    root = _new_site(tmp_path / "new", "volumes", labelled=False)
    other = Scan("new", "copy", "copy", None, facts={"extension": ".nii.gz"})
    reader("volumes").write(root, other, Volume(wide, "HU", (8.0, 0.35, 0.35), 0))
    judge_site(trained_model(made, "UTSW"), new_site(root, "volumes"), out=tmp_path / "v", workers=1)
    (bad,) = _record(tmp_path / "v")["bad_scans"]
    assert bad["scan"] == "copy.nii.gz"
    assert f"is a copy of UTSW: {scan.scan}" in bad["reason"]


@pytest.mark.parametrize("kind", ["dicom", "images"])
def test_what_lies_there_without_a_table_is_taken_one_by_one(made: Path, tmp_path: Path, kind: str) -> None:
    """Three patients of one SeriesInstanceUID; a folder of slices beside single pictures, its mask left out."""
    root = tmp_path / "new"
    if kind == "dicom":
        for i, folder in enumerate(("a", "b", "c")):
            hu = np.random.default_rng(i).normal(-800, 60, (6, 16, 16)).astype(np.int16)
            hu[:, :, :3] = 40
            volume = Volume(hu, "HU", (8.0, 0.7, 0.7), 0)
            write_series(root / folder, volume, patient=f"p{i}", study_uid="1.2.8", series_uid="1.2.8.1", facts={})
        wanted = {"p0", "p1", "p2"}
    else:
        grey = np.random.default_rng(0).integers(0, 200, (5, 16, 16)).astype(np.uint8)
        for z in range(3):
            encode_slice(_made(root / "one" / f"{z}.png"), grey[z])
        encode_slice(root / "one" / "1_mask.png", grey[1] // 128)
        encode_slice(_made(root / "flat" / "knee.png"), grey[3])
        encode_slice(_made(root / "flat" / "chest.png"), grey[4])
        wanted = {"one", "flat/knee.png", "flat/chest.png"}
    asked = ["verdict", str(made), "UTSW", str(root), "--kind", kind, "--out", str(tmp_path / "v"), "--workers", "1"]
    result = CliRunner().invoke(app, asked)
    record = _record(tmp_path / "v")
    assert (result.exit_code, record["bad_scans"]) == (21, [])
    with (tmp_path / "v" / "scans.csv").open(encoding="utf-8", newline="") as file:
        assert {row["patient"] for row in csv.DictReader(file)} == wanted


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_a_study_that_was_handed_over_needs_nothing_of_where_it_was(
    made: Path, tiny_study_file: Path, tmp_path: Path
) -> None:
    """Copied with its store beside it, its scans and the old place out of reach: judged, reported and viewed."""
    shutil.copytree(made.parent, tmp_path / "given")
    copy, away = tmp_path / "given" / "out", tmp_path / "away"
    identity = read_identity(Folder(copy))
    settings = identity["settings"]
    for site in settings["sites"]:
        site["root"] = str(tmp_path / "gone" / site["name"])
    write_record(copy / "study.json", identity)
    made.parent.rename(away)
    try:
        root = _new_site(tmp_path / "new", "volumes", labelled=False)
        asked = ["verdict", str(copy), "UTSW", str(root), "--kind", "volumes", "--workers", "1"]
        assert CliRunner().invoke(app, asked).exit_code == 21
        assert CliRunner().invoke(app, ["report", str(copy)]).exit_code == 0
        scan = next(r["scan"] for r in read_table(Folder(copy).scans) if r["site"] == "UTSW")
        shown = ["view", str(tiny_study_file), str(copy), "--scan", f"UTSW/{scan}", "--page", str(tmp_path / "p.html")]
        assert CliRunner().invoke(app, shown).exit_code == 0
        assert not made.parent.exists()
    finally:
        away.rename(made.parent)

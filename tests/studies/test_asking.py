"""Models that a study runs: the network's own cell, in its own process too; refusals and failures; what is kept."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands.study import run_study, study
from elsewhere.commands.verdict import judge_product
from elsewhere.errors import BadStudy
from elsewhere.model.declared import CommandModel
from elsewhere.scans.nifti import write_nifti
from elsewhere.scans.sites import volumes
from elsewhere.scans.volume import Volume, content_hash
from elsewhere.studies.asking import ask_models, declared_models, product_of
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.known_model import trained_model
from elsewhere.studies.new_site import new_site
from elsewhere.studies.products import read_products
from elsewhere.studies.records import PRODUCT_SCORES, SCORES, ProductRow, read_identity, usable_rows
from study_rows import a_scan

ITSELF = """
import json, sys
from pathlib import Path
from elsewhere.model.runnable import open_model
from elsewhere.model.declared import OwnNetwork
from elsewhere.model.runnable.protocol import GivenScan
from elsewhere.scans.nifti import read_nifti
from elsewhere.scans.volume import Volume

given, out, checkpoint = map(Path, sys.argv[1:])
grid = read_nifti(given / "scan.nii.gz")
scan = GivenScan("A", "p", "s", Volume(grid.voxels, "HU", grid.spacing, 0.0))
model = open_model(OwnNetwork(name="Own", checkpoint=checkpoint, stride=2))
(out / "result.json").write_text(json.dumps({"score": float(model.score(scan).max())}))
"""
FUSSY = """
import json, sys
from pathlib import Path
from pydicom import dcmread

given, out, here = map(Path, sys.argv[1:])
patient = dcmread(sorted(given.iterdir())[0]).PatientID
with (here / "asked.txt").open("a") as log:
    print(patient, file=log)
(out / "scores.csv").write_text(json.loads((here / "rules.json").read_text())[patient])
"""


@pytest.fixture(scope="module")
def trained(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Folder]:
    """A study of one DICOM site and its network: the file, and the finished folder."""
    root = tmp_path_factory.mktemp("taught at home")
    text = tiny_study_file.read_text().replace('[["UTSW"], ["COVID-CTset", "MosMedData"]]', '[["UTSW"]]')
    file = root / "trained.toml"
    file.write_text(text[: text.index("[sites.CC-CCII]")])
    run_study(file, Folder(root / "runs"), workers=1)
    return file, Folder(root / "runs")


@pytest.fixture(scope="module")
def ran(trained: tuple[Path, Folder], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Folder]:
    """A study of the same site that trains nothing: that network, the same in another process, and a fussy program."""
    root = tmp_path_factory.mktemp("models study")
    text = trained[0].read_text().replace('combinations = [["UTSW"]]', "combinations = []")
    stem = trained[1].checkpoint("UTSW")
    (root / "itself.py").write_text(ITSELF)
    (root / "fussy.py").write_text(FUSSY)
    tested = sorted(r.patient for r in usable_rows(trained[1]) if r.subset == "test")
    answers = ["score,refused\n0.9,\n", "score,refused\n,slices too thick\n", "rubbish\n", "score\n0.2\n"]
    (root / "rules.json").write_text(json.dumps(dict(zip(tested, answers, strict=True))))
    python = f"'{sys.executable}'"
    text += f"""
[models.Own]
kind = "elsewhere"
checkpoint = "{stem}"
stride = 2
[models.Itself]
kind = "command"
allow_code = true
run = "{python} itself.py {{in}} {{out}} '{stem}'"
threshold = 0.5
[models.Fussy]
kind = "command"
allow_code = true
give = "dicom"
run = "{python} fussy.py {{in}} {{out}} ."
threshold = 0.5
version = "2.1"
"""
    file = root / "models.toml"
    file.write_text(text)
    study(file, root / "runs", workers=1)
    return file, Folder(root / "runs")


def rows_of(folder: Folder, model: str) -> dict[str, ProductRow]:
    return {row.patient: row for row in read_products(folder) if row.model == model}


@pytest.mark.parametrize("model", ["Own", "Itself"])
def test_the_network_s_own_cell(trained: tuple[Path, Folder], ran: tuple[Path, Folder], model: str) -> None:
    """The same network asked by another study, and in another process, scores each scan as in its own study."""
    ours = next(r for r in SCORES.read(trained[1].scores) if r.threshold_reading == "model")
    theirs = next(r for r in PRODUCT_SCORES.read(ran[1].product_scores) if r.model == model)
    for name in ("auc", "auc_sampling_low", "brier", "calibration_intercept", "calibration_slope", "scans"):
        assert getattr(theirs, name) == pytest.approx(getattr(ours, name), abs=1e-12), name
    assert theirs.unanswered == 0


def test_another_study_s_threshold_comes_with_its_network(
    trained: tuple[Path, Folder], ran: tuple[Path, Folder]
) -> None:
    ours = next(r for r in SCORES.read(trained[1].scores) if r.threshold_reading == "model")
    theirs = next(r for r in PRODUCT_SCORES.read(ran[1].product_scores) if r.model == "Own")
    assert (theirs.threshold, theirs.sensitivity, theirs.specificity) == (
        ours.threshold,
        ours.sensitivity,
        ours.specificity,
    )


def test_what_a_program_refuses_or_spoils_is_a_row_with_a_reason(ran: tuple[Path, Folder]) -> None:
    rows = [rows_of(ran[1], "Fussy")[patient] for patient in sorted(rows_of(ran[1], "Fussy"))]
    assert [r.probability for r in rows] == [0.9, None, None, 0.2]
    assert [r.call for r in rows] == [1, None, None, 0]
    assert rows[1].reason == "slices too thick"
    assert rows[2].reason.startswith("Fussy left no readable answer: scores.csv must have")
    (score,) = (r for r in PRODUCT_SCORES.read(ran[1].product_scores) if r.model == "Fussy")
    assert (score.given, score.unanswered, score.scans) == (4, 2, 2)


def test_the_page_counts_reasons_and_says_that_foreign_code_was_run(ran: tuple[Path, Folder]) -> None:
    page = (ran[1].root / "report.html").read_text(encoding="utf-8")
    assert "No network was trained" in page
    assert "Foreign code was run: Fussy is a program of its own." in page
    assert "Foreign code was run: Own" not in page
    assert "slices too thick" in page
    assert "1 of 4" in page
    assert "version 2.1, which was given each scan as DICOM" in page
    assert "a network that another study of elsewhere trained, UTSW" in page
    assert "python itself.py {in} {out} checkpoint" in page
    assert "taught at home" not in page  # the folder of that checkpoint: pages go to others


def test_study_json_keeps_what_was_run_and_the_hash_of_its_files(ran: tuple[Path, Folder]) -> None:
    kept = {declared.name: (declared.kind, len(sha)) for declared, sha in declared_models(ran[1])}  # type: ignore[attr-defined]
    assert kept == {"Own": ("elsewhere", 64), "Itself": ("command", 64), "Fussy": ("command", 64)}
    assert [p["sha256"] for p in read_identity(ran[1])["settings"]["products"]] == [
        sha for _, sha in declared_models(ran[1])
    ]


def test_answers_and_refusals_are_kept_failures_are_asked_again(ran: tuple[Path, Folder]) -> None:
    file, folder = ran
    log = file.parent / "asked.txt"
    first = log.read_text().split()
    patients = sorted(first)
    assert len(patients) == len(set(patients)) == 4
    run_study(file, folder, workers=1)
    assert log.read_text().split()[4:] == [patients[2]]
    (file.parent / "fussy.py").write_text(FUSSY + "\n")  # another program: nothing that is kept is its answer
    run_study(file, folder, workers=1)
    assert sorted(log.read_text().split()[5:]) == patients


ZOOMS = """
import json, sys
from pathlib import Path
import nibabel
given, out = map(Path, sys.argv[1:])
score = float(nibabel.load(given / "scan.nii.gz").header.get_zooms()[2]) / 10
(out / "result.json").write_text(json.dumps({"score": score}))
"""


def test_scans_of_the_same_voxels_are_not_one_scan(tmp_path: Path) -> None:
    """Two scans that differ in nothing but the distance of their slices; a scan that is gone has that as its reason."""
    voxels = np.random.default_rng(0).normal(-500, 300, (6, 16, 16)).astype(np.int16)
    for name, step in (("near", 2.0), ("far", 6.0)):
        write_nifti(tmp_path / "a" / f"{name}.nii.gz", Volume(voxels, "HU", (step, 1.0, 1.0), 0.0))
    table = "patient_id,path,label\np1,near.nii.gz,1\np2,far.nii.gz,0\n"
    (tmp_path / "a" / "labels.csv").write_text(table)
    (tmp_path / "zooms.py").write_text(ZOOMS)
    (tmp_path / "s.toml").write_text(
        'combinations = []\n[sites.A]\nkind = "volumes"\nroot = "a"\nuse = "test"\n[models.V]\nkind = "command"\n'
        f"allow_code = true\nrun = \"'{sys.executable}' zooms.py {{in}} {{out}}\"\n"
    )
    plan, out = load_study(tmp_path / "s.toml"), Folder(tmp_path / "runs")
    models = [product for product in plan.products if isinstance(product, CommandModel)]
    listed = [scan.scan for scan in volumes.find(tmp_path / "a", "A").scans]
    seen = content_hash(voxels)
    rows = [a_scan(scan=scan, file=f"{i}.b2nd", content_hash=seen) for i, scan in enumerate([*listed, "gone"])]
    for _ in range(2):  # asked, and kept
        found = ask_models(plan, out, rows, models, workers=1)
        assert [found["V", "A", row.scan].reason for row in rows[:2]] == ["", ""]
        scores = [found["V", "A", row.scan].probability for row in rows]
        assert sorted(scores[:2], key=float) == pytest.approx([0.2, 0.6])  # type: ignore[arg-type]
        assert found["V", "A", "gone"].reason == "the scan is no longer at its site"
    assert len(list((out.root / "answers").iterdir())) == 2


# Other commands ----------------------------------------------------------------------------------------------------


def test_a_verdict_on_another_site_is_that_of_its_scores(
    ran: tuple[Path, Folder], tiny_sites: Path, tmp_path: Path
) -> None:
    """All scans of a site of the study: those of its test subset have the scores that the study found."""
    file = tmp_path / "here.toml"
    file.write_text(f'[sites.UTSW]\nkind = "dicom"\nroot = "{tiny_sites / "UTSW"}"\n')
    words = ["verdict", str(ran[1].root), "Own", str(file), "--out", str(tmp_path / "v"), "--workers", "1"]
    result = CliRunner().invoke(app, [*words, "--least-auc", "0.99"])
    record = json.loads((tmp_path / "v" / "evaluation.json").read_text())
    assert result.exit_code == record["exit_code"] != 1, result.output
    with (tmp_path / "v" / "scores.csv").open() as table:
        scores = {row["scan"]: float(row["score"]) for row in csv.DictReader(table)}
    assert len(scores) == 24
    known = {row.scan: row.probability for row in rows_of(ran[1], "Own").values()}
    assert {scan: scores[scan] for scan in known} == known
    margin = CliRunner().invoke(app, [*words, "--margin", "0.1"])
    assert "what Own was trained on is not known" in str(margin.exception)


def test_without_labels_nothing_is_said_of_it(ran: tuple[Path, Folder], tiny_sites: Path, tmp_path: Path) -> None:
    product = product_of(ran[1], "Own")
    assert product is not None
    bare = tmp_path / "bare"
    shutil.copytree(tiny_sites / "UTSW", bare, ignore=shutil.ignore_patterns("labels.csv"))
    with pytest.raises(BadStudy, match="without labels Own cannot be estimated: where it is at home is not known"):
        judge_product(ran[1], product, new_site(bare, "dicom"), out=tmp_path / "v", workers=1)
    assert product_of(ran[1], "UTSW") is None


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["stress", "--models", "Fussy"], "names 'Fussy', which takes DICOM files"),
        (["diagnose", "--models", "Fussy"], "names 'Fussy', which takes DICOM files"),
        (["view", "--scan", "UTSW/P1", "--model", "Fussy"], "names 'Fussy', which takes DICOM files"),
        (["stress", "--models", "Nobody"], "Choose from the study's models: Own, Itself"),
    ],
)
def test_what_is_not_possible_is_said(ran: tuple[Path, Folder], command: list[str], says: str) -> None:
    result = CliRunner().invoke(app, [command[0], str(ran[0]), str(ran[1].root), *command[1:]])
    assert isinstance(result.exception, BadStudy)
    assert says in str(result.exception)


def test_a_model_that_was_not_trained_here_is_not_exported(ran: tuple[Path, Folder]) -> None:
    with pytest.raises(BadStudy, match="did not train Own: only `elsewhere verdict` runs it on other scans"):
        trained_model(ran[1].root, "Own")

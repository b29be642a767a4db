"""`elsewhere diagnose` on two sites of drawn chests, one with a tint that follows the label: found, named, resumed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands import diagnose as command
from elsewhere.commands.diagnose import Diagnosed, diagnose_study, probing
from elsewhere.commands.diagnose.probed import ProbedScan, SeenBy, read_probed, write_probed
from elsewhere.commands.diagnose.tables import ALL_ACQUISITION
from elsewhere.commands.study import run_study
from elsewhere.errors import BadStudy
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import Volume
from elsewhere.statistics.confounding import MEASURED
from elsewhere.statistics.learned import Learned
from elsewhere.studies.folder import Folder, read_table
from elsewhere.studies.records import read_findings

PATIENTS, TINT = 40, 80
STUDY = """
protocol = "paper"
combinations = [["A"], ["A", "B"]]
[split]
train = 0.5
test = 0.4
[network]
input = [8, 32, 32]
filters = [2, 4]
kernels = [[3, 3, 3], [3, 3, 3]]
pools = [[2, 4, 4]]
dense = [8]
groups = 1
dense_groups = 1
[training]
iterations = 4
validate_every = 2
save_every = 2
threads = 1
tensorboard = false
[prediction]
passes = 0
stride = 2
[evaluation]
resamples = 20
"""


def _chest(site: str, number: int, positive: bool) -> Volume:
    random = np.random.default_rng([len(site), ord(site[0]), number])
    z, y, x = np.mgrid[-1:1:10j, -1:1:32j, -1:1:32j]
    hu = np.full(z.shape, random.normal(-980, 5)) + TINT * (site == "A" and positive)
    hu[(y / 0.7) ** 2 + (x / 0.85) ** 2 < 1] = random.normal(40, 5)
    for centre in (-0.4, 0.4):
        hu[(z / 0.9) ** 2 + (y / 0.45) ** 2 + ((x - centre) / 0.28) ** 2 < 1] = random.normal(-850, 15)
    hu += random.normal(0, 5, hu.shape)
    if number == 7:
        hu[:] = random.normal(40, 20, hu.shape)  # no lungs at all
        hu[:, :4] = random.normal(-1000, 5, hu[:, :4].shape)
    return Volume(hu.round().astype(np.int16), "HU", (5.0, 1.0, 1.0), 0)


def _write_sites(root: Path) -> str:
    tables, module = "", reader("volumes")
    for site in "AB":
        scans = [Scan(site, f"{site}{i}", f"{site}{i}", i % 2, facts={"extension": ".nii.gz"}) for i in range(PATIENTS)]
        for i, scan in enumerate(scans):
            module.write(root / site, scan, _chest(site, i, bool(scan.label)))
        module.write_tables(root / site, scans)
        tables += f'[sites.{site}]\nkind = "volumes"\nroot = "{root / site}"\n'
    return tables


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Folder]:
    """A study file and the folder of the finished study."""
    root = tmp_path_factory.mktemp("diagnose")
    file = root / "chests.toml"
    file.write_text(STUDY + _write_sites(root / "sites"))
    folder = Folder(root / "out")
    run_study(file, folder, workers=1)
    return file, folder


@pytest.fixture(scope="module")
def found(made: tuple[Path, Folder]) -> Diagnosed:
    file, folder = made
    return diagnose_study(file, folder, permutations=199, workers=1)


def test_the_planted_tint_is_named_at_its_site_alone(found: Diagnosed) -> None:
    named = [f for f in found.findings if not f.model and f.home == f.site]
    assert [(f.site, f.cause) for f in named] == [("A", "background")]
    assert named[0].strength > 0.95
    assert "tells positive from negative at A without any lung: AUC" in named[0].sentence
    assert "at B that was not shown" in named[0].sentence


def test_records_are_as_agreed(made: tuple[Path, Folder], found: Diagnosed) -> None:
    home = made[1].root / "diagnosis"
    separation = read_table(home / "separation.parquet")
    assert set(separation[0]) >= {
        "home", "site", "view", "model", "auc", "low", "high", "p", "power", "patients_home", "patients_site"
    }  # fmt: skip
    assert {(r["view"], r["model"]) for r in separation} >= {("lungs_erased", ""), ("border", ""), ("features", "A")}
    assert {(r["home"], r["site"]) for r in separation} == {("A", "B")}
    shortcuts = read_table(home / "shortcuts.parquet")
    views = ("whole", "label_shuffle", "lungs_erased", "lungs_only", "border_only")
    expected = {("A", "A", view) for view in views} | {("A", "B", view) for view in views[:3]}
    assert {(r["model"], r["site"], r["view"]) for r in shortcuts} == expected
    assert {"auc", "low", "high", "p", "patients", "scans", "permutations", "degenerate"} < set(shortcuts[0])
    assert all((r["p"] is None) == (r["view"] == "label_shuffle") for r in shortcuts)
    saliency = read_table(home / "saliency.parquet")
    assert set(saliency[0]) == {"model", "site", "patient", "scan", "label", "probability", "inside", "expected"} | {
        "degenerate"
    }
    assert all(0 <= r["inside"] <= 1 for r in saliency if r["inside"] is not None)
    assert all(0.1 < r["expected"] < 0.4 for r in saliency)
    assert [vars(row) for row in read_findings(home / "findings.json")] == [vars(row) for row in found.findings]
    assert set(vars(found.findings[0])) == {"model", "home", "site", "cause", "sentence", "strength", "p", "p_floor"}
    assert all(r["p_holm"] >= r["p"] for r in read_table(home / "labels.parquet"))


def test_whole_scans_are_predicted_as_the_study_did(made: tuple[Path, Folder], found: Diagnosed) -> None:
    known = {r["scan"]: r["probability"] for r in read_table(made[1].predictions("A", "B")) if r["pass"] == -1}
    seen = {r.scan: r.probability for r in found.saliency if r.site == "B"}
    assert len(seen) >= 15
    assert seen == pytest.approx({scan: known[scan] for scan in seen}, abs=1e-5)


def test_a_scan_without_lungs_is_said_and_left_out(found: Diagnosed) -> None:
    lost = [r.scan for r in found.scans if not r.lungs_found]
    assert lost == ["A7", "B7"]
    assert not any(r.scan in lost for r in found.saliency)
    assert next(r.scans for r in found.labels if r.view == "background") == PATIENTS - 1


def test_again_it_looks_at_no_scan_and_says_the_same(
    made: tuple[Path, Folder], found: Diagnosed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "find_regions", lambda *_: pytest.fail("looked again"))
    assert diagnose_study(*made, permutations=199, workers=1) == found


def test_a_chunk_that_is_lost_is_made_again_alone(
    made: tuple[Path, Folder], found: Diagnosed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Folder(tmp_path / "out")
    shutil.copytree(made[1].root, copy.root)
    (tmp_path / "store").symlink_to(made[1].root.parent / "store")
    parts = sorted((copy.root / "diagnosis" / "parts").iterdir())
    parts[0].unlink()
    (copy.root / "diagnosis" / "parts" / "old.parquet").write_bytes(b"")
    looked, find = [], probing.find_regions
    monkeypatch.setattr(probing, "find_regions", lambda *given: looked.append(1) or find(*given))
    assert diagnose_study(made[0], copy, permutations=199, workers=1) == found
    assert 0 < len(looked) <= probing.CHUNK
    assert sorted((copy.root / "diagnosis" / "parts").iterdir()) == parts


def test_a_scan_is_read_as_it_was_kept_without_its_facts(tmp_path: Path) -> None:
    """The columns stand as earlier versions wrote them: what those looked at is not looked at again."""
    seen = SeenBy("A", [1.0], 0.5, {"lungs_erased": 0.25, "lungs_only": None, "border_only": 0.75}, None, 0.1)
    numbers = {"background": [1.0, 2.0], "lungs": [0.5]}
    scan = ProbedScan("A", "P", "S", 1, "test", True, 0.25, False, numbers, (seen,), {"kernel": "lung"})
    write_probed(tmp_path / "part.parquet", [scan, replace(scan, models=())])
    columns = ["site", "patient", "scan", "label", "subset", "lungs_found", "lung_share", "outside_found"]
    (first, _) = read_table(tmp_path / "part.parquet")
    assert list(first) == [*columns, "background", "lungs", "models"]
    views = ["lungs_erased", "lungs_only", "border_only"]
    assert list(first["models"][0]) == ["model", "features", "probability", *views, "inside", "expected"]
    assert read_probed(tmp_path / "part.parquet") == [replace(scan, facts={}), replace(scan, facts={}, models=())]
    assert [scan.seen_by(model) for model in "AB"] == [seen, None]
    assert seen.probabilities == {"whole": 0.5, "lungs_erased": 0.25, "lungs_only": None, "border_only": 0.75}


def test_it_prints_tables_and_sentences(made: tuple[Path, Folder], found: Diagnosed) -> None:
    file, folder = made
    result = CliRunner().invoke(
        app, ["diagnose", str(file), str(folder.root), "--permutations", "199", "--workers", "1"]
    )
    assert result.exit_code == 0, result.output
    printed = " ".join(result.output.split())
    assert "Label information outside the lungs" in printed
    assert "no lungs were found in 2 of 80 scans (2 positive): left out" in printed
    assert " ".join(found.findings[0].sentence.split()) in printed


def test_a_model_of_four_steps_is_degenerate_and_nothing_is_said_of_what_it_uses(
    made: tuple[Path, Folder], found: Diagnosed
) -> None:
    (said,) = [f.sentence for f in found.findings if f.model]
    assert said.startswith("Model A is degenerate: ")
    assert said.endswith(" What it uses is not asked.")
    for table in (found.shortcuts, found.saliency, found.separation):
        assert all(bool(r.degenerate) == bool(r.model) for r in table)
    result = CliRunner().invoke(app, ["diagnose", str(made[0]), str(made[1].root), "--permutations", "199"])
    assert result.exit_code == 0
    assert "(degenerate)" in " ".join(result.output.split())


def test_a_model_that_learned_is_spoken_of(
    made: tuple[Path, Folder], found: Diagnosed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = Learned(0.9, 0.8, 1.0, 0.9, 0.5, 1.0, 40, (), ())
    monkeypatch.setattr(command, "learned_models", lambda _, models: dict.fromkeys(models, fine))
    copy = Folder(shutil.copytree(made[1].root, tmp_path / "out"))
    (tmp_path / "store").symlink_to(made[1].root.parent / "store")
    again = diagnose_study(made[0], copy, permutations=199, workers=1)
    assert not any(r.degenerate for r in again.shortcuts)
    assert "degenerate" not in {f.cause for f in again.findings}
    assert again.labels == found.labels


def test_models_and_sites_can_be_chosen(made: tuple[Path, Folder], tmp_path: Path) -> None:
    copy = Folder(tmp_path / "out")
    shutil.copytree(made[1].root, copy.root)
    (tmp_path / "store").symlink_to(made[1].root.parent / "store")
    found = diagnose_study(made[0], copy, ["A+B"], ["A"], permutations=99, workers=1)
    assert {r.model for r in found.shortcuts} == {"A+B"}
    assert {r.site for r in found.shortcuts} == {"A"}
    assert found.separation == []
    assert not (copy.root / "diagnosis" / "separation.parquet").exists()


@pytest.mark.parametrize(("models", "sites", "message"), [
    (["C"], None, "has no model 'C'. Choose one of its models: A, A\\+B"),
    (None, ["C"], "has no site 'C'. Choose one of its sites: A, B"),
])  # fmt: skip
def test_unknown_names_are_refused(
    made: tuple[Path, Folder], models: list[str] | None, sites: list[str] | None, message: str
) -> None:
    with pytest.raises(BadStudy, match=message):
        diagnose_study(*made, models, sites)


def test_a_study_that_has_not_run_is_refused(made: tuple[Path, Folder], tmp_path: Path) -> None:
    with pytest.raises(BadStudy, match="does not exist"):
        diagnose_study(made[0], Folder(tmp_path))
    shutil.copy(made[1].scans, tmp_path / "scans.parquet")
    with pytest.raises(BadStudy, match=r"predictions.*does not exist\. Run `elsewhere study` again"):
        diagnose_study(made[0], Folder(tmp_path))
    assert command.PERMUTATIONS >= 999


def test_header_like_metadata_hold_nothing_that_was_measured_in_the_picture() -> None:
    assert "encoding_kind" in MEASURED  # found by looking at the values
    assert not set(MEASURED) & set(ALL_ACQUISITION)
    assert {"kernel", "units", "thickness_mm"} <= set(ALL_ACQUISITION)

"""Cross-validation by patient within a study: who scores whom, the ensemble, the plan, and what is done twice."""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere import cli
from elsewhere.commands.export import export
from elsewhere.commands.predict import predict
from elsewhere.commands.prepare import prepare
from elsewhere.commands.report import report
from elsewhere.commands.study import cluster_commands, run_study, study
from elsewhere.commands.train import train
from elsewhere.commands.view import view
from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.model.network import load_checkpoint, load_networks, read_checkpoint_record
from elsewhere.scans.scan import Scan, SplitSettings, draw_folds, split
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import Volume
from elsewhere.studies.exported import read_model
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.folds import as_seen_by
from elsewhere.studies.kit import make_kit
from elsewhere.studies.known_model import trained_model
from elsewhere.studies.predictions import PREDICTIONS, fitting_predictions
from elsewhere.studies.records import CROSS_VALIDATION, OUT_OF_FOLD, read_identity, usable_rows
from elsewhere.studies.visiting import predict_scans
from tiny_sites import TINY_SITES, TINY_STUDY

MEMBERS = [f"UTSW~fold{i}" for i in (1, 2, 3)]


def write_study(sites: Path, folder: Path, folds: int = 3) -> Path:
    text = TINY_STUDY.replace('combinations = [["UTSW"], ["COVID-CTset", "MosMedData"]]', 'combinations = [["UTSW"]]')
    tables = "".join(
        f'[sites.{n}]\nkind = "{k}"\nroot = "{sites / n}"\n'
        for n, k in TINY_SITES.items()
        if n in {"UTSW", "COVID-CTset"}
    )
    file = folder / "tiny.toml"
    file.write_text(f"{text}[split]\nfolds = {folds}\n{tables}")
    return file


@pytest.fixture(scope="module")
def file(tiny_sites: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tiny_sites, tmp_path_factory.mktemp("folds"))


@pytest.fixture(scope="module")
def made(file: Path) -> Folder:
    """The study, run once."""
    study(file, file.parent / "out", workers=1)
    return Folder(file.parent / "out")


def test_every_patient_is_scored_once_by_a_network_that_never_saw_him(made: Folder, file: Path) -> None:
    rows = OUT_OF_FOLD.read(made.out_of_fold)
    usable = usable_rows(made)
    assert Counter(r.scan for r in rows) == Counter(r.scan for r in usable if r.site == "UTSW")
    labels = {label for fold in (1, 2, 3) for label in {r.label for r in rows if r.fold == fold}}
    assert labels == {0, 1}
    for fold, name in enumerate(MEMBERS, 1):
        seen = [r for r in as_seen_by(name, usable) if r.site == "UTSW"]
        known = {r.patient for r in seen if r.subset in {"train", "validation"}}
        scored = {r.patient for r in rows if r.fold == fold}
        assert known | scored == {r.patient for r in seen}
        assert not known & scored
        record = read_checkpoint_record(made.checkpoint(name))
        assert record["split_hash"] != read_checkpoint_record(made.checkpoint("UTSW"))["split_hash"]
    seeds = [load_study(file).training_of(name).seed for name in ("UTSW", *MEMBERS)]
    assert seeds == [0, 1, 2, 3]


def test_out_of_fold_scores_are_those_of_the_folds_networks(made: Folder) -> None:
    for row in OUT_OF_FOLD.read(made.out_of_fold):
        found = fitting_predictions(made, f"UTSW~fold{row.fold}", "UTSW").subset("test").deterministic
        assert found.probabilities[found.scans == row.scan].tolist() == [row.probability]
        assert row.call == int(row.probability >= row.threshold) or row.threshold == 0.5
    (row,) = CROSS_VALIDATION.read(made.cross_validation)
    assert (row.model, row.site, row.folds, row.patients, row.positives) == ("UTSW", "UTSW", 3, 24, 12)
    assert row.auc is not None
    assert len(row.fold_aucs) == 3
    assert row.auc == pytest.approx(np.mean(row.fold_aucs))


def test_the_ensemble_is_the_mean_elsewhere_and_out_of_fold_at_home(made: Folder) -> None:
    away = [fitting_predictions(made, name, "COVID-CTset") for name in ["UTSW~folds", *MEMBERS]]
    assert all(found.scans.tolist() == away[0].scans.tolist() for found in away)
    mean = np.mean([found.probabilities for found in away[1:]], axis=0)
    np.testing.assert_allclose(away[0].probabilities, mean, rtol=1e-12)
    home = fitting_predictions(made, "UTSW~folds", "UTSW")
    scored = {r.scan: r.probability for r in OUT_OF_FOLD.read(made.out_of_fold)}
    assert home.probabilities.tolist() == [scored[scan] for scan in home.scans.tolist()]
    assert {r.subset for r in PREDICTIONS.read(made.predictions("UTSW~folds", "UTSW"))} == {"validation", "test"}


def test_the_ensemble_leaves_the_house_and_predicts_as_its_networks(made: Folder, tmp_path: Path) -> None:
    known = trained_model(made.root, "UTSW~folds")
    assert known.members == len(known.load()) == 3
    assert len(known.learned_from) >= 24  # no patient of home is new to all of them
    export(made.root, "UTSW~folds", str(tmp_path / "m.zip"))
    read = read_model(tmp_path / "m.zip")
    assert read.members == len(read.load()) == 3
    weights = [load_checkpoint(made.checkpoint(name))[0].state_dict() for name in MEMBERS]
    for network, own in zip(read.load(), weights, strict=True):
        assert all((network.state_dict()[name] == value).all() for name, value in own.items())


def test_a_kit_carries_the_mean_of_the_networks_and_a_hospital_scores_it_as_the_study(
    made: Folder, file: Path, tmp_path: Path
) -> None:
    own = Folder(tmp_path / "out")
    for name in ("out", "store"):
        shutil.copytree(file.parent / name, tmp_path / name)
    kit = make_kit(own, ["UTSW~folds", "UTSW"], "", tmp_path / "kit.zip")
    assert [(m.name, m.members) for m in kit.models] == [("UTSW~folds", 3), ("UTSW", 1)]
    assert kit.models[0].point == trained_model(made.root, "UTSW~folds").home_point
    rows = [row for row in usable_rows(made) if row.site == "COVID-CTset" and row.subset == "test"]
    moved: list[float] = []
    scored = predict_scans(tmp_path / "kit.zip", kit, 0, rows, lambda share, _: moved.append(share))
    expected = fitting_predictions(made, "UTSW~folds", "COVID-CTset").subset("test").deterministic
    by_scan = dict(zip(sorted(row.scan for row in rows), scored.single.tolist(), strict=True))
    for scan, probability in zip(expected.scans.tolist(), expected.probabilities.tolist(), strict=True):
        assert by_scan[scan] == pytest.approx(probability, abs=1e-12)
    assert (len(scored.passes), moved[-1], moved) == (0, 1.0, sorted(moved))
    root = str(load_study(file).site("COVID-CTset").root)
    out = ["--out", str(tmp_path / "return.json"), "--work", str(tmp_path / "work"), "--hospital", "Mercy"]
    line = ["visit", str(tmp_path / "kit.zip"), root, "--kind", "covid_ctset", "--workers", "1", "--yes", *out]
    assert CliRunner().invoke(cli.app, line).exit_code == 0
    assert CliRunner().invoke(cli.app, ["gather", str(own.root), str(tmp_path / "return.json")]).exit_code == 0
    with (own.root / "tables" / "tiny-cells.csv").open(encoding="utf-8", newline="") as table:
        shown = {row["model"]: row for row in csv.DictReader(table) if row["site"] == "Mercy"}
    assert set(shown) == {"UTSW", "UTSW~folds"}


def test_new_scans_get_the_mean_of_the_networks(made: Folder, file: Path) -> None:
    root = load_study(file).site("COVID-CTset").root
    found = predict(made.root, "UTSW~folds", str(root), kind="covid_ctset", out=made.root / "new.json")
    assert found is not None
    by_scan = {row.scan: row.probability for row in found.scans}
    expected = fitting_predictions(made, "UTSW~folds", "COVID-CTset").deterministic
    for scan, probability in zip(expected.scans.tolist(), expected.probabilities.tolist(), strict=True):
        assert by_scan[scan] == pytest.approx(probability, abs=1e-6)


def test_what_needs_one_network_says_so(made: Folder) -> None:
    with pytest.raises(BadCheckpoint, match=r"is the mean of 3 networks.*without ~folds"):
        load_checkpoint(made.checkpoint("UTSW~folds"))
    assert len(load_networks(made.checkpoint("UTSW"))[0]) == 1


def test_view_shows_what_the_mean_looked_at_block_by_block(made: Folder, file: Path, tmp_path: Path) -> None:
    row = fitting_predictions(made, "UTSW~folds", "COVID-CTset").deterministic
    page = view(file, made.root, scan=[f"COVID-CTset/{row.scans[0]}"], model="UTSW~folds", page=tmp_path / "v.html")
    text = page.read_text(encoding="utf-8")
    assert "Occlusion map" in text
    (shown,) = re.findall(r"ability <strong>(0\.[0-9]+)", text)
    assert float(shown) == pytest.approx(row.probabilities[0], abs=0.0006)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("UTSW~fold1", "fold 1 of UTSW, by the patients left out of it alone"),
        ("UTSW~7", "a further training of UTSW"),
        ("UTSW@erm.1", "a further training of UTSW"),
        ("UTWS", "has no model 'UTWS'"),
    ],
)
def test_a_name_that_is_no_model_says_why(made: Folder, name: str, why: str) -> None:
    with pytest.raises(BadStudy, match=why):
        trained_model(made.root, name)


def test_the_page_shows_it(made: Folder) -> None:
    html = (made.root / "report.html").read_text(encoding="utf-8")
    assert "Cross-validation by patient" in html
    assert "mean of 3 folds" in html
    assert "within folds" in html
    assert (made.root / "tables" / "tiny-cross-validation.csv").is_file()
    assert (made.root / "tables" / "tiny-ensembles.csv").is_file()
    assert read_identity(made)["ensembles"] == {"UTSW~folds": ["UTSW"]}
    assert list(read_identity(made)["models"]) == ["UTSW"]


def test_started_again_nothing_is_trained_or_predicted_twice(made: Folder, file: Path) -> None:
    paths = [p for p in made.root.rglob("*") if p.is_file() and p.parts[-1] != "report.html"]
    kept = [p for p in paths if {"models", "predictions"} & set(p.relative_to(made.root).parts)]
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in kept}
    run_study(file, made, workers=1)
    for path, (time, content) in before.items():
        assert path.read_bytes() == content, path
        if path.suffix in {".safetensors", ".parquet"}:
            assert path.stat().st_mtime_ns == time, path


def test_a_fold_can_be_trained_alone_and_a_page_of_other_predictions_is_refused(made: Folder, file: Path) -> None:
    assert train(file, "UTSW~fold2", made.root) == made.model("UTSW~fold2")
    with pytest.raises(BadStudy, match=r"has no model 'UTSW~fold4'.*UTSW~fold3"):
        train(file, "UTSW~fold4", made.root)
    rows = CROSS_VALIDATION.read(made.cross_validation)
    whole = made.predictions("UTSW~fold1", "UTSW").read_bytes()
    changed = PREDICTIONS.read(made.predictions("UTSW~fold1", "UTSW"))
    PREDICTIONS.write(made.predictions("UTSW~fold1", "UTSW"), changed, "another")
    with pytest.raises(BadStudy, match="does not belong to the predictions of UTSW's folds"):
        report([made.root])
    made.predictions("UTSW~fold1", "UTSW").write_bytes(whole)
    report([made.root])
    assert rows


def test_the_plan_and_the_cluster_count_the_folds(
    file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = CliRunner().invoke(cli.app, ["study", str(file), str(tmp_path / "run"), "--plan"])
    words = " ".join((result.output + capfd.readouterr().err).split())
    assert "4 networks to train of 4" in words
    assert "Cross-validation: each patient of a training site is scored by a network of 3 that never saw him" in words
    lines = list(cluster_commands(file, Folder(tmp_path), load_study(file)))
    assert sum("train" in line for line in lines) == 4
    assert sum(" predict " in line for line in lines) == 8


def test_a_study_without_folds_keeps_none_of_an_earlier_one(made: Folder, file: Path, tmp_path: Path) -> None:
    plain = tmp_path / "tiny.toml"
    plain.write_text(file.read_text().replace("folds = 3", ""))
    assert not load_study(plain).folds
    assert "folds" not in load_study(plain).settings()["split"]
    run_study(plain, made, workers=1)
    assert not made.cross_validation.exists()
    assert "Cross-validation by patient" not in report([made.root]).read_text(encoding="utf-8")


def write_twins(root: Path, twins: tuple[str, str]) -> None:
    """Ten patients of each class, each a file of noise; the twins have the same."""
    (root / "a").mkdir(parents=True)
    lines = ["patient_id,path,label"]
    for i in range(20):
        name = twins[0] if f"P{i}" == twins[1] else f"P{i}"
        voxels = np.random.default_rng(int(name[1:])).integers(-1000, 300, (4, 16, 16)).astype(np.int16)
        scan = Scan("A", f"P{i}", f"P{i}", i % 2)
        reader("volumes").write(root / "a", scan, Volume(voxels, "HU", (8.0, 0.7, 0.7), 0))
        lines.append(f"P{i},P{i}.nii.gz,{'positive' if i % 2 else 'negative'}")
    (root / "a" / "labels.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(("apart", "allowed"), [(True, False), (True, True), (False, False)])
def test_a_volume_in_two_folds_is_refused(tmp_path: Path, *, apart: bool, allowed: bool) -> None:
    scans = [Scan("A", f"P{i}", f"P{i}", i % 2) for i in range(20)]
    subsets, folds = split(scans, SplitSettings()), draw_folds(scans, SplitSettings(folds=3))
    trained = [scan.patient for scan in scans if subsets["A", scan.scan] == "train"]
    twins = next(
        (one, other)
        for one, other in combinations(trained, 2)
        if (folds["A", one].number != folds["A", other].number) == apart
    )
    write_twins(tmp_path, twins)
    file = tmp_path / "s.toml"
    head = 'protocol = "paper"\n' + ("allow_leak = true\n" if allowed else "")
    network = TINY_STUDY[TINY_STUDY.index("[network]") : TINY_STUDY.index("[training]")]
    file.write_text(f'{head}{network}[split]\nfolds = 3\n[sites.A]\nkind = "volumes"\nroot = "a"\n')
    if apart and not allowed:
        with pytest.raises(BadStudy, match=r"have equal voxels and stand in two folds"):
            prepare(file, tmp_path / "out", workers=1)
    else:
        prepare(file, tmp_path / "out", workers=1)
        assert {row.fold for row in usable_rows(Folder(tmp_path / "out"))} == {1, 2, 3}


def test_another_number_of_folds_is_refused_and_says_how_to_go_on(made: Folder, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "tiny.toml"
    other.write_text(file.read_text().replace("folds = 3", "folds = 4"))
    with pytest.raises(BadStudy, match=r"~fold1: .*with other scans.*`split\.folds` that changed: --restart"):
        prepare(other, made.root, workers=1)

"""The whole path on tiny sites in their published layouts: prepare, train, predict, score, page."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elsewhere import engine
from elsewhere.commands.predict import predict
from elsewhere.commands.prepare import prepare
from elsewhere.commands.report import report
from elsewhere.commands.study import _keep_seed_scores, cluster_commands, run_studies, run_study, study
from elsewhere.commands.train import print_warnings, train, train_model
from elsewhere.errors import BadSite, BadStudy
from elsewhere.model.network import read_checkpoint_record
from elsewhere.statistics.roc import exact_auc
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder, read_table
from elsewhere.studies.learned import DEGENERATE
from elsewhere.studies.predictions import PREDICTIONS, read_predictions
from elsewhere.studies.records import SCANS, SCORES, read_audit, read_identity, read_scans


def whole_study(file: Path, out: Path, workers: int = 1) -> None:
    """`elsewhere study`; its networks see a few scans a few times and learn nothing, which is its exit code."""
    assert study(file, out, workers=workers).exit_code == DEGENERATE


@pytest.fixture(scope="module")
def made(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The study, run once in this process."""
    out = tmp_path_factory.mktemp("made") / "out"
    whole_study(tiny_study_file, out)
    return Folder(out)


def test_every_cell_is_scored_in_both_readings(made: Folder) -> None:
    rows = read_table(made.scores)
    cells = {(r["model"], r["site"], r["threshold_reading"]) for r in rows}
    models, sites = ("UTSW", "COVID-CTset+MosMedData"), ("UTSW", "CC-CCII", "COVID-CTset", "MosMedData")
    assert cells == {(m, s, r) for m in models for s in sites for r in ("model", "site")}
    one_class = [r for r in rows if r["site"] == "MosMedData"]
    assert all(r["auc"] is None and "no AUC" in r["note"] for r in one_class)
    assert all(0 <= r["sensitivity"] <= 1 for r in one_class)


def test_predictions_hold_validation_and_test_with_passes(made: Folder) -> None:
    rows = PREDICTIONS.read(made.predictions("UTSW", "CC-CCII"))
    subsets = {(r.subset, r.dropout_pass) for r in rows}
    assert subsets == {("validation", -1), ("test", -1), ("test", 0), ("test", 1), ("test", 2)}
    split = {r.scan: r.subset for r in SCANS.read(made.scans) if r.site == "CC-CCII"}
    assert all(split[r.scan] == r.subset for r in rows)
    assert all(r.windows == 2 for r in rows)  # 6 slices, windows of 4, stride 2


def test_networks_that_learned_nothing_are_kept_apart_in_a_table(made: Folder) -> None:
    rows = {row["model"]: row for row in read_table(made.learned)}
    assert set(rows) == {"UTSW", "COVID-CTset+MosMedData"}
    assert all(row["degenerate"] == bool(row["reasons"]) for row in rows.values())
    assert "did not learn" in (made.root / "report.html").read_text(encoding="utf-8")


def test_the_page_stands_alone_with_its_figures_and_tables(made: Folder) -> None:
    html = (made.root / "report.html").read_text(encoding="utf-8")
    assert "Research use only" in html
    assert list((made.root / "figures").glob("*.svg"))
    assert list((made.root / "tables").glob("*.csv"))


def test_the_record_says_what_made_it(made: Folder) -> None:
    record = read_identity(made)
    assert record["settings"]["protocol"] == "paper"
    checkpoint = json.loads((made.model("UTSW") / "checkpoint.json").read_text())
    assert len(record["split_hash"]) == len(checkpoint["split_hash"]) == 16
    assert set(checkpoint["thresholds"]["model"]) == {"UTSW", "CC-CCII", "COVID-CTset", "MosMedData"}
    assert record["versions"]["torch"]


def test_what_the_choice_of_weights_warns_of_is_recorded_and_printed(
    made: Folder, tiny_study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: list[str] = []
    monkeypatch.setattr(engine.console, "print", lambda text, **_: printed.append(str(text)))
    path = made.model("UTSW") / "checkpoint"
    recorded = read_checkpoint_record(path)["selection"]["warnings"]
    train(tiny_study_file, "UTSW", made.root)
    assert [line for line in printed if "Warning" in line] == [f"Warning: UTSW: {warning}." for warning in recorded]
    assert train_model(tiny_study_file, made.root, "UTSW", lambda *_: None) == recorded
    print_warnings("UTSW", ["made up"])
    assert printed[-1] == "Warning: UTSW: made up."


def test_started_again_nothing_is_done_twice_and_processes_change_no_byte(made: Folder, tiny_study_file: Path) -> None:
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in _results(made.root)}
    whole_study(tiny_study_file, made.root)
    for path, (time, content) in before.items():
        assert path.read_bytes() == content
        if path.suffix == ".safetensors" or "predictions" in path.parts:
            assert path.stat().st_mtime_ns == time


@pytest.mark.slow
def test_two_processes_give_the_same_bytes(made: Folder, tiny_study_file: Path, tmp_path: Path) -> None:
    whole_study(tiny_study_file, tmp_path / "out", workers=2)
    for path in _results(made.root):
        if "state" not in path.parts and path.name not in {"scans.parquet", "report.html"}:
            assert (tmp_path / "out" / path.relative_to(made.root)).read_bytes() == path.read_bytes(), path


def test_verbs_one_by_one_give_the_same_predictions(made: Folder, tiny_study: Path, tmp_path: Path) -> None:
    prepare(tiny_study, tmp_path / "out", workers=1)
    train(tiny_study, "UTSW", tmp_path / "out")
    predict(tiny_study, "UTSW", "MosMedData", tmp_path / "out")
    alone = Folder(tmp_path / "out").predictions("UTSW", "MosMedData").read_bytes()
    assert alone == made.predictions("UTSW", "MosMedData").read_bytes()


def test_cluster_commands_name_every_unit_of_work(tiny_study: Path) -> None:
    commands = list(cluster_commands(tiny_study, Folder(Path("out")), load_study(tiny_study)))
    verbs = [command.split()[1] for command in commands]
    assert [verbs.count(v) for v in ("prepare", "train", "predict", "study")] == [1, 2, 8, 1]
    assert commands[1] == f"elsewhere train {tiny_study} UTSW out"


def test_one_bad_scan_never_stops_a_site(tiny_study: Path, tiny_sites: Path, tmp_path: Path) -> None:
    moved = _copy_site(tiny_study, tiny_sites, tmp_path, "MosMedData")
    broken = next((moved / "studies").rglob("*.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:40])
    prepare(tiny_study, tmp_path / "out", workers=1)
    rows = list(csv.DictReader(Folder(tmp_path / "out").bad_scans.read_text().splitlines()))
    assert [r["path"] for r in rows] == [str(broken)]
    assert rows[0]["next_step"]
    kept = [r for r in read_scans(Folder(tmp_path / "out")) if r.site == "MosMedData"]
    assert len(kept) == 23


def test_a_site_with_nothing_readable_is_an_error(tiny_study: Path, tiny_sites: Path, tmp_path: Path) -> None:
    moved = _copy_site(tiny_study, tiny_sites, tmp_path, "COVID-CTset")
    for file in moved.rglob("*.tif"):
        file.write_bytes(b"II*\0")
    with pytest.raises(BadSite, match="site COVID-CTset has no readable scan; the first, "):
        prepare(tiny_study, tmp_path / "out", workers=1)


def test_an_empty_folder_is_an_error(tiny_study: Path, tmp_path: Path) -> None:
    text = tiny_study.read_text()
    (tmp_path / "empty").mkdir()
    tiny_study.write_text(text.replace(text.split('root = "')[1].split('"')[0], str(tmp_path / "empty")))
    with pytest.raises(BadSite, match="empty"):
        prepare(tiny_study, tmp_path / "out", workers=1)


def test_a_copy_in_training_and_test_stops_the_study(tiny_study: Path, tiny_sites: Path, tmp_path: Path) -> None:
    moved = _copy_site(tiny_study, tiny_sites, tmp_path, "CC-CCII")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (16, 16), np.uint8) for _ in range(6)]
    for folder in sorted((moved / "NCP").glob("*/*")):
        for path, picture in zip(sorted(folder.iterdir()), pictures, strict=True):
            Image.fromarray(picture).save(path)
    with pytest.raises(BadStudy, match=r"tiny: \d+ leaks? between subsets, the first: content CC-CCII/"):
        prepare(tiny_study, tmp_path / "out", workers=1)
    tiny_study.write_text("allow_leak = true\n" + tiny_study.read_text())
    prepare(tiny_study, tmp_path / "out", workers=1)
    assert read_audit(Folder(tmp_path / "out")).leaks


def test_a_model_or_a_study_that_is_not_there(tiny_study: Path, tmp_path: Path) -> None:
    with pytest.raises(BadStudy, match=r"has no model 'X'\. Choose one of its models: UTSW, COVID-CTset\+MosMedData"):
        train(tiny_study, "X", tmp_path / "out")
    with pytest.raises(BadStudy, match=r"scans\.parquet: does not exist"):
        train(tiny_study, "UTSW", tmp_path / "out")
    with pytest.raises(BadStudy, match=r"holds no study \(study\.json is missing\)"):
        report([tmp_path])


def test_a_training_set_of_one_class_is_refused(tiny_study: Path, tmp_path: Path) -> None:
    text = tiny_study.read_text().replace('["COVID-CTset", "MosMedData"]', '["MosMedData"]')
    tiny_study.write_text(text)
    prepare(tiny_study, tmp_path / "out", workers=1)
    with pytest.raises(BadStudy, match=r"all 17 training scans have label 1"):
        train(tiny_study, "MosMedData", tmp_path / "out")


def test_a_site_for_external_validation_only(tiny_study: Path, tmp_path: Path) -> None:
    text = tiny_study.read_text().replace('["UTSW"], ', "").replace('kind = "dicom"', 'kind = "dicom"\nuse = "test"')
    tiny_study.write_text(text)
    whole_study(tiny_study, tmp_path / "out")
    subsets = {r.subset for r in read_scans(Folder(tmp_path / "out")) if r.site == "UTSW"}
    assert subsets == {"test"}
    readings = {r["threshold_reading"] for r in read_table(Folder(tmp_path / "out").scores) if r["site"] == "UTSW"}
    assert readings == {"model"}


def test_corrected_labels_are_refused_and_the_study_stays_as_it_was(
    made: Folder, tiny_study: Path, tiny_sites: Path, tmp_path: Path
) -> None:
    table = tiny_sites / "UTSW" / "labels.csv"
    written, folder = table.read_text(encoding="utf-8"), Folder(tmp_path / "made" / "out")
    shutil.copytree(made.root.parent, folder.root.parent)
    before = _bytes(folder.root)
    chosen = {r.label: r.scan for r in read_scans(folder) if (r.site, r.subset) == ("UTSW", "train")}
    try:
        table.write_text(_with_labels_swapped(written, set(chosen.values())), encoding="utf-8")
        for begin in (run_study, prepare):
            with pytest.raises(BadStudy, match=r"refused; the folder's records stay as they were"):
                begin(tiny_study, folder.root if begin is prepare else folder, workers=1)
            now = _bytes(folder.root)
            assert {name: now[name] for name in before} == before
            assert {name.partition("/")[0] for name in now.keys() - before.keys()} == {"refused"}
    finally:
        table.write_text(written, encoding="utf-8")
    report([folder.root])
    found = Folder(folder.refused)
    assert {r.scan: r.label for r in read_scans(found)} != {r.scan: r.label for r in read_scans(folder)}
    rows = SCANS.read(folder.scans)  # what earlier versions left behind: a table of other labels than the predictions'
    at = next(i for i, row in enumerate(rows) if (row.site, row.subset) == ("UTSW", "test"))
    rows[at] = replace(rows[at], label=1 - int(rows[at].label or 0))
    SCANS.write(folder.scans, rows)
    with pytest.raises(BadStudy, match=r"UTSW\.parquet: is older than scans\.parquet.*Run `elsewhere study` again"):
        report([folder.root])
    run_study(tiny_study, folder, workers=1)
    report([folder.root])
    assert not folder.refused.exists()


def test_what_changed_at_a_site_without_trainings_is_predicted_again(
    made: Folder, tiny_study: Path, tiny_sites: Path, tmp_path: Path
) -> None:
    moved, folder = _copy_site(tiny_study, tiny_sites, tmp_path, "CC-CCII"), Folder(tmp_path / "made" / "out")
    shutil.copytree(made.root.parent, folder.root.parent)
    (moved / "CP" / "12").rename(moved / "NCP" / "12")  # patient 12 turns out to be positive
    prepare(tiny_study, folder.root, workers=1)
    with pytest.raises(BadStudy, match="is older than scans"):
        report([folder.root])
    run_study(tiny_study, folder, workers=1)
    report([folder.root])


def test_studies_that_share_workers_have_the_results_of_each_alone(made: Folder, tiny_study: Path) -> None:
    other = tiny_study.with_name("other.toml")
    other.write_text(
        tiny_study.read_text(encoding="utf-8").replace("learning_rate = 1e-3", "learning_rate = 3e-3"), encoding="utf-8"
    )
    folders = [Folder(tiny_study.parent / name) for name in ("one", "two")]
    run_studies([(tiny_study, folders[0]), (other, folders[1])], workers=2)
    alone, shared = _bytes(made.root / "predictions"), [_bytes(folder.root / "predictions") for folder in folders]
    assert alone.keys() == shared[0].keys() == shared[1].keys()
    assert [SCORES.read(folder.scores) == SCORES.read(made.scores) for folder in folders] == [True, False]


def _bytes(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def _with_labels_swapped(table: str, scans: set[str]) -> str:
    rows = list(csv.DictReader(table.splitlines()))
    for row in rows:
        if row["scan_id"] in scans:
            row["label"] = str(1 - int(row["label"]))
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n"


def test_a_follow_up_without_a_label_is_no_leak(tiny_study: Path, tiny_sites: Path, tmp_path: Path) -> None:
    moved = _copy_site(tiny_study, tiny_sites, tmp_path, "UTSW")
    table = moved / "labels.csv"
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    for row, patient in zip(rows[:4], ("P4", "P5", "P6", "P7"), strict=True):  # their other scans keep their labels
        row |= {"patient_id": patient, "label": "unknown"}
    table.write_text("\n".join([",".join(rows[0]), *(",".join(r.values()) for r in rows)]) + "\n", encoding="utf-8")
    prepare(tiny_study, tmp_path / "out", workers=1)
    folder = Folder(tmp_path / "out")
    assert sum(r.subset == "unlabelled" for r in read_scans(folder)) == 4
    assert read_audit(folder).leaks == ()


def test_a_path_in_square_brackets_is_told_as_it_is(
    tiny_study: Path, tiny_sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = _copy_site(tiny_study, tiny_sites, tmp_path, "MosMedData")
    odd = moved.parent / "CT [thorax] [" / "old] [red]x["
    odd.parent.mkdir()
    moved.rename(odd)
    tiny_study.write_text(tiny_study.read_text().replace(str(moved), str(odd)))
    broken = next((odd / "studies").rglob("*.nii.gz"))
    broken.write_bytes(b"broken")
    prepare(tiny_study, tmp_path / "out", workers=1)
    assert str(broken) in "".join(capsys.readouterr().err.split("\n"))


def test_names_too_long_for_a_file_are_no_obstacle(tiny_study: Path, tmp_path: Path) -> None:
    long = {name: f"{name} {'of a very long name ' * 6}" for name in ("COVID-CTset", "MosMedData")}
    text = tiny_study.read_text().replace('["UTSW"], ', "")
    for name, whole in long.items():
        text = text.replace(f'"{name}"', f'"{whole}"').replace(f"[sites.{name}]", f'[sites."{whole}"]')
    tiny_study.write_text(text)
    whole_study(tiny_study, tmp_path / "out")
    model = "+".join(long.values())
    assert {(r["model"], r["site"]) for r in read_table(Folder(tmp_path / "out").scores)} >= {
        (model, site) for site in long.values()
    }
    train(tiny_study, model, tmp_path / "out")
    predict(tiny_study, model, long["MosMedData"], tmp_path / "out")
    assert all(len(p.name.encode()) < 256 for p in tmp_path.rglob("*"))


def _results(root: Path) -> list[Path]:
    kinds = {".safetensors", ".json", ".parquet", ".csv", ".html"}
    return [p for p in sorted(root.rglob("*")) if p.suffix in kinds and p.is_file()]


def _copy_site(file: Path, sites: Path, tmp_path: Path, name: str) -> Path:
    """A copy of one tiny site that a test may break, put into the study file in its place."""
    moved = tmp_path / "broken"
    shutil.copytree(sites / name, moved)
    file.write_text(file.read_text().replace(str(sites / name), str(moved)))
    return moved


def test_further_seeds_are_trained_beside_and_change_nothing_else(tiny_study: Path, tmp_path: Path) -> None:
    folder, text = Folder(tmp_path / "out"), tiny_study.read_text().replace(', ["COVID-CTset", "MosMedData"]', "")
    tiny_study.write_text(text)
    run_study(tiny_study, folder, workers=1)
    kept = {p: p.read_bytes() for p in [folder.scores, folder.model("UTSW") / "checkpoint.safetensors"]}
    record = read_identity(folder)
    assert not (folder.root / "seeds.parquet").exists()
    assert "seeds" not in record["settings"]

    tiny_study.write_text("seeds = [0, 5]\n" + text)
    run_study(tiny_study, folder, workers=1)
    assert {p: p.read_bytes() for p in kept} == kept
    again = read_identity(folder)
    assert again["models"] == record["models"] == {"UTSW": ["UTSW"]}
    assert again["settings"].pop("seeds") == [0, 5]
    assert again == record
    other = json.loads((folder.model("UTSW~5") / "checkpoint.json").read_text())
    assert (other["training"]["seed"], other["training_sites"]) == (5, ["UTSW"])
    assert (folder.model("UTSW~5") / "checkpoint.safetensors").read_bytes() not in kept.values()
    _check_seed_scores(folder)

    commands = "\n".join(cluster_commands(tiny_study, folder, load_study(tiny_study)))
    assert commands.count("UTSW~5") == 1 + 4  # a training, and a prediction at each site
    tiny_study.write_text(text)
    _keep_seed_scores(load_study(tiny_study), folder, SCORES.read(folder.scores))
    assert not (folder.root / "seeds.parquet").exists()


def _check_seed_scores(folder: Folder) -> None:
    """Spread over seeds from both trainings' predictions; sampling and dropout from the first's row of scores."""
    rows = {(r["site"], r["score"]): r for r in read_table(folder.root / "seeds.parquet")}
    scores = {r["site"]: r for r in read_table(folder.scores) if r["threshold_reading"] == "model"}
    assert {score for site, score in rows if site == "MosMedData"} == {"accuracy", "sensitivity"}  # one class
    for site in ("UTSW", "CC-CCII", "COVID-CTset"):
        row, aucs = rows[site, "auc"], []
        for name in ("UTSW", "UTSW~5"):
            single = read_predictions(folder.predictions(name, site)).subset("test").deterministic
            aucs.append(float(exact_auc(single.labels, single.probabilities)))
        assert (row["first"], row["seeds"]) == (aucs[0], 2)
        assert (row["mean"], row["smallest"], row["largest"]) == (np.mean(aucs), min(aucs), max(aucs))
        assert row["standard_deviation"] == pytest.approx(np.std(aucs, ddof=1))
        found = (row["sampling_low"], row["sampling_high"], row["dropout_sd"])
        assert found == tuple(scores[site][k] for k in ("auc_sampling_low", "auc_sampling_high", "auc_dropout_sd"))
        assert rows[site, "accuracy"]["dropout_sd"] is None

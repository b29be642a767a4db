"""A study that compares arms, from its file to its page: trainings, selection, comparison, and what goes on again."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere import cli
from elsewhere.arm_rows import ERM, RULES
from elsewhere.commands.export import export
from elsewhere.commands.report import report
from elsewhere.commands.study import cluster_commands, run_study
from elsewhere.errors import BadStudy
from elsewhere.model.network import read_checkpoint_record
from elsewhere.statistics.roc import exact_auc
from elsewhere.studies.arm_results import read_arms
from elsewhere.studies.exported import read_model
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.known_model import trained_model
from elsewhere.studies.predictions import read_predictions
from tiny_sites import TINY_STUDY

KINDS = {"UTSW": "dicom", "CC-CCII": "cc_ccii", "COVID-CTset": "covid_ctset"}
ARMS = """
[comparison]
trials = 2
leave_one_training_site_out = true
ranges = { learning_rate = [1e-4, 1e-2, "log"] }
[[arms]]
name = "V-REx"
training = { objective = "v_rex", penalty = 5.0 }
[[arms]]
name = "Augmented"
training = { acquisition = 0.5, mixstyle = 0.5 }
"""


@pytest.fixture(scope="module")
def arms_file(tiny_sites: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("arms") / "arms.toml"
    text = TINY_STUDY.replace('combinations = [["UTSW"], ["COVID-CTset", "MosMedData"]]', HEAD)
    text = text.replace("iterations = 6\nvalidate_every = 3", 'iterations = 2\nbatch = 2\nsampling = "balanced"')
    sites = "".join(f'[sites.{n}]\nkind = "{k}"\nroot = "{tiny_sites / n}"\n' for n, k in KINDS.items())
    file.write_text(text + ARMS + sites)
    return file


HEAD = 'combinations = "leave-one-site-out"\nseeds = [1, 2]'


@pytest.fixture(scope="module")
def finished(arms_file: Path) -> Folder:
    folder = Folder(arms_file.parent / "out")
    run_study(arms_file, folder, workers=1)
    return folder


def test_the_plan_counts_every_training(arms_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(cli.app, ["study", str(arms_file), str(tmp_path / "run"), "--plan"])
    words = " ".join((result.output + capfd.readouterr().err).split())
    assert "48 networks to train of 48" in words  # 3 arms × 2 trials × (2 seeds × 3 sets), and 3 inner sets of two arms
    assert "3, ERM among them, 2 trials each, 2 seeds, 3 training sets: 36 trainings, and 12 without one" in words


def test_each_training_is_a_command_of_its_own(arms_file: Path) -> None:
    plan = load_study(arms_file)
    lines = list(cluster_commands(arms_file, Folder(Path("out")), plan))
    assert sum(" train " in line for line in lines) == 48
    assert sum(" predict " in line for line in lines) == 36 * 3 + 12 * 2


@pytest.mark.slow
def test_every_rule_judges_every_arm(finished: Folder) -> None:
    rows, trials = read_arms(load_study(finished.root), finished)
    assert {row.rule for row in rows} == set(RULES)
    means = {(row.rule, row.arm): row for row in rows if not row.site}
    assert len(means) == 9
    inner = means["leave one training site out", "V-REx"]
    assert inner.auc is None
    assert "there is one" in inner.reason
    for rule in RULES:
        assert means[rule, ERM].p_value is None
        augmented = means[rule, "Augmented"]  # two iterations: nothing learned, so nothing is compared
        assert augmented.difference is None
        assert "did not learn" in augmented.reason
    assert {row.trial for row in trials} == {1, 2}
    assert len(trials) == 3 * 2 * 3


@pytest.mark.slow
def test_numbers_are_those_of_the_predictions(finished: Folder) -> None:
    _, trials = read_arms(load_study(finished.root), finished)
    own = [t for t in trials if t.arm == "V-REx" and t.site == "UTSW"]

    def aucs(trial: int, subset: str) -> list[float]:
        found = []
        for tail in ("", "~2"):
            name = f"CC-CCII+COVID-CTset@V-REx.{trial}{tail}"
            table = read_predictions(finished.predictions(name, "UTSW")).subset(subset)
            found.append(float(exact_auc(table.labels, table.probabilities)))
        return found

    assert [t.oracle for t in own] == pytest.approx([np.mean(aucs(t.trial, "validation")) for t in own])
    assert [t.auc for t in own] == pytest.approx([np.mean(aucs(t.trial, "test")) for t in own])


@pytest.mark.slow
def test_hyperparameters_are_in_the_checkpoint_and_in_the_table(finished: Folder) -> None:
    record = read_checkpoint_record(finished.checkpoint("UTSW+CC-CCII@V-REx.2~2"))
    settings = record["training"]
    assert (settings["objective"], settings["penalty"], settings["seed"]) == ("v_rex", 5.0, 2)
    _, trials = read_arms(load_study(finished.root), finished)
    words = next(t.settings for t in trials if (t.arm, t.trial) == ("V-REx", 2))
    assert words == f"objective = v_rex, penalty = 5.0, learning_rate = {settings['learning_rate']}"


@pytest.mark.slow
def test_the_page_has_the_section(finished: Folder) -> None:
    page = report([finished.root]).read_text()
    assert "Ways to train compared" in page
    assert "Chosen by the oracle" in page
    with (finished.root / "tables" / "arms-arms-1.csv").open() as file:
        assert [row["arm"] for row in csv.DictReader(file)] == [ERM, "V-REx", "Augmented"]


@pytest.mark.slow
def test_a_second_run_trains_nothing(finished: Folder, arms_file: Path) -> None:
    stems = [finished.checkpoint(name).with_suffix(".safetensors") for name in load_study(arms_file).trainings]
    before = [stem.stat().st_mtime_ns for stem in stems]
    run_study(arms_file, finished, workers=1)
    assert [stem.stat().st_mtime_ns for stem in stems] == before


@pytest.mark.slow
def test_tables_of_other_predictions_are_refused(finished: Folder, tmp_path: Path) -> None:
    path = finished.predictions("CC-CCII+COVID-CTset@V-REx.1", "UTSW")
    kept = path.read_bytes()
    try:
        path.write_bytes(finished.predictions("CC-CCII+COVID-CTset@V-REx.2", "UTSW").read_bytes())
        with pytest.raises(BadStudy, match=r"arms\.parquet: does not belong to the predictions in this folder"):
            read_arms(load_study(finished.root), finished)
    finally:
        path.write_bytes(kept)


@pytest.mark.slow
def test_a_network_of_an_arm_leaves_the_house_like_any_model(finished: Folder, tmp_path: Path) -> None:
    name = "CC-CCII+COVID-CTset@V-REx.1"
    export(finished.root, name, str(tmp_path / "m.zip"))
    read = read_model(tmp_path / "m.zip")
    assert (read.name, read.trained_on) == (name, ("CC-CCII", "COVID-CTset"))
    assert {score.site for score in read.scores} == set(KINDS)
    with pytest.raises(BadStudy, match="no model by itself"):
        trained_model(finished.root, "UTSW+CC-CCII@V-REx.9")

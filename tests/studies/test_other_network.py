"""A study whose networks are of a class of the user's own: every verb that takes them, and those that refuse them."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands.diagnose import diagnose
from elsewhere.commands.report import report
from elsewhere.commands.stress import stress
from elsewhere.commands.study import run_study
from elsewhere.commands.view import view
from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.model.prediction import predict
from elsewhere.studies.exported import read_model
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.known_model import trained_model
from elsewhere.studies.predictions import fitting_predictions
from elsewhere.studies.prepared import case_of, shelf_reader
from elsewhere.studies.records import usable_rows

NETWORK = """[network]
kind = "their_networks:Small"
folder = "code"
arguments = { width = 5 }
allow_code = true
input = [4, 16, 16]
[training]
batch = 2
"""
MODULE = """
import torch
class Small(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv3d(1, width, 3), torch.nn.BatchNorm3d(width)
        self.last = torch.nn.Linear(width, 2)
    def forward(self, x):
        return self.last(self.norm(self.conv(x).relu()).amax((2, 3, 4)))
"""


@pytest.fixture(scope="module")
def file(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study, one model, with that network."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "code").mkdir()
    (folder / "code" / "their_networks.py").write_text(MODULE)
    text = tiny_study_file.read_text().replace('[["UTSW"], ["COVID-CTset", "MosMedData"]]', '[["UTSW"]]')
    text = re.sub(r"\[network\]\n.*?\[training\]\n", lambda _: NETWORK, text, flags=re.DOTALL)
    (folder / "other.toml").write_text(text)
    return folder / "other.toml"


@pytest.fixture(scope="module")
def made(file: Path) -> Path:
    """Its folder, run to the end; not to be changed."""
    out = file.parent / "out"
    run_study(file, Folder(out), workers=1)
    return out


def test_it_is_trained_predicted_and_on_the_page(made: Path) -> None:
    report([made])
    text = (made / "report.html").read_text()
    assert "a class of the user" in text
    assert "Foreign code was run: their_networks:Small is a module of the user" in text
    assert "their_networks:Small, a 3D network of the authors" in text
    assert "filters None" not in text
    found = fitting_predictions(Folder(made), "UTSW", "MosMedData").subset("test").deterministic
    assert len(set(found.probabilities)) > 1


def test_a_finished_study_is_read_from_its_folder_wherever_that_lies(file: Path, made: Path, tmp_path: Path) -> None:
    kept = json.loads((made / "study.json").read_text())["settings"]["network"]
    assert kept["folder"] == "../code"
    assert load_study(made).network == load_study(file).network
    shutil.copytree(file.parent, tmp_path / "moved")
    moved = load_study(tmp_path / "moved" / "out").network
    assert moved.folder == tmp_path / "moved" / "code"
    assert moved.record() == load_study(file).network.record()


def test_diagnosis_stress_and_view_ask_it(file: Path, made: Path) -> None:
    diagnose(file, made, workers=1)
    stress(file, made, shifts=["noise"], workers=1)
    page = made / "view.html"
    view(file, made, model="UTSW", hardest=1, page=page)
    assert "Occlusion map: how much the log-odds of positive fall" in page.read_text()
    assert trained_model(made, "UTSW").load()[0].settings.kind == "their_networks:Small"


def test_it_does_not_travel(made: Path, tmp_path: Path) -> None:
    for words in (["export", made, "UTSW", tmp_path / "a.zip"], ["kit", made, "--out", tmp_path / "k.zip"]):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert isinstance(result.exception, BadCheckpoint), result.output
        assert "whose code it does not hold: it is not exported, adapted or sent" in str(result.exception)
    assert list(tmp_path.glob("*.zip")) == []


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("allow_code = true\n", "", r"key `network.allow_code` is not set, and .*their_networks:Small"),
        ('folder = "code"', 'folder = "cade"', r"key `network.folder` is .*cade, which holds no their_networks.py"),
        ("{ width = 5 }", '"width"', r"key `network.arguments` is 'width'. Write a table"),
        ("input = [4", 'code = "x"\ninput = [4', "key `network.code` is unknown"),
        ("input = [4", 'preset = "small"\ninput = [4', r"key `network.preset` is given beside kind"),
        ("their_networks:Small", "DenseNet211", r"key `network.kind` is 'DenseNet211'. Use one of paper"),
    ],
)
def test_mistakes_are_named_with_file_and_key(file: Path, before: str, after: str, says: str) -> None:
    changed = file.with_name("changed.toml")
    changed.write_text(file.read_text().replace(before, after))
    with pytest.raises(BadStudy, match=says):
        load_study(changed)


def test_a_batch_of_one_is_refused_with_the_study_file_for_networks_of_monai(file: Path) -> None:
    changed = file.with_name("monai.toml")
    own, other = r'kind = "their.*?input = .*?\n', 'kind = "ResNet18"\ninput = [32, 32, 32]\n'
    text = re.sub(own, other, file.read_text(), flags=re.DOTALL)
    changed.write_text(text.replace("batch = 2", "batch = 1"))
    with pytest.raises(BadStudy, match=r"monai.toml: key `training.batch` is 1, and ResNet18 has BatchNorm"):
        load_study(changed)
    changed.write_text(text)
    known = {"input": (32, 32, 32), "dropout": 0.5, "classes": 2, "kind": "ResNet18"}
    assert load_study(changed).network.record() == known


@pytest.fixture(scope="module")
def of_monai(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of one site and one small network of MONAI, trained and predicted; not to be changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("monai.networks.nets", reason="MONAI is not installed: pip install 'elsewhere[monai]'")
    folder = tmp_path_factory.mktemp("monai")
    text = tiny_study_file.read_text().replace('[["UTSW"], ["COVID-CTset", "MosMedData"]]', '[["UTSW"]]')
    small = '[network]\nkind = "ResNet10"\ninput = [32, 32, 32]\n[training]\nbatch = 2\n'
    text = re.sub(r"\[network\]\n.*?\[training\]\n", small, text, flags=re.DOTALL).replace(
        "iterations = 6", "iterations = 3"
    )
    text = re.sub(r"\[sites\.(?!UTSW).*?(?=\[sites|\Z)", "", text, flags=re.DOTALL)
    (folder / "monai.toml").write_text(text.replace("passes = 3", "passes = 0"))
    run_study(folder / "monai.toml", Folder(folder / "out"), workers=1)
    return folder / "out"


def test_a_network_of_monai_is_exported_and_says_the_same(of_monai: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", str(of_monai), "UTSW", str(tmp_path / "a.zip")])
    assert result.exit_code == 0, result.output
    (exported,) = read_model(tmp_path / "a.zip").load()
    plan, rows = load_study(of_monai), [r for r in usable_rows(Folder(of_monai)) if r.subset == "test"]
    known = fitting_predictions(Folder(of_monai), "UTSW", "UTSW").subset("test").deterministic
    for row in rows[:2]:
        said = predict(exported, case_of(row), shelf_reader([row]), plan.sample, plan.prediction.stride).max()
        assert said == pytest.approx(known.probabilities[known.scans == row.scan][0], abs=1e-6)


def test_ways_of_adapting_without_a_meaning_are_refused_before_any_fit(
    of_monai: Path, hospital_scans: Path, tmp_path: Path
) -> None:
    words = ["adapt", str(of_monai), "UTSW", str(hospital_scans), "--kind", "volumes", "--ways", "last,norm"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out"), "--workers", "1"])
    assert result.exit_code == 2
    assert "--ways has 'norm', which fits GroupNorm, and ResNet10 has BatchNorm" in result.output
    assert "Choose from last, all, all+replay, all+anchor" in result.output

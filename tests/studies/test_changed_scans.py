"""Models that were not trained here, asked about changed scans: parts of them, shifts, and blocks taken away."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_chests import LESION, SCANS, chest, write_sites
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands.study import study
from elsewhere.errors import BadScan, BadStudy
from elsewhere.model.declared import CommandModel
from elsewhere.model.network import Network, NetworkSettings, save_checkpoint
from elsewhere.model.runnable import open_model
from elsewhere.model.runnable.occlusion import occlusion_map
from elsewhere.model.runnable.protocol import GivenScan, ScoresOnly
from elsewhere.scans.volume import Volume
from elsewhere.studies.asking import answer_of, ask_models, part_of
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.records import DOSES, EXPLANATIONS, SHORTCUTS, usable_rows

SETTINGS = NetworkSettings((4, 16, 16), (2, 4), ((3, 3, 3), (3, 3, 3)), ((2, 4, 4),), (8,), 1, 1, dropblock=0.0)
RECORD = {
    "preparation": {"size": [4, 16, 16], "grid": "in_plane", "encoding": "hu", "minimum": -1000.0, "maximum": 100.0},
    "sample": {"normalisation": "window", "window": [-1000, 100]},
}
PROGRAM = """
import array, gzip, json, sys
from pathlib import Path
given, out = map(Path, sys.argv[1:])
content = gzip.decompress((given / "scan.nii.gz").read_bytes())
hu = array.array("h", content[352:])
share = sum(-500 < value < -200 for value in hu) / len(hu)
answer = {"refused": "no body"} if max(hu) < -300 else {"score": min(1.0, 20 * share)}
(out / "result.json").write_text(json.dumps(answer))
"""


class Band(torch.nn.Module):
    """A logit that grows with the share of voxels near -350 HU, on the scale 0 to 1 of -1000 to 400 HU."""

    def forward(self, scan: torch.Tensor) -> torch.Tensor:
        near = torch.relu(0.1 - (scan - 0.464).abs())
        return 8000 * near.mean((2, 3, 4)) - 2


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Folder]:
    """A study of two test sites and five models that were not trained here: the file, and the finished folder."""
    root = tmp_path_factory.mktemp("changed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Band(), torch.zeros(1, 1, 10, 32, 32)).save(str(root / "band.ts"))
    torch.manual_seed(0)
    save_checkpoint(root / "models" / "A" / "checkpoint", Network(SETTINGS), RECORD)
    (root / "program.py").write_text(PROGRAM)
    (root / "scores.csv").write_text(
        "scan,score\n" + "".join(f"{s}{i},0.{i % 2}1\n" for s in "AB" for i in range(SCANS))
    )
    run = f"run = \"'{sys.executable}' program.py {{in}} {{out}}\"\nallow_code = true\n"
    text = f"""combinations = []
[training]
threads = 1
accelerator = "cpu"
[evaluation]
resamples = 20
{write_sites(root / "sites")}
[models.Band]
kind = "torchscript"
file = "band.ts"
allow_code = true
threshold = 0.5
input = {{ size = [10, 32, 32], smooth = false }}
output = {{ gives = "logit" }}
[models.Own]
kind = "elsewhere"
checkpoint = "models/A/checkpoint"
threshold = 0.5
stride = 2
[models.Program]
kind = "command"
{run}
[models.Files]
kind = "command"
give = "dicom"
{run}
[models.Table]
kind = "scores"
table = "scores.csv"
"""
    file = root / "models.toml"
    file.write_text(text)
    study(file, root / "runs", workers=1)
    return file, Folder(root / "runs")


def invoke(*words: str) -> str:
    result = CliRunner().invoke(app, [*words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def given(number: int, site: str = "A") -> GivenScan:
    return GivenScan(site, "p", f"{site}{number}", chest(site, number))


# Parts -------------------------------------------------------------------------------------------------------------


def test_a_part_is_the_scan_without_the_rest() -> None:
    whole = given(1).volume.voxels
    erased, lungs, border = (part_of(given(1), p).volume.voxels for p in ("lungs_erased", "lungs_only", "border_only"))
    assert (erased[LESION] > -100).all()
    assert (lungs[LESION] == whole[LESION]).all()
    assert (border[LESION] < -900).all()
    assert (border[:, 0] == whole[:, 0]).all()
    assert (lungs[:, 0] > -100).all()


def test_no_part_of_a_scan_without_lungs() -> None:
    solid = GivenScan("A", "p", "s", Volume(np.full((8, 16, 16), 40, np.int16), "HU", (5.0, 1.0, 1.0), 0))
    with pytest.raises(BadScan, match="no lungs were found in it"):
        part_of(solid, "lungs_erased")


def test_diagnose_shows_parts_to_models_that_were_not_trained_here(ran: tuple[Path, Folder]) -> None:
    """What sees lesions does not rank scans without lungs; what takes DICOM files is left out unless it is named."""
    file, folder = ran
    invoke("diagnose", str(file), str(folder.root), "--permutations", "99", "--workers", "1")
    rows = {(r.model, r.site, r.view): r for r in SHORTCUTS.read(folder.diagnosis_table("shortcuts"))}
    assert {model for model, _, _ in rows} == {"Band", "Own", "Program"}
    for model in ("Band", "Program"):
        assert rows[model, "A", "whole"].auc == rows[model, "A", "lungs_only"].auc == 1.0
    assert rows["Band", "A", "lungs_erased"].auc < 0.9
    assert rows["Band", "B", "border_only"].scans == SCANS
    assert ("Program", "A", "border_only") not in rows  # refused: nothing to rank
    assert not folder.diagnosis_table("saliency").exists()
    page = (folder.root / "report.html").read_text(encoding="utf-8")
    assert "Foreign code was run: Band" in page


def test_what_is_kept_of_a_part_is_not_taken_for_the_whole(ran: tuple[Path, Folder]) -> None:
    file, folder = ran
    plan, rows = load_study(file), [row for row in usable_rows(folder) if row.scan.endswith("1")]
    (band,) = (m for m in plan.products if m.name == "Band")
    for _ in range(2):
        found = {part: ask_models(plan, folder, rows, [band], 1, part=part) for part in ("", "lungs_erased")}  # type: ignore[list-item]
        whole, erased = (found[part]["Band", "A", "A1"].probability for part in ("", "lungs_erased"))
        assert whole is not None
        assert erased is not None
        assert whole > 0.8 > 0.2 > erased


# Shifts --------------------------------------------------------------------------------------------------------------


def test_stress_shifts_scans_of_the_site_that_stands_in_for_home(ran: tuple[Path, Folder]) -> None:
    file, folder = ran
    words = ["stress", str(file), str(folder.root), "--models", "Band,Program", "--shifts", "narrow,noise"]
    said = invoke(*words, "--home", "B", "--scans", "12", "--workers", "1")
    assert "Where Band is at home is not known: B stands in for it." in re.sub(r"\s+", " ", said)
    rows = [r for r in DOSES.read(folder.stress_curves) if r.model == "Band"]
    assert {r.home for r in rows} == {"B"}
    as_is, moved = (next(r for r in rows if r.shift == "narrow" and (r.dose == 0) == first) for first in (True, False))
    assert as_is.auc == 1.0
    assert as_is.positive_share == pytest.approx(0.5)
    assert moved.auc is not None
    program = [r for r in DOSES.read(folder.stress_curves) if r.model == "Program" and r.auc is not None]
    assert program
    assert {r.positive_share for r in program} == {None}  # without a threshold it calls nothing positive
    assert {r.site for r in EXPLANATIONS.read(folder.stress_explanations) if r.model == "Band"} == {"A"}
    kept = {path.name: path.stat().st_mtime_ns for path in (folder.root / "stress").rglob("*.json")}
    invoke(*words, "--home", "B", "--scans", "12", "--workers", "1")
    assert kept.items() <= {p.name: p.stat().st_mtime_ns for p in (folder.root / "stress").rglob("*.json")}.items()
    page = folder.root / "report.html"
    invoke("report", str(folder.root))
    assert "stands in for the home of Band" in page.read_text(encoding="utf-8")


def test_a_model_that_does_not_discriminate_is_not_stressed(ran: tuple[Path, Folder]) -> None:
    file, folder = ran
    said = invoke("stress", str(file), str(folder.root), "--models", "Own", "--shifts", "noise", "--workers", "1")
    assert "Own at A: degenerate" in re.sub(r"\s+", " ", said)
    assert "test scans" in said


# Blocks --------------------------------------------------------------------------------------------------------------


class Dense(ScoresOnly):
    """Probability that grows with what is dense in one corner of the scan, and notes how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def score(self, given: GivenScan) -> np.ndarray:
        self.asked += 1
        corner = given.in_hu().voxels[:2, :5, :5]
        return np.array([1 / (1 + np.exp(-float((corner > -850).mean())))])


def test_occlusion_finds_the_block_that_counts() -> None:
    """Only the corner is evidence, by as much as the log-odds fall; air is not asked about."""
    hu = np.full((8, 20, 24), -1000, np.int16)
    hu[:, :, :8] = 40
    model = Dense()
    found = occlusion_map(model, GivenScan("A", "p", "s", Volume(hu, "HU", None, 0)), (4, 4, 3))
    assert found.cells.shape == (4, 4, 3)
    assert found.cells[0, 0, 0] == pytest.approx(1.0, abs=1e-6)
    assert np.count_nonzero(found.cells) == 1
    assert model.asked == 1 + 4 * 4
    assert found.method == "occlusion"


def test_occlusion_of_fewer_voxels_than_blocks() -> None:
    found = occlusion_map(Dense(), GivenScan("A", "p", "s", Volume(np.zeros((1, 2, 30), np.int16), "HU", None, 0)))
    assert found.cells.shape == (1, 2, 6)


def test_view_draws_the_blocks_of_a_model_without_gradients(ran: tuple[Path, Folder], tmp_path: Path) -> None:
    file, folder = ran
    page = tmp_path / "view.html"
    words = ["view", str(file), str(folder.root), "--scan", "A/A1", "--model", "Band", "--page", str(page)]
    invoke(*words)
    first = page.read_text(encoding="utf-8")
    assert "Occlusion map: how much the log-odds of positive fall where one of 4 x 6 x 6 blocks" in first
    assert "Model Band, not trained here, and given each scan as it was read" in first
    assert "The scan as it was read, 10 x 32 x 32 voxels" in first
    invoke(*words)
    assert page.read_text(encoding="utf-8").replace(str(page), "") == first.replace(str(page), "")


def test_view_draws_gradients_where_a_model_has_them(ran: tuple[Path, Folder], tmp_path: Path) -> None:
    file, folder = ran
    page = tmp_path / "view.html"
    invoke("view", str(file), str(folder.root), "--model", "Own", "--hardest", "1", "--page", str(page))
    text = page.read_text(encoding="utf-8")
    assert "HiResCAM of the most positive window" in text or "Nothing in the scan spoke" in text
    assert "The scan as it was read" in text


# What is not possible ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["stress", "diagnose", "view"])
@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("Table", "names 'Table', of which only a table of scores is known: it cannot be shown changed scans"),
        (
            "Files",
            "names 'Files', which takes DICOM files, and a scan whose voxels are changed is handed over",
        ),
        ("Nobody", "Nobody"),
    ],
)
def test_what_is_not_possible_is_said(ran: tuple[Path, Folder], command: str, model: str, says: str) -> None:
    option = ["--model", model, "--scan", "A/A1"] if command == "view" else ["--models", model]
    with pytest.raises(BadStudy) as caught:
        invoke(command, str(ran[0]), str(ran[1].root), *option)
    assert says in str(caught.value)


def test_home_must_be_a_site_of_the_study(ran: tuple[Path, Folder]) -> None:
    with pytest.raises(BadStudy, match="Nowhere"):
        invoke("stress", str(ran[0]), str(ran[1].root), "--models", "Band", "--home", "Nowhere")


def test_a_program_that_takes_files_refuses_changed_voxels(tmp_path: Path) -> None:
    declared = CommandModel(name="F", run="true {in} {out}", give="dicom", allow_code=True, folder=tmp_path)
    assert declared.only_as_scanned
    answer = answer_of(open_model(declared), given(1))
    assert answer.refused
    assert "is no DICOM as it stands" in answer.reason

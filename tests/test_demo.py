"""The demo: its study files are sound, and (slow) the whole path on simulated sites ends with one page."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from elsewhere.commands.demo import demo, study_text
from elsewhere.kept import read_findings
from elsewhere.plan import load_study, read_table


@pytest.mark.parametrize("protocol", ["paper", "harmonised"])
@pytest.mark.parametrize("quick", [True, False])
def test_its_study_files_are_sound(protocol: str, quick: bool, tmp_path: Path) -> None:
    file = tmp_path / f"{protocol}.toml"
    file.write_text(study_text(protocol, 3, quick), encoding="utf-8")
    study = load_study(file)
    assert study.protocol == protocol
    assert study.origin == "simulated"
    assert len(study.models) == (3 if quick else 9)
    assert study.training.seed == 3
    assert any("are assumptions, not findings" in sentence for sentence in study.planted)
    assert (study.preparation.crop == "lungs") == (protocol == "harmonised")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_whole_path_on_simulated_sites(tmp_path: Path) -> None:
    demo(tmp_path, quick=True)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "imulated" in html
    assert "Research use only" in html
    assert len(html) < 5_000_000
    for protocol in ("paper", "harmonised"):
        scores = read_table(tmp_path / protocol / "scores.parquet")
        assert len(scores) == 3 * 4 * 2
        planted = {r["site"]: r["auc"] for r in scores if r["model"] == r["site"] == "UTSW"}
        assert planted["UTSW"] > 0.6  # disease and acquisition both give the label away at home
    findings = json.loads((tmp_path / "paper" / "audit.json").read_text())
    assert any("MosMedData has only positive scans" in sentence for sentence in findings["warnings"])
    truth = list(csv.DictReader((tmp_path / "sites" / "MosMedData.truth.csv").read_text().splitlines()))
    assert {row["label"] for row in truth} == {"1"}
    _check_the_story(tmp_path)


def _check_the_story(folder: Path) -> None:
    """The page's planted story is the simulator's own, and what stood out most of it came to light."""
    planted = {
        (path.name.removesuffix(".truth.json"), factor.replace("_", " "), strength)
        for path in (folder / "sites").glob("*.truth.json")
        for factor, strength in json.loads(path.read_text())["dials"].items()
    }
    rows = list(csv.DictReader((folder / "tables" / "paper-planted.csv").read_text(encoding="utf-8").splitlines()))
    assert {(r["site"], r["factor"], float(r["strength"])) for r in rows} == planted
    found = {(r["site"], r["factor"]) for r in rows if r["found"] == "found"}
    assert {("UTSW", "field of view"), ("CC-CCII", "segmented")} <= found
    assert len(found) >= len(planted) / 3
    named = read_findings(folder / "paper" / "diagnosis" / "findings.json")
    assert not [f for f in named if f["home"] == f["site"] == "MosMedData"]  # one class: nothing gives it away

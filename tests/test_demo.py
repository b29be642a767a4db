"""The demo: its study files are sound, and (slow) the whole path on simulated sites ends with one page."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import mean

import pytest

from elsewhere.commands.demo import demo, study_text
from elsewhere.kept import read_findings
from elsewhere.plan import load_study, read_table

PROTOCOLS = ("paper", "harmonised")


@pytest.mark.parametrize("protocol", PROTOCOLS)
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


SINGLE = ("UTSW", "CC-CCII", "COVID-CTset")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_quick_way_ends_with_networks_that_learned(tmp_path: Path) -> None:
    demo(tmp_path, quick=True)
    _check_the_page(tmp_path, models=3)
    homes = [auc for protocol in PROTOCOLS for auc in _check_the_networks(tmp_path / protocol)]
    assert mean(homes) >= 0.75  # fewer patients and iterations than the full demo
    findings = json.loads((tmp_path / "paper" / "audit.json").read_text())
    assert any("MosMedData has only positive scans" in sentence for sentence in findings["warnings"])
    truth = list(csv.DictReader((tmp_path / "sites" / "MosMedData.truth.csv").read_text().splitlines()))
    assert {row["label"] for row in truth} == {"1"}
    _check_the_story(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_the_whole_demo_ends_with_networks_that_learned(tmp_path: Path) -> None:
    demo(tmp_path)
    _check_the_page(tmp_path, models=9)
    for protocol in PROTOCOLS:
        assert mean(_check_the_networks(tmp_path / protocol)) >= 0.85
    _check_the_story(tmp_path)


def _check_the_page(folder: Path, *, models: int) -> None:
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "imulated" in html
    assert "Research use only" in html
    assert len(html) < 5_000_000
    for protocol in PROTOCOLS:
        assert len(read_table(folder / protocol / "scores.parquet")) == models * 4 * 2


def _check_the_networks(folder: Path) -> list[float]:
    """No network is degenerate, and every single-site one is surely better than chance at home; their AUCs there."""
    learned = read_table(folder / "learned.parquet")
    assert [row["model"] for row in learned if row["degenerate"]] == []
    homes = {r["model"]: r for r in read_table(folder / "scores.parquet") if r["model"] == r["site"]}
    assert set(homes) == set(SINGLE)
    assert {name: row["auc_low"] for name, row in homes.items() if row["auc_low"] <= 0.5} == {}
    return [row["auc"] for row in homes.values()]


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

"""The demo: its study files are sound, and (slow) the whole path on simulated sites ends with one page."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from elsewhere.commands.demo import Steps, demo, run_demo, study_text
from elsewhere.statistics.learned import Learned
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder, read_table
from elsewhere.studies.learned import DEGENERATE, write_learned
from elsewhere.studies.records import ADAPTATION, read_findings

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


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_several_trainings_differ_in_their_seed_alone(protocol: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{seeds}.toml" for seeds in (1, 3)]
    for file, seeds in zip(files, (1, 3), strict=True):
        file.write_text(study_text(protocol, 4, True, seeds), encoding="utf-8")
    once, thrice = map(load_study, files)
    assert (once.seeds, list(once.repeats)) == ((), [])
    assert thrice.seeds == (4, 5, 6)  # the first gives all other results, as with one training
    assert len(thrice.repeats) == 2 * 3
    assert thrice.training == once.training
    assert thrice.training_of("UTSW~6").seed == 6
    assert (thrice.seed, thrice.split) == (once.seed, once.split)


class Walk:
    """The demo's steps without a simulation or a training: the study step leaves the judgements of its networks."""

    def __init__(self, unlearned: dict[str, tuple[str, ...]]) -> None:
        self.unlearned, self.walked = unlearned, []

    def steps(self) -> Steps:
        names = ("simulate", "diagnose", "stress", "view", "evaluate", "adapt", "report")
        return Steps(study=self.study, product=self.product, **{name: self._note(name) for name in names})

    def product(self, sites: Path, names: list[str], out: Path, _: int) -> tuple[Path, Path]:
        assert (sites.name, out.name, len(names)) == ("sites", "product", 4)
        self.walked.append("product")
        return out / "version-1.csv", out / "version-2.csv"

    def _note(self, name: str) -> Any:
        return lambda *_, **__: self.walked.append(name)

    def study(self, studies: list[tuple[Path, Folder]], _: int | None) -> None:
        for file, folder in studies:
            self._judge(load_study(file), folder)
        self.walked.append("study")

    def _judge(self, plan: Study, folder: Folder) -> None:
        poor = Learned(0.5, 0.4, 0.6, 0.5, 0.5, 1.0, 40, ("its discrimination is not surely above chance",), (), 0.7)
        good = Learned(0.9, 0.8, 0.95, 0.8, 0.5, 1.0, 40, (), (), 0.7)
        failed = self.unlearned.get(plan.name, ())
        names = [*plan.models, *plan.repeats]
        judged = {name: poor if name in failed else good for name in names}
        write_learned(folder, judged, {name: plan.trained_on(name) for name in names})


def test_the_demo_ends_with_30_where_a_network_did_not_learn_and_names_it(tmp_path: Path, capsys: Any) -> None:
    walk = Walk({"paper": ("CC-CCII",), "harmonised": ("UTSW", "UTSW+CC-CCII")})
    assert run_demo(tmp_path, steps=walk.steps()).exit_code == DEGENERATE == 30
    said = " ".join(capsys.readouterr().err.split())
    assert "Did not learn: CC-CCII (paper), UTSW (harmonised), UTSW+CC-CCII (harmonised) (exit code 30" in said
    assert walk.walked[-2:] == ["adapt", "report"]  # the pages are there all the same
    assert "UTSW (paper) adapted to CC-CCII:" in said
    assert "paper/adaptations/UTSW/CC-CCII/adaptation.html" in "".join(said.split())
    assert walk.walked.count("stress") == 2


def test_the_demo_ends_with_0_where_all_learned(tmp_path: Path, capsys: Any) -> None:
    walk = Walk({})
    assert run_demo(tmp_path, quick=True, steps=walk.steps()).exit_code == 0
    assert "Did not learn" not in capsys.readouterr().err
    assert walk.walked == ["simulate", "study", "diagnose", "diagnose", "view", "product", "evaluate", "report"]


def test_a_further_training_that_did_not_learn_counts_too(tmp_path: Path, capsys: Any) -> None:
    walk = Walk({"paper": ("UTSW~2",)})
    assert run_demo(tmp_path, quick=True, seeds=2, steps=walk.steps()).unlearned == ("UTSW~2 (paper)",)
    assert "Did not learn: UTSW~2 (paper)" in " ".join(capsys.readouterr().err.split())


SINGLE = ("UTSW", "CC-CCII", "COVID-CTset")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_quick_way_ends_with_networks_that_learned(tmp_path: Path) -> None:
    demo(tmp_path, quick=True)
    _check_the_page(tmp_path, models=3)
    for protocol in PROTOCOLS:  # the full demo's single-site networks
        assert mean(_check_the_networks(tmp_path / protocol)) >= 0.85
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
    _check_the_adaptation(tmp_path / "paper" / "adaptations" / "UTSW" / "CC-CCII")
    for protocol in PROTOCOLS:
        assert mean(_check_the_networks(tmp_path / protocol)) >= 0.85
    _check_the_story(tmp_path)


def _check_the_page(folder: Path, *, models: int) -> None:
    product = (folder / "product" / "evaluation.html").read_text(encoding="utf-8")
    assert "slices thinner than 2 mm" in product
    assert "worse than the old one by more than the margin" in product
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "imulated" in html
    assert "Research use only" in html
    assert len(html) < 5_000_000
    for protocol in PROTOCOLS:
        assert len(read_table(folder / protocol / "scores.parquet")) == models * 4 * 2


def _check_the_adaptation(folder: Path) -> None:
    """The dense part alone, fitted on few labelled scans, ranks better there than the network as it is."""
    found = ADAPTATION.read(folder / "adaptation.json")
    assert {point["way"] for point in found["curve"]} == {"dense"}
    assert max(point["auc"]["estimate"] for point in found["curve"]) > found["before"]["estimate"]
    assert "Research use only" in (folder / "adaptation.html").read_text(encoding="utf-8")


def _check_the_networks(folder: Path) -> list[float]:
    """No network is degenerate, and every single-site one is surely better than chance at home; their AUCs there."""
    learned = read_table(folder / "learned.parquet")
    assert [row["model"] for row in learned if row["degenerate"]] == []
    homes = {r["model"]: r for r in read_table(folder / "scores.parquet") if r["model"] == r["site"]}
    assert set(homes) == set(SINGLE)
    assert {name: row["auc_sampling_low"] for name, row in homes.items() if row["auc_sampling_low"] <= 0.5} == {}
    return [row["auc"] for row in homes.values()]


def _check_the_story(folder: Path) -> None:
    """The page's planted story is the simulator's own, and most of what was planted at full strength came to light."""
    planted = {
        (path.name.removesuffix(".truth.json"), factor.replace("_", " "), strength)
        for path in (folder / "sites").glob("*.truth.json")
        for factor, strength in json.loads(path.read_text())["dials"].items()
    }
    rows = list(csv.DictReader((folder / "tables" / "paper-planted.csv").read_text(encoding="utf-8").splitlines()))
    assert {(r["site"], r["factor"], float(r["strength"])) for r in rows} == planted
    found = {(r["site"], r["factor"]) for r in rows if r["found"] == "found"}
    full = {(site, factor) for site, factor, strength in planted if strength == 1}
    assert {site for site, _ in full & found} == {"UTSW", "CC-CCII", "COVID-CTset"}
    assert len(full & found) >= 2 / 3 * len(full)
    assert len(found) >= len(planted) / 3
    named = read_findings(folder / "paper" / "diagnosis" / "findings.json")
    assert not [f for f in named if f.home == f.site == "MosMedData"]  # one class: nothing gives it away

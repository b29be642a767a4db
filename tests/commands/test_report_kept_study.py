"""study.json in; what the page needs of it, with types, out."""

from __future__ import annotations

from pathlib import Path

import pytest

from elsewhere.commands.report.kept_study import KeptSite, KeptStudy, kept_study
from elsewhere.scans.preparation import Preparation
from elsewhere.studies.file import load_study

FILE = """
origin = "simulated"
finding = "pneumonia"
seeds = [4, 5]
[sites]
A = { kind = "volumes", root = "A", country = "Iran" }
B = { kind = "volumes", root = "B", use = "test" }
[preparation]
relative_window = [-1000, 200]
[split]
folds = 3
[evaluation]
threshold = "site"
"""


@pytest.fixture
def kept(tmp_path: Path) -> KeptStudy:
    (tmp_path / "study.toml").write_text(FILE)
    settings = load_study(tmp_path / "study.toml").settings()
    return kept_study({"settings": settings, "models": {"A": ["A"]}, "versions": {}, "split_hash": "5417"})


def test_settings_are_those_of_the_study_file(kept: KeptStudy, tmp_path: Path) -> None:
    study = load_study(tmp_path / "study.toml")
    assert (kept.settings.name, kept.settings.origin, kept.settings.finding) == ("study", "simulated", "pneumonia")
    assert (kept.settings.seeds, kept.settings.protocol) == (study.seeds, study.protocol)
    assert kept.preparation == study.preparation
    assert isinstance(kept.preparation, Preparation)
    assert (kept.folds, kept.reading, kept.network) == (3, "site", "paper")
    assert kept.sites[0] == KeptSite("A", "volumes", str(study.sites[0].root), None, "Iran")
    assert [site.use for site in kept.sites] == ["split", "test"]
    assert (kept.site_names, kept.models, kept.ensembles, kept.split_hash) == (["A", "B"], {"A": ["A"]}, {}, "5417")


def test_what_an_earlier_version_did_not_keep_has_its_default(kept: KeptStudy) -> None:
    settings = {name: value for name, value in kept.all_settings.items() if name not in {"seeds", "finding", "split"}}
    earlier = kept_study({"settings": settings, "models": {}, "versions": {}})
    assert (earlier.settings.seeds, earlier.settings.finding, earlier.folds) == ((), "", 0)

"""A study's settings in; the words for its protocol out: what the settings say, and where they leave the preset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elsewhere.commands.report.kept_study import KeptStudy, kept_study
from elsewhere.commands.report.protocol import departures, protocol_words
from elsewhere.studies.file import load_study


def study_of(folder: Path, protocol: str, more: str = "") -> KeptStudy:
    """What study.json keeps of a study file."""
    return kept(settings_of(folder, protocol, more))


def kept(settings: dict[str, Any]) -> KeptStudy:
    """A study.json with these settings."""
    return kept_study({"settings": settings, "models": {}, "versions": {}})


def settings_of(folder: Path, protocol: str, more: str = "") -> dict[str, Any]:
    """Settings of a study file as study.json keeps them."""
    file = folder / "study.toml"
    file.write_text(f'protocol = "{protocol}"\n{more}\n[sites]\nA = {{ kind = "volumes", root = "A" }}\n')
    return load_study(file).settings()


def test_a_preset_as_it_is_departs_in_nothing(tmp_path: Path) -> None:
    paper = protocol_words(study_of(tmp_path, "paper", "[training]\nthreads = 1\nsave_every = 7"))
    assert paper == (
        "The paper's protocol (where its text is silent, our reading): intensities as published, whole slices, rows "
        "and columns resized, each scan divided by its maximum, scans drawn as they come, weights kept by validation "
        "accuracy, a threshold for each tested site. No option departs from its preset."
    )
    harmonised = protocol_words(study_of(tmp_path, "harmonised"))
    assert harmonised == (
        "The harmonised protocol: known encodings back to HU, the lungs' bounding box, one fixed grid, one window of "
        "values, classes in turn in training, weights kept by validation log loss, one threshold per model from its "
        "own training sites. No option departs from its preset."
    )


@pytest.mark.parametrize("protocol", ["paper", "harmonised"])
def test_words_follow_the_settings_and_departures_are_named_whatever_the_preset(tmp_path: Path, protocol: str) -> None:
    """Called harmonised, and yet whole slices of scans that are drawn as they come."""
    more = """
[preparation]
crop = "{crop}"
[training]
balanced_classes = {classes}
select = "auc"
[evaluation]
threshold = "{threshold}"
"""
    turned = {
        "paper": {"crop": "lungs", "classes": "true", "threshold": "model"},
        "harmonised": {"crop": "none", "classes": "false", "threshold": "site"},
    }[protocol]
    said = protocol_words(study_of(tmp_path, protocol, more.format(**turned)))
    assert ("the lungs' bounding box" in said, "whole slices" in said) == (protocol == "paper", protocol != "paper")
    assert ("classes in turn" in said, "as they come" in said) == (protocol == "paper", protocol != "paper")
    assert "weights kept by validation AUC" in said
    assert ("one threshold per model" in said) == (protocol == "paper")
    assert said.endswith(
        " Not as its preset has it: preparation (crop); training (balanced_classes, select); evaluation (threshold); "
        "the values stand under Settings."
    )
    many = "[network]\nfilters = [4]\npools = []\nkernels = [[3, 3, 3]]\ndense = [8]\ngroups = 2\ndense_groups = 2\n"
    assert " Not as its preset has it: 6 options of network; " in protocol_words(study_of(tmp_path, protocol, many))


def test_departures_are_against_the_paper_under_either_protocol(tmp_path: Path) -> None:
    assert departures(study_of(tmp_path, "paper")) == {}
    pools = (
        "[network]\npools = [[4, 2, 2], [2, 2, 2]]\nfilters = [8, 8, 8]\nkernels = [[3, 3, 3], [3, 3, 3], [3, 3, 3]]\n"
    )
    found = departures(study_of(tmp_path, "harmonised", pools))
    assert found["network.pools"].startswith("[[4, 2, 2], [2, 2, 2]] (paper: [[4, 4, 4], ")
    assert found["preparation.crop"] == "lungs (paper: none)"
    assert found["preparation.maximum"].endswith(" (paper: none)")  # not Python's None
    assert not any(word in text for text in found.values() for word in ("None", "True", "False"))
    old = settings_of(tmp_path, "harmonised")
    del old["training"]["select"]  # kept by a version that did not have it
    assert "training.select" not in departures(kept(old))
    assert "weights kept" not in protocol_words(kept(old))

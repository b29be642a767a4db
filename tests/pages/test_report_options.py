"""Settings as study.json nests them in; the options that the page tells out: what is not there is not made up."""

from __future__ import annotations

from dataclasses import fields

import pytest

from elsewhere.model.network_settings import NetworkSettings
from elsewhere.model.settings import SampleSettings, TrainingSettings
from elsewhere.pages.report.options import SECTIONS, Options, PreparationOptions, TrainingOptions, options_of
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.scan import SplitSettings
from elsewhere.studies.file import EvaluationSettings


def test_a_section_that_is_not_there_is_none_and_an_option_its_default() -> None:
    found = options_of({"seed": 3, "training": {"batch": 4, "unknown": 1}, "preparation": {}, "sample": "no section"})
    assert found == Options(3, training=TrainingOptions(batch=4), preparation=PreparationOptions())
    assert options_of({}) == Options()


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        ("split", SplitSettings),
        ("preparation", Preparation),
        ("network", NetworkSettings),
        ("sample", SampleSettings),
        ("training", TrainingSettings),
        ("evaluation", EvaluationSettings),
    ],
)
def test_every_option_is_one_of_a_study_file(section: str, settings: type) -> None:
    """An option of another name would be shown as its default for ever."""
    known = {f.name for f in fields(settings)} | ({"classes"} if section == "network" else set())
    assert {f.name for f in fields(SECTIONS[section])} <= known

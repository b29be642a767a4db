"""The interval that an AUC will have, said from numbers of patients, and when folds are worth a hint."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from elsewhere.commands.prepare import prepare
from elsewhere.studies import expected
from elsewhere.studies.expected import expected_words
from tiny_sites import TINY_SITES


def test_examples() -> None:
    assert doctest.testmod(expected).failed == 0


def test_a_hint_at_folds_only_where_the_interval_is_long() -> None:
    assert "`folds = 5`" in expected_words((6, 10), (30, 50), 0)
    assert "folds" not in expected_words((200, 400), (1000, 2000), 0)
    assert "within 4 folds, on all patients" in expected_words((200, 400), (1000, 2000), 4)


def test_a_class_without_test_patients_has_none() -> None:
    assert expected_words((0, 10), (0, 50), 5) == ""


def test_preparing_says_it_of_the_sites_that_are_trained_on(
    tiny_study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare(tiny_study, tmp_path / "out", workers=1)
    words = " ".join("".join(capfd.readouterr()).split())
    assert "UTSW: 2 positive test patients and 2 negative: an AUC of 0.85 would have an interval of" in words
    assert "CC-CCII" in TINY_SITES
    assert "CC-CCII: 2 positive" not in words  # is not trained on

"""Singular and plural agree with their count."""

from __future__ import annotations

import pytest

from elsewhere.wording import numbered, verb


@pytest.mark.parametrize(
    ("how_many", "words"), [(0, "0 scans look"), (1, "1 scan looks"), (2, "2 scans look"), (1200, "1,200 scans look")]
)
def test_noun_and_verb_agree(how_many: int, words: str) -> None:
    assert f"{numbered(how_many, 'scan')} {verb(how_many, 'looks', 'look')}" == words


def test_plurals_that_are_not_made_with_s_are_given() -> None:
    assert (numbered(1, "study", "studies"), numbered(3, "study", "studies")) == ("1 study", "3 studies")

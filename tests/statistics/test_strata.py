"""Strata of case mix."""

from __future__ import annotations

import pytest

from elsewhere.statistics.strata import age_and_sex


@pytest.mark.parametrize(
    ("facts", "stratum"),
    [
        ({"age": 39, "sex": "F"}, "F 0"),
        ({"age": 40, "sex": "F"}, "F 1"),
        ({"age": 60.0, "sex": "M"}, "M 2"),
        ({"age": 61.5, "sex": "M"}, "M 2"),
        ({"age": 50}, None),
        ({"age": "old", "sex": "F"}, None),
        ({"age": 61.5, "sex": None}, None),
        ({"sex": "M"}, None),
    ],
)
def test_bands_begin_at_their_bounds_and_unknown_is_no_stratum(facts: dict, stratum: str | None) -> None:
    assert age_and_sex(facts) == stratum

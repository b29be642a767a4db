"""A patient's age and sex in; the stratum that case mix counts him in out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AGES = (40, 60)
"""Bounds of the age bands, in years."""
OLDEST = 90
"""Ages from here on stand on pages as one: so old are too few not to be known by it (45 CFR 164.514(b)(2)(i)(C))."""


def age_and_sex(facts: Mapping[str, Any]) -> str | None:
    """Sex and number of the age band ("F 1"), or None where either is unknown.

    >>> age_and_sex({"age": 63, "sex": "F"})
    'F 2'
    >>> age_and_sex({"age": 63}) is None
    True
    """
    age, sex = facts.get("age"), facts.get("sex")
    if sex is None or not isinstance(age, int | float):
        return None
    return f"{sex} {sum(age >= bound for bound in AGES)}"


def age_words(age: float) -> str:
    """An age in years as pages print it: "45", "90+".

    >>> age_words(63.0), age_words(93)
    ('63', '90+')
    """
    return f"{OLDEST}+" if age >= OLDEST else f"{age:.0f}"

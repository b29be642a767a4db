"""Marks: each shift moves its own, in its direction and more with more dose; units and windows do not."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from elsewhere.scans.marks import ALL, INSTEAD, MARKS, marks, shifted_marks
from elsewhere.scans.shifts import LADDERS, LUNG_WINDOW, apply_shift, plan_shift
from elsewhere.scans.volume import Volume

SIDE, PIXEL = 96, 1.0
DOSES = {"blur": (1.5, 3), "quantise": (6, 16, 64)}
SIGN = {
    "blur": {"edge": -1, "grain": -1},
    "sharpen": {"edge": 1, "grain": 1},
    "noise": {"grain": 1},
    "thickness": {"thickness": 1},
    "contrast": {"blood": 1},
    "narrow": {"field": -1, "body": 1},
    "wide": {"field": 1, "body": -1},
    "window": {"ceiling": -1},
    "quantise": {"step": 1},
    "padding": {"floor": -1},
    "darker": {"dark": -1, "bright": -1},
    "brighter": {"dark": 1},
    "flatter": {"dark": 1, "bright": -1},
    "steeper": {"dark": -1, "bright": 1},
}


def chest(units: str = "HU") -> Volume:
    """Muscle with two lungs, a heart between them, vessels, bone, noise; fat outside, and air."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    hu = np.full((14, SIDE, SIDE), -1000.0)
    hu[:, (y / 0.7) ** 2 + (x / 0.85) ** 2 < 1] = 40
    for side in (-1, 1):
        hu[:, (y / 0.5) ** 2 + ((x - side * 0.45) / 0.3) ** 2 < 1] = -850
    hu[:, 60:66, 46:50] = 500
    for row in range(30, 66, 6):
        hu[:, row, 20:34] = -200
    hu[hu > -1000] += random.normal(0, 10, int((hu > -1000).sum()))
    facts = {"thickness_mm": 1.5}
    if units == "relative":
        low, high = LUNG_WINDOW
        grey = np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        return Volume(grey, "relative", None, None, facts=facts)
    offset = 1024.0 if units == "ct_number" else 0.0
    voxels = (np.rint(hu) + offset).astype(np.int16)
    return Volume(voxels, units, (2.0, PIXEL, PIXEL), offset, facts=facts)  # type: ignore[arg-type]


def test_every_shift_has_marks() -> None:
    assert set(MARKS) == set(LADDERS) == set(SIGN)
    assert {m for names in MARKS.values() for m in names} | set(INSTEAD.values()) == ALL
    assert set(marks(chest())) == ALL


@pytest.mark.parametrize("name", LADDERS)
def test_a_shift_moves_its_marks_its_way_and_more_with_more_dose(name: str) -> None:
    volume = chest()
    before = marks(volume)
    after = [
        shifted_marks(apply_shift(volume, plan_shift(name, dose)), name, dose, LUNG_WINDOW)
        for dose in DOSES.get(name, LADDERS[name].doses)
    ]
    assert set(after[0]) == {*MARKS[name], *(INSTEAD[m] for m in MARKS[name] if m in INSTEAD)}
    for mark, sign in SIGN[name].items():
        course = [before[mark], *(found[mark] for found in after)]
        assert sign * (course[-1] - course[0]) > 0, (mark, course)
        assert all(sign * (b - a) >= -1e-9 * abs(a) for a, b in pairwise(course)), (mark, course)


def test_ct_numbers_have_the_marks_of_hu() -> None:
    assert marks(chest("ct_number")) == pytest.approx(marks(chest()), rel=1e-6)


def test_an_8_bit_picture_has_them_too_but_for_what_it_cannot_tell() -> None:
    hu, grey = marks(chest()), marks(chest("relative"))
    assert set(grey) == ALL - {"blood", "field"}
    assert (grey["floor"], grey["ceiling"]) == LUNG_WINDOW
    assert grey["step"] == 6  # 5.9, in whole HU
    assert {m: grey[m] for m in ("dark", "bright", "edge", "body")} == pytest.approx(
        {m: hu[m] for m in ("dark", "bright", "edge", "body")}, rel=0.05, abs=8
    )


def test_a_field_of_view_that_only_a_header_tells_is_not_taken_for_the_shifted_one() -> None:
    volume = replace(chest("relative"), facts={"pixel_spacing_mm": 0.7})
    assert marks(volume)["field"] == pytest.approx(0.7 * SIDE)
    moved = apply_shift(volume, plan_shift("wide", 20))
    assert set(shifted_marks(moved, "wide", 20, LUNG_WINDOW)) == {"body"}


def test_thicker_slices_are_as_thick_as_they_were_averaged_over() -> None:
    moved = chest()
    assert shifted_marks(moved, "thickness", 5, LUNG_WINDOW) == {"thickness": 5}
    assert shifted_marks(moved, "thickness", 1, LUNG_WINDOW) == {"thickness": 1.5}

"""What is no chest CT is said to be none, by its header, its length and its lungs; a chest is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from elsewhere.scans.chest import check_chest
from elsewhere.scans.scan import Fact

HU = (1.0, 0.0)
CHEST: dict[str, Fact] = {"body_part": "CHEST", "slices": 60, "slice_spacing_mm": 5.0}


def _body(lungs: bool) -> NDArray[Any]:
    """A trunk of soft tissue in air, with two lungs of 60 % of its height where wanted."""
    z, y, x = np.ogrid[-1:1:30j, -1:1:64j, -1:1:64j]
    hu = np.full((30, 64, 64), -1000)
    hu[np.broadcast_to((y / 0.7) ** 2 + (x / 0.9) ** 2 < 1, hu.shape)] = 40
    if lungs:
        for middle in (-0.42, 0.42):
            hu[(z / 0.7) ** 2 + (y / 0.5) ** 2 + ((x - middle) / 0.33) ** 2 < 1] = -850
    return hu.astype(np.int16)


def _with_gas() -> NDArray[Any]:
    """A trunk with gas along the colon: two thin upright tubes, joined by a crossing one."""
    hu = _body(lungs=False)
    for column in (12, 48):
        hu[4:26, 28:36, column : column + 5] = -900
    hu[4:7, 28:36, 12:53] = -900
    hu[4:26, 16:20, 14:18] = hu[4:26, 44:47, 45:50] = -900
    return hu


def test_a_chest_has_no_remark() -> None:
    check = check_chest(_body(lungs=True), HU, CHEST)
    assert check.remarks == ()
    assert check.has_lungs
    assert not check.header_differs


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"body_part": "HEAD"}, "another region than the chest (HEAD)"),
        ({"body_part": "ABDOMEN", "description": "Liver 3 phases"}, "another region than the chest (ABDOMEN, Liver"),
        ({"description": "WATER PHANTOM"}, "names a phantom (WATER PHANTOM)"),
        ({"body_part": "CHEST", "description": "Lungman phantom"}, "names a phantom"),
    ],
)
def test_a_header_that_names_something_else_is_told(facts: dict[str, Fact], words: str) -> None:
    check = check_chest(_body(lungs=True), HU, {**CHEST, "body_part": None, **facts})
    assert [words in remark for remark in check.remarks] == [True]
    assert check.header_differs
    assert check.has_lungs


@pytest.mark.parametrize("part", ["CHEST", "CHEST_TO_PELVIS", "Thorax/Abdomen", None, "PARTIALBODY"])
def test_a_header_that_names_the_chest_too_or_nothing_is_not_told(part: str | None) -> None:
    assert check_chest(_body(lungs=True), HU, {**CHEST, "body_part": part}).remarks == ()


def test_without_lungs_it_says_so_whatever_the_header_says() -> None:
    check = check_chest(_body(lungs=False), HU, CHEST)
    assert [remark.startswith("lungs not found") for remark in check.remarks] == [True]
    assert not check.has_lungs


def test_gas_in_the_bowel_passes_for_no_lung() -> None:
    check = check_chest(_with_gas(), HU, {**CHEST, "body_part": None})
    assert not check.has_lungs
    assert len(check.remarks) == 1


@pytest.mark.parametrize(("slices", "said"), [(24, False), (23, True)])
def test_a_short_scan_is_told(slices: int, said: bool) -> None:
    remarks = check_chest(_body(lungs=True), HU, {**CHEST, "slices": slices}).remarks
    assert any("only 115 mm" in remark for remark in remarks) is said
    assert check_chest(_body(lungs=True), HU, {"slices": 3, "slice_spacing_mm": None}).remarks == ()

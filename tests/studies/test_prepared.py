"""What the numbers and voxels of a prepared volume mean: units, offset, spacing, with and without a crop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elsewhere.model.acquisition import Grid
from elsewhere.model.sample import Case
from elsewhere.scans.shifts import CHEST_WIDTH
from elsewhere.scans.volume import Preparation
from elsewhere.studies.prepared import LUNGS, grid_of, grid_reader
from elsewhere.studies.records import ScanRow

ROW = ScanRow(
    "A", "p", "s", 1, None, "ok", "f", 60, -1000, 400, content_hash="", rows=512, columns=512, units="HU",
    padding_share=0.0, black_share=0.0, slice_spacing_mm=2.0, source_slices=60, notes=(),
    facts={"pixel_spacing_mm": 0.7}, subset="train",
)  # fmt: skip
PAPER = Preparation(size=(24, 128, 128))
HARMONISED = replace(PAPER, grid="fixed", encoding="hu", crop="lungs")


def test_in_plane_the_pixels_grow_and_the_slices_stay() -> None:
    assert grid_of(ROW, PAPER) == Grid("HU", 0.0, (2.0, 0.7 * 4, 0.7 * 4))


def test_a_fixed_grid_changes_the_slices_too() -> None:
    fixed = replace(ROW, slices=24)
    assert grid_of(fixed, replace(PAPER, grid="fixed")).spacing == pytest.approx((5.0, 2.8, 2.8))


def test_a_crop_to_the_lungs_is_taken_for_their_usual_size() -> None:
    assert grid_of(replace(ROW, slices=24), HARMONISED) == Grid(
        "HU", 0.0, (LUNGS[0] / 24, LUNGS[1] / 128, LUNGS[2] / 128)
    )
    assert grid_of(ROW, replace(PAPER, crop="lungs")).spacing == (2.0, LUNGS[1] / 128, LUNGS[2] / 128)


def test_numbers_that_are_left_as_published_keep_their_meaning() -> None:
    numbers, relative = replace(ROW, units="ct_number"), replace(ROW, units="relative")
    assert grid_of(numbers, PAPER).offset == 1024
    assert grid_of(replace(numbers, facts={"declared_offset": 1000}), PAPER).offset == 1000
    assert (grid_of(relative, PAPER).units, grid_of(relative, PAPER).offset) == ("relative", None)
    assert grid_of(relative, HARMONISED).units == grid_of(numbers, HARMONISED).units == "HU"


def test_what_the_files_do_not_say() -> None:
    unknown = replace(ROW, slice_spacing_mm=None, facts={})
    assert grid_of(unknown, PAPER).spacing is None
    assert grid_of(replace(unknown, facts={"thickness_mm": 5.0}), PAPER).spacing == (5.0, *(CHEST_WIDTH / 128,) * 2)


def test_each_scan_is_found_by_its_name() -> None:
    reader = grid_reader([ROW, replace(ROW, scan="t", units="relative")], PAPER)
    assert [reader(Case("A", "p", scan, 1, 60, 0, 1)).units for scan in "st"] == ["HU", "relative"]

"""Voxels in, NIfTI out: what a viewer draws lies where the scan lies, and is as true as it says."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from elsewhere.scans.display import (
    CUBE_MM,
    SHOWN_HU,
    draw_overlay,
    draw_scan,
    prepared_frame,
    spread,
    whole_frame,
)
from elsewhere.scans.nifti import read_nifti

SPACING = (5.0, 0.75, 0.5)


def _hu(shape: tuple[int, int, int] = (6, 8, 10)) -> np.ndarray:
    return np.random.default_rng(1).integers(-1024, 1500, shape).astype(np.int16)


def _values(nifti: bytes) -> np.ndarray:
    """Values as a viewer computes them, [slice, row, column]."""
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(nifti))
    return np.asarray(image.dataobj).transpose(2, 1, 0)


def test_16_bits_come_back_voxel_by_voxel_in_the_canonical_axes(tmp_path: Path) -> None:
    picture = draw_scan(_hu(), "HU", 0.0, whole_frame(_hu().shape, SPACING), bits=16)
    (tmp_path / "x.nii.gz").write_bytes(picture.nifti)
    grid = read_nifti(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(grid.voxels, _hu())
    assert grid.spacing == SPACING
    assert (picture.slices, picture.units, picture.step) == (6, "HU", 1.0)


def test_8_bits_are_within_half_a_step_inside_the_shown_range() -> None:
    picture = draw_scan(_hu(), "HU", 0.0, whole_frame(_hu().shape, SPACING))
    wanted = np.clip(_hu().astype(float), picture.low, picture.high)
    assert (picture.low, picture.high) == (_hu().min(), SHOWN_HU[1])
    assert picture.step == pytest.approx((SHOWN_HU[1] - picture.low) / 255)
    assert np.abs(_values(picture.nifti) - wanted).max() <= 0.5 * picture.step + 1e-3


@pytest.mark.parametrize("bits", [8, 16])
def test_ct_numbers_are_drawn_in_hu(bits: int) -> None:
    numbers = (_hu() + 1024).astype(np.int16)
    picture = draw_scan(numbers, "ct_number", 1024.0, whole_frame(numbers.shape, None), bits)
    inside = (_hu() < SHOWN_HU[1]) & (_hu() > SHOWN_HU[0])
    assert np.abs(_values(picture.nifti) - _hu())[inside].max() <= 0.5 * picture.step + 1e-3
    assert picture.units == "HU"


def test_published_grey_values_stay_what_they_are() -> None:
    grey = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(np.uint8)
    picture = draw_scan(grey, "relative", None, whole_frame(grey.shape, None))
    np.testing.assert_array_equal(_values(picture.nifti), grey)
    assert (picture.units, picture.step) == ("relative", 1.0)


def test_a_constant_scan_is_drawn() -> None:
    flat = np.full((2, 3, 4), 3000, np.int16)
    assert np.isfinite(_values(draw_scan(flat, "HU", 0.0, whole_frame(flat.shape, None)).nifti)).all()


def test_equal_scans_give_equal_bytes() -> None:
    one, other = (draw_scan(_hu(), "HU", 0.0, whole_frame(_hu().shape, SPACING)) for _ in range(2))
    assert one.nifti == other.nifti


def test_an_unknown_spacing_makes_a_cube() -> None:
    frame = whole_frame((10, 20, 30), None)
    assert [n * step for n, step in zip((10, 20, 30), frame.spacing, strict=True)] == pytest.approx([CUBE_MM] * 3)


def test_an_overlay_on_the_lung_box_lies_there_in_the_patient() -> None:
    """A cropped, coarser grid: the centre of each of its voxels has the same place in mm as what it stands for."""
    box = (slice(2, 6), slice(1, 7), slice(4, 10))
    frame = prepared_frame((8, 9, 12), SPACING, box, (2, 3, 3))
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(draw_overlay(np.ones((2, 3, 3), np.float32), frame)))
    whole = draw_scan(np.zeros((8, 9, 12), np.int16), "HU", 0.0, whole_frame((8, 9, 12), SPACING), 16)
    affine = nibabel.Nifti1Image.from_bytes(gzip.decompress(whole.nifti)).affine
    # voxel (column 2, row 1, slice 1) of the overlay covers columns 8..9, rows 3..4, slices 4..5 of the scan
    np.testing.assert_allclose(image.affine @ [2, 1, 1, 1], affine @ [8.5, 3.5, 4.5, 1], atol=1e-5)


def test_a_spread_map_keeps_its_place_and_its_constant() -> None:
    np.testing.assert_allclose(spread(np.full((2, 3, 4), 0.7, np.float32), (8, 9, 8)), 0.7, rtol=1e-6)
    cells = np.zeros((2, 2, 2), np.float32)
    cells[0, 1, 0] = 1
    wide = spread(cells, (8, 6, 10))
    assert wide.shape == (8, 6, 10)
    assert np.unravel_index(wide.argmax(), wide.shape)[0] < 4
    assert wide[:4, 3:, :5].sum() > 0.5 * wide.sum()
    np.testing.assert_allclose(wide[0, 5, 0], 1.0)

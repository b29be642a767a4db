"""Preparation against slow, obvious versions; the lung box; the facts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from elsewhere.scans import volume as volume_module
from elsewhere.scans.volume import Preparation, Volume, linear_weights, lung_box, lung_mask, measure, prepare, to_hu


def chest(rows: int = 64, black: bool = False) -> NDArray[np.int16]:
    """A box-shaped body in air with two air-filled boxes as lungs, at slices 4:16."""
    hu = np.full((20, rows, 64), -1000, np.int16)
    hu[:, 10:54, 6:58] = 40
    hu[4:16, 20:44, 12:28] = -850
    hu[4:16, 20:44, 36:52] = -850
    if black:
        hu[(hu > -500) | (hu == -1000)] = -1350
    return hu


def test_paper_clips_below_only_and_keeps_the_slices() -> None:
    voxels = np.array([[[-2000, -1000], [3000, 5]]], np.int16)
    stored, notes = prepare(Volume(voxels, "HU", offset=0), Preparation(size=(128, 2, 2)))
    assert stored.tolist() == [[[-1000, -1000], [3000, 5]]]
    assert notes == ()


@pytest.mark.parametrize("writeable", [True, False])
def test_overwriting_clips_in_place_where_it_can(writeable: bool) -> None:
    voxels = np.array([[[-2000, -1000], [3000, 5]]], np.int16)
    voxels.flags.writeable = writeable
    stored, _ = prepare(Volume(voxels, "HU", offset=0), Preparation(size=(128, 2, 2)), overwrite=True)
    assert stored.tolist() == [[[-1000, -1000], [3000, 5]]]
    assert np.shares_memory(stored, voxels) == writeable


@pytest.mark.parametrize(("units", "offset"), [("ct_number", 1024), ("relative", None)])
def test_paper_leaves_other_units_as_they_are(units: str, offset: float | None) -> None:
    voxels = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    stored, _ = prepare(Volume(voxels, units, offset=offset), Preparation(size=(128, 2, 2)))  # type: ignore[arg-type]
    assert stored.dtype == np.uint8
    assert (stored == voxels).all()


def test_encoding_hu_converts_what_it_can() -> None:
    numbers = Volume(np.array([[[0, 1024, 4095]]], np.int16), "ct_number", offset=1024)
    assert to_hu(numbers).voxels.ravel().tolist() == [-1024, 0, 3071]
    grey = Volume(np.array([[[0, 255]]], np.uint8), "relative")
    assert to_hu(grey).voxels.ravel().tolist() == [-1350, 150]


def test_only_who_overwrites_shifts_the_volumes_own_voxels() -> None:
    numbers = Volume(np.array([[[0, 1024, 4095]]], np.int16), "ct_number", offset=1024)
    assert to_hu(numbers).voxels is not numbers.voxels
    assert numbers.voxels.ravel().tolist() == [0, 1024, 4095]
    assert np.shares_memory(to_hu(numbers, overwrite=True).voxels, numbers.voxels)


def test_lung_box_is_the_same_in_any_units() -> None:
    hu = chest()
    numbers = Volume((hu + 1024).astype(np.int16), "ct_number", offset=1024.0)
    assert lung_box(numbers) == lung_box(Volume(hu, "HU", offset=0.0)) is not None


def test_bands_of_rows_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = np.random.default_rng(0).integers(-1000, 1000, (9, 30, 40)).astype(np.int16)
    fixed = Preparation(size=(5, 17, 23), grid="fixed")
    whole, _ = prepare(Volume(voxels, "HU", offset=0.0), fixed)
    monkeypatch.setattr(volume_module, "BAND_BYTES", 1)  # a row at a time
    banded, _ = prepare(Volume(voxels, "HU", offset=0.0), fixed)
    assert np.abs(whole.astype(int) - banded).max() <= 1  # a tie may be rounded the other way
    assert (whole != banded).mean() < 1e-3


@given(st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_linear_weights_are_numpys_interpolation(source: int, target: int, smooth: bool) -> None:
    weights = linear_weights(source, target, smooth)
    assert np.allclose(weights.sum(axis=1), 1)
    values = np.random.default_rng(0).normal(size=source)
    if not smooth or target >= source:
        centres = (np.arange(target) + 0.5) * source / target - 0.5
        assert np.allclose(weights @ values, np.interp(centres, np.arange(source), values), atol=1e-5)


def test_resizing_in_plane_equals_interpolating_each_axis() -> None:
    voxels = np.random.default_rng(1).integers(-1000, 1000, (3, 9, 7)).astype(np.int16)
    stored, notes = prepare(Volume(voxels, "HU", offset=0), Preparation(size=(128, 5, 14)))
    expected = ndimage.zoom(voxels.astype(float), (1, 5 / 9, 2), order=1, grid_mode=True, mode="nearest")
    assert stored.shape == (3, 5, 14)
    assert np.abs(stored - expected).max() <= 0.51
    assert notes == ("9 x 7 pixels stretched to 5 x 14",)


def test_fixed_grid_crops_to_the_lungs_and_clips_both_ways() -> None:
    preparation = Preparation(size=(8, 32, 32), grid="fixed", encoding="hu", crop="lungs", maximum=100, margin=0)
    stored, notes = prepare(Volume(chest(), "HU", offset=0), preparation)
    assert stored.shape == (8, 32, 32)
    assert (stored.min(), stored.max()) == (-850, 40)
    assert notes == ()


@pytest.mark.parametrize("black", [False, True])
def test_lung_box_of_whole_and_lung_segmented_chests(black: bool) -> None:
    volume = Volume(chest(black=black), "HU", offset=0.0)
    assert lung_box(volume, margin=0) == (slice(4, 16), slice(20, 44), slice(12, 52))


def test_lung_box_grows_by_its_margin_inside_the_volume() -> None:
    assert lung_box(Volume(chest(), "HU", offset=0.0), margin=0.5) == (slice(0, 20), slice(8, 56), slice(0, 64))


def test_padding_outside_the_field_of_view_is_no_lung() -> None:
    hu = chest()
    hu[:, :, :3] = -2000
    assert lung_mask(hu).sum() == 2 * 12 * 24 * 16


def test_no_lungs_is_said_and_the_whole_volume_used() -> None:
    water = Volume(np.zeros((4, 16, 16), np.int16), "HU", offset=0)
    stored, notes = prepare(water, Preparation(size=(4, 16, 16), crop="lungs"))
    assert stored.shape == (4, 16, 16)
    assert notes == ("lungs not found: the whole volume is used",)


def test_measure_tells_padding_black_and_copies() -> None:
    volume = Volume(chest(), "HU", (8.0, 0.7, 0.7), 0)
    facts = measure(volume)
    assert (facts["slices"], facts["minimum"], facts["maximum"]) == (20, -1000, 40)
    assert facts["content_hash"] == measure(Volume(chest().copy(), "HU", None, 0))["content_hash"]
    whole = measure(volume)["black_share"]
    segmented = measure(Volume(chest(black=True), "HU", None, 0))["black_share"]
    assert isinstance(whole, float)
    assert isinstance(segmented, float)
    assert whole < 0.2 < 0.5 < segmented


def test_measure_counts_positions_that_never_change() -> None:
    noise = np.random.default_rng(0).integers(0, 100, (5, 10, 10)).astype(np.int16)
    noise[:, :, :3] = -2000
    assert measure(Volume(noise, "HU", None, 0))["padding_share"] == 0.3


def test_a_picture_too_small_for_a_body_has_no_black() -> None:
    assert measure(Volume(np.zeros((3, 2, 2), np.int16), "HU", offset=0))["black_share"] == 0

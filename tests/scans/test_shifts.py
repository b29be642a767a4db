"""Shifts: dose 0 changes nothing, more dose changes more, units and places stay; each against hand arithmetic."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elsewhere.errors import BadStudy
from elsewhere.scans.shifts import (
    EDGE_FWHM,
    FWHM,
    LADDERS,
    apply_shift,
    averaging_weights,
    between_lungs,
    obstacle,
    pixel_size,
    plan_shift,
    plan_shifts,
    window_of,
    zoom_weights,
)
from elsewhere.scans.volume import Volume

SIDE = 48
PIXEL, DISTANCE = 0.8, 2.0
HEART, MUSCLE, FAT, BONE, LUNG, AIR, PADDING = 40, 50, -100, 400, -850, -1000, -2000


def chest(units: str = "HU", spacing: tuple[float, float, float] | None = (DISTANCE, PIXEL, PIXEL)) -> Volume:
    """A box of muscle with two lungs, a heart between them, a spine, fat at the front, padding outside the circle."""
    hu = np.full((10, SIDE, SIDE), AIR, np.float32)
    hu[:, 8:40, 4:44] = MUSCLE
    hu[:, 8:10, 4:44] = FAT
    hu[:, 12:36, 8:20] = hu[:, 12:36, 28:40] = LUNG
    hu[:, 14:30, 20:28] = HEART
    hu[:, 30:36, 20:28] = BONE
    hu += np.random.default_rng(0).normal(0, 8, hu.shape)
    hu[:, from_centre(SIDE) > SIDE / 2] = PADDING
    if units == "relative":
        return Volume(np.clip((hu + 1350) / 1500 * 255, 0, 255).astype(np.uint8), "relative", spacing)
    offset = 1024 if units == "ct_number" else 0
    return Volume((np.rint(hu) + offset).astype(np.int16), units, spacing, offset)  # type: ignore[arg-type]


def from_centre(side: int) -> np.ndarray:
    """Distance of each pixel from the picture's centre, in pixels."""
    place = np.arange(side) - (side - 1) / 2
    return np.hypot(place[:, None], place[None, :])


def plain(values: np.ndarray, spacing: tuple[float, float, float] = (DISTANCE, PIXEL, PIXEL)) -> Volume:
    return Volume(values.astype(np.int16), "HU", spacing, 0)


def moved(volume: Volume, name: str, dose: float) -> np.ndarray:
    return apply_shift(volume, plan_shift(name, dose)).voxels.astype(float) - volume.voxels


@pytest.mark.parametrize("units", ["HU", "ct_number", "relative"])
@pytest.mark.parametrize("name", LADDERS)
def test_dose_zero_is_the_volume_itself(name: str, units: str) -> None:
    volume = chest(units)
    shift = plan_shift(name, 0)
    assert (shift.dose, shift.words) == (0, "as it is")
    if not obstacle(volume, shift):
        assert apply_shift(volume, shift) is volume


@pytest.mark.parametrize("units", ["HU", "ct_number", "relative"])
@pytest.mark.parametrize("name", [n for n in LADDERS if n != "padding"])
def test_more_dose_changes_more(name: str, units: str) -> None:
    volume, ladder = chest(units), LADDERS[name]
    if obstacle(volume, plan_shift(name, ladder.doses[0])):
        assert units == "relative"
        return
    changes = [float(np.abs(moved(volume, name, dose)).mean()) for dose in ladder.doses]
    assert changes[0] >= 0
    assert changes[-1] > 0.1
    assert all(a < b for a, b in pairwise(changes)) or changes[0] == 0 < changes[1] < changes[2]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(LADDERS)),
    share=st.floats(0, 1),
    units=st.sampled_from(["HU", "ct_number", "relative"]),
)
def test_shape_type_units_and_places_stay(name: str, share: float, units: str) -> None:
    volume, dose = chest(units), round(share * LADDERS[name].doses[-1], 2)
    shift, before = plan_shift(name, dose), volume.voxels.copy()
    if obstacle(volume, shift):
        return
    found = apply_shift(volume, shift)
    assert found.voxels.shape == volume.voxels.shape
    assert found.voxels.dtype == volume.voxels.dtype
    assert (found.units, found.offset) == (volume.units, volume.offset)
    factor = {"narrow": 1 - dose / 100, "wide": 1 + dose / 100}.get(name, 1)
    assert found.spacing == pytest.approx((DISTANCE, PIXEL * factor, PIXEL * factor))
    assert np.array_equal(volume.voxels, before)  # a pure function
    assert np.array_equal(found.voxels, apply_shift(volume, shift).voxels)
    assert not dose or found.notes[-1] == f"shifted: {shift.words}"


@pytest.mark.parametrize("name", LADDERS)
def test_ct_numbers_are_shifted_as_hu(name: str) -> None:
    shift = plan_shift(name, LADDERS[name].doses[1])
    hu, ct = (apply_shift(chest(units), shift).voxels.astype(int) for units in ("HU", "ct_number"))
    assert np.abs(hu - (ct - 1024)).max() <= 1  # a half may be rounded either way
    assert (hu != ct - 1024).mean() < 0.01


def test_blur_spreads_a_point_by_its_width() -> None:
    point = np.zeros((1, 41, 41))
    point[0, 20, 20] = 3000
    spread = apply_shift(plain(point), plan_shift("blur", 4)).voxels[0].astype(float)
    places = (np.arange(41) - 20) * PIXEL
    variance = (spread.sum(axis=0) * places**2).sum() / spread.sum()
    assert spread.sum() == pytest.approx(3000, rel=0.02)
    assert FWHM * variance**0.5 == pytest.approx(4, rel=0.04)


@pytest.mark.parametrize("period", [4, 8, 16])
def test_sharpening_raises_a_wave_by_its_modulation(period: int) -> None:
    wave = 400 * np.cos(2 * np.pi * np.arange(96) / period) * np.ones((1, 96, 1))
    found = apply_shift(plain(wave), plan_shift("sharpen", 100)).voxels[0, 48, 32:64]
    frequency, sigma = 1 / (period * PIXEL), EDGE_FWHM / FWHM
    gain = 2 - np.exp(-2 * (np.pi * sigma * frequency) ** 2)  # exact for a Gaussian that is not sampled
    assert np.ptp(found) / np.ptp(wave.astype(np.int16)[0, 48, 32:64]) == pytest.approx(gain, rel=0.03)


@pytest.mark.real
def test_two_real_kernels_of_one_patient(real_data: Path) -> None:
    """B70f blurred by 1.3 mm is B40f to within its noise; sharpening goes the other way, as far as noise lets it."""
    soft, sharp = (_series(real_data, kernel) for kernel in ("B40f", "B70f"))
    body = soft.voxels > -980

    def apart(first: Volume, second: Volume) -> float:
        return float(np.sqrt(((first.voxels.astype(float) - second.voxels)[body] ** 2).mean()))

    blurred = [apart(apply_shift(sharp, plan_shift("blur", dose)), soft) for dose in (0.6, 1.3, 2.6)]
    assert apart(sharp, soft) > 40
    assert blurred[1] < 10 < min(blurred[0], blurred[2])
    assert apart(apply_shift(soft, plan_shift("sharpen", 200)), sharp) < 30


def _series(real_data: Path, kernel: str) -> Volume:
    """Twelve slices from the middle of one reconstruction."""
    with zipfile.ZipFile(real_data / "lung-pet-ct-dx" / f"Lung_Dx-A0002_{kernel}_8mm.zip") as content:
        found = [pydicom.dcmread(io.BytesIO(content.read(n))) for n in content.namelist() if n.endswith(".dcm")]
    found.sort(key=lambda d: -float(d.ImagePositionPatient[2]))
    hu = [d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in found[9:21]]
    return plain(np.stack(hu), (8.0, *map(float, found[0].PixelSpacing)))


def test_noise_has_its_spread_a_grain_and_one_pattern_for_all_doses() -> None:
    volume = plain(np.zeros((4, 96, 96)))
    ten, fifty = (apply_shift(volume, plan_shift("noise", dose), (1, 2)).voxels.astype(float) for dose in (10, 50))
    assert ten.std() == pytest.approx(10, rel=0.02)
    assert fifty.std() == pytest.approx(50, rel=0.02)
    assert np.corrcoef(ten.ravel(), fifty.ravel())[0, 1] > 0.99
    assert abs(np.corrcoef(fifty[0].ravel(), fifty[1].ravel())[0, 1]) < 0.05  # slices have noise of their own
    assert np.corrcoef(fifty[0, :, 1:].ravel(), fifty[0, :, :-1].ravel())[0, 1] > 0.2  # neighbours do not
    other = apply_shift(volume, plan_shift("noise", 50), (1, 3)).voxels.astype(float)
    assert abs(np.corrcoef(fifty.ravel(), other.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(("width", "weights"), [(1, [1 / 8, 3 / 4, 1 / 8]), (2, [1 / 4, 1 / 2, 1 / 4])])
def test_thickness_weighs_slices_by_the_area_under_their_hats(width: float, weights: list[float]) -> None:
    assert averaging_weights(width) == pytest.approx(weights)


def test_thick_slices_average_over_millimetres() -> None:
    step = np.repeat([0, 0, 0, 800, 800, 800], 16 * 16).reshape(6, 16, 16)
    found = apply_shift(plain(step), plan_shift("thickness", 2 * DISTANCE)).voxels[:, 8, 8]
    assert found.tolist() == [0, 0, 200, 600, 800, 800]


def test_contrast_agent_enters_the_heart_and_nothing_else() -> None:
    change = moved(chest(), "contrast", 200)
    assert change[:, 16:28, 22:26].mean() == pytest.approx(200, abs=2)
    assert np.abs(change[:, 31:35, 22:26]).max() == 0  # bone
    assert np.abs(change[:, 14:34, 9:19]).max() == 0  # lung
    assert np.abs(change[:, 8:10, 4:44]).max() == 0  # fat
    assert np.abs(change[:, 12:38, 4:7]).max() == 0  # muscle outside the lungs


def test_without_lungs_no_contrast_agent_is_added_and_it_is_said() -> None:
    volume = plain(np.full((6, 24, 24), 40))
    found = apply_shift(volume, plan_shift("contrast", 200))
    assert np.array_equal(found.voxels, volume.voxels)
    assert "lungs not found" in found.notes[0]


def test_lungs_are_looked_for_on_fewer_voxels_of_a_large_scan() -> None:
    large = np.repeat(np.repeat(chest().voxels, 4, 1), 4, 2)
    region, steps = between_lungs(plain(large))
    assert steps == (1, 2, 2)
    assert region[:, 40, 48].all()
    assert not region[:, 2, 48].any()


@pytest.mark.parametrize(("name", "dose", "factor"), [("narrow", 20, 0.8), ("wide", 25, 1.25)])
def test_a_field_of_view_changes_pixels_not_millimetres(name: str, dose: float, factor: float) -> None:
    disc = np.full((1, 96, 96), -1000)
    disc[0, from_centre(96) < 25] = 40
    found = apply_shift(plain(disc), plan_shift(name, dose))
    assert found.spacing is not None
    assert found.spacing[1] == pytest.approx(PIXEL * factor)
    size = [(v.voxels > -480).sum() * v.spacing[1] ** 2 for v in (plain(disc), found)]  # type: ignore[index]
    assert size[1] == pytest.approx(size[0], rel=0.02)
    assert found.voxels[0, 0, 0] == -1000


def test_zooming_by_one_is_nothing() -> None:
    assert zoom_weights(9, 1.0) == pytest.approx(np.eye(9))


def test_a_window_keeps_256_levels_and_its_limits() -> None:
    assert window_of(2596) == (-1350, 150)
    ramp = np.arange(-1024, 3072).reshape(1, 64, 64)
    found = apply_shift(plain(ramp), plan_shift("window", 2596)).voxels
    assert found.max() == 150
    assert np.unique(found).size == 1 + round(255 * (150 + 1024) / 1500)
    inside = (ramp >= -1024) & (ramp <= 150)
    assert np.abs(found.astype(int) - ramp)[inside].max() <= 1500 / 255 / 2 + 0.5


def test_grey_levels_are_multiples() -> None:
    found = apply_shift(plain(np.arange(-1000, 600).reshape(1, 40, 40)), plan_shift("quantise", 64)).voxels
    assert set(np.unique(found) % 64) == {0}


def test_padding_is_outside_the_circle_and_no_kernel_touches_it() -> None:
    volume = chest()
    outside = volume.voxels[0] < -1500
    for dose in LADDERS["padding"].doses:
        found = apply_shift(volume, plan_shift("padding", dose)).voxels
        assert (found[:, outside] == -1000 - dose).all()
        assert np.array_equal(found[:, ~outside], volume.voxels[:, ~outside])
    for name, dose in (("blur", 4), ("sharpen", 200), ("noise", 50), ("thickness", 10)):
        found = apply_shift(volume, plan_shift(name, dose)).voxels
        assert (found[:, outside] == PADDING).all()
        assert found[:, ~outside].min() >= -1024


def test_what_cannot_be_done_says_why() -> None:
    relative = chest("relative", None)
    why = {n: obstacle(relative, plan_shift(n, ladder.doses[0])) for n, ladder in LADDERS.items()}
    assert {n for n, reason in why.items() if "needs HU" in reason} == {
        "noise", "contrast", "window", "quantise", "padding",
    }  # fmt: skip
    assert "distance of the slices" in why["thickness"]
    assert obstacle(replace(relative, facts={"thickness_mm": 3.0}), plan_shift("thickness", 5)) == ""


def test_an_unknown_pixel_size_is_assumed_and_said() -> None:
    volume = chest("ct_number", None)
    assert pixel_size(volume)[0] == pytest.approx(350 / SIDE)
    assert pixel_size(replace(volume, facts={"pixel_spacing_mm": 0.7})) == (0.7, "")
    found = apply_shift(volume, plan_shift("blur", 20))
    assert "pixel size unknown: 7.3 mm assumed" in found.notes[0]
    assert found.spacing is None


def test_plans() -> None:
    shifts = plan_shifts()
    assert [s.name for s in shifts[::3]] == list(LADDERS)
    assert len(shifts) == 3 * len(LADDERS)
    assert plan_shift("window", 2596).words == "cut to the window -1350..150 HU, 256 grey levels"
    assert [s.dose for s in plan_shifts(["noise"], [30, 5, 0, 5])] == [5, 30]
    with pytest.raises(BadStudy, match=r"names 'fog'\. Shifts: blur, sharpen"):
        plan_shifts(["fog"])
    with pytest.raises(BadStudy, match=r"has -1 for noise\. Give 0, or 0\.01 to 1000"):
        plan_shift("noise", -1)
    with pytest.raises(BadStudy, match="has 95 for narrow"):
        plan_shift("narrow", 95)


# Grey windows of 8-bit pictures ------------------------------------------------------------------------------------


def hu_ramp() -> np.ndarray:
    return np.linspace(-1300, 100, 400).reshape(1, 20, 20)


def windowed(hu: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255)


@pytest.mark.parametrize(
    ("name", "dose", "window"),
    [
        ("darker", 20, (-1050, 450)),  # level -600 + 20 % of 1500
        ("brighter", 10, (-1500, 0)),
        ("flatter", 40, (-1650, 450)),
        ("steeper", 20, (-1200, 0)),
    ],
)
def test_a_grey_picture_is_shown_as_another_window_would_have_shown_it(
    name: str, dose: float, window: tuple[float, float]
) -> None:
    hu = hu_ramp()
    usual, other = (windowed(hu, *limits) for limits in ((-1350, 150), window))
    found = apply_shift(Volume(usual.astype(np.uint8), "relative"), plan_shift(name, dose))
    assert found.voxels.dtype == np.uint8
    assert np.abs(found.voxels.astype(float) - other).max() <= 1.5  # two roundings, the second by 5/4 at most


@pytest.mark.parametrize(
    ("name", "dose", "window"),
    [("darker", 20, (-1050, 450)), ("flatter", 40, (-1650, 450)), ("steeper", 20, (-1200, 0))],
)
def test_hu_become_what_that_picture_reads_as(name: str, dose: float, window: tuple[float, float]) -> None:
    """An 8-bit picture of another window, put back into HU as if it were the usual one's (preparation, `hu`)."""
    hu = hu_ramp().astype(np.int16)
    grey = windowed(hu, *window)
    found = apply_shift(Volume(hu, "HU", (1.0, 1.0, 1.0), 0), plan_shift(name, dose)).voxels
    assert np.abs(found - (-1350 + grey * 1500 / 255)).max() <= 3.5  # half a level, 5.9 HU
    assert found.min() >= -1350
    assert found.max() <= 150


def test_what_the_first_window_cut_off_stays_lost() -> None:
    black = Volume(np.array([[[0, 255]]], np.uint8), "relative")
    assert apply_shift(black, plan_shift("brighter", 20)).voxels.tolist() == [[[51, 255]]]
    assert apply_shift(black, plan_shift("flatter", 100)).voxels.tolist() == [[[64, 191]]]

"""Units of the general layouts: what is seen, what must be told, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.units import check_declared, with_units
from elsewhere.scans.volume import Volume

PATH = Path("scan.tif")


def settle(stored: np.ndarray, units: str = "auto", offset: float | None = None) -> Volume:
    return with_units(stored.reshape(1, 1, -1), check_declared(units, offset, "site"), PATH, None, ())


def test_values_that_look_like_hu_are_hu() -> None:
    volume = settle(np.array([-1000, 40], np.int16))
    assert (volume.units, volume.offset, volume.voxels.ravel().tolist()) == ("HU", 0, [-1000, 40])


def test_values_that_do_not_are_refused_with_the_options() -> None:
    with pytest.raises(BadScan, match=r"holds values 0 to 4095, which do not look like HU.*units` \(HU, ct_number"):
        settle(np.array([0, 4095], np.uint16))
    with pytest.raises(BadScan, match="holds 8-bit values, which cannot be HU"):
        settle(np.array([0, 255], np.uint8))


@pytest.mark.parametrize(
    ("units", "offset", "stored", "expected"),
    [
        ("HU", None, [-200, 100], ("HU", 0, [-200, 100])),
        ("HU", 32768, [32768 - 1000, 32768 + 40], ("HU", 0, [-1000, 40])),
        ("ct_number", None, [24, 1064], ("ct_number", 1024, [24, 1064])),
        ("ct_number", 1000, [0, 1064], ("ct_number", 1000, [0, 1064])),
        ("relative", None, [0, 200], ("relative", None, [0, 200])),
    ],
)
def test_declared_units_are_taken_as_said(units: str, offset: float | None, stored: list, expected: tuple) -> None:
    volume = settle(np.array(stored, np.int32), units, offset)
    assert (volume.units, volume.offset, volume.voxels.ravel().tolist()) == expected
    assert volume.voxels.dtype == np.int16


def test_eight_bits_stay_and_floats_are_rounded() -> None:
    assert settle(np.array([0, 255], np.uint8), "relative").voxels.dtype == np.uint8
    volume = settle(np.array([-1000.25, 40.0], np.float32))
    assert (volume.voxels.ravel().tolist(), volume.notes) == (
        [-1000, 40],
        ("values were rounded to whole numbers, by up to 0.25",),
    )


def test_values_outside_int16_are_refused() -> None:
    with pytest.raises(BadScan, match="holds values 0 to 40000, outside int16"):
        settle(np.array([0, 40000], np.uint16), "ct_number")


def test_options_that_contradict_are_refused() -> None:
    with pytest.raises(BadSite, match=r"units is 'hu'\. Set it to one of auto, HU, ct_number, relative"):
        check_declared("hu", None, "site")
    with pytest.raises(BadSite, match="offset 1024 is given with units 'auto'"):
        check_declared("auto", 1024, "site")

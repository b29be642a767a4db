"""Simulated normal chests against real ones, on one grid: neighbour SD, gaps between ribs, sides that differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from elsewhere.scans.dicom.series import find_series
from elsewhere.scans.dicom.volume import read_volume
from elsewhere.scans.phantom.acquisition import Kernel, Protocol
from elsewhere.scans.phantom.disease import Disease
from elsewhere.scans.phantom.exam import Plan, make
from elsewhere.scans.phantom.patient import draw_patient
from elsewhere.scans.regions import find_lungs

MATRIX = 96
# of six real normal or tumour chests at 96 x 96 (covid-ct-md normals, nlst, lung-pet-ct-dx, chest-imaging-platform):
# averaged down 97..116, every fifth pixel 120..179
NEIGHBOUR_SD = (90.0, 180.0)
RIBS = (0.4, 0.86)  # share of the chest wall's sectors with bone in them; 1 is an unbroken ring (real: 0.45..0.83)
ASYMMETRY = (0.14, 0.45)  # real: 0.19..0.40

Volume = NDArray[np.int16]


def neighbour_sd(hu: Volume) -> float:
    """Mean SD in HU of the 3 × 3 neighbourhoods in the slices' lungs."""
    values = hu.astype(np.float32)
    mean = ndimage.uniform_filter(values, (0, 3, 3))
    variance = ndimage.uniform_filter(values**2, (0, 3, 3)) - mean**2
    return float(np.sqrt(np.maximum(variance, 0))[find_lungs(hu)].mean())


def middle_slices(lungs: NDArray[np.bool_]) -> list[int]:
    """Slices from a third to two thirds of the scan that hold lung."""
    return [k for k in range(int(0.3 * len(lungs)), int(0.65 * len(lungs))) if lungs[k].sum() > 200]


def rib_share(hu: Volume) -> float:
    """Share of the 10° sectors around the lungs, spine and sternum left out, with bone within 4 pixels of them."""
    lungs, shares = find_lungs(hu), []
    rows, columns = np.mgrid[: hu.shape[1], : hu.shape[2]]
    for k in middle_slices(lungs):
        y, x = ndimage.center_of_mass(lungs[k])
        sector = ((np.degrees(np.arctan2(rows - y, columns - x)) + 180) // 10).astype(int) % 36
        outside = ndimage.distance_transform_edt(~lungs[k])
        ring = (outside > 0) & (outside <= 4.5)
        sides = [s for s in range(36) if abs(abs(s * 10 + 5 - 180) - 90) > 25 and (ring & (sector == s)).sum() > 2]
        shares.append(np.mean([(ring & (hu[k] > 170) & (sector == s)).any() for s in sides]))
    return float(np.mean(shares))


def asymmetry(hu: Volume) -> float:
    """1 less the overlap (Dice) of one lung with the other's mirror image, mean over slices."""
    lungs, found = find_lungs(hu), []
    for k in middle_slices(lungs):
        middle = round(ndimage.center_of_mass(lungs[k])[1])
        one, other = lungs[k][:, middle::-1], lungs[k][:, middle:]
        width = min(one.shape[1], other.shape[1])
        one, other = one[:, :width], other[:, :width]
        found.append(1 - 2 * (one & other).sum() / (one.sum() + other.sum()))
    return float(np.mean(found))


@pytest.fixture(scope="module")
def simulated() -> dict[Kernel, list[Volume]]:
    found: dict[Kernel, list[Volume]] = {}
    for kernel, spacing in (("standard", 5.0), ("sharp", 4.0)):
        for number in range(4):
            key = (901, "realism", number)
            protocol = Protocol(kernel=kernel, thickness=spacing, spacing=spacing, fov=350.0)
            plan = Plan("somewhere", "1", "1", 0, "", draw_patient(key, arms_up=1.0), Disease(), protocol, key)
            voxels = make(plan, MATRIX).volume.voxels
            found.setdefault(kernel, []).append(voxels)  # type: ignore[arg-type]
    return found


@pytest.fixture(scope="module")
def real(real_data: Path) -> list[Volume]:
    folders = [real_data / "covid-ct-md" / "Normal subjects" / f"normal00{n}" for n in (1, 2)]
    scans = []
    for folder in [*folders, real_data / "nlst"]:
        series, _ = find_series(folder)
        hu = read_volume(series[0].files, folder.name).voxels.astype(np.float32)
        step = hu.shape[1] // MATRIX
        rim = (hu.shape[1] - step * MATRIX) // 2
        hu = np.clip(hu[:, rim : rim + step * MATRIX, rim : rim + step * MATRIX], -1024, 3071)
        scans.append(hu.reshape(len(hu), MATRIX, step, MATRIX, step).mean((2, 4)).astype(np.int16))
    return scans


def test_lungs_of_normals_are_as_grainy_as_real_ones(simulated):
    for kernel in ("standard", "sharp"):
        level = np.mean([neighbour_sd(hu) for hu in simulated[kernel]])
        assert NEIGHBOUR_SD[0] <= level <= NEIGHBOUR_SD[1], (kernel, level)


def test_ribs_are_sections_not_a_ring(simulated):
    shares = [rib_share(hu) for hu in simulated["standard"]]
    assert RIBS[0] <= np.mean(shares) <= RIBS[1]
    assert max(shares) < 0.95


def test_sides_and_patients_differ(simulated):
    found = [asymmetry(hu) for hu in simulated["standard"]]
    assert ASYMMETRY[0] <= np.mean(found) <= ASYMMETRY[1]
    carinas = [draw_patient((901, "realism", n)).form.carina for n in range(30)]
    assert np.std([z for z, _, _ in carinas]) > 4


def test_real_chests_lie_in_the_same_ranges(real):
    for hu in real:
        assert NEIGHBOUR_SD[0] <= neighbour_sd(hu) <= NEIGHBOUR_SD[1]
        assert RIBS[0] <= rib_share(hu) <= RIBS[1]
        assert ASYMMETRY[0] <= asymmetry(hu) <= ASYMMETRY[1]

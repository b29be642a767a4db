"""Drawn chests in; lungs, body and what lies outside found where they were drawn, and gone where they are erased."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from elsewhere.scans.phantom.exam import make
from elsewhere.scans.phantom.sites import default_sites, plan_site, turn
from elsewhere.scans.regions import (
    close_gaps,
    describe,
    erase_lungs,
    find_regions,
    keep_lungs,
    keep_outside,
    on_grid,
    stored_level,
    upright,
)
from elsewhere.scans.volume import Preparation, Volume, prepare

SIZES = {"background": 4, "objects": 128, "texture": 10, "body": 158, "lungs": 22}


def chest(slices: int = 12, side: int = 48, seed: int = 0) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """(HU, lungs): an elliptic body with two lungs, a vessel in each, air around, a table below."""
    z, y, x = np.mgrid[-1 : 1 : slices * 1j, -1 : 1 : side * 1j, -1 : 1 : side * 1j]
    hu = np.full(z.shape, -1000.0)
    hu[:, int(0.9 * side) :, side // 4 : -side // 4] = -200
    hu[(y / 0.7) ** 2 + (x / 0.85) ** 2 < 1] = 40
    lungs = np.zeros(z.shape, bool)
    for centre in (-0.4, 0.4):
        lungs |= (z / 0.8) ** 2 + (y / 0.45) ** 2 + ((x - centre) / 0.28) ** 2 < 1
    hu[lungs] = -850
    for centre in (-0.4, 0.4):
        hu[((y / 0.08) ** 2 + ((x - centre) / 0.08) ** 2 < 1) & lungs] = 40
    hu += np.random.default_rng(seed).normal(0, 5, hu.shape)
    return hu.round().astype(np.int16), lungs


def test_lungs_are_found_with_their_vessels() -> None:
    hu, lungs = chest()
    found = on_grid(find_regions(hu).lungs, find_regions(hu))
    assert (found & lungs).sum() / (found | lungs).sum() > 0.95


@pytest.mark.parametrize("shape", [(12, 48), (60, 150), (100, 270)])
def test_a_lesion_leaves_no_trace_in_the_outline(shape: tuple[int, int]) -> None:
    """Also on grids that are strided: the erased picture is the same to the last voxel, with the lesion and without."""
    hu, lungs = chest(*shape)
    sick, ill = hu.copy(), np.zeros(hu.shape, bool)
    z, y, x = (n // 2 for n in hu.shape)
    ill[z - 1 : z + 2, y : y + y // 6, x // 2 : x // 2 + x // 6] = True
    sick[ill & lungs] = 30
    first, second = (erase_lungs(voxels, find_regions(voxels)) for voxels in (hu, sick))
    assert (first != hu).mean() > lungs.mean()
    np.testing.assert_array_equal(first, second)


def test_parts_hold_what_they_are_called() -> None:
    hu, lungs = chest()
    hu[3:9, 1:4, 1:4] = 900  # a marker
    regions = find_regions(hu)
    assert regions.has_lungs
    assert regions.has_outside
    erased, alone, outside = (f(hu, regions) for f in (erase_lungs, keep_lungs, keep_outside))
    assert erased[lungs].min() > -200
    assert abs(regions.soft - 40) < 3
    assert (erased[3:9, 1:4, 1:4] == 900).all()
    assert (alone[lungs] == hu[lungs]).mean() > 0.95
    assert (alone[3:9, 1:4, 1:4] == regions.soft).all()
    assert (outside[3:9, 1:4, 1:4] == 900).all()
    assert (outside[lungs] == regions.air).all()
    assert abs(regions.air + 1000) < 3
    assert (outside == -200).sum() + (np.abs(outside + 200) < 20).sum() > 0  # the table
    assert {a.dtype for a in (erased, alone, outside)} == {np.dtype(np.int16)}


def test_what_is_not_there_is_said() -> None:
    regions = find_regions(np.full((8, 32, 32), 40, np.int16))
    assert not regions.has_lungs
    assert not regions.has_outside
    numbers = describe(np.full((8, 32, 32), 40, np.int16), regions)
    assert {name: len(values) for name, values in numbers.items()} == SIZES
    assert not any(numbers[name].any() for name in ("background", "objects", "lungs"))


def test_a_volume_cropped_to_the_lungs_has_lungs_and_next_to_no_outside() -> None:
    hu, _ = chest(24, 96)
    settings = Preparation(size=(24, 32, 32), grid="fixed", crop="lungs", maximum=100)
    cut, notes = prepare(Volume(hu, "HU", None, 0), settings)
    regions = find_regions(cut)
    assert notes == ()
    assert regions.has_lungs
    assert regions.lung_share == pytest.approx(float((cut < -500).mean()), rel=0.2)
    assert not regions.has_outside


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 16, 16), (300, 20, 600)])
def test_any_shape_is_described_in_the_same_numbers(shape: tuple[int, int, int]) -> None:
    voxels = np.random.default_rng(0).integers(-1000, 400, shape).astype(np.int16)
    regions = find_regions(voxels)
    assert {name: len(values) for name, values in describe(voxels, regions).items()} == SIZES
    assert all(np.isfinite(values).all() for values in describe(voxels, regions).values())
    assert erase_lungs(voxels, regions).shape == shape


def test_stored_values_become_hu() -> None:
    hu, _ = chest()
    eight = np.clip((hu + 1350) / 1500 * 255, 0, 255).round().astype(np.uint8)
    kinds = [(hu, "HU"), (hu + np.int16(1024), "ct_number"), (eight, "relative")]
    shares = [find_regions(v, stored_level(units)).lung_share for v, units in kinds]  # type: ignore[arg-type]
    assert shares == pytest.approx([shares[0]] * 3, rel=0.02)
    levels = [describe(v, find_regions(v, level), level)["background"][0]
              for v, level in ((v, stored_level(u)) for v, u in kinds)]  # type: ignore[arg-type]  # fmt: skip
    assert levels == pytest.approx([-1000] * 3, abs=4)


def test_numbers_tell_what_they_are_for() -> None:
    """A marker moves the objects, a tint the background, a kernel the texture, and little else."""
    hu, _ = chest()
    plain = describe(hu, find_regions(hu))
    marked, tinted = hu.copy(), np.where(hu < -950, hu + 60, hu).astype(np.int16)
    marked[3:9, 1:4, 1:4] = 900
    sharp = (hu + np.random.default_rng(1).normal(0, 30, hu.shape)).astype(np.int16)
    moved = {}
    for name, voxels in (("objects", marked), ("background", tinted), ("texture", sharp)):
        changed = describe(voxels, find_regions(voxels))
        moved[name] = {part: float(np.abs(changed[part] - plain[part]).max()) for part in plain}
    assert moved["objects"]["objects"] > 500
    assert moved["objects"]["background"] < 1
    assert moved["objects"]["texture"] == 0
    assert moved["background"]["background"] == pytest.approx(60, abs=2)
    assert moved["background"]["objects"] == 0
    assert moved["background"]["texture"] < 0.05
    assert moved["texture"]["texture"] > 0.5
    assert moved["texture"]["objects"] < 20


def test_gaps_are_closed_on_each_side_alone() -> None:
    mask = np.zeros((1, 3, 12), bool)
    mask[0, 1, [1, 4, 8, 10]] = True
    assert close_gaps(mask)[0, 1].nonzero()[0].tolist() == [1, 2, 3, 4, 8, 9, 10]
    tall = np.zeros((4, 2, 2), bool)
    tall[1, 0, 0] = tall[3, 1, 1] = True
    assert upright(tall).sum(axis=(1, 2)).tolist() == [0, 2, 2, 2]


def test_disease_of_simulated_patients_is_erased() -> None:
    """Of the true lesions of ten simulated scans nearly nothing is left, whatever fills the lung."""
    site = turn(replace(default_sites()[0], patients=10, positive=0.5), all=0)
    left, total = 0.0, 0.0
    for plan in plan_site(site, 3, 12.0):
        made = make(plan, 32)
        voxels, _ = prepare(made.volume, Preparation(size=(1, 32, 32)))
        regions = find_regions(voxels)
        assert regions.has_lungs, plan.scan_id
        left += float((made.lesion * ~on_grid(regions.erased, regions)).sum())
        total += float(made.lesion.sum())
    assert left / total < 0.02

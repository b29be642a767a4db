"""Declared inputs: axes, size, spacing, window, windows and channel against plain numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from given_scans import a_scan, a_volume

from elsewhere.errors import BadScan, BadStudy
from elsewhere.model.declared import InputSettings
from elsewhere.model.runnable.inputs import batch_shape, inputs_of
from elsewhere.model.runnable.protocol import GivenScan
from elsewhere.scans.nifti import write_nifti
from elsewhere.scans.volume import Volume

AS_IS = InputSettings(size=(7, 20, 24), window=(-1000, 400))


def one(given: GivenScan, settings: InputSettings) -> np.ndarray:
    (found,) = inputs_of(given, settings)
    assert found.shape == batch_shape(settings)
    assert found.dtype == np.float32
    return found


def test_at_its_own_size_a_scan_is_clipped_and_scaled() -> None:
    voxels = a_scan().volume.voxels.astype(np.float64)
    expected = (np.clip(voxels, -1000, 400) + 1000) / 1400
    np.testing.assert_allclose(one(a_scan(), AS_IS)[0, 0], expected, atol=1e-6)
    found = one(a_scan(), replace(AS_IS, scale=(-2.0, 3.0)))[0, 0]
    np.testing.assert_allclose(found, expected * 5 - 2, atol=1e-5)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SPL", "IAR", "PIR", "ASL"])
def test_axes_are_those_of_nibabel(axes: str, tmp_path: Path) -> None:
    """A volume written as NIfTI and turned by nibabel has the same voxels at the same places."""
    file = tmp_path / "scan.nii.gz"
    write_nifti(file, a_volume())
    image = nib.load(file)
    wanted = nib.orientations.axcodes2ornt(axes)
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted))
    assert "".join(nib.aff2axcodes(turned.affine)) == axes
    expected = (np.clip(np.asarray(turned.dataobj), -1000, 400) + 1000) / 1400
    found = one(a_scan(), replace(AS_IS, axes=axes, size=expected.shape))
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-6)


def test_spacing_resamples_then_cuts_and_pads_around_the_middle() -> None:
    """Twice as many rows of half the height, in the middle of which lie the wanted ones; too few columns are padded."""
    settings = replace(AS_IS, spacing=(5.0, 0.4, 0.7), size=(7, 20, 30), smooth=False)
    found = one(a_scan(), settings)[0, 0]
    voxels = np.clip(a_scan().volume.voxels.astype(np.float64), -1000, 400)
    places = np.clip((np.arange(40) + 0.5) / 2 - 0.5, 0, 19)
    low = np.floor(places).astype(int)
    share = places - low
    rows = voxels[:, low] * (1 - share)[:, None] + voxels[:, np.minimum(low + 1, 19)] * share[:, None]
    np.testing.assert_allclose(found[:, :, 3:27], (rows[:, 10:30] + 1000) / 1400, atol=0.51 / 1400)
    assert not found[:, :, :3].any()
    assert not found[:, :, 27:].any()


def test_voxels_of_unknown_size_are_refused_only_where_their_size_matters() -> None:
    unknown = replace(a_scan(), volume=a_volume(spacing=None))
    assert one(unknown, AS_IS).any()
    with pytest.raises(BadScan, match="There: s0: the size of its voxels is not known"):
        inputs_of(unknown, replace(AS_IS, spacing=(5.0, 1.0, 1.0)))


def test_windows_cover_all_slices_and_keep_them_as_scanned() -> None:
    settings = InputSettings(size=(4, 20, 24), stride=2, window=(-1000, 400))
    found = inputs_of(a_scan(), settings)
    whole = one(a_scan(), AS_IS)[0, 0]
    assert [np.array_equal(f[0, 0], whole[s : s + 4]) for f, s in zip(found, (0, 2, 3), strict=True)] == [True] * 3
    short = replace(a_scan(), volume=a_volume(slices=2))
    (padded,) = inputs_of(short, settings)
    assert not padded[0, 0, [0, 3]].any()
    assert padded[0, 0, 1:3].any()


def test_the_channel_stands_where_it_is_declared() -> None:
    plain = one(a_scan(), replace(AS_IS, channel="none"))
    last = one(a_scan(), replace(AS_IS, channel="last", channels=3))
    first = one(a_scan(), replace(AS_IS, channels=3))
    assert (plain.shape, last.shape, first.shape) == ((1, 7, 20, 24), (1, 7, 20, 24, 3), (1, 3, 7, 20, 24))
    assert np.array_equal(last[..., 2], plain)
    assert np.array_equal(first[:, 1], plain)


def test_grey_values_go_through_the_window_of_their_site() -> None:
    grey = Volume(np.full((7, 20, 24), 255, np.uint8), "relative", None)
    assert one(GivenScan("A", "p", "s", grey, (-1000.0, 400.0)), AS_IS).min() == 1
    assert one(GivenScan("A", "p", "s", grey), AS_IS)[0, 0, 0, 0, 0] == pytest.approx(1150 / 1400)


def test_the_lungs_box_is_cut_out() -> None:
    hu = np.full((20, 64, 64), -1000, np.int16)
    hu[:, 8:56, 8:56] = 40
    hu[5:15, 20:44, 14:28] = hu[5:15, 20:44, 36:50] = -850
    given = GivenScan("A", "p", "s", Volume(hu, "HU", (5.0, 1.0, 1.0), 0.0))
    settings = InputSettings(size=(10, 24, 36), crop="lungs", margin=0.0, window=(-1000, 400))
    expected = (np.clip(hu[5:15, 20:44, 14:50].astype(np.float32), -1000, 400) + 1000) / 1400
    np.testing.assert_allclose(one(given, settings)[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"size": (0, 1, 1)}, r"input\.size: is \[0, 1, 1\]"),
        ({"axes": "RAX"}, r"input\.axes: is 'RAX'\. Give three letters"),
        ({"axes": "RLS"}, r"input\.axes: is 'RLS'"),
        ({"axes": "RA"}, r"input\.axes: is 'RA'"),
        ({"spacing": (1.0, 0.0, 1.0)}, r"input\.spacing: is \(1\.0, 0\.0, 1\.0\)"),
        ({"window": (400, -1000)}, r"input\.window: is \[400, -1000\]"),
        ({"scale": (1.0, 1.0)}, r"input\.scale: is \[1\.0, 1\.0\]"),
        ({"stride": 0}, r"input\.stride: is 0"),
        ({"channel": "none", "channels": 3}, r"input\.channels: is 3"),
        ({"margin": -1.0}, r"input\.margin: is -1\.0"),
    ],
)
def test_what_cannot_be_is_named(given: dict[str, object], says: str) -> None:
    with pytest.raises(BadStudy, match=says):
        InputSettings(**({"size": (1, 1, 1)} | given))  # type: ignore[arg-type]

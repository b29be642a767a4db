"""NIfTI: orientation through the affine, values, damage."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from elsewhere.errors import BadScan
from elsewhere.scans.nifti import read_nifti, write_nifti
from elsewhere.scans.volume import Volume

SPACING = (8.0, 0.7, 0.9)
CODES = ["".join(axes) for p in itertools.permutations(("LR", "PA", "SI")) for axes in itertools.product(*p)]


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = None, code: int = 1) -> Path:
    image = nibabel.Nifti1Image(values, np.diag([-0.9, 0.7, 8.0, 1.0]) if affine is None else affine)
    image.set_sform(image.affine, code=code)
    image.set_qform(image.affine, code=code)
    nibabel.save(image, path)
    return path


def hu(shape: tuple[int, int, int] = (3, 4, 5)) -> np.ndarray:
    return np.random.default_rng(0).integers(-1024, 3000, shape).astype(np.int16)


@settings(max_examples=48, deadline=None)
@given(st.sampled_from(CODES))
def test_every_axis_order_is_the_same_volume(tmp_path_factory: pytest.TempPathFactory, code: str) -> None:
    """The same scan stored along all 48 axis orders is read alike, spacing included."""
    canonical = hu()
    stored = canonical.transpose(2, 1, 0)
    affine = np.diag([-0.9, -0.7, -8.0, 1.0])
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(code)))
    turned, turned_affine = apply_orientation(stored, turn), affine @ inv_ornt_aff(turn, stored.shape)
    assert nibabel.aff2axcodes(turned_affine) == tuple(code)
    grid = read_nifti(save(tmp_path_factory.mktemp("n") / "a.nii", turned, turned_affine))
    assert np.array_equal(grid.voxels, canonical)
    assert grid.spacing == SPACING
    assert grid.notes == ()


def test_written_files_are_las_with_the_marker_in_place(tmp_path: Path) -> None:
    voxels = np.zeros((3, 4, 5), dtype=np.int16)
    voxels[0, 0, 0] = 100
    write_nifti(tmp_path / "deep" / "a.nii.gz", Volume(voxels, "HU", SPACING, 0))
    image = nibabel.load(tmp_path / "deep" / "a.nii.gz")
    assert nibabel.aff2axcodes(image.affine) == ("L", "A", "S")
    at = np.argwhere(np.asarray(image.dataobj) == 100)[0]
    x, y, z = image.affine[:3, :3] @ at + image.affine[:3, 3]
    assert (x > 0, y > 0, z > 0) == (True, True, True)  # right, anterior, superior of the centre
    with pytest.raises(BadScan, match="has no spacing, which NIfTI must tell"):
        write_nifti(tmp_path / "b.nii.gz", Volume(voxels, "HU", None, 0))


def test_tilted_axes_are_told(tmp_path: Path) -> None:
    angle = np.radians(12)
    affine = np.diag([-0.9, 0.7, 8.0, 1.0])
    affine[1:3, 1:3] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ affine[1:3, 1:3]
    grid = read_nifti(save(tmp_path / "a.nii", hu(), affine))
    assert grid.notes == ("axes are tilted by 12.0° against the patient's; the nearest axes were taken",)
    assert grid.spacing == SPACING


def test_whole_floats_and_slopes_become_int16(tmp_path: Path) -> None:
    assert read_nifti(save(tmp_path / "a.nii", hu().astype(np.float32))).notes == ()
    image = nibabel.Nifti1Image(hu(), np.diag([-0.9, 0.7, 8.0, 1.0]))
    image.header.set_slope_inter(1, -1024)
    image.set_sform(image.affine, code=1)
    image.to_filename(tmp_path / "b.nii")
    raw = np.asarray(nibabel.load(tmp_path / "b.nii").dataobj.get_unscaled())
    image = nibabel.load(tmp_path / "b.nii")
    assert (image.dataobj.slope, image.dataobj.inter) != (1, 0)
    grid = read_nifti(tmp_path / "b.nii")
    assert grid.voxels.dtype == np.int16
    assert grid.voxels.min() == raw.min() * image.dataobj.slope + image.dataobj.inter


def test_fractions_are_rounded_and_told(tmp_path: Path) -> None:
    grid = read_nifti(save(tmp_path / "a.nii", hu().astype(np.float32) + 0.25))
    assert grid.voxels.dtype == np.int16
    assert grid.notes == ("values were rounded to whole numbers, by up to 0.25",)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((4, 5), np.int16), r"holds 2 dimensions, expected 3 \(slices, rows, columns\)"),
        (np.zeros((4, 5, 6, 2), np.int16), r"holds 4 dimensions, expected 3 \(slices, rows, columns\)"),
        (np.array([[[0.0, np.nan, np.inf]]], np.float32), "holds 2 voxels that are NaN or infinite"),
        (np.array([[[0.0, 0.5, 1.0]]], np.float32), "holds values 0 to 1: normalised, HU are lost"),
        (np.array([[[-1000, 70000]]], np.int32), "holds values -1000 to 70000, outside int16"),
        (np.zeros((2, 2, 2), np.complex64), "holds complex64 values, expected one number a voxel"),
    ],
)
def test_what_is_no_ct_volume_is_refused(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    path = save(tmp_path / "a.nii.gz", values)
    with pytest.raises(BadScan, match=rf"a\.nii\.gz: {reason}"):
        read_nifti(path)


def test_unknown_orientation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadScan, match=r"tells no orientation \(sform_code and qform_code are 0\)"):
        read_nifti(save(tmp_path / "a.nii", hu(), code=0))


def test_flat_affine_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(hu(), None)
    image.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(BadScan, match="has an affine without volume"):
        read_nifti(tmp_path / "a.nii")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated_files_are_refused(tmp_path: Path, name: str, share: float) -> None:
    path = save(tmp_path / name, hu((20, 20, 20)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BadScan, match=rf"{name}: cannot be read \(.+\)\. Download or export it again"):
        read_nifti(path)


def test_damage_inside_the_compressed_data_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", hu((20, 20, 20)))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(bytes(raw))
    with pytest.raises(BadScan, match="cannot be read"):
        read_nifti(path)
    with pytest.raises(BadScan, match=r"gone\.nii: cannot be read \(.*No such file"):
        read_nifti(tmp_path / "gone.nii")
    path.write_bytes(gzip.compress(b"no nifti"))
    with pytest.raises(BadScan, match="cannot be read"):
        read_nifti(path)


def test_nifti_2_and_foreign_byte_order(tmp_path: Path) -> None:
    affine = np.diag([-0.9, -0.7, -8.0, 1.0])
    image = nibabel.Nifti2Image(hu().astype(">i2"), affine)
    image.set_sform(affine, code=1)
    nibabel.save(image, tmp_path / "a.nii")
    assert np.array_equal(read_nifti(tmp_path / "a.nii").voxels, hu().transpose(2, 1, 0))
    header = nibabel.Nifti1Header(endianness=">")
    image = nibabel.Nifti1Image(hu(), affine, header)
    image.set_sform(affine, code=1)
    nibabel.save(image, tmp_path / "b.nii")
    assert np.array_equal(read_nifti(tmp_path / "b.nii").voxels, hu().transpose(2, 1, 0))


@pytest.mark.real
def test_real_chest_in_lps(real_data: Path) -> None:
    """InnerEye's scan is stored L, P, S: the air above and beside the patient comes out where radiologists expect."""
    grid = read_nifti(real_data / "innereye" / "scan_small.nii.gz")
    assert grid.voxels.shape == (44, 167, 167)
    assert grid.voxels.dtype == np.int16
    first = nibabel.load(real_data / "innereye" / "scan_small.nii.gz")
    assert nibabel.aff2axcodes(first.affine) == ("L", "P", "S")
    assert np.array_equal(grid.voxels, np.asarray(first.dataobj).transpose(2, 1, 0)[::-1])

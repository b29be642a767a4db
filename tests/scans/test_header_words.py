"""Words in the headers of volumes and pictures that say something else than the words beside them."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from elsewhere.errors import BadScan
from elsewhere.scans.metaimage import read_metaimage, write_metaimage
from elsewhere.scans.nifti import read_nifti
from elsewhere.scans.nrrd import read_nrrd, write_nrrd
from elsewhere.scans.pictures import decode_picture
from elsewhere.scans.volume import Volume

SPACING = (2.0, 0.7, 0.9)


def hu() -> np.ndarray:
    return np.random.default_rng(0).integers(-1024, 3000, (3, 4, 5)).astype(np.int16)


def edited(path: Path, old: str, new: str) -> Path:
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    return path


def nifti(path: Path, **changes: object) -> Path:
    """With an sform alone; fields of the header set as told."""
    image = nibabel.Nifti1Image(hu().transpose(2, 1, 0), np.diag([-0.9, -0.7, -2.0, 1.0]))
    image.set_sform(image.affine, 1)
    image.header["qform_code"] = 0
    content = image.to_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    header["scl_slope"], header["scl_inter"] = 1, 0
    for name, value in changes.items():
        header[name] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


@pytest.mark.parametrize(
    ("sizes", "noted"),
    [((0.9, 0.7, 2.0), False), ((1, 1, 1), False), ((0, 0, 0), False), ((0.9, 0.7, 5.0), True), ((0.7, 0.9, 2), True)],
    ids=str,
)
def test_pixdim_against_sform(tmp_path: Path, sizes: tuple[float, ...], noted: bool) -> None:
    grid = read_nifti(nifti(tmp_path / "a.nii", pixdim=[1, *sizes, 0, 0, 0, 0]))
    assert grid.spacing == SPACING
    assert any("and pixdim" in note and "disagree; the sform was taken" in note for note in grid.notes) == noted


@pytest.mark.parametrize(
    ("slope", "inter", "noted"), [(0, -1024, True), (np.nan, 5, True), (0, 0, False), (1, 0, False)]
)
def test_an_offset_without_slope(tmp_path: Path, slope: float, inter: float, noted: bool) -> None:
    grid = read_nifti(nifti(tmp_path / "a.nii", scl_slope=slope, scl_inter=inter))
    assert np.array_equal(grid.voxels, hu())
    assert any("is not applied, as the format says" in note for note in grid.notes) == noted


@pytest.mark.parametrize("words", ['"um" "um" "um"', "um um um", '"um" "" ""', "µm µm µm"])
@pytest.mark.parametrize("field", ["space units", "units"])
def test_units_of_nrrd_in_any_writing(tmp_path: Path, words: str, field: str) -> None:
    path = tmp_path / "a.nrrd"
    write_nrrd(path, Volume(hu(), "HU", (2000.0, 700.0, 900.0), 0))
    assert any("none of a CT" in note for note in read_nrrd(path).notes)
    edited(path, "kinds:", f"{field}: {words}\nkinds:")
    assert (read_nrrd(path).spacing, read_nrrd(path).notes) == (SPACING, ())
    edited(path, words, '"um" "mm" "um"')
    with pytest.raises(BadScan, match="mixes units of length"):
        read_nrrd(path)


@pytest.mark.parametrize(
    ("letters", "noted"),
    [
        *((letters, None) for letters in ("RAI", "rai", "???", "")),
        ("LPS", "LPS contradicts the matrix (RAI)"),
        ("RPI", "RPI contradicts the matrix (RAI)"),
    ],
)
def test_anatomical_letters_of_metaimage(tmp_path: Path, letters: str, noted: str | None) -> None:
    path = tmp_path / "a.mha"
    write_metaimage(path, Volume(hu(), "HU", SPACING, 0))
    edited(path, "NDims = 3", f"NDims = 3\nAnatomicalOrientation = {letters}")
    assert read_metaimage(path).notes == ((f"AnatomicalOrientation {noted}; the matrix was taken",) if noted else ())


def test_letters_that_fit_a_turned_matrix(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    write_metaimage(path, Volume(hu(), "HU", SPACING, 0))
    edited(path, "1 0 0 0 1 0 0 0 1", "-1 0 0 0 -1 0 0 0 1")
    edited(path, "NDims = 3", "NDims = 3\nAnatomicalOrientation = LPI")
    assert read_metaimage(path).notes == ()


# Pictures -----------------------------------------------------------------------------------------------------------


def test_a_stack_that_hides_behind_one_page(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 255, (6, 20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "shaped.tif", stack, photometric="minisblack", truncate=True)
    words = "ImageJ=1.53t\nimages=6\nslices=6\n"
    tifffile.imwrite(tmp_path / "ij.tif", stack[0], photometric="minisblack", description=words, metadata=None)
    for name in ("shaped", "ij"):
        with pytest.raises(BadScan, match="holds 6 pictures by its description, expected one slice a file"):
            decode_picture(tmp_path / f"{name}.tif")
    tifffile.imwrite(tmp_path / "one.tif", stack[0], photometric="minisblack")
    tifffile.imwrite(tmp_path / "own.tif", stack[0], description="ImageJ=1.53t\nimages=1\n", metadata=None)
    for name in ("one", "own"):
        assert np.array_equal(decode_picture(tmp_path / f"{name}.tif").pixels, stack[0])


def test_an_orientation_in_xmp_counts(tmp_path: Path) -> None:
    pixels = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>')
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=info)
    assert np.array_equal(decode_picture(tmp_path / "a.png").pixels, pixels[::-1, ::-1])


@pytest.mark.parametrize("order", [1, 2])
def test_bits_in_reverse_order_are_refused(tmp_path: Path, order: int) -> None:
    pixels = np.arange(20 * 30).reshape(20, 30).astype(np.uint8)
    tag = [(274, "H", 1, order, True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", metadata=None, extratags=tag)
    content = (tmp_path / "a.tif").read_bytes()
    entry = struct.pack("<HHIH", 274, 3, 1, order)
    assert entry in content
    (tmp_path / "a.tif").write_bytes(content.replace(entry, struct.pack("<HHIH", 266, 3, 1, order)))
    if order == 1:
        assert np.array_equal(decode_picture(tmp_path / "a.tif").pixels, pixels)
    else:
        with pytest.raises(BadScan, match="stores the bits of each value in reverse"):
            decode_picture(tmp_path / "a.tif")

"""More header words and values that would change HU in silence, or be refused for a reason that is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from chests import chest_series, enhanced, make_chest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from elsewhere.errors import BadScan
from elsewhere.scans.dicom import find_series, read_volume
from elsewhere.scans.dicom.header import read_headers


def stored(values: np.ndarray, kind: str = "<u2", **tags: object) -> list[Dataset]:
    images = chest_series(len(values), **tags)
    for dataset, picture in zip(images, values, strict=True):
        dataset.PixelData = picture.astype(kind).tobytes()
    return images


def rewrite(files: list[Path], old: bytes, new: bytes) -> list[Path]:
    for path in files:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, 1))
    return files


WIDE = {"BitsStored": 16, "HighBit": 15}


# Padding ------------------------------------------------------------------------------------------------------------


def test_padding_without_its_sign_that_a_slope_keeps_within_int16(tmp_path: Path, save: Callable) -> None:
    values = 2 * (make_chest().astype(int) + 1024)
    values[:, :3] = 63536
    volume = read_volume(save(tmp_path, stored(values, RescaleSlope=0.5, **WIDE)), "s")
    assert (volume.voxels[:, :3] == -1024).all()
    assert np.array_equal(volume.voxels[:, 3:], make_chest()[:, 3:])
    assert any("1152 voxels of 63536, which is -2000 written without its sign" in note for note in volume.notes)


@pytest.mark.parametrize("rows", [3, 0], ids=["corners", "one voxel of metal"])
def test_one_value_above_the_scale(tmp_path: Path, save: Callable, rows: int) -> None:
    """A large part of the volume at the top of the range is padding; a few voxels are metal, cut off there."""
    values = make_chest().astype(int)
    values[:, :rows] = 32767
    values[4, 5, 5] = 32767
    volume = read_volume(save(tmp_path, stored(values, "<i2", PixelRepresentation=1, RescaleIntercept=0, **WIDE)), "s")
    assert int(volume.voxels[4, 5, 5]) == (-1024 if rows else 32767)
    said = [note for note in volume.notes if "the only value above CT's scale, are padding: set to air" in note]
    assert len(said) == (1 if rows else 0)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("numbers", [(-2000, -1900), (-2000, -30), (-3024, -2000)], ids=str)
def test_several_negative_values_without_their_sign(
    tmp_path: Path, save: Callable, bits: int, numbers: tuple[int, int]
) -> None:
    values = make_chest().astype(int) + 1024
    values[:, :3], values[:, -2:] = numbers
    images = stored(values & 0xFFFF, BitsStored=bits, HighBit=bits - 1)
    volume = read_volume(save(tmp_path, images), "s")
    assert np.array_equal(volume.voxels, values - 1024)
    assert any(note.startswith("PixelRepresentation says unsigned, the values are signed") for note in volume.notes)


# What the values are ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "read"),
    [*((word, True) for word in ("HU", "hu", "HU_MOD", "US", "", "Hounsfield unit", "HOUNDSFIELD UNIT"))]
    + [(word, False) for word in ("MGML", "Z_EFF", "ED", "PCT", "OD", "HISTO")],
)
def test_rescale_types(tmp_path: Path, save: Callable, word: str, read: bool) -> None:
    images = chest_series(RescaleType="HUHUHU"[: len(word) or 2])
    for dataset in images:
        dataset.add_new("RescaleType", "LO", word)
    save(tmp_path, images)
    assert (find_series(tmp_path)[0][0].refusal == "") == read


def test_frames_of_other_values_inside_an_enhanced_file(tmp_path: Path, save: Callable) -> None:
    dataset = enhanced(frame="HU")
    for frame in dataset.PerFrameFunctionalGroupsSequence[::2]:
        frame.PixelValueTransformationSequence[0].RescaleType = "Z_EFF"
    save(tmp_path, [dataset])
    (found,) = find_series(tmp_path)[0]
    assert "Z_EFF" in found.refusal or "would be left out" in found.refusal


@pytest.mark.parametrize(
    ("slope", "read"), [("0,5", True), ("0.5", True), ("0", False), ("0,0", False), ("n/a", False), ("1_5", False)]
)
def test_slopes_of_frames_are_read_as_strictly_as_those_of_files(
    tmp_path: Path, save: Callable, slope: str, read: bool
) -> None:
    dataset = enhanced(frame="HU")
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.PixelValueTransformationSequence[0].RescaleSlope = "7.777"
    files = save(tmp_path, [dataset])
    content = files[0].read_bytes()
    raw = slope.encode().ljust(6)
    files[0].write_bytes(content.replace(b"7.777 ", raw))
    if read:
        volume = read_volume(files, "s")
        assert np.array_equal(volume.voxels, np.rint(make_chest() / 2).astype(np.int16))
        assert any("decimal comma" in note for note in volume.notes) == ("," in slope)
    else:
        with pytest.raises(BadScan, match="RescaleSlope is"):
            read_volume(files, "s")


@pytest.mark.parametrize("text", [b"1_5", b"1 5", b"1.5.", b"--1", b"1,5,", b"1e9 9"], ids=repr)
def test_numbers_that_are_none(tmp_path: Path, save: Callable, text: bytes) -> None:
    files = save(tmp_path, chest_series(RescaleSlope="3.21321"))
    rewrite(files, b"3.21321", text.ljust(7))
    with pytest.raises(BadScan, match=r"RescaleSlope is '.*', expected one number"):
        read_volume(files, "s")


def test_an_empty_slope_is_absent_and_said(tmp_path: Path, save: Callable) -> None:
    volume = read_volume(rewrite(save(tmp_path, chest_series(RescaleSlope="3.21321")), b"3.21321", b"       "), "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert volume.notes == ("no RescaleSlope: taken as 1",)


def test_values_of_32_bits(tmp_path: Path, save: Callable) -> None:
    form = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}
    volume = read_volume(save(tmp_path, stored(make_chest().astype(int) + 1024, "<u4", **form)), "s")
    assert np.array_equal(volume.voxels, make_chest())


@pytest.mark.parametrize("spacing", [700.0, 0.0007, 0.7])
def test_a_pixel_spacing_of_no_ct_is_said(tmp_path: Path, save: Callable, spacing: float) -> None:
    volume = read_volume(save(tmp_path, chest_series(PixelSpacing=[spacing, spacing])), "s")
    assert any("none of a CT" in note for note in volume.notes) == (spacing != 0.7)


# Reasons ------------------------------------------------------------------------------------------------------------


def test_pixels_in_another_element_are_not_called_cut_short(tmp_path: Path, save: Callable) -> None:
    images = chest_series()
    for dataset, picture in zip(images, make_chest(), strict=True):
        del dataset.PixelData
        dataset.add_new("FloatPixelData", "OF", picture.astype("<f4").tobytes())
        dataset.BitsAllocated = 32
    with pytest.raises(BadScan, match="has its pixels in FloatPixelData instead of PixelData"):
        read_volume(save(tmp_path, images), "s")


@pytest.mark.parametrize("table", [True, False], ids=["offset table", "none"])
def test_encoded_pixels_without_an_offset_table(tmp_path: Path, table: bool) -> None:
    files = []
    for z, dataset in enumerate(chest_series()):
        raw = bytes(imagecodecs.jpegls_encode((make_chest()[z].astype(int) + 1024).astype(np.uint16)))
        dataset.PixelData = encapsulate([raw])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
        files.append(tmp_path / f"{z}.dcm")
        dcmwrite(files[-1], dataset, enforce_file_format=True)
        if not table:
            content = files[-1].read_bytes()
            at = content.rindex(b"\xe0\x7f\x10\x00OB") + 12
            length = 8 + int.from_bytes(content[at + 4 : at + 8], "little")
            files[-1].write_bytes(content[:at] + content[at + length :])
    assert np.array_equal(read_volume(files, "s").voxels, make_chest())


@pytest.mark.parametrize("before", [0, 128])
def test_a_preamble_that_is_missing(tmp_path: Path, save: Callable, before: int) -> None:
    files = save(tmp_path, chest_series())
    for path in files:
        path.write_bytes(path.read_bytes()[128 - before :])
    assert np.array_equal(read_volume(files, "s").voxels, make_chest())


@pytest.mark.parametrize(
    "tail", [b"", bytes(3), bytes(2000), b"\x20\x00\x00\x40LT\0\0"], ids=["", "3", "2000", "empty"]
)
def test_dicom_without_pixels_is_passed_over_however_it_ends(tmp_path: Path, tail: bytes) -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.3"
    dataset.Modality, dataset.SeriesInstanceUID = "SR", "1.2.9"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(tmp_path / "report.dcm", dataset, enforce_file_format=True)
    (tmp_path / "report.dcm").write_bytes((tmp_path / "report.dcm").read_bytes() + tail)
    assert read_headers(tmp_path / "report.dcm") == []

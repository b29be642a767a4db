"""Header words that change what pixels mean: applied, noted or refused, never defaulted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chests import chest_series, enhanced, make_chest
from pydicom import Dataset, Sequence

from elsewhere.errors import BadScan
from elsewhere.scans.dicom import find_series, read_volume
from elsewhere.scans.dicom.header import read_headers


def rewrite(files: list[Path], tag: bytes, old: bytes, new: bytes) -> list[Path]:
    """Change the text of one element in place; both texts are equally long."""
    for path in files:
        content = path.read_bytes()
        at = content.index(tag)
        path.write_bytes(content[:at] + content[at:].replace(old, new, 1))
    return files


SLOPE, INTERCEPT = b"\x28\0\x53\x10DS", b"\x28\0\x52\x10DS"


def halves(**tags: object) -> list[Dataset]:
    """A chest stored as twice its HU, slope 0.5."""
    form = {"RescaleSlope": "0.5", "RescaleIntercept": "-24.0", "BitsStored": 16, "HighBit": 15}
    images = chest_series(**{**form, **tags})
    for dataset, hu in zip(images, make_chest(), strict=True):
        dataset.PixelData = (2 * (hu.astype(int) + 24)).astype(np.int16).tobytes()
        dataset.PixelRepresentation = 1
    return images


def test_decimal_commas_are_read_and_said(tmp_path: Path, save: Callable) -> None:
    files = save(tmp_path, halves())
    clean = read_volume(files, "s")
    assert clean.notes == ()
    assert np.array_equal(clean.voxels, make_chest())
    rewrite(files, SLOPE, b"0.5", b"0,5")
    volume = read_volume(rewrite(files, INTERCEPT, b"-24.0", b"-24,0"), "s")
    assert np.array_equal(volume.voxels, clean.voxels)
    assert volume.notes == (
        "RescaleSlope is written with a decimal comma, read as a point (12 images)",
        "RescaleIntercept is written with a decimal comma, read as a point (12 images)",
    )


def test_decimal_commas_in_positions(tmp_path: Path, save: Callable) -> None:
    images = chest_series(step=2.5)
    files = save(tmp_path, images)
    for path in files:
        path.write_bytes(path.read_bytes().replace(b".5", b",5"))
    volume = read_volume(files, "s")
    assert volume.spacing == (2.5, 0.5, 0.75)
    assert any(note.startswith("ImagePositionPatient is written with a decimal comma") for note in volume.notes)


@pytest.mark.parametrize(
    ("tag", "text", "said"),
    [
        (SLOPE, b"0  ", "RescaleSlope is 0"),
        (SLOPE, b"abc", "RescaleSlope is 'abc', expected one number"),
        (SLOPE, b"1\\2", r"RescaleSlope is '1\\2', expected one number"),
        (INTERCEPT, b"n/a  ", "RescaleIntercept is 'n/a', expected one number"),
        (INTERCEPT, b"1,024", "RescaleIntercept is '1,024', expected one number"),
        (INTERCEPT, b"1e999", "RescaleIntercept is '1e999', expected one number"),
    ],
)
def test_unreadable_is_not_absent(tmp_path: Path, save: Callable, tag: bytes, text: bytes, said: str) -> None:
    files = save(tmp_path, halves())
    rewrite(files, tag, b"0.5" if tag == SLOPE else b"-24.0", text)
    with pytest.raises(BadScan) as caught:
        read_volume(files, "s")
    assert said.replace("\\\\", "\\") in str(caught.value)


def test_an_absent_slope_is_said(tmp_path: Path, save: Callable) -> None:
    assert read_volume(save(tmp_path, chest_series(RescaleSlope=None)), "s").notes == ("no RescaleSlope: taken as 1",)


# Enhanced CT --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["top", "shared", "frame"])
def test_the_rescale_type_counts_at_every_level(tmp_path: Path, save: Callable, level: str) -> None:
    save(tmp_path / "hu", [enhanced(**{level: "HU"})])
    assert [s.refusal for s in find_series(tmp_path / "hu")[0]] == [""]
    save(tmp_path / "z", [enhanced(**{level: "Z_EFF"})])
    assert [s.refusal for s in find_series(tmp_path / "z")[0]] == ["holds values of type Z_EFF, not HU"]


def test_enhanced_frames_in_their_order(tmp_path: Path, save: Callable) -> None:
    volume = read_volume(save(tmp_path, [enhanced(shared="HU")]), "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert volume.notes == ()


def test_time_points_of_one_enhanced_file_are_not_mixed(tmp_path: Path, save: Callable) -> None:
    dataset = enhanced(shared="HU")
    for i, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        content = Dataset()
        content.TemporalPositionIndex = 1 + i // 6
        frame.FrameContentSequence = Sequence([content])
        frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, -2 * (i % 6)]
    volume = read_volume(save(tmp_path, [dataset]), "s")
    assert np.array_equal(volume.voxels, make_chest()[:6])
    assert "2 time points in one series: 6 images of time point 1 kept, 6 left out" in volume.notes


# Bits ---------------------------------------------------------------------------------------------------------------


def stored(values: np.ndarray, **tags: object) -> list[Dataset]:
    images = chest_series(len(values), **tags)
    for dataset, picture in zip(images, values, strict=True):
        dataset.PixelData = picture.astype("<u2").tobytes()
    return images


def test_values_beyond_the_stored_bits_are_kept_and_said(tmp_path: Path, save: Callable) -> None:
    values = make_chest().astype(int) + 1024
    assert read_volume(save(tmp_path, stored(values)), "s").notes == ()
    values[:, 5, 5] = 3100 + 1024
    volume = read_volume(save(tmp_path, stored(values)), "s")
    assert volume.voxels[3, 5, 5] == 3100
    assert volume.notes == ("values beyond BitsStored 12 kept as stored (12 slices)",)


@pytest.mark.parametrize("declared", [True, False])
def test_overlays_in_high_bits_are_dropped(tmp_path: Path, save: Callable, declared: bool) -> None:
    values = make_chest().astype(int) + 1024
    values[:, 4:20, 4:20] |= 0x8000
    values[:, 6:9, 6:9] |= 0x4000
    images = stored(values)
    for dataset in images if declared else ():
        dataset.add_new(0x60000100, "US", 16)
        dataset.add_new(0x60000102, "US", 15)
    volume = read_volume(save(tmp_path, images), "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert any("of no declared overlay, dropped" in note for note in volume.notes) == (not declared)


def test_left_justified_values_are_shifted_and_said(tmp_path: Path, save: Callable) -> None:
    values = (make_chest().astype(int) + 1024) << 4
    volume = read_volume(save(tmp_path, stored(values, HighBit=15)), "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert volume.notes == ("HighBit 15 with BitsStored 12: values shifted down by 4 bits (12 slices)",)


def test_a_high_bit_that_the_values_contradict(tmp_path: Path, save: Callable) -> None:
    volume = read_volume(save(tmp_path, stored(make_chest().astype(int) + 1024, HighBit=15)), "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert any("contradicted by the values" in note for note in volume.notes)


@pytest.mark.parametrize("tags", [{"BitsStored": 20}, {"HighBit": 16}])
def test_bits_that_do_not_fit_are_refused(tmp_path: Path, save: Callable, tags: dict[str, int]) -> None:
    files = save(tmp_path, chest_series(**tags))
    with pytest.raises(BadScan, match="do not fit BitsAllocated 16"):
        read_headers(files[0])


@pytest.mark.parametrize("bits", [16, 12])
@pytest.mark.parametrize("declared", [True, False])
def test_negative_padding_written_without_its_sign(tmp_path: Path, save: Callable, bits: int, declared: bool) -> None:
    values = make_chest().astype(int) + 1024
    values[:, :3] = 63536
    padding = {"PixelPaddingValue": 63536} if declared else {}
    volume = read_volume(save(tmp_path, stored(values, BitsStored=bits, HighBit=bits - 1, **padding)), "s")
    assert (volume.voxels[:, :3] == -1024).all()
    assert volume.voxels[:, 3:].max() < 100
    said = "1152 voxels of declared padding" if declared else "1152 voxels of 63536, which is -2000 written without"
    assert any(note.startswith(said) for note in volume.notes)


@pytest.mark.parametrize("signed", [0, 1])
def test_a_sign_that_the_values_contradict(tmp_path: Path, save: Callable, signed: int) -> None:
    """Signed HU called unsigned; 12 unsigned bits called signed, with bone above 1023 HU."""
    if signed:
        values = make_chest().astype(int) + 1024
        values[:, 10:13, 4:28] += np.arange(24) * 30 + 1200
        form = {"PixelRepresentation": 1}
    else:
        values = make_chest().astype(int) & 0xFFFF
        form = {"RescaleIntercept": 0, "BitsStored": 16, "HighBit": 15}
    volume = read_volume(save(tmp_path, stored(values, **form)), "s")
    expected = values - 1024 if signed else make_chest()
    assert np.array_equal(volume.voxels, expected)
    assert any(note.startswith("PixelRepresentation says") for note in volume.notes)


# Values that are no HU, whatever the header says --------------------------------------------------------------------


def windowed(low: float, high: float, top: int) -> np.ndarray:
    return np.clip((make_chest() - low) / (high - low) * top, 0, top).astype(np.uint16)


@pytest.mark.parametrize(
    ("values", "tags", "said"),
    [
        (windowed(-1350, 150, 255), {}, "no tissue"),
        (windowed(-1000, 150, 4095), {}, "display values, or inverted"),
        (4095 - (make_chest().astype(int) + 1024), {"PhotometricInterpretation": "MONOCHROME1"}, "no air"),
        (make_chest().astype(int) + 1024, {"RescaleIntercept": 0}, "no air"),
    ],
    ids=["8-bit window", "12-bit window", "inverted", "offset lost"],
)
def test_values_that_no_patient_has_are_refused(
    tmp_path: Path, save: Callable, values: np.ndarray, tags: dict[str, object], said: str
) -> None:
    with pytest.raises(BadScan, match=said):
        read_volume(save(tmp_path, stored(values, **tags)), "s")


@pytest.mark.parametrize(("side", "slices", "refused"), [(16, 12, True), (10, 11, True), (9, 12, False)])
def test_small_pictures_are_looked_at_too_where_the_volume_says_enough(
    tmp_path: Path, save: Callable, side: int, slices: int, refused: bool
) -> None:
    chest = make_chest(slices, side=side).astype(int)
    size = {"Rows": side, "Columns": side}
    files = save(tmp_path / "sound", stored(chest + 1024, **size))
    assert np.array_equal(read_volume(files, "s").voxels, chest)
    lost = save(tmp_path / "lost", stored(chest + 1024, RescaleIntercept=0, **size))
    if refused:
        with pytest.raises(BadScan, match="no air"):
            read_volume(lost, "s")
    else:
        assert read_volume(lost, "s").voxels.min() > 0


def test_a_cut_window_is_said(tmp_path: Path, save: Callable) -> None:
    values = np.minimum(make_chest().astype(int), 20) + 1024
    volume = read_volume(save(tmp_path, stored(values)), "s")
    assert any("of the voxels hold the highest value, 20 HU: brighter ones were cut off" in n for n in volume.notes)


def test_palettes_and_modality_luts_are_refused(tmp_path: Path, save: Callable) -> None:
    save(tmp_path / "p", chest_series(PhotometricInterpretation="PALETTE COLOR"))
    assert find_series(tmp_path / "p")[0][0].refusal == "holds colour images (PALETTE COLOR)"
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [2, 0, 16], "HU"
    table.add_new(0x00283006, "US", [0, 1])
    files = save(tmp_path / "l", chest_series(ModalityLUTSequence=Sequence([table]), RescaleSlope=None))
    assert "Modality LUT" in find_series(tmp_path / "l")[0][0].refusal
    with pytest.raises(BadScan, match="Modality LUT"):
        read_volume(files, "s")

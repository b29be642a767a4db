from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.header import read_headers
from elsewhere.scans.dicom.hounsfield import AIR, blank_padding, rescale
from elsewhere.scans.dicom.pixels import Frames
from elsewhere.scans.dicom.volume import read_volume

JPEG_ROOT = "1.2.840.10008.1.2.4."
LOSSLESS = (
    *("", "_BigEndianExplicit", "_DeflatedExplicitVRLittleEndian", "_LittleEndianExplicit", "_LittleEndianImplicit"),
    *("_RLELossless", "_JPEG2000LosslessOnly", "_JPEGLSLossless", "_JPEGProcess14", "_JPEGProcess14SV1"),
)
LOSSY = {  # largest and mean difference in HU from the uncompressed slice; 12-bit JPEG, 8-bit JPEG of 32 HU a step
    "_JPEG2000": (5, 1.0),
    "_JPEGLSLossy": (1, 1.0),
    "_JPEGProcess1": (65, 20),
    "_JPEGProcess2_4": (36, 4),
    "_JPEGProcess6_8": (36, 4),
    "_JPEGProcess10_12": (36, 4),
}


def hounsfield(path: Path) -> NDArray[np.int16]:
    (header,) = read_headers(path)
    values = Frames(header).decode(0)
    out = np.empty(values.shape, np.int16)
    rescale(values, header, out)
    return out


def encoding(real_data: Path, name: str) -> Path:
    folder = real_data / "dicom-transfer-syntaxes"
    return next(folder.glob(f"CTImage.dcm{name}TransferSyntax_*.dcm")) if name else folder / "CTImage.dcm"


@pytest.mark.real
@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_encodings_give_the_reference_exactly(real_data: Path, name: str) -> None:
    reference = pydicom.dcmread(encoding(real_data, "")).pixel_array.astype(np.int32) - 1024
    assert np.array_equal(hounsfield(encoding(real_data, name)), reference)


@pytest.mark.real
@pytest.mark.parametrize(("name", "bound"), LOSSY.items())
def test_lossy_encodings_stay_near_the_reference(real_data: Path, name: str, bound: tuple[float, float]) -> None:
    reference = pydicom.dcmread(encoding(real_data, "")).pixel_array.astype(np.int32) - 1024
    difference = np.abs(hounsfield(encoding(real_data, name)).astype(np.int32) - reference)
    assert 0 < difference.max() <= bound[0]
    assert difference.mean() <= bound[1]


@pytest.mark.real
def test_the_quick_way_equals_pydicom_on_real_files(real_data: Path) -> None:
    quick = 0
    for path in _real_files(real_data):
        dataset = pydicom.dcmread(path)
        try:
            theirs = dataset.pixel_array
        except (RuntimeError, NotImplementedError):
            continue  # three encodings that pydicom's decoders refuse; see the lossy test
        headers = read_headers(path)
        frames = Frames(headers[0])
        ours = np.stack([frames.decode(h.frame) for h in headers]).reshape(theirs.shape)
        assert np.array_equal(ours, theirs), path
        assert ours.dtype == theirs.dtype.newbyteorder("=")
        quick += "_array" not in vars(frames)
    assert quick > 20


def _real_files(real_data: Path) -> list[Path]:
    every = {"covid-ct-md": 24, "nlst": 24, "acrin-nsclc-fdg-pet": 24, "totalsegmentator": 10, "pydicom-data": 1}
    every |= {"dicom-transfer-syntaxes": 1, "chest-imaging-platform": 20, "lungmask-testdata": 1}
    found = []
    for name, step in every.items():
        files = sorted(p for p in (real_data / name).rglob("*") if p.is_file() and pydicom.misc.is_dicom(p))
        found += files[::step]
    return found


# Encoded here, so that it is tested without the real data -----------------------------------------------------------

ENCODERS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    JPEG_ROOT + "70": lambda a: imagecodecs.ljpeg_encode(a, bitspersample=16),
    JPEG_ROOT + "80": imagecodecs.jpegls_encode,
    JPEG_ROOT + "90": lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=True, level=0),
}


def encoded(image: Callable[..., Dataset], pixels: NDArray[Any], syntax: str, raw: bytes, **tags: Any) -> Dataset:
    dataset = image(pixels=pixels, **tags)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([raw])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def run_length(dataset: Dataset) -> Dataset:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress(RLELossless, generate_instance_uid=False)
    return dataset


@pytest.fixture
def chest() -> NDArray[np.int16]:
    ramp = np.add.outer(np.arange(40) * 30, np.arange(32) * 7) - 1000
    return (ramp + np.random.default_rng(0).integers(0, 50, ramp.shape)).astype(np.int16)


@pytest.mark.parametrize("syntax", [*ENCODERS, RLELossless])
@pytest.mark.parametrize("signed", [True, False])
def test_every_quick_decoder(
    tmp_path: Path, image: Callable, chest: NDArray[np.int16], syntax: str, signed: bool
) -> None:
    pixels = chest if signed else (chest + 1024).astype(np.uint16)
    stored = pixels.view(np.uint16)
    if syntax == RLELossless:
        dataset = run_length(image(pixels=pixels))
    else:
        dataset = encoded(image, pixels, syntax, ENCODERS[syntax](stored))
    dcmwrite(tmp_path / "a.dcm", dataset, enforce_file_format=True)
    (header,) = read_headers(tmp_path / "a.dcm")
    frames = Frames(header)
    assert np.array_equal(frames.decode(0), pixels)
    assert "_array" not in vars(frames), "pydicom was asked"
    assert np.array_equal(frames.decode(0), pydicom.dcmread(tmp_path / "a.dcm").pixel_array)


@pytest.mark.parametrize("syntax", [*ENCODERS, RLELossless])
def test_cut_short_encoded_data_are_refused(
    tmp_path: Path, image: Callable, chest: NDArray[np.int16], syntax: str
) -> None:
    if syntax == RLELossless:
        (raw,) = pydicom.encaps.generate_frames(run_length(image(pixels=chest)).PixelData, number_of_frames=1)
    else:
        raw = ENCODERS[syntax](chest.view(np.uint16))
    cut = encoded(image, chest, syntax, raw[: len(raw) // 2])
    dcmwrite(tmp_path / "cut.dcm", cut, enforce_file_format=True)
    with pytest.raises(BadScan, match=r"cut short|damaged|cannot be decoded|decodes to"):
        Frames(read_headers(tmp_path / "cut.dcm")[0]).decode(0)
    dcmwrite(tmp_path / "file.dcm", encoded(image, chest, syntax, raw), enforce_file_format=True)
    whole = (tmp_path / "file.dcm").read_bytes()
    (tmp_path / "file.dcm").write_bytes(whole[:-200])
    with pytest.raises(BadScan, match="is cut short"):
        Frames(read_headers(tmp_path / "file.dcm")[0]).decode(0)


def test_an_unknown_transfer_syntax_is_named_with_the_way_out(
    tmp_path: Path, image: Callable, chest: NDArray[np.int16]
) -> None:
    files = []
    for i in range(3):
        dataset = encoded(image, chest, "1.2.840.10008.1.2.4.102", b"\0\0\1\xb3" * 9, number=i + 1, z=float(i))
        files.append(tmp_path / f"{i}.dcm")
        dcmwrite(files[-1], dataset, enforce_file_format=True)
    message = (
        r"3 of 3 files cannot be read .*MPEG-4 AVC/H.264 High Profile.* \(1.2.840.10008.1.2.4.102\).*gdcmconv --raw"
    )
    with pytest.raises(BadScan, match=message):
        read_volume(files, "home/s1")


def test_signed_values_of_twelve_bits_and_overlays_in_the_upper_bits(
    tmp_path: Path, image: Callable, save: Callable
) -> None:
    values = np.array([[-1024, -1, 0, 2047]], np.int16)
    pattern = (values & 0x0FFF).astype(np.uint16) | np.array([[0xF000, 0x3000, 0x8000, 0]], np.uint16)
    tags = {"BitsStored": 12, "HighBit": 11}
    (path,) = save(tmp_path, [image(pixels=pattern.view(np.int16), **tags)])
    assert np.array_equal(hounsfield(path), values)
    assert np.array_equal(hounsfield(path), pydicom.dcmread(path).pixel_array)
    (path,) = save(tmp_path, [image(pixels=pattern, **tags)])
    assert hounsfield(path).tolist() == [[3072, 4095, 0, 2047]]


def test_eight_bit_values(tmp_path: Path, image: Callable, save: Callable) -> None:
    (path,) = save(tmp_path, [image(pixels=np.array([[0, 255]], np.uint8), RescaleSlope=16, RescaleIntercept=-1024)])
    assert hounsfield(path).tolist() == [[-1024, 3056]]


@pytest.mark.parametrize(
    ("slope", "intercept", "expected", "clipped"),
    [
        (1, -1024, [-1024, -1023, 31743, 32767], 1),
        (1, 0, [0, 1, 32767, 32767], 1),
        (0.5, 0.25, [0, 1, 16384, 32767], 1),
        (2, -40000, [-32768, -32768, 25534, 32767], 3),
        (1, -32768, [-32768, -32767, -1, 32767], 0),
    ],
)
def test_rescaled_values_are_rounded_and_clipped(
    tmp_path: Path, image: Callable, save: Callable, slope: float, intercept: float, expected: list[int], clipped: int
) -> None:
    pixels = np.array([[0, 1, 32767, 65535]], np.uint16)
    (path,) = save(tmp_path, [image(pixels=pixels, RescaleSlope=str(slope), RescaleIntercept=str(intercept))])
    (header,) = read_headers(path)
    out = np.empty((1, 4), np.int16)
    assert rescale(Frames(header).decode(0), header, out) == clipped
    assert out.tolist() == [expected]


@pytest.mark.parametrize(
    ("padding", "limit", "expected", "count"),
    [
        (-2000, None, [-2000, 0, 30000, 30010], 0),
        (0, None, [-2000, 0, 30000, 30010], 0),
        (30000, None, [-2000, 0, AIR, 30010], 1),
        (30010, 30000, [-2000, 0, AIR, AIR], 2),
    ],
    ids=["low", "in tissue", "bright", "bright range"],
)
def test_only_bright_padding_is_blanked(
    tmp_path: Path,
    image: Callable,
    save: Callable,
    padding: int,
    limit: int | None,
    expected: list[int],
    count: int,
) -> None:
    tags = {"PixelPaddingValue": padding} | ({"PixelPaddingRangeLimit": limit} if limit else {})
    (path,) = save(tmp_path, [image(pixels=np.array([[-2000, 0, 30000, 30010]], np.int16), **tags)])
    (header,) = read_headers(path)
    out = np.empty((1, 4), np.int16)
    values = Frames(header).decode(0)
    rescale(values, header, out)
    assert blank_padding(values, header, out) == count
    assert out.tolist() == [expected]

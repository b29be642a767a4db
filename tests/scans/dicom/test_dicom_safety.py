"""Files that lie about how they are written, promise more than they hold, or used to end the process."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from chests import chest_series, make_chest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from elsewhere.errors import BadScan, BadStudy
from elsewhere.scans.ceiling import VARIABLE
from elsewhere.scans.dicom import find_series, read_volume
from elsewhere.scans.dicom.header import read_headers
from elsewhere.scans.dicom.pixels import Frames
from elsewhere.scans.sites import dicom

JPEG = "1.2.840.10008.1.2.4."
ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    JPEG + "70": lambda a: bytes(imagecodecs.ljpeg_encode(a, bitspersample=12)),
    JPEG + "80": lambda a: bytes(imagecodecs.jpegls_encode(a)),
    JPEG + "90": lambda a: bytes(imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=True, level=0)),
}


def write(path: Path, dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


def encoded(folder: Path, syntax: str, change: Callable[[bytes], bytes] = bytes, called: str = "") -> list[Path]:
    """A chest in one code; `change` is done to each frame's bytes, `called` is the syntax that the file names."""
    files = []
    for z, dataset in enumerate(chest_series()):
        pixels = (make_chest()[z].astype(int) + 1024).astype(np.uint16)
        if syntax == RLELossless:
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.compress(RLELossless, generate_instance_uid=False)
            raw = next(generate_frames(dataset.PixelData, number_of_frames=1))
        else:
            raw = ENCODERS[syntax](pixels)
        dataset.PixelData = encapsulate([change(raw)])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        files.append(write(folder / f"{z:03d}.dcm", dataset, syntax))
        if called:
            content, old = files[-1].read_bytes(), syntax.encode()
            files[-1].write_bytes(content.replace(old.ljust(len(old) + len(old) % 2, b"\0"), called.encode(), 1))
    return files


# The quick reader is no stricter than the slow one ------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [JPEG + "70", JPEG + "80"])
@pytest.mark.parametrize("pad", [b"\xff", b"\0", b"\x20", b"\xff\xff\0", b"\xff\xd8junk"])
def test_bytes_behind_the_end_marker_are_no_damage(tmp_path: Path, syntax: str, pad: bytes) -> None:
    volume = read_volume(encoded(tmp_path, syntax, lambda raw: raw.rstrip(b"\0") + pad), "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert volume.notes == ()


@pytest.mark.parametrize("syntax", [JPEG + "70", JPEG + "80", RLELossless])
def test_cut_short_is_said_where_bytes_are_missing(tmp_path: Path, syntax: str) -> None:
    with pytest.raises(BadScan, match=r"cut short|damaged|cannot be decoded"):
        read_volume(encoded(tmp_path, syntax, lambda raw: raw[: len(raw) * 2 // 3]), "s")


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "explicit"])
@pytest.mark.parametrize("preamble", [b"", bytes(128) + b"DICM"], ids=["bare", "preamble"])
@pytest.mark.parametrize("little", [True, False], ids=["little", "big"])
def test_no_file_meta(tmp_path: Path, implicit: bool, preamble: bytes, little: bool) -> None:
    if implicit and not little:
        return
    for z, dataset in enumerate(chest_series()):
        if not little:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        content = DicomBytesIO()
        content.is_implicit_VR, content.is_little_endian = implicit, little
        write_dataset(content, dataset)
        (tmp_path / f"{z:03d}.dcm").write_bytes(preamble + content.getvalue())
    volume = read_volume(sorted(tmp_path.iterdir()), "s")
    assert np.array_equal(volume.voxels, make_chest())


@pytest.mark.parametrize(
    ("implicit", "old", "new"),
    [
        (False, b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"),
        (True, b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2\0"),
        (False, b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"),
        (False, b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"),
        (False, b"1.2.840.10008.1.2.1\0", b"\0" * 20),
    ],
    ids=["says implicit", "is implicit", "says big endian", "says RLE", "says nothing"],
)
def test_a_meta_group_that_lies(tmp_path: Path, save: Callable, implicit: bool, old: bytes, new: bytes) -> None:
    files = save(tmp_path, chest_series(), implicit=implicit)
    for path in files:
        path.write_bytes(path.read_bytes().replace(old, new, 1))
    volume = read_volume(files, "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert volume.notes == ()


def test_encoded_pixels_that_are_called_uncompressed(tmp_path: Path) -> None:
    called = "1.2.840.10008.1.2.1\0\0\0"
    volume = read_volume(encoded(tmp_path, JPEG + "70", called=called), "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert volume.notes == ("the transfer syntax says uncompressed, the pixel data are JPEG: decoded (12 slices)",)


def test_an_undecodable_private_element_does_not_matter(tmp_path: Path) -> None:
    for z, dataset in enumerate(chest_series()):
        dataset.add_new(0x00090010, "LO", "PRIVATE")
        dataset.add_new(0x00091001, "DS", "1")
        dataset.add_new(0x00091002, "FD", 1.0)
        path = write(tmp_path / f"{z:03d}.dcm", dataset, ExplicitVRBigEndian if z % 2 else ExplicitVRLittleEndian)
        path.write_bytes(
            path.read_bytes().replace(b"DS\0\x021 ", b"DS\0\x02x?").replace(b"DS\x02\x001 ", b"DS\x02\0x?")
        )
    for path in sorted(tmp_path.iterdir()):
        assert read_headers(path)[0].rows == 32


# One odd file beside a good series ----------------------------------------------------------------------------------


def test_one_odd_file_is_a_row_and_never_the_end_of_a_site(tmp_path: Path, save: Callable) -> None:
    save(tmp_path / "good", chest_series())
    (dataset,) = chest_series(1, SeriesInstanceUID="1.2.7")
    dataset.add_new(0x00280120, "US", [63536, 63536])
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    write(tmp_path / "odd" / "odd.dcm", dataset, ExplicitVRBigEndian)
    (tmp_path / "labels.csv").write_text("patient_id,path,label\np,good,1\nq,odd,0\n")
    found = dicom.find(tmp_path, "home")
    assert [s.patient for s in found.scans] == ["p"]
    assert any("PixelPaddingValue is '[63536, 63536]', expected one whole number" in bad.what for bad in found.bad)
    assert "1 of 1 files of 'odd' cannot be read, first odd.dcm" in found.bad[0].what


def test_a_folder_of_damaged_files_alone_says_why(tmp_path: Path, save: Callable) -> None:
    for path in save(tmp_path, chest_series(RescaleSlope="0")):
        assert path.is_file()
    (tmp_path / "labels.csv").write_text("patient_id,path,label\np,0000.dcm,1\n")
    with pytest.raises(Exception, match=r"holds no DICOM image that can be read: 12 cannot, first .*RescaleSlope is 0"):
        dicom.find(tmp_path, "home")


# Decoders -----------------------------------------------------------------------------------------------------------


def segments(count: int, *offsets: int) -> Callable[[bytes], bytes]:
    header = struct.pack("<16I", count, *offsets, *[0] * (15 - len(offsets)))
    return lambda raw: header + raw[64:]


@pytest.mark.parametrize(
    "header",
    [(2, 64, 0xFFFFFFF0), (2, 0x7FFFFFFF, 64), (2, 64, 64), (15, *range(64, 79)), (2, 70, 66), (2, 64, 1803223809)],
    ids=str,
)
def test_rle_offsets_are_checked_before_the_decoder_sees_them(tmp_path: Path, header: tuple[int, ...]) -> None:
    with pytest.raises(BadScan, match=r"or more of 12 files cannot be read.*RLE"):
        read_volume(encoded(tmp_path, RLELossless, segments(*header)), "s")


SIZE_AT = {JPEG + "70": (b"\xff\xc3", 5), JPEG + "80": (b"\xff\xf7", 5), JPEG + "90": (b"\xff\x51", 6)}


@pytest.mark.parametrize("syntax", SIZE_AT)
def test_a_code_stream_of_another_size_never_reaches_its_decoder(tmp_path: Path, syntax: str) -> None:
    marker, offset = SIZE_AT[syntax]

    def enlarge(raw: bytes) -> bytes:
        at = raw.index(marker) + offset
        huge = struct.pack(">II", 65500, 65500) if syntax.endswith("90") else struct.pack(">HH", 65500, 65500)
        return raw[:at] + huge + raw[at + len(huge) :]

    with pytest.raises(BadScan, match=r"decodes to \(65500, 65500\), its header says \(32, 32\)"):
        read_volume(encoded(tmp_path, syntax, enlarge), "s")


def test_a_damaged_slice_is_left_out_like_any_other(tmp_path: Path) -> None:
    files = encoded(tmp_path, RLELossless)
    at = files[4].read_bytes().index(struct.pack("<3I", 2, 64, 64)[:8])
    content = bytearray(files[4].read_bytes())
    content[at + 8 : at + 12] = b"\xff\xff\xff\x7f"
    files[4].write_bytes(content)
    assert read_volume(files, "s").notes[0] == "1 of 12 files cannot be read and are left out: 004.dcm"


def test_decoder_warnings_reach_the_notes(tmp_path: Path) -> None:
    assert read_volume(encoded(tmp_path / "clean", JPEG + "90"), "s").notes == ()
    strange = b"\xff\x65\x00\x04\x00\x00"  # a marker that JPEG 2000 does not have, in the main header
    marked = encoded(tmp_path / "marked", JPEG + "90", lambda raw: raw.replace(b"\xff\x90", strange + b"\xff\x90", 1))
    volume = read_volume(marked, "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert any(note.startswith("the decoder warned of damaged pixel data: ") for note in volume.notes)


# Sizes --------------------------------------------------------------------------------------------------------------


def test_frames_that_no_file_of_that_size_holds(tmp_path: Path, save: Callable) -> None:
    for frames in ("2000000000", "5000"):
        (path,) = save(tmp_path, chest_series(1, NumberOfFrames=frames))
        with pytest.raises(BadScan, match=r"promises .* frames|promises .* GB"):
            read_headers(path)


def test_an_image_larger_than_any_ct(tmp_path: Path, save: Callable) -> None:
    (path,) = save(tmp_path, chest_series(1, Rows=65535, Columns=65535))
    with pytest.raises(BadScan, match="an image of 65535 × 65535 pixels"):
        read_headers(path)


def test_the_ceiling_is_an_option(tmp_path: Path, save: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    files = save(tmp_path, chest_series())
    monkeypatch.setenv(VARIABLE, "0.00002")
    with pytest.raises(BadScan, match=f"more than the 0.0 GB that are read. If it is a real scan, set {VARIABLE}"):
        read_volume(files, "s")
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(BadStudy, match="must be a number of GB above 0, is 'much'"):
        read_volume(files, "s")
    monkeypatch.delenv(VARIABLE)
    assert read_volume(files, "s").notes == ()


def deflated(path: Path, dataset: Dataset, tail: bytes = b"") -> Path:
    write(path, dataset, "1.2.840.10008.1.2.1.99")
    if tail:
        content = path.read_bytes()
        at = 144 + int.from_bytes(content[140:144], "little")  # behind the meta group
        inner = zlib.decompress(content[at:], -15)
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        path.write_bytes(content[:at] + packer.compress(inner[:-2048] + tail) + packer.flush())
    return path


def test_a_deflate_bomb_is_not_inflated(tmp_path: Path) -> None:
    files = [deflated(tmp_path / f"{z}.dcm", dataset) for z, dataset in enumerate(chest_series())]
    assert np.array_equal(read_volume(files, "s").voxels, make_chest())
    bombs = [deflated(tmp_path / f"b{z}.dcm", dataset, bytes(50_000_000)) for z, dataset in enumerate(chest_series(2))]
    tracemalloc.start()
    assert Frames(read_headers(bombs[0])[0]).decode(0).shape == (32, 32)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["pipe", "pipe.dcm"])
def test_a_pipe_in_the_folder_is_not_opened(tmp_path: Path, save: Callable, name: str) -> None:
    save(tmp_path, chest_series(20))
    os.mkfifo(tmp_path / name)
    (found,) = find_series(tmp_path)[0]
    assert read_volume(found.files, "s").voxels.shape == (20, 32, 32)
    assert found.notes == ()

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset, Sequence, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from elsewhere.errors import BadScan
from elsewhere.scans.dicom import tags as module
from elsewhere.scans.dicom.header import read_headers
from elsewhere.scans.dicom.pixels import Frames
from elsewhere.scans.dicom.tags import read_tags


def compare_with_pydicom(path: Path) -> None:
    ours, theirs = read_tags(path), module._ask_pydicom(path)
    assert ours is not None
    assert ours.syntax == theirs.syntax
    assert {k: v.replace(" ", "") for k, v in ours.values.items() if v and k != "TransferSyntaxUID"} == {
        k: v.replace(" ", "") for k, v in theirs.values.items() if v
    }


@pytest.mark.parametrize("implicit", [False, True])
def test_the_walker_reads_what_pydicom_reads(tmp_path: Path, image: Callable, save: Callable, implicit: bool) -> None:
    nested = Dataset()
    nested.CodeMeaning, nested.Rows, nested.SeriesInstanceUID = "inner", 99, "9.9.9"
    middle = Dataset()
    middle.ProcedureCodeSequence = Sequence([nested])
    dataset = image(pixels=None, PixelPaddingValue=-2000, KVP="120", ConvolutionKernel=["Br38f", "3"])
    dataset.RequestAttributesSequence = Sequence([middle, middle])
    dataset.add_new(0x00090010, "LO", "PRIVATE")
    dataset.add_new(0x00091001, "UN", b"\1\2\3\4")
    dataset["RequestAttributesSequence"].is_undefined_length = True
    middle.is_undefined_length_sequence_item = True
    middle["ProcedureCodeSequence"].is_undefined_length = True
    (path,) = save(tmp_path, [dataset], implicit=implicit)
    compare_with_pydicom(path)
    found = read_tags(path)
    assert found is not None
    assert found.pixels_length == 48
    assert path.read_bytes()[found.pixels_at :] == bytes(48)
    assert found.values["SeriesInstanceUID"] == "1.2.3"


def test_headers_longer_than_the_first_read(tmp_path: Path, image: Callable, save: Callable) -> None:
    dataset = image()
    dataset.add_new(0x00091010, "OB", bytes(3 * module.FIRST_READ))
    (path,) = save(tmp_path, [dataset])
    compare_with_pydicom(path)


def test_files_without_preamble(tmp_path: Path, image: Callable) -> None:
    dataset = image()
    dcmwrite(tmp_path / "bare", dataset, implicit_vr=True, little_endian=True)
    (header,) = read_headers(tmp_path / "bare")
    assert (header.rows, header.position) == (4, (0, 0, 0))


@pytest.mark.parametrize(("syntax", "walked"), [(DeflatedExplicitVRLittleEndian, True), (ExplicitVRBigEndian, False)])
def test_unusual_encodings(tmp_path: Path, image: Callable, syntax: str, walked: bool) -> None:
    dataset = image(PixelPaddingValue=-2000)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].VR = "OW"
    dcmwrite(tmp_path / "a.dcm", dataset, enforce_file_format=True)
    found = read_tags(tmp_path / "a.dcm")
    assert found is not None
    assert (found.values["Rows"], found.pixels_at >= 0) == ("4", walked)
    assert Frames(read_headers(tmp_path / "a.dcm")[0]).decode(0).shape == (4, 6)
    assert found.values["PixelPaddingValue"] == str(2**16 - 2000)


def test_an_implicit_file_that_says_explicit(tmp_path: Path, image: Callable, save: Callable) -> None:
    (path,) = save(tmp_path, [image()], implicit=True)
    raw = path.read_bytes()
    at = raw.index(b"1.2.840.10008.1.2\0")
    path.write_bytes(raw[: at - 2] + struct.pack("<H", 20) + b"1.2.840.10008.1.2.1\0" + raw[at + 18 :])
    (header,) = read_headers(path)
    assert (header.rows, header.columns) == (4, 6)


@pytest.mark.parametrize("name", [".DS_Store", "DICOMDIR", "notes.txt", "Thumbs.db", "labels.csv", "empty"])
def test_files_that_are_no_dicom_are_passed_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"" if name == "empty" else b"patient_id,label\n" * 20)
    assert read_tags(tmp_path / name) is None


def test_a_dicomdir_under_any_name(tmp_path: Path, image: Callable, save: Callable) -> None:
    (path,) = save(tmp_path, [image(SOPClassUID="1.2.840.10008.1.3.10")])
    assert read_tags(path) is None


def test_reports_are_no_images(tmp_path: Path, image: Callable, save: Callable) -> None:
    (path,) = save(
        tmp_path, [image(Rows=None, Columns=None, PixelData=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")]
    )
    assert read_headers(path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (bytes(500), "is empty"),
        (bytes(range(256)) * 4, r"is no DICOM file inside \(encrypted or damaged\).*Copy or export the file again"),
    ],
)
def test_files_that_call_themselves_dicom(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.dcm").write_bytes(content)
    with pytest.raises(BadScan, match=message):
        read_tags(tmp_path / "x.dcm")


def test_files_cut_short_anywhere_never_pass(tmp_path: Path, image: Callable, save: Callable) -> None:
    (path,) = save(tmp_path, [image(SeriesDescription="x" * 60)])
    whole = path.read_bytes()
    for kept in range(160, len(whole)):
        path.write_bytes(whole[:kept])
        with pytest.raises(BadScan, match=r"cut short|damaged|cannot be decoded"):
            Frames(read_headers(path)[0]).decode(0)
    path.write_bytes(whole)
    assert Frames(read_headers(path)[0]).decode(0).shape == (4, 6)


def test_values_that_are_no_numbers(tmp_path: Path, image: Callable, save: Callable) -> None:
    (path,) = save(tmp_path, [image(SliceLocation="0.000")])
    path.write_bytes(path.read_bytes().replace(b"0.000 ", b"n/a   "))
    (header,) = read_headers(path)
    assert header.location is None


@pytest.mark.real
def test_the_walker_agrees_with_pydicom_on_real_files(real_data: Path) -> None:
    folders = ("covid-ct-md", "nlst", "acrin-nsclc-fdg-pet", "dicom-transfer-syntaxes", "totalsegmentator")
    files = [
        path
        for name in (*folders, "pydicom-data", "lungmask-testdata", "chest-imaging-platform")
        for folder in {p.parent for p in (real_data / name).rglob("*")}
        for path in sorted(folder.iterdir())[::8]
        if path.is_file() and pydicom.misc.is_dicom(path)
    ]
    assert len(files) > 50
    for path in files:
        compare_with_pydicom(path)

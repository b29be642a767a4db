"""A DICOM file in; the text of the tags that we use, and where its pixels begin, out.

Most files are little endian with well-formed elements: those are walked here, several times quicker than pydicom
builds a data set (a site may hold 100 000 files). Whatever is unusual goes to pydicom, and gives the same answer.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.datadict import tag_for_keyword

from elsewhere.errors import BadScan

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"

TEXTS = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate", "AcquisitionDate", "Modality"),
    *("Manufacturer", "ManufacturerModelName", "SeriesDescription", "BodyPartExamined", "PatientID", "PatientSex"),
    *("PatientAge", "PatientPosition", "ContrastBolusAgent", "SliceThickness", "KVP", "GantryDetectorTilt"),
    *("ConvolutionKernel", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber"),
    *("AcquisitionNumber", "TemporalPositionIdentifier", "InstanceNumber", "ImagePositionPatient"),
    *("ImageOrientationPatient", "PatientOrientation", "SliceLocation", "PhotometricInterpretation", "NumberOfFrames"),
    *("PixelSpacing", "RescaleIntercept", "RescaleSlope", "RescaleType", "LossyImageCompression"),
)
NUMBERS = (
    *("SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
)
TEXT_TAGS = {tag_for_keyword(name): name for name in TEXTS}
NUMBER_TAGS = {tag_for_keyword(name): name for name in NUMBERS}
MEDIA_CLASS, SYNTAX, PIXELS = 0x00020002, 0x00020010, 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF

LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
SHORT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # PS3.5, section 7.1.2
)
FIRST_READ = 1 << 16
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima", ".dc3")
RECOPY = "Copy or export the file again"


@dataclass(frozen=True, slots=True)
class Tags:
    """What one DICOM file says before its pixels.

    Attributes:
        values: keyword → text, several values separated by a backslash; numbers as their decimal text.
        syntax: transfer syntax UID.
        pixels_at: offset in the file of the pixel data's value; -1 where there is none, or pydicom must find it.
        pixels_length: its length in bytes; UNDEFINED where it is encapsulated.
    """

    values: dict[str, str]
    syntax: str
    pixels_at: int = -1
    pixels_length: int = 0


class _Unusual(Exception):
    """The walker leaves this file to pydicom."""


class _RanOut(Exception):
    """The bytes at hand end inside an element."""


def read_tags(path: Path) -> Tags | None:
    """Read one file's tags; None for a file that is no DICOM (or a DICOMDIR).

    Raises:
        BadScan: it should be DICOM, but is empty, cut short, encrypted or damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(FIRST_READ)
            start = _start(head)
            if start is None:
                _refuse(path, head)
                return None
            try:
                tags = _walk_file(head, start, whole=len(head) < FIRST_READ)
            except _RanOut:
                tags = _walk_file(head + file.read(), start, whole=True)
    except OSError as error:
        raise BadScan(path, f"cannot be opened ({error.strerror})", "Check permissions and the disk") from error
    except _RanOut as error:
        raise BadScan(path, "is cut short inside its header", RECOPY) from error
    except (_Unusual, struct.error):
        tags = _ask_pydicom(path)
    return None if tags.values.get("MediaStorageSOPClassUID") == DICOMDIR_CLASS else tags


def _start(head: bytes) -> int | None:
    """Offset of the first element, or None; files without the preamble begin with group 2 or 8."""
    if head[128:132] == b"DICM":
        return 132
    begins = len(head) > 8 and head[:2] in (b"\x02\x00", b"\x08\x00") and head[3] == 0
    return 0 if begins else None


def _refuse(path: Path, head: bytes) -> None:
    """Raises BadScan for a file that calls itself DICOM."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        what = "is no DICOM file inside (encrypted or damaged)" if head.strip(b"\0") else "is empty"
        raise BadScan(path, what, RECOPY)


def _walk_file(data: bytes, start: int, whole: bool) -> Tags:
    meta, at = _walk_meta(data, start)
    syntax = meta.get("TransferSyntaxUID", "")
    if not syntax or syntax in (DEFLATED, BIG_ENDIAN):
        raise _Unusual
    values, place, length = _walk(data, at, syntax != IMPLICIT, whole)
    if place >= 0 and syntax in (IMPLICIT, EXPLICIT) and length == UNDEFINED:
        raise _Unusual
    return Tags({**values, **meta}, syntax, place, length)


def _walk_meta(data: bytes, at: int) -> tuple[dict[str, str], int]:
    """The media class and transfer syntax of group 2 (always explicit, little endian), and where it ends."""
    found = {}
    while at + 8 <= len(data) and data[at : at + 2] == b"\x02\x00":
        tag, length, value_at = _element(data, at, explicit=True)
        if tag in (MEDIA_CLASS, SYNTAX):
            name = "TransferSyntaxUID" if tag == SYNTAX else "MediaStorageSOPClassUID"
            found[name] = data[value_at : value_at + length].rstrip(b"\0 ").decode("ascii", "replace")
        at = value_at + length
        if at > len(data):
            raise _RanOut
    return found, at


def _walk(data: bytes, at: int, explicit: bool, whole: bool) -> tuple[dict[str, str], int, int]:
    """Values found, offset and length of the pixel data (-1 where there is none)."""
    found: dict[str, bytes] = {}
    numbers: dict[str, str] = {}
    end = len(data)
    while at + 8 <= end:
        tag, length, value_at = _element(data, at, explicit)
        if tag == PIXELS:
            return {**_texts(found), **numbers}, value_at, length
        if length == UNDEFINED:
            at = _skip_sequence(data, value_at, explicit)
            continue
        at = value_at + length
        if at > end:
            raise _RanOut
        if tag in TEXT_TAGS:
            found[TEXT_TAGS[tag]] = data[value_at:at]
        elif tag in NUMBER_TAGS:
            numbers[NUMBER_TAGS[tag]] = str(int.from_bytes(data[value_at : min(at, value_at + 2)], "little"))
    if not whole or at != end:
        raise _RanOut
    return {**_texts(found), **numbers}, -1, 0


def _texts(found: dict[str, bytes]) -> dict[str, str]:
    encoding = "utf-8" if b"192" in found.get("SpecificCharacterSet", b"") else "latin-1"
    return {name: value.decode(encoding, "replace").strip("\0 ") for name, value in found.items()}


_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<HHI")


def _element(data: bytes, at: int, explicit: bool) -> tuple[int, int, int]:
    """Tag, length of the value, offset of the value."""
    if at + 12 > len(data):
        raise _RanOut
    if not explicit:
        group, element, length = _LONG.unpack_from(data, at)
        return group << 16 | element, length, at + 8
    group, element, vr, short = _SHORT.unpack_from(data, at)
    if vr in SHORT_VRS:
        return group << 16 | element, short, at + 8
    if vr not in LONG_VRS:
        raise _Unusual
    length = int.from_bytes(data[at + 8 : at + 12], "little")
    if length == UNDEFINED and vr == b"UN":
        raise _Unusual
    return group << 16 | element, length, at + 12


def _skip_sequence(data: bytes, at: int, explicit: bool) -> int:
    """Offset behind a sequence of undefined length whose first item begins at `at`."""
    while True:
        if at + 8 > len(data):
            raise _RanOut
        group, element, length = _LONG.unpack_from(data, at)
        tag, at = group << 16 | element, at + 8
        if tag == SEQUENCE_END:
            return at
        if tag != ITEM:
            raise _Unusual
        at = _skip_item(data, at, explicit) if length == UNDEFINED else at + length


def _skip_item(data: bytes, at: int, explicit: bool) -> int:
    while True:
        if at + 8 > len(data):
            raise _RanOut
        group, element, _ = _LONG.unpack_from(data, at)
        if group << 16 | element == ITEM_END:
            return at + 8
        _, length, value_at = _element(data, at, explicit)
        at = _skip_sequence(data, value_at, explicit) if length == UNDEFINED else value_at + length


def _ask_pydicom(path: Path) -> Tags:
    dataset = read_dataset(path, pixels=False, only=[*TEXTS, *NUMBERS])
    values = {}
    for element in dataset:
        value = element.value
        several = value if isinstance(value, list | tuple) or element.VM > 1 else [value]
        text = "\\".join("" if v is None else str(v) for v in several).strip("\0 ")
        values[element.keyword] = _unsigned(text) if element.keyword in NUMBERS else text
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", IMPLICIT))
    media = str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    return Tags({**values, "MediaStorageSOPClassUID": media}, syntax)


def _unsigned(text: str) -> str:
    """The 16 bits of a number as the walker reads them, whatever sign pydicom gave it."""
    return str(int(text) & 0xFFFF) if text else text


def read_dataset(path: Path, pixels: bool, only: list[str] | None = None) -> pydicom.Dataset:
    """pydicom's data set of a file, its remarks on sloppy values kept quiet.

    Raises:
        BadScan: pydicom cannot read it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels, specific_tags=only)
            if not hasattr(dataset, "file_meta"):
                dataset.file_meta = pydicom.dataset.FileMetaDataset()
            for element in (*dataset.file_meta, *dataset):  # values are decoded, and found damaged, only when asked for
                _ = element.VR != "SQ" and element.value
    except Exception as error:  # a damaged file makes pydicom raise anything, from EOFError to TypeError
        raise BadScan(path, f"is damaged inside its header ({error})", RECOPY) from error
    return dataset

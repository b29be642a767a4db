"""A DICOM file in; the text of the tags that we use, and where its pixels begin, out.

Most files are little endian with well-formed elements: those are walked here, several times quicker than pydicom
builds a data set (a site may hold 100 000 files). Whatever is unusual goes to pydicom, and gives the same answer.
The bytes decide how they are read, not what the file's meta group says of them: explicit or implicit, deflated or not.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pydicom
from pydicom.charset import python_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from elsewhere.errors import BadScan
from elsewhere.scans.opening import open_regular

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
NATIVE = ("", IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"

TEXTS = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate", "AcquisitionDate", "Modality"),
    *("AcquisitionTime", "SeriesTime", "StationName", "PatientName", "PatientBirthDate", "FrameOfReferenceUID"),
    *("Manufacturer", "ManufacturerModelName", "SeriesDescription", "BodyPartExamined", "PatientID", "PatientSex"),
    *("PatientAge", "PatientPosition", "ContrastBolusAgent", "SliceThickness", "KVP", "GantryDetectorTilt"),
    *("StudyTime", "StudyID", "AccessionNumber", "PatientWeight", "PatientSize", "InstitutionName"),
    *("DeviceSerialNumber", "AcquisitionDateTime", "ContentDate", "ContentTime", "FilterType"),
    *("ConvolutionKernel", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "TriggerTime", "ProtocolName"),
    *("AcquisitionNumber", "TemporalPositionIdentifier", "InstanceNumber", "ImagePositionPatient"),
    *("ImageOrientationPatient", "PatientOrientation", "SliceLocation", "PhotometricInterpretation", "NumberOfFrames"),
    *("PixelSpacing", "RescaleIntercept", "RescaleSlope", "RescaleType", "LossyImageCompression"),
)
NUMBERS = (
    *("SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
)
TEXT_TAGS = {tag_for_keyword(name): name for name in (*TEXTS, "ModalityLUTSequence")}
NUMBER_TAGS = {tag_for_keyword(name): name for name in NUMBERS}
NUMBER_TAGS |= {group << 16 | 0x0102: "OverlayBitPosition" for group in range(0x6000, 0x6020, 2)}
MEDIA_CLASS, SYNTAX, PIXELS = 0x00020002, 0x00020010, 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF

LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
SHORT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # PS3.5, section 7.1.2
)
FIRST_READ = 1 << 16
FILLED = bytes(64)  # what no data set holds between its elements
LARGEST_HEADER = 1 << 28
"""Bytes before the pixels, as stored or inflated; a multi-frame file of 10 000 frames needs about 2^24."""
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima", ".dc3")
RECOPY = "Copy or export the file again"
ESCAPES = re.compile(rb"\x1b[$]?[()\-./]?[0-9A-Z]")
"""Switches of character sets inside a value (ISO 2022)."""


@dataclass(frozen=True, slots=True)
class Tags:
    """What one DICOM file says before its pixels.

    Attributes:
        values: keyword → text, several values separated by a backslash; numbers as their decimal text.
        syntax: transfer syntax UID, as the bytes show it.
        size: bytes of the file.
        pixels_at: offset of the pixel data's value, in the file or (deflated) in what it inflates to; -1 where there is
            none, or pydicom must find it.
        pixels_length: its length in bytes; UNDEFINED where it is encapsulated.
    """

    values: dict[str, str]
    syntax: str
    size: int
    pixels_at: int = -1
    pixels_length: int = 0


class _Unusual(Exception):
    """The walker leaves this file to pydicom."""


class _RanOut(Exception):
    """The bytes at hand end inside an element."""


class _Refused(Exception):
    """Nothing can read this file, and pydicom need not try; the text says why."""


def read_tags(path: Path) -> Tags | None:
    """Read one file's tags; None for a file that is no DICOM (or a DICOMDIR).

    Raises:
        BadScan: it should be DICOM, but is empty, cut short, encrypted or damaged.
    """
    try:
        with open_regular(path) as file:
            head = file.read(FIRST_READ)
            start = _start(head)
            if start is None:
                _refuse(path, head)
                return None
            tags = _walk_growing(file, head, start)
    except OSError as error:
        raise BadScan(path, f"cannot be read ({error.strerror})", "Check permissions and the disk") from error
    except _RanOut as error:
        raise BadScan(path, "is cut short inside its header", RECOPY) from error
    except _Refused as error:
        raise BadScan(path, str(error), RECOPY) from error
    except (_Unusual, struct.error):
        tags = _ask_pydicom(path)
    except BadScan:
        if path.suffix.lower() in DICOM_SUFFIXES or path.is_file():
            raise
        return None  # a pipe beside the scans
    return None if tags.values.get("MediaStorageSOPClassUID") == DICOMDIR_CLASS else tags


def _walk_growing(file: BinaryIO, data: bytes, start: int) -> Tags:
    """Walk what was read; where that ends inside the header, read more."""
    size, more = os.fstat(file.fileno()).st_size, b""
    whole = len(data) < FIRST_READ
    while True:
        try:
            return _walk_file(data, start, size, whole)
        except _RanOut:
            if whole:
                raise
        if len(data) > LARGEST_HEADER:
            raise _Refused(f"has a header of more than {LARGEST_HEADER >> 20} MB")
        more = file.read(15 * len(data))
        whole = len(more) < 15 * len(data)
        data += more


def _start(head: bytes) -> int | None:
    """Offset of the first element, or None; files without the preamble begin with group 2 or 8."""
    if head[128:132] == b"DICM":
        return 132
    if head[:4] == b"DICM":
        return 4
    little = head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\0"
    big = head[:3] == b"\0\x08\0" and head[4:6] in SHORT_VRS
    return 0 if len(head) > 8 and (little or big) else None


def _refuse(path: Path, head: bytes) -> None:
    """Raises BadScan for a file that calls itself DICOM."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        what = "is no DICOM file inside (encrypted or damaged)" if head.strip(b"\0") else "is empty"
        raise BadScan(path, what, RECOPY)


def _walk_file(data: bytes, start: int, size: int, whole: bool) -> Tags:
    meta, at = _walk_meta(data, start)
    syntax = meta.pop("TransferSyntaxUID", "")
    first, vr = data[at : at + 2], data[at + 4 : at + 6]
    explicit = vr in SHORT_VRS or vr in LONG_VRS
    if syntax == DEFLATED and not (explicit and first == b"\x08\0"):
        values, place, length = _walk_deflated(data[at:])
        return Tags({**values, **meta}, syntax, size, place, length)
    if first[:1] == b"\0" and first != b"\0\0":
        raise _Unusual  # big endian
    values, place, length = _walk(data, at, explicit, whole)
    if syntax in NATIVE:
        syntax = EXPLICIT if explicit else IMPLICIT
    return Tags({**values, **meta}, syntax, size, place, length)


def _walk_deflated(data: bytes) -> tuple[dict[str, str], int, int]:
    """Inflate no more than the header, in growing steps, and walk that."""
    room = FIRST_READ
    while room <= LARGEST_HEADER:
        inflated, ended = inflate(data, room)
        try:
            return _walk(inflated, 0, inflated[4:6] in SHORT_VRS, whole=ended)
        except _RanOut:
            if len(inflated) < room:
                raise
        except _Unusual:
            raise _Refused("is damaged inside its deflated header") from None
        room *= 16
    raise _Refused(f"has a header of more than {LARGEST_HEADER >> 20} MB when inflated")


def inflate(data: bytes, room: int) -> tuple[bytes, bool]:
    """The first `room` bytes that deflated data stand for, and whether that is all. Never takes more memory."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return stream.decompress(data, room), stream.eof
    except zlib.error as error:
        raise _Refused(f"is damaged inside its deflated data ({error})") from error


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
        if data.startswith(FILLED, at):
            return {**_texts(found), **numbers}, -1, 0  # filled up with zeros, however many
        tag, length, value_at = _element(data, at, explicit)
        if tag == PIXELS:
            return {**_texts(found), **numbers}, value_at, length
        if length == UNDEFINED:
            if tag in TEXT_TAGS:
                found[TEXT_TAGS[tag]] = b"of undefined length"
            at = _skip_sequence(data, value_at, explicit)
            continue
        at = value_at + length
        if at > end:
            raise _RanOut
        if tag in TEXT_TAGS:
            found[TEXT_TAGS[tag]] = data[value_at:at]
        elif tag in NUMBER_TAGS and length:
            numbers[NUMBER_TAGS[tag]] = _number(data[value_at:at])
    if not whole or data[at:].strip(b"\0"):  # a file may be filled up with zeros
        raise _RanOut
    return {**_texts(found), **numbers}, -1, 0


def _texts(found: dict[str, bytes]) -> dict[str, str]:
    encoding = _encoding(found.get("SpecificCharacterSet", b"").decode("ascii", "replace").strip("\0 "))
    return {name: _decoded(value, encoding).strip("\0 ") for name, value in found.items()}


@lru_cache(maxsize=64)
def _encoding(charset: str) -> str:
    """What Python calls a SpecificCharacterSet, the last of several; "" where it names none or only ASCII."""
    last = charset.rpartition("\\")[2].strip()
    name = python_encoding.get(last, "") if last not in ("", "ISO_IR 6", "ISO 2022 IR 6") else ""
    try:
        return codecs.lookup(name).name if name else ""
    except LookupError:
        return ""


def _decoded(value: bytes, encoding: str) -> str:
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    if not encoding:
        try:
            return value.decode("utf-8")  # what programs write that set no SpecificCharacterSet
        except UnicodeDecodeError:
            return value.decode("latin-1")
    value = value if encoding.startswith("iso2022") else ESCAPES.sub(b"", value)
    return value.decode(encoding, "replace")


def _number(raw: bytes, order: Literal["little", "big"] = "little") -> str:
    """A number of 16 (or 32) bits as decimal text, without its sign; what is none as text that is no number."""
    text = raw.strip(b"\0 ")
    if len(raw) == 2:
        return str(int.from_bytes(raw, order))
    if text.isdigit():
        return text.decode("ascii")
    several = [int.from_bytes(raw[i : i + 2], order) for i in range(0, len(raw) - 1, 2)]
    return str(several[0]) if len(several) == 2 and several[1] == 0 and order == "little" else f"{several[:4]}"


_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<HHI")


def _element(data: bytes, at: int, explicit: bool) -> tuple[int, int, int]:
    """Tag, length of the value, offset of the value."""
    if at + 8 > len(data):
        raise _RanOut
    if not explicit:
        group, element, length = _LONG.unpack_from(data, at)
        return group << 16 | element, length, at + 8
    group, element, vr, short = _SHORT.unpack_from(data, at)
    if vr in SHORT_VRS:
        return group << 16 | element, short, at + 8
    if vr not in LONG_VRS:
        raise _Unusual
    if at + 12 > len(data):
        raise _RanOut
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
    dataset = read_dataset(path, pixels=False, only=[*TEXT_TAGS, *NUMBER_TAGS])
    texts: dict[str, bytes] = {}
    values: dict[str, str] = {}
    for tag in dataset.keys():  # noqa: SIM118 - iterating a data set decodes its values
        name = TEXT_TAGS.get(int(tag)) or NUMBER_TAGS.get(int(tag), "")
        raw, order = _raw(dataset, tag)
        if not isinstance(raw, bytes):  # pydicom has converted it by itself
            values[name] = _as_text(raw)
        elif int(tag) in TEXT_TAGS:
            texts[name] = raw
        elif raw:
            values[name] = _number(raw, order)
    implicit, little = dataset.original_encoding
    syntax = _meta(dataset, "TransferSyntaxUID")
    if syntax in NATIVE:
        syntax = BIG_ENDIAN if not little else IMPLICIT if implicit else EXPLICIT
    values["MediaStorageSOPClassUID"] = _meta(dataset, "MediaStorageSOPClassUID")
    return Tags({**_texts(texts), **values}, syntax, path.stat().st_size)


def _raw(dataset: pydicom.Dataset, tag: Any) -> tuple[Any, Literal["little", "big"]]:
    """A value's bytes and their order, or what pydicom made of it; "unreadable" is not absent."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            item = dataset.get_item(tag)
            return item.value, "little" if getattr(item, "is_little_endian", True) else "big"
    except Exception:  # a value that pydicom had to convert, and could not
        return "unreadable", "little"


def uid_name(uid: str) -> str:
    """What the standard calls a UID; the UID itself where it has no name, or is none."""
    return str(UID(uid, validation_mode=pydicom.config.IGNORE).name)


def _as_text(value: Any) -> str:
    several = value if isinstance(value, list | tuple | pydicom.multival.MultiValue) else [value]
    return "\\".join("" if v is None else str(v) for v in several).strip("\0 ")


def _meta(dataset: pydicom.Dataset, name: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return str(dataset.file_meta.get(name, ""))
    except Exception:  # an undecodable element of the meta group; the data set says the same
        return ""


def read_dataset(path: Path, pixels: bool, only: list[int] | None = None) -> pydicom.Dataset:
    """pydicom's data set of a regular file, its remarks on sloppy values kept quiet; no value is decoded here.

    Raises:
        BadScan: pydicom cannot read it.
    """
    try:
        with warnings.catch_warnings(), open_regular(path) as file:
            warnings.simplefilter("ignore")
            content = _inflated(file) or file
            dataset = pydicom.dcmread(content, force=True, stop_before_pixels=not pixels, specific_tags=only)
            if not hasattr(dataset, "file_meta"):
                dataset.file_meta = pydicom.dataset.FileMetaDataset()
    except BadScan:
        raise
    except Exception as error:  # a damaged file makes pydicom raise anything, from EOFError to TypeError
        raise BadScan(path, f"is damaged inside its header ({error})", RECOPY) from error
    return dataset


def _inflated(file: BinaryIO) -> BinaryIO | None:
    """A deflated file's data set, which pydicom itself would inflate without a limit; None for other files."""
    head = file.read(FIRST_READ)
    file.seek(0)
    return io.BytesIO(_inflate_file(file, LARGEST_HEADER)) if DEFLATED.encode() in head[:4096] else None


def deflated_content(path: Path, room: int) -> bytes:
    """The first `room` bytes of a deflated file's data set. Raises BadScan where they are damaged."""
    try:
        with open_regular(path) as file:
            return _inflate_file(file, room)
    except _Refused as error:
        raise BadScan(path, str(error), RECOPY) from error


def _inflate_file(file: BinaryIO, room: int) -> bytes:
    data = file.read(room + (room >> 4) + FIRST_READ)  # what cannot be made shorter is a little longer deflated
    return inflate(data[_walk_meta(data, _start(data[:FIRST_READ]) or 0)[1] :], room)[0]

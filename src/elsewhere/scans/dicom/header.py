"""A DICOM file's tags in; one `Header` per image (or frame), with numbers instead of text, out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from sys import intern
from types import MappingProxyType
from typing import Any

from pydicom import Dataset

from elsewhere.errors import BadScan, ElsewhereError
from elsewhere.scans.ceiling import check_scan_size
from elsewhere.scans.dicom.tags import DEFLATED, LARGEST_HEADER, NATIVE, RECOPY, Tags, read_dataset, read_tags, uid_name
from elsewhere.scans.dicom.texts import (
    Point,
    age_of,
    contrast_of,
    floats_of,
    int_of,
    letters_of,
    number_of,
    plain,
    scale_of,
    seconds_of,
    shared_floats,
    slope_of,
    whole_of,
)
from elsewhere.scans.scan import Fact
from elsewhere.scans.values import MISSING, date_or_none

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CLASSES = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")  # Enhanced CT, its conversion
BINARY_VRS = frozenset(("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"))

LARGEST_FRAME = 1 << 24
"""Pixels of one image; the finest CT matrices are 2048 × 2048."""
DEFLATE_RATIO = 1040
"""Deflated data never stand for more than 1032 times their bytes."""
LEAST_FRAGMENT = 10
"""Bytes of the shortest encoded frame: an item's tag and length, and two bytes."""
MOST_PER_BYTE = 4
"""Bytes of a file for a byte of its images: no code makes them longer, and overlays and copies are shorter."""
MISSING_SHARE = 0.10
"""Of a multi-frame file's frames; beyond it the file as a whole is cut short."""


@dataclass(frozen=True, slots=True)
class Form:
    """How pixels are stored; shared by the images of a series.

    Attributes:
        syntax: transfer syntax UID.
        allocated: bits per stored value; stored: those that count; high: place of the highest of them, from 0.
        signed: two's complement.
        samples: values per pixel (3: colour).
        photometric: MONOCHROME2, MONOCHROME1, RGB, …
        padding: lowest and highest stored value that the file declares to be no image, as 16-bit patterns, or None.
        overlays: some bits beyond the stored ones are declared to be overlays.
        lut: values go through a Modality LUT instead of slope and intercept.
    """

    syntax: str
    allocated: int
    stored: int
    high: int
    signed: bool
    samples: int
    photometric: str
    padding: tuple[int, int] | None
    overlays: bool
    lut: bool


@dataclass(frozen=True, slots=True)
class About:
    """What an image says of its series; shared by its images.

    Attributes:
        modality, sop_class, rescale_type: as in the file.
        image_type: the values of ImageType, upper case.
        series_number: SeriesNumber, or None.
        owner: what tells patients, studies and scanners apart; never shown.
        run: what tells the acquisitions and reconstructions of one patient apart, by name.
        facts: for the audit: manufacturer, model, kernel, kvp, thickness_mm, contrast, position, …; those known.
    """

    modality: str
    sop_class: str
    rescale_type: str
    image_type: tuple[str, ...]
    series_number: int | None
    owner: tuple[str, ...]
    run: Mapping[str, str]
    facts: Mapping[str, Fact]


@dataclass(frozen=True, slots=True)
class Header:
    """One image.

    Attributes:
        path: its file; frame: its place in a multi-frame file; frames: how many there are.
        series_uid, study_uid, sop_uid, patient: ids, "" where absent.
        rows, columns: matrix.
        position: centre of the first pixel in mm, patient axes (left, posterior, superior), or None.
        orientation: direction of rising column, then of rising row, or None.
        location: SliceLocation in mm; number: InstanceNumber; time: of acquisition, seconds; None where unknown.
        pixel_spacing: distance of rows, of columns in mm, or None.
        slope, intercept: HU = stored · slope + intercept; None where the file has none.
        pixels_at, pixels_length: where its pixel data lie in the file (see `Tags`).
        form, about: what it shares with its series.
        remarks: what had to be put right in the header, as sentences.
    """

    path: Path
    frame: int
    frames: int
    series_uid: str
    study_uid: str
    sop_uid: str
    patient: str
    rows: int
    columns: int
    position: Point | None
    orientation: Point | None
    location: float | None
    number: int | None
    time: float | None
    pixel_spacing: Point | None
    slope: float | None
    intercept: float | None
    pixels_at: int
    pixels_length: int
    form: Form
    about: About
    remarks: tuple[str, ...] = ()


def read_headers(path: Path) -> list[Header]:
    """The images of one file: none for a file that is no DICOM, or DICOM without images (reports, plans).

    Raises:
        BadScan: the file is damaged, encrypted, cut short inside its header, or its header contradicts itself.
    """
    try:
        return _read_headers(path)
    except ElsewhereError:
        raise
    except Exception as error:  # one odd file never stops a site, whatever its values do to a parser
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise BadScan(path, f"holds a damaged header ({said})", RECOPY) from error


def _read_headers(path: Path) -> list[Header]:
    tags = read_tags(path)
    if tags is None:
        return []
    if not tags.values.get("Rows"):
        said = tags.values.get("SOPClassUID") or tags.values.get("MediaStorageSOPClassUID") or CT_CLASS
        if said == CT_CLASS:
            raise BadScan(path, "has no Rows and is no other kind of DICOM: cut short inside its header", RECOPY)
        return []
    header = _header(path, tags)
    _check_size(header, tags.size)
    if header.frames > 1 or header.about.sop_class in ENHANCED_CLASSES:
        return _frames(header, read_dataset(path, pixels=False))
    return [header]


def _header(path: Path, tags: Tags) -> Header:
    get = tags.values.get
    header = Header(
        path=path,
        frame=0,
        frames=max(1, whole_of(get("NumberOfFrames"), "NumberOfFrames") or 1),
        series_uid=intern(get("SeriesInstanceUID", "")),
        study_uid=intern(get("StudyInstanceUID", "")),
        sop_uid=get("SOPInstanceUID", ""),
        patient=intern(get("PatientID", "")),
        rows=whole_of(get("Rows"), "Rows") or 0,
        columns=whole_of(get("Columns"), "Columns") or 0,
        position=floats_of(get("ImagePositionPatient"), 3),
        orientation=shared_floats(get("ImageOrientationPatient"), 6) or letters_of(get("PatientOrientation", "")),
        location=number_of(get("SliceLocation")),
        number=int_of(get("InstanceNumber")),
        time=_time(get),
        pixel_spacing=shared_floats(get("PixelSpacing"), 2),
        slope=slope_of(get("RescaleSlope")),
        intercept=scale_of(get("RescaleIntercept"), "RescaleIntercept"),
        pixels_at=tags.pixels_at,
        pixels_length=tags.pixels_length,
        form=_form(tags.syntax, *(get(name, "") for name in _FORM)),
        about=_about(tags.syntax, *(get(name, "") for name in _ABOUT)),
    )
    if "," not in "".join([get(name, "") for name in _COMMAS]):
        return header
    return replace(header, remarks=_comma_remarks(tuple(name for name in _COMMAS if "," in get(name, ""))))


def _time(get: Callable[[str, str], str]) -> float | None:
    """Seconds of the acquisition; where nothing says it, of the image."""
    whole = get("AcquisitionDateTime", "")
    moments = (
        (get("AcquisitionDate", ""), get("AcquisitionTime", "")),
        (whole[:8], whole[8:]),
        (get("ContentDate", ""), get("ContentTime", "")),
    )
    return next((t for day, clock in moments if (t := seconds_of(day, clock)) is not None), None)


_COMMAS = (
    *("RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SliceLocation", "SliceThickness"),
)


@lru_cache(maxsize=64)
def _comma_remarks(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name} is written with a decimal comma, read as a point" for name in names)


def _check_size(header: Header, size: int) -> None:
    """Compare what a header promises with its file and with the ceiling. Raises ValueError, BadScan."""
    rows, columns, frames, form = header.rows, header.columns, header.frames, header.form
    if rows * columns > LARGEST_FRAME:
        raise ValueError(f"an image of {rows} × {columns} pixels, more than {LARGEST_FRAME:,}")
    check_scan_size(2 * rows * columns * frames, header.path)
    frame = rows * columns * form.samples * max(1, form.allocated // 8)
    if size > LARGEST_HEADER + MOST_PER_BYTE * frame * frames:
        what = f"holds {size:,} bytes for {frames:,} images of {columns} × {rows} pixels"
        raise BadScan(header.path, what, RECOPY)
    if frames == 1:
        return
    if form.syntax == DEFLATED:
        size *= DEFLATE_RATIO
    held = size // (frame if form.syntax in NATIVE else LEAST_FRAGMENT) if frame else 0
    if held < (1 - MISSING_SHARE) * frames:
        what = f"is cut short: promises {frames:,} frames, and its {size:,} bytes hold no more than {held:,}"
        raise BadScan(header.path, what, RECOPY)


_FORM = (
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "OverlayBitPosition",
    "ModalityLUTSequence",
)
OWNER = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID", "StudyDate"),
    *("StationName", "Manufacturer", "ManufacturerModelName"),
)
"""What tells patients, studies and scanners apart."""
WEAK_OWNER = (
    *("StudyTime", "StudyID", "AccessionNumber", "PatientWeight", "PatientSize", "InstitutionName"),
    "DeviceSerialNumber",
)
"""What archives may fill in for some images only: it tells owners apart where their images lie at the same places."""
RUN = {
    "AcquisitionNumber": "acquisition",
    "TemporalPositionIdentifier": "time point",
    "TriggerTime": "trigger time",
    "ConvolutionKernel": "kernel",
    "SliceThickness": "thickness",
    "KVP": "kVp",
    "ContrastBolusAgent": "contrast",
    "ImageType": "image type",
    "SeriesDescription": "description",
    "ProtocolName": "protocol",
    "BodyPartExamined": "body part",
    "SeriesNumber": "series number",
    "SeriesTime": "series time",
    "FrameOfReferenceUID": "frame of reference",
    "AcquisitionDate": "acquisition date",
    "PatientPosition": "patient position",
    "FilterType": "filter",
    "LossyImageCompression": "lossy compression",
}
"""What tells the acquisitions and reconstructions inside one series apart → the word for it in notes."""
_ABOUT = ("Modality", "SOPClassUID", "RescaleType", "GantryDetectorTilt", *OWNER, *WEAK_OWNER, *RUN)


@lru_cache(maxsize=4096)
def _form(syntax: str, *texts: str) -> Form:
    get = dict(zip(_FORM, texts, strict=True)).__getitem__
    texts_only = ("PhotometricInterpretation", "ModalityLUTSequence")
    whole = {name: whole_of(get(name), name) for name in _FORM if name not in texts_only}
    low, high = whole["PixelPaddingValue"], whole["PixelPaddingRangeLimit"]
    allocated = whole["BitsAllocated"] or 16
    stored = whole["BitsStored"] or allocated
    top = stored - 1 if whole["HighBit"] is None else whole["HighBit"]
    if stored > allocated or top >= allocated:
        raise ValueError(f"BitsStored {stored} and HighBit {top} do not fit BitsAllocated {allocated}")
    return Form(
        syntax=syntax,
        allocated=allocated,
        stored=stored,
        high=top,
        signed=whole["PixelRepresentation"] == 1,
        samples=whole["SamplesPerPixel"] or 1,
        photometric=get("PhotometricInterpretation").upper(),
        padding=None if low is None else (low, low if high is None else high),
        overlays=(whole["OverlayBitPosition"] or 0) > 0,
        lut=bool(get("ModalityLUTSequence")),
    )


@lru_cache(maxsize=4096)
def _about(syntax: str, *texts: str) -> About:
    get = dict(zip(_ABOUT, texts, strict=True)).__getitem__
    facts: dict[str, Fact] = {
        "manufacturer": get("Manufacturer"),
        "model": get("ManufacturerModelName"),
        "kernel": get("ConvolutionKernel").replace("\\", " "),
        "kvp": number_of(get("KVP")),
        "thickness_mm": number_of(get("SliceThickness")),
        "contrast": contrast_of(get("ContrastBolusAgent")),
        "position": get("PatientPosition"),
        "tilt_deg": number_of(get("GantryDetectorTilt")),
        "body_part": get("BodyPartExamined"),
        "description": get("SeriesDescription"),
        "age": age_of(get("PatientAge")),
        "sex": get("PatientSex"),
        "date": date_or_none(get("AcquisitionDate") or get("StudyDate")),
        "transfer_syntax": uid_name(syntax),
        "lossy": get("LossyImageCompression") == "01" or None,
    }
    known = {name: value for name, value in facts.items() if str(value).lower() not in MISSING}
    kinds = tuple(part.strip().upper() for part in get("ImageType").split("\\"))
    return About(
        modality=get("Modality").upper(),
        sop_class=get("SOPClassUID"),
        rescale_type=get("RescaleType").upper(),
        image_type=kinds,
        series_number=int_of(get("SeriesNumber")),
        owner=tuple(get(name) for name in (*OWNER, *WEAK_OWNER)),
        run=MappingProxyType({"stack": "", **{word: plain(get(name)) for name, word in RUN.items()}}),
        facts=MappingProxyType(known),
    )


# Multi-frame files ----------------------------------------------------------------------------------------------


def _frames(header: Header, dataset: Dataset) -> list[Header]:
    """One header per frame; what a frame does not say itself comes from the shared groups, then from the file."""
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    each = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if each and len(each) != header.frames:
        raise ValueError(f"NumberOfFrames is {header.frames}, and {len(each)} frames are described")
    groups = each or [Dataset()] * header.frames
    return [_frame(header, i, (group, shared)) for i, group in enumerate(groups[: header.frames])]


def _frame(header: Header, index: int, groups: Sequence[Dataset]) -> Header:
    position = _macro(groups, "PlanePositionSequence", "ImagePositionPatient")
    orientation = _macro(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _macro(groups, "PixelMeasuresSequence", "PixelSpacing")
    slope = _macro(groups, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = _macro(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    commas = tuple(n for n, text in (("RescaleSlope", slope), ("RescaleIntercept", intercept)) if "," in text)
    return replace(
        header,
        frame=index,
        number=index + 1,
        position=floats_of(position, 3) or header.position,
        orientation=shared_floats(orientation, 6) or header.orientation,
        pixel_spacing=shared_floats(spacing, 2) or header.pixel_spacing,
        slope=slope_of(slope) if slope else header.slope,
        intercept=scale_of(intercept, "RescaleIntercept") if intercept else header.intercept,
        about=_frame_about(header.about, groups),
        remarks=(*header.remarks, *_comma_remarks(commas)),
    )


def _frame_about(about: About, groups: Sequence[Dataset]) -> About:
    rescale = _macro(groups, "PixelValueTransformationSequence", "RescaleType")
    frame_type = _macro(groups, "CTImageFrameTypeSequence", "FrameType")
    run = {
        "acquisition": _macro(groups, "FrameContentSequence", "FrameAcquisitionNumber"),
        "stack": _macro(groups, "FrameContentSequence", "StackID"),
        "time point": _macro(groups, "FrameContentSequence", "TemporalPositionIndex"),
        "kernel": _macro(groups, "CTReconstructionSequence", "ConvolutionKernel"),
        "thickness": _macro(groups, "PixelMeasuresSequence", "SliceThickness"),
        "kVp": _macro(groups, "CTXRayDetailsSequence", "KVP"),
        "image type": frame_type,
    }
    return replace(
        about,
        rescale_type=(rescale or about.rescale_type).upper(),
        image_type=tuple(part.strip().upper() for part in frame_type.split("\\")) if frame_type else about.image_type,
        run={**about.run, **{word: plain(text) for word, text in run.items() if text}},
        facts=_frame_facts(about.facts, groups),
    )


def _frame_facts(facts: Mapping[str, Fact], groups: Sequence[Dataset]) -> Mapping[str, Fact]:
    found = {
        "thickness_mm": number_of(_macro(groups, "PixelMeasuresSequence", "SliceThickness")),
        "kernel": _macro(groups, "CTReconstructionSequence", "ConvolutionKernel"),
        "kvp": number_of(_macro(groups, "CTXRayDetailsSequence", "KVP")),
        "tilt_deg": number_of(_macro(groups, "CTGeometrySequence", "GantryDetectorTilt")),
    }
    return {**facts, **{name: value for name, value in found.items() if value not in ("", None)}}


def _macro(groups: Sequence[Dataset], sequence: str, keyword: str) -> str:
    """A functional group's value as text, "" where no group has it."""
    for group in groups:
        item = _first(group, sequence)
        if keyword not in item:
            continue
        raw = item.get_item(keyword)
        value: Any = raw.value
        if isinstance(value, bytes):  # not converted: pydicom would refuse what is written with a comma
            text = value.decode("latin-1") if raw.VR not in BINARY_VRS else str(item[keyword].value)
        else:
            several = [value] if isinstance(value, str | int | float) or value is None else value
            text = "\\".join("" if v is None else str(v) for v in several)
        if text := text.strip("\0 "):
            return text
    return ""


def _first(dataset: Dataset, keyword: str) -> Dataset:
    items = dataset.get(keyword)
    return items[0] if items else Dataset()

"""A DICOM file's tags in; one `Header` per image (or frame), with numbers instead of text, out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from sys import intern
from types import MappingProxyType
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.tags import RECOPY, Tags, read_dataset, read_tags
from elsewhere.scans.scan import Fact
from elsewhere.scans.values import MISSING, date_or_none, parse_age

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CLASSES = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")  # Enhanced CT, its conversion
NO_CONTRAST = frozenset(("none", "no", "without", "nativ", "native", "non contrast", "noncontrast", "0"))

Point = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """How pixels are stored; shared by the images of a series.

    Attributes:
        syntax: transfer syntax UID.
        allocated: bits per stored value; stored: those that count; signed: two's complement.
        samples: values per pixel (3: colour).
        photometric: MONOCHROME2, MONOCHROME1, RGB, …
        padding: lowest and highest stored value that the file declares to be no image, as 16-bit patterns, or None.
    """

    syntax: str
    allocated: int
    stored: int
    signed: bool
    samples: int
    photometric: str
    padding: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class About:
    """What an image says of its series; shared by its images.

    Attributes:
        modality, sop_class, rescale_type: as in the file.
        image_type: the values of ImageType, upper case.
        series_number: SeriesNumber, or None.
        facts: for the audit: manufacturer, model, kernel, kvp, thickness_mm, contrast, position, …; those known.
    """

    modality: str
    sop_class: str
    rescale_type: str
    image_type: tuple[str, ...]
    series_number: int | None
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
        location: SliceLocation in mm; number: InstanceNumber; acquisition: what tells phases apart.
        pixel_spacing: distance of rows, of columns in mm, or None.
        slope, intercept: HU = stored · slope + intercept; intercept None where the file has none.
        pixels_at, pixels_length: where its pixel data lie in the file (see `Tags`).
        form, about: what it shares with its series.
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
    acquisition: str
    pixel_spacing: Point | None
    slope: float
    intercept: float | None
    pixels_at: int
    pixels_length: int
    form: Form
    about: About


def read_headers(path: Path) -> list[Header]:
    """The images of one file: none for a file that is no DICOM, or DICOM without images (reports, plans).

    Raises:
        BadScan: the file is damaged, encrypted or cut short inside its header.
    """
    tags = read_tags(path)
    if tags is None:
        return []
    if not tags.values.get("Rows"):
        said = tags.values.get("SOPClassUID") or tags.values.get("MediaStorageSOPClassUID") or CT_CLASS
        if said == CT_CLASS:
            raise BadScan(path, "has no Rows and is no other kind of DICOM: cut short inside its header", RECOPY)
        return []
    try:
        header = _header(path, tags)
    except ValueError as error:
        raise BadScan(path, f"holds a damaged header ({error})", RECOPY) from error
    if header.frames > 1 or header.about.sop_class in ENHANCED_CLASSES:
        return _frames(header, read_dataset(path, pixels=False))
    return [header]


def _header(path: Path, tags: Tags) -> Header:
    get = tags.values.get
    return Header(
        path=path,
        frame=0,
        frames=int(get("NumberOfFrames") or 1),
        series_uid=intern(get("SeriesInstanceUID", "")),
        study_uid=intern(get("StudyInstanceUID", "")),
        sop_uid=get("SOPInstanceUID", ""),
        patient=intern(get("PatientID", "")),
        rows=int(tags.values["Rows"]),
        columns=int(get("Columns") or 0),
        position=_floats(get("ImagePositionPatient"), 3),
        orientation=_shared_floats(get("ImageOrientationPatient"), 6) or _letters(get("PatientOrientation", "")),
        location=_float(get("SliceLocation")),
        number=_int(get("InstanceNumber")),
        acquisition=f"{get('AcquisitionNumber', '')}/{get('TemporalPositionIdentifier', '')}",
        pixel_spacing=_shared_floats(get("PixelSpacing"), 2),
        slope=_or_one(_float(get("RescaleSlope"))),
        intercept=_float(get("RescaleIntercept")),
        pixels_at=tags.pixels_at,
        pixels_length=tags.pixels_length,
        form=_form(tags.syntax, *(get(name, "") for name in _FORM)),
        about=_about(tags.syntax, *(get(name, "") for name in _ABOUT)),
    )


_FORM = (
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
)
_ABOUT = (
    "Modality",
    "SOPClassUID",
    "RescaleType",
    "ImageType",
    "SeriesNumber",
    "Manufacturer",
    "ManufacturerModelName",
    "ConvolutionKernel",
    "KVP",
    "SliceThickness",
    "ContrastBolusAgent",
    "PatientPosition",
    "GantryDetectorTilt",
    "BodyPartExamined",
    "SeriesDescription",
    "PatientAge",
    "PatientSex",
    "AcquisitionDate",
    "StudyDate",
    "LossyImageCompression",
)


@lru_cache(maxsize=4096)
def _form(syntax: str, *texts: str) -> Form:
    allocated, stored, signed, samples, photometric, low, high = texts
    padding = (int(low), int(high or low)) if low else None
    bits = int(allocated or 16)
    return Form(syntax, bits, int(stored or bits), signed == "1", int(samples or 1), photometric.upper(), padding)


@lru_cache(maxsize=4096)
def _about(syntax: str, *texts: str) -> About:
    get = dict(zip(_ABOUT, texts, strict=True)).__getitem__
    facts: dict[str, Fact] = {
        "manufacturer": get("Manufacturer"),
        "model": get("ManufacturerModelName"),
        "kernel": get("ConvolutionKernel").replace("\\", " "),
        "kvp": _float(get("KVP")),
        "thickness_mm": _float(get("SliceThickness")),
        "contrast": _contrast(get("ContrastBolusAgent")),
        "position": get("PatientPosition"),
        "tilt_deg": _float(get("GantryDetectorTilt")),
        "body_part": get("BodyPartExamined"),
        "description": get("SeriesDescription"),
        "age": _age(get("PatientAge")),
        "sex": get("PatientSex"),
        "date": date_or_none(get("AcquisitionDate") or get("StudyDate")),
        "transfer_syntax": UID(syntax).name,
        "lossy": get("LossyImageCompression") == "01" or None,
    }
    known = {name: value for name, value in facts.items() if str(value).lower() not in MISSING}
    kinds = tuple(part.strip().upper() for part in get("ImageType").split("\\"))
    return About(
        get("Modality").upper(),
        get("SOPClassUID"),
        get("RescaleType").upper(),
        kinds,
        _int(get("SeriesNumber")),
        MappingProxyType(known),
    )


def _contrast(agent: str) -> bool | None:
    """True with an agent, False where the field says none, None where it is silent (many sites never fill it)."""
    text = agent.strip().lower()
    return None if text in MISSING - {"none"} else text not in NO_CONTRAST


def _age(text: str) -> Fact:
    try:
        return parse_age(text)
    except ValueError:
        return None


def _float(text: str | None) -> float | None:
    try:
        value = float((text or "").split("\\")[0])
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _int(text: str | None) -> int | None:
    value = _float(text)
    return None if value is None else int(value)


def _or_one(slope: float | None) -> float:
    return 1.0 if slope is None or slope == 0 else slope


def _floats(text: str | None, count: int) -> Point | None:
    """Exactly `count` finite numbers, or None."""
    parts = [_float(part) for part in (text or "").split("\\")]
    values = tuple(part for part in parts if part is not None)
    return values if len(parts) == len(values) == count else None


_shared_floats = lru_cache(maxsize=1024)(_floats)  # the same for a whole series: one object, parsed once


_LETTERS = {"L": (1.0, 0.0, 0.0), "R": (-1.0, 0.0, 0.0), "P": (0.0, 1.0, 0.0)}
_LETTERS |= {"A": (0.0, -1.0, 0.0), "H": (0.0, 0.0, 1.0), "F": (0.0, 0.0, -1.0)}


def _letters(text: str) -> Point | None:
    """Orientation from PatientOrientation (`L\\P`), for files without ImageOrientationPatient."""
    parts = [_LETTERS.get(part[:1]) for part in text.split("\\")]
    if len(parts) != 2 or parts[0] is None or parts[1] is None:
        return None
    return parts[0] + parts[1]


# Multi-frame files ----------------------------------------------------------------------------------------------


def _frames(header: Header, dataset: Dataset) -> list[Header]:
    """One header per frame; what a frame does not say itself comes from the shared groups, then from the file."""
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    each = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    groups = each or [Dataset()] * header.frames
    return [_frame(header, i, (group, shared)) for i, group in enumerate(groups[: header.frames])]


def _frame(header: Header, index: int, groups: Sequence[Dataset]) -> Header:
    position = _macro(groups, "PlanePositionSequence", "ImagePositionPatient")
    orientation = _macro(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _macro(groups, "PixelMeasuresSequence", "PixelSpacing")
    slope = _macro(groups, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = _macro(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    return replace(
        header,
        frame=index,
        number=index + 1,
        position=_floats(position, 3) or header.position,
        orientation=_floats(orientation, 6) or header.orientation,
        pixel_spacing=_floats(spacing, 2) or header.pixel_spacing,
        slope=_or_one(_float(slope)) if slope else header.slope,
        intercept=_float(intercept) if intercept else header.intercept,
        about=replace(header.about, facts=_frame_facts(header.about.facts, groups)),
    )


def _frame_facts(facts: Mapping[str, Fact], groups: Sequence[Dataset]) -> Mapping[str, Fact]:
    found = {
        "thickness_mm": _float(_macro(groups, "PixelMeasuresSequence", "SliceThickness")),
        "kernel": _macro(groups, "CTReconstructionSequence", "ConvolutionKernel"),
        "kvp": _float(_macro(groups, "CTXRayDetailsSequence", "KVP")),
        "tilt_deg": _float(_macro(groups, "CTGeometrySequence", "GantryDetectorTilt")),
    }
    return {**facts, **{name: value for name, value in found.items() if value not in ("", None)}}


def _macro(groups: Sequence[Dataset], sequence: str, keyword: str) -> str:
    """A functional group's value as text, "" where no group has it."""
    for group in groups:
        value: Any = _first(group, sequence).get(keyword)
        if value not in (None, ""):
            several = [value] if isinstance(value, str | int | float) else value
            return "\\".join(str(v) for v in several)
    return ""


def _first(dataset: Dataset, keyword: str) -> Dataset:
    items = dataset.get(keyword)
    return items[0] if items else Dataset()

"""A volume in HU in; the files of one CT series (CT Image Storage, explicit little endian), out.

The data set is encoded once per series; each slice then only fills in its own ids and place, at fixed offsets.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from elsewhere.scans.scan import Fact
from elsewhere.scans.volume import Spacing, Volume

SERIES_FIELDS = {  # fact (the reader's names, header.py) → keyword, longest text (PS3.5, 6.2)
    "manufacturer": ("Manufacturer", 64),
    "model": ("ManufacturerModelName", 64),
    "kernel": ("ConvolutionKernel", 16),
    "description": ("SeriesDescription", 64),
}
EMPTY_FIELDS = ("PatientBirthDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")
GAP_NUMBER, GAP_Z = "0123454321", "-123454321.54321"
"""What the encoded header holds where each slice differs; as long as the longest number there (PS3.5, 6.2)."""
IMPLEMENTATION = "2.25.227433604219911046131764017541206452741"


def uid_of(*names: str) -> str:
    """A UID that depends on the names alone (PS3.5, B.2), so that writing twice gives the same files."""
    digest = hashlib.sha256("\x1f".join(names).encode()).digest()[:16]
    return f"2.25.{int.from_bytes(digest, 'big')}"


def write_series(
    folder: Path, volume: Volume, *, patient: str, study_uid: str, series_uid: str, facts: Mapping[str, Fact]
) -> None:
    """Write one file per slice, IM00001.dcm the most superior, patient supine and head first.

    Args:
        folder: made if it is not there.
        volume: int16 HU, canonical axes; without spacing the files say nothing of it.
        patient: PatientID.
        study_uid, series_uid: ids; the images' ids follow from the series'.
        facts: age (years), sex, date (ISO), kvp, thickness_mm, kernel, manufacturer, model, contrast, …
    """
    assert volume.units == "HU", volume.units
    assert volume.voxels.dtype == np.int16, volume.voxels.dtype
    folder.mkdir(parents=True, exist_ok=True)
    dataset = _dataset(volume, patient, study_uid, series_uid, {**volume.facts, **facts})
    pieces = _encode(dataset)
    for index, pixels in enumerate(volume.voxels):
        header = _fill(pieces, index, series_uid, volume.spacing)
        (folder / f"IM{index + 1:05d}.dcm").write_bytes(header + np.ascontiguousarray(pixels, "<i2").tobytes())


def _dataset(volume: Volume, patient: str, study_uid: str, series_uid: str, facts: Mapping[str, Fact]) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = IMPLEMENTATION
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = _image_uid(series_uid, 0)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
    dataset.FrameOfReferenceUID = uid_of("frame of reference", series_uid)
    dataset.PatientID = _text(patient, 64)
    dataset.PatientName = f"{dataset.PatientID[:63]}^"
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientPosition = "HFS"
    for keyword in EMPTY_FIELDS:
        setattr(dataset, keyword, "")
    dataset.PositionReferenceIndicator = ""
    dataset.SeriesNumber = dataset.AcquisitionNumber = 1
    _add_facts(dataset, facts)
    _add_geometry(dataset, volume, facts)
    _add_pixel_form(dataset, volume)
    return dataset


def _add_facts(dataset: Dataset, facts: Mapping[str, Fact]) -> None:
    for name, (keyword, length) in SERIES_FIELDS.items():
        setattr(dataset, keyword, _text(facts.get(name), length))
    dataset.BodyPartExamined = re.sub(r"[^A-Z0-9 _]", "_", _text(facts.get("body_part"), 16).upper())
    if not dataset.BodyPartExamined:
        dataset.Laterality = ""  # demanded just then (PS3.3, C.7.3.1)
    sex = _text(facts.get("sex"), 1).upper()
    dataset.PatientSex = sex if sex in ("M", "F", "O") else ""
    date = str(facts.get("date") or "").replace("-", "")
    dataset.StudyDate = dataset.AcquisitionDate = date if len(date) == 8 and date.isdigit() else ""
    dataset.PatientAge = _age_string(facts.get("age"))
    dataset.KVP = _decimal(facts.get("kvp"))
    contrast = facts.get("contrast")
    agent = {True: "APPLIED", False: "NONE"}[contrast] if isinstance(contrast, bool) else _text(contrast, 64)
    dataset.ContrastBolusAgent = agent
    tilt = facts.get("tilt_deg")
    dataset.GantryDetectorTilt = _decimal(tilt if tilt is not None else 0.0)


def _text(value: Fact, length: int) -> str:
    """Text that a field takes: no backslash (it separates values), no control characters, not too long."""
    return re.sub(r"[\\\x00-\x1f=^]", "_", "" if value is None else str(value)).strip()[:length]


def _age_string(age: Fact) -> str:
    """DICOM age string: whole years from two years on, months before."""
    if not isinstance(age, int | float):
        return ""
    return f"{round(age):03d}Y" if age >= 2 or age == int(age) else f"{round(age * 12):03d}M"


def _decimal(value: Fact) -> str:
    return format_number_as_ds(float(value)) if isinstance(value, int | float) else ""


def _add_geometry(dataset: Dataset, volume: Volume, facts: Mapping[str, Fact]) -> None:
    dataset.InstanceNumber, dataset.SliceLocation, dataset.ImagePositionPatient = GAP_NUMBER, GAP_Z, ["0", "0", GAP_Z]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.SliceThickness = _decimal(facts.get("thickness_mm"))
    if volume.spacing:
        step, rows, columns = volume.spacing
        dataset.PixelSpacing = [_decimal(rows), _decimal(columns)]
        dataset.SliceThickness = dataset.SliceThickness or _decimal(step)
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "HU"


def _add_pixel_form(dataset: Dataset, volume: Volume) -> None:
    _, dataset.Rows, dataset.Columns = volume.voxels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.add_new("PixelData", "OW", bytes(2 * dataset.Rows * dataset.Columns))


def _image_uid(series_uid: str, index: int) -> str:
    return f"{series_uid}.{100001 + index}"  # always as long as any other of the series


# The encoded header with gaps, and how each slice fills them --------------------------------------------------------


def _encode(dataset: Dataset) -> list[bytes]:
    """The header's bytes between the gaps: image id (twice), number, z and location."""
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    header = buffer.getvalue()[: -len(dataset.PixelData)]
    pieces = [header]
    for gap in (dataset.SOPInstanceUID, GAP_NUMBER, GAP_Z):
        pieces = [part for piece in pieces for part in piece.split(gap.encode())]
    assert len(pieces) == 6, len(pieces)
    return pieces


def _fill(pieces: list[bytes], index: int, series_uid: str, spacing: Spacing | None) -> bytes:
    step = float(spacing[0]) if spacing else 1.0
    uid = _image_uid(series_uid, index)
    place = format_number_as_ds(-step * index).rjust(len(GAP_Z))
    fills = (uid, uid, str(index + 1).rjust(len(GAP_NUMBER)), place, place)
    return b"".join(piece + fill.encode() for piece, fill in zip(pieces, (*fills, ""), strict=True))

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

Image = Callable[..., Dataset]
Save = Callable[..., list[Path]]


def make_image(z: float = 0.0, number: int = 1, pixels: Any = None, **tags: Any) -> Dataset:
    """One CT slice, supine and head first, as a scanner would write it; `tags` override, None leaves out."""
    pixels = np.zeros((4, 6), np.int16) if pixels is None else np.asarray(pixels)
    dataset = Dataset()
    dataset.update(
        {
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": f"1.2.3.{number}",
            "StudyInstanceUID": "1.2.1",
            "SeriesInstanceUID": "1.2.3",
            "PatientID": "p",
            "Modality": "CT",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "InstanceNumber": number,
            "ImagePositionPatient": [0, 0, z],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "SliceLocation": z,
            "PixelSpacing": [0.5, 0.75],
            "Rows": pixels.shape[0],
            "Columns": pixels.shape[1],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": pixels.itemsize * 8,
            "BitsStored": pixels.itemsize * 8,
            "HighBit": pixels.itemsize * 8 - 1,
            "PixelRepresentation": int(pixels.dtype.kind == "i"),
            "RescaleSlope": 1,
            "RescaleIntercept": 0,
        }
    )
    dataset.add_new("PixelData", "OW", pixels.tobytes())
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def save_images(folder: Path, images: Sequence[Dataset], implicit: bool = False, start: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for i, dataset in enumerate(images, start=start):
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or "1.2"
        files.append(folder / f"{i:04d}.dcm")
        dcmwrite(files[-1], dataset, enforce_file_format=True, implicit_vr=implicit, little_endian=True)
    return files


@pytest.fixture
def image() -> Image:
    return make_image


@pytest.fixture
def save() -> Save:
    return save_images

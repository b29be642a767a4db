"""DICOM images for tests: one slice, a chest as a series, and one as an enhanced file."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom import Dataset, Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage


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


def make_chest(slices: int = 12, seed: int = 0, side: int = 32) -> np.ndarray:
    """HU [slice, row, column]: air, a body of tissue with noise, and two lungs that change along the body."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    voxels = np.full((slices, side, side), -1000)
    voxels[:, (rows / 0.8) ** 2 + (columns / 0.95) ** 2 < 1] = 40
    for z, picture in enumerate(voxels):
        width = 0.12 + 0.25 * np.sin(np.pi * (z + 1) / (slices + 1))
        for side_of in (-0.45, 0.45):
            picture[(rows / 0.6) ** 2 + ((columns - side_of) / width) ** 2 < 1] = -850
    return np.maximum(voxels + rng.integers(-15, 16, voxels.shape), -1000).astype(np.int16)


def chest_series(slices: int = 12, seed: int = 0, step: float = 2.0, top: float = 0.0, **tags: Any) -> list[Dataset]:
    """A chest as a scanner would write it: unsigned, 12 bits, intercept −1024."""
    form = {"BitsStored": 12, "HighBit": 11, "RescaleIntercept": -1024, "SliceThickness": step}
    return [
        make_image(top - step * z, z + 1, (picture.astype(int) + 1024).astype(np.uint16), **{**form, **tags})
        for z, picture in enumerate(make_chest(slices, seed))
    ]


def enhanced(**levels: str) -> Dataset:
    """One enhanced file; RescaleType at the levels given: `top`, `shared`, `frame`."""
    voxels = make_chest()
    gone = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceLocation"))
    dataset = make_image(pixels=voxels[0], SOPClassUID=EnhancedCTImageStorage, **gone)
    dataset.NumberOfFrames, dataset.PixelData = len(voxels), voxels.tobytes()
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.5, 0.5]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
    frames = []
    for z in range(len(voxels)):
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, -2 * z]
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    for level, groups in (("shared", [shared]), ("frame", frames)):
        for group in groups if level in levels else ():
            values = Dataset()
            values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, 0, levels[level]
            group.PixelValueTransformationSequence = Sequence([values])
    if "top" in levels:
        dataset.RescaleType = levels["top"]
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return dataset

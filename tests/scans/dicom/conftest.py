from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from chests import make_image
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

Image = Callable[..., Dataset]
Save = Callable[..., list[Path]]


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

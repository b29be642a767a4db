from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, Sequence
from pydicom.uid import EnhancedCTImageStorage

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.volume import read_volume


def series(image: Callable, slices: int, **tags: object) -> list[Dataset]:
    return [image(-float(z), z + 1, np.full((4, 6), z, np.int16), **tags) for z in range(slices)]


def test_hounsfield_units_with_facts(tmp_path: Path, image: Callable, save: Callable) -> None:
    tags = {"KVP": "120", "ConvolutionKernel": ["Br38f", "3"], "PatientAge": "053Y", "PatientSex": "F"}
    tags |= {
        "SliceThickness": "1.5",
        "Manufacturer": "SIEMENS",
        "ManufacturerModelName": "None",
        "StudyDate": "20200407",
    }
    tags |= {
        "ContrastBolusAgent": "Omnipaque",
        "PatientPosition": "HFS",
        "GantryDetectorTilt": "0",
        "AcquisitionDate": "",
    }
    volume = read_volume(save(tmp_path, series(image, 3, **tags)), "s")
    assert (volume.units, volume.offset, volume.voxels.dtype) == ("HU", 0.0, np.int16)
    assert dict(volume.facts) == {
        "kvp": 120.0,
        "kernel": "Br38f 3",
        "age": 53,
        "sex": "F",
        "thickness_mm": 1.5,
        "manufacturer": "SIEMENS",
        "contrast": True,
        "position": "HFS",
        "tilt_deg": 0.0,
        "date": "2020-04-07",
        "transfer_syntax": "Explicit VR Little Endian",
        "gaps": 0,
    }


def test_each_slice_has_its_own_rescale(tmp_path: Path, image: Callable, save: Callable) -> None:
    images = series(image, 3)
    images[1].RescaleSlope, images[1].RescaleIntercept = 2, -1000
    volume = read_volume(save(tmp_path, images), "s")
    assert volume.voxels[:, 0, 0].tolist() == [0, -998, 2]
    assert any("rescale slope and intercept differ between slices" in note for note in volume.notes)


def test_monochrome1_leaves_hu_alone(tmp_path: Path, image: Callable, save: Callable) -> None:
    volume = read_volume(save(tmp_path, series(image, 2, PhotometricInterpretation="MONOCHROME1")), "s")
    assert volume.voxels[:, 0, 0].tolist() == [0, 1]
    assert any("MONOCHROME1" in note for note in volume.notes)


def test_values_without_intercept(tmp_path: Path, image: Callable, save: Callable) -> None:
    images = series(image, 2, RescaleIntercept=None, RescaleSlope=None)
    with pytest.raises(BadScan, match=r"no RescaleIntercept and no value below 0 \(lowest 0\)"):
        read_volume(save(tmp_path, images), "s")
    images[0].PixelData = np.full((4, 6), -900, np.int16).tobytes()
    volume = read_volume(save(tmp_path, images), "s")
    assert volume.notes == ("no RescaleIntercept: stored values taken as HU",)


@pytest.mark.parametrize(("value", "declared"), [(-2000, True), (-3024, False), (-2048, True)])
def test_padding_is_a_fact_and_stays(
    tmp_path: Path, image: Callable, save: Callable, value: int, declared: bool
) -> None:
    images = series(image, 2, **({"PixelPaddingValue": value} if declared else {}))
    images[0].PixelData = np.array([value] * 12 + [40] * 12, np.int16).tobytes()
    volume = read_volume(save(tmp_path, images), "s")
    assert volume.facts["padding"] == value
    assert volume.voxels.min() == value
    assert volume.notes == ()


def test_padding_that_shines_or_hides_is_said(tmp_path: Path, image: Callable, save: Callable) -> None:
    bright = series(image, 2, PixelPaddingValue=32000)
    bright[0].PixelData = np.array([32000] * 12 + [40] * 12, np.int16).tobytes()
    volume = read_volume(save(tmp_path, bright), "s")
    assert (volume.voxels.min(), volume.voxels.max()) == (-1024, 40)
    assert volume.notes == ("12 voxels of declared padding brighter than 3071 HU set to air",)
    volume = read_volume(save(tmp_path, series(image, 2, PixelPaddingValue=0)), "s")
    assert volume.notes == ("declares padding at 0 HU, where tissue may lie: left as stored",)


def test_clipped_values_are_said(tmp_path: Path, image: Callable, save: Callable) -> None:
    images = series(image, 2, RescaleSlope=40000)
    assert read_volume(save(tmp_path, images), "s").notes[-1] == "24 voxels beyond the range of int16 clipped"


def test_odd_matrix(tmp_path: Path, image: Callable, save: Callable) -> None:
    pixels = np.arange(15, dtype=np.int16).reshape(3, 5)
    volume = read_volume(save(tmp_path, [image(float(-z), z + 1, pixels + z) for z in range(2)]), "s")
    assert np.array_equal(volume.voxels, [pixels, pixels + 1])


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "encrypted": content[::-1], "header": content[:300], "pixels": content[:-10]}[how])


@pytest.mark.parametrize("how", ["empty", "encrypted", "header", "pixels"])
def test_a_tenth_may_be_damaged(tmp_path: Path, image: Callable, save: Callable, how: str) -> None:
    files = save(tmp_path, series(image, 20))
    damage(files[3], how)
    damage(files[7], how)
    volume = read_volume(files, "s")
    assert volume.voxels[:, 0, 0].tolist() == [*range(3), 4, 5, 6, *range(8, 20)]
    assert volume.notes[0] == "2 of 20 files cannot be read and are left out: 0003.dcm, 0007.dcm"
    assert volume.facts["missing_slices"] == 2
    damage(files[9], how)
    with pytest.raises(BadScan, match=r"3 of 20 files cannot be read \(at most 10% may be.*first 0003.dcm"):
        read_volume(files, "s")


def test_nothing_readable(tmp_path: Path, image: Callable, save: Callable) -> None:
    files = save(tmp_path, series(image, 3))
    for path in files:
        damage(path, "empty")
    with pytest.raises(BadScan, match="3 of 3 files cannot be read"):
        read_volume(files, "s")
    with pytest.raises(BadScan, match="holds no DICOM image"):
        read_volume([], "s")


def test_one_bad_slice_of_two_is_too_many(tmp_path: Path, image: Callable, save: Callable) -> None:
    files = save(tmp_path, series(image, 2))
    damage(files[0], "pixels")
    with pytest.raises(BadScan, match="1 of 2 files cannot be read"):
        read_volume(files, "s")


def test_colour_is_refused(tmp_path: Path, image: Callable, save: Callable) -> None:
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    images = series(image, 2, Columns=2, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0, **tags)
    with pytest.raises(BadScan, match=r"holds colour images \(3 values per pixel, RGB\)"):
        read_volume(save(tmp_path, images), "s")


def test_enhanced_multi_frame(tmp_path: Path, image: Callable, save: Callable) -> None:
    pixels = np.arange(3 * 4 * 6, dtype=np.int16).reshape(3, 4, 6)
    absent = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept")
    dataset = image(pixels=pixels[0], SOPClassUID=EnhancedCTImageStorage, **dict.fromkeys((*absent, "SliceLocation")))
    dataset.NumberOfFrames, dataset.PixelData = 3, pixels.tobytes()
    dataset.SharedFunctionalGroupsSequence = Sequence([shared_groups()])
    dataset.PerFrameFunctionalGroupsSequence = Sequence([frame_groups(z) for z in (10, 30, 20)])
    (path,) = save(tmp_path, [dataset])
    volume = read_volume([path], "s")
    assert np.array_equal(volume.voxels, pixels[[1, 2, 0]] - 1000)
    assert volume.spacing == (10.0, 0.5, 0.75)
    assert (volume.facts["thickness_mm"], volume.facts["kvp"]) == (2.5, 100.0)


def shared_groups() -> Dataset:
    groups, measures, orientation, ray = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.75], 2.5
    orientation.ImageOrientationPatient, ray.KVP = [1, 0, 0, 0, 1, 0], 100
    groups.PixelMeasuresSequence = Sequence([measures])
    groups.PlaneOrientationSequence = Sequence([orientation])
    groups.CTXRayDetailsSequence = Sequence([ray])
    return groups


def frame_groups(z: float) -> Dataset:
    groups, position, values = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [0, 0, z]
    values.RescaleSlope, values.RescaleIntercept = 1, -1000
    groups.PlanePositionSequence = Sequence([position])
    groups.PixelValueTransformationSequence = Sequence([values])
    return groups

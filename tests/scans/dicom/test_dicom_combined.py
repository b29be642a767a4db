"""Series with several faults at once: each cause is told from the others, and none is read wrongly in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chests import chest_series, enhanced, make_chest, make_image
from pydicom import Dataset, Sequence

from elsewhere.errors import BadScan
from elsewhere.scans.dicom import find_series, read_volume
from elsewhere.scans.dicom.header import read_headers


def renamed(images: list[Dataset], prefix: str, **tags: Any) -> list[Dataset]:
    for i, dataset in enumerate(images):
        dataset.SOPInstanceUID = f"{prefix}.{i + 1}"
        for name, value in tags.items():
            setattr(dataset, name, value)
    return images


def height(dataset: Dataset) -> float:
    return float(dataset.ImagePositionPatient[2])


def rounded(images: list[Dataset]) -> list[Dataset]:
    for dataset in images:
        dataset.ImagePositionPatient = [0, 0, round(height(dataset))]
    return images


# Who belongs to one volume ------------------------------------------------------------------------------------------


def test_interleaved_patients_whose_positions_were_rounded_too(tmp_path: Path, save: Callable) -> None:
    one = rounded(renamed(chest_series(seed=1, step=1.25), "1.1", PatientID="", PatientName="A"))
    two = rounded(renamed(chest_series(seed=2, step=1.25, top=-0.6), "1.2", PatientID="", PatientName="B"))
    save(tmp_path, [image for pair in zip(one, two, strict=True) for image in pair])
    found, _ = find_series(tmp_path)
    assert [series.refusal for series in found] == ["", ""]
    for series, seed in zip(found, (1, 2), strict=True):
        assert np.array_equal(read_volume(series.files, "s").voxels, make_chest(seed=seed))
    for dataset in (*one, *two):
        dataset.PatientName = ""  # and now nothing tells them apart
        dataset.SliceLocation = None
    files = save(tmp_path / "blank", [*one, *two])
    with pytest.raises(BadScan, match="9 second images at a place, and nothing tells which belongs to the volume"):
        read_volume(files, "s")


def test_a_scout_under_the_same_ids_as_a_slice(tmp_path: Path, save: Callable) -> None:
    images = chest_series()
    scout = make_image(0, 1, np.zeros((32, 32), np.int16), ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    scout.ImageType, scout.SOPInstanceUID = ["ORIGINAL", "PRIMARY", "LOCALIZER"], images[0].SOPInstanceUID
    (series,) = (save(tmp_path, [scout, *images]), find_series(tmp_path)[0])[1]
    assert series.notes == ("1 image of another size, orientation or pixel spacing left out (1 of 32 × 32)",)
    assert np.array_equal(read_volume(series.files, "s").voxels, make_chest())


def test_two_energies_at_the_same_places(tmp_path: Path, save: Callable) -> None:
    low, high = (renamed(chest_series(seed=s), f"1.{s}", KVP=kv) for s, kv in ((1, "80"), (2, "140")))
    together = [image for pair in zip(low, high, strict=True) for image in pair]
    volume = read_volume(save(tmp_path / "told", together), "s")
    assert np.array_equal(volume.voxels, make_chest(seed=1))
    assert "2 tube voltages in one series: 12 images of kVp 80 kept, 12 left out" in volume.notes
    for i, dataset in enumerate(together):  # numbered through, and no tag tells the energies
        del dataset.KVP
        dataset.InstanceNumber = i + 1
    with pytest.raises(BadScan, match="12 second images at a place"):
        read_volume(save(tmp_path / "untold", together), "s")


def test_slices_of_another_orientation_that_the_volume_lacks_count_as_lost(tmp_path: Path, save: Callable) -> None:
    images = chest_series(24)
    for dataset in images[1::2]:
        dataset.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    with pytest.raises(BadScan, match=r"12 of 24 images would be left out.* 12 images of another size, orientation"):
        read_volume(save(tmp_path / "every other", images), "s")
    twice = renamed(chest_series(seed=1), "1.1")
    twice += renamed(chest_series(seed=2), "1.2", ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])
    volume = read_volume(save(tmp_path / "whole twice", twice), "s")
    assert np.array_equal(volume.voxels, make_chest(seed=1))
    assert "12 images of another size, orientation or pixel spacing left out (12 of 32 × 32)" in volume.notes


def test_a_tilted_gantry_a_missing_slice_and_numbers_from_the_feet(tmp_path: Path, save: Callable) -> None:
    images = chest_series(24)
    del images[11]
    for i, dataset in enumerate(images):
        tilt = float(np.radians(15))
        dataset.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(tilt)), float(np.sin(tilt))]
        dataset.InstanceNumber = 100 - i
    volume = read_volume(save(tmp_path, images), "s")
    assert np.array_equal(volume.voxels, np.delete(make_chest(24), 11, axis=0))
    assert [volume.facts[name] for name in ("tilt_deg", "missing_slices")] == [15.0, 1]
    assert not any("sideways" in note for note in volume.notes)  # the tilt has said it


@pytest.mark.parametrize(
    ("at", "reach"), [(lambda i: 3.0 * i, 33), (lambda i: 30 * (i > 5), 30)], ids=["drift", "jump"]
)
def test_slices_that_lie_sideways_of_each_other_are_told(
    tmp_path: Path, save: Callable, at: Callable[[int], float], reach: int
) -> None:
    images = chest_series()
    for i, dataset in enumerate(images):
        dataset.ImagePositionPatient = [0, at(i), height(dataset)]
    volume = read_volume(save(tmp_path / "moved", images), "s")
    assert f"slices lie up to {reach}.0 mm sideways of each other, and are read so: the body is shifted" in volume.notes
    for i, dataset in enumerate(images):
        dataset.ImagePositionPatient = [0, 0.01 * i, height(dataset)]  # written with few digits
    assert read_volume(save(tmp_path / "still", images), "s").notes == ()


# Header words -------------------------------------------------------------------------------------------------------


def test_decimal_commas_where_the_rescale_type_is_missing(tmp_path: Path, save: Callable) -> None:
    images = chest_series()
    for dataset in images:
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.add_new(0x00281053, "LO", "1,0")
        dataset.add_new(0x00281052, "LO", "-1024,0")
    volume = read_volume(save(tmp_path, images), "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert volume.notes[0] == "RescaleSlope is written with a decimal comma, read as a point (12 images)"


@pytest.mark.parametrize("name", ["RescaleIntercept", "RescaleSlope"])
def test_a_slice_that_lacks_what_the_others_have_is_not_read_by_default(
    tmp_path: Path, save: Callable, name: str
) -> None:
    images = chest_series(20)
    for dataset in images:
        dataset.RescaleSlope = "2"
        dataset.PixelData = (np.frombuffer(dataset.PixelData, np.uint16) // 2).tobytes()
    delattr(images[5], name)
    shown = {"RescaleIntercept": "-1024", "RescaleSlope": "2"}[name]
    with pytest.raises(BadScan, match=f"has no {name} in 1 of 20 slices, and {shown} in the others"):
        read_volume(save(tmp_path, images), "s")
    if name == "RescaleSlope":  # where the others have what absent means, nothing is in doubt
        whole = chest_series()
        del whole[5].RescaleSlope
        volume = read_volume(save(tmp_path / "ones", whole), "s")
        assert np.array_equal(volume.voxels, make_chest())


def test_values_that_were_rescaled_twice(tmp_path: Path, save: Callable) -> None:
    """Air at −2024 and soft tissue at −984 HU: bone alone lies where tissue does."""
    images = chest_series(20)
    for dataset in images:
        hu = np.frombuffer(dataset.PixelData, np.uint16).astype(int) - 1024
        hu[:40] = 900  # bone
        dataset.PixelData = hu.astype(np.int16).tobytes()
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
    with pytest.raises(BadScan, match="of them below -1200, and no padding: an offset was taken off twice"):
        read_volume(save(tmp_path / "twice", images), "s")
    for dataset in images:
        dataset.RescaleIntercept = "0"
    assert read_volume(save(tmp_path / "once", images), "s").voxels.min() >= -1015


def test_frames_with_slopes_of_their_own(tmp_path: Path, save: Callable) -> None:
    dataset, pixels = enhanced(frame="HU"), make_chest().copy()
    pixels[1::2] = pixels[1::2] // 2 * 2
    stored = pixels.copy()
    stored[1::2] //= 2
    for i, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        frame.PixelValueTransformationSequence[0].RescaleSlope = "2" if i % 2 else "1"
    dataset.PixelData = stored.tobytes()
    volume = read_volume(save(tmp_path, [dataset]), "s")
    assert np.array_equal(volume.voxels, pixels)
    assert "rescale slope and intercept differ between slices (each slice rescaled by its own)" in volume.notes


def test_an_enhanced_file_that_describes_fewer_frames_than_it_has(tmp_path: Path, save: Callable) -> None:
    dataset = enhanced(shared="HU")
    assert len(read_headers(save(tmp_path / "whole", [dataset])[0])) == 12
    del dataset.PerFrameFunctionalGroupsSequence[6:]
    (path,) = save(tmp_path / "half", [dataset])
    with pytest.raises(BadScan, match="NumberOfFrames is 12, and 6 frames are described"):
        read_headers(path)


def test_a_frame_that_is_a_scout(tmp_path: Path, save: Callable) -> None:
    dataset, kind = enhanced(shared="HU"), Dataset()
    kind.FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    dataset.PerFrameFunctionalGroupsSequence[0].CTImageFrameTypeSequence = Sequence([kind])
    volume = read_volume(save(tmp_path, [dataset]), "s")
    assert np.array_equal(volume.voxels, make_chest()[1:])
    assert "1 image of another size, orientation or pixel spacing left out (1 of 32 × 32)" in volume.notes


def test_a_negative_pixel_spacing_is_not_called_absent(tmp_path: Path, save: Callable) -> None:
    volume = read_volume(save(tmp_path / "a", chest_series(PixelSpacing=[-0.5, 0.5])), "s")
    assert (volume.spacing, volume.notes) == (None, ("PixelSpacing is -0.5\\0.5: spacing unknown",))
    assert read_volume(save(tmp_path / "b", chest_series(PixelSpacing=[0.5, 0.5])), "s").notes == ()


def test_a_file_far_longer_than_its_images_is_not_read_into_memory(tmp_path: Path, save: Callable) -> None:
    """A sparse file takes no room on the disk and all of it in memory."""
    files = save(tmp_path, chest_series())
    with files[3].open("r+b") as file:
        file.truncate(20_000_000_000)
    with pytest.raises(BadScan, match="holds 20,000,000,000 bytes for 1 images of 32 × 32 pixels"):
        read_headers(files[3])
    with files[3].open("r+b") as file:
        file.truncate(200_000)
    assert len(read_headers(files[3])) == 1


def test_a_file_filled_up_with_zeros_without_end_is_soon_done(tmp_path: Path, save: Callable) -> None:
    (path,) = save(tmp_path, [make_image()])
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\xe0\x7f\x10\x00")])  # cut before its pixels
    with path.open("r+b") as file:
        file.truncate(20_000_000_000)
    with pytest.raises(BadScan, match="holds 20,000,000,000 bytes for 1 images"):
        read_headers(path)

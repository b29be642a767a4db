from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom import Dataset

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.volume import read_volume


def levels(image: Callable, zs: list[float], **tags: object) -> list[Dataset]:
    """Slices whose values are their z, saved in the order given."""
    return [image(z, i + 1, np.full((4, 6), z, np.int16), **tags) for i, z in enumerate(zs)]


def order(voxels: NDArray[np.int16]) -> list[int]:
    return [int(v) for v in voxels[:, 0, 0]]


# The phantom knows where the patient's right, front and head are; each position stores it as the scanner would.
CANONICAL = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
STEP = np.array([2.0, 0.5, 0.75])  # slice, row, column
POSITIONS = {"HFS": (1, 1), "HFP": (-1, -1), "FFS": (-1, 1), "FFP": (1, -1)}  # signs of the rising column and row


def placed(image: Callable, across: int, down: int, swap: bool, **tags: object) -> list[Dataset]:
    images = []
    for s, plane in enumerate(CANONICAL):
        stored = plane[::down, ::across]
        row, column = (0 if down > 0 else 3), (0 if across > 0 else 4)  # where its first pixel lies canonically
        origin = [column * STEP[2], row * STEP[1], -s * STEP[0]]
        orientation, spacing = [across, 0, 0, 0, down, 0], [STEP[1], STEP[2]]
        if swap:
            stored, orientation, spacing = stored.T, [0, down, 0, across, 0, 0], spacing[::-1]
        geometry = {"ImageOrientationPatient": orientation, "PixelSpacing": spacing, **tags}
        images.append(image(origin[2], s + 1, np.ascontiguousarray(stored), ImagePositionPatient=origin, **geometry))
    return images


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("swap", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_right_front_head_comes_first_whatever_the_position(
    tmp_path: Path, image: Callable, save: Callable, position: str, swap: bool, shuffled: bool
) -> None:
    images = placed(image, *POSITIONS[position], swap, PatientPosition=position)
    files = save(tmp_path, images[::-1] if shuffled else images)
    volume = read_volume(files, "s")
    assert np.array_equal(volume.voxels, CANONICAL)
    assert volume.voxels.flags.c_contiguous
    assert volume.spacing == (2.0, 0.5, 0.75)
    assert volume.facts["position"] == position


@pytest.mark.parametrize("position", POSITIONS)
def test_simpleitk_sees_the_same_patient(tmp_path: Path, image: Callable, save: Callable, position: str) -> None:
    files = save(tmp_path, placed(image, *POSITIONS[position], swap=False))
    assert np.array_equal(read_volume(files, "s").voxels, through_simpleitk(tmp_path))


def through_simpleitk(folder: Path) -> NDArray[np.int16]:
    """The outside reference: its series reader, turned to left-posterior-superior, slices from the head down."""
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    volume = SimpleITK.DICOMOrient(SimpleITK.ReadImage(names), "LPS")
    return SimpleITK.GetArrayFromImage(volume)[::-1]


@pytest.mark.parametrize("step", [1, -1])
def test_slices_are_ordered_by_position_not_by_name_or_number(
    tmp_path: Path, image: Callable, save: Callable, step: int
) -> None:
    files = save(tmp_path, levels(image, [10, 30, 0, 20, 40]))
    volume = read_volume(files[::step], "s")
    assert order(volume.voxels) == [40, 30, 20, 10, 0]
    assert volume.spacing == (10.0, 0.5, 0.75)
    assert volume.notes == ()


def test_without_positions_slice_location_orders(tmp_path: Path, image: Callable, save: Callable) -> None:
    files = save(tmp_path, levels(image, [10, 30, 20], ImagePositionPatient=None))
    volume = read_volume(files, "s")
    assert order(volume.voxels) == [30, 20, 10]
    assert volume.spacing == (10.0, 0.5, 0.75)
    assert "no usable ImagePositionPatient: ordered by SliceLocation" in volume.notes[0]


def test_positions_blanked_to_zero_count_as_absent(tmp_path: Path, image: Callable, save: Callable) -> None:
    files = save(tmp_path, levels(image, [10, 30, 20], ImagePositionPatient=[0, 0, 0]))
    assert order(read_volume(files, "s").voxels) == [30, 20, 10]


def test_without_either_the_number_orders(tmp_path: Path, image: Callable, save: Callable) -> None:
    files = save(tmp_path, levels(image, [10, 30, 20], ImagePositionPatient=None, SliceLocation=None))
    volume = read_volume(files[::-1], "s")
    assert order(volume.voxels) == [10, 30, 20]
    assert volume.spacing is None
    assert "ordered by InstanceNumber, 1 taken as the most superior" in volume.notes[0]


def test_orientation_from_patient_orientation(tmp_path: Path, image: Callable, save: Callable) -> None:
    tags = {"ImageOrientationPatient": None, "PatientOrientation": ["R", "A"]}
    pixels = np.arange(24, dtype=np.int16).reshape(4, 6)
    files = save(tmp_path, [image(float(z), z + 1, pixels, **tags) for z in range(2)])
    assert np.array_equal(read_volume(files, "s").voxels[0], pixels[::-1, ::-1])


def test_no_orientation_at_all_is_said(tmp_path: Path, image: Callable, save: Callable) -> None:
    files = save(tmp_path, levels(image, [0, 1], ImageOrientationPatient=None))
    assert any("no ImageOrientationPatient" in note for note in read_volume(files, "s").notes)


@pytest.mark.parametrize(("slices", "read"), [(12, True), (4, False)])
def test_second_images_at_a_place_are_left_out_up_to_a_tenth(
    tmp_path: Path, image: Callable, save: Callable, slices: int, read: bool
) -> None:
    images = levels(image, [10.0 * z for z in range(slices)])
    files = save(tmp_path, [*images, image(20.004, 99, np.full((4, 6), 99, np.int16))])
    if read:
        volume = read_volume(files, "s")
        assert len(volume.voxels) == slices
        assert "1 second image at the same position left out" in volume.notes
    else:
        with pytest.raises(BadScan, match=r"1 of 5 images would be left out \(at most 10% may be\): 1 second image"):
            read_volume(files, "s")


def test_a_second_image_of_the_same_pixels_is_a_copy(tmp_path: Path, image: Callable, save: Callable) -> None:
    again = image(20, 3, np.full((4, 6), 20, np.int16), SOPInstanceUID="1.2.99")
    volume = read_volume(save(tmp_path, [*levels(image, [0, 10, 20]), again]), "s")
    assert len(volume.voxels) == 3
    assert volume.notes == ("1 copy at the same position (same pixels, other ids) left out",)


def test_of_two_phases_the_fullest_is_kept(tmp_path: Path, image: Callable, save: Callable) -> None:
    early = levels(image, [0, 10, 20, 30], AcquisitionNumber=1)
    late = [
        image(z, 10 + i, np.full((4, 6), 100 + z, np.int16), AcquisitionNumber=2) for i, z in enumerate([0, 10, 20])
    ]
    volume = read_volume(save(tmp_path, [*late, *early]), "s")
    assert order(volume.voxels) == [30, 20, 10, 0]
    assert "2 acquisitions in one series: 4 images of acquisition 1 kept, 3 left out" in volume.notes


def test_two_acquisitions_one_after_the_other_belong_together(tmp_path: Path, image: Callable, save: Callable) -> None:
    upper, lower = levels(image, [30, 20], AcquisitionNumber=1), levels(image, [10, 0], AcquisitionNumber=2)
    assert order(read_volume(save(tmp_path, [*lower, *upper]), "s").voxels) == [30, 20, 10, 0]


def test_jumps_are_counted(tmp_path: Path, image: Callable, save: Callable) -> None:
    volume = read_volume(save(tmp_path, levels(image, [0, 5, 10, 15, 30, 35, 45])), "s")
    assert volume.spacing == (5.0, 0.5, 0.75)
    assert (volume.facts["gaps"], volume.facts["missing_slices"]) == (2, 3)
    assert "2 jumps between slices (up to 15.00 mm, usually 5.00 mm): about 3 slices are missing" in volume.notes


def test_uneven_spacing_is_said(tmp_path: Path, image: Callable, save: Callable) -> None:
    volume = read_volume(save(tmp_path, levels(image, [0, 5, 10, 14, 19])), "s")
    assert "slice spacing is uneven: 4.00 to 5.00 mm" in volume.notes
    assert volume.facts["gaps"] == 0


def test_a_tilted_gantry_is_said_not_resampled(tmp_path: Path, image: Callable, save: Callable) -> None:
    down = [0, float(np.cos(np.radians(20))), -float(np.sin(np.radians(20)))]
    images = levels(image, [0, 10, 20], ImageOrientationPatient=[1, 0, 0, *down], GantryDetectorTilt="-20")
    volume = read_volume(save(tmp_path, images), "s")
    assert volume.facts["tilt_deg"] == -20.0
    assert "slices are tilted by 20.0° (sheared, read as acquired without resampling)" in volume.notes
    assert volume.spacing is not None
    assert volume.spacing[0] == pytest.approx(10 * np.cos(np.radians(20)), abs=1e-5)


def test_a_localizer_inside_the_series_is_left_out(tmp_path: Path, image: Callable, save: Callable) -> None:
    scout = image(0, 9, np.zeros((8, 8), np.int16), ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    volume = read_volume(save(tmp_path, [scout, *levels(image, [0, 10, 20])]), "s")
    assert volume.voxels.shape == (3, 4, 6)
    assert "1 image of another size, orientation or pixel spacing left out (1 of 8 × 8)" in volume.notes


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [([1, 0, 0, 0, 0, -1], "coronal"), ([0, 1, 0, 0, 0, -1], "sagittal"), ([1, 0, 0, 0, 0.7, -0.72], "coronal")],
)
def test_other_planes_are_refused_by_name(
    tmp_path: Path, image: Callable, save: Callable, orientation: list[float], plane: str
) -> None:
    files = save(tmp_path, levels(image, [0, 1], ImageOrientationPatient=orientation))
    with pytest.raises(BadScan, match=f"home/s1: is not axial but {plane}"):
        read_volume(files, "home/s1")


def test_a_single_slice_is_no_volume(tmp_path: Path, image: Callable, save: Callable) -> None:
    with pytest.raises(BadScan, match="holds 1 slice, expected at least 2"):
        read_volume(save(tmp_path, levels(image, [0])), "s")


def test_slices_at_one_place_are_no_volume(tmp_path: Path, image: Callable, save: Callable) -> None:
    with pytest.raises(BadScan, match="holds 1 slice"):
        read_volume(save(tmp_path, [image(5.0, n) for n in range(4)]), "s")


def test_few_images_without_position_are_left_out(tmp_path: Path, image: Callable, save: Callable) -> None:
    images = levels(image, list(range(20)))
    del images[3].ImagePositionPatient
    volume = read_volume(save(tmp_path, images), "s")
    assert len(volume.voxels) == 19
    assert "1 image without position left out" in volume.notes


def test_unknown_pixel_spacing(tmp_path: Path, image: Callable, save: Callable) -> None:
    volume = read_volume(save(tmp_path, levels(image, [0, 1], PixelSpacing=None)), "s")
    assert volume.spacing is None
    assert "no PixelSpacing: spacing unknown" in volume.notes

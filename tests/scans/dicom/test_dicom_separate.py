"""Who belongs to one volume: patients, acquisitions, time points, copies, scouts, rounded and missing positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chests import chest_series, make_chest
from pydicom import Dataset

from elsewhere.errors import BadScan
from elsewhere.scans.dicom import choose, find_series, read_volume
from elsewhere.scans.sites import dicom


def renamed(images: list[Dataset], prefix: str, **tags: object) -> list[Dataset]:
    for i, dataset in enumerate(images):
        dataset.SOPInstanceUID = f"{prefix}.{i + 1}"
        for name, value in tags.items():
            setattr(dataset, name, value)
    return images


def patients(top: float, **second: object) -> tuple[list[Dataset], list[Dataset]]:
    """Two patients under one series UID, their ids blanked."""
    one = renamed(chest_series(seed=1), "1.1", PatientID="")
    return one, renamed(chest_series(seed=2, top=top), "1.2", PatientID="", **second)


@pytest.mark.parametrize("top", [-1.0, 0.0, 300.0], ids=["interleaved", "same places", "far apart"])
def test_two_patients_of_one_uid_in_two_folders_are_two_volumes(tmp_path: Path, save: Callable, top: float) -> None:
    for name, images in zip(("a", "b"), patients(top), strict=True):
        save(tmp_path / name, images)
    (tmp_path / "labels.csv").write_text("patient_id,path,label\na,a,1\nb,b,0\n")
    found = dicom.find(tmp_path, "home")
    assert [s.patient for s in found.scans] == ["a", "b"]
    for scan, seed in zip(found.scans, (1, 2), strict=True):
        assert np.array_equal(dicom.read(scan).voxels, make_chest(seed=seed))
    (tmp_path / "labels.csv").write_text("patient_id,series_uid,label\na,1.2.3,1\nb,9.9,0\n")
    with pytest.raises(Exception, match=r"2 series on disk are called 1.2.3 \(folder a, folder b\)"):
        dicom.find(tmp_path, "home")


@pytest.mark.parametrize("tag", [{"PatientAge": "044Y"}, {"PatientName": "B"}, {"StudyInstanceUID": "1.8"}], ids=str)
def test_patients_in_one_folder_are_told_by_any_tag(tmp_path: Path, save: Callable, tag: dict[str, str]) -> None:
    one, two = patients(-1.0, **tag)
    other = {"PatientAge": "061Y", "PatientName": "A", "StudyInstanceUID": "1.7"}[next(iter(tag))]
    files = save(tmp_path, [*renamed(one, "1.1", **{next(iter(tag)): other}), *two])
    found, _ = find_series(tmp_path)
    assert [(s.slices, s.refusal) for s in found] == [(12, ""), (12, "")]
    with pytest.raises(BadScan, match=f"mixes 2 patients, studies or scanners under one series .{next(iter(tag))}"):
        read_volume(files, "s")


def test_patients_that_nothing_tells_apart_are_refused(tmp_path: Path, save: Callable) -> None:
    one, two = patients(-1.0)
    files = save(tmp_path, [*one, *two])
    with pytest.raises(BadScan, match="mixes two volumes: its InstanceNumbers stand twice"):
        read_volume(files, "s")
    for i, dataset in enumerate(sorted([*one, *two], key=lambda d: -d.ImagePositionPatient[2])):
        dataset.InstanceNumber = i + 1
    shifted = make_chest(seed=2)[:, ::-1]
    for dataset, pixels in zip(two, shifted, strict=True):
        dataset.PixelData = np.roll(pixels.astype(int) + 1024, 8, axis=1).astype(np.uint16).tobytes()
    with pytest.raises(BadScan, match="alternates: each slice resembles the next but one"):
        read_volume(save(tmp_path, [*one, *two]), "s")


def test_a_series_spread_over_folders_stays_one(tmp_path: Path, save: Callable) -> None:
    images = chest_series(PatientID="")
    save(tmp_path / "DIR000", images[::2])
    save(tmp_path / "DIR001", images[1::2])
    (found,) = find_series(tmp_path)[0]
    assert (found.slices, found.notes) == (12, ())
    assert np.array_equal(read_volume(found.files, "s").voxels, make_chest())


RUNS = {
    "AcquisitionNumber": (1, 2, "acquisitions", "acquisition 1"),
    "TemporalPositionIdentifier": (1, 2, "time points", "time point 1"),
    "ConvolutionKernel": ("B70f", "B30f", "kernels", "kernel B30F"),
    "SliceThickness": (2, 5, "slice thicknesses", "thickness 2"),
    "AcquisitionTime": ("101010", "101512", "acquisitions", "acquisition time"),
    "ContrastBolusAgent": ("NONE", "IODINE", "contrast phases", "contrast NONE"),
}


@pytest.mark.parametrize("tag", RUNS)
@pytest.mark.parametrize("top", [-1.0, 0.0], ids=["half a step apart", "same places"])
def test_two_runs_in_one_series_are_not_mixed(tmp_path: Path, save: Callable, tag: str, top: float) -> None:
    first, second, plural, kept = RUNS[tag]
    images = renamed(chest_series(seed=1), "1.1", **{tag: first})
    images += renamed(chest_series(seed=2, top=top), "1.2", **{tag: second})
    volume = read_volume(save(tmp_path, images), "s")
    assert f"2 {plural} in one series: 12 images of {kept} kept, 12 left out" in volume.notes
    assert np.array_equal(volume.voxels, make_chest(seed=2 if tag == "ConvolutionKernel" else 1))
    assert volume.spacing is not None
    assert volume.spacing[0] == 2.0


def test_runs_one_behind_the_other_are_one_volume(tmp_path: Path, save: Callable) -> None:
    images = chest_series()
    for i, dataset in enumerate(images):
        dataset.AcquisitionNumber, dataset.ConvolutionKernel = 1 + i // 6, "B30f"
        dataset.AcquisitionTime = f"1010{10 + 20 * (i // 6) + i}"
    volume = read_volume(save(tmp_path, images), "s")
    assert volume.notes == ()
    assert np.array_equal(volume.voxels, make_chest())


def test_a_small_overlap_of_two_acquisitions_is_not_mixed(tmp_path: Path, save: Callable) -> None:
    upper = renamed(chest_series(12, seed=1), "1.1", AcquisitionNumber=1)
    lower = renamed(chest_series(8, seed=2, top=-21.0), "1.2", AcquisitionNumber=2)
    volume = read_volume(save(tmp_path, [*upper, *lower]), "s")
    assert "1 image in the overlap of two acquisitions left out" in volume.notes
    assert len(volume.voxels) == 19


def test_bolus_tracking_at_one_place_is_left_out(tmp_path: Path, save: Callable) -> None:
    tracking = [d for k in range(20) for d in chest_series(1, seed=k, top=-8.0)]
    renamed(tracking, "1.7", AcquisitionNumber=1)
    images = renamed(chest_series(12), "1.1", AcquisitionNumber=2)
    volume = read_volume(save(tmp_path, [*tracking, *images]), "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert any("2 acquisitions in one series: 12 images of acquisition 2 kept" in note for note in volume.notes)


# Copies -------------------------------------------------------------------------------------------------------------


def test_equal_ids_are_no_copies_when_anything_else_differs(tmp_path: Path, save: Callable) -> None:
    images = chest_series()
    for dataset in images:
        dataset.SOPInstanceUID = "1.2.3.1"
    volume = read_volume(save(tmp_path, images), "s")
    assert (len(volume.voxels), volume.notes) == (12, ())


def test_equal_headers_with_other_pixels_are_refused(tmp_path: Path, save: Callable) -> None:
    save(tmp_path / "a", chest_series(seed=1))
    save(tmp_path / "b", chest_series(seed=2))
    (found,) = find_series(tmp_path)[0]
    assert "12 of 24 images would be left out" in found.refusal


def test_a_copy_in_another_folder_is_named_as_the_same_scan(tmp_path: Path, save: Callable) -> None:
    save(tmp_path / "a", chest_series())
    save(tmp_path / "b", chest_series())
    (tmp_path / "labels.csv").write_text("patient_id,path,label\np,a,1\nq,b,0\n")
    found = dicom.find(tmp_path, "home")
    assert [s.patient for s in found.scans] == ["p"]
    assert "gives it the same images as 'a'" in found.bad[0].what
    assert "a: 12 files left out: copies of others (same image)" in found.notes


# Scouts, other sizes ------------------------------------------------------------------------------------------------

SCOUT = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "PixelSpacing": [0.6, 0.6]}


@pytest.mark.parametrize("name", ["IM0000.dcm", "IM9999.dcm"])
@pytest.mark.parametrize("count", [1, 2])
def test_scouts_of_the_same_matrix_sort_where_they_like(tmp_path: Path, save: Callable, name: str, count: int) -> None:
    save(tmp_path, chest_series())
    for i, path in enumerate(save(tmp_path / "x", renamed(chest_series(count, seed=9, top=400), "1.9", **SCOUT))):
        path.rename(tmp_path / f"{i}{name}" if name < "IM1" else tmp_path / f"{name}{i}")
    (found,) = find_series(tmp_path)[0]
    assert found.refusal == ""
    assert np.array_equal(read_volume(found.files, "s").voxels, make_chest())
    assert any("of another size, orientation or pixel spacing left out" in note for note in found.notes)


@pytest.mark.parametrize(("others", "read"), [(range(3, 4), True), (range(3, 8), False)])
def test_slices_of_another_spacing_count_as_lost(tmp_path: Path, save: Callable, others: range, read: bool) -> None:
    images = chest_series(20)
    for i in others:
        images[i].PixelSpacing = [0.9, 0.9]
    files = save(tmp_path, images)
    if read:
        assert len(read_volume(files, "s").voxels) == 19
    else:
        with pytest.raises(BadScan, match=r"5 of 20 images would be left out .* 5 images of another size"):
            read_volume(files, "s")


def test_two_complete_fields_of_view_give_one(tmp_path: Path, save: Callable) -> None:
    small = renamed(chest_series(12, seed=2), "1.2", PixelSpacing=[0.3, 0.3])
    volume = read_volume(save(tmp_path, [*chest_series(12), *small]), "s")
    assert np.array_equal(volume.voxels, make_chest())


# Places -------------------------------------------------------------------------------------------------------------


def test_rounded_positions_lose_no_slice(tmp_path: Path, save: Callable) -> None:
    images = chest_series(20, step=0.7)
    for dataset in images:
        dataset.ImagePositionPatient = [0, 0, round(dataset.ImagePositionPatient[2])]
        dataset.SliceLocation = dataset.ImagePositionPatient[2]
    volume = read_volume(save(tmp_path, images), "s")
    assert np.array_equal(volume.voxels, make_chest(20))
    assert any(note.startswith("positions are rounded to 1 mm: ordered by InstanceNumber") for note in volume.notes)
    assert volume.spacing is not None
    assert volume.spacing[0] == pytest.approx(13 / 19, abs=1e-6)


@pytest.mark.parametrize(("missing", "read"), [(1, True), (3, False)])
def test_missing_positions_up_to_a_tenth(tmp_path: Path, save: Callable, missing: int, read: bool) -> None:
    images = chest_series(20)
    for dataset in images[:missing]:
        del dataset.ImagePositionPatient
    volume = read_volume(save(tmp_path, images), "s")
    assert len(volume.voxels) == 20 - (missing if read else 0)
    assert any(("without position left out" if read else "ordered by SliceLocation") in n for n in volume.notes)


def names(folder: Path, save: Callable, form: str) -> list[Path]:
    images = chest_series(ImagePositionPatient=None, SliceLocation=None, InstanceNumber=1)
    files = save(folder, renamed(images, "1.1"))
    return [path.rename(folder / form.format(i + 1, hash(str(i)) % 99999)) for i, path in enumerate(files)]


def test_without_numbers_the_names_count(tmp_path: Path, save: Callable) -> None:
    volume = read_volume(sorted(names(tmp_path, save, "IM{0}.dcm")), "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert any("ordered by the numbers in the files' names" in note for note in volume.notes)
    assert not any("ordered by InstanceNumber" in note for note in volume.notes)


def test_names_that_do_not_count_are_refused(tmp_path: Path, save: Callable) -> None:
    files = names(tmp_path, save, "IM{0}.dcm")
    files[4] = files[4].rename(tmp_path / "slice-five.dcm")
    with pytest.raises(BadScan, match="its files' names do not count"):
        read_volume(files, "s")


# The choice of a study's series -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chest", "belly"),
    [
        ({"BodyPartExamined": "CHEST"}, {"BodyPartExamined": "ABDOMEN"}),
        ({"SeriesDescription": "Thorax nativ 1.0"}, {"SeriesDescription": "Abdomen 5.0"}),
        ({"SeriesDescription": ""}, {"SeriesDescription": "Kopf"}),
        ({"BodyPartExamined": "LUNG"}, {"BodyPartExamined": ""}),
    ],
)
def test_the_chest_of_a_study_is_taken(
    tmp_path: Path, save: Callable, chest: dict[str, str], belly: dict[str, str]
) -> None:
    save(tmp_path / "b", chest_series(40, seed=2, SeriesInstanceUID="1.2.9", **belly))
    save(tmp_path / "a", chest_series(30, SeriesInstanceUID="1.2.8", **chest))
    best, notes = choose(find_series(tmp_path)[0], "study")
    assert best.uid == "1.2.8"
    assert next(iter(belly.values())) in notes[0]


def test_a_belly_alone_is_taken_and_said(tmp_path: Path, save: Callable) -> None:
    save(tmp_path, chest_series(BodyPartExamined="ABDOMEN"))
    best, notes = choose(find_series(tmp_path)[0], "study")
    assert best.slices == 12
    assert notes[0].startswith("study: its series name another region than the chest")

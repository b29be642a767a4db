"""Two volumes that only one odd thing tells apart, and one volume that only looks like two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chests import chest_series, enhanced, make_chest
from pydicom import Dataset, Sequence
from pydicom.uid import generate_uid

from elsewhere.errors import BadScan
from elsewhere.scans.dicom import choose, find_series, read_volume
from elsewhere.scans.dicom.preference import region
from elsewhere.scans.dicom.series import Series


def renamed(images: list[Dataset], prefix: str, first: int = 1, **tags: object) -> list[Dataset]:
    """Images with ids and numbers of their own."""
    for i, dataset in enumerate(images):
        dataset.SOPInstanceUID, dataset.InstanceNumber = f"{prefix}.{i + 1}", first + i
        for name, value in tags.items():
            setattr(dataset, name, value)
    return images


def two(top: float = -1.0, first: int = 1, **second: object) -> list[Dataset]:
    """Two volumes under one series, without patient ids; the second one's tags as told."""
    one = renamed(chest_series(seed=1, PatientID="", SliceThickness=2), "1.1")
    return [*one, *renamed(chest_series(seed=2, top=top, PatientID="", SliceThickness=2), "1.2", first, **second)]


def slices(folder: Path) -> list[tuple[int, str]]:
    return [(s.slices, s.refusal) for s in find_series(folder)[0]]


# Patients -----------------------------------------------------------------------------------------------------------

LEFT_BY_ANONYMISERS = {
    "StudyTime": ("101500", "113000"),
    "StudyID": ("17", "18"),
    "AccessionNumber": ("A1", "A2"),
    "PatientWeight": ("71", "93.5"),
    "PatientSize": ("1.6", "1.8"),
    "InstitutionName": ("North", "South"),
    "DeviceSerialNumber": ("4711", "4712"),
}


@pytest.mark.parametrize("tag", LEFT_BY_ANONYMISERS)
def test_what_an_anonymiser_left_parts_patients_at_the_same_places_only(
    tmp_path: Path, save: Callable, tag: str
) -> None:
    own, others = LEFT_BY_ANONYMISERS[tag]
    images = two(**{tag: others})
    for dataset in images[:12]:
        setattr(dataset, tag, own)
    files = save(tmp_path / "mixed", images)
    assert slices(tmp_path / "mixed") == [(12, ""), (12, "")]
    with pytest.raises(BadScan, match=f"mixes 2 patients, studies or scanners under one series .{tag}"):
        read_volume(files, "s")
    images = chest_series()
    for i, dataset in enumerate(images):  # an archive that corrected half of the images
        setattr(dataset, tag, own if i < 6 else others)
    volume = read_volume(save(tmp_path / "one", images), "s")
    assert (len(volume.voxels), volume.notes) == (12, ())


@pytest.mark.parametrize("ids", [("P1", "p1"), ("P1", ""), ("P1", "P1 ")], ids=str)
def test_one_patient_spelt_otherwise_in_some_slices(tmp_path: Path, save: Callable, ids: tuple[str, str]) -> None:
    images = chest_series()
    for i, dataset in enumerate(images):
        dataset.PatientID = ids[i % 2]
    save(tmp_path, images)
    (found,) = find_series(tmp_path)[0]
    assert (found.slices, found.refusal, found.notes) == (12, "", ())
    assert np.array_equal(read_volume(found.files, "s").voxels, make_chest())


@pytest.mark.parametrize("tag", ["PatientID", "PatientName", "PatientBirthDate"])
@pytest.mark.parametrize("one", [True, False], ids=["a volume", "places at random"])
def test_a_value_of_its_own_in_every_file(tmp_path: Path, save: Callable, tag: str, one: bool) -> None:
    """An anonymiser that draws one for each file; or a slice each of twelve patients."""
    images = chest_series(PatientID="")
    heights = [-2.0 * z for z in range(12)] if one else np.random.default_rng(0).uniform(-200, 0, 12).round(1)
    for i, (dataset, z) in enumerate(zip(images, heights, strict=True)):
        dataset.ImagePositionPatient, dataset.SliceLocation = [0, 0, float(z)], float(z)
        setattr(dataset, tag, f"19{i + 50}0101" if "Date" in tag else f"x{i}")
    save(tmp_path, images)
    expected = [(12, "")] if one else [(1, "holds 1 slice, expected at least 2")] * 12
    assert slices(tmp_path) == expected


@pytest.mark.parametrize("together", [True, False])
def test_three_patients_that_nothing_tells_apart(tmp_path: Path, save: Callable, together: bool) -> None:
    images = []
    for seed in range(3):
        part = renamed(chest_series(seed=seed, top=-0.5 * seed, PatientID=""), f"1.{seed}")
        for dataset, pixels in zip(part, make_chest(seed=seed), strict=True):
            turned = np.roll(pixels.astype(int) + 1024, 7 * seed, axis=seed % 2)
            dataset.PixelData = turned.astype(np.uint16).tobytes()
        images += part
    if together:
        for i, dataset in enumerate(sorted(images, key=lambda d: -d.ImagePositionPatient[2])):
            dataset.InstanceNumber = i + 1
    said = "so 3 volumes are mixed" if together else "mixes two volumes: its InstanceNumbers stand twice"
    with pytest.raises(BadScan, match=said):
        read_volume(save(tmp_path, images), "s")


@pytest.mark.parametrize(("hole", "count"), [(2.0, 1), (14.0, 1), (60.0, 2)])
def test_folders_far_apart_are_two_volumes(tmp_path: Path, save: Callable, hole: float, count: int) -> None:
    """Numbers that go on from folder to folder: one volume cut in two, or two patients of one UID."""
    save(tmp_path / "a", renamed(chest_series(PatientID=""), "1.1"))
    save(tmp_path / "b", renamed(chest_series(top=-22.0 - hole, PatientID=""), "1.2", 13))
    assert len(find_series(tmp_path)[0]) == count


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_from_zero_are_numbers(tmp_path: Path, save: Callable, first: int) -> None:
    images = renamed(chest_series(PatientID=""), "1.1", first)
    save(tmp_path / "DIR0", images[::2])
    save(tmp_path / "DIR1", images[1::2])
    assert slices(tmp_path) == [(12, "")]


# Passes and time points ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", [-1.0, 0.0], ids=["half a step apart", "same places"])
@pytest.mark.parametrize("back", [False, True], ids=["down and down", "down and up"])
def test_passes_that_only_the_numbers_tell(tmp_path: Path, save: Callable, top: float, back: bool) -> None:
    images = two(top, 13)
    if back:
        for i, dataset in enumerate(images[12:]):
            dataset.InstanceNumber = 24 - i
    volume = read_volume(save(tmp_path, images), "s")
    assert np.array_equal(volume.voxels, make_chest(seed=1))
    assert any(note.startswith("2 passes in one series: 12 images of pass") for note in volume.notes)


def test_thin_slices_of_two_rounds_are_one_volume(tmp_path: Path, save: Callable) -> None:
    """Every other place first, and the places between in a second round: only together do they cover the patient."""
    images = chest_series(24, step=1.0, SliceThickness=1)
    for number, dataset in enumerate([*images[::2], *images[1::2]], start=1):
        dataset.InstanceNumber = number
    volume = read_volume(save(tmp_path, images), "s")
    assert np.array_equal(volume.voxels, make_chest(24))
    assert volume.notes == ()


@pytest.mark.parametrize("seed", range(4))
def test_numbers_without_order_change_nothing(tmp_path: Path, save: Callable, seed: int) -> None:
    images = chest_series(24)
    for dataset, number in zip(images, np.random.default_rng(seed).permutation(24), strict=True):
        dataset.InstanceNumber = int(number) + 1
    volume = read_volume(save(tmp_path, images), "s")
    assert np.array_equal(volume.voxels, make_chest(24))
    assert volume.notes == ()


def test_two_numbers_exchanged_lose_no_slice(tmp_path: Path, save: Callable) -> None:
    images = chest_series(24)
    images[9].InstanceNumber, images[10].InstanceNumber = 11, 10
    assert len(read_volume(save(tmp_path, images), "s").voxels) == 24


MOMENTS = {
    "AcquisitionDateTime": ("20200101101010.5", "20200101104010.5"),
    "AcquisitionDate": ("20200101", "20200102"),
    "ContentTime": ("101010", "104010"),
    "PatientPosition": ("HFS", "HFP"),
    "FilterType": ("WEDGE_1", "WEDGE_2"),
    "FrameOfReferenceUID": ("1.5.1", "1.5.2"),
    "SeriesTime": ("101010", "104010"),
}


@pytest.mark.parametrize("tag", MOMENTS)
def test_phases_that_one_tag_tells(tmp_path: Path, save: Callable, tag: str) -> None:
    first, second = MOMENTS[tag]
    images = two(**{tag: second})
    for dataset in images[:12]:
        setattr(dataset, tag, first)
    volume = read_volume(save(tmp_path, images), "s")
    assert np.array_equal(volume.voxels, make_chest(seed=1))
    assert any("in one series: 12 images of" in note and note.endswith("kept, 12 left out") for note in volume.notes)


@pytest.mark.parametrize("z", [-9.0, -8.0, -7.4])
def test_one_slice_of_another_acquisition_is_not_put_between(tmp_path: Path, save: Callable, z: float) -> None:
    images = renamed(chest_series(), "1.1", AcquisitionNumber=2)
    images += renamed(chest_series(1, seed=5, top=z), "1.2", 99, AcquisitionNumber=1, SliceThickness=10)
    volume = read_volume(save(tmp_path, images), "s")
    assert np.array_equal(volume.voxels, make_chest())
    assert "2 acquisitions in one series: 12 images of acquisition 2 kept, 1 left out" in volume.notes


def test_an_acquisition_of_one_slice_that_fills_a_place_belongs_to_the_volume(tmp_path: Path, save: Callable) -> None:
    images = renamed(chest_series(), "1.1", AcquisitionNumber=2)
    images[5].AcquisitionNumber = 1
    volume = read_volume(save(tmp_path, images), "s")
    assert (len(volume.voxels), volume.notes) == (12, ())


@pytest.mark.parametrize("lossy_first", [True, False])
def test_of_a_lossy_twin_the_original_is_taken(tmp_path: Path, save: Callable, lossy_first: bool) -> None:
    original = renamed(chest_series(), "1.1", LossyImageCompression="00")
    twin = renamed(chest_series(seed=7), "1.2", LossyImageCompression="01")
    volume = read_volume(save(tmp_path, [*twin, *original] if lossy_first else [*original, *twin]), "s")
    assert np.array_equal(volume.voxels, make_chest())


def test_time_points_of_coarse_places_are_no_rounding(tmp_path: Path, save: Callable) -> None:
    """Perfusion: eight times at three places, 10 mm apart."""
    images = [d for place in range(3) for d in chest_series(8, seed=place, SliceThickness=1)]
    for i, dataset in enumerate(renamed(images, "1.1")):
        dataset.ImagePositionPatient = [0, 0, -10.0 * (i // 8)]
        dataset.SliceLocation = -10.0 * (i // 8)
    with pytest.raises(BadScan, match="21 of 24 images would be left out"):
        read_volume(save(tmp_path, images), "s")


# UIDs and names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", ["1.2.1", ""])
def test_a_series_uid_of_its_own_in_every_file(tmp_path: Path, save: Callable, study: str) -> None:
    images = chest_series(StudyInstanceUID=study, SeriesNumber=4)
    for dataset in images:
        dataset.SeriesInstanceUID = generate_uid()
    save(tmp_path / "p", images)
    found = find_series(tmp_path)[0]
    if study:
        assert [(s.slices, s.refusal) for s in found] == [(12, "")]
        assert np.array_equal(read_volume(found[0].files, "s").voxels, make_chest())
    else:
        assert {(s.slices, s.refusal) for s in found} == {(1, "holds 1 slice, expected at least 2")}


def test_two_invalid_uids_in_one_folder_are_two_series(tmp_path: Path, save: Callable) -> None:
    images = two()
    for i, dataset in enumerate(images):
        dataset.add_new("SeriesInstanceUID", "LO", f"1.2.03.{1 + i // 12}")
    save(tmp_path, images)
    assert slices(tmp_path) == [(12, ""), (12, "")]


NAMES = {
    "hashes": lambda i: f"{(i**3 * 7919 + 13) % 100003}.dcm",
    "two numbers": lambda i: f"{i}-{i * i}.dcm",
    "every other missing": lambda i: f"IM{i + 20 * (i > 6)}.dcm",
    "counted": lambda i: f"1.2.840.113619.2.{i}.dcm",
    "by tens": lambda i: f"{10 * i:04d}.dcm",
}


@pytest.mark.parametrize("form", NAMES)
def test_names_order_slices_only_where_they_count(tmp_path: Path, save: Callable, form: str) -> None:
    images = renamed(chest_series(ImagePositionPatient=None, SliceLocation=None), "1.1")
    for dataset in images:
        dataset.InstanceNumber = 1
    files = save(tmp_path / "x", images)
    files = [path.rename(tmp_path / NAMES[form](i + 1)) for i, path in enumerate(files)]
    if form in ("counted", "by tens"):
        assert np.array_equal(read_volume(sorted(files), "s").voxels, make_chest())
    else:
        with pytest.raises(BadScan, match="its files' names do not count"):
            read_volume(sorted(files), "s")


def test_stacks_of_one_enhanced_file_are_not_mixed(tmp_path: Path, save: Callable) -> None:
    dataset = enhanced(shared="HU")
    for i, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        content = Dataset()
        content.StackID = str(1 + i // 6)
        frame.FrameContentSequence = Sequence([content])
        frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, -2.0 * (i % 6)]
    volume = read_volume(save(tmp_path, [dataset]), "s")
    assert np.array_equal(volume.voxels, make_chest()[:6])
    assert "2 stacks in one series: 6 images of stack 1 kept, 6 left out" in volume.notes


# Regions ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TÓRAX SIN CONTRASTE", 0),
        ("Torace senza mdc", 0),
        ("Poumon 1.0", 0),
        ("Toraks BT", 0),
        ("ОГК нативно", 0),
        ("Thorax-Abdomen", 0),
        ("Schädel nativ", 2),
        ("Bauch portalvenös", 2),
        ("BASSIN", 2),
        ("Таз", 2),
        ("頭部", 2),
        ("Routine 1.0", 1),
    ],
)
def test_regions_in_the_words_of_hospitals(text: str, expected: int) -> None:
    assert region({"description": text}) == expected


@pytest.mark.parametrize(
    ("charset", "encoding", "text"),
    [
        ("ISO_IR 144", "iso8859_5", "Грудь"),
        ("GB18030", "gb18030", "胸部平扫"),
        ("ISO_IR 192", "utf-8", "Tórax"),
        ("ISO_IR 100", "latin-1", "Tórax"),
        ("", "utf-8", "Müller"),
        ("", "latin-1", "Müller"),
        ("ISO_IR 6", "latin-1", "Müller"),
        ("ISO_IR 999", "latin-1", "Müller"),
    ],
)
def test_texts_in_the_character_set_that_the_file_names(
    tmp_path: Path, save: Callable, charset: str, encoding: str, text: str
) -> None:
    raw = text.encode(encoding)
    raw += b" " * (len(raw) % 2)
    images = chest_series(SeriesDescription="#" * len(raw))
    for dataset in images:
        dataset.SpecificCharacterSet = "ISO_IR 100"
    for path in save(tmp_path, images):
        content = path.read_bytes().replace(b"#" * len(raw), raw)
        path.write_bytes(content.replace(b"ISO_IR 100", charset.encode().ljust(10)))
    assert find_series(tmp_path)[0][0].facts["description"] == text


def test_the_refusal_of_the_largest_series_says_what_to_do() -> None:
    def refused(number: int, count: int, what: str, then: str) -> Series:
        return Series(str(number), "1", "p", (), what, False, count, None, number, {}, next_step=then)

    many = refused(2, 300, "alternates", "Put each volume into a folder of its own")
    few = refused(1, 1, "is a localizer", "Give the axial series")
    with pytest.raises(BadScan, match=r"series 1 is a localizer; series 2 alternates.*Put each volume into a folder"):
        choose([few, many], "study")

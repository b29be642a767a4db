"""COVID-CTset: the published tree, its copies, its tables and the variants that must be refused."""

from __future__ import annotations

import csv
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.scan import SUBSETS, Found, Scan, split
from elsewhere.scans.sites import covid_ctset
from elsewhere.scans.slices import encode_slice
from elsewhere.scans.volume import Volume

SIZE = (5, 7)
DETAILS = (
    "Patient ID,SEX,AGE,Date,COVID-19 Infection,SR_2 Folder thickness(mm),SR_3 Folder thickness(mm),"
    "SR_4 Folder thickness(mm)"
)


def place(root: Path, name: str, numbers: Iterable[int]) -> Path:
    """A series whose slice n holds the value n everywhere."""
    folder = root / name
    folder.mkdir(parents=True)
    for number in numbers:
        encode_slice(folder / f"IM{number:05d}.tif", np.full(SIZE, number, dtype=np.uint16))
    return folder


def only(root: Path) -> Scan:
    found = covid_ctset.find(root, "Iran")
    assert found.bad == ()
    (scan,) = found.scans
    return scan


@settings(max_examples=25, deadline=None)
@given(
    voxels=arrays(np.int16, array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.integers(0, 4095)),
    folder=st.sampled_from(["covid1", "covid2", "normal1", "normal10"]),
    series=st.sampled_from(["SR_2", "SR_3", "SR_4"]),
    number=st.integers(1, 434),
)
def test_read_of_write_is_the_volume(
    tmp_path_factory: pytest.TempPathFactory, voxels: np.ndarray, folder: str, series: str, number: int
) -> None:
    root = tmp_path_factory.mktemp("site")
    label = int(folder.startswith("covid"))
    facts = {"folder": folder, "age": 53, "sex": "F", "date": "2020-04-07", "kernel": "B70s", "thickness_mm": 1.5}
    written = Scan("Iran", f"patient{number}", f"patient{number}/{series}", label, facts=facts)
    covid_ctset.write(root, written, Volume(voxels, "ct_number", offset=1024))
    covid_ctset.write_tables(root, [written])
    found = covid_ctset.find(root, "Iran")
    (scan,) = found.scans
    assert (found.bad, found.notes) == ((), ())
    assert (scan.patient, scan.scan, scan.label) == (written.patient, written.scan, label)
    assert scan.stratum == ("positive" if label else "negative")
    assert {key: scan.facts[key] for key in facts} == facts
    volume = covid_ctset.read(scan)
    assert volume.voxels.dtype == np.int16
    assert np.array_equal(volume.voxels, voxels)
    assert (volume.units, volume.spacing, volume.offset) == ("ct_number", None, 1024)


def test_hu_are_written_with_the_offset(tmp_path: Path) -> None:
    hu = np.array([[[-1024, -1000, 3071]]], dtype=np.int16)
    scan = Scan("Iran", "patient7", "patient7/SR_2", 0)
    covid_ctset.write(tmp_path, scan, Volume(hu, "HU", offset=0))
    assert covid_ctset.read(only(tmp_path)).voxels.tolist() == [[[0, 24, 4095]]]
    with pytest.raises(BadScan, match=r"CT numbers down to -976, the format starts at 0. Clip at −1024 HU"):
        covid_ctset.write(tmp_path, scan, Volume(np.full((1, 2, 2), -2000, dtype=np.int16), "HU", offset=0))


def test_write_refuses_relative_values_and_foreign_ids(tmp_path: Path) -> None:
    relative = Volume(np.zeros((1, 2, 2), dtype=np.uint8), "relative")
    with pytest.raises(BadScan, match="has relative values, expected HU or CT numbers"):
        covid_ctset.write(tmp_path, Scan("Iran", "patient7", "patient7/SR_2", 0), relative)
    with pytest.raises(BadScan, match=r"p7: is no id of this layout\. Name scans like patient7/SR_2"):
        covid_ctset.write(tmp_path, Scan("Iran", "p7", "p7", 0), relative)


def test_marker_at_right_anterior_superior_is_at_the_origin(tmp_path: Path) -> None:
    folder = place(tmp_path, "covid1/patient1/SR_2", range(2, 12))
    first = np.zeros(SIZE, dtype=np.uint16)
    first[0, 0] = 4095
    encode_slice(folder / "IM00001.tif", first)
    voxels = covid_ctset.read(only(tmp_path)).voxels
    assert np.unravel_index(voxels.argmax(), voxels.shape) == (0, 0, 0)


def test_slices_sort_by_number_with_gaps_at_any_depth(tmp_path: Path) -> None:
    folder = place(tmp_path, "a/COVID-CTset/normal10/patient9/SR_4", [11, 9])
    (folder / "IM100.TIF").write_bytes((folder / "IM00011.tif").read_bytes())
    scan = only(tmp_path)
    assert [path.name for path in scan.files] == ["IM00009.tif", "IM00011.tif", "IM100.TIF"]
    assert (scan.facts["slices_missing"], scan.label, scan.facts["folder"]) == (89, 0, "normal10")


def test_float_and_8_bit_variants_are_refused(tmp_path: Path) -> None:
    folder = place(tmp_path, "covid1/patient1/SR_2", [])
    tifffile.imwrite(folder / "IM00001.tif", np.linspace(0, 1, 35, dtype=np.float32).reshape(SIZE))
    with pytest.raises(BadScan, match=r"SR_2: holds float32 values 0 to 1: the max-normalised variant, whose HU"):
        covid_ctset.read(only(tmp_path))
    encode_slice(folder / "IM00001.tif", np.zeros(SIZE, dtype=np.uint8))
    with pytest.raises(BadScan, match="holds uint8 values, expected uint16"):
        covid_ctset.read(only(tmp_path))
    encode_slice(folder / "IM00001.tif", np.full(SIZE, 60000, dtype=np.uint16))
    with pytest.raises(BadScan, match="holds values up to 60000, expected 0 to 4095"):
        covid_ctset.read(only(tmp_path))


def test_mixed_sizes_and_damage_are_refused(tmp_path: Path) -> None:
    folder = place(tmp_path, "covid1/patient1/SR_2", range(3))
    encode_slice(folder / "IM00001.tif", np.zeros((9, 9), dtype=np.uint16))
    with pytest.raises(BadScan, match="slices differ in size"):
        covid_ctset.read(only(tmp_path))
    (folder / "IM00001.tif").write_bytes((folder / "IM00001.tif").read_bytes()[:-20])
    with pytest.raises(BadScan, match=r"1 of 3 slices cannot be used .* is cut short"):
        covid_ctset.read(only(tmp_path))


def test_the_archive_of_single_slices_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "Training&Validation" / "covid1"
    folder.mkdir(parents=True)
    encode_slice(folder / "137covid_patient1_SR_2_IM00010.tif", np.zeros(SIZE, dtype=np.uint16))
    with pytest.raises(BadSite, match=r"holds 1 single slices like 137covid_patient1_SR_2_IM00010\.tif.*not volumes"):
        covid_ctset.find(tmp_path, "Iran")
    place(tmp_path, "covid1/patient1/SR_2", range(2))
    notes = covid_ctset.find(tmp_path, "Iran").notes
    assert any("1 single slices (Training&Validation) are not read" in note for note in notes)


def test_empty_packed_and_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match="holds no folder like covid1/patient1/SR_2"):
        covid_ctset.find(tmp_path, "Iran")
    (tmp_path / "COVID-CTset.zip").touch()
    with pytest.raises(BadSite, match=r"1 zip files that are not unpacked \(COVID-CTset\.zip\)"):
        covid_ctset.find(tmp_path, "Iran")
    with pytest.raises(BadSite, match=r"copies is 'both'\. Set it to merge or keep"):
        covid_ctset.find(tmp_path, "Iran", copies="both")  # type: ignore[arg-type]


def test_one_bad_series_never_stops_the_site(tmp_path: Path) -> None:
    place(tmp_path, "covid1/patient1/SR_2", range(2))
    place(tmp_path, "other/patient2/SR_2", range(2))
    png = place(tmp_path, "normal1/patient3/SR_2", [])
    Image.fromarray(np.zeros(SIZE, dtype=np.uint8)).save(png / "IM00001.png")
    place(tmp_path, "covid1/patient4/SR_2", range(2))
    place(tmp_path, "normal1/patient4/SR_2", range(2))
    place(tmp_path, "normal1/patient5/SR_2", range(2))
    (tmp_path / covid_ctset.DETAILS_TABLE).write_text(f"{DETAILS}\npatient5,F,053Y,20200407,Positive,4,6,1.5\n")
    found = covid_ctset.find(tmp_path, "Iran")
    assert [scan.scan for scan in found.scans] == ["patient1/SR_2"]
    reasons = "\n".join(map(str, found.bad))
    assert "lies under 'other', which names neither covid nor normal" in reasons
    assert "holds 1 images that are not like IM00012.tif, first IM00001.png" in reasons
    assert reasons.count("stands under a covid and a normal folder") == 2
    assert "lies under normal1, but Patient_details.csv says 'Positive' for patient5" in reasons


def test_copies_merge_or_keep(tmp_path: Path) -> None:
    place(tmp_path, "normal1/patient5/SR_2", range(3))
    place(tmp_path, "normal4/patient5/SR_2", range(3))
    place(tmp_path, "normal1/patient5/SR_3", range(3))
    place(tmp_path, "normal4/patient5/SR_3", range(4))
    place(tmp_path, "normal10/patient6/SR_2", range(3))
    merged = covid_ctset.find(tmp_path, "Iran")
    assert {s.scan: s.patient for s in merged.scans} == {
        "patient5/SR_2": "patient5",
        "patient5/SR_3": "patient5",
        "normal4/patient5/SR_3": "patient5",
        "patient6/SR_2": "patient6",
    }
    assert "1 patients stand under two folders: 1 series with the same slices are listed once" in merged.notes
    kept = covid_ctset.find(tmp_path, "Iran", copies="keep")
    assert len(kept.scans) == 5
    assert {s.patient for s in kept.scans} == {"normal1/patient5", "normal4/patient5", "normal10/patient6"}
    assert "1 patients stand under two folders and are counted twice (copies = keep)" in kept.notes


@pytest.mark.parametrize("copies", ["merge", "keep"])
def test_the_same_folder_in_two_places_is_told(tmp_path: Path, copies: str) -> None:
    for place_, slices in (("a", 3), ("b", 4), ("c", 5)):
        place(tmp_path, f"{place_}/normal1/patient5/SR_2", range(slices))
    found = covid_ctset.find(tmp_path, "Iran", copies=copies)  # type: ignore[arg-type]
    assert len({scan.scan for scan in found.scans}) == len(found.scans)
    assert len(found.scans) + len(found.bad) == 3
    assert "stands twice under a folder normal1, here and at" in str(found.bad[0])


def test_missing_facts_are_none_and_missing_tables_told(tmp_path: Path) -> None:
    place(tmp_path, "covid1/patient1/SR_2", range(2))
    scan = only(tmp_path)
    assert scan.facts["age"] is None
    assert covid_ctset.find(tmp_path, "Iran").notes[0] == "Patient_details.csv is not there: its facts are unknown"
    elsewhere = tmp_path / "tables" / "details.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_text(f"{DETAILS}\npatient1,M,N/A,20200407,Positive,N/A,6,1.5\npatient2,M,1Y,,Negative,1,2,3\n")
    found = covid_ctset.find(tmp_path, "Iran", elsewhere)
    facts = found.scans[0].facts
    assert (facts["sex"], facts["age"], facts["date"], facts["thickness_mm"]) == ("M", None, "2020-04-07", None)
    assert "1 of 2 patients of Patient_details.csv have no images: patient2" in found.notes
    elsewhere.write_text("Patient,AGE\n1,2\n")
    with pytest.raises(BadSite, match="lacks the columns Patient ID, COVID-19 Infection"):
        covid_ctset.find(tmp_path, "Iran", elsewhere)


def _patients(scans: Iterable[Scan], label: int) -> list[int]:
    scans = list(scans)
    subsets = split(scans)
    named = {(s.patient, subsets[s.site, s.scan]) for s in scans if s.label == label}
    return [sum(subset == name for _, subset in named) for name in SUBSETS]


def _scans(found: Found, label: int) -> list[Scan]:
    return [scan for scan in found.scans if scan.label == label]


# The real tables ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published folders of the file list, slices as empty files (`find` decodes nothing), with both tables."""
    root = tmp_path_factory.mktemp("published")
    with (real_data / "covid-ctset" / "all.csv").open(newline="") as file:
        names = [row["filename"] for row in csv.DictReader(file)]
    series = defaultdict(list)
    for name in names:
        folder, patient, sr, number, image = name.split("_")
        series[root / folder / patient / f"{sr}_{number}"].append(image)
    for path, images in series.items():
        path.mkdir(parents=True)
        for image in images:
            (path / image).touch()
    for table in (covid_ctset.DETAILS_TABLE, covid_ctset.METADATA_TABLE):
        shutil.copy(real_data / "covid-ctset" / table, root / table)
    return root


@pytest.mark.real
def test_merged_the_real_list_has_377_patients(published: Path) -> None:
    found = covid_ctset.find(published, "Iran")
    assert found.bad == ()
    assert len({s.patient for s in _scans(found, 1)}) == 95
    assert len({s.patient for s in _scans(found, 0)}) == 282
    assert any(note.startswith("78 patients stand under two folders") for note in found.notes)
    assert _patients(found.scans, 1) == [68, 8, 19]


@pytest.mark.real
def test_kept_the_real_list_has_the_papers_360_negatives_and_their_leak(published: Path) -> None:
    found = covid_ctset.find(published, "Iran", copies="keep")
    assert len({s.patient for s in _scans(found, 0)}) == 360
    assert _patients(found.scans, 1) == [68, 8, 19]
    assert _patients(found.scans, 0) == [259, 29, 72]
    subsets = split(found.scans)
    sides = defaultdict(set)
    for scan in _scans(found, 0):
        sides[scan.patient.partition("/")[2]].add(subsets["Iran", scan.scan])
    leaking = sum({"train", "test"} <= names for names in sides.values())
    assert 12 <= leaking <= 34  # about 22 expected: 78 pairs, 2 · 0.72 · 0.20 each


@pytest.mark.real
def test_real_facts_are_joined(published: Path) -> None:
    facts = {scan.scan: scan.facts for scan in covid_ctset.find(published, "Iran").scans}["patient1/SR_2"]
    assert (facts["age"], facts["sex"], facts["date"]) == (53, "F", "2020-04-07")
    assert (facts["kernel"], facts["protocol"]) == ("B70s", "CORONA1")
    assert (facts["kvp"], facts["thickness_mm"], facts["model"]) == (110.0, 4.0, "SOMATOM Scope")


@pytest.mark.real
def test_series_of_the_real_table_and_their_split(real_data: Path, published: Path) -> None:
    """The table knows 280 positive and 839 negative series, 1071 with the copies; the paper says 281 and 1068.

    Its scans a subset (201/23/57 and 770/84/214) hang on its draw; ours (seed 0) are 201/23/56 and 770/87/214.
    """
    with (real_data / "covid-ctset" / covid_ctset.METADATA_TABLE).open(newline="") as file:
        rows = {row["Patient ID"]: row for row in csv.DictReader(file)}
    patients = {(s.patient, s.label, s.stratum) for s in covid_ctset.find(published, "Iran", copies="keep").scans}
    scans = [
        Scan("Iran", patient, f"{patient}/SR_{k}", label, stratum=stratum)
        for patient, label, stratum in patients
        for k in (2, 3, 4)
        if rows[patient.partition("/")[2]][f"SR_{k} Modality"] == "CT"
    ]
    assert [sum(s.label == label for s in scans) for label in (1, 0)] == [280, 839 + 232]
    subsets = split(scans)
    for label, paper in ((1, (201, 23, 57)), (0, (770, 84, 214))):
        counts = [sum(s.label == label and subsets["Iran", s.scan] == name for s in scans) for name in SUBSETS]
        assert np.abs(np.subtract(counts, paper)).max() <= 3, counts


@pytest.mark.real
def test_published_slices_as_png_are_refused(real_data: Path) -> None:
    with pytest.raises(BadSite, match=r"holds 21 single slices like .*not volumes"):
        covid_ctset.find(real_data / "covid-ctset", "Iran")

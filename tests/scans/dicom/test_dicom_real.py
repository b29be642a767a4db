from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from elsewhere.errors import BadScan
from elsewhere.scans.dicom import choose, find_series, read_volume
from elsewhere.scans.volume import Volume

pytestmark = pytest.mark.real

CHESTS = {  # folder → slices, spacing, lowest value
    "covid-ct-md/COVID-19 subjects/P001": (37, (8.0, 0.748046875, 0.748046875), -1024),
    "covid-ct-md/Cap subjects/cap002": (33, (8.0, 0.630859375, 0.630859375), -1024),
    "nlst": (72, (4.0, 0.54, 0.54), -2048),
    "acrin-nsclc-fdg-pet": (45, (9.809998, 0.976562, 0.976562), -3024),
    "chest-imaging-platform/ct-64Dicom": (79, (3.987, 4.171872, 4.171872), -1007),
    "totalsegmentator/example_ct_dicom": (20, (2.0, 0.9765625, 0.9765625), -1024),
}


def read_only_series(folder: Path) -> Volume:
    (series,), orphans = find_series(folder)
    assert orphans == []
    assert not series.refusal
    return read_volume(series.files, folder.name)


def through_simpleitk(folder: Path) -> NDArray[np.int16]:
    """Outside reference: its series reader, turned to left-posterior-superior, slices from the head down."""
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(names), "LPS")
    return SimpleITK.GetArrayFromImage(image)[::-1]


@pytest.mark.parametrize("name", CHESTS)
def test_series_read_as_simpleitk_reads_them(real_data: Path, name: str) -> None:
    slices, spacing, lowest = CHESTS[name]
    volume = read_only_series(real_data / name)
    assert len(volume.voxels) == slices
    assert volume.spacing == spacing
    assert volume.voxels.min() == lowest
    assert volume.notes == ()
    assert np.array_equal(volume.voxels, through_simpleitk(real_data / name))
    assert volume.facts.get("padding") == (lowest if lowest < -1500 else None)


@pytest.mark.parametrize("name", ["covid-ct-md/COVID-19 subjects/P001", "nlst", "acrin-nsclc-fdg-pet"])
def test_the_spine_lies_at_the_bottom_and_the_apex_comes_first(real_data: Path, name: str) -> None:
    voxels = read_only_series(real_data / name).voxels[:, ::4, ::4]
    bone = np.argwhere(voxels > 400)
    body = np.argwhere(ndimage.binary_opening(voxels > -300, iterations=2))
    assert bone[:, 1].mean() > body[:, 1].mean() + 3  # spine and ribs' hinges against the whole body
    assert voxels.shape[1] / 2 < np.median(bone[:, 1])


@pytest.mark.parametrize("subject", ["P001", "P002"])
def test_slice_0_is_the_apex_as_the_radiologists_counted(real_data: Path, subject: str) -> None:
    with (real_data / "covid-ct-md" / "kept-slices.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["subject"] == subject]
    expected = [row["file"] for row in sorted(rows, key=lambda row: int(row["label_index"]))]
    (series,), _ = find_series(real_data / "covid-ct-md" / "COVID-19 subjects" / subject)
    assert [path.name for path in series.files] == expected
    assert (sorted(expected) == expected) == (subject == "P002")  # names are no order in P001
    assert [float(r["z_mm"]) for r in rows] == sorted((float(r["z_mm"]) for r in rows), reverse=True)


def test_invalid_uids_group_by_folder(real_data: Path) -> None:
    series, _ = find_series(real_data / "covid-ct-md")
    assert [s.slices for s in series] == [37, 34, 42, 33, 39, 42]
    assert [s.uid for s in series if "/" in s.uid] == [
        "COVID-19 subjects/P002",
        "Cap subjects/cap002",
        "Normal subjects/normal002",
    ]


def test_the_dicom_series_equals_its_nrrd(real_data: Path) -> None:
    folder = real_data / "chest-imaging-platform"
    nrrd = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(folder / "ct-64.nrrd")), "LPS")
    assert np.array_equal(read_only_series(folder / "ct-64Dicom").voxels, SimpleITK.GetArrayFromImage(nrrd)[::-1])


def unpack(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder / archive.stem)
    return folder / archive.stem


def test_the_smoother_of_two_kernels_is_taken(real_data: Path, tmp_path: Path) -> None:
    for kernel in ("B40f", "B70f"):
        unpack(real_data / "lung-pet-ct-dx" / f"Lung_Dx-A0002_{kernel}_8mm.zip", tmp_path)
    series, _ = find_series(tmp_path)
    best, (note,) = choose(series, "A0002")
    assert best.facts["kernel"] == "B40f"
    assert "took series 3 (30 slices, 8.0 mm, kernel B40f" in note
    volume = read_volume(best.files, "A0002")
    assert volume.voxels.shape == (30, 512, 512)
    assert np.array_equal(volume.voxels, through_simpleitk(best.files[0].parent))


def test_tilt_and_jumps(real_data: Path, tmp_path: Path) -> None:
    folder = unpack(real_data / "dcm-qa-ct" / "GE_tilt18.5_spacing-change_12slices.zip", tmp_path)
    volume = read_only_series(folder)
    assert (volume.facts["tilt_deg"], volume.facts["gaps"]) == (18.5, 5)
    assert volume.notes == (
        "5 jumps between slices (up to 7.00 mm, usually 4.00 mm): about 5 slices are missing",
        "slice spacing is uneven: 1.08 to 7.00 mm",
        "slices are tilted by 18.5° (sheared, read as acquired without resampling)",
    )
    philips = read_only_series(unpack(real_data / "dcm-qa-ct" / "Philips_tilt-18.5_6slices.zip", tmp_path))
    assert philips.facts["tilt_deg"] == -18.5


def test_single_slices_and_reformats_are_refused(real_data: Path, tmp_path: Path) -> None:
    series, _ = find_series(unpack(real_data / "ny-sbu" / "ny-sbu-single-slices.zip", tmp_path))
    planes = {s.files[0].parent.name: s.refusal for s in series}
    assert planes["coronal"].startswith("is not axial but coronal")
    assert planes["sagittal"].startswith("is not axial but sagittal")
    assert {s.refusal for s in series if s.files[0].parent.name == "axial"} == {"holds 1 slice, expected at least 2"}


def test_multi_frame_perfusion_map_is_refused_but_can_be_read(real_data: Path) -> None:
    path = real_data / "pydicom-data" / "eCT_Supplemental.dcm"
    series = next(s for s in find_series(path.parent)[0] if path in s.files)
    assert series.refusal.startswith("is a rendering, not slices (DERIVED PRIMARY PERFUSION")
    volume = read_volume([path], "eCT")
    stored = pydicom.dcmread(path).pixel_array
    assert volume.voxels.shape == stored.shape == (2, 512, 512)
    assert {int(s.max()) for s in volume.voxels} == {int(f.max()) - 1024 for f in stored}


def test_a_slice_saved_twice(real_data: Path) -> None:
    volume = read_only_series(real_data / "lungmask-testdata")
    assert np.array_equal(volume.voxels[0], volume.voxels[1])
    assert volume.facts["padding"] == -2048


def test_sixteen_encodings_of_one_slice_are_no_volume(real_data: Path) -> None:
    folder = real_data / "dicom-transfer-syntaxes"
    with pytest.raises(BadScan, match="holds 1 slice"):
        read_volume(sorted(folder.iterdir()), "encodings")

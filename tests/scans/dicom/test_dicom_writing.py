from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elsewhere.scans.dicom import read_volume, uid_of, write_series
from elsewhere.scans.dicom.series import valid_uid
from elsewhere.scans.grid import VOXEL_MM
from elsewhere.scans.volume import Volume

IDS = {"patient": "p1", "study_uid": "1.2.1", "series_uid": "1.2.2"}
millimetres = st.integers(*(round(1e6 * edge) for edge in VOXEL_MM)).map(lambda n: n / 1e6)  # others get a remark
volumes = st.builds(
    lambda voxels, spacing: Volume(voxels, "HU", spacing, 0.0),
    arrays(np.int16, st.tuples(st.integers(2, 5), st.integers(1, 9), st.integers(1, 9))),
    st.none() | st.tuples(millimetres, millimetres, millimetres),
)


@given(volumes)
@settings(max_examples=60, deadline=None)
def test_read_undoes_write(tmp_path_factory: pytest.TempPathFactory, volume: Volume) -> None:
    folder = tmp_path_factory.mktemp("series")
    write_series(folder, volume, facts={}, **IDS)
    read = read_volume(sorted(folder.iterdir(), reverse=True), "s")
    assert np.array_equal(read.voxels, volume.voxels)
    assert (read.units, read.spacing, read.offset) == (volume.units, volume.spacing, volume.offset)
    assert read.notes == (() if volume.spacing else ("no PixelSpacing: spacing unknown",))


def test_the_files_are_valid_ct_images(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(-1024, 3000, (3, 5, 7), np.int16)
    facts = {"age": 53, "sex": "F", "kvp": 120, "kernel": "B70f", "manufacturer": "Ärzte AG", "contrast": True}
    facts |= {"date": "2020-04-07", "thickness_mm": 1.25, "tilt_deg": 0.0, "model": "X", "position": "FFP"}
    write_series(tmp_path, Volume(voxels, "HU", (2, 0.7, 0.7), 0.0), facts=facts, **IDS)
    datasets = [pydicom.dcmread(path) for path in sorted(tmp_path.iterdir())]  # warnings are errors: all is valid
    for number, dataset in enumerate(datasets, start=1):
        assert np.array_equal(dataset.pixel_array, voxels[number - 1])
        assert dataset.InstanceNumber == number
        assert dataset.ImagePositionPatient == [0, 0, -2 * (number - 1)]
        assert dataset.SliceLocation == -2 * (number - 1)
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert valid_uid(dataset.SOPInstanceUID)
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 3
    first = datasets[0]
    assert (first.PatientAge, first.PatientSex, first.KVP, first.StudyDate) == ("053Y", "F", 120, "20200407")
    assert (first.Manufacturer, first.ContrastBolusAgent, first.SliceThickness) == ("Ärzte AG", "APPLIED", 1.25)
    assert first.PatientPosition == "HFS"  # the voxels lie that way, whatever the source was


@pytest.mark.parametrize("age", [53, 0, 1, 0.5, 120])
@pytest.mark.parametrize("contrast", [True, False, None])
def test_facts_come_back(tmp_path: Path, age: float, contrast: bool | None) -> None:
    facts = {"age": age, "contrast": contrast, "kernel": "Br38f", "kvp": 110.0, "sex": "M", "date": "2020-04-07"}
    write_series(tmp_path, Volume(np.zeros((2, 2, 2), np.int16), "HU", (3.0, 1.0, 1.0), 0.0), facts=facts, **IDS)
    read = read_volume(sorted(tmp_path.iterdir()), "s")
    expected = {name: value for name, value in facts.items() if value is not None}
    assert {name: read.facts.get(name) for name in expected} == expected
    assert ("contrast" in read.facts) == (contrast is not None)
    assert read.facts["thickness_mm"] == 3.0


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    volume = Volume(np.ones((2, 3, 3), np.int16), "HU", (1.0, 1.0, 1.0), 0.0)
    for name in ("a", "b"):
        write_series(tmp_path / name, volume, facts={}, **IDS)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert uid_of("a", "b") != uid_of("ab")
    assert valid_uid(uid_of("a"))


def test_any_text_fits_into_its_field(tmp_path: Path) -> None:
    long = "x\\y^z=" * 40
    facts = dict.fromkeys(("manufacturer", "model", "kernel", "description", "body_part", "sex", "contrast"), long)
    volume = Volume(np.zeros((2, 2, 2), np.int16), "HU", None, 0.0)
    write_series(tmp_path, volume, patient=long, study_uid="1.2", series_uid="1.3", facts={**facts, "date": "spring"})
    dataset = pydicom.dcmread(tmp_path / "IM00001.dcm")
    assert len([element.value for element in dataset]) > 30  # decoded without a warning
    assert (len(dataset.PatientID), len(dataset.ConvolutionKernel), dataset.PatientSex) == (64, 16, "")
    assert np.array_equal(read_volume(list(tmp_path.iterdir()), "s").voxels, volume.voxels)

"""The scans of a new site without a labels table: those that `prepare` would list, one by one, whatever their names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from elsewhere.errors import BadSite
from elsewhere.scans.dicom import uid_of, write_series
from elsewhere.scans.labels import LabelRow, printable, write_labels
from elsewhere.scans.scan import Found, Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import Volume
from elsewhere.studies.new_site import find_scans, new_site

LATIN = b"M\xfcller.nii.gz"


def _volume(seed: int = 0) -> Volume:
    hu = np.random.default_rng(seed).integers(-1000, 400, (6, 16, 16))
    return Volume(hu.astype(np.int16), "HU", (2.0, 0.7, 0.7), 0)


def _nifti(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        reader("volumes").write(root, Scan("x", name, name, None), _volume(seed))


def _find(root: Path, kind: str) -> Found:
    return find_scans(new_site(root, kind))


@pytest.mark.parametrize("blank", [False, True])
def test_series_that_share_one_uid_are_one_scan_each(tmp_path: Path, blank: bool) -> None:
    for i in range(3):
        patient = "" if blank else f"p{i}"
        study = uid_of("study", str(i))
        write_series(tmp_path / f"p{i}", _volume(i), patient=patient, study_uid=study, series_uid="1.2.8.1", facts={})
    found = _find(tmp_path, "dicom")
    assert len({s.scan for s in found.scans}) == len({s.patient for s in found.scans}) == 3
    assert blank or {s.patient for s in found.scans} == {"p0", "p1", "p2"}
    assert {s.files[0].parent.name for s in found.scans} == {"p0", "p1", "p2"}
    for scan in found.scans:
        number = int(scan.files[0].parent.name[1:])
        assert np.array_equal(reader("dicom").read(scan).voxels, _volume(number).voxels)


def test_two_series_of_one_patient_are_of_one_patient(tmp_path: Path) -> None:
    for i in range(2):
        uids = {"study_uid": uid_of("study", "one"), "series_uid": uid_of("series", str(i))}
        write_series(tmp_path / str(i), _volume(i), patient="p", **uids, facts={})
    assert [s.patient for s in _find(tmp_path, "dicom").scans] == ["p", "p"]


def test_odd_names_are_kept_and_hidden_files_passed_over(tmp_path: Path) -> None:
    _nifti(tmp_path, "a", " lead", "below/b ", "t")
    (tmp_path / "._a.nii.gz").write_bytes(b"mac")
    os.rename(tmp_path / "t.nii.gz", os.fsencode(tmp_path) + b"/" + LATIN)
    found = _find(tmp_path, "volumes")
    assert found.bad == ()
    assert {s.scan for s in found.scans} == {"a.nii.gz", " lead.nii.gz", "below/b .nii.gz", r"M\xfcller.nii.gz"}
    assert len({reader("volumes").read(s).voxels.tobytes() for s in found.scans}) == 4
    "".join(s.scan for s in found.scans).encode()  # can be written anywhere


def test_ids_made_printable_stay_apart() -> None:
    names = [os.fsdecode(LATIN), r"M\xfcller.nii.gz", "line\nbreak", r"line\nbreak", "ü", " "]
    ids = printable(names)
    assert len(set(ids.values())) == len(names)
    assert ids[r"M\xfcller.nii.gz"] == r"M\xfcller.nii.gz"
    assert ids["ü"] == "ü"
    assert all(text.isprintable() for text in ids.values())


@pytest.mark.parametrize(("kind", "extension"), [("volumes", ".nii.gz"), ("images", ".tif")])
def test_the_listing_is_that_of_prepare(tmp_path: Path, kind: str, extension: str) -> None:
    scans = [Scan("x", f"p{i}", f"deep/s{i}", i % 2, facts={"extension": extension}) for i in range(4)]
    for i, scan in enumerate(scans):
        reader(kind).write(tmp_path, scan, _volume(i))
    (tmp_path / "deep" / "notes.txt").write_text("no scan")
    (tmp_path / ".trash").mkdir()
    found = _find(tmp_path, kind)
    reader(kind).write_tables(tmp_path, scans)
    labelled = _find(tmp_path, kind)
    assert {(s.files, tuple(s.facts.items())) for s in found.scans} == {
        (s.files, tuple(s.facts.items())) for s in labelled.scans
    }
    assert {s.label for s in found.scans} == {None}
    assert {s.label for s in labelled.scans} == {0, 1}


def test_nothing_is_written_into_the_folder_of_the_scans(tmp_path: Path) -> None:
    _nifti(tmp_path, "a")
    _find(tmp_path, "volumes")
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


def test_tables_of_which_none_is_called_labels_are_named(tmp_path: Path) -> None:
    _nifti(tmp_path, "a")
    for name in ("one.csv", "two.csv"):
        write_labels(tmp_path / name, [LabelRow("p", 1, path="a.nii.gz")])
    assert _find(tmp_path, "volumes").notes == ("Of one.csv, two.csv none is called labels.csv: none was read.",)


def test_the_table_of_a_public_collection_is_a_table(tmp_path: Path) -> None:
    _nifti(tmp_path / "data", "1", "2")
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "reference.csv").write_text("PatientID,probCOVID,probSevere\n1,1,0\n2,0,0\n")
    assert {s.patient: s.label for s in _find(tmp_path, "volumes").scans} == {"1": 1, "2": 0}


@pytest.mark.parametrize("kind", ["dicom", "volumes", "images"])
def test_an_empty_folder_and_none_are_told(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BadSite, match="holds no"):
        _find(tmp_path, kind)
    with pytest.raises(BadSite, match="no such folder"):
        _find(tmp_path / "absent", kind)


@pytest.mark.parametrize(
    ("name", "text", "labelled"),
    [
        ("notes.csv", "a,b\n1,2\n", False),
        ("export.csv", "PatientID,path,label\np,a.nii.gz,1\n", True),
        ("export.csv", "a title\npatient_id,path,Label\np,a.nii.gz,1\n", True),
        ("labels.csv", "patient_id,path,label\np,a.nii.gz,1\n", True),
    ],
)
def test_a_table_of_something_else_is_no_labels_table(tmp_path: Path, name: str, text: str, labelled: bool) -> None:
    _nifti(tmp_path, "a", "b")
    (tmp_path / name).write_text(text)
    found = _find(tmp_path, "volumes")
    assert [s.label for s in found.scans] == ([1] if labelled else [None, None])
    assert (f"Of {name} none is called labels.csv: none was read." in found.notes) != labelled


def test_a_labels_table_without_labels_is_told(tmp_path: Path) -> None:
    _nifti(tmp_path, "a")
    (tmp_path / "labels.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadSite, match="missing columns"):
        _find(tmp_path, "volumes")

"""Names that the table spells otherwise than the disk, and rows that fit several patients."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from test_odd_neighbours import KINDS, hu

from elsewhere.scans.dicom import write_series
from elsewhere.scans.nifti import write_nifti
from elsewhere.scans.sites import dicom, images, volumes
from elsewhere.scans.slices import encode_slice
from elsewhere.scans.volume import Volume

SPELLINGS = {
    "as it is": lambda name: name,
    "composed": lambda name: unicodedata.normalize("NFC", name),
    "apart": lambda name: unicodedata.normalize("NFD", name),
    "capitals": str.upper,
    "invisible": lambda name: name.replace("m", "m\u200b"),
    "blanks": lambda name: f" {name} ",
}


def scan(root: Path, site: ModuleType, name: str, seed: int = 0, patient: str = "p") -> None:
    volume = Volume(hu(seed), "HU", (2.0, 0.7, 0.7), 0)
    if site is dicom:
        write_series(root / name, volume, patient=patient, study_uid=f"1.{seed}", series_uid=f"1.{seed}.1", facts={})
    elif site is volumes:
        write_nifti(root / f"{name}.nii.gz", volume)
    else:
        (root / name).mkdir(parents=True)
        for z, picture in enumerate(hu(seed)):
            encode_slice(root / name / f"{z}.png", ((picture + 1000) // 8).astype(np.uint8))


def table(root: Path, *rows: str) -> Path:
    (root / "labels.csv").write_text("\n".join(["patient_id,path,label", *rows]), encoding="utf-8")
    return root


@KINDS
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_one_name_in_other_spellings(tmp_path: Path, site: ModuleType, spelling: str, form: str) -> None:
    scan(tmp_path, site, unicodedata.normalize(form, "müller"))
    row = SPELLINGS[spelling]("müller")
    (found,) = site.find(table(tmp_path, f'p1,"{row}",1'), "here").scans
    assert site.read(found).voxels.shape == (8, 40, 40)


@KINDS
def test_two_names_that_differ_in_case_are_two_scans(tmp_path: Path, site: ModuleType) -> None:
    scan(tmp_path, site, "P1", 1)
    scan(tmp_path, site, "p1", 2)
    found = site.find(table(tmp_path, "A,P1,1", "B,p1,0"), "here")
    assert [[f.relative_to(tmp_path).parts[0][:2] for f in s.files][:1] for s in found.scans] == [["P1"], ["p1"]]
    (tmp_path / "labels.csv").unlink()
    scan(tmp_path, site, "x", 3)
    found = site.find(table(tmp_path, "A,x,1", "B,ｐ1,0"), "here")  # full-width: another name
    assert [s.patient for s in found.scans] == ["A"]
    assert found.bad[0].where == "ｐ1"


def test_single_pictures_in_other_spellings(tmp_path: Path) -> None:
    for i, name in enumerate(("Käse-1", "Käse-2")):
        encode_slice(tmp_path / f"{unicodedata.normalize('NFD', name)}.png", (hu(i)[0] // 8).astype(np.uint8))
    found = images.find(table(tmp_path, "p1,Käse-1.png,1", "p2,KÄSE-2.PNG,0"), "here")
    assert [len(s.files) for s in found.scans] == [1, 1]


def test_a_folder_of_two_rows_of_slices_is_refused_in_any_spelling(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b1", "b2"):
        encode_slice_to = tmp_path / "Scan" / f"{name}.png"
        encode_slice_to.parent.mkdir(exist_ok=True)
        encode_slice(encode_slice_to, (hu()[0] // 8).astype(np.uint8))
    scan(tmp_path, images, "good")
    found = images.find(table(tmp_path, "p1,scan,1", "p2,good,0"), "here")
    assert [s.patient for s in found.scans] == ["p2"]
    assert "slices under several names" in found.bad[0].what


@pytest.mark.parametrize(("row", "patient"), [("p1", None), ("a", "a"), ("A", "a")])
def test_a_path_that_holds_several_patients_names_none_of_them(tmp_path: Path, row: str, patient: str | None) -> None:
    scan(tmp_path / "export", dicom, "one", 1, patient="a")
    scan(tmp_path / "export", dicom, "two", 2, patient="b")
    scan(tmp_path, dicom, "other", 3, patient="c")
    found = dicom.find(table(tmp_path, f"{row},export,1", "c,other,0"), "here")
    if patient is None:
        assert [s.patient for s in found.scans] == ["c"]
        assert "'export' holds series of 2 patients (a, b)" in found.bad[0].what
        assert found.bad[0].next_step.startswith("Name the scan by its series_uid, or by the `path`")
    else:
        assert [s.files[0].parent.name for s in found.scans] == ["one", "other"]


WIDE = {"a space of another kind": ("p 1", "p\u00a01"), "two spaces": ("p 1", "p  1"), "wide letters": ("p1", "ｐ１")}


@KINDS
@pytest.mark.parametrize("pair", WIDE)
def test_spaces_and_letters_of_other_kinds(tmp_path: Path, site: ModuleType, pair: str) -> None:
    on_disk, row = WIDE[pair]
    scan(tmp_path, site, on_disk)
    found = site.find(table(tmp_path, f'a,"{row}",1', "b,nowhere,0"), "here")
    (one,) = found.scans
    assert site.read(one).voxels.shape == (8, 40, 40)
    assert site is volumes or any("spelt" in note for note in found.notes)
    scan(tmp_path, site, row, seed=2)  # and where both are there, each is its own
    assert len(site.find(table(tmp_path, f'a,"{row}",1', f'b,"{on_disk}",0'), "here").scans) == 2


def test_patients_that_differ_in_a_space_of_another_kind_are_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        scan(tmp_path, volumes, name)
    found = volumes.find(table(tmp_path, "p 1,a.nii.gz,1", "p\u00a01,b.nii.gz,0"), "here")
    assert any("differ only in their spelling count as different patients" in note for note in found.notes)
    found = volumes.find(table(tmp_path, "p 1,a.nii.gz,1", "p 2,b.nii.gz,0"), "here")
    assert not any("spelling" in note for note in found.notes)

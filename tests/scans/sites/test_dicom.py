from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.dicom import write_series
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import dicom
from elsewhere.scans.volume import Volume


def volume(slices: int = 3, value: int = -500, **facts: object) -> Volume:
    return Volume(np.full((slices, 4, 5), value, np.int16), "HU", (2.0, 0.5, 0.5), 0.0, facts=facts)  # type: ignore[arg-type]


def site(root: Path, *scans: Scan) -> None:
    for i, scan in enumerate(scans):
        dicom.write(root, scan, volume(value=i))
    dicom.write_tables(root, list(scans))


ONE = Scan("home", "p1", "s1", 1, (), "covid", {"age": 53, "sex": "F", "contrast": True, "date": "2020-04-07"})
TWO = Scan("home", "p2", "s2", 0, (), "infection", {"age": 70, "sex": "M", "contrast": False})


def test_find_returns_what_was_written(tmp_path: Path) -> None:
    site(tmp_path, ONE, TWO)
    found = dicom.find(tmp_path, "home")
    assert (found.bad, found.notes) == ((), ())
    assert [(s.site, s.patient, s.scan, s.label, s.stratum) for s in found.scans] == [
        ("home", "p1", "s1", 1, "covid"),
        ("home", "p2", "s2", 0, "infection"),
    ]
    for scan, written in zip(found.scans, (ONE, TWO), strict=True):
        assert {name: scan.facts[name] for name in written.facts} == dict(written.facts)
        assert scan.facts["thickness_mm"] == 2.0
    assert [dicom.read(scan).voxels[0, 0, 0] for scan in found.scans] == [0, 1]


names = st.text("abcé019 ./_-", min_size=1, max_size=12).filter(lambda t: t == t.strip())
spacings = st.tuples(*[st.integers(50, 9999).map(lambda n: n / 1000)] * 3)
sides = st.integers(1, 9)


@given(arrays(np.int16, st.tuples(st.integers(2, 4), sides, sides)), spacings, names, names, st.sampled_from([0, 1]))
@settings(max_examples=40, deadline=None)
def test_read_undoes_write(
    tmp_path_factory: pytest.TempPathFactory,
    voxels: np.ndarray,
    spacing: tuple[float, float, float],
    patient: str,
    name: str,
    label: int,
) -> None:
    root = tmp_path_factory.mktemp("site")
    scan, written = Scan("home", patient, name, label), Volume(voxels, "HU", spacing, 0.0)
    dicom.write(root, scan, written)
    dicom.write_tables(root, [scan])
    (found,) = dicom.find(root, "home").scans
    read = dicom.read(found)
    assert (found.patient, found.scan, found.label) == (patient, name, label)
    assert np.array_equal(read.voxels, written.voxels)
    assert (read.units, read.spacing, read.offset) == ("HU", spacing, 0.0)


def test_ids_that_look_alike_keep_their_own_folders(tmp_path: Path) -> None:
    alike = [Scan("home", "p/1", "a b", 1), Scan("home", "p 1", "a/b", 0), Scan("home", "p_1", "a_b", 0)]
    site(tmp_path, *alike)
    assert [dicom.read(s).voxels[0, 0, 0] for s in dicom.find(tmp_path, "home").scans] == [0, 1, 2]


# Tables that name scans in other ways -------------------------------------------------------------------------------


def series(folder: Path, uid: str, study: str, slices: int = 3, **facts: object) -> None:
    write_series(folder, volume(slices), patient="p", study_uid=study, series_uid=uid, facts=facts)  # type: ignore[arg-type]


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Study 1.1: a sharp and a smooth series of one scan; study 1.2: one series; study 1.3: one that no row names."""
    series(tmp_path / "a" / "x", "1.1.1", "1.1", kernel="B70f")
    series(tmp_path / "a" / "y", "1.1.2", "1.1", kernel="B30f")
    series(tmp_path / "b", "1.2.1", "1.2")
    series(tmp_path / "c", "1.3.1", "1.3")
    return tmp_path


def table(root: Path, text: str) -> Path:
    (root / "labels.csv").write_text(text)
    return root


@pytest.mark.parametrize(
    ("column", "first", "second"), [("study_uid", "1.1", "1.2"), ("path", "a", "b"), ("path", "a/", "b/IM00002.dcm")]
)
def test_a_study_or_folder_gives_its_best_series(hospital: Path, column: str, first: str, second: str) -> None:
    root = table(hospital, f"patient_id,{column},label\np,{first},1\nq,{second},0\n")
    found = dicom.find(root, "home")
    assert [s.facts.get("kernel") for s in found.scans] == ["B30f", None]
    assert [s.files[0].parent for s in found.scans] == [root / "a" / "y", root / "b"]
    assert [bad.where for bad in found.bad] == ["1.3.1"]
    assert found.notes[0] == "1 scan on disk has no row in labels.csv and is not used"
    assert (
        f"{found.scans[0].scan}: took series 1 (3 slices, 2.0 mm, kernel B30f, 1.1.2); not series 1" in found.notes[1]
    )


def test_a_table_elsewhere_by_series(hospital: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("tables") / "mine.csv"
    path.write_text("patient_id;series_uid;label\np;1.1.1;positive\nq;1.9;negative\n")
    found = dicom.find(hospital, "home", path)
    assert [s.facts["kernel"] for s in found.scans] == ["B70f"]
    assert "mine.csv lists it as '1.9' (patient q), but no such scan was found" in found.bad[0].what
    assert {bad.where for bad in found.bad} == {"1.9", "1.2.1", "1.3.1"}
    assert found.missing == (0,)


def test_a_series_that_is_no_axial_ct_says_why(hospital: Path) -> None:
    for path in (hospital / "b").iterdir():
        path.write_bytes(path.read_bytes().replace(b"PRIMARY\\AXIAL", b"PRIMARY\\SCOUT"))
    found = dicom.find(table(hospital, "patient_id,series_uid,label\np,1.1.1,1\nq,1.2.1,0\n"), "home")
    assert [s.patient for s in found.scans] == ["p"]
    assert "has no axial CT series (series 1 is a localizer (ORIGINAL PRIMARY SCOUT))" in found.bad[0].what
    assert "1 series not used: is a localizer (ORIGINAL PRIMARY SCOUT)" in found.notes


def test_where_no_row_has_a_scan_the_reason_that_is_one_comes_with_its_next_step(hospital: Path) -> None:
    for path in (hospital / "b").iterdir():
        path.write_bytes(path.read_bytes().replace(b"PRIMARY\\AXIAL", b"PRIMARY\\SCOUT"))
    with pytest.raises(
        BadSite,
        match=r"First reason: has no axial CT series .*\. Give the axial series, or name the series to use by its",
    ):
        dicom.find(table(hospital, "patient_id,path,label\ng,gone,0\nq,b,0\n"), "home")
    with pytest.raises(
        BadSite, match=r"First reason: .*no such scan was found\. Make series_uid, path, study_uid in the"
    ):
        dicom.find(table(hospital, "patient_id,path,label\ng,gone,0\n"), "home")


def test_two_rows_for_one_series(hospital: Path) -> None:
    found = dicom.find(table(hospital, "patient_id,path,label\np,b,1\nq,b/IM00001.dcm,0\n"), "home")
    assert [s.patient for s in found.scans] == ["p"]
    assert "gives it the same images as 'b'" in found.bad[0].what


def test_patients_who_share_a_series_uid_are_ambiguous_by_uid_but_not_by_path(tmp_path: Path) -> None:
    for patient in ("p", "q"):
        write_series(tmp_path / patient, volume(), patient=patient, study_uid="1.1", series_uid="1.1.1", facts={})
    found = dicom.find(table(tmp_path, "patient_id,path,label\np,p,1\nq,q,0\n"), "home")
    assert [s.files[0].parent.name for s in found.scans] == ["p", "q"]
    with pytest.raises(BadSite, match=r"2 series on disk are called 1.1.1"):
        dicom.find(table(tmp_path, "patient_id,series_uid,label\np,1.1.1,1\n"), "home")


def test_damaged_slices_are_counted_when_read(hospital: Path) -> None:
    series(hospital / "d", "1.4.1", "1.4", slices=20)
    (hospital / "d" / "IM00004.dcm").write_bytes(b"")
    shorten(hospital / "d" / "IM00009.dcm")
    (scan,) = dicom.find(table(hospital, "patient_id,path,label\np,d,1\n"), "home").scans
    assert dicom.read(scan).notes[0].startswith("2 of 20 files cannot be read and are left out: IM0000")
    shorten(hospital / "d" / "IM00010.dcm")
    with pytest.raises(BadScan, match="home/d: 3 of 20 files cannot be read"):
        dicom.read(scan)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def test_folders_that_are_no_site(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match=r"home: .*nowhere: no such folder"):
        dicom.find(tmp_path / "nowhere", "home")
    with pytest.raises(BadSite, match="no labels table"):
        dicom.find(tmp_path, "home")
    with pytest.raises(BadSite, match="holds no DICOM images"):
        dicom.find(table(tmp_path, "patient_id,path,label\np,a,1\n"), "home")


def test_nothing_matched(hospital: Path) -> None:
    with pytest.raises(BadSite, match=r"none of its 1 rows matches a scan \(table: zz; on disk: 1.1.1; 1.1.2; 1.2.1"):
        dicom.find(table(hospital, "patient_id,path,label\np,zz,1\n"), "home")


@pytest.mark.real
def test_real_series_as_a_site(real_data: Path, tmp_path: Path) -> None:
    rows = ["P001;COVID-19 subjects/P001;covid", "P002;COVID-19 subjects/P002;covid", "cap001;Cap subjects/cap001;cp"]
    rows += ["cap002;Cap subjects\\cap002;cp", "n1;Normal subjects/normal001/;normal", "gone;Normal subjects/x;normal"]
    (tmp_path / "labels.csv").write_text("\n".join(["Patient ID;path;label", *rows]))
    found = dicom.find(real_data / "covid-ct-md", "iran", tmp_path / "labels.csv")
    assert [(s.patient, s.label, len(s.files)) for s in found.scans] == [
        ("P001", 1, 37),
        ("P002", 1, 34),
        ("cap001", 0, 42),
        ("cap002", 0, 33),
        ("n1", 0, 39),
    ]
    assert [s.facts["age"] for s in found.scans] == [39, 48, 62, 77, 70]
    assert [bad.where for bad in found.bad] == ["Normal subjects/x", "Normal subjects/normal002"]
    assert dicom.read(found.scans[1]).voxels.shape == (34, 512, 512)

"""CC-CCII: the published tree, its faults, its tables, and the real lists."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.scan import SUBSETS, Scan, split
from elsewhere.scans.sites import cc_ccii
from elsewhere.scans.slices import encode_slice
from elsewhere.scans.volume import Volume

SIZE = (5, 7)
FACTS = {"class": "NCP"}


def place(root: Path, name: str, numbers: Iterable[int], extension: str = ".png") -> Path:
    """A scan whose slice n is grey with value n."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        encode_slice(folder / f"{number:04d}{extension}", np.full(SIZE, number, dtype=np.uint8))
    return folder


def place_empty(root: Path, name: str, numbers: Iterable[int]) -> None:
    """A scan of empty files: enough for `find`, which decodes nothing."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{number:04d}.png").touch()


def repairs(root: Path, *rows: str) -> None:
    header = "cls,pid,scan_id,is_seg,is_repeat,repeat_ids,re_order"
    (root / cc_ccii.REPAIRS_TABLE).write_text("\n".join([header, *rows]) + "\n")


def order(scan: Scan) -> list[int]:
    return [int(path.stem) for path in scan.files]


def only(root: Path) -> Scan:
    found = cc_ccii.find(root, "China")
    assert found.bad == ()
    (scan,) = found.scans
    return scan


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    voxels=arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=9)),
    extension=st.sampled_from([".png", ".bmp", ".BMP"]),
    kind=st.sampled_from(["NCP", "CP", "Normal"]),
    ids=st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
)
def test_read_of_write_is_the_volume(
    tmp_path_factory: pytest.TempPathFactory, voxels: np.ndarray, extension: str, kind: str, ids: tuple[int, int]
) -> None:
    root = tmp_path_factory.mktemp("site")
    label = int(kind == "NCP")
    written = Scan("China", str(ids[0]), str(ids[1]), label, facts={"class": kind, "extension": extension})
    cc_ccii.write(root, written, Volume(voxels, "relative"))
    cc_ccii.write_tables(root, [written])
    found = cc_ccii.find(root, "China")
    (scan,) = found.scans
    assert (found.bad, found.notes) == ((), ())
    assert (scan.patient, scan.scan, scan.label) == (written.patient, written.scan, label)
    assert scan.stratum == ("positive" if label else "negative")
    assert (scan.facts["class"], scan.facts["extension"]) == (kind, extension.lower())
    volume = cc_ccii.read(scan)
    assert volume.voxels.dtype == np.uint8
    assert np.array_equal(volume.voxels, voxels)
    assert (volume.units, volume.spacing, volume.offset) == ("relative", None, None)


def test_marker_at_right_anterior_superior_is_at_the_origin(tmp_path: Path) -> None:
    folder = place(tmp_path, "NCP/16/1164", range(2, 12))
    first = np.zeros(SIZE, dtype=np.uint8)
    first[0, 0] = 255  # upper left of the picture: anterior, the patient's right
    encode_slice(folder / "0001.png", first)
    voxels = cc_ccii.read(only(tmp_path)).voxels
    assert np.unravel_index(voxels.argmax(), voxels.shape) == (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NCP/16/1164", "NCP"),
        ("COVID19-7/NCP/16/1164", "NCP"),
        ("NCP/NCP/16/1164", "NCP"),
        ("COVID19/16/1164", "NCP"),
        ("a/b/c/COVID19-7/16/1164", "NCP"),
        ("CP-3/CP/16/1164", "CP"),
        ("dataset_cleaned/Normal/16/1164", "Normal"),
    ],
)
def test_the_last_parts_are_matched_at_any_depth(tmp_path: Path, name: str, kind: str) -> None:
    place(tmp_path, name, range(3))
    scan = only(tmp_path)
    assert (scan.facts["class"], scan.patient, scan.scan) == (kind, "16", "1164")
    assert scan.label == (kind == "NCP")


def test_the_root_may_be_a_class_folder(tmp_path: Path) -> None:
    place(tmp_path, "NCP/16/1164", range(3))
    assert only(tmp_path / "NCP").patient == "16"


def test_slices_sort_by_number_with_gaps_and_any_case(tmp_path: Path) -> None:
    folder = place(tmp_path, "CP/1434/3937", [10, 2, 30], ".JPG")
    (folder / "100.jpg").write_bytes((folder / "0030.JPG").read_bytes())
    scan = only(tmp_path)
    assert order(scan) == [2, 10, 30, 100]
    assert scan.facts["slices_missing"] == 95
    assert cc_ccii.read(scan).voxels.shape == (4, *SIZE)


def test_other_matrices_are_read_and_mixed_ones_refused(tmp_path: Path) -> None:
    folder = place(tmp_path, "CP/1/2", range(3))
    encode_slice(folder / "0001.png", np.zeros((9, 9), dtype=np.uint8))
    with pytest.raises(BadScan, match=r"2: slices differ in size: 0000\.png is 5 × 7, 0001\.png is 9 × 9"):
        cc_ccii.read(only(tmp_path))


def test_sixteen_bit_slices_are_refused(tmp_path: Path) -> None:
    folder = place(tmp_path, "CP/1/2", [])
    encode_slice(folder / "0000.png", np.zeros(SIZE, dtype=np.uint16))
    with pytest.raises(BadScan, match="slices are uint16, expected 8-bit grey"):
        cc_ccii.read(only(tmp_path))


def test_a_slice_that_stands_twice_is_refused_and_the_site_goes_on(tmp_path: Path) -> None:
    place(tmp_path, "CP/1/2", range(3))
    place(tmp_path, "CP/1/2", [1], ".jpg")
    place(tmp_path, "CP/1/3", range(3))
    found = cc_ccii.find(tmp_path, "China")
    assert [scan.scan for scan in found.scans] == ["3"]
    assert "holds the slice of 0001.png twice" in str(found.bad[0])


def test_names_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    folder = place(tmp_path, "CP/1/2", range(3))
    (folder / "0001 (1).png").write_bytes(b"")
    found = cc_ccii.find(tmp_path, "China")
    assert order(found.scans[0]) == [0, 1, 2]
    assert "1 images whose names are no numbers are not read" in found.notes[0]


def test_copies_are_listed_once_and_contradictions_refused(tmp_path: Path) -> None:
    place(tmp_path, "COVID19-7/NCP/16/1164", range(3))
    place(tmp_path, "NCP/NCP/16/1164", range(3))
    place(tmp_path, "NCP/16/1165", range(3))
    place(tmp_path, "CP/17/1165", range(3))
    found = cc_ccii.find(tmp_path, "China")
    assert [scan.scan for scan in found.scans] == ["1164"]
    assert "1 scan folders are copies" in found.notes[0]
    assert "scan 1165 stands 2 times with different contents" in str(found.bad[0])


def test_a_patient_in_two_classes_is_told(tmp_path: Path) -> None:
    place(tmp_path, "NCP/16/1", range(2))
    place(tmp_path, "CP/16/2", range(2))
    assert cc_ccii.find(tmp_path, "China").notes == ("1 patients stand in more than one class: 16 (CP, NCP)",)


def test_empty_packed_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match=r"holds no folder like NCP/16/1164.*Point `root`"):
        cc_ccii.find(tmp_path, "China")
    with pytest.raises(BadSite, match="holds no folder"):
        cc_ccii.find(tmp_path / "gone", "China")
    encode_slice(tmp_path / "0000.png", np.zeros(SIZE, dtype=np.uint8))
    with pytest.raises(BadSite, match="images lie in 1 other folders"):
        cc_ccii.find(tmp_path, "China")
    (tmp_path / "COVID19-1.zip").touch()
    with pytest.raises(BadSite, match=r"holds 1 zip files that are not unpacked \(COVID19-1\.zip.*Unpack them"):
        cc_ccii.find(tmp_path, "China")


def test_metadata_is_never_joined_and_other_tables_refused(tmp_path: Path) -> None:
    place(tmp_path, "NCP/16/1164", range(2))
    (tmp_path / "metadata.csv").write_text("patient_id,scan_id,Age\n16,1164,50\n")
    found = cc_ccii.find(tmp_path, "China")
    assert found.notes == (cc_ccii.find(tmp_path, "China", tmp_path / "metadata.csv")).notes
    assert "metadata.csv is not joined" in found.notes[0]
    assert "age" not in found.scans[0].facts
    with pytest.raises(BadSite, match="CC-CCII takes no labels table"):
        cc_ccii.find(tmp_path, "China", tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("CP,1,2,0,0,,", [0, 1, 2, 3, 4, 5]),
        ("CP,1,2,0,1,0-1;4,", [2, 3, 5]),
        ("CP,1,2,0,0,,reverse", [5, 4, 3, 2, 1, 0]),
        ("CP,1,2,0,0,,3-5+0-2", [3, 4, 5, 0, 1, 2]),
        ("CP,1,2,0,1,1,3-5+0-2", [3, 4, 5, 0, 2]),
        ("CP,1,2,0,1,5,reverse", [4, 3, 2, 1, 0]),
        ("CP,1,2,0,1,04;109120,", [0, 1, 2, 3, 5]),
    ],
)
def test_the_cleaned_table_is_honoured(tmp_path: Path, row: str, expected: list[int]) -> None:
    place(tmp_path, "CP/1/2", range(6))
    repairs(tmp_path, row)
    scan = only(tmp_path)
    assert order(scan) == expected
    assert (scan.facts["slice_order"], scan.facts["lung_segmented"]) == ("cleaned table", False)
    assert cc_ccii.read(scan).voxels[:, 0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("CP,1,2,1,1,discard,", "CT_cleaned_v2.csv discards scan 2 as unusable"),
        ("CP,1,2,1,1,0-5,", r"no slice is left of 6"),
        ("CP,1,2,1,1,3 to 5,", "has repeat_ids '3 to 5' and re_order ''"),
    ],
)
def test_scans_that_the_cleaned_table_empties_are_bad(tmp_path: Path, row: str, reason: str) -> None:
    place(tmp_path, "CP/1/2", range(6))
    repairs(tmp_path, row)
    found = cc_ccii.find(tmp_path, "China")
    assert found.scans == ()
    assert reason in str(found.bad[0])


def test_a_cleaned_table_with_other_columns_is_refused(tmp_path: Path) -> None:
    place(tmp_path, "CP/1/2", range(2))
    (tmp_path / cc_ccii.REPAIRS_TABLE).write_text("a,b\n1,2\n")
    with pytest.raises(BadSite, match=r"lacks the columns scan_id, is_seg, repeat_ids, re_order \(found: a, b\)"):
        cc_ccii.find(tmp_path, "China")


def test_lists_give_the_order_and_the_subset(tmp_path: Path) -> None:
    place(tmp_path, "CP/1/2", range(4))
    place(tmp_path, "NCP/3/4", range(4))
    (tmp_path / "ct_val.json").write_text(json.dumps({"CP": {"1": {"2": ["0003.png", "0001.png", "0009.png"]}}}))
    cp, ncp = sorted(cc_ccii.find(tmp_path, "China").scans, key=lambda s: s.scan)
    assert (order(cp), cp.facts["published_subset"], cp.facts["slice_order"]) == ([3, 1], "val", "cleaned list")
    assert (order(ncp), ncp.facts["slice_order"]) == ([0, 1, 2, 3], "number")
    assert [s.scan for s in cc_ccii.find(tmp_path, "China", listed_only=True).scans] == ["2"]
    (tmp_path / "ct_val.json").write_text("[1, 2]")
    with pytest.raises(BadSite, match=r"ct_val\.json: is no list"):
        cc_ccii.find(tmp_path, "China")


def test_what_the_archives_should_hold_is_checked(tmp_path: Path) -> None:
    place(tmp_path, "NCP/25/1181", range(3))
    rows = [
        "zip_file,label,patient_id,scan_id,n_slice",
        "NCP-8.zip,NCP,25,1181,129",
        "NCP-8.zip,NCP,25,1182,40",
        "CP-1.zip,CP,7,8,50",
        "CP-1.zip,CP,7,9,50",
    ]
    (tmp_path / cc_ccii.UNZIP_TABLE).write_text("\n".join(rows) + "\n")
    found = cc_ccii.find(tmp_path, "China")
    assert len(found.scans) == 1
    assert [str(bad) for bad in found.bad] == [
        "NCP/25/1182: unzip_filenames.csv lists it in NCP-8.zip, but it is not there. Unpack that file again"
    ]
    assert found.notes == (
        "CP-1.zip is not unpacked: its 2 scans are not found",
        "1 scans hold fewer slices than unzip_filenames.csv says, first NCP/25/1181: 3 of 129",
    )


def test_write_refuses_what_the_layout_cannot_hold(tmp_path: Path) -> None:
    voxels = np.zeros((2, 3, 4), dtype=np.int16)
    with pytest.raises(BadScan, match="is HU int16, expected relative uint8"):
        cc_ccii.write(tmp_path, Scan("China", "1", "2", 1), Volume(voxels, "HU", offset=0))
    with pytest.raises(BadScan, match="ids p1/2 are not plain numbers"):
        cc_ccii.write(tmp_path, Scan("China", "p1", "2", 1), Volume(voxels.astype(np.uint8), "relative"))


# The real lists ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(real_data: Path) -> list[dict[str, str]]:
    with (real_data / "cc-ccii-lists" / "CT_cleaned_v2.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _as_scans(counts: dict[str, tuple[int, int]]) -> list[Scan]:
    """Scans with the published numbers of patients and scans a class, spread evenly."""
    scans = []
    for kind, (patients, total) in counts.items():
        label = cc_ccii.LABELS[kind]
        for number in range(total):
            patient = f"{kind}{number % patients}"
            scans.append(Scan("China", patient, f"{kind}-{number}", label, facts={"class": kind}))
    return scans


def _patients(scans: list[Scan], label: int) -> list[int]:
    subsets = split(scans)
    named = {(s.patient, subsets[s.site, s.scan]) for s in scans if s.label == label}
    return [sum(subset == name for _, subset in named) for name in SUBSETS]


def test_split_gives_the_papers_patients() -> None:
    scans = _as_scans({"NCP": (929, 1544), "CP": (964, 1556), "Normal": (849, 1078)})
    assert len(scans) == 4178
    assert _patients(scans, 1) == [669, 74, 186]
    assert _patients(scans, 0) == [1305, 145, 363]


@pytest.mark.real
def test_the_real_cleaned_list_has_these_totals(table: list[dict[str, str]]) -> None:
    """4051 of the 4178 scans; CP is complete (964 patients), the others lack the patients that were all unusable."""
    totals = {
        kind: (len({r["pid"] for r in table if r["cls"] == kind}), sum(r["cls"] == kind for r in table))
        for kind in cc_ccii.LABELS
    }
    assert totals == {"NCP": (916, 1519), "CP": (964, 1549), "Normal": (818, 983)}
    assert len({row["scan_id"] for row in table}) == len(table) == 4051
    assert sum(row["re_order"] == "reverse" for row in table) == 98
    assert sum(row["re_order"] not in ("", "reverse") for row in table) == 61
    assert sum(row["is_repeat"] == "1" for row in table) == 402
    assert sum(row["repeat_ids"] == "discard" for row in table) == 39


@pytest.mark.real
def test_every_row_of_the_real_table_is_read(table: list[dict[str, str]], real_data: Path, tmp_path: Path) -> None:
    """A tree of empty files, as long as each row asks for: all scans but the 39 discarded are found."""
    rows = [row for row in table if row["repeat_ids"] or row["re_order"]]
    for row in rows:
        place_empty(tmp_path, f"{row['cls']}/{row['pid']}/{row['scan_id']}", (0, 5, 60, 130, 260, 700))
    (tmp_path / cc_ccii.REPAIRS_TABLE).write_bytes((real_data / "cc-ccii-lists" / "CT_cleaned_v2.csv").read_bytes())
    found = cc_ccii.find(tmp_path, "China")
    reasons = [bad.what for bad in found.bad]
    assert len(found.scans) + len(found.bad) == len(rows) == 533
    assert sum("discards" in reason for reason in reasons) == 39
    assert all("discards" in reason or "no slice is left" in reason for reason in reasons)


@pytest.mark.real
def test_table_and_list_of_the_release_agree_on_the_order(real_data: Path, tmp_path: Path) -> None:
    """`ct_sub_test.json` keeps every other slice of the permuted scans: the table's order must be the list's."""
    lists = real_data / "cc-ccii-lists"
    published = json.loads((lists / "ct_sub_test.json").read_text())
    named = {
        scan: (f"{kind}/{patient}/{scan}", [int(name[:4]) for name in names])
        for kind, patients in published.items()
        for patient, scans in patients.items()
        for scan, names in scans.items()
    }
    chosen = ["2403", "2404", "2411", "2412", "2413", "2426", "5741", "5692"]
    for scan in chosen:
        place_empty(tmp_path, named[scan][0], range(max(named[scan][1]) + 3))
    (tmp_path / cc_ccii.REPAIRS_TABLE).write_bytes((lists / "CT_cleaned_v2.csv").read_bytes())
    by_table = {scan.scan: order(scan) for scan in cc_ccii.find(tmp_path, "China").scans}
    (tmp_path / "ct_sub_test.json").write_bytes((lists / "ct_sub_test.json").read_bytes())
    by_list = {s.scan: order(s) for s in cc_ccii.find(tmp_path, "China", lists=("ct_sub_test.json",)).scans}
    assert set(by_list) == set(chosen)
    for scan in chosen:
        listed = set(by_list[scan])
        assert by_list[scan] == named[scan][1]
        assert [number for number in by_table[scan] if number in listed] == by_list[scan]


def test_ranges_and_lists_without_end_are_refused(tmp_path: Path) -> None:
    from elsewhere.scans.sites.cc_ccii import REPAIRS_TABLE  # noqa: PLC0415

    scan = Scan("C", "1", "101", 1)
    cc_ccii.write(tmp_path, scan, Volume(np.zeros((3, 4, 4), np.uint8), "relative"))
    (tmp_path / REPAIRS_TABLE).write_text("scan_id,is_seg,repeat_ids,re_order\n101,0,,0-99999999999\n")
    (bad,) = cc_ccii.find(tmp_path, "C").bad
    assert "'0-99999999999' is no range of slices" in bad.what
    (tmp_path / REPAIRS_TABLE).unlink()
    (tmp_path / "ct_train.json").write_text("[" * 100_000)
    with pytest.raises(BadSite, match=r"ct_train\.json: is no list"):
        cc_ccii.find(tmp_path, "C")
    (tmp_path / "ct_train.json").write_text(json.dumps({"NCP": {"1": {"101": ["9" * 5000 + ".png", "0001.png"]}}}))
    assert [len(s.files) for s in cc_ccii.find(tmp_path, "C").scans] == [1]

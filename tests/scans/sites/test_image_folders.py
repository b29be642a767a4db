"""Folders of pictures as people keep them: masks and copies beside slices, patients in names, colour, other files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.intake import take_in
from elsewhere.scans.naming import slices_of
from elsewhere.scans.scan import Found
from elsewhere.scans.sites import images
from elsewhere.scans.slices import encode_slice
from elsewhere.scans.store import Stored
from elsewhere.scans.volume import Preparation


def place(root: Path, *names: str, value: int | None = None, size: tuple[int, int] = (5, 7)) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        encode_slice(root / name, np.full(size, number if value is None else value, np.uint8))


def find(root: Path, *rows: str, **options: object) -> Found:
    (root / "labels.csv").write_text("\n".join(["patient_id,label,path", *rows]) + "\n")
    return images.find(root, "Leiden", **options)  # type: ignore[arg-type]


def numbers(count: int, form: str = "{:04d}.png") -> list[str]:
    return [form.format(k) for k in range(count)]


# What lies beside slices --------------------------------------------------------------------------------------------


def test_masks_and_copies_are_no_slices_and_are_noted(tmp_path: Path) -> None:
    slices = [f"s1/{name}" for name in numbers(6)]
    place(tmp_path, *slices)
    place(tmp_path, "s1/0001_mask.png", "s1/0002_mask.png", value=255)
    shutil.copy(tmp_path / slices[3], tmp_path / "s1/0003 (1).png")
    shutil.copy(tmp_path / slices[4], tmp_path / "s1/0004 - Copy.png")
    found = find(tmp_path, "p1,1,s1")
    assert [path.name for path in found.scans[0].files] == numbers(6)
    assert found.notes == (
        "2 masks beside slices, told by their names, are not read, first s1/0001_mask.png",
        "2 copies of slices are not read, first s1/0003 (1).png",
    )
    assert images.read(found.scans[0]).voxels[:, 0, 0].tolist() == list(range(6))


@pytest.mark.parametrize(
    "names",
    [
        numbers(5, "mask_{:03d}.png"),  # nothing but masks: these are the slices
        numbers(5, "Covid ({}).png"),  # no copies of a "Covid.png"
        numbers(5, "IM{:05d}_seg2.png"),
        ["apex.png", "hilum.png", "base.png"],
        [*numbers(3, "a_{}.png"), *(f"b_{k}.png" for k in range(3, 6))],  # numbers that go on
        ["1_of_5.png", "2_of_5.png", "3_of_5.png"],
    ],
)
def test_names_that_only_look_so_are_slices(tmp_path: Path, names: list[str]) -> None:
    place(tmp_path, *names)
    assert slices_of(tmp_path, names).names == tuple(names)


def test_a_name_like_a_copys_with_other_pixels_is_a_slice(tmp_path: Path) -> None:
    place(tmp_path, "scan.png", "scan (1).png")
    assert slices_of(tmp_path, ["scan.png", "scan (1).png"]).copies == ()


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["0001.png", "0001.jpg", "0002.png"], r"holds one slice twice: 0001\.jpg and 0001\.png"),
        (["1.png", "01.png", "2.png"], r"holds one slice twice: 01\.png and 1\.png"),
        ([*numbers(4, "a_{}.png"), *numbers(4, "b_{}.png")], r"several names that count .*: a_# \(4\), b_# \(4\)"),
    ],
)
def test_folders_of_two_scans_are_refused(tmp_path: Path, names: list[str], reason: str) -> None:
    place(tmp_path / "s1", *names)
    place(tmp_path / "s2", *numbers(3))
    found = find(tmp_path, "p1,1,s1", "p2,0,s2")
    assert [scan.scan for scan in found.scans] == ["s2"]
    (bad,) = [bad for bad in found.bad if bad.where == "s1"]
    with pytest.raises(BadScan, match=reason):
        raise bad


# Patients -----------------------------------------------------------------------------------------------------------


def rows_of(names: list[str], label: int = 1) -> list[str]:
    return [f"{name},{label},{name}" for name in names]


def patients(found: Found) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for scan in found.scans:
        groups.setdefault(scan.patient, []).append(scan.scan)
    return groups


def test_a_pattern_names_the_patient(tmp_path: Path) -> None:
    names = ["pos/p7_s1.png", "pos/p7_s2.png", "pos/p12_s1.png", "pos/other.png"]
    place(tmp_path, *names)
    found = find(tmp_path, *rows_of(names), patient=r"(p\d+)_s")
    assert patients(found) == {"p7": names[:2], "p12": names[2:3], names[3]: names[3:]}
    assert found.notes == (
        "4 scans are of 3 patients by the option `patient`",
        "1 paths do not hold its pattern and keep the table's patient",
    )
    with pytest.raises(BadSite, match=r"is found in none of 4 paths \(pos/p7_s1\.png\)"):
        find(tmp_path, *rows_of(names), patient=r"patient(\d+)")
    with pytest.raises(BadSite, match="no regular expression"):
        find(tmp_path, *rows_of(names), patient=r"(p")


def test_consecutive_names_are_one_patient(tmp_path: Path) -> None:
    names = [f"Covid ({k}).png" for k in (1, 2, 3, 4, 5, 9, 10)]
    place(tmp_path, *names, "a.png", "Healthy (6).png")
    rows = [*rows_of(names), *rows_of(["a.png", "Healthy (6).png"], 0)]
    found = find(tmp_path, *rows, consecutive=3)
    assert [len(group) for group in patients(found).values()] == [3, 2, 2, 1, 1]
    assert found.notes[-1] == "9 scans are of 5 patients by the option `consecutive` = 3"
    mixed = [row.replace(",1,", ",0,") if "(2)" in row else row for row in rows]
    assert [len(g) for g in patients(find(tmp_path, *mixed, consecutive=3)).values()] == [1, 1, 3, 2, 1, 1]
    assert len(patients(find(tmp_path, *rows))) == 9
    for wrong, reason in (({"consecutive": 1}, "Set it to 2"), ({"consecutive": 2, "patient": "x"}, "Give one of")):
        with pytest.raises(BadSite, match=reason):
            find(tmp_path, *rows, **wrong)


# Colour, arrays, windows --------------------------------------------------------------------------------------------


def test_colour_is_not_called_damage(tmp_path: Path) -> None:
    coloured = np.zeros((9, 9, 3), np.uint8)
    coloured[:, :, 0] = 200
    (tmp_path / "s1").mkdir()
    for k in range(4):
        Image.fromarray(coloured).save(tmp_path / f"s1/{k}.png")
    Image.fromarray(coloured).save(tmp_path / "x.png")
    found = find(tmp_path, "p1,1,s1", "p2,0,x.png")
    whole, single = found.scans
    with pytest.raises(BadScan, match=r"4 of 4 slices cannot be used .*0\.png: is a colour image .* Take screenshots"):
        images.read(whole)
    with pytest.raises(BadScan, match=r"x\.png: is a colour image .*Take screenshots and annotated"):
        images.read(single)


def test_arrays_get_a_next_step(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 4)))
    with pytest.raises(BadSite, match=r"but 1 \.npy files, which tell no units\. Save each slice as a 16-bit"):
        images.find(tmp_path, "Leiden")
    with pytest.raises(BadSite, match="no such folder"):
        images.find(tmp_path / "nowhere", "Leiden")
    place(tmp_path, "a.png")
    found = find(tmp_path, "p1,1,a.png", "p2,0,x.npy")
    (bad,) = [bad for bad in found.bad if bad.where == "x.npy"]
    assert "16-bit .tif" in bad.next_step


def examine(_: object) -> dict[str, bool]:
    return {"seen": True}


def test_a_sites_window_is_the_one_it_is_prepared_with(tmp_path: Path) -> None:
    place(tmp_path / "site", "s1/0.png", "s1/1.png", value=255)
    stored = []
    for window in (None, (-1000.0, 400.0)):
        (scan,) = find(tmp_path / "site", "p1,1,s1", window=window).scans
        preparation = Preparation(size=(2, 5, 7), encoding="hu")
        kept = take_in("images", scan, tmp_path / "site", tmp_path / "store", preparation, examine)
        assert isinstance(kept, Stored), kept
        stored.append((kept.maximum, kept.record["facts"]["window_low"], kept.record["facts"]["window_high"]))
    assert stored == [(150, -1350.0, 150.0), (400, -1000.0, 400.0)]
    (scan,) = find(tmp_path / "site", "p1,1,s1").scans
    kept = take_in("images", scan, tmp_path / "site", tmp_path / "store", Preparation(size=(2, 5, 7)), examine)
    assert isinstance(kept, Stored)
    assert "window_low" not in kept.record["facts"]  # as published: no window is assumed


# Without a table ----------------------------------------------------------------------------------------------------


def test_scans_are_named_without_a_table(tmp_path: Path) -> None:
    place(tmp_path, *(f"s1/{name}" for name in numbers(3)))
    place(tmp_path, "mixed/1.png", size=(5, 7))
    place(tmp_path, "mixed/2.png", size=(8, 8))
    place(tmp_path, "words/a.png", "words/b.png")
    assert images.name_scans(tmp_path) == ["mixed/1.png", "mixed/2.png", "s1", "words/a.png", "words/b.png"]
    assert images.name_scans(tmp_path / "s1") == ["."]
    names = images.name_scans(tmp_path / "s1")
    found = find(tmp_path / "s1", *(f"{name},unknown,{name}" for name in names))
    assert [len(scan.files) for scan in found.scans] == [3]

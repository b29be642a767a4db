from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.preference import sharpness
from elsewhere.scans.dicom.series import Series, choose, find_series, valid_uid


def stack(image: Callable, slices: int = 3, uid: str = "1.2.3", **tags: object) -> list[object]:
    return [
        image(-float(z), z + 1, SeriesInstanceUID=uid, SOPInstanceUID=f"{uid}.{z + 1}", **tags) for z in range(slices)
    ]


def test_files_group_by_series_across_folders(tmp_path: Path, image: Callable, save: Callable) -> None:
    first, second = stack(image, 4, "1.1"), stack(image, 3, "1.2", SeriesNumber=7)
    save(tmp_path / "a", [*first[:2], *second])
    save(tmp_path / "b" / "c", first[2:])
    (tmp_path / "a" / ".DS_Store").write_bytes(b"x" * 300)
    (tmp_path / "DICOMDIR").write_bytes(b"x" * 300)
    (tmp_path / "labels.csv").write_text("patient_id,label\n")
    found, orphans = find_series(tmp_path)
    assert {s.uid: (s.slices, s.refusal, s.number) for s in found} == {"1.1": (4, "", None), "1.2": (3, "", 7)}
    assert [path.name for path in found[0].files] == ["0000.dcm", "0001.dcm", "0000.dcm", "0001.dcm"]
    assert orphans == []


@pytest.mark.parametrize("uid", ["", "98C14734-ASSH", "1.02.3"])
def test_without_a_valid_uid_the_folder_groups(tmp_path: Path, image: Callable, save: Callable, uid: str) -> None:
    for name in ("p1/ct", "p2/ct"):
        images = stack(image)
        for dataset in images:
            dataset.add_new("SeriesInstanceUID", "LO", uid)
            dataset.SOPInstanceUID = dataset.SOPInstanceUID if uid else ""
        save(tmp_path / name, images)
    found, _ = find_series(tmp_path)
    assert [(s.uid, s.slices) for s in found] == [("p1/ct", 3), ("p2/ct", 3)]


def test_patients_who_share_a_uid_stay_apart(tmp_path: Path, image: Callable, save: Callable) -> None:
    save(tmp_path / "a", stack(image, 3, PatientID="a"))
    save(tmp_path / "b", stack(image, 4, PatientID="b"))
    assert [(s.patient, s.slices) for s in find_series(tmp_path)[0]] == [("a", 3), ("b", 4)]


def test_copies_of_files_are_left_out(tmp_path: Path, image: Callable, save: Callable) -> None:
    save(tmp_path / "a", stack(image))
    save(tmp_path / "copy", stack(image))
    (found,) = find_series(tmp_path)[0]
    assert found.slices == 3
    assert found.notes == ("3 files left out: copies of others (same image)",)


def test_a_damaged_file_belongs_to_its_folders_only_series(tmp_path: Path, image: Callable, save: Callable) -> None:
    save(tmp_path / "one", stack(image, uid="1.1"))
    save(tmp_path / "two", [*stack(image, uid="1.2"), *stack(image, uid="1.3")])
    for name in ("one", "two"):
        (tmp_path / name / "broken.dcm").write_bytes(b"")
    found, orphans = find_series(tmp_path)
    assert found[0].files[-1].name == "broken.dcm"
    assert found[0].notes == ("1 damaged file: broken.dcm",)
    assert [bad.where for bad in orphans] == [str(tmp_path / "two" / "broken.dcm")]


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Modality": "PT"}, "is no CT but modality 'PT'"),
        ({"Modality": "OT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "is no CT but modality 'OT'"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "is no CT image but Secondary Capture Image Storage"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, r"is a localizer \(ORIGINAL PRIMARY LOCALIZER\)"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "is a rendering, not slices"),
        ({"RescaleType": "Z_EFF"}, "holds values of type Z_EFF, not HU"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "is not axial but coronal"),
    ],
)
def test_what_is_no_axial_primary_ct_is_refused(
    tmp_path: Path, image: Callable, save: Callable, tags: dict[str, object], reason: str
) -> None:
    save(tmp_path, stack(image, **tags))
    (found,) = find_series(tmp_path)[0]
    with pytest.raises(BadScan, match=f"study: has no axial CT series .series None {reason}.*series_uid"):
        choose([found], "study")


def test_what_says_hu_in_its_own_words_is_not_refused(tmp_path: Path, image: Callable, save: Callable) -> None:
    save(tmp_path, stack(image, RescaleType="HOUNSFIELD UNIT"))
    assert find_series(tmp_path)[0][0].refusal == ""


def test_colour_series_are_refused(tmp_path: Path, image: Callable, save: Callable) -> None:
    pixels = np.zeros((4, 18), np.uint8)
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "Columns": 6}
    save(tmp_path, stack(image, pixels=pixels, **tags))
    assert find_series(tmp_path)[0][0].refusal == "holds colour images (RGB)"


BASE = Series("1", "1.9", "p", (), "", False, 100, 300.0, 2, {"thickness_mm": 1.0, "kernel": "B40f"})


@pytest.mark.parametrize(
    "worse",
    [
        replace(BASE, uid="2", refusal="is a localizer", slices=900),
        replace(BASE, uid="2", reformatted=True, slices=900),
        replace(BASE, uid="2", length_mm=190.0, slices=900),
        replace(BASE, uid="2", slices=99),
        replace(BASE, uid="2", facts={**BASE.facts, "thickness_mm": 2.0}),
        replace(BASE, uid="2", facts={**BASE.facts, "kernel": "B70f"}),
        replace(BASE, uid="2", number=3),
        replace(BASE, uid="2"),
    ],
    ids=["refused", "reformatted", "short", "fewer", "thicker", "sharper", "later", "uid"],
)
def test_the_rule_of_choice(worse: Series) -> None:
    for candidates in ([BASE, worse], [worse, BASE]):
        best, (note,) = choose(candidates, "study 1.9")
        assert best is BASE
        assert note.startswith("study 1.9: took series 2 (100 slices, 1.0 mm, kernel B40f, 1); not series ")
    assert choose([BASE], "s") == (BASE, ())


def test_a_derived_series_alone_is_taken_and_said() -> None:
    derived = replace(BASE, reformatted=True)
    assert choose([derived], "s")[1] == (
        "s: only a derived or reformatted series was there, series 2 (100 slices, 1.0 mm, kernel B40f, 1)",
    )


@pytest.mark.parametrize(
    ("softer", "sharper"),
    [("B40f", "B70f"), ("Br38f 3", "Br64d"), ("SOFT", "LUNG"), ("STANDARD", "BONEPLUS"), ("FC07", "FC51"), ("B", "YB")],
)
def test_kernels(softer: str, sharper: str) -> None:
    assert sharpness(softer) < sharpness(sharper)
    assert sharpness("") == sharpness(None) == sharpness("??") == 50


def test_uids() -> None:
    assert valid_uid("1.2.840.0.5")
    assert not any(map(valid_uid, ["", "1", "1.02", "3.1", "1..2", "1.2.x", "1." + "2" * 64]))

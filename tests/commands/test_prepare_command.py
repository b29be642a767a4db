"""`elsewhere prepare` on small sites: names as tables and disks spell them, and what is left out."""

from __future__ import annotations

import csv
import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from openpyxl import Workbook
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.studies.folder import Folder, read_table

STUDY = """protocol = "paper"
[network]
input = [4, 16, 16]
filters = [2]
kernels = [[3, 3, 3]]
pools = []
dense = [8]
groups = 1
dense_groups = 1
[split]
train = 0.34
test = 0.33
[sites.Base]
kind = "volumes"
root = "base"
[sites.X]
kind = "volumes"
root = "x"
use = "test"
"""


def put(path: Path, seed: int) -> None:
    """A volume of its own for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(-1000, 400, (16, 16, 6)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, 1.0, 2.0, 1.0])), path)


def table(root: Path, rows: Sequence[tuple[object, ...]]) -> None:
    lines = [",".join(map(str, row)) for row in (("patient_id", "path", "label"), *rows)]
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study file with a sound site, Base, and a site X for the test to fill."""
    for i in range(6):
        put(tmp_path / "base" / f"b{i}.nii", 100 + i)
    table(tmp_path / "base", [(f"b{i}", f"b{i}.nii", i % 2) for i in range(6)])
    (tmp_path / "x").mkdir()
    file = tmp_path / "tried.toml"
    file.write_text(STUDY)
    return file


def prepare(study: Path) -> Folder:
    """The study's folder, prepared through the command line."""
    folder = Folder(study.parent / "out")
    result = CliRunner().invoke(app, ["prepare", str(study), str(folder.root), "--workers", "1"])
    assert result.exit_code == 0, (result.output, result.exception)
    return folder


def scans(folder: Folder) -> dict[str, str]:
    """Scan -> patient, at X."""
    return {row["scan"]: row["patient"] for row in read_table(folder.scans) if row["site"] == "X"}


def bad(folder: Folder) -> list[tuple[str, str]]:
    with folder.bad_scans.open(encoding="utf-8", newline="") as file:
        return [(row["path"], row["reason"]) for row in csv.DictReader(file)]


def notes(folder: Folder) -> str:
    audit = json.loads(folder.audit.read_text(encoding="utf-8"))
    return " | ".join([*audit["notes"], *audit["warnings"]])


def test_names_that_a_spreadsheet_could_take_for_something_else_stay_apart(study: Path) -> None:
    """Numbers, signs, leading zeros, exponents, formulas and spaces are names like any other."""
    names = ("7", "007", "7.0", "-7", "+7", "1e5", "100000", "=1+1", "@x", "TRUE")
    for i, name in enumerate(names):
        put(study.parent / "x" / f"{name}.nii", i)
    table(study.parent / "x", [(name, f"{name}.nii", i % 2) for i, name in enumerate(names)])
    folder = prepare(study)
    assert scans(folder) == {f"{name}.nii": name for name in names}
    assert bad(folder) == []


def test_names_spelt_otherwise_are_found_where_one_fits_and_listed_where_two_do(study: Path) -> None:
    root = study.parent / "x"
    decomposed = unicodedata.normalize("NFD", "Müller")
    for i, name in enumerate((f"{decomposed}/s.nii", "CT/Upper.nii", "two/a.nii", "two/A.nii", "sound.nii")):
        put(root / name, i)
    rows = [("p1", unicodedata.normalize("NFC", "Müller/s.nii"), 1), ("p2", "ct/upper.NII", 0)]
    table(root, [*rows, ("p3", "TWO/A.NII", 1), ("P1", "sound.nii", 0)])
    folder = prepare(study)
    assert set(scans(folder).values()) == {"p1", "p2", "P1"}
    (first, *others) = bad(folder)
    assert first[0] == "TWO/A.NII"
    assert first[1].startswith("stands for 2 names on disk: two/A.nii; two/a.nii")
    assert [path for path, _ in others] == ["two/A.nii", "two/a.nii"]
    assert "2 scans are spelt otherwise in labels.csv than on disk" in notes(folder)
    assert "patient ids that differ only in their spelling count as different patients: 'P1' and 'p1'" in notes(folder)


def test_ids_that_excel_keeps_as_numbers_stay_whole_or_are_refused(study: Path) -> None:
    root, book = study.parent / "x", Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["patient_id", "path", "label"])
    for i in range(4):
        put(root / f"{i}.nii", i)
        sheet.append([123456789012345 - i, f"{i}.nii", i % 2])  # 15 digits: the most that a number holds
    book.save(root / "labels.xlsx")
    assert set(scans(prepare(study)).values()) == {str(123456789012345 - i) for i in range(4)}
    for row in range(2, 6):
        sheet.cell(row, 1).value = 12345678901234567890 + row
    book.save(root / "labels.xlsx")
    refused = CliRunner().invoke(app, ["prepare", str(study), str(study.parent / "out"), "--workers", "1"])
    assert refused.exit_code == 1
    assert "Format the column as text" in str(refused.exception)
    assert len(scans(Folder(study.parent / "out"))) == 4


def test_rows_without_files_count_in_the_comparison_between_the_classes(study: Path) -> None:
    root = study.parent / "x"
    for i in range(20):
        put(root / f"{i}.nii", i)
    rows = [(f"p{i}", f"{i}.nii", i % 2) for i in range(20)]
    table(root, rows)
    assert "could not be used" not in notes(prepare(study))
    table(root, [*rows, *((f"g{i}", f"gone{i}.nii", 1) for i in range(10))])
    folder = prepare(study)
    assert len(bad(folder)) == 10
    assert "X: 10 of 20 positive scans (50%) and 0 of 10 negative scans (0%) could not be used" in notes(folder)
    table(root, [*rows, *((f"g{i}", f"gone{i}.nii", i % 2) for i in range(10))])  # as many of each class
    assert "could not be used" not in notes(prepare(study))


def test_links_and_names_that_no_text_holds_cost_nothing_else(study: Path) -> None:
    """A link to itself, one that leads nowhere, and a damaged file whose name is Latin-1."""
    root = study.parent / "x"
    put(root / "sound.nii", 0)
    table(root, [("p", "sound.nii", 1)])
    (root / "loop").symlink_to("loop")
    (root / "gone").symlink_to("nowhere")
    Path(os.fsdecode(os.fsencode(root) + b"/M\xfcller.nii")).write_bytes(b"broken")
    folder = prepare(study)
    assert scans(folder) == {"sound.nii": "p"}
    listed = {Path(path).name: reason for path, reason in bad(folder)}
    assert listed["loop"].startswith("is a link that cannot be followed")
    assert listed["gone"] == "is a link that leads nowhere"
    assert "no row in labels.csv" in next(reason for name, reason in listed.items() if name.startswith("M"))

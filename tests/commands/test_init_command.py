"""`elsewhere init`: any folders and any table become a study that prepares, and nothing is guessed where two fit."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere import cli
from elsewhere.commands.init import write_study
from elsewhere.errors import BadStudy, BadTable, ElsewhereError
from elsewhere.scans.inventory import take_inventory
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import Volume
from elsewhere.studies.file import load_study

PATIENTS = 18


def volume(number: int) -> Volume:
    hu = np.random.default_rng(number).normal(-700, 80, (4, 12, 12)).clip(-1000, 300)
    hu[:, :, :3] = 40
    return Volume(hu.astype(np.int16), "HU", (8.0, 0.7, 0.7), 0)


def put(root: Path, kind: str, count: int = PATIENTS, start: int = 0) -> None:
    """Scans s000, s001, …; without a table."""
    for i in range(count):
        reader(kind).write(root, Scan("x", f"P{i + start}", f"s{i + start:03d}", 1), volume(i + start))


def write(path: Path, header: str, rows: Sequence[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def student(tmp_path: Path) -> Path:
    """Two folders of NIfTI and one table of both hospitals."""
    put(tmp_path / "here", "volumes")
    put(tmp_path / "there", "volumes", start=100)
    rows = [
        f"P{i},{'Ulm' if i < 100 else 'Graz'},s{i:03d}.nii.gz,{'Y' if i % 2 else 'N'},{40 + i % 30},F"
        for i in [*range(PATIENTS), *range(100, 100 + PATIENTS)]
    ]
    return write(tmp_path / "all.csv", "ID,hospital,file,COVID,age,gender", rows)


def init(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["init", *map(str, words)])
    return result.exit_code, f"{result.output} {result.exception or ''}"


def labels_of(file: Path, site: str) -> list[dict[str, str]]:
    table = load_study(file).site(site).labels
    assert table
    with table.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_students_table_is_enough(tmp_path: Path) -> None:
    table = student(tmp_path)
    code, output = init(tmp_path / "here", tmp_path / "there", "--table", table, "--positive", "Y", "--out", tmp_path)
    assert code == 0, output
    study = load_study(tmp_path / "study.toml")
    assert [(s.name, s.kind, s.use, s.root.name) for s in study.sites] == [
        ("Ulm", "volumes", "split", "here"),
        ("Graz", "volumes", "split", "there"),
    ]
    first = labels_of(tmp_path / "study.toml", "Ulm")[0]
    assert first == {
        "patient_id": "P0",
        "scan_id": "s000.nii.gz",
        "path": "s000.nii.gz",
        "label": "0",
        "age": "40",
        "sex": "F",
    }
    for site in study.sites:  # what `prepare` will find
        found = reader(site.kind).find(site.root, site.name, site.labels)
        assert (len(found.scans), found.bad, found.notes) == (PATIENTS, (), ())
        assert {s.label for s in found.scans} == {0, 1}


@pytest.mark.parametrize("words", [("--positive", "Y,P"), ("--positive", "Y", "--positive", "P")])
def test_several_labels_are_positive_with_commas_or_repeated(tmp_path: Path, words: tuple[str, ...]) -> None:
    table = student(tmp_path)
    text = table.read_text()
    table.write_text(text.replace("P3,Ulm,s003.nii.gz,Y", "P3,Ulm,s003.nii.gz,P"))
    assert table.read_text() != text
    code, output = init(tmp_path / "here", tmp_path / "there", "--table", table, *words, "--out", tmp_path)
    assert code == 0, output
    labels = {row["patient_id"]: row["label"] for row in labels_of(tmp_path / "study.toml", "Ulm")}
    assert [labels[name] for name in ("P0", "P1", "P3")] == ["0", "1", "1"]


def test_the_written_study_prepares(tmp_path: Path) -> None:
    table = student(tmp_path)
    init(tmp_path / "here", tmp_path / "there", "--table", table, "--positive", "Y", "--out", tmp_path, "--small")
    study = load_study(tmp_path / "study.toml")
    assert study.network.input == (24, 32, 32)
    command = ["prepare", str(tmp_path / "study.toml"), str(tmp_path / "run"), "--workers", "1"]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0, result.exception
    assert (tmp_path / "run" / "scans.parquet").is_file()


def test_every_file_format_and_a_published_layout_are_recognised(tmp_path: Path) -> None:
    for kind in ("dicom", "volumes", "images"):
        put(tmp_path / kind, kind, count=2)
        found = take_inventory(tmp_path / kind)
        assert (found.kind, found.published, len(found.scans)) == (kind, False, 2)
    scan = Scan("x", "study_0300", "study_0300", 1, facts={"category": "CT-1"})
    reader("mosmeddata").write(tmp_path / "mos", scan, volume(0))
    assert (take_inventory(tmp_path / "mos").kind, take_inventory(tmp_path / "mos").published) == ("mosmeddata", True)
    (tmp_path / "dicom" / "preview.png").write_bytes(b"x")
    (tmp_path / "dicom" / "report.pdf").write_bytes(b"x")
    found = take_inventory(tmp_path / "dicom")
    assert found.kind == "dicom"
    assert "1 files that may be images lie beside them and are not used" in found.notes


def test_a_folder_without_scans_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "ct" / "here").mkdir(parents=True)
    (tmp_path / "ct" / "here" / "a.zip").touch()
    with pytest.raises(ElsewhereError, match=r"it holds: 1 \.zip.*unpack archives first"):
        take_inventory(tmp_path / "ct" / "here")
    with pytest.raises(ElsewhereError, match=r"hree: no such folder\. Correct the site's `root`; folders in .*: here"):
        take_inventory(tmp_path / "ct" / "hree")


def test_dicom_is_matched_by_patient_uid_or_folder(tmp_path: Path) -> None:
    put(tmp_path / "in", "dicom")
    names = list(take_inventory(tmp_path / "in").scans)
    tables = {
        "patient": ("PatientID,Diagnosis", [f"P{i},{i % 2}" for i in range(PATIENTS)]),
        "uid": ("pid,SeriesInstanceUID,label", [f"x{i},{uid},{i % 2}" for i, uid in enumerate(names)]),
        "folder": ("pid,path,label", [f"x{i},P{i}/s{i:03d},{i % 2}" for i in range(PATIENTS)]),
    }
    for name, (header, rows) in tables.items():
        out = tmp_path / name
        file = write_study(
            [take_inventory(tmp_path / "in")], write(tmp_path / f"{name}.csv", header, rows), {}, (), out
        )
        (site,) = load_study(file).sites
        found = reader(site.kind).find(site.root, site.name, site.labels)
        assert (site.kind, len(found.scans), found.bad) == ("dicom", PATIENTS, ())


@pytest.mark.parametrize("front", ["here/", "/data/ct/here/", "{root}/"])
def test_paths_may_have_the_folder_in_front(tmp_path: Path, front: str) -> None:
    put(tmp_path / "here", "volumes")
    front = front.format(root=tmp_path / "here")
    table = write(
        tmp_path / "t.csv", "pid,path,label", [f"P{i},{front}S{i:03d}.NII.gz,{i % 2}" for i in range(PATIENTS)]
    )
    file = write_study([take_inventory(tmp_path / "here")], table, {}, (), tmp_path)
    assert labels_of(file, "here")[0]["path"] == "s000.nii.gz"


def test_rows_of_another_folder_are_never_taken_for_this_one(tmp_path: Path) -> None:
    put(tmp_path / "here", "volumes")
    rows = [f"P{i},{'here' if i < 18 else 'there'}/s{i % 18:03d}.nii.gz,{i % 2}" for i in range(36)]
    table = write(tmp_path / "t.csv", "pid,path,label", rows)
    file = write_study([take_inventory(tmp_path / "here")], table, {}, (), tmp_path)
    assert [row["patient_id"] for row in labels_of(file, "here")] == [f"P{i}" for i in range(18)]


def test_files_of_one_name_in_two_folders_are_told_apart_by_the_hospital_or_refused(tmp_path: Path) -> None:
    for name in ("ulm", "graz"):
        put(tmp_path / name, "volumes")
    folders = [take_inventory(tmp_path / name) for name in ("ulm", "graz")]
    rows = [f"{h}{i},{h},s{i:03d}.nii.gz,{i % 2}" for h in ("Graz", "ULM") for i in range(PATIENTS)]
    file = write_study(folders, write(tmp_path / "t.csv", "pid,hospital,file,label", rows), {}, (), tmp_path / "a")
    assert {row["patient_id"][:3] for row in labels_of(file, "ULM")} == {"ULM"}
    assert load_study(file).site("ULM").root.name == "ulm"
    rows = [row.replace("Graz", "A").replace("ULM", "B") for row in rows]
    with pytest.raises(BadTable, match=r"line 2: 's000\.nii\.gz' may be a scan in .*ulm and in .*graz.*folder's name"):
        write_study(folders, write(tmp_path / "u.csv", "pid,hospital,file,label", rows), {}, (), tmp_path / "b")


def test_two_hospitals_in_one_folder_become_two_sites(tmp_path: Path) -> None:
    put(tmp_path / "all" / "x", "volumes")
    put(tmp_path / "all" / "y", "volumes", start=50)
    rows = [f"P{i},{'A' if i < 50 else 'B'},s{i:03d},{i % 2}" for i in [*range(18), *range(50, 68)]]
    table = write(tmp_path / "t.csv", "pid,site,file,label", rows)
    study = load_study(write_study([take_inventory(tmp_path / "all")], table, {}, (), tmp_path))
    assert [(s.name, s.root.name) for s in study.sites] == [("A", "x"), ("B", "y")]
    for site in study.sites:
        assert len(reader(site.kind).find(site.root, site.name, site.labels).scans) == 18


def test_one_scan_in_two_rows_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "here", "volumes", count=1)
    table = write(tmp_path / "t.csv", "pid,hospital,file,label", ["a,A,s000,1", "b,B,s000,0"])
    with pytest.raises(BadTable, match=r"lines 2 and 3 both name .*s000\.nii\.gz"):
        write_study([take_inventory(tmp_path / "here")], table, {}, (), tmp_path)


@pytest.mark.parametrize(
    ("header", "row", "given", "message"),
    [
        ("file,COVID", "s000,1", {}, r"which column is the patient \(columns: 'file', 'COVID'\).*--patient COLUMN"),
        ("pid,file,group", "P0,s000,1", {}, r"which column is the label .*--label COLUMN"),
        ("pid,file,COVID,pcr", "P0,s000,1,1", {}, r"which column is the label"),
        ("pid,file,COVID", "P0,s000,Z", {}, r"not understood: 'Z'.*with --positive; the values are 'Z' \(1\)"),
        ("pid,file,COVID", "P0,s000,1", {"label": "COVD"}, r"no column is called 'COVD'\. Did you mean 'COVID'\?"),
        (
            "pid,file,COVID",
            "P0,other,1",
            {},
            r"none of its 1 rows matches a scan \(table: line 2: 'other'; on disk: s0",
        ),
        ("pid,file,COVID", "P0,s000,1", {}, r"no site has the \d patients of each class"),
    ],
)
def test_what_is_not_clear_is_asked_for_by_name(
    tmp_path: Path, header: str, row: str, given: dict, message: str
) -> None:
    put(tmp_path / "here", "volumes", count=1)
    table = write(tmp_path / "t.csv", header, [row])
    with pytest.raises(ElsewhereError, match=message):
        write_study([take_inventory(tmp_path / "here")], table, given, (), tmp_path)
    assert not (tmp_path / "study.toml").exists()


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    put(tmp_path / "here", "volumes")
    table = write(
        tmp_path / "t.csv", "who,file,group", [f"P{i},s{i:03d},{'ill' if i % 2 else 'well'}" for i in range(18)]
    )
    answers = {"patient": "who", "label": "group", "positive": "ill"}
    asked: list[str] = []

    def ask(question: str, choices: Sequence[str]) -> str:
        (word,) = (word for word in answers if word in question)
        asked.append(word)
        assert answers[word] in choices
        return answers[word]

    file = write_study([take_inventory(tmp_path / "here")], table, {}, (), tmp_path, ask=ask)
    assert asked == ["patient", "label", "positive"]
    assert [row["label"] for row in labels_of(file, "here")[:2]] == ["0", "1"]


def test_the_table_is_found_in_or_beside_the_folders(tmp_path: Path) -> None:
    put(tmp_path / "ct" / "here", "volumes")
    folder = [take_inventory(tmp_path / "ct" / "here")]
    with pytest.raises(BadTable, match=r"tables in and beside the folders: none.*--table"):
        write_study(folder, None, {}, (), tmp_path / "none")
    rows = [f"P{i},s{i:03d},{i % 2}" for i in range(18)]
    write(tmp_path / "ct" / "list.csv", "pid,file,label", rows)
    assert load_study(write_study(folder, None, {}, (), tmp_path / "beside")).sites
    write(tmp_path / "ct" / "other.csv", "pid,file,label", rows)
    with pytest.raises(BadTable, match=r"list\.csv, .*other\.csv"):
        write_study(folder, None, {}, (), tmp_path / "two")


def test_a_study_file_is_never_overwritten(tmp_path: Path) -> None:
    put(tmp_path / "here", "volumes", count=1)
    (tmp_path / "study.toml").write_text("mine")
    with pytest.raises(BadStudy, match="is there already"):
        write_study([take_inventory(tmp_path / "here")], None, {}, (), tmp_path)
    assert (tmp_path / "study.toml").read_text() == "mine"

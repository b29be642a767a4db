"""Structured reports to a table: scores, calls, refusals, findings, versions, ids; and what is an error."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from reports import FINDING, PROBABILITY, Code, algorithm, coded, content, group, number, write_report

from elsewhere.errors import BadTable
from elsewhere.scans.results import read_reports, write_results_table

PNEUMONIA: Code = ("233604007", "SCT", "Pneumonia")
EFFUSION: Code = ("60046008", "SCT", "Pleural effusion")
PRESENT, ABSENT = ("52101004", "SCT", "Present"), ("2667000", "SCT", "Absent")
PERCENT = ("%", "UCUM", "%")


def table(folder: Path, **options: object) -> tuple[list[dict[str, str]], bool, tuple[str, ...]]:
    found = write_results_table(folder, folder.parent / "results.csv", **options)  # type: ignore[arg-type]
    with found.path.open(newline="") as file:
        return list(csv.DictReader(file)), found.percent, found.remarks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sr" / "below").mkdir(parents=True)
    (tmp_path / "sr" / "readme.txt").write_text("no DICOM")
    return tmp_path / "sr"


def test_a_report_is_a_row(folder: Path) -> None:
    for i, (value, call) in enumerate(((0.91, PRESENT), (0.08, ABSENT))):
        groups = [
            group(coded(FINDING, PNEUMONIA), *algorithm("4.1"), number(PROBABILITY, value), coded(PNEUMONIA, call))
        ]
        name = folder / ("below" if i else "") / f"{i}.dcm"
        write_report(name, groups, series=[f"1.2.{i}"], study=f"1.3.{i}", accession=f"A{i}", patient=f"p{i}")
    rows, percent, remarks = table(folder)
    assert [(r["scan"], r["patient"], r["score"], r["call"], r["finding"], r["version"]) for r in rows] == [
        ("1.2.0", "p0", "0.91", "1", "Pneumonia", "4.1"),
        ("1.2.1", "p1", "0.08", "0", "Pneumonia", "4.1"),
    ]
    assert (rows[0]["date"], rows[0]["sex"], rows[0]["age"], rows[0]["study_uid"]) == ("20260302", "F", "063Y", "1.3.0")
    assert not percent
    assert "the score is 'Probability of cancer', a scan is a series, the call is 'Pneumonia'" in remarks[0]


def test_the_scan_is_what_the_labels_name(folder: Path) -> None:
    for i in range(3):
        write_report(folder / f"{i}.dcm", [group(number(PROBABILITY, 0.5))], series=[f"1.2.{i}"], study=f"1.3.{i}",
                     accession=f"A{i}")  # fmt: skip
    labels = folder.parent / "labels.csv"
    for kind, ids in (("study", [f"1.3.{i}" for i in range(3)]), ("accession", [f"A{i}" for i in range(3)])):
        labels.write_text("id,label\n" + "".join(f"{name},1\n" for name in ids))
        rows, _, remarks = table(folder, labels=labels)
        assert [r["scan"] for r in rows] == ids
        assert f"a scan is a {kind}" in remarks[0] or f"a scan is an {kind}" in remarks[0]


def test_percent_is_told_from_shares_by_its_unit(folder: Path) -> None:
    write_report(folder / "0.dcm", [group(number(PROBABILITY, 0.4, PERCENT))], series=["1.2"], study="1.3")
    rows, percent, _ = table(folder)
    assert (rows[0]["score"], percent) == ("0.4", True)
    write_report(folder / "1.dcm", [group(number(PROBABILITY, 0.4))], series=["1.4"], study="1.5")
    with pytest.raises(BadTable, match="in percent in some reports, not in others"):
        table(folder)


def test_what_the_product_could_not_do_is_a_row_with_its_reason(folder: Path) -> None:
    why = ("114006", "DCM", "Measurement failure")
    failed = coded(("111065", "DCM", "Summary of Analyses"), ("111225", "DCM", "Not Attempted"))
    finding = coded(FINDING, PNEUMONIA)
    write_report(folder / "0.dcm", [group(finding, number(PROBABILITY, 0.7))], series=["1.0"], study="2.0")
    write_report(folder / "1.dcm", [group(finding, number(PROBABILITY, None, why=why))], series=["1.1"], study="2.1")
    write_report(folder / "2.dcm", [], series=["1.2"], study="2.2", beside=[failed])
    write_report(folder / "3.dcm", [], series=["1.3"], study="2.3")
    rows, _, _ = table(folder)
    assert [r["refused"] for r in rows] == ["", "Measurement failure", "not attempted", "no score in its report"]
    assert {r["finding"] for r in rows} == {"Pneumonia"}


def test_another_number_without_a_value_refuses_nothing(folder: Path) -> None:
    volume = ("118565006", "SCT", "Volume")
    write_report(folder / "0.dcm", [group(number(PROBABILITY, 0.7), number(volume, None))], series=["1"], study="2")
    rows, _, _ = table(folder)
    assert [(r["score"], r.get("refused", "")) for r in rows] == [("0.7", "")]


def test_several_findings_are_rows_of_their_own_and_a_failure_counts_for_each(folder: Path) -> None:
    both = [group(coded(FINDING, f), number(PROBABILITY, s)) for f, s in ((PNEUMONIA, 0.9), (EFFUSION, 0.2))]
    write_report(folder / "0.dcm", both, series=["1.0"], study="2.0")
    write_report(folder / "1.dcm", [], series=["1.1"], study="2.1")
    rows, _, _ = table(folder)
    assert [(r["scan"], r["finding"], r["score"]) for r in rows] == [
        ("1.0", "Pneumonia", "0.9"),
        ("1.0", "Pleural effusion", "0.2"),
        ("1.1", "Pneumonia", ""),
        ("1.1", "Pleural effusion", ""),
    ]


def test_a_report_that_another_one_replaces_is_left_out(folder: Path) -> None:
    write_report(folder / "0.dcm", [group(number(PROBABILITY, 0.9))], series=["1"], study="2", uid="1.2.3")
    write_report(folder / "1.dcm", [group(number(PROBABILITY, 0.1))], series=["1"], study="2", replaces="1.2.3")
    rows, _, _ = table(folder)
    assert [r["score"] for r in rows] == ["0.1"]


def test_a_number_outside_a_group_counts_too(folder: Path) -> None:
    beside = content("CONTAINER", ("C0034375", "UMLS", "Qualitative Evaluations"), children=[number(PROBABILITY, 0.3)])
    write_report(folder / "0.dcm", [], series=["1"], study="2", beside=[beside])
    assert table(folder)[0][0]["score"] == "0.3"


def test_several_series_are_told_by_the_study(folder: Path) -> None:
    write_report(folder / "0.dcm", [group(number(PROBABILITY, 0.3))], series=["1", "2"], study="3")
    assert table(folder)[0][0]["scan"] == "3"


def test_calls_that_could_be_several_are_not_guessed(folder: Path) -> None:
    calls = [coded(PNEUMONIA, PRESENT), coded(EFFUSION, ABSENT)]
    write_report(folder / "0.dcm", [group(number(PROBABILITY, 0.3), *calls)], series=["1"], study="3")
    rows, _, remarks = table(folder)
    assert "call" not in rows[0]
    assert "Several calls" in remarks[1]


def test_what_cannot_be_told_is_an_error(folder: Path) -> None:
    with pytest.raises(BadTable, match=r"holds no DICOM structured report \(1 other files\)"):
        table(folder)
    risk = ("1", "99X", "Risk score")
    write_report(folder / "0.dcm", [group(number(PROBABILITY, 0.3), number(risk, 3))], series=["1"], study="3")
    with pytest.raises(BadTable, match="2 numbers may be the score: 'Probability of cancer', 'Risk score'"):
        table(folder)
    assert table(folder, score="risk score")[0][0]["score"] == "3"
    with pytest.raises(BadTable, match="no report holds a number 'x'"):
        table(folder, score="x")
    write_report(folder / "1.dcm", [group(number(risk, 1)), group(number(risk, 2))], series=["4"], study="5")
    rows, _, _ = table(folder, score="risk score")
    assert len(rows) == 3
    write_report(folder / "2.dcm", [group(number(risk, 1), number(risk, 2))], series=["6"], study="7")
    with pytest.raises(BadTable, match="holds 2 values of 'Risk score'"):
        table(folder, score="risk score")
    with pytest.raises(BadTable, match="is no folder"):
        table(folder / "none")


def test_a_damaged_report_is_an_error_that_names_it(folder: Path) -> None:
    write_report(folder / "0.dcm", [group(number(PROBABILITY, 0.3))], series=["1"], study="3")
    content_ = (folder / "0.dcm").read_bytes()
    at = content_.index(b"Probability")
    (folder / "1.dcm").write_bytes(content_[: at + 4])
    with pytest.raises(BadTable, match=r"1\.dcm"):
        read_reports(folder, [])


def test_what_could_not_be_listed_is_told(folder: Path) -> None:
    write_report(folder / "0.dcm", [group(number(PROBABILITY, 0.3))], series=["1"], study="3")
    (folder / "more").symlink_to(folder / "gone")
    found = write_results_table(folder, folder.parent / "results.csv")
    assert any("more" in remark and "was not read" in remark for remark in found.remarks)

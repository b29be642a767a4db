from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.label_columns import TableOptions
from elsewhere.scans.labels import (
    LabelRow,
    find_table,
    match,
    read_labels,
    row_of,
    write_labels,
)
from elsewhere.scans.values import LABELS, normal_path, parse_age, parse_date, slash_order


def table(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


GOOD = "patient_id,series_uid,label\np1,1.2.3,1\np2,1.2.4,0\n"


def test_reads_the_plain_table(tmp_path: Path) -> None:
    assert read_labels(table(tmp_path, GOOD), "home") == [
        LabelRow("p1", 1, series_uid="1.2.3", scan="1.2.3"),
        LabelRow("p2", 0, series_uid="1.2.4", scan="1.2.4"),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        ("\ufeff" + GOOD.replace("\n", "\r\n")).encode(),
        GOOD.replace(",", ";").encode(),
        GOOD.replace(",", "\t").encode("utf-16"),
        GOOD.replace("patient_id", '"Patient ID"').replace("series_uid", "SeriesInstanceUID").encode(),
        (GOOD + ",,\n\n").encode(),
        GOOD.replace("p1", " p1 ").encode(),
    ],
    ids=["bom-crlf", "semicolons", "utf16-tabs", "other-names", "blank-lines", "spaces"],
)
def test_tables_as_spreadsheets_save_them(tmp_path: Path, raw: bytes) -> None:
    assert read_labels(table(tmp_path, raw), "home") == read_labels(table(tmp_path, GOOD, "plain.csv"), "home")


def test_latin_1_and_quoted_commas(tmp_path: Path) -> None:
    raw = 'patient_id;path;label;subset\n"Müller; A";x\\y\\;1;other\n'.encode("latin-1")
    (row,) = read_labels(table(tmp_path, raw), "home")
    assert (row.patient, row.path, row.subset, row.scan) == ("Müller; A", "x/y", "other", "x/y")


def test_facts_are_made_comparable(tmp_path: Path) -> None:
    text = (
        "patient_id,path,label,scan_id,contrast,date,age,sex\n"
        "a,x,positive,s1,yes,20200407,053Y,female\n"
        "b,y,NEG,s2,portal venous,2020-04-07,018M,m\n"
        "c,z,covid-19,s3,,N/A,,O\n"
    )
    first, second, third = read_labels(table(tmp_path, text), "home")
    assert dict(first.facts) == {"contrast": True, "date": "2020-04-07", "age": 53, "sex": "F"}
    assert dict(second.facts) == {"contrast": "portal venous", "date": "2020-04-07", "age": 1.5, "sex": "M"}
    assert dict(third.facts) == {"sex": "O"}
    assert [first.label, second.label, third.label] == [1, 0, 1]


def test_xlsx(tmp_path: Path) -> None:
    book = Workbook()
    book.active.append(["patient_id", "study_uid", "label", "age", "date"])
    book.active.append([7, "1.2", 1.0, 53, datetime(2020, 4, 7)])
    book.save(tmp_path / "labels.xlsx")
    found = find_table(tmp_path, None, "home")
    (row,) = read_labels(found, "home")
    assert row == LabelRow("7", 1, study_uid="1.2", scan="1.2", facts={"age": 53, "date": "2020-04-07"})


def test_xlsx_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match="not a readable XLSX file"):
        read_labels(table(tmp_path, GOOD, "labels.xlsx"), "home")


def test_every_accepted_label_reads_in_any_case(tmp_path: Path) -> None:
    rows = "".join(f"p{i},d{i},{text.upper()}\n" for i, text in enumerate(LABELS))
    read = read_labels(table(tmp_path, "patient_id,path,label\n" + rows), "home")
    assert [row.label for row in read] == list(LABELS.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the table is empty \(0 lines"),
        ("patient_id,path,label\n", r"the table is empty \(1 lines"),
        (
            "patient_id,path,lable\np,x,1\n",
            r"missing columns: label \(`lable` may be label\) .*Columns accepted: patient_id",
        ),
        ("path,label\nx,1\n", r"missing columns: patient_id \(found: path, label\).*Columns accepted"),
        ("patient_id,label\np,1\n", "missing columns: series_uid or path or study_uid"),
        ("patient_id,path,label,Patient ID\np,x,1,p\n", "has duplicated columns: patient_id"),
        ("patient_id,path,label\np,x,2\n", "line 2: label '2' is outside the classes.*labels accepted: 1, positive"),
        ("patient_id,path,label\np,x,\n", "line 2: label '' is outside the classes"),
        ("patient_id,path,label\n,x,1\n", "line 2: patient_id is empty"),
        ("patient_id,path,label\np,,1\n", "line 2: series_uid and path and study_uid empty"),
        ("patient_id,path,label\np,x,1\nq,./x/,0\n", r"1 scan is named more than once: x \(lines 2 and 3\)"),
        ("patient_id,path,label,scan_id\np,x,1,a\nq,x,0,b\n", r"1 scan is named more than once: x \(lines 2 and 3\)"),
        ("patient_id,path,label,scan_id\np,x,1,a\nq,y,0,a\n", r"1 scan_id is named more than once: a \(lines 2"),
        (
            "patient_id,path,label\n1.23457E+19,x,1\n",
            "line 2: '1.23457E.19' is a number that a spreadsheet",
        ),
        ('patient_id,path,label\np,"x,1\nq,y,0\n', "line 2: a quotation mark is not closed"),
        ('patient_id,path,label\np,"x,1\n' + "q,y,0\n" * 30 + '"z,w,1\n', "line 2: a quotation mark is not closed"),
    ],
)
def test_faulty_tables_say_what_and_what_next(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadSite, match=message):
        read_labels(table(tmp_path, text), "home")


def test_unknown_columns_are_a_note(tmp_path: Path) -> None:
    notes: list[str] = []
    text = "patient_id,path,label,scanner,subest\np,x,1,S,a\nq,y,0,S,a\n"
    rows = read_labels(table(tmp_path, text), "home", notes=notes)
    assert [row.subset for row in rows] == ["", ""]
    assert notes == ["labels.csv: columns not used: scanner, subest (did you mean subset?)"]
    notes.clear()
    read_labels(table(tmp_path, GOOD), "home", notes=notes)
    assert notes == []


OWN = "ID,file,COVID\np,x,Y\nq,y,N\n"
OWN_COLUMNS = {"patient_id": "ID", "path": "file", "label": "COVID"}


def test_a_table_with_its_own_columns_and_labels(tmp_path: Path) -> None:
    for options in (TableOptions(OWN_COLUMNS, ["y"]), TableOptions(OWN_COLUMNS, ["Y"], ["N"])):
        rows = read_labels(table(tmp_path, OWN), "home", options=options)
        assert [(row.patient, row.path, row.label) for row in rows] == [("p", "x", 1), ("q", "y", 0)]
    with pytest.raises(BadSite, match=r"label 'N' is outside the classes.*site's options, as positive = \[\"N\"\]"):
        read_labels(table(tmp_path, OWN.replace("Y", "1")), "home", options=TableOptions(OWN_COLUMNS))
    with pytest.raises(BadSite, match="label 'N' is outside"):  # both are named: a third word is no negative
        read_labels(table(tmp_path, OWN), "home", options=TableOptions(OWN_COLUMNS, ["Y"], ["none"]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": "COVD"}, r"no column is called 'COVD'.*Did you mean 'COVID'\?"),
        ({"lable": "COVID"}, r"names 'lable', which no labels table has.*Did you mean 'label'\?"),
    ],
)
def test_columns_that_are_not_there(tmp_path: Path, columns: dict[str, str], message: str) -> None:
    with pytest.raises(BadSite, match=message):
        read_labels(table(tmp_path, OWN), "home", options=TableOptions({**OWN_COLUMNS, **columns}))


def test_one_table_for_two_sites(tmp_path: Path) -> None:
    path = table(tmp_path, "patient_id,path,label,hospital\np,x,1,Here\nq,x,0,there\nr,z,0,There\n")
    notes: list[str] = []
    assert [r.patient for r in read_labels(path, "here", notes=notes)] == ["p"]
    assert notes == ["labels.csv: 2 rows of other sites are not read"]
    assert [r.patient for r in read_labels(path, "B", root=tmp_path / "there")] == ["q", "r"]
    with pytest.raises(BadSite, match=r"names others only \('Here', 'there', 'There'\)"):
        read_labels(path, "Elsewhere", root=tmp_path / "x")
    same = table(tmp_path, "patient_id,path,label,site\np,x,1,chest\nq,y,0,chest\n", "same.csv")
    assert len(read_labels(same, "here")) == 2  # says nothing
    both = table(tmp_path, "patient_id,path,label,site\np,x,1,left\nq,y,0,right\n", "both.csv")
    assert len(read_labels(both, "here", options=TableOptions({"site": ""}))) == 2


def test_paths_with_the_root_in_front(tmp_path: Path) -> None:
    (tmp_path / "here" / "deep").mkdir(parents=True)
    fronts = [f"{tmp_path}/here/", "here/", f"{tmp_path.name}/here/", "deep/", "there/", "/data/here2/"]
    text = "patient_id,path,label\n" + "".join(f"p{i},{front}s{i},1\n" for i, front in enumerate(fronts))
    rows = read_labels(table(tmp_path, text), "home", root=tmp_path / "here")
    assert [r.path for r in rows] == ["s0", "s1", "s2", "deep/s3", "there/s4", "data/here2/s5"]
    (tmp_path / "here" / "here").mkdir()  # a folder of that name below the root goes first
    assert read_labels(table(tmp_path, text), "home", root=tmp_path / "here")[1].path == "here/s1"


def test_probabilities_in_place_of_labels(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match=r"\(2 of 2 rows\)\. These look like probabilities: .*`elsewhere evaluate`"):
        read_labels(table(tmp_path, "patient_id,path,label\np,x,0.93\nq,y,0.1\n"), "home")


def test_many_wrong_rows_are_counted(tmp_path: Path) -> None:
    text = "patient_id,path,label\n" + "".join(f"p,x{i},maybe\n" for i in range(9))
    with pytest.raises(BadSite, match=r"line 6: .*; and 4 more"):
        read_labels(table(tmp_path, text), "home")


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match=r"no labels table \(.*labels.csv or .*labels.xlsx not found; tables there: none"):
        find_table(tmp_path, None, "home")
    with pytest.raises(BadSite, match="no labels table"):
        find_table(tmp_path, tmp_path / "elsewhere.csv", "home")
    with pytest.raises(BadSite, match="no such table"):
        read_labels(tmp_path / "elsewhere.csv", "home")


@pytest.mark.parametrize(
    "names", [["Labels.CSV"], ["all.csv"], ["labels.csv", "labels.xlsx"], ["other.csv", "LABELS.csv"]]
)
def test_the_table_is_found_by_its_name_or_because_it_is_the_only_one(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert find_table(tmp_path, None, "home").name == names[0 if names[0] != "other.csv" else 1]


def test_of_several_tables_none_is_guessed(tmp_path: Path) -> None:
    for name in ("a.csv", "b.xlsx"):
        (tmp_path / name).touch()
    with pytest.raises(BadSite, match=r"tables there: a\.csv, b\.xlsx"):
        find_table(tmp_path, None, "home")


def test_titles_and_comments_above_the_header_are_passed_over(tmp_path: Path) -> None:
    text = "# exported 2026\nOur hospital,,\n\npatient_id,path,label\n# half way\np,x,1\n"
    (row,) = read_labels(table(tmp_path, text), "home")
    assert (row.patient, row.label) == ("p", 1)
    with pytest.raises(BadSite, match="line 6: label 'maybe'"):
        read_labels(table(tmp_path, text.replace("p,x,1", "p,x,maybe")), "home")


def test_values_that_are_none_are_left_out_and_told(tmp_path: Path) -> None:
    text = "patient_id,path,label,age,date\na,a,1,fifty,04/07/2020\nb,b,0,>89,2020-04-07\n"
    rows = read_labels(table(tmp_path, text), "home")
    assert [dict(row.facts) for row in rows] == [{}, {"age": 90, "date": "2020-04-07"}]
    notes = match(rows, {"a": 1, "b": 2}, Path("labels.csv")).notes
    assert notes == (
        "labels.csv: the date of 1 row is left out: date '04/07/2020' may be day or month first",
        "labels.csv: the age of 1 row is left out: age 'fifty' is neither years nor like 053Y",
    )


def test_one_date_decides_how_a_column_is_read(tmp_path: Path) -> None:
    text = "patient_id,path,label,date\na,a,1,13/02/2020\nb,b,0,04/07/2020\n"
    assert [r.facts["date"] for r in read_labels(table(tmp_path, text), "home")] == ["2020-02-13", "2020-07-04"]
    assert slash_order(["02/13/2020", "04/07/2020"]) == "month first"
    assert slash_order(["02/13/2020", "13/02/2020"]) is None


def test_names_are_found_in_another_spelling_where_there_is_one_only() -> None:
    on_disk = {"Mu\u0308ller/s": 1, "P2.nii": 2, " lead": 3, "a": 4, "A": 5}
    rows = [LabelRow(p, 0, path=p, scan=p) for p in ("M\u00fcller/s", "p2.NII", "lead", "a")]
    matched = match(rows, on_disk, Path("t.csv"))
    assert [found for _, found in matched.pairs] == [1, 2, 3, 4]
    assert "3 scans are spelt otherwise in t.csv than on disk (case, accents, spaces)" in matched.notes


def test_a_spelling_that_stands_for_two_names_is_not_guessed() -> None:
    rows = [LabelRow("b", 0, path="b", scan="b"), LabelRow("q", 0, path="q", scan="q")]
    matched = match(rows, {"B": 1, "B ": 2, "q": 3}, Path("t.csv"))
    assert [found for _, found in matched.pairs] == [3]
    assert matched.bad[0].what == "stands for 2 names on disk: B; B "


def test_patients_that_differ_only_in_case_are_told() -> None:
    rows = [LabelRow("P1", 1, path="a", scan="a"), LabelRow("p1", 0, path="b", scan="b")]
    (note,) = match(rows, {"a": 1, "b": 2}, Path("t.csv")).notes
    assert note == "t.csv: patient ids that differ only in their spelling count as different patients: 'P1' and 'p1'"
    assert match(rows[:1], {"a": 1}, Path("t.csv")).notes == ()


def test_further_columns_and_names_on_request(tmp_path: Path) -> None:
    stoic = table(tmp_path, "PatientID,probCOVID,probSevere\n12,1,0\n")
    rows = read_labels(stoic, "stoic", ("patient_id",), ("probSevere",), {"probCOVID": "label"})
    assert rows == [LabelRow("12", 1, scan="12")]


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("053Y", 53),
        ("53", 53),
        ("018M", 1.5),
        ("7 D", 0.019),
        ("0.667", 0.667),
        ("53,5", 53.5),
        ("90+", 90),
        ("> 89", 90),
    ],
)
def test_ages(text: str, years: float) -> None:
    assert parse_age(text) == years


@pytest.mark.parametrize("text", ["old", "-3", "999", "5 3", ""])
def test_no_ages(text: str) -> None:
    with pytest.raises(ValueError, match="neither years"):
        parse_age(text)


@pytest.mark.parametrize(
    "text", ["20200407", "2020-04-07", "2020/4/7", "7.4.2020", "2020-04-07 00:00:00", "2020-04-07T10:00"]
)
def test_dates(text: str) -> None:
    assert parse_date(text) == "2020-04-07"


def test_no_dates() -> None:
    with pytest.raises(ValueError, match="date 'spring 2020' is not written as 2020-04-07"):
        parse_date("spring 2020")


words = st.text("abcXYZ019 ,;\"'é_-", min_size=1, max_size=9).map(str.strip).filter(bool)
facts = st.fixed_dictionaries(
    {},
    optional={
        "contrast": st.booleans() | st.just("arterial"),
        "date": st.dates().map(lambda d: d.isoformat()),
        "age": st.integers(0, 120),
        "sex": st.sampled_from("MFO"),
    },
)
rows_of_tables = st.lists(
    st.builds(LabelRow, words, st.sampled_from([0, 1, None]), words, words, words, words, words, facts),
    min_size=1,
    max_size=5,
    unique_by=(lambda row: row.key, lambda row: row.scan),
)


@given(rows_of_tables)
def test_read_undoes_write(tmp_path_factory: pytest.TempPathFactory, rows: list[LabelRow]) -> None:
    path = tmp_path_factory.mktemp("table") / "labels.csv"
    write_labels(path, rows)
    assert read_labels(path, "home") == rows


def test_a_row_becomes_a_scan_and_comes_back() -> None:
    row = LabelRow("p", 1, path="a", scan="s", subset="other", facts={"age": 50})
    scan = row.as_scan("home", [Path("a")], {"age": 49, "kernel": "B70f"})
    assert (scan.site, scan.stratum, dict(scan.facts)) == ("home", "other", {"age": 50, "kernel": "B70f"})
    assert row_of(scan, path="a") == row


ROWS = [LabelRow("p", 1, path="a", scan="a"), LabelRow("q", 0, path="b", scan="b")]


def test_match_lists_what_is_left_over() -> None:
    matched = match(ROWS, {"a": 10, "c": 30, "d": 40}, Path("labels.csv"))
    assert matched.pairs == ((ROWS[0], 10),)
    assert [bad.where for bad in matched.bad] == ["b", "c", "d"]
    assert "lists it as 'b' (patient q), but no such scan was found" in matched.bad[0].what
    assert matched.bad[1].what == "no row in labels.csv"
    assert matched.notes == (
        "1 row of labels.csv has no usable scan",
        "2 scans on disk have no row in labels.csv and are not used",
    )


def test_match_keeps_images_from_serving_twice_and_takes_better_reasons() -> None:
    matched = match([*ROWS, LabelRow("r", 0, path="z", scan="z")], {"a": 1}, Path("t.csv"), _look_up)
    assert len(matched.pairs) == 1
    assert [bad.what for bad in matched.bad] == [
        "t.csv gives it the same images as 'a' (patients q and p)",
        "a localizer",
    ]


def _look_up(row: LabelRow) -> str:
    if row.path == "z":
        raise BadScan("z", "a localizer", "Name the axial series")
    return "a"


def test_nothing_matched_is_a_bad_site() -> None:
    with pytest.raises(BadSite, match=r"none of its 2 rows matches a scan \(table: a; b; on disk: c\)"):
        match(ROWS, {"c": 1}, Path("labels.csv"))
    with pytest.raises(BadSite, match=r"on disk: none\). First reason: "):
        match(ROWS, {}, Path("labels.csv"))


def test_normal_path() -> None:
    assert normal_path(".\\ct\\p1/") == "ct/p1"
    assert replace(ROWS[0], path="").key == "p"

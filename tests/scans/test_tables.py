"""Published tables: CSV and XLSX read alike."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook

from elsewhere.errors import BadSite
from elsewhere.scans.tables import known, read_rows, write_rows


def test_bom_crlf_blank_lines_and_spaces(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeffid,name\r\n1, a \r\n\r\n2,b\r\n".encode())
    assert read_rows(tmp_path / "a.csv", ("id",)) == [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]


def test_xlsx_reads_like_csv(tmp_path: Path) -> None:
    book = Workbook()
    for row in (["id", "name"], [1.0, "a"], [None, None], [2, None]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    assert read_rows(tmp_path / "a.xlsx", ("id", "name")) == [{"id": "1", "name": "a"}, {"id": "2", "name": ""}]


def test_written_rows_are_read_again(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", ("id", "name"), [{"id": 1, "name": "a, b"}, {"id": 2, "name": None}])
    assert read_rows(tmp_path / "a.csv", ()) == [{"id": "1", "name": "a, b"}, {"id": "2", "name": ""}]


def test_a_table_saved_in_a_western_encoding_with_semicolons_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("id;name\n1;Müller\n".encode("latin-1"))
    assert read_rows(tmp_path / "a.csv", ("id",)) == [{"id": "1", "name": "Müller"}]


def test_wrong_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match=r"a\.csv: no such table"):
        read_rows(tmp_path / "a.csv", ("id",))
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(BadSite, match=r"lacks the columns id \(found: nothing\)"):
        read_rows(tmp_path / "a.csv", ("id",))
    (tmp_path / "a.xlsx").write_bytes(b"PK no")
    with pytest.raises(BadSite, match="not a readable XLSX file"):
        read_rows(tmp_path / "a.xlsx", ("id",))


def sheet(rows: list[list[object]], path: Path) -> Path:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path.with_suffix(".xlsx"))
    return path.with_suffix(".xlsx").rename(path)


def test_a_spreadsheet_is_read_as_one_whatever_its_name(tmp_path: Path) -> None:
    assert read_rows(sheet([["id"], ["a"]], tmp_path / "labels.csv"), ("id",)) == [{"id": "a"}]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old kind"),
        (b"ods", "another kind"),
        (b"PK\x03\x04 damaged", "not a readable"),
    ],
)
def test_other_spreadsheets_are_told(tmp_path: Path, raw: bytes, words: str) -> None:
    path = tmp_path / "labels.csv"
    if raw == b"ods":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
    else:
        path.write_bytes(raw)
    with pytest.raises(BadSite, match=words):
        read_rows(path, ())


@pytest.mark.parametrize("number", [12345678901234567890, 1e15, -2.5e17])
def test_numbers_that_excel_has_rounded_are_refused(tmp_path: Path, number: float) -> None:
    with pytest.raises(BadSite, match=r"row 2 holds the number .* keeps 15 digits.*Format the column as text"):
        read_rows(sheet([["id"], [number]], tmp_path / "a.xlsx"), ("id",))
    assert read_rows(sheet([["id"], [999999999999999]], tmp_path / "b.xlsx"), ("id",)) == [{"id": "999999999999999"}]


def test_a_cell_far_outside_makes_no_million_rows(tmp_path: Path) -> None:
    book = Workbook()
    book.active["A1"], book.active["A2"], book.active["XFD1048576"] = "id", "a", "x"
    book.save(tmp_path / "a.xlsx")
    assert read_rows(tmp_path / "a.xlsx", ("id",)) == [{"id": "a"}]


def test_an_archive_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as packed, packed.open("x.xml", "w") as part:
        for _ in range(300):
            part.write(bytes(1_000_000))
    with pytest.raises(BadSite, match="unpacks to 300 MB"):
        read_rows(tmp_path / "a.xlsx", ())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-8-sig", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes("id,name\n1,Müller – x\n".encode(encoding))
    assert read_rows(tmp_path / "a.csv", ("id",)) == [{"id": "1", "name": "Müller – x"}]


def test_a_stray_quote_in_a_large_table_names_its_line(tmp_path: Path) -> None:
    rows = [f"{i:04d},{i:06d}.nii.gz,1\n" for i in range(9000)]
    rows[3] = '0003,"000003.nii.gz,1\n'
    (tmp_path / "a.csv").write_text("id,path,label\n" + "".join(rows))
    with pytest.raises(BadSite, match="line 5: a quotation mark is not closed"):
        read_rows(tmp_path / "a.csv", ("id",))


def test_line_breaks_inside_a_cell_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,note\n1,"two\nlines"\n')
    assert read_rows(tmp_path / "a.csv", ("id",)) == [{"id": "1", "note": "two\nlines"}]


@pytest.mark.parametrize("text", ["", " ", "N/A", "nan", "None", None])
def test_what_tables_do_not_know_is_none(text: str | None) -> None:
    assert known(text) is None
    assert known(" x ") == "x"

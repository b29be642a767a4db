"""Published tables: CSV and XLSX read alike."""

from __future__ import annotations

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


@pytest.mark.parametrize("text", ["", " ", "N/A", "nan", "None", None])
def test_what_tables_do_not_know_is_none(text: str | None) -> None:
    assert known(text) is None
    assert known(" x ") == "x"

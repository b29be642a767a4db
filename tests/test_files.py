"""Files appear whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import secrets
import socket
from pathlib import Path

import pytest

from elsewhere.files import csv_text, last_parts, shown_path, write_whole


@pytest.mark.parametrize("content", ["ä\n", "ä\n".encode(), lambda path: path.write_text("ä\n", encoding="utf-8")])
def test_the_content_arrives_and_the_folder_is_made(tmp_path: Path, content: object) -> None:
    path = tmp_path / "new" / "table.csv"
    write_whole(path, content)  # type: ignore[arg-type]
    assert path.read_bytes() == "ä\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_text("old")

    def half(partial: Path) -> None:
        partial.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_whole(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_no_utf8_is_written_readably(tmp_path: Path) -> None:
    write_whole(tmp_path / "bad.csv", os.fsdecode(b"M\xfcller.dcm"))
    assert (tmp_path / "bad.csv").read_text() == "M\\udcfcller.dcm"


def test_names_of_half_written_files_are_never_shared_and_never_too_long(tmp_path: Path) -> None:
    seen: list[str] = []
    path = tmp_path / ("ä" * 125)  # 250 bytes: the longest names have no room for another ending
    for _ in range(2):
        write_whole(path, lambda partial: (seen.append(partial.name), partial.write_text("x")))
    assert len(set(seen)) == 2
    assert all(str(os.getpid()) in name and len(name.encode()) < 255 for name in seen)
    assert path.read_text() == "x"


def test_two_writers_with_the_same_pid_on_two_hosts_both_write_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One begins while the other is half-way, as on a shared folder; one host name and one token part them still."""
    path, tokens = tmp_path / "state", iter(["a", "a", "b"])
    monkeypatch.setattr(os, "getpid", lambda: 7)
    monkeypatch.setattr(socket, "gethostname", lambda: "node")
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(tokens))
    seen: list[bytes] = []

    def first(partial: Path) -> None:
        with partial.open("wb") as file:
            file.write(b"first ")
            write_whole(path, b"second, whole")
            seen.append(path.read_bytes())
            file.write(b"whole")

    write_whole(path, first)
    assert seen == [b"second, whole"]
    assert path.read_bytes() == b"first whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_half_written_file_of_another_writer_is_never_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "a")
    write_whole(tmp_path / "x", lambda partial: (tmp_path / "name").write_text(partial.name))
    theirs = tmp_path / (tmp_path / "name").read_text()
    theirs.write_bytes(b"half of theirs")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "x", b"ours")
    assert theirs.read_bytes() == b"half of theirs"


@pytest.mark.parametrize("mark", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_what_a_spreadsheet_would_carry_out_is_made_harmless(mark: str) -> None:
    odd = f'{mark}HYPERLINK("http://x";"y")'
    ((header,), (cell,), (number,)) = csv.reader(io.StringIO(csv_text(["scan"], [[odd], ["-12.5"]]), newline=""))
    assert (header, cell, number) == ("scan", f"'{odd}", "-12.5")
    plain = csv.reader(io.StringIO(csv_text(["scan"], [[odd]], plain=True), newline=""))
    assert list(plain)[1] == [odd]


def test_pages_name_folders_by_their_last_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "alice smith" / "new hospital"
    root.mkdir(parents=True)
    link = tmp_path / "link to alice"
    link.symlink_to(root)
    for way in (root, link):
        told = last_parts(f"{way / 'p7.dcm'}: is empty; {root / 'x'} too", [way])
        assert "alice smith" not in told
        assert told.endswith("new hospital/x too")
    monkeypatch.chdir(root)
    assert last_parts("3.5 mm. See p7.dcm", [Path()]) == "3.5 mm. See p7.dcm"
    assert last_parts(f"{root}/p7.dcm", [Path()]) == "new hospital/p7.dcm"
    assert [shown_path(Path(p)) for p in ("runs/a", "/home/alice/runs/a", "../alice/a", "/")] == [
        "runs/a",
        "a",
        "a",
        "/",
    ]

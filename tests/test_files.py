"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from elsewhere.files import write_whole


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

"""Where a store of patients' scans is made is said, once; a store that is gone is gone, and not damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elsewhere.errors import BadScan
from elsewhere.scans import store
from elsewhere.studies.ingest import announce_store


def test_the_place_of_a_new_store_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    announce_store(tmp_path / "store")
    said = "".join(capsys.readouterr().err.split("\n"))
    assert f"Prepared scans are kept in {tmp_path / 'store'} (patient data" in said
    (tmp_path / "store").mkdir()
    announce_store(tmp_path / "store")
    assert capsys.readouterr().err == ""


def test_gone_is_not_damaged(tmp_path: Path) -> None:
    path = tmp_path / "store" / "ab" / "abc.b2nd"
    kept = store.write(path, np.zeros((2, 4, 4), np.int16), {})
    shelf = store.Shelf({("A", "a"): path, ("A", "b"): path})
    shelf.read("A", "a", 0, 1)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(BadScan, match=r"the prepared volume is damaged\. Delete this file"):
        shelf.read("A", "b", 0, 1)
    path.unlink()
    for read in (lambda: shelf.read("A", "a", 0, 1), lambda: shelf.read("A", "b", 0, 1), lambda: kept.read(0, 1)):
        with pytest.raises(BadScan, match=r"the prepared volume is gone\. Put the folder of prepared volumes back"):
            read()

"""One scan in: stored, found again, or the reason why not; whatever goes wrong with it stays with it."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elsewhere.errors import BadScan
from elsewhere.scans import intake, store
from elsewhere.scans.intake import take_in
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import mosmeddata
from elsewhere.scans.volume import Preparation, Volume

PREPARATION = Preparation(size=(4, 8, 8))


def examine(_: Any) -> Mapping[str, Any]:
    return {"seen": True}


def broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("by nothing")


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    voxels = np.random.default_rng(0).integers(-1000, 500, (5, 8, 8)).astype(np.int16)
    made = Scan("M", "study_0255", "study_0255", 1, facts={"category": "CT-1"})
    mosmeddata.write(tmp_path / "site", made, Volume(voxels, "HU", (8.0, 1.0, 1.0), 0))
    mosmeddata.write_tables(tmp_path / "site", [made])
    return mosmeddata.find(tmp_path / "site", "M").scans[0]


def take(scan: Scan, tmp_path: Path) -> store.Stored | BadScan:
    return take_in("mosmeddata", scan, tmp_path / "site", tmp_path / "store", PREPARATION, examine)


def test_a_scan_is_stored_once(scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = take(scan, tmp_path)
    assert isinstance(first, store.Stored)
    assert first.record["forensics"] == {"seen": True}
    monkeypatch.setattr(mosmeddata, "read", lambda _: pytest.fail("read again"))
    assert take(scan, tmp_path) == first


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            IndexError("list index out of range"),
            r"cannot be prepared \(IndexError: list index out of range\)\. Take the",
        ),
        (MemoryError(), r"does not fit into memory\. Prepare it on a larger machine"),
        (BadScan("x.nii", "is torn", "Mend it"), r"x\.nii: is torn\. Mend it"),
    ],
)
def test_what_goes_wrong_with_a_scan_stays_with_it(
    error: Exception, message: str, scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(intake, "measure", fail)
    found = take(scan, tmp_path)
    assert isinstance(found, BadScan)
    with pytest.raises(BadScan, match=message):
        raise found


@pytest.mark.parametrize("name", ["prepare", "measure"])
def test_every_step_of_the_way_is_watched(
    name: str, scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, name, broken)
    assert "cannot be prepared (ZeroDivisionError: by nothing)" in str(take(scan, tmp_path))


def test_a_reader_that_breaks_and_forensics_that_break(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = take_in("mosmeddata", scan, tmp_path / "site", tmp_path / "store", PREPARATION, broken)
    assert "cannot be prepared (ZeroDivisionError: by nothing)" in str(found)
    monkeypatch.setattr(mosmeddata, "read", broken)
    found = take(scan, tmp_path)
    assert isinstance(found, BadScan)
    assert str(found).startswith(str(scan.files[0]))


def test_a_full_disk_is_everybodys_problem(scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "write", full)
    with pytest.raises(OSError, match="No space left"):
        take(scan, tmp_path)

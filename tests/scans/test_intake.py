"""One scan in: stored, found again, or the reason why not; whatever goes wrong with it stays with it."""

from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elsewhere.errors import BadScan
from elsewhere.scans import intake, store
from elsewhere.scans.intake import prepared_as, take_in
from elsewhere.scans.quality.examination import examine as examine_whole
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import mosmeddata, reader
from elsewhere.scans.volume import Preparation, Volume

PREPARATION = Preparation(size=(4, 8, 8))
HARMONISED = Preparation(size=(16, 128, 128), grid="fixed", encoding="hu", crop="lungs")


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


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("dicom", "scan"),
        ("covid_ctset", "patient1/SR_2"),
        ("mosmeddata", "study_0255"),
        ("volumes", "scan"),
        ("images", "scan"),
    ],
)
@pytest.mark.parametrize("preparation", [Preparation(), HARMONISED], ids=["paper", "harmonised"])
def test_a_scan_is_held_once(kind: str, name: str, preparation: Preparation, tmp_path: Path) -> None:
    """The scan and a fixed budget, whatever the layout: the documents promise it (concepts, speed and memory)."""
    site, module = tmp_path / "site", reader(kind)
    ramp = np.linspace(-1000, 400, 512).astype(np.int16)
    voxels = np.broadcast_to(ramp, (60, 512, 512)) + np.arange(60, dtype=np.int16)[:, None, None]
    made = Scan("M", name.partition("/")[0], name, 1)
    module.write(site, made, Volume(voxels, "HU", (2.0, 1.0, 1.0), 0))
    module.write_tables(site, [made])
    (found,) = module.find(site, "M").scans
    take_in(kind, found, site, tmp_path / "once", preparation, examine_whole)  # what a first call imports
    tracemalloc.start()
    stored = take_in(kind, found, site, tmp_path / "store", preparation, examine_whole)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(stored, store.Stored), stored
    if preparation == Preparation():
        assert np.array_equal(stored.read(0, 60) - stored.minimum, voxels - voxels.min())
    assert peak < voxels.nbytes + (12 << 20), f"{peak / voxels.nbytes:.2f} scans"


def test_relative_values_are_taken_through_the_window_that_their_site_declares() -> None:
    declared = {"declared_window_low": -1000.0, "declared_window_high": 400.0}
    assert prepared_as(HARMONISED, declared).relative_window == (-1000.0, 400.0)
    assert prepared_as(HARMONISED, {}) is HARMONISED
    assert HARMONISED.relative_window != (-1000.0, 400.0)

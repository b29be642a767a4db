"""The store: what is written is read; damage and change are noticed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elsewhere.errors import BadScan
from elsewhere.scans import store
from elsewhere.scans.scan import Scan
from elsewhere.scans.volume import Preparation

VOXELS = np.random.default_rng(0).integers(-1000, 2000, (20, 16, 16)).astype(np.int16)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    st.sampled_from([np.int16, np.uint8]).flatmap(
        lambda t: arrays(t, st.tuples(st.integers(1, 20), st.integers(1, 9), st.integers(1, 9)))
    ),
    st.data(),
)
def test_what_is_written_is_read(tmp_path: Path, voxels: np.ndarray, data: st.DataObject) -> None:
    stored = store.write(tmp_path / "a" / "x.b2nd", voxels, {"notes": []})
    start = data.draw(st.integers(0, len(voxels) - 1))
    stop = data.draw(st.integers(start + 1, len(voxels)))
    assert (stored.read(start, stop) == voxels[start:stop]).all()
    assert stored.read(start, stop).dtype == voxels.dtype
    assert (stored.minimum, stored.maximum) == (voxels.min(), voxels.max())
    assert store.find(tmp_path / "a" / "x.b2nd") == stored
    stored.verify()


def test_same_voxels_same_bytes(tmp_path: Path) -> None:
    first = store.write(tmp_path / "1.b2nd", VOXELS, {"a": 1}).path.read_bytes()
    assert store.write(tmp_path / "2.b2nd", VOXELS, {"a": 1}).path.read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.b2nd", "2.b2nd"]


def test_a_truncated_file_is_none_and_a_changed_one_is_damaged(tmp_path: Path) -> None:
    path = store.write(tmp_path / "x.b2nd", VOXELS, {}).path
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert store.find(path) is None
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 0xFF
    path.write_bytes(changed)
    with pytest.raises(BadScan, match=r"x\.b2nd: the prepared volume is damaged\. Delete this file"):
        store.Shelf({("A", "s"): path}).read("A", "s", 0, 1)


def test_the_key_holds_files_reader_settings_and_facts(tmp_path: Path) -> None:
    file = tmp_path / "scan.dcm"
    file.write_bytes(b"123")
    scan = Scan("A", "p", "s", 1, (file,), facts={"kernel": "B40f"})
    first = store.key(scan, tmp_path, ("utsw", 1), Preparation())
    assert store.key(scan, tmp_path, ("utsw", 1), Preparation()) == first
    others = [
        store.key(scan, tmp_path, ("utsw", 2), Preparation()),
        store.key(scan, tmp_path, ("utsw", 1), Preparation(crop="lungs")),
        store.key(Scan("A", "p", "s", 1, (file,)), tmp_path, ("utsw", 1), Preparation()),
    ]
    os.utime(file, ns=(1, 1))
    others.append(store.key(scan, tmp_path, ("utsw", 1), Preparation()))
    assert len({first, *others}) == 5


def test_a_file_that_has_gone_is_a_bad_scan(tmp_path: Path) -> None:
    scan = Scan("A", "p", "s", 1, (tmp_path / "gone.dcm",))
    with pytest.raises(BadScan, match=r"gone\.dcm: cannot be opened \(No such file or directory\)"):
        store.key(scan, tmp_path, ("utsw", 1), Preparation())

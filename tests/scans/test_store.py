"""The store: what is written is read; damage and change are noticed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import blosc2
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


@pytest.mark.parametrize("length", [0, 9, 100, 300, 70_000])
def test_a_record_of_any_length_is_that_of_blosc2(tmp_path: Path, length: int) -> None:
    words = "".join(chr(33 + i * 7919 % 90) for i in range(length)) + "ä{"
    path = store.place(tmp_path, "ab")
    store.write(path, np.zeros((2, 3, 3), np.int16), {"words": words})
    found = store.find(path)
    array = blosc2.open(str(path), mode="r")
    assert found is not None
    assert found.record["words"] == words
    assert json.loads(array.schunk.vlmeta["record"]) == found.record


def test_one_byte_changed_in_the_record_is_none_or_the_same_kind_of_record(tmp_path: Path) -> None:
    path = store.place(tmp_path, "ab")
    store.write(path, np.zeros((2, 3, 3), np.int16), {"words": "x"})
    whole = path.read_bytes()
    for place in range(len(whole) - 200, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        found = store.find(path)
        assert found is None or isinstance(found.record["words"], str)


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="Linux tells a process's memory here")
def test_looking_up_a_scan_many_times_takes_no_memory(tmp_path: Path) -> None:
    path = store.place(tmp_path, "ab")
    noise = np.random.default_rng(0).integers(0, 2**62, 12_000).tolist()
    store.write(path, np.zeros((2, 3, 3), np.int16), {"noise": noise})

    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    for _ in range(20):
        store.find(path)
    before = pages()
    for _ in range(300):
        store.find(path)
    assert (pages() - before) * os.sysconf("SC_PAGE_SIZE") < 15e6  # 60 MB where each reading keeps its record


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

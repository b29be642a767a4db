"""A site is listed once by a process, and anew as soon as one of its files is another."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elsewhere.scans import sites
from elsewhere.scans.sites import list_site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((8, 8), 40 * i, np.uint8)).save(root / name / f"{i}.png")
    (tmp_path / "labels.csv").write_text("path,label,patient\na,1,p\nb,0,q\n", encoding="utf-8")
    return root


def listed(root: Path):
    return list_site("images", root, "A", root.parent / "labels.csv", {})


def label_of_b(root: Path) -> None:
    (root.parent / "labels.csv").write_text("path,label,patient\na,1,p\nb,1,q\n", encoding="utf-8")


def one_slice_less(root: Path) -> None:
    (root / "b" / "2.png").unlink()


def same_size_and_time(root: Path) -> None:
    path, kept = root / "b" / "2.png", (root / "b" / "2.png").stat()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def one_more_scan(root: Path) -> None:
    (root / "c").mkdir()


def test_nothing_changed_is_not_listed_again(site: Path) -> None:
    assert listed(site) is listed(site)
    assert list_site("images", site, "B", site.parent / "labels.csv", {}) is not listed(site)
    assert [scan.label for scan in listed(site).scans] == [1, 0]


@pytest.mark.parametrize("change", [label_of_b, one_slice_less, same_size_and_time, one_more_scan])
def test_any_change_is_seen(site: Path, change: Callable[[Path], None]) -> None:
    before = listed(site)
    change(site)
    assert listed(site) is not before


def test_large_folders_and_what_cannot_be_seen_are_listed_each_time(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sites, "MOST_FILES", 4)
    assert listed(site) is not listed(site)
    monkeypatch.undo()
    (site / "gone.png").symlink_to(site / "nowhere.png")
    assert listed(site) is not listed(site)

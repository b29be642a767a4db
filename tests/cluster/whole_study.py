"""A whole study by its command, and two studies compared byte by byte."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

NOTHING_LEARNED = 30


def study_by_command(file: Path, out: Path, engine: str) -> Path:
    """Prepare, train, predict, score and write the page with an engine; the study's folder."""
    words = [sys.executable, "-m", "elsewhere", "study", str(file), str(out), "--workers", "2", "--engine", engine]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode in {0, NOTHING_LEARNED}, done.stderr
    return out


def check_same(expected: Path, found: Path) -> None:
    """Compare all files of two studies and their stores, the page too, but not trainings' states, which hold locks."""
    check_same_files(expected, found, {"checkpoint.safetensors", "scans.parquet", "scores.parquet", "report.html"})
    check_same_files(expected.parent / "store", found.parent / "store")


def check_same_files(expected: Path, found: Path, with_names: Collection[str] = ()) -> None:
    """Compare all files of two folders, those of such names among them."""
    names = [
        sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file() and "state" not in p.parts)
        for root in (expected, found)
    ]
    assert names[0] == names[1]
    assert len(names[0]) > 15
    assert set(with_names) <= {name.name for name in names[0]}
    assert [str(name) for name in names[0] if (expected / name).read_bytes() != (found / name).read_bytes()] == []

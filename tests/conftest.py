"""Fixtures shared by all tests: the real CT data, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CT for tests, from ELSEWHERE_REAL_DATA or ../shared/data/real; skips where there is none."""
    root = Path(os.environ.get("ELSEWHERE_REAL_DATA", Path(__file__).parents[2] / "shared" / "data" / "real"))
    if not (root / "manifest.csv").is_file():
        pytest.skip(f"no real CT data at {root}: set ELSEWHERE_REAL_DATA")
    return root

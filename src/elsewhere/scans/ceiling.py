"""The largest scan that is read: compared with what a file promises before memory is taken for it."""

from __future__ import annotations

import os
from pathlib import Path

from elsewhere.errors import BadScan, BadStudy

VARIABLE = "ELSEWHERE_LARGEST_SCAN_GB"
DEFAULT_GB = 4.0
"""As int16: 2000 slices of 1024 × 1024, or 8000 of 512 × 512."""


def largest_scan() -> int:
    """Bytes a scan may take in memory: `ELSEWHERE_LARGEST_SCAN_GB` of the environment, else `DEFAULT_GB`.

    Raises:
        BadStudy: the variable holds no number above 0.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        gigabytes = float(text) if text else DEFAULT_GB
    except ValueError:
        gigabytes = -1.0
    if not 0 < gigabytes < float("inf"):
        raise BadStudy(VARIABLE, f"must be a number of GB above 0, is '{text}'", "Correct or remove the variable")
    return int(gigabytes * 1e9)


def check_scan_size(promised: int, where: str | Path) -> None:
    """Raises BadScan where a scan promises more bytes than `largest_scan`."""
    if promised > largest_scan():
        what = f"promises {promised / 1e9:.1f} GB of voxels, more than the {largest_scan() / 1e9:.1f} GB that are read"
        raise BadScan(where, what, f"If it is a real scan, set {VARIABLE} in the environment to a larger number")

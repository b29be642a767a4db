"""The prepared scans of a study in; one slice of one scan per site and class, windowed for the eye, out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.evidence import report as page
from elsewhere.plan import Folder, read_table
from elsewhere.scans.store import Shelf

LUNG_WINDOW = (-1350, 150)  # HU
EXAMPLE_PIXELS = 256


def examples(folder: Folder, settings: dict[str, Any]) -> Iterable[page.ExampleSlice]:
    """One slice of one scan per site and class: the first test scan, a little below the middle."""
    rows = [row for row in read_table(folder.scans) if row["status"] == "ok" and row["subset"] == "test"]
    for site in (site["name"] for site in settings["sites"]):
        for label in (1, 0):
            found = sorted((r for r in rows if r["site"] == site and r["label"] == label), key=lambda r: r["scan"])
            if found:
                yield _example(found[0], settings["preparation"])


def _example(row: dict[str, Any], preparation: dict[str, Any]) -> page.ExampleSlice:
    number = int(0.55 * row["slices"])
    shelf = Shelf({(row["site"], row["scan"]): Path(row["file"])})
    picture = shelf.read(row["site"], row["scan"], number, number + 1)[0].astype(np.float32)
    units = "HU" if preparation["encoding"] == "hu" else row["units"]
    pixels, words = _windowed(picture, units)
    if units == "HU" and row["units"] == "relative":
        words = "grey values taken back through an assumed window"
    step = max(1, -(-max(pixels.shape) // EXAMPLE_PIXELS))
    caption = f"slice {number + 1} of {row['slices']}, {words}"
    return page.ExampleSlice(row["site"], row["label"], pixels[::step, ::step], caption)


def _windowed(picture: NDArray[np.float32], units: str) -> tuple[NDArray[np.uint8], str]:
    if units == "HU":
        low, high, words = *LUNG_WINDOW, f"window {LUNG_WINDOW[0]}..{LUNG_WINDOW[1]} HU"
    elif units == "ct_number":
        low, high, words = LUNG_WINDOW[0] + 1024, LUNG_WINDOW[1] + 1024, "CT numbers in the same window"
    else:
        low, high, words = 0, 255, "grey values as published"
    return np.clip((picture - low) / (high - low) * 255, 0, 255).astype(np.uint8), words

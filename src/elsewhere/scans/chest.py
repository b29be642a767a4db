"""Whether a prepared volume is a chest CT: what its header, its length and its lungs speak against, in words.

A network gives any picture a probability. Heads, abdomens and phantoms reach a folder of chests through wrong series
names and worklists; nobody should read their scores without being told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.dicom.preference import is_phantom, region
from elsewhere.scans.regions import Level, Mask, find_regions
from elsewhere.scans.scan import Fact

LEAST_FILLING = 1 / 3
"""Share of their own bounding box that lungs fill, vessels and lesions counted in: 0.44 to 0.57 in 10 real chest CTs,
0.37 to 0.53 in 237 of 240 simulated ones (the other three, badly cropped: 0 to 0.23), 0.12 cropped and 0.23 whole in a
real abdomen whose bowel gas passed for lungs."""

BOX_EDGE = 0.1
"""Planes with less than this share of the largest plane's lungs do not belong to the box (the windpipe)."""

LEAST_LENGTH_MM = 120.0
"""A scan this short along the body shows part of a chest at most; the lungs of adults are 200 to 300 mm high."""


@dataclass(frozen=True)
class ChestCheck:
    """What speaks against a scan being a chest CT.

    Attributes:
        remarks: a sentence each, without full stop; empty where nothing does.
        header_differs: whether the header names a phantom, or another region and not the chest.
        has_lungs: whether lungs were found in the voxels and fill their box as lungs do.
    """

    remarks: tuple[str, ...]
    header_differs: bool
    has_lungs: bool


def check_chest(voxels: NDArray[Any], level: Level, facts: Mapping[str, Fact]) -> ChestCheck:
    """Look at a prepared volume and at what is known of its scan.

    Not seen: a phantom of a chest with lungs, an abdomen whose gas fills its box as lungs do, a chest phantom whose
    header says CHEST.

    Args:
        voxels: as prepared, whole or cropped to the lungs [slice, row, column].
        level: (factor, offset) of HU, from `regions.stored_level`.
        facts: `body_part`, `description`, `slices` (of the source) and `slice_spacing_mm`, where they are known.
    """
    remarks = []
    if is_phantom(facts):
        remarks.append(f"the header names a phantom ({_words(facts)})")
    elif region(facts) == 2:
        remarks.append(f"the header names another region than the chest ({_words(facts)})")
    header_differs = bool(remarks)
    spacing, slices = facts.get("slice_spacing_mm"), facts.get("slices")
    if isinstance(spacing, int | float) and isinstance(slices, int) and 0 < spacing * slices < LEAST_LENGTH_MM:
        remarks.append(f"only {spacing * slices:.0f} mm of the body along its axis: part of a chest at most")
    filling = _filling(find_regions(voxels, level).lungs)
    if not filling:
        remarks.append("lungs not found: no chest CT, or lungs full of fluid or consolidation")
    elif filling < LEAST_FILLING:
        remarks.append(
            f"what was taken for lungs fills {100 * filling:.0f} % of its box (in chest CTs a third or more): "
            "gas in the bowel, or a poor crop"
        )
    return ChestCheck(tuple(remarks), header_differs, filling >= LEAST_FILLING)


def _filling(lungs: Mask) -> float:
    if not lungs.any():
        return 0.0
    box = []
    for axis in range(3):
        areas = lungs.sum(axis=tuple(a for a in range(3) if a != axis))
        reach = np.flatnonzero(areas >= BOX_EDGE * areas.max())
        box.append(slice(reach[0], reach[-1] + 1))
    return float(lungs[tuple(box)].mean())


def _words(facts: Mapping[str, Fact]) -> str:
    return ", ".join(dict.fromkeys(str(facts[n]) for n in ("body_part", "description") if facts.get(n)))

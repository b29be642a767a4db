"""CT numbers on a grid: the canonical volume, and how it is clipped, resized, cropped and slid over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.scan import Fact

Units = Literal["HU", "ct_number", "relative"]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Volume:
    """One scan's voxels in the canonical axes.

    Attributes:
        voxels: int16 or uint8, [slice, row, column]; slice 0 most superior, row 0 anterior, column 0 the
            patient's right.
        units: "HU"; "ct_number" (HU + offset); or "relative" (0..255 after an unknown window).
        spacing: distance of neighbouring voxels along (slice, row, column) in mm, or None where unknown.
        offset: what to subtract to get HU: 0 for HU, 1024 for COVID-CTset, None for relative values.
        notes: sentences on what the reader had to repair or leave out.
        facts: what the headers say (thickness_mm, kernel, manufacturer, kvp, …), for the audit.
    """

    voxels: NDArray[np.int16] | NDArray[np.uint8]
    units: Units
    spacing: Spacing | None = None
    offset: float | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.voxels.ndim == 3, self.voxels.shape
        assert self.voxels.dtype in (np.int16, np.uint8), self.voxels.dtype
        assert (self.offset is None) == (self.units == "relative"), (self.units, self.offset)

"""How a volume becomes what the network sees, as a study file has it; checked without numpy, which takes its time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from elsewhere.errors import BadStudy

SMALLEST, LARGEST = -(1 << 15), (1 << 15) - 1
"""Of 16 bits, as voxels are stored."""


@dataclass(frozen=True)
class Preparation:
    """How a volume becomes what the network sees, less what is drawn at random (protocol page, "Volume").

    The defaults are the paper's; each departure is an option of its own.

    Attributes:
        size: (slices, rows, columns) of the network's input; the paper's is 128 x 512 x 512.
        grid: "in_plane" (paper) resizes rows and columns linearly and keeps the slices; "fixed" resamples all
            three axes to `size`, with an anti-alias filter when it shrinks them.
        smooth: average over the source pixels where in-plane resizing shrinks, so that nothing between the sampled
            pixels is lost; False (paper) interpolates linearly, which matters where the network's matrix is much
            smaller than the scan's, as the paper's never is.
        encoding: "as_published" (paper) leaves CT numbers and relative values as they are; "hu" converts what it
            can: CT numbers exactly, relative values through `relative_window`.
        relative_window: the (low, high) HU window assumed for 0..255 data under encoding "hu"; the real one is
            unpublished, -1350..150 is the usual lung window.
        minimum: HU data are clipped below at this value (paper: -1000).
        maximum: HU data are clipped above at this value; None (paper) does not clip.
        crop: "none" (paper) or "lungs", the bounding box of the lungs.
        margin: share of the lung box's length added on each side of each axis.

    Raises:
        BadStudy: the limits are out of order or do not fit 16 bits, or the margin is negative.
    """

    size: tuple[int, int, int] = (128, 512, 512)
    grid: Literal["in_plane", "fixed"] = "in_plane"
    smooth: bool = False
    encoding: Literal["as_published", "hu"] = "as_published"
    relative_window: tuple[float, float] = (-1350.0, 150.0)
    minimum: float = -1000.0
    maximum: float | None = None
    crop: Literal["none", "lungs"] = "none"
    margin: float = 0.03

    def __post_init__(self) -> None:
        low, high = self.relative_window
        if not -math.inf < low < high < math.inf:
            what, then = f"is ({low}, {high})", "Give two numbers, the lower value first"
            raise BadStudy("preparation.relative_window", what, then)
        ceiling = LARGEST if self.maximum is None else self.maximum
        if not SMALLEST <= self.minimum < ceiling <= LARGEST:
            what = f"and `preparation.maximum` are {self.minimum} and {self.maximum}"
            then = f"Give the lower value first, both within {SMALLEST}..{LARGEST} HU"
            raise BadStudy("preparation.minimum", what, then)
        if not 0 <= self.margin < math.inf:
            raise BadStudy("preparation.margin", f"is {self.margin}", "Give a share of 0 or more")

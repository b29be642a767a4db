"""A small picture of a scan in; how it was encoded, blackened and padded out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from elsewhere.scans.quality.shrunk import Mask, Shrunk

EncodingKind = Literal["HU", "HU with an offset", "window", "soft-tissue window", "scaled to its maximum", "unclear"]
PaddingKind = Literal["none", "circle", "border"]

DARK_HU, BRIGHT_HU = -925.0, -10.0
"""Mean of what is darker and brighter than Otsu's limit in chest CT: -963..-893 and -45..40 HU in twelve real scans."""

LIMIT_HU = (DARK_HU + BRIGHT_HU) / 2
HU_GAP = (650, 1250)
NEAR_ZERO = 150
SATURATED = 0.002
"""Bone alone exceeds a window that ends below 300 HU in more than this share of the voxels."""


@dataclass(frozen=True)
class Encoding:
    """What the stored values are, by their histogram alone.

    Attributes:
        kind: "HU"; "HU with an offset"; "window", cut at both ends and stretched; "soft-tissue window", lung is
            black; "scaled to its maximum", stretched but not cut; "unclear" (next to nothing but lung is left).
        offset: stored value of 0 HU, good to about 100, for "HU with an offset".
        low, high: HU of the lowest and highest stored value, good to about 100, for a window or a scaling.
    """

    kind: EncodingKind
    offset: int | None = None
    low: int | None = None
    high: int | None = None

    def __str__(self) -> str:
        if self.kind == "HU with an offset":
            return f"HU + about {self.offset}"
        return self.kind if self.low is None else f"{self.kind}, about {self.low}..{self.high} HU"


def find_encoding(small: Shrunk) -> Encoding:
    """How HU became the stored values."""
    levels = small.levels
    gap = levels.bright - levels.dark
    if small.blackened or gap <= 0:
        return Encoding("unclear")
    if levels.highest - levels.lowest > 255 and HU_GAP[0] < gap < HU_GAP[1]:
        offset = round((levels.limit - LIMIT_HU) / 8) * 8
        return Encoding("HU") if abs(offset) < NEAR_ZERO else Encoding("HU with an offset", offset=offset)
    if levels.dark == levels.lowest:
        return Encoding("soft-tissue window")
    scale = gap / (BRIGHT_HU - DARK_HU)
    floor = 0 if levels.lowest >= 0 and levels.highest <= 255 else levels.lowest
    low, high = (round(LIMIT_HU + (v - levels.limit) / scale, -1) for v in (floor, levels.highest))
    kind: EncodingKind = "window" if levels.at_highest > SATURATED else "scaled to its maximum"
    return Encoding(kind, None, int(low), int(high))


@dataclass(frozen=True)
class Padding:
    """Pixels that hold no image.

    Attributes:
        kind: "circle", outside the circle of reconstruction; "border", bars along the edges; or "none".
        share: share of the pixels that have the lowest value in every slice.
    """

    kind: PaddingKind
    share: float


def find_padding(small: Shrunk) -> Padding:
    """Where the picture holds no image."""
    still: Mask = small.black.min(axis=0) > 0.99
    share = round(float(still.mean()), 4)
    if small.blackened or small.levels.dark == small.levels.lowest:
        return Padding("none", share)  # air itself is black
    if _is_circle(still):
        return Padding("circle", share)
    bars = np.concatenate([still[[0, -1]].all(axis=1), still[:, [0, -1]].all(axis=0)])
    thick = bars.any() and (still.all(axis=0).sum() >= 2 or still.all(axis=1).sum() >= 2)
    return Padding("border" if thick else "none", share)


def _is_circle(still: Mask) -> bool:
    rows, columns = (np.linspace(-1, 1, n) for n in still.shape)
    radius = np.hypot(rows[:, None], columns[None, :])
    outside, ring = radius > 1.06, (radius > 0.8) & (radius < 0.94)
    return bool(still[outside].mean() > 0.95 and still[ring].mean() < 0.5)

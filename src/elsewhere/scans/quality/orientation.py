"""A fingerprint in; which way up the chest lies out, by comparison with the mean of simulated chests."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.quality.chest import MEAN_CHEST
from elsewhere.scans.quality.fingerprint import FLIPS, SHAPE_GRID, Fingerprint

COARSE = (8, 12, 12)
SURE = 0.10
"""A reversed reading must agree better by this much (docs, forensics tables: margins of real and simulated scans)."""


@dataclass(frozen=True)
class Orientation:
    """How well the chest agrees with the mean chest, -1..1.

    Attributes:
        upright: at best over flips in the plane, slices as they are.
        reversed: the same with the slices in reverse.
    """

    upright: float
    reversed: float

    @property
    def is_reversed(self) -> bool:
        """Whether the first slice is the lowest."""
        return self.reversed > self.upright + SURE


def find_orientation(fingerprint: Fingerprint) -> Orientation:
    """Whether slice 0 is the most superior."""
    own, mean = coarse(fingerprint.shape), read_chest(MEAN_CHEST)
    agreement = {flip: float((mean * own[:: flip[0], :: flip[1], :: flip[2]]).sum()) for flip in FLIPS}
    upright, turned = (max(v for flip, v in agreement.items() if flip[0] == way) for way in (1, -1))
    return Orientation(round(upright, 3), round(turned, 3))


def coarse(shape: NDArray[np.generic]) -> NDArray[np.float64]:
    """A fingerprint's shape on the `COARSE` grid, mean 0 and length 1."""
    s = [a // b for a, b in zip(SHAPE_GRID, COARSE, strict=True)]
    blocks = shape.astype(np.float64).reshape(COARSE[0], s[0], COARSE[1], s[1], COARSE[2], s[2])
    mean = blocks.mean(axis=(1, 3, 5))
    centred = mean - mean.mean()
    scaled: NDArray[np.float64] = centred / max(float(np.linalg.norm(centred)), 1e-9)
    return scaled


def write_chest(shapes: NDArray[np.generic]) -> str:
    """The mean of many fingerprints' shapes (scans, ...) as text, for `chest.py` (benchmarks/forensics.py --chest)."""
    mean = coarse(shapes.astype(np.float64).mean(axis=0))
    return base64.b85encode(
        zlib.compress(np.rint(mean / np.abs(mean).max() * 127).astype(np.int8).tobytes(), 9)
    ).decode()


def read_chest(text: str) -> NDArray[np.float64]:
    """The mean chest that `write_chest` wrote, length 1."""
    mean = np.frombuffer(zlib.decompress(base64.b85decode(text)), np.int8).reshape(COARSE).astype(np.float64)
    scaled: NDArray[np.float64] = mean / np.linalg.norm(mean)
    return scaled

"""Fingerprints of many scans in; the pairs that show the same anatomy out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elsewhere.evidence.forensics.fingerprint import FLIPS, SHAPE_GRID, Fingerprint
from elsewhere.evidence.forensics.orientation import coarse

Floats = NDArray[np.float32]

BLOCK = 512


@dataclass(frozen=True)
class MatchSettings:
    """When two fingerprints are of one anatomy (docs, forensics tables: how often that is wrong).

    Attributes:
        coarse: agreement (correlation) of the shapes at half the grid from which a pair is looked at closely.
        shape: agreement of the shapes that a match needs.
        slices: agreement of the vessels in the lungs, median over slices, that a match needs.
        shift: how far apart the same slice may lie in two scans, as a share of the lungs' height.
    """

    coarse: float = 0.9
    shape: float = 0.88
    slices: float = 0.53
    shift: float = 0.12


@dataclass(frozen=True)
class Match:
    """Two scans of one anatomy.

    Attributes:
        first, second: numbers of the scans, first < second.
        shape, slices: the two agreements, 1 for a copy.
        flip: 1 or -1 for slices, rows and columns: how the second must be turned.
    """

    first: int
    second: int
    shape: float
    slices: float
    flip: tuple[int, ...]

    def turned(self) -> str:
        """How the second scan is turned against the first, in words; "" if it is not."""
        names = ("slices reversed", "rows flipped", "columns flipped")
        return ", ".join(name for name, way in zip(names, self.flip, strict=True) if way < 0)


def find_matches(fingerprints: Sequence[Fingerprint], settings: MatchSettings = MatchSettings()) -> list[Match]:
    """All pairs of scans of one anatomy, whatever their window, kernel, slice distance or flips."""
    shapes = _units(np.stack([f.shape for f in fingerprints])) if fingerprints else np.zeros((0, 1), np.float32)
    found = []
    for i, j, flip in _candidates(fingerprints, settings.coarse):
        shape = float(shapes[i] @ _turn(shapes[j], flip))
        if shape < settings.shape:
            continue
        slices = agree_in_slices(fingerprints[i], fingerprints[j], flip, settings.shift)
        if slices >= settings.slices:
            found.append(Match(i, j, round(shape, 4), slices, flip))
    return found


def _turn(shape: Floats, flip: tuple[int, ...]) -> Floats:
    return shape.reshape(SHAPE_GRID)[:: flip[0], :: flip[1], :: flip[2]].ravel()


def agree_in_slices(first: Fingerprint, second: Fingerprint, flip: tuple[int, ...], shift: float) -> float:
    """Median over the slices of the shorter scan of the best correlation with a slice near its place in the other.

    0 where a scan shows too little lung.
    """
    pictures = sorted((first.slices, second.slices[:: flip[0], :: flip[1], :: flip[2]]), key=len)
    if len(pictures[0]) < 3:
        return 0.0
    agreement = _units(pictures[0]) @ _units(pictures[1]).T
    places = [(np.arange(len(p)) + 0.5) / len(p) for p in pictures]
    far = np.abs(places[0][:, None] - places[1]) > shift + 0.5 / len(pictures[0])
    return round(float(np.median(np.where(far, -1, agreement).max(axis=1))), 4)


def _candidates(fingerprints: Sequence[Fingerprint], limit: float) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Pairs whose coarse shapes agree, with the flip that makes them agree best."""
    shapes = [coarse(f.shape) for f in fingerprints]
    own = np.array([s.ravel() for s in shapes], np.float32)
    turned = [np.array([s[:: f[0], :: f[1], :: f[2]].ravel() for s in shapes], np.float32) for f in FLIPS]
    for start in range(0, len(own), BLOCK):
        rows = own[start : start + BLOCK]
        agreement = np.stack([rows @ other[start:].T for other in turned])
        for i, j in np.argwhere(agreement.max(axis=0) >= limit):
            if i < j:
                yield start + int(i), start + int(j), FLIPS[int(agreement[:, i, j].argmax())]


def _units(pictures: NDArray[np.int8]) -> Floats:
    """Pictures as rows of length 1."""
    rows = pictures.reshape(len(pictures), -1).astype(np.float32)
    scaled: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return scaled

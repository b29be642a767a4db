"""Fingerprints of many scans in; the pairs that show the same anatomy out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.quality.fingerprint import FEWEST_SLICES, FLIPS, SHAPE_GRID, Fingerprint
from elsewhere.scans.quality.orientation import COARSE, coarse

Floats = NDArray[np.float32]

BLOCK = 512
FLIPS_IN_PLANE = tuple(flip for flip in FLIPS if flip[0] == 1)


@dataclass(frozen=True)
class MatchSettings:
    """When two fingerprints are of one anatomy (docs, forensics tables: how often that is wrong).

    Attributes:
        coarse: agreement (correlation) of the shapes at half the grid from which a pair is looked at closely.
        shape: agreement of the shapes that a match needs.
        slices: agreement of the vessels in the lungs, median over slices, that a match needs.
        shift: how far apart the same slice may lie in two scans, as a share of the lungs' height.
        picture: agreement of two single pictures that a match needs.
        vessels: agreement of the vessels in the lungs that a match of two single pictures needs.
        picture_alone: agreement that two pictures need where one of them shows no lung.
    """

    coarse: float = 0.9
    shape: float = 0.88
    slices: float = 0.53
    shift: float = 0.12
    picture: float = 0.80
    vessels: float = 0.30
    picture_alone: float = 0.90


@dataclass(frozen=True)
class Match:
    """Two scans of one anatomy.

    Attributes:
        first, second: numbers of the scans, first < second.
        shape, slices: the two agreements, 1 for a copy; of single pictures the whole's and the vessels'.
        flip: 1 or -1 for slices, rows and columns: how the second must be turned.
        single: two single pictures agree, so the anatomy is that of one level: equal, or a neighbouring slice.
    """

    first: int
    second: int
    shape: float
    slices: float
    flip: tuple[int, ...]
    single: bool = False

    def turned(self) -> str:
        """How the second scan is turned against the first, in words; "" if it is not."""
        names = ("slices reversed", "rows flipped", "columns flipped")
        return ", ".join(name for name, way in zip(names, self.flip, strict=True) if way < 0)


def find_matches(
    fingerprints: Sequence[Fingerprint],
    settings: MatchSettings = MatchSettings(),
    tick: Callable[[float], None] = lambda _: None,
) -> list[Match]:
    """All pairs of scans of one anatomy, whatever their window, kernel, slice distance or flips.

    Scans of three slices or more are compared as bodies, scans of fewer picture by picture: two pictures match where
    they are copies (another window, format, matrix, mirrored) or neighbouring slices of one body. Every pair is looked
    at, so none is missed for an index's sake; memory grows with the scans (docs, performance).

    Args:
        fingerprints: of the scans.
        settings: when two are of one anatomy.
        tick: called now and then with the share of the bodies' pairs that are compared.
    """
    return [*_match_bodies(fingerprints, settings, tick), *_match_pictures(fingerprints, settings)]


def _match_bodies(
    fingerprints: Sequence[Fingerprint], settings: MatchSettings, tick: Callable[[float], None]
) -> list[Match]:
    found = []
    for i, j, flip in _candidates(fingerprints, settings.coarse, tick):
        first, second = (_units(fingerprints[k].shape[None])[0] for k in (i, j))
        shape = float(first @ _turn(second, flip))
        if shape < settings.shape:
            continue
        slices = agree_in_slices(fingerprints[i], fingerprints[j], flip, settings.shift)
        if slices >= settings.slices:
            found.append(Match(i, j, round(shape, 4), slices, flip))
    return found


def _match_pictures(fingerprints: Sequence[Fingerprint], settings: MatchSettings) -> list[Match]:
    """The best agreement of each pair of scans with pictures, where it is enough."""
    owner = np.array([i for i, f in enumerate(fingerprints) for _ in f.pictures], int)
    if not len(owner):
        return []
    pictures = np.concatenate([f.pictures for f in fingerprints])
    own, turned = _units(pictures), [_units(pictures[:, :: flip[1], :: flip[2]]) for flip in FLIPS_IN_PLANE]
    best: dict[tuple[int, int], Match] = {}
    for start in range(0, len(own), BLOCK):
        for flip, other in zip(FLIPS_IN_PLANE, turned, strict=True):
            agreement = own[start : start + BLOCK] @ other[start:].T
            for a, b in np.argwhere(agreement >= settings.picture):
                i, j, picture = int(owner[start + a]), int(owner[start + b]), float(agreement[a, b])
                if i >= j or ((i, j) in best and best[i, j].shape >= picture):
                    continue
                vessels = _agree_in_vessels(fingerprints[i], fingerprints[j], flip)
                if picture >= settings.picture_alone if vessels is None else vessels >= settings.vessels:
                    best[i, j] = Match(i, j, round(picture, 4), round(vessels or 0.0, 4), flip, single=True)
    return list(best.values())


def _agree_in_vessels(first: Fingerprint, second: Fingerprint, flip: tuple[int, ...]) -> float | None:
    """The best agreement of a slice of one with a slice of the other; None where one shows no lung."""
    if not (len(first.slices) and len(second.slices)):
        return None
    return float((_units(first.slices) @ _units(second.slices[:, :: flip[1], :: flip[2]]).T).max())


def _turn(shape: Floats, flip: tuple[int, ...]) -> Floats:
    return shape.reshape(SHAPE_GRID)[:: flip[0], :: flip[1], :: flip[2]].ravel()


def agree_in_slices(first: Fingerprint, second: Fingerprint, flip: tuple[int, ...], shift: float) -> float:
    """Median over the slices of the shorter scan of the best correlation with a slice near its place in the other.

    0 where a scan shows too little lung: fewer than three slices are compared as pictures.
    """
    pictures = sorted((first.slices, second.slices[:: flip[0], :: flip[1], :: flip[2]]), key=len)
    if len(pictures[0]) < FEWEST_SLICES:
        return 0.0
    agreement = _units(pictures[0]) @ _units(pictures[1]).T
    places = [(np.arange(len(p)) + 0.5) / len(p) for p in pictures]
    far = np.abs(places[0][:, None] - places[1]) > shift + 0.5 / len(pictures[0])
    return round(float(np.median(np.where(far, -1, agreement).max(axis=1))), 4)


def _candidates(
    fingerprints: Sequence[Fingerprint], limit: float, tick: Callable[[float], None]
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Pairs whose coarse shapes agree, with the flip that makes them agree best.

    A flip undoes itself: the one of the second scan that agrees with the first is also that of the first. So a block's
    scans are turned, and no turned copy of all scans is held.
    """
    shapes = np.array([coarse(f.shape) for f in fingerprints], np.float32)
    count = len(shapes)
    own = shapes.reshape(count, int(np.prod(COARSE)))
    for start in range(0, count, BLOCK):
        block = shapes[start : start + BLOCK]
        turned = [block[:, :: f[0], :: f[1], :: f[2]].reshape(len(block), -1) for f in FLIPS]
        for other in range(start, count, BLOCK):
            rest = own[other : other + BLOCK].T
            agreement = np.stack([rows @ rest for rows in turned])
            for i, j in np.argwhere(agreement.max(axis=0) >= limit):
                if start + i < other + j:
                    yield start + int(i), other + int(j), FLIPS[int(agreement[:, i, j].argmax())]
        tick(1 - (1 - min(start + BLOCK, count) / count) ** 2)


def _units(pictures: NDArray[np.int8]) -> Floats:
    """Pictures as rows of length 1."""
    rows = pictures.reshape(len(pictures), -1).astype(np.float32)
    scaled: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return scaled

"""Fingerprints of many scans in; the pairs that show the same anatomy out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

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
    at, block by block, so that no index can miss one. Of each scan one small shape is held (5 kB), and of whole
    fingerprints those of two blocks (docs, performance).

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
    whole = lru_cache(2 * BLOCK)(fingerprints.__getitem__)
    unit = lru_cache(2 * BLOCK)(lambda place: _units(whole(place).shape[None])[0])
    for i, j, flip in _candidates(fingerprints, settings.coarse, tick):
        shape = float(unit(i) @ _turn(unit(j), flip))
        if shape < settings.shape:
            continue
        slices = agree_in_slices(whole(i), whole(j), flip, settings.shift)
        if slices >= settings.slices:
            found.append(Match(i, j, round(shape, 4), slices, flip))
    return found


def _match_pictures(fingerprints: Sequence[Fingerprint], settings: MatchSettings) -> list[Match]:
    """The best agreement of each pair of scans with pictures, where it is enough."""
    taken = [(i, f.pictures) for i, f in enumerate(fingerprints) if len(f.pictures)]
    if not taken:
        return []
    owner = np.repeat([i for i, _ in taken], [len(pictures) for _, pictures in taken])
    whole = lru_cache(2 * BLOCK)(fingerprints.__getitem__)
    best: dict[tuple[int, int], Match] = {}
    for a, b, picture, flip in _alike(np.concatenate([pictures for _, pictures in taken]), settings.picture):
        i, j = int(owner[a]), int(owner[b])
        if i >= j or ((i, j) in best and best[i, j].shape >= picture):
            continue
        vessels = _agree_in_vessels(whole(i), whole(j), flip)
        if picture >= settings.picture_alone if vessels is None else vessels >= settings.vessels:
            best[i, j] = Match(i, j, round(picture, 4), round(vessels or 0.0, 4), flip, single=True)
    return list(best.values())


def _alike(pictures: NDArray[np.int8], limit: float) -> Iterator[tuple[int, int, float, tuple[int, ...]]]:
    """Pairs of pictures (pictures, rows, columns) that agree, how well, and how the second is turned."""
    for start in range(0, len(pictures), BLOCK):
        block = pictures[start : start + BLOCK]
        for flip in FLIPS_IN_PLANE:
            turned = _units(block[:, :: flip[1], :: flip[2]])
            for other in range(start, len(pictures), BLOCK):
                agreement = turned @ _units(pictures[other : other + BLOCK]).T
                for a, b in np.argwhere(agreement >= limit):
                    yield start + int(a), other + int(b), float(agreement[a, b]), flip


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
    count = len(fingerprints)
    shapes = np.empty((count, *COARSE), np.float32)
    for place, fingerprint in enumerate(fingerprints):
        shapes[place] = coarse(fingerprint.shape)
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

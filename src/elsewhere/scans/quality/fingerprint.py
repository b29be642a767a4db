"""A small picture of a scan in; its fingerprint, and which scans show the same anatomy, out.

Two steps. The shape: where tissue lies in a box set by the lungs, 16 x 24 x 24, fine detail only; quick to compare over
thousands of scans, and proof against window, 8 bits, kernel, field of view, matrix, slice distance and flips. Then the
slices: the vessels inside the lungs, 24 x 24 for each of up to 64 slices, compared for the pairs whose shapes agree.
A scan of one or two slices has no shape in three dimensions: its pictures themselves are kept, 48 x 48 in the same box.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from tempfile import TemporaryFile
from typing import overload

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from elsewhere.scans.quality.shrunk import Array, Mask, Shrunk, enclosed

SHAPE_GRID = (16, 24, 24)
SLICE_GRID = (24, 24)
MOST_SLICES = 64
REACH = 1.9
"""The box reaches so many standard deviations of the lungs' mass to each side of their centre of mass."""
FLIPS = tuple(product((1, -1), repeat=3))
FEWEST_SLICES = 3
"""Scans that show lung on fewer slices are compared picture by picture."""
PICTURE_GRID = (48, 48)
PICTURE_DETAIL = 2.0
"""Standard deviation (in pixels of `PICTURE_GRID`) of what is taken off a picture, so that its fine detail is left."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What makes a scan's anatomy known again.

    Attributes:
        shape: int8 [slice, row, column] of `SHAPE_GRID`.
        slices: int8 [slice, row, column], up to `MOST_SLICES` of `SLICE_GRID`, those that show lung.
        pictures: int8 [slice, row, column], of `PICTURE_GRID`: the slices themselves where fewer than `FEWEST_SLICES`
            show lung, at most `FEWEST_SLICES`, evenly spread; else none.
    """

    shape: NDArray[np.int8]
    slices: NDArray[np.int8]
    pictures: NDArray[np.int8]

    def to_text(self) -> str:
        """As one line of text, for a record."""
        return base64.b64encode(zlib.compress(self.to_bytes(), 6)).decode()

    @classmethod
    def from_text(cls, text: str) -> Fingerprint:
        """The fingerprint that `to_text` wrote.

        Raises:
            ValueError: the text is none.
        """
        try:
            return cls.from_bytes(zlib.decompress(base64.b64decode(text, validate=True)))
        except (zlib.error, ValueError, IndexError) as error:
            raise ValueError(f"this is no fingerprint of a scan: {text[:20]!r}") from error

    def to_bytes(self) -> bytes:
        """As bytes, not compressed."""
        count = len(self.pictures).to_bytes()
        return count + self.pictures.tobytes() + self.shape.tobytes() + self.slices.tobytes()

    @classmethod
    def from_bytes(cls, whole: bytes) -> Fingerprint:
        """The fingerprint that `to_bytes` gave. Raises ValueError or IndexError for other bytes."""
        content = np.frombuffer(whole, np.int8)
        first = 1 + int(content[0]) * int(np.prod(PICTURE_GRID))
        pictures, last = content[1:first].reshape(-1, *PICTURE_GRID), first + int(np.prod(SHAPE_GRID))
        return cls(content[first:last].reshape(SHAPE_GRID), content[last:].reshape(-1, *SLICE_GRID), pictures)


class FingerprintFile(Sequence[Fingerprint]):
    """Fingerprints of many scans in a temporary file, of which memory holds none.

    Args:
        texts: of the scans, from `Fingerprint.to_text`.

    Raises:
        ValueError: a text is no fingerprint.
        OSError: the disk is full.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._file, self._ends = TemporaryFile(), [0]  # noqa: SIM115 - it is closed with this object
        for text in texts:
            self._ends.append(self._ends[-1] + self._file.write(Fingerprint.from_text(text).to_bytes()))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> Fingerprint: ...

    @overload
    def __getitem__(self, place: slice) -> list[Fingerprint]: ...

    def __getitem__(self, place: int | slice) -> Fingerprint | list[Fingerprint]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        start, stop = self._ends[place], self._ends[place + 1]
        self._file.seek(start)
        return Fingerprint.from_bytes(self._file.read(stop - start))

    def __del__(self) -> None:
        self._file.close()


def take_fingerprint(small: Shrunk) -> Fingerprint:
    """The fingerprint of one scan."""
    tissue = small.tissue
    lung = enclosed(tissue < 0.5)
    core = _erode(lung)  # without the gaps of the table and the skin
    box = [_reach(core if core.any() else lung, axis) for axis in range(3)]
    slices = _slices(small, lung, box)
    few = len(slices) < FEWEST_SLICES
    pictures = _pictures(small, lung, core) if few else np.zeros((0, *PICTURE_GRID), np.int8)
    return Fingerprint(_shape(tissue, box), slices, pictures)


def _erode(mask: Mask) -> Mask:
    """What keeps its eight neighbours in the slice."""
    core = np.zeros_like(mask)
    rows = mask[:, :-2] & mask[:, 1:-1] & mask[:, 2:]
    core[:, 1:-1, 1:-1] = rows[:, :, :-2] & rows[:, :, 1:-1] & rows[:, :, 2:]
    return core


def _reach(lung: Mask, axis: int) -> tuple[float, float]:
    mass = lung.sum(axis=tuple(a for a in range(3) if a != axis)).astype(np.float64)
    place = np.arange(mass.size) + 0.5
    total = max(mass.sum(), 1.0)
    centre = (mass * place).sum() / total
    spread = np.sqrt((mass * (place - centre) ** 2).sum() / total + 1 / 12)
    return centre - REACH * spread, centre + REACH * spread


def _shape(tissue: Array, box: list[tuple[float, float]]) -> NDArray[np.int8]:
    weights = [_areas(n, *ends, m) for n, ends, m in zip(tissue.shape, box, SHAPE_GRID, strict=True)]
    picture = np.tensordot(weights[0], _in_plane(tissue, weights[1], weights[2]), axes=1)
    detail = picture - ndimage.gaussian_filter(picture, 2.0, mode="nearest")
    return _as_bytes(detail - detail.mean(), 3)


def _slices(small: Shrunk, lung: Mask, box: list[tuple[float, float]]) -> NDArray[np.int8]:
    first, last = (int(np.clip(edge, 0, len(lung))) for edge in (np.ceil(box[0][0]), np.floor(box[0][1])))
    chosen = np.unique(np.linspace(first, max(first, last - 1), MOST_SLICES).round().astype(int))
    chosen = chosen[chosen < len(lung)]
    rows, columns = (_areas(n, *ends, m) for n, ends, m in zip(lung.shape[1:], box[1:], SLICE_GRID, strict=True))
    levels = small.levels
    density = np.clip((small.values[chosen] - levels.dark) / max(levels.limit - levels.dark, 1e-6), -0.5, 1)
    inside = lung[chosen].astype(np.float32)
    share = _in_plane(inside, rows, columns)
    mean = _in_plane(density * inside, rows, columns) / np.maximum(share, 1e-3)
    smooth = ndimage.gaussian_filter(mean * share, (0, 1.5, 1.5)) / np.maximum(
        ndimage.gaussian_filter(share, (0, 1.5, 1.5)), 1e-3
    )
    detail = np.where(share > 0.5, mean - smooth, 0)
    enough = (share > 0.5).sum(axis=(1, 2)) >= 0.08 * share[0].size
    return _as_bytes(detail[enough], 2)


def _pictures(small: Shrunk, lung: Mask, core: Mask) -> NDArray[np.int8]:
    """The slices, each in the box of its own lungs: 0 air .. 1 soft tissue, fine detail only."""
    chosen = np.unique(np.linspace(0, len(small.values) - 1, FEWEST_SLICES).round().astype(int))
    levels = small.levels
    density = np.clip((small.values - levels.dark) / max(levels.bright - levels.dark, 1e-6), -0.25, 1.1)
    pictures = np.concatenate([_own_box(density[i : i + 1], lung[i : i + 1], core[i : i + 1]) for i in chosen])
    detail = pictures - ndimage.gaussian_filter(pictures, (0, PICTURE_DETAIL, PICTURE_DETAIL), mode="nearest")
    return _as_bytes(detail - detail.mean(axis=(1, 2), keepdims=True), 2)


def _own_box(density: Array, lung: Mask, core: Mask) -> Array:
    """One slice in the box of its lungs: the same beside whatever other slices."""
    inside = core if core.any() else lung
    ends = [_reach(inside, axis) for axis in (1, 2)]
    rows, columns = (_areas(n, *e, m) for n, e, m in zip(density.shape[1:], ends, PICTURE_GRID, strict=True))
    return _in_plane(density, rows, columns)


def _areas(source: int, low: float, high: float, target: int) -> Array:
    """Matrix (target, source) of the mean over `target` equal parts of low..high; outside, the nearest edge."""
    edges, place = np.linspace(low, high, target + 1), np.arange(source)
    weights = np.minimum(edges[1:, None], place + 1) - np.maximum(edges[:-1, None], place)
    weights = np.clip(weights, 0, None)
    outside = np.flatnonzero(weights.sum(axis=1) <= 1e-9)
    weights[outside, np.where(edges[outside] < 0, 0, source - 1)] = 1
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _in_plane(pictures: Array, rows: Array, columns: Array) -> Array:
    result: Array = np.matmul(np.matmul(rows, pictures), columns.T)
    return result


def _as_bytes(detail: Array, axes: int) -> NDArray[np.int8]:
    """Scaled so that the standard deviation over the last `axes` is 40 steps."""
    scale = detail.std(axis=tuple(range(-axes, 0)), keepdims=True)
    return np.clip(np.rint(detail * (40 / np.maximum(scale, 1e-6))), -127, 127).astype(np.int8)

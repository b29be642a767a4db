"""Voxels of one scan in; a small picture of them, on a scale that no encoding changes, out.

Everything here works on stored values alone: nothing is believed of units or spacing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

SIDE = 64
"""Rows and columns of the small picture, at most; a chest of 360 mm gets 5.6 mm a pixel."""

MOSTLY_BLACK, BARELY_TISSUE, BLACK_WITHIN = 0.5, 0.55, 0.04
"""A lung-segmented picture is black for more than the first share; less than the second of the rest is tissue, and
less than the third is black within tissue (as lungs are in a soft-tissue window)."""

INNER = 0.7
"""A dark part belongs to the body when this share of it has tissue around."""

TOUCHING = 0.05
"""… and no more than this share of it lies on the picture's border."""

IN_PLANE = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3])
"""Neighbours within a slice: across thick slices, lung would touch the air around the body."""

MUCH_BLACK = 0.25
"""Air and lung together fill at least this share of a chest CT."""

LEVEL_SLICES = 32
"""Slices, evenly spread, that suffice to see where the values lie."""

PART = 16
"""Slices looked at together: a scan may be half of the memory."""

NOTHING = 1e-9
"""Shares below this are rounding."""

SPIKE = 0.01
"""A single value that this share of voxels has stands for something other than tissue: padding, saturation, black."""


@dataclass(frozen=True)
class Levels:
    """Where the stored values of a chest lie.

    Attributes:
        lowest, highest: extreme stored values.
        at_lowest, at_highest: share of voxels with exactly that value.
        padding: value of a spike far below everything else, or None.
        dark: mean of air and lung, padding left out.
        bright: mean of soft tissue and bone.
        limit: midway, near -470 HU.
        tissue_share: share of the voxels not at the lowest value that lie above the limit, or above half of what
            nearly all of them stay below: the smaller of the two.
    """

    lowest: int
    highest: int
    at_lowest: float
    at_highest: float
    padding: int | None
    dark: float
    bright: float
    limit: float
    tissue_share: float


@dataclass(frozen=True, eq=False)
class Shrunk:
    """One scan, small.

    Attributes:
        values: mean stored values, float32 [slice, row, column], at most `SIDE` rows and columns.
        black: share of voxels with exactly the lowest stored value, float32 as `values`.
        levels: where its values lie.
        blackened: everything but the lungs was made black.
    """

    values: Array
    black: Array
    levels: Levels
    blackened: bool

    @property
    def tissue(self) -> Array:
        """0 air or lung .. 1 soft tissue, rising linearly around the limit; float32 [slice, row, column]."""
        width = 0.5 * max(self.levels.bright - self.levels.dark, 1e-6)
        found: Array = np.clip((self.values - self.levels.limit) / width + 0.5, 0, 1)
        return np.maximum(found, self.black) if self.blackened else found


def shrink(voxels: NDArray[Any]) -> Shrunk:
    """The small picture of one scan.

    Args:
        voxels: integers, [slice, row, column].

    Raises:
        ValueError: no voxels, not three axes, or no whole numbers.
    """
    if voxels.ndim != 3 or voxels.size == 0 or voxels.dtype.kind not in "iu":
        raise ValueError(f"voxels have shape {voxels.shape} and type {voxels.dtype}; expected integers on three axes")
    # every fourth row and second column of 512: whole rows are what memory is slow to hand out
    step = [max(1, n // (finer * SIDE)) for n, finer in zip(voxels.shape[1:], (2, 4), strict=True)]
    sample = voxels[:, (step[0] - 1) // 2 :: step[0], (step[1] - 1) // 2 :: step[1]]
    coarse = sample[:: max(1, len(sample) // LEVEL_SLICES), :, :: 2 if sample.shape[2] > 2 * SIDE else 1]
    levels, fold = find_levels(coarse), [max(1, round(n / SIDE)) for n in sample.shape[1:]]
    if levels.at_lowest > SPIKE:
        black = _block_means(sample, fold, lambda part: (part == levels.lowest).view(np.uint8))
    else:
        black = np.zeros(_folded(sample, fold), np.float32)
    rest = find_levels(coarse, all_but_lowest=True) if levels.at_lowest > MOSTLY_BLACK else None
    blackened = rest is not None and rest.tissue_share < BARELY_TISSUE and _within(black) < BLACK_WITHIN
    levels = rest if blackened and rest is not None else levels
    floor = None if levels.padding is None else round(levels.dark)
    values = _block_means(sample, fold, lambda part: part if floor is None else np.maximum(part, floor))
    return Shrunk(values, black, levels, blackened)


def _within(black: Array) -> float:
    """Share of the picture that is black and lies within what is not."""
    inside = enclosed(black > 0.5)
    return 0.0 if inside.sum() == (black > 0.5).sum() else float(inside.mean())


def _block_means(pictures: NDArray[Any], fold: list[int], of: Callable[[NDArray[Any]], NDArray[Any]]) -> Array:
    """Means of `of(pictures)` over blocks of `fold` rows and columns; what fills no block is left out."""
    means = np.empty(_folded(pictures, fold), np.float32)
    _, rows, columns = means.shape
    for first in range(0, len(pictures), PART):
        part = of(np.ascontiguousarray(pictures[first : first + PART]))
        total: NDArray[Any] = np.zeros((len(part), rows, columns * fold[1]), np.int32)
        for i in range(fold[0]):
            total += part[:, i : rows * fold[0] : fold[0], : columns * fold[1]]
        total = sum(total[:, :, i :: fold[1]] for i in range(fold[1]))  # type: ignore[assignment]
        means[first : first + PART] = total.astype(np.float32) / np.float32(fold[0] * fold[1])
    return means


def _folded(pictures: NDArray[Any], fold: list[int]) -> tuple[int, int, int]:
    return len(pictures), pictures.shape[1] // fold[0], pictures.shape[2] // fold[1]


def find_levels(sample: NDArray[Any], all_but_lowest: bool = False) -> Levels:
    """Dark and bright levels of a chest, by Otsu's threshold on the values that are neither padding nor saturated.

    Args:
        sample: stored values of a scan.
        all_but_lowest: take the lowest value for padding, whatever it is.

    Source: N. Otsu, IEEE Trans. Syst. Man Cybern. 9:62 (1979).
    """
    lowest = int(sample.min())
    counts = np.bincount(sample.ravel().astype(np.int32) - lowest)
    highest, share = lowest + counts.size - 1, counts / counts.sum()
    padding = (all_but_lowest and share.size > 2) or _has_padding(share)
    inner = share.copy()
    if padding:
        inner[0] = 0
    limit, dark, bright = _split(inner)
    if _lungs_are_black(inner, bright):
        dark, limit = 0.0, 0.1 * bright
    return Levels(
        lowest,
        highest,
        float(share[0]),
        float(share[-1]),
        lowest if padding else None,
        lowest + dark,
        lowest + bright,
        lowest + limit,
        _tissue_share(share[1:], limit - 1),
    )


def _tissue_share(share: NDArray[np.float64], limit: float) -> float:
    if share.sum() < NOTHING:
        return 0.0
    half = _quantiles(share, 0.995)[0] / 2
    return float(share[int(max(limit, half, 0)) + 1 :].sum() / share.sum())


def _has_padding(share: NDArray[np.float64]) -> bool:
    """Whether the lowest value is a spike, and far below the others compared with their own spread."""
    if share[0] < SPIKE or share[0] > 0.9 or share.size < 3:
        return False
    low, high = _quantiles(np.concatenate([[0.0], share[1:]]), 0.002, 0.99)
    return low > 0.25 * (high - low)


def _quantiles(share: NDArray[np.float64], *levels: float) -> list[float]:
    total = np.cumsum(share)
    return [float(np.searchsorted(total, level * total[-1])) for level in levels]


def _split(share: NDArray[np.float64]) -> tuple[float, float, float]:
    """(limit, mean below, mean above), as offsets from the lowest value."""
    low, high = _quantiles(share, 0.005, 0.995)
    bins = min(256, max(2, int(high - low) + 1))
    edges = np.linspace(low, high + 1, bins + 1)
    place = np.clip(np.searchsorted(edges, np.arange(share.size), side="right") - 1, 0, bins - 1)
    mass = np.bincount(place, share, bins)
    middle = (edges[1:] + edges[:-1] - 1) / 2
    weight, moment = np.cumsum(mass), np.cumsum(mass * middle)
    left, right = weight[:-1], weight[-1] - weight[:-1]
    both = (left > NOTHING) & (right > NOTHING)
    if not both.any():  # one value only
        return float(low), float(low), float(low)
    below = moment[:-1] / np.where(both, left, 1)
    above = (moment[-1] - moment[:-1]) / np.where(both, right, 1)
    cut = int(np.argmax(np.where(both, left * right * (above - below) ** 2, -1)))
    dark, bright = float(below[cut]), float(above[cut])
    return (dark + bright) / 2, dark, bright


def _lungs_are_black(share: NDArray[np.float64], bright: float) -> bool:
    """Whether a window has turned air and lung alike to the lowest value.

    Then more voxels lie where that window has fat (three tenths of the way to tissue) than where a window that begins
    at air has lung (a seventh of the way).
    """
    lung, fat = (share[int(low * bright) + 1 : int((low + 0.18) * bright) + 1].sum() for low in (0.04, 0.25))
    return bool(share[0] > MUCH_BLACK and lung < fat)


def enclosed(dark: Mask) -> Mask:
    """The dark parts that lie within tissue: lungs, airways and bowel gas.

    Connected parts of one slice, most of whose voxels have tissue on at least three of their four sides, and that
    hardly touch the picture's border: lungs that a tight field of view cuts are kept, the air around the body and
    between it and the table is not. Where next to nothing is enclosed (a picture cut to the lungs), all dark voxels.
    """
    parts = [_enclosed(dark[first : first + PART]) for first in range(0, len(dark), PART)]
    found: Mask = np.concatenate(parts)
    return found if found.sum() >= 0.01 * dark.size else dark


def _enclosed(dark: Mask) -> Mask:
    labels, count = ndimage.label(dark, IN_PLANE)
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=count + 1)
    inner = np.bincount(flat, _has_tissue_around(~dark).ravel(), count + 1)
    border = np.concatenate([labels[:, [0, -1]].ravel(), labels[:, :, [0, -1]].ravel()])
    touching = np.bincount(border, minlength=count + 1)
    kept = (inner > INNER * sizes) & (touching <= TOUCHING * sizes)
    kept[0] = False
    found: Mask = kept[labels]
    return found


def _has_tissue_around(tissue: Mask) -> Mask:
    sides = np.zeros(tissue.shape, np.uint8)
    for axis in (1, 2):
        sides += np.logical_or.accumulate(tissue, axis=axis)
        sides += np.flip(np.logical_or.accumulate(np.flip(tissue, axis), axis=axis), axis)
    return sides >= 3

"""A prepared volume in; where its lungs, its body and what lies outside are, what is left without each, and in numbers.

Plain threshold and morphology, on at most 48 x 128 x 128 voxels. It fails where consolidation or fluid fills a lung,
where the body is cut by the field of view at the level of the lungs, and in pictures of a few rows: what is found is
checked for size and for two sides, and "not found" is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from elsewhere.scans.volume import Units, lung_mask

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Level = tuple[float, float]

REGIONS_VERSION = 2  # raised when a region or a number of `describe` changes

COARSE = (48, 128, 128)
LUNG_AIR, PADDING = -500, -1200
OUTSIDE_AIR = (-700, -850, -930)
"""Limits in HU below which air that reaches the border is outside, tried in turn: a thin chest wall of few voxels
leaks at the higher ones."""

SMALLEST, ONE_SIDE = 0.03, 0.2
"""Lungs fill at least this share of a chest CT, and each side holds at least this share of them."""

THING = -700
"""HU above which something outside the body is a thing, and no air, noise or tint."""

SOFT_TISSUE, TEXTURED = (-150, 150), (-300, 300)
USUAL_OFFSET, RELATIVE_WINDOW = 1024.0, (-1350.0, 150.0)
MAP, BODY_MAP = (1, 8, 8), (4, 6, 6)
SMOOTH = (3, 5, 5)
BINS = np.linspace(-1000, 100, 23)


@dataclass(frozen=True, eq=False)
class Regions:
    """Where things are in one prepared volume, on every `strides`-th voxel.

    Attributes:
        lungs: the lungs with vessels and lesions, gaps closed [slice, row, column]; empty where none are found.
        erased: what `erase_lungs` takes away: the lungs' outline in every slice that has lung, and a margin.
        outside: neither body nor its margin: air, table, padding, markers; empty in a volume cropped to its lungs.
        strides: voxels per coarse voxel on each axis.
        shape: of the volume.
        soft: stored value of the volume's soft tissue (median).
        air: stored value of what lies outside (median), the lowest value where nothing does.
    """

    lungs: Mask
    erased: Mask
    outside: Mask
    strides: tuple[int, int, int]
    shape: tuple[int, int, int]
    soft: int
    air: int

    @property
    def has_lungs(self) -> bool:
        """Whether lungs were found."""
        return bool(self.lungs.any())

    @property
    def has_outside(self) -> bool:
        """Whether anything lies outside the body."""
        return bool(self.outside.any())

    @property
    def lung_share(self) -> float:
        """Share of the volume that the lungs take."""
        return float(self.lungs.mean())


def stored_level(units: Units, relative_window: Level = RELATIVE_WINDOW) -> Level:
    """(factor, offset) with HU = factor * stored + offset, for the units that a prepared volume is stored in."""
    if units == "relative":
        low, high = relative_window
        return (high - low) / 255, low
    return 1.0, -USUAL_OFFSET if units == "ct_number" else 0.0


def find_regions(voxels: NDArray[Any], level: Level = (1.0, 0.0)) -> Regions:
    """Regions of a prepared volume [slice, row, column]; `level` is from `stored_level`."""
    strides = tuple(max(1, -(-n // most)) for n, most in zip(voxels.shape, COARSE, strict=True))
    coarse = voxels[tuple(slice(None, None, s) for s in strides)]
    hu = coarse * np.float32(level[0]) + np.float32(level[1])
    lungs = close_gaps(find_lungs(hu))
    erased = _grow(upright(lungs))
    body = _find_body(hu, erased)
    outside = ~_grow(body)
    outside &= outside.mean() > 0.005  # a few voxels in the corners of a cropped volume are no border
    soft = coarse[body & ~erased & (hu > SOFT_TISSUE[0]) & (hu < SOFT_TISSUE[1])]
    filling = round(float(np.median(soft))) if soft.size else round((40 - level[1]) / level[0])
    air = round(float(np.median(coarse[outside]))) if outside.any() else int(voxels.min())
    filling = int(np.clip(filling, voxels.min(), voxels.max()))
    shape = voxels.shape
    return Regions(lungs, erased, outside, strides, (shape[0], shape[1], shape[2]), filling, air)


def find_lungs(hu: NDArray[Any]) -> Mask:
    """Air-filled lungs of a coarse HU volume: the first of several tries that is large enough and has two sides.

    `volume.lung_mask` first; then, for chest walls too thin for the grid and for volumes cropped to the lungs, what
    remains when air below lower and lower limits is flooded from the border, and from the four upright edges alone.
    Empty where none of them is large enough.
    """
    best = np.zeros(hu.shape, bool)
    for mask in _tries(hu):
        share = mask.mean()
        if share >= SMALLEST and _smaller_side(mask) >= ONE_SIDE:
            return mask
        if share > max(SMALLEST, best.mean()):
            best = mask
    return best


def _tries(hu: NDArray[Any]) -> Iterator[Mask]:
    yield lung_mask(hu)
    border, edges = np.zeros(hu.shape, bool), np.zeros(hu.shape, bool)
    border[:, [0, -1]] = border[:, :, [0, -1]] = True
    corner = max(1, hu.shape[1] // 24)
    for rows in (slice(0, corner), slice(-corner, None)):
        for columns in (slice(0, corner), slice(-corner, None)):
            edges[:, rows, columns] = True
    for seeds in (border, edges):
        for limit in OUTSIDE_AIR:
            yield _inner_air(hu, limit, seeds)


def _inner_air(hu: NDArray[Any], limit: int, seeds: Mask) -> Mask:
    padding = hu < PADDING
    dark = hu < limit
    if padding.mean() > 0.6:  # lung-segmented: black is no outside air
        dark &= ~padding
    labels, count = ndimage.label(dark)
    reached = np.zeros(count + 1, bool)
    reached[labels[seeds]] = True
    reached[0] = False
    flooded = ndimage.binary_dilation(reached[labels])
    return _large_parts((hu < LUNG_AIR) & ~padding & ~flooded)


def _large_parts(mask: Mask) -> Mask:
    """Components of at least a twentieth of the largest."""
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= max(1, sizes.max() / 20))[labels]


def _smaller_side(mask: Mask) -> float:
    """Share of the mask on the emptier side of the body's middle."""
    columns = mask.sum(axis=(0, 1))
    left = columns[: columns.size // 2].sum() / max(columns.sum(), 1)
    return float(min(left, 1 - left))


def close_gaps(lungs: Mask) -> Mask:
    """The mask with every gap between two of its voxels closed, along each axis, each side of the body by itself.

    Vessels and lesions are gaps in the air; so the mask's holes do not tell where disease is. Not closed: consolidation
    at the outer edge of a lung.
    """
    columns = np.flatnonzero(lungs.any(axis=(0, 1)))
    if not columns.size:
        return lungs
    weights = lungs.sum(axis=(0, 1))
    middle = round(float((weights * np.arange(weights.size)).sum() / weights.sum()))
    closed = np.zeros_like(lungs)
    for side in (slice(0, middle), slice(middle, None)):
        part = lungs[:, :, side]
        for axis in range(3):
            closed[:, :, side] |= _between(part, axis)
    return closed


def upright(lungs: Mask) -> Mask:
    """The outline of the lungs seen along the body, from their first slice to their last: what disease fills is in it.

    In simulated scans 8 % of oedema with its effusion lies outside it (with the margin), of all other disease at most
    0.1 %; outside the lungs with their gaps closed it is 51 %, and 6 % of lobar pneumonia.
    """
    slices, whole = np.flatnonzero(lungs.any(axis=(1, 2))), np.zeros_like(lungs)
    if slices.size:
        whole[slices[0] : slices[-1] + 1] = lungs.any(axis=0)
    return whole


def _between(mask: Mask, axis: int) -> Mask:
    before = np.logical_or.accumulate(mask, axis=axis)
    after = np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
    return before & after


def _grow(mask: Mask) -> Mask:
    """The mask and a margin of a thirty-second of each axis, at least one voxel."""
    if not mask.any():
        return mask
    size = [2 * max(1, round(n / 32)) + 1 for n in mask.shape]
    grown: Mask = ndimage.maximum_filter(mask, size=size)
    return grown


def _find_body(hu: NDArray[Any], lungs: Mask) -> Mask:
    """The largest thing denser than lung, thin tables cut off, with the lungs in it."""
    dense = (hu > LUNG_AIR) | lungs
    opened = ndimage.binary_opening(dense, np.ones((1, 3, 3), bool)) | lungs
    labels, count = ndimage.label(opened)
    if not count:
        return lungs
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return close_body(labels == sizes.argmax())


def close_body(body: Mask) -> Mask:
    """Holes of every slice filled."""
    filled: Mask = np.stack([ndimage.binary_fill_holes(picture) for picture in body])
    return filled


# What is left of a volume -----------------------------------------------------------------------------------------


def erase_lungs(voxels: NDArray[Any], regions: Regions) -> NDArray[Any]:
    """The volume without its lungs: their outline along the body (`upright`) becomes its median of soft tissue.

    The same outline in every slice and a margin, so that its shape tells neither vessels nor lesions; it still tells
    the size of the lungs. Part of the heart goes with them.
    """
    return np.where(on_grid(regions.erased, regions), voxels.dtype.type(regions.soft), voxels)


def keep_lungs(voxels: NDArray[Any], regions: Regions) -> NDArray[Any]:
    """The lungs alone; all else becomes the volume's median of soft tissue."""
    return np.where(on_grid(regions.lungs, regions), voxels, voxels.dtype.type(regions.soft))


def keep_outside(voxels: NDArray[Any], regions: Regions) -> NDArray[Any]:
    """Border, air and table alone; the body becomes the median of what lies outside, so that its outline fades."""
    return np.where(on_grid(regions.outside, regions), voxels, voxels.dtype.type(regions.air))


VIEWS: dict[str, Callable[[NDArray[Any], Regions], NDArray[Any]]] = {
    "lungs_erased": erase_lungs,
    "lungs_only": keep_lungs,
    "border_only": keep_outside,
}
"""What models are shown besides whole scans."""


def on_grid(mask: Mask, regions: Regions) -> Mask:
    """A coarse mask on the volume's own grid."""
    index = [np.arange(n) // s for n, s in zip(regions.shape, regions.strides, strict=True)]
    spread: Mask = mask[np.ix_(*index)]
    return spread


# The same in numbers ----------------------------------------------------------------------------------------------


def describe(voxels: NDArray[Any], regions: Regions, level: Level = (1.0, 0.0)) -> dict[str, Floats]:
    """A small fixed description of each region, for classifiers; in HU where the units are known.

    Returns:
        `background` (4,): median of what lies outside within the inscribed circle and in the corners, share of padding,
            share of the volume outside.
        `objects` (128,): how much denser than -700 HU the things outside the body are, mean and maximum of each of
            8 x 8 parts of the picture.
        `texture` (10,): how much neighbours differ in soft tissue (log of percentiles 50 and 90 of the absolute
            difference at distance 1 and 2 in-plane, 1 across slices), and in-plane how distance 2 and the second
            difference compare with distance 1: kernel, noise, thickness.
        `body` (158,): parts of the smoothed body without lungs (4 x 6 x 6), its percentiles (10), lung extent (4).
        `lungs` (22,): square roots of the shares of 22 bins of 50 HU from -1000 to 100; zeros without lungs.
    """
    coarse = voxels[tuple(slice(None, None, s) for s in regions.strides)]
    hu = coarse * np.float32(level[0]) + np.float32(level[1])
    return {
        "background": _background(hu, regions),
        "objects": _objects(hu, regions),
        "texture": _texture(voxels, regions, level),
        "body": _body(hu, regions),
        "lungs": _lung_histogram(hu, regions),
    }


def _background(hu: NDArray[Any], regions: Regions) -> Floats:
    """The corners apart: outside the circle of reconstruction is padding in some scans, and most of the border."""
    if not regions.has_outside:
        return np.zeros(4)
    y, x = (np.linspace(-1, 1, n) for n in hu.shape[1:])
    inside = regions.outside & (y[:, None] ** 2 + x**2 < 1)
    air, corners = (hu[part] if part.any() else hu[regions.outside] for part in (inside, regions.outside & ~inside))
    padding = (hu[regions.outside] < PADDING).mean()
    return np.array([np.median(air), np.median(corners), padding, regions.outside.mean()], np.float64)


def _objects(hu: NDArray[Any], regions: Regions) -> Floats:
    if not regions.has_outside:
        return np.zeros(2 * MAP[1] * MAP[2])
    dense = np.where(regions.outside, np.maximum(hu - THING, 0), 0)
    mean = (dense.sum(axis=0) / np.maximum(regions.outside.sum(axis=0), 1))[None]
    return np.concatenate([_blocks(mean, MAP, function).ravel() for function in (np.mean, np.max)])


def _blocks(values: NDArray[Any], parts: tuple[int, ...], function: Any) -> Floats:
    """A number for each of so many parts of an array, as equal as they can be."""
    out = values.astype(np.float64)
    for axis, count in enumerate(parts):
        cuts = np.array_split(np.arange(out.shape[axis]), min(count, out.shape[axis]))
        held = [function(np.take(out, cut, axis=axis), axis=axis, keepdims=True) for cut in cuts]
        held += [held[-1]] * (count - len(held))
        out = np.concatenate(held, axis=axis)
    return out


def _texture(voxels: NDArray[Any], regions: Regions, level: Level) -> Floats:
    """In-plane differences at the volume's own grid, of at most as many slices as the coarse grid has."""
    every = regions.strides[0]
    hu = voxels[::every] * np.float32(level[0]) + np.float32(level[1])
    rows, columns = (np.arange(n) // s for n, s in zip(regions.shape[1:], regions.strides[1:], strict=True))
    soft = (hu > TEXTURED[0]) & (hu < TEXTURED[1])
    soft &= ~regions.erased[:, rows[:, None], columns] & ~regions.outside[:, rows[:, None], columns]
    near, far, bend = (
        np.mean([_differences(hu, soft, axis, lags) for axis in (1, 2)], axis=0) for lags in ((0, 1), (0, 2), (0, 1, 2))
    )
    return np.concatenate([near, far, _differences(hu, soft, 0, (0, 1)), far - near, bend - near])


def _differences(hu: NDArray[Any], soft: Mask, axis: int, lags: tuple[int, ...]) -> Floats:
    """Log of percentiles 50 and 90 of |first - second|, or of |first - 2 second + third|, where all are soft tissue."""
    length = hu.shape[axis] - lags[-1]
    if length < 1:
        return np.zeros(2)
    places = [(slice(None),) * axis + (slice(lag, lag + length),) for lag in lags]
    kept = np.logical_and.reduce([soft[place] for place in places])
    if not kept.any():
        return np.zeros(2)
    values = [hu[place][kept] for place in places]
    bent = values[0] - values[1] if len(values) == 2 else values[0] - 2 * values[1] + values[2]
    found: Floats = np.log(np.percentile(np.abs(bent), (50, 90)) + 1)
    return found


def _body(hu: NDArray[Any], regions: Regions) -> Floats:
    """Smoothed first, so that kernel and noise, which `_texture` is about, say little here."""
    kept = ~regions.erased & ~regions.outside
    level = np.where(kept, np.clip(hu, -200, 400), 0)
    near = [ndimage.uniform_filter(part, SMOOTH) for part in (level, kept.astype(np.float32))]
    smooth = np.where(kept, near[0] / np.maximum(near[1], 1e-3), 0)
    values = smooth[kept]
    percentiles = np.percentile(values, np.linspace(5, 95, 10)) if values.size else np.zeros(10)
    extent = [
        np.ptp(hits) / n if (hits := np.flatnonzero(regions.lungs.any(axis=others))).size else 0.0
        for n, others in zip(regions.lungs.shape, ((1, 2), (0, 2), (0, 1)), strict=True)
    ]
    filled = np.where(kept, smooth, np.median(values) if values.size else 0)
    return np.concatenate([_blocks(filled, BODY_MAP, np.mean).ravel(), percentiles, [*extent, regions.lung_share]])


def _lung_histogram(hu: NDArray[Any], regions: Regions) -> Floats:
    values = np.clip(hu[regions.lungs], BINS[0], BINS[-1])
    if not values.size:
        return np.zeros(BINS.size - 1)
    return np.sqrt(np.histogram(values, BINS)[0] / values.size)

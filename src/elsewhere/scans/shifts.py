"""A volume and a planned shift (which, how much) in; the volume as another scanner or protocol would have made it out.

Each shift changes one thing, in steps whose dose 0 is the volume as it is. They act on what a reader returns, before
the volume is prepared, so that cropping and normalising meet the shifted scan as they would meet a foreign one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from elsewhere.errors import BadStudy
from elsewhere.scans.volume import Spacing, Volume, lung_mask

Slice = NDArray[np.float32]
Act = Callable[[Slice, int], Slice]

SHIFTS_VERSION = 1
"""Raised whenever a shift changes its output; kept results of other versions are not used."""

LEAST_DOSE = 0.01  # of any unit; less is nothing

FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian, in its standard deviations

AIR, PADDING_BELOW = -1000, -1100
"""HU of air, and the HU below which a voxel is padding: no tissue, no air, and not touched by a kernel."""

LIMITS = (-1024.0, 3071.0)
"""12-bit CT numbers in HU; a shift does not leave them further than the volume already does."""

CHEST_WIDTH = 350.0
"""mm across the picture, where the pixel size is unknown; chest fields of view are 300 to 400 mm."""

EDGE_FWHM, EDGE_PIXELS = 1.3, 0.7
"""Edges are sharpened against a Gaussian of 1.3 mm FWHM, the blur that turns a B70f into a B40f reconstruction of one
patient (measured, docs/how-to/stress.md), but of 0.7 pixels (SD) at least: a kernel knows its pixels."""

NOISE_GRAIN = (0.7, 2.0)
"""SDs in pixels of the two Gaussians whose difference colours the noise: little at low frequencies, as after filtered
back-projection, most at a third of Nyquist, and rolled off above by the kernel."""

BLOOD_HU = (-50.0, 20.0, 90.0, 180.0)
"""Where a voxel between the lungs takes up contrast agent: none, all, all, none; fat lies below, bone above."""

BONE_REACH, BONE_HU = 3.0, (100.0, 150.0)
"""Marrow is as bright as blood: what is brighter than this when averaged over a few mm (SD of a Gaussian) is bone."""

LUNG_WINDOW_LEVEL, LUNG_WINDOW_WIDTH = -600.0, 1500.0
"""The usual lung window (protocol page): -1350..150 HU."""
LUNG_WINDOW = (LUNG_WINDOW_LEVEL - LUNG_WINDOW_WIDTH / 2, LUNG_WINDOW_LEVEL + LUNG_WINDOW_WIDTH / 2)

LARGEST_MASK = (96, 128, 128)
"""The lungs are looked for on every n-th voxel, so that no axis is longer than this."""


@dataclass(frozen=True)
class Shift:
    """One planned shift.

    Attributes:
        name: which.
        dose: how much; 0 changes nothing.
        unit: of the dose.
        words: what a radiographer would call it.
    """

    name: str
    dose: float
    unit: str
    words: str


@dataclass(frozen=True)
class Ladder:
    """The doses of one shift.

    Attributes:
        unit: of the doses.
        doses: usual doses, rising.
        largest: a larger dose makes no sense.
        words: sentence with `{dose}`; the window's has `{low}` and `{high}` too.
        needs_hu: the shift is defined on HU alone.
    """

    unit: str
    doses: tuple[float, ...]
    largest: float
    words: str
    needs_hu: bool


# Where the doses come from stands in docs/how-to/stress.md.
LADDERS: dict[str, Ladder] = {
    "blur": Ladder("mm", (1, 2, 4), 20, "softer kernel: blurred in-plane by {dose} mm (FWHM)", False),
    "sharpen": Ladder("%", (50, 100, 200), 1000, "sharper kernel: edges raised by {dose} %", False),
    "noise": Ladder("HU", (10, 25, 50), 1000, "lower dose: noise of {dose} HU (SD) added", True),
    "thickness": Ladder("mm", (2.5, 5, 10), 100, "thicker slices: averaged over {dose} mm", False),
    "contrast": Ladder("HU", (100, 200, 300), 2000, "contrast agent: {dose} HU more in heart and vessels", True),
    "narrow": Ladder("%", (10, 20, 30), 90, "field of view {dose} % narrower", False),
    "wide": Ladder("%", (10, 20, 40), 400, "field of view {dose} % wider", False),
    "window": Ladder(
        "HU cut off", (2096, 2596, 3096), 4095, "cut to the window {low}..{high} HU, 256 grey levels", True
    ),
    "quantise": Ladder("HU per level", (6, 16, 64), 2000, "grey levels {dose} HU apart", True),
    "padding": Ladder("HU below air", (24, 1000, 2024), 20000, "{value} HU outside the circle", True),
    "darker": Ladder("% of width", (5, 10, 20), 100, "grey window's level {dose} % of its width higher", False),
    "brighter": Ladder("% of width", (5, 10, 20), 100, "grey window's level {dose} % of its width lower", False),
    "flatter": Ladder("%", (10, 20, 40), 400, "grey window {dose} % wider", False),
    "steeper": Ladder("%", (10, 20, 40), 90, "grey window {dose} % narrower", False),
}
GREY_WINDOWS = ("darker", "brighter", "flatter", "steeper")


def plan_shift(name: str, dose: float) -> Shift:
    """A shift as a value.

    Raises:
        BadStudy: there is no such shift, or the dose is negative or too large.
    """
    if name not in LADDERS:
        raise BadStudy("--shifts", f"names {name!r}", f"Shifts: {', '.join(LADDERS)}")
    ladder = LADDERS[name]
    if dose and not LEAST_DOSE <= dose <= ladder.largest:
        then = f"Give 0, or {LEAST_DOSE:g} to {ladder.largest:g} ({ladder.unit})"
        raise BadStudy("--doses", f"has {dose:g} for {name}", then)
    low, high = window_of(dose)
    filled = {"dose": f"{dose:g}", "low": f"{low:g}", "high": f"{high:g}", "value": f"{AIR - dose:g}"}
    return Shift(name, float(dose), ladder.unit, ladder.words.format(**filled) if dose else "as it is")


def plan_shifts(names: Sequence[str] = (), doses: Sequence[float] = ()) -> tuple[Shift, ...]:
    """All doses of the named shifts (of every shift), in order; dose 0 is not among them.

    Args:
        names: shifts, none twice; none for all.
        doses: instead of the usual ones.

    Raises:
        BadStudy: as `plan_shift`.
    """
    chosen = list(dict.fromkeys(names)) or list(LADDERS)
    for name in chosen:
        plan_shift(name, 0)  # refuses a name that is no shift
    return tuple(plan_shift(n, dose) for n in chosen for dose in sorted({*(doses or LADDERS[n].doses)} - {0}))


def window_of(dose: float) -> tuple[float, float]:
    """HU limits of the lung window that is left when `dose` of 4096 HU are cut off."""
    half = (4096 - dose) / 2
    return LUNG_WINDOW_LEVEL - half, LUNG_WINDOW_LEVEL + half


def obstacle(volume: Volume, shift: Shift) -> str:
    """Why this shift cannot be applied to this volume; empty where it can."""
    if LADDERS[shift.name].needs_hu and volume.units == "relative":
        return "needs HU, and the scan holds relative grey values after an unknown window"
    if shift.name == "thickness" and slice_distance(volume)[0] is None:
        return "needs the distance of the slices, and the scan does not tell it"
    return ""


def apply_shift(volume: Volume, shift: Shift, seed: Sequence[int] = (0,)) -> Volume:
    """The shifted volume: same shape, type, units and offset; only a field of view changes the pixel spacing.

    A pure function: the same volume, shift and seed give the same voxels, and all doses of noise share one pattern.

    Args:
        volume: as read, [slice, row, column].
        shift: from `plan_shift`; `obstacle` must say nothing against it.
        seed: of the noise, whole numbers.
    """
    assert not obstacle(volume, shift), (volume.units, shift)
    if shift.dose == 0:
        return volume
    act, remark = _PREPARE[shift.name](volume, shift.dose, tuple(seed))
    factor = {"narrow": 1 - shift.dose / 100, "wide": 1 + shift.dose / 100}.get(shift.name, 1.0)
    notes = (*volume.notes, *([remark] if remark else []), f"shifted: {shift.words}")
    lowest = {"padding": AIR - shift.dose, **dict.fromkeys(GREY_WINDOWS, LUNG_WINDOW[0])}.get(shift.name, 0.0)
    voxels = _carry_out(volume, act, lowest)
    return replace(volume, voxels=voxels, spacing=_scaled(volume.spacing, factor), notes=notes)


def pixel_size(volume: Volume) -> tuple[float, str]:
    """Pixel size in mm, and a remark where it had to be assumed."""
    if volume.spacing is not None:
        return volume.spacing[1], ""
    told = volume.facts.get("pixel_spacing_mm")
    if isinstance(told, int | float) and told > 0:
        return float(told), ""
    size = CHEST_WIDTH / volume.voxels.shape[2]
    return size, f"pixel size unknown: {size:.2g} mm assumed ({CHEST_WIDTH:g} mm across)"


def slice_distance(volume: Volume) -> tuple[float | None, str]:
    """Distance of slices in mm (None where nothing tells it), and a remark where the thickness stands for it."""
    if volume.spacing is not None:
        return volume.spacing[0], ""
    told = volume.facts.get("thickness_mm")
    if isinstance(told, int | float) and told > 0:
        return float(told), f"slice distance unknown: their thickness, {told:g} mm, stands for it"
    return None, ""


# One slice after the other, in HU (relative values as they are) ----------------------------------------------------


def _carry_out(volume: Volume, act: Act, lowest: float = 0.0) -> NDArray[Any]:
    """`act` on every slice; back to the stored type, within 12 bits, what the volume already reaches, or `lowest`."""
    voxels, offset = volume.voxels, np.float32(volume.offset or 0)
    low, high = (0.0, 255.0) if volume.units == "relative" else (LIMITS[0] + offset, LIMITS[1] + offset)
    low, high = min(low, float(voxels.min()), lowest + offset), max(high, float(voxels.max()))
    out = np.empty_like(voxels)
    for i, picture in enumerate(_slices(volume)):
        changed = act(picture, i) + offset
        out[i] = np.rint(np.clip(changed, low, high, out=changed), out=changed)
    return out


def _slices(volume: Volume) -> Iterator[Slice]:
    offset = np.float32(volume.offset or 0)
    for picture in volume.voxels:
        yield picture.astype(np.float32) - offset


def _scaled(spacing: Spacing | None, factor: float) -> Spacing | None:
    return None if spacing is None else (spacing[0], spacing[1] * factor, spacing[2] * factor)


def _beside_padding(volume: Volume, filtered: Callable[[Slice, int], Slice]) -> Act:
    """A filter that sees air where padding is, and leaves the padding, and nothing else, below 12 bits."""
    if volume.units == "relative":
        return filtered

    def act(picture: Slice, i: int) -> Slice:
        padding = picture < PADDING_BELOW
        found = filtered(np.where(padding, np.float32(AIR), picture), i)
        return np.where(padding, picture, np.maximum(found, np.float32(LIMITS[0])))

    return act


def _blur(volume: Volume, dose: float, _: tuple[int, ...]) -> tuple[Act, str]:
    """Convolution with a Gaussian: modulation exp(-2 pi² sigma² f²)."""
    pixel, remark = pixel_size(volume)
    sigma = dose / FWHM / pixel
    return _beside_padding(volume, lambda picture, _: _gaussian(picture, sigma)), remark


def _sharpen(volume: Volume, dose: float, _: tuple[int, ...]) -> tuple[Act, str]:
    """Unsharp mask: modulation 1 + a (1 - exp(-2 pi² sigma² f²)), so that high frequencies gain a = dose / 100."""
    pixel, remark = pixel_size(volume)
    sigma, gain = max(EDGE_FWHM / FWHM / pixel, EDGE_PIXELS), np.float32(dose / 100)
    return _beside_padding(volume, lambda picture, _: picture + gain * (picture - _gaussian(picture, sigma))), remark


def _noise(volume: Volume, dose: float, seed: tuple[int, ...]) -> tuple[Act, str]:
    """Gaussian noise of SD `dose` in every slice, independent between slices, coloured by `NOISE_GRAIN`."""

    def add(picture: Slice, i: int) -> Slice:
        white = np.random.default_rng([*seed, i]).standard_normal(picture.shape, np.float32)
        grain = _gaussian(white, NOISE_GRAIN[0]) - _gaussian(white, NOISE_GRAIN[1])
        return picture + grain * np.float32(dose / grain.std())

    return _beside_padding(volume, add), ""


def _gaussian(picture: Slice, sigma: float) -> Slice:
    smooth: Slice = ndimage.gaussian_filter(picture, sigma, mode="nearest", truncate=3.0)
    return smooth


def _thickness(volume: Volume, dose: float, _: tuple[int, ...]) -> tuple[Act, str]:
    """Average over `dose` mm around each slice, the volume being linear between its slices; their places stay."""
    distance, remark = slice_distance(volume)
    assert distance is not None
    weights = averaging_weights(dose / distance)
    reach, offset, count = len(weights) // 2, np.float32(volume.offset or 0), len(volume.voxels)

    def average(_: Slice, i: int) -> Slice:
        near = np.clip(np.arange(i - reach, i + reach + 1), 0, count - 1)
        return np.tensordot(weights, volume.voxels[near].astype(np.float32) - offset, axes=1)

    return _kept_padding(volume, average), remark


def _kept_padding(volume: Volume, act: Act) -> Act:
    if volume.units == "relative":
        return act
    return lambda picture, i: np.where(picture < PADDING_BELOW, picture, act(picture, i))


def averaging_weights(width: float) -> Slice:
    """Weights (odd number,) of the slices around one, for the mean over `width` slice distances.

    The area of each slice's hat function (linear interpolation) under the box, over the box's width.
    """
    reach = int(np.ceil(width / 2 + 1))
    places = np.arange(-reach, reach + 1)

    def area(x: NDArray[Any]) -> NDArray[Any]:  # under a hat around 0, from -1 to x
        x = np.clip(x, -1, 1)
        return np.where(x < 0, (1 + x) ** 2 / 2, 1 - (1 - x) ** 2 / 2)

    weights = (area(width / 2 - places) - area(-width / 2 - places)) / width
    kept = weights > 0
    return (weights[kept] / weights[kept].sum()).astype(np.float32)


def _contrast(volume: Volume, dose: float, _: tuple[int, ...]) -> tuple[Act, str]:
    """HU added to soft tissue that has lung on its left and on its right: heart, great vessels, hila, lung vessels.

    Weight 1 from 20 to 90 HU, falling to 0 at -50 (fat) and at 180 (bone, calcium), and to 0 where the surroundings
    are bright (the spine's marrow). Dense consolidation is enhanced too, as it is by contrast agent; so is the dome of
    the liver; vessels thinner than a voxel are not.
    """
    region, steps = between_lungs(volume)
    remark = "" if region.any() else "lungs not found: no contrast agent added"
    reach = BONE_REACH / pixel_size(volume)[0]

    def add(picture: Slice, i: int) -> Slice:
        here = region[i // steps[0]].repeat(steps[1], 0).repeat(steps[2], 1)[: picture.shape[0], : picture.shape[1]]
        taken = np.interp(picture, BLOOD_HU, (0, 1, 1, 0)).astype(np.float32)
        marrow = np.interp(_gaussian(picture, reach), BONE_HU, (1, 0)).astype(np.float32)
        return picture + np.float32(dose) * taken * marrow * here

    return add, remark


def between_lungs(volume: Volume) -> tuple[NDArray[np.bool_], tuple[int, int, int]]:
    """Mask of what lies between the outermost lung voxels of each row, and the steps at which it was sampled."""
    steps = tuple(-(-n // limit) for n, limit in zip(volume.voxels.shape, LARGEST_MASK, strict=True))
    thinned = volume.voxels[tuple(slice(None, None, s) for s in steps)]
    lungs = lung_mask(thinned.astype(np.int32) - round(volume.offset or 0))
    left, right = (np.logical_or.accumulate(side, axis=2) for side in (lungs, lungs[:, :, ::-1]))
    return left & right[:, :, ::-1], (steps[0], steps[1], steps[2])


def _narrow(volume: Volume, dose: float, _: tuple[int, ...]) -> tuple[Act, str]:
    return _zoomed(volume, 1 - dose / 100), ""


def _wide(volume: Volume, dose: float, _: tuple[int, ...]) -> tuple[Act, str]:
    return _zoomed(volume, 1 + dose / 100), ""


def _zoomed(volume: Volume, factor: float) -> Act:
    """The same matrix over `factor` of the field of view, same centre; outside of it lies the volume's lowest value."""
    rows, columns = (zoom_weights(n, factor) for n in volume.voxels.shape[1:])
    outside = np.float32(float(volume.voxels.min()) - (volume.offset or 0))
    return lambda picture, _: rows @ (picture - outside) @ columns.T + outside


def zoom_weights(pixels: int, factor: float) -> Slice:
    """Matrix (pixels, pixels) of linear interpolation at `factor` of the width; rows outside the picture are 0."""
    middle = (pixels - 1) / 2
    centres = middle + (np.arange(pixels) - middle) * factor
    reach = max(1.0, factor)
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(pixels)) / reach)
    total = weights.sum(axis=1, keepdims=True)
    inside = ((centres > -0.5) & (centres < pixels - 0.5))[:, None]
    return np.divide(weights, total, out=np.zeros_like(weights), where=inside & (total > 0)).astype(np.float32)


def _window(_: Volume, dose: float, __: tuple[int, ...]) -> tuple[Act, str]:
    """What an 8-bit picture keeps: HU cut to a lung window and rounded to its 256 levels; written back in HU."""
    low, high = (np.float32(limit) for limit in window_of(dose))
    step = (high - low) / np.float32(255)
    return lambda picture, _: low + step * np.rint((np.clip(picture, low, high) - low) / step), ""


def _quantise(_: Volume, dose: float, __: tuple[int, ...]) -> tuple[Act, str]:
    step = np.float32(dose)
    return lambda picture, _: step * np.rint(picture / step), ""


def _padding(volume: Volume, dose: float, _: tuple[int, ...]) -> tuple[Act, str]:
    """Everything outside the circle in the picture becomes air less `dose` HU, body in the corners included."""
    sides = (np.arange(n) - (n - 1) / 2 for n in volume.voxels.shape[1:])
    y, x = (side / (n / 2) for side, n in zip(sides, volume.voxels.shape[1:], strict=True))
    outside, value = y[:, None] ** 2 + x[None, :] ** 2 > 1, np.float32(AIR - dose)
    return lambda picture, _: np.where(outside, value, picture), ""


def _darker(volume: Volume, dose: float, _: tuple[int, ...]) -> tuple[Act, str]:
    return _regreyed(volume, dose / 100, 1.0), ""


def _brighter(volume: Volume, dose: float, _: tuple[int, ...]) -> tuple[Act, str]:
    return _regreyed(volume, -dose / 100, 1.0), ""


def _flatter(volume: Volume, dose: float, _: tuple[int, ...]) -> tuple[Act, str]:
    return _regreyed(volume, 0.0, 1 + dose / 100), ""


def _steeper(volume: Volume, dose: float, _: tuple[int, ...]) -> tuple[Act, str]:
    return _regreyed(volume, 0.0, 1 - dose / 100), ""


def _regreyed(volume: Volume, level: float, width: float) -> Act:
    """An 8-bit picture as another grey window would have made it: level moved, width multiplied (shares of the width).

    Relative values are re-windowed as they are; what the first window cut off is lost. HU are read as an 8-bit picture
    of that other window is read where the usual lung window is assumed: cut, in 256 levels, on that window's scale.
    """
    bottom, step = (0.0, 1.0) if volume.units == "relative" else (LUNG_WINDOW[0], LUNG_WINDOW_WIDTH / 255)
    lowest = 0.5 + level - width / 2

    def act(picture: Slice, _: int) -> Slice:
        grey = (picture - np.float32(bottom)) / np.float32(255 * step)
        again = np.clip((grey - np.float32(lowest)) / np.float32(width), 0, 1)
        found: Slice = np.float32(bottom) + np.float32(step) * np.rint(again * 255)
        return found

    return act


_PREPARE: dict[str, Callable[[Volume, float, tuple[int, ...]], tuple[Act, str]]] = {
    "blur": _blur,
    "sharpen": _sharpen,
    "noise": _noise,
    "thickness": _thickness,
    "contrast": _contrast,
    "narrow": _narrow,
    "wide": _wide,
    "window": _window,
    "quantise": _quantise,
    "padding": _padding,
    "darker": _darker,
    "brighter": _brighter,
    "flatter": _flatter,
    "steeper": _steeper,
}

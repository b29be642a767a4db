"""A volume in; what each shift of `shifts` changes in its picture, measured: edges, grain, field of view, grey levels.

A shift can stand behind another site's scores only if that site's pictures show it. Each shift has its own marks; they
are measured alike in every volume, on the HU between -1350 and 150 that an 8-bit lung picture has too, so that a site
in HU and one in grey values can be compared where their marks can be had.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.shifts import LUNG_WINDOW, between_lungs, pixel_size
from elsewhere.scans.volume import Volume, to_hu

MARKS_VERSION = 1
"""Raised whenever a mark changes; kept marks of other versions are not used."""

MARKS: dict[str, tuple[str, ...]] = {
    "blur": ("edge", "grain"),
    "sharpen": ("edge", "grain"),
    "noise": ("grain",),
    "thickness": ("thickness",),
    "contrast": ("blood",),
    "narrow": ("field",),
    "wide": ("field",),
    "window": ("ceiling",),
    "quantise": ("step",),
    "padding": ("floor",),
    "darker": ("dark", "bright"),
    "brighter": ("dark", "bright"),
    "flatter": ("dark", "bright"),
    "steeper": ("dark", "bright"),
}
"""Shift -> marks that it leaves. `field` is the field of view in mm."""

INSTEAD = {"field": "body"}
"""Mark -> the one that stands for it where one of two sites has it not."""

ALL = frozenset([mark for names in MARKS.values() for mark in names] + list(INSTEAD.values()))

SLICES = 12
"""Slices that are measured, spread over the middle half of a volume."""

SOFT_TISSUE = (-100.0, 140.0)
"""HU within which neighbouring voxels differ by noise and kernel more than by anatomy; inside the lung window."""

BODY = -400.0  # HU above which a voxel counts as body
LEVELS = (-950.0, 50.0)  # HU in which grey levels are counted


def marks(
    volume: Volume, relative_window: tuple[float, float] = LUNG_WINDOW, wanted: Collection[str] = ALL
) -> dict[str, float]:
    """Every wanted mark that this volume tells of; what it does not tell is absent.

    Args:
        volume: as read, in any units.
        relative_window: HU window that 0..255 data are taken to have.
        wanted: which.

    Returns:
        `edge`: root mean square of the steps between neighbouring voxels of a row, HU. `grain`: standard deviation of
        such steps in soft tissue (from their median), HU. `dark`, `bright`: 10th and 90th percentile within the
        picture's central ellipse, HU. `body`: share of the picture above -400 HU. `step`: HU from one
        grey level to the next (median).
        `floor`, `ceiling`: lowest and highest HU. `blood`: 75th percentile of soft tissue between the lungs, HU; not
        of relative values, which have none above their window. `field`: width of the field of view, mm. `thickness`:
        of the slices, mm.
    """
    found: dict[str, float] = {}
    hu = _hu(volume, relative_window)
    low, high = LUNG_WINDOW
    grey = np.clip(hu, low, high)
    steps = np.abs(np.diff(grey, axis=2))
    rows, columns = np.ogrid[-1 : 1 : grey.shape[1] * 1j, -1 : 1 : grey.shape[2] * 1j]
    middle = (rows / 0.6) ** 2 + (columns / 0.7) ** 2 < 1
    found["dark"], found["bright"] = (float(v) for v in np.percentile(grey[:, middle], (10, 90)))
    found["edge"] = float(np.sqrt(np.mean(np.square(steps[:, middle[:, 1:]], dtype=np.float64))))
    soft = (grey > SOFT_TISSUE[0]) & (grey < SOFT_TISSUE[1])
    pairs = steps[soft[:, :, 1:] & soft[:, :, :-1]]
    if pairs.size:
        found["grain"] = float(np.median(pairs) / 0.6745 / np.sqrt(2))
    found["body"] = float((hu > BODY).mean())
    levels = np.unique(hu[(hu >= LEVELS[0]) & (hu < LEVELS[1])])
    if levels.size > 1:
        found["step"] = float(np.median(np.diff(levels)))
    if volume.units == "relative":
        found["floor"], found["ceiling"] = relative_window
    else:
        offset = float(volume.offset or 0)
        found["floor"], found["ceiling"] = (float(v) - offset for v in (volume.voxels.min(), volume.voxels.max()))
        found |= _blood(volume) if "blood" in wanted else {}
    return {mark: value for mark, value in (found | _header(volume)).items() if mark in wanted}


def _hu(volume: Volume, relative_window: tuple[float, float]) -> NDArray[np.float32]:
    """Some slices of the middle half, in HU."""
    count = len(volume.voxels)
    places = np.unique(np.linspace(count // 4, max(count - 1 - count // 4, count // 4), SLICES).round().astype(int))
    part = Volume(volume.voxels[places], volume.units, volume.spacing, volume.offset)
    hu: NDArray[np.float32] = to_hu(part, relative_window).voxels.astype(np.float32)
    return hu


def _blood(volume: Volume) -> dict[str, float]:
    region, steps = between_lungs(volume)
    hu = volume.voxels[tuple(slice(None, None, s) for s in steps)][region] - float(volume.offset or 0)
    taken = hu[(hu > SOFT_TISSUE[0]) & (hu < 700)]
    return {"blood": float(np.percentile(taken, 75))} if taken.size else {}


def _header(volume: Volume) -> dict[str, float]:
    found = {}
    size, remark = pixel_size(volume)
    if not remark:
        found["field"] = size * volume.voxels.shape[2]
    told = volume.facts.get("thickness_mm")
    if isinstance(told, int | float) and told > 0:
        found["thickness"] = float(told)
    return found


def shifted_marks(volume: Volume, name: str, dose: float, relative_window: tuple[float, float]) -> dict[str, float]:
    """The marks of a shift in a volume to which it was applied; thicker slices are so many mm thick, or as before."""
    own = {*MARKS[name], *(INSTEAD[mark] for mark in MARKS[name] if mark in INSTEAD)}
    found = marks(volume, relative_window, own)
    if name == "thickness" and "thickness" in found:
        found["thickness"] = max(found["thickness"], dose)
    if volume.spacing is None:
        found.pop("field", None)  # a shift changes the spacing, not what a header said of it
    return found

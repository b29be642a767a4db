"""Voxels as a general layout stores them, and what the study file says of their units, in; a Volume out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.scan import Fact
from elsewhere.scans.volume import Spacing, Volume

DeclaredUnits = Literal["auto", "HU", "ct_number", "relative"]
DECLARED = ("auto", "HU", "ct_number", "relative")

LARGEST_HU_MINIMUM = -500
"""A chest CT holds lung and air; a volume whose lowest value lies above this is not taken for HU unless told so."""

USUAL_OFFSET = 1024

ROUNDING = 1e-3
"""Float values this near to whole numbers are whole numbers."""


def check_declared(units: str, offset: float | None, site: str) -> dict[str, Fact]:
    """The site options `units` and `offset` as facts of each scan. Raises BadSite where they contradict."""
    if units not in DECLARED:
        raise BadSite(site, f"units is '{units}'", f"Set it to one of {', '.join(DECLARED)}")
    if offset is not None and units in ("auto", "relative"):
        raise BadSite(site, f"offset {offset} is given with units '{units}'", "Set units to HU or ct_number with it")
    if offset is None:
        offset = {"HU": 0, "ct_number": USUAL_OFFSET}.get(units)
    return {"declared_units": units, "declared_offset": offset}


def with_units(
    stored: NDArray[Any], facts: dict[str, Fact], path: Path, spacing: Spacing | None, notes: tuple[str, ...]
) -> Volume:
    """The volume of whole numbers [slice, row, column], in the units that `check_declared` noted in `facts`.

    "auto": 8-bit is refused here (a layout that means relative says so); others are HU when their lowest value is at
    most −500. "HU": HU = stored − offset. "ct_number": stored values are kept with their offset.

    Raises:
        BadScan: the units are not told and cannot be seen, or values do not fit int16.
    """
    if stored.dtype.kind == "f":
        stored, remarks = _rounded(stored, path)
        notes = (*notes, *remarks)
    units, offset = facts.get("declared_units", "auto"), facts.get("declared_offset")
    if units == "relative":
        return Volume(_as_stored(stored, path), "relative", spacing, None, notes)
    if stored.dtype == np.uint8:
        raise BadScan(path, f"holds 8-bit values, which cannot be {'HU' if units == 'auto' else units}", _NEXT)
    if units == "ct_number":
        assert isinstance(offset, int | float)
        return Volume(_int16(stored, path), "ct_number", spacing, offset, notes)
    if units == "auto" and stored.min() > LARGEST_HU_MINIMUM:
        what = f"holds values {stored.min():.0f} to {stored.max():.0f}, which do not look like HU (lowest above −500)"
        raise BadScan(path, what, _NEXT)
    hu = stored if not offset else stored.astype(np.int64) - round(float(offset))
    return Volume(_int16(hu, path), "HU", spacing, 0, notes)


def whole_numbers(
    values: NDArray[np.generic], path: Path
) -> tuple[NDArray[np.int16] | NDArray[np.uint8], tuple[str, ...]]:
    """uint8 stays; everything else becomes int16, floats rounded (with a remark where that changes them).

    Raises:
        BadScan: NaN, infinite, no real numbers, normalised values, or values outside int16.
    """
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values, dtype=np.uint8), ()
    if values.dtype.kind not in "iuf":
        raise BadScan(path, f"holds {values.dtype} values, expected one number a voxel", "Export it as int16 HU")
    notes: tuple[str, ...] = ()
    if values.dtype.kind == "f":
        values, notes = _rounded(values, path)
    return np.ascontiguousarray(_int16(values, path)), notes


_NEXT = "Say what they are with the site's options units (HU, ct_number, relative) and offset"


def _as_stored(stored: NDArray[Any], path: Path) -> NDArray[Any]:
    return stored if stored.dtype == np.uint8 else _int16(stored, path)


def _int16(values: NDArray[Any], path: Path) -> NDArray[np.int16]:
    limits, low, high = np.iinfo(np.int16), values.min(), values.max()
    if low < limits.min or high > limits.max:
        raise BadScan(path, f"holds values {low:.0f} to {high:.0f}, outside int16", "Export it as HU, clipped")
    return values.astype(np.int16, copy=False)


def _rounded(values: NDArray[np.generic], path: Path) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise BadScan(path, f"holds {bad} voxels that are NaN or infinite", "Export it again from the original scan")
    whole = np.rint(values)
    change = float(np.abs(values - whole).max())
    if change <= ROUNDING:
        return whole, ()
    if float(values.max() - values.min()) <= 2:
        what = f"holds values {values.min():.3g} to {values.max():.3g}: normalised, HU are lost"
        raise BadScan(path, what, "Export it in HU")
    return whole, (f"values were rounded to whole numbers, by up to {change:.3g}",)

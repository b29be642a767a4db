"""Voxels as a general layout stores them, and what the study file says of their units, in; a Volume out."""

from __future__ import annotations

import math
from collections.abc import Mapping
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

SOFT_TISSUE = -300
"""HU above which a voxel of a patient is tissue."""

LARGEST_TISSUE_MEDIAN = 500
"""The median of a patient's tissue lies at 0 to 100 HU; picture values taken for HU put it far above."""

LOWEST_AIR, LOW_SHARE, PADDING_SHARE, PADDING_GAP = -1200, 0.1, 0.02, 300
"""HU that air with its noise stays above. Voxels below it, or so far below the next, are padding where so large a share
has one value."""

LEAST_VOLUME = 1024
"""Voxels of a volume whose values say whether they are a patient's."""

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


def check_window(window: tuple[float, float] | None, units: str, site: str) -> dict[str, Fact]:
    """The site option `window` as facts of each scan. Raises BadSite where it contradicts `units` or is none."""
    if window is None:
        return {}
    low, high = window
    if units not in ("auto", "relative"):
        raise BadSite(site, f"window is given with units '{units}'", "Leave it out: it is for relative values")
    if not -(1 << 15) <= low < high < 1 << 15:
        raise BadSite(site, f"window is ({low}, {high})", "Give two numbers in HU, the lower one first")
    return {"declared_window_low": float(low), "declared_window_high": float(high)}


def declared_window(facts: Mapping[str, Fact]) -> tuple[float, float] | None:
    """The HU window that a scan's site declares for relative values, from the scan's facts; None where it does not."""
    low, high = facts.get("declared_window_low"), facts.get("declared_window_high")
    return None if low is None or high is None else (float(low), float(high))


def with_units(
    stored: NDArray[Any], facts: dict[str, Fact], path: Path, spacing: Spacing | None, notes: tuple[str, ...]
) -> Volume:
    """The volume of whole numbers [slice, row, column], in the units that `check_declared` noted in `facts`.

    "auto": 8-bit is refused here (a layout that means relative says so); others are HU when their lowest value is at
    most −500 and their tissue is near water. "HU": HU = stored − offset. "ct_number": stored values are kept with
    their offset.

    Raises:
        BadScan: the units are not told and cannot be seen, or values do not fit int16.
    """
    if stored.dtype.kind not in "iuf":
        raise BadScan(path, f"holds {stored.dtype} values, expected one number a pixel", "Export it as int16 HU")
    if stored.dtype.kind == "f":
        rounding = _Rounding()
        for picture in stored:
            picture[...] = rounding.take(picture)
        notes = (*notes, *rounding.notes(path))
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
    hu = _int16(stored, path, round(float(offset or 0)))
    whence = "as they stand" if units == "auto" else "by the site's options"
    if reason := implausible(int(hu.min()), int(hu.max()), thinned(hu), hu.size, whence):
        if units == "auto":
            raise BadScan(path, reason, _NEXT)
        notes = (*notes, f"{reason}; taken as HU all the same")
    return Volume(hu, "HU", spacing, 0, notes)


def thinned(voxels: NDArray[Any]) -> NDArray[Any]:
    """About one voxel in 64 of a volume [slice, row, column], all of a small one: a contiguous copy."""
    thin = tuple(slice(None, None, 8 if n >= 128 else 1) for n in voxels.shape)
    return np.ascontiguousarray(voxels[(slice(None), *thin[1:])])


def implausible(lowest: int, highest: int, sample: NDArray[Any], volume: int, whence: str = "by its header") -> str:
    """Why values cannot be a patient's CT in HU; "" where nothing speaks against it.

    There is air around or in a patient, and tissue, whose median is near water: values of a display window, inverted,
    normalised or raw ones (an offset still on them, and padding below it) are not like that, whatever they are called.

    Args:
        lowest, highest: HU of all voxels.
        sample: the voxels looked at.
        volume: how many voxels there are; a volume of few is not judged.
        whence: what says that they are HU.
    """
    if volume < LEAST_VOLUME:
        return ""
    why = _no_patient(lowest, highest, sample)
    return f"holds values {lowest} to {highest} HU {whence}{why}" if why else ""


def _no_patient(lowest: int, highest: int, sample: NDArray[Any]) -> str:
    if lowest > LARGEST_HU_MINIMUM:
        return f": no air (lowest above {LARGEST_HU_MINIMUM})"
    if highest < SOFT_TISSUE:
        return f": no tissue (highest below {SOFT_TISSUE})"
    above = sample[sample > lowest]
    second = int(above.min(initial=highest))
    if above.size < (1 - PADDING_SHARE) * sample.size and second > max(LARGEST_HU_MINIMUM, lowest + PADDING_GAP):
        return f": no air (but for padding of {lowest} lowest above {LARGEST_HU_MINIMUM})"
    counts = np.unique(sample[sample < LOWEST_AIR], return_counts=True)[1]
    share = float(counts[counts < PADDING_SHARE * sample.size].sum()) / sample.size
    if share > LOW_SHARE:
        return f", {share:.0%} of them below {LOWEST_AIR}, and no padding: an offset was taken off twice"
    tissue = sample[sample > SOFT_TISSUE]
    median = float(np.median(tissue)) if tissue.size else 0.0
    if median > LARGEST_TISSUE_MEDIAN:
        return f", tissue around {median:.0f} HU (a patient's is near 40): display values, or inverted, or raw ones"
    return ""


class WholeNumbers:
    """Parts of a volume in, each as whole numbers out; what is wrong with the whole is said at its end.

    uint8 stays; everything else becomes int16, floats rounded (with a remark where that changes them).

    Args:
        dtype: of the volume as stored or scaled.
        path: its file, for messages.

    Raises:
        BadScan: no real numbers.
    """

    def __init__(self, dtype: np.dtype[Any], path: Path) -> None:
        if dtype.kind not in "iuf":
            raise BadScan(path, f"holds {dtype} values, expected one number a voxel", "Export it as int16 HU")
        self.dtype = np.dtype(np.uint8 if dtype == np.uint8 else np.int16)
        self._path, self._rounding = path, _Rounding() if dtype.kind == "f" else None
        self._low, self._high = math.inf, -math.inf

    def take(self, part: NDArray[Any]) -> NDArray[Any]:
        """One part; values that int16 cannot hold are wrong until `notes` refuses them."""
        part = self._rounding.take(part) if self._rounding else part
        self._low, self._high = min(self._low, part.min()), max(self._high, part.max())
        with np.errstate(invalid="ignore"):
            return part.astype(self.dtype, copy=False)

    def notes(self) -> tuple[str, ...]:
        """Remarks on all parts.

        Raises:
            BadScan: NaN, infinite, normalised values, or values outside int16.
        """
        notes = self._rounding.notes(self._path) if self._rounding else ()
        _check_int16(self._low, self._high, self._path)
        return notes


_NEXT = "Set `units` (HU, ct_number or relative) and `offset` for this site"


def _as_stored(stored: NDArray[Any], path: Path) -> NDArray[Any]:
    return stored if stored.dtype == np.uint8 else _int16(stored, path)


def _int16(values: NDArray[Any], path: Path, offset: int = 0) -> NDArray[np.int16]:
    """Values less an offset, in their own memory where they have 16 bits."""
    _check_int16(int(values.min()) - offset, int(values.max()) - offset, path)
    if values.dtype.kind in "iu" and values.dtype.itemsize == 2:
        found = values.view(np.int16)
        if offset:
            found.view(np.uint16)[...] -= np.uint16(offset % (1 << 16))  # wraps round to the right answer
        return found
    found = np.empty(values.shape, np.int16)
    for to, picture in zip(found, values, strict=True):
        to[...] = picture.astype(np.int64) - offset
    return found


def _check_int16(low: float, high: float, path: Path) -> None:
    limits = np.iinfo(np.int16)
    if low < limits.min or high > limits.max:
        raise BadScan(path, f"holds values {low:.0f} to {high:.0f}, outside int16", "Export it as HU, clipped")


class _Rounding:
    """Floats rounded part by part, and what that did to them."""

    def __init__(self) -> None:
        self._bad, self._change, self._low, self._high = 0, 0.0, math.inf, -math.inf

    def take(self, part: NDArray[Any]) -> NDArray[Any]:
        whole = np.rint(part)
        bad = part.size - int(np.isfinite(part).sum())
        self._bad += bad
        if not bad:
            self._change = max(self._change, float(np.abs(part - whole).max()))
            self._low, self._high = min(self._low, float(part.min())), max(self._high, float(part.max()))
        return whole

    def notes(self, path: Path) -> tuple[str, ...]:
        if self._bad:
            what = f"holds {self._bad} voxels that are NaN or infinite"
            raise BadScan(path, what, "Export it again from the original scan")
        if self._change <= ROUNDING:
            return ()
        if self._high - self._low <= 2:
            what = f"holds values {self._low:.3g} to {self._high:.3g}: normalised, HU are lost"
            raise BadScan(path, what, "Export it in HU")
        return (f"values were rounded to whole numbers, by up to {self._change:.3g}",)

"""Stored values and a header in; HU out, with padding made air, and a check whether they can be HU at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.dicom.header import Header
from elsewhere.scans.units import LEAST_VOLUME, implausible, thinned

Values = NDArray[Any]
Hounsfield = NDArray[np.int16]

AIR = -1024
PLAUSIBLE_HU = (-1000, 3071)
"""Voxels with a declared padding value inside this range stay as stored: it also occurs in tissue."""
PADDING_BELOW = -1500
"""HU that no tissue and no air reaches: scanners fill the corners outside the field of view with −2000 or −3024."""
OUT_OF_SCALE = (PADDING_BELOW, 4200)
"""Beyond air with its noise, and beyond the 12 bits of a CT's scale."""
ODD_SHARE = 0.001
CUT_SHARE = 0.02
"""Of the voxels at the highest value: brighter ones were cut off, or it is padding."""
MOST_PADDING = 0.75
"""Of a volume: outside the field of view lies less."""
LEAST_PICTURE = 32 * 32
"""Pixels of a slice whose distribution of values says where it was cut off."""


@dataclass
class Tally:
    """What happened to voxels while they became HU.

    Attributes:
        clipped: beyond the range of int16; blanked: declared padding set to air.
        bright: lowest and highest stored value above the range of int16, or None.
    """

    clipped: int = 0
    blanked: int = 0
    bright: tuple[int, int] | None = None


def to_hounsfield(values: Values, header: Header, out: Hounsfield, tally: Tally) -> None:
    """Write one slice's stored values as HU into `out`, padding that shines set to air."""
    clipped = rescale(values, header, out)
    tally.blanked += blank_padding(values, header, out)
    if not clipped:
        return
    clipped = int(np.count_nonzero((out == 32767) | (out == -32768)))
    tally.clipped += clipped
    shining = values[out == 32767]
    if shining.size:
        low, high = int(shining.min()), int(shining.max())
        tally.bright = (min(low, tally.bright[0]), max(high, tally.bright[1])) if tally.bright else (low, high)


def rescale(values: Values, header: Header, out: Hounsfield) -> int:
    """Write round(values · slope + intercept) into `out` (int16 HU); the number of voxels that had to be clipped."""
    slope, intercept = slope_and_intercept(header)
    low, high = int(values.min()), int(values.max())
    ends = sorted((low * slope + intercept, high * slope + intercept))
    fits = ends[0] >= -32768 and ends[1] <= 32767
    if slope == 1.0 and intercept.is_integer() and fits and abs(intercept) <= 32767:
        np.copyto(out, values, casting="unsafe")  # wraps modulo 2^16 and back: exact, as the ends fit
        out += np.int16(intercept)
        return 0
    hounsfield = np.rint(values * slope + intercept)
    clipped = 0 if fits else int(np.count_nonzero((hounsfield < -32768) | (hounsfield > 32767)))
    out[...] = np.clip(hounsfield, -32768, 32767)
    return clipped


def slope_and_intercept(header: Header) -> tuple[float, float]:
    """Slope and intercept, 1 and 0 where the header has none."""
    return (1.0 if header.slope is None else header.slope), header.intercept or 0.0


def padding(header: Header) -> tuple[tuple[int, int], float] | None:
    """The declared padding as (lowest, highest) stored value with its sign, and its HU; None without one."""
    form, (slope, intercept) = header.form, slope_and_intercept(header)
    if form.padding is None:
        return None
    low, high = sorted(_signed(value, form.allocated) if form.signed else value for value in form.padding)
    return (low, high), low * slope + intercept


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def blank_padding(values: Values, header: Header, out: Hounsfield) -> int:
    """Set padding that would shine as bright as metal to air; the number of voxels set.

    Padding below −1000 HU stays as stored (the clipping takes it), and padding at a value that tissue may have stays
    too: headers declare 0 without meaning it.
    """
    declared = padding(header)
    if declared is None or declared[1] <= PLAUSIBLE_HU[1]:
        return 0
    (low, high), _ = declared
    mask = (values >= low) & (values <= high)
    out[mask] = AIR
    return int(np.count_nonzero(mask))


# The whole volume ---------------------------------------------------------------------------------------------------


def blank_undeclared_padding(voxels: Hounsfield, header: Header, tally: Tally) -> str:
    """Padding that the header does not declare and that shines, set to air; a remark, or "".

    It is the one value above the whole range of CT: a negative number written without its sign (63536 is −2000), or one
    that a large part of the volume has.
    """
    highest = int(voxels.max())
    if highest <= OUT_OF_SCALE[1] or (tally.bright and tally.bright[0] != tally.bright[1]):
        return ""
    count = 0
    for picture in voxels:
        bright = picture[picture > OUT_OF_SCALE[1]]
        if (bright != highest).any():
            return ""
        count += bright.size
    form, (slope, intercept) = header.form, slope_and_intercept(header)
    value = tally.bright[0] if tally.bright else round((highest - intercept) / slope)
    meant = _signed(value, form.allocated)
    unsigned = not form.signed and meant < 0 and meant * slope + intercept <= PLAUSIBLE_HU[0]
    share = count / voxels.size
    if not unsigned and (voxels.size < LEAST_VOLUME or not CUT_SHARE <= share <= MOST_PADDING):
        return ""
    for picture in voxels:
        picture[picture == highest] = AIR
    tally.clipped = max(0, tally.clipped - count) if tally.bright else tally.clipped
    if unsigned:
        return f"{count} voxels of {value}, which is {meant} written without its sign, are padding: set to air"
    return f"{count} voxels of {highest} HU, the only value above CT's scale, are padding: set to air"


@dataclass(frozen=True)
class Look:
    """What is looked at of a volume in HU: its ends, and about one voxel in 64 (all of a small volume).

    Attributes:
        lowest, highest: HU of all voxels.
        sample: the voxels looked at.
        picture, volume: pixels of a slice, voxels of all slices.
    """

    lowest: int
    highest: int
    sample: Hounsfield
    picture: int
    volume: int

    @staticmethod
    def at(voxels: Hounsfield) -> Look:
        """Look at a volume [slice, row, column]."""
        return Look(int(voxels.min()), int(voxels.max()), thinned(voxels), voxels[0].size, voxels.size)

    @property
    def out_of_scale(self) -> float:
        """Share of the voxels that are no CT number, and not one of a few values that many have (padding)."""
        sample, odd = self.sample, 0
        for beyond, end in (
            (sample[sample < OUT_OF_SCALE[0]], self.lowest),
            (sample[sample > OUT_OF_SCALE[1]], self.highest),
        ):
            values, counts = np.unique(beyond, return_counts=True)
            odd += int(counts[(values != end) & (counts < CUT_SHARE * sample.size)].sum())
        return odd / sample.size

    @property
    def implausible(self) -> str:
        """Why a volume cannot be a patient's CT in HU; "" where nothing speaks against it (see `units.implausible`)."""
        return implausible(self.lowest, self.highest, self.sample, self.volume)

    @property
    def cut_share(self) -> float:
        """Share of the voxels that hold exactly the highest value: large where brighter ones were cut off."""
        if self.picture < LEAST_PICTURE:
            return 0.0
        return float(np.count_nonzero(self.sample == self.highest)) / self.sample.size


def padding_remark(header: Header, blanked: int) -> str:
    """What was done with declared padding; "" where nothing."""
    if blanked:
        return f"{blanked} voxels of declared padding brighter than {PLAUSIBLE_HU[1]} HU set to air"
    declared = padding(header)
    if declared and PLAUSIBLE_HU[0] < declared[1] <= PLAUSIBLE_HU[1]:
        return f"declares padding at {declared[1]:g} HU, where tissue may lie: left as stored"
    return ""

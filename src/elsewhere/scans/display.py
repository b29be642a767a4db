"""A scan's voxels and where they lie in, what a viewer draws out: 8-bit or whole, as NIfTI, and that in words."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.volume import Spacing, Units, linear_weights

Box = tuple[slice, slice, slice]

SHOWN_HU = (-1350.0, 250.0)
"""What 8-bit display keeps: the usual lung window (-1350..150) and the mediastinal one (-160..240) lie inside."""

CUBE_MM = 300.0
"""Edge of the cube that a scan is drawn in where nothing says how large its voxels are."""

FINEST_OVERLAY = 128
"""Most rows and columns of an overlay: its cells are coarse, and finer steps between them only cost bytes."""

LEVELS = 255


@dataclass(frozen=True)
class Frame:
    """Where a grid lies in the scan as it was read.

    Attributes:
        corner: distance of the grid's first edge from the scan's, along (slice, row, column), in mm.
        spacing: of its voxels, in mm.
    """

    corner: Spacing
    spacing: Spacing

    def coarser(self, rows: float, columns: float) -> Frame:
        """The same field with voxels larger by these factors."""
        slice_, row, column = self.spacing
        return Frame(self.corner, (slice_, row * rows, column * columns))


@dataclass(frozen=True)
class Picture:
    """A volume ready to be drawn.

    Attributes:
        nifti: the bytes of a .nii.gz.
        slices: how many there are.
        units: "HU" or "relative".
        low: lowest value that can be told apart.
        high: highest one.
        step: difference of neighbouring grey levels.
    """

    nifti: bytes
    slices: int
    units: str
    low: float
    high: float
    step: float


def whole_frame(shape: tuple[int, ...], spacing: Spacing | None) -> Frame:
    """The frame of a scan as it was read; a cube where its spacing is not known."""
    slices, rows, columns = shape
    return Frame((0.0, 0.0, 0.0), spacing or (CUBE_MM / slices, CUBE_MM / rows, CUBE_MM / columns))


def prepared_frame(source: tuple[int, ...], spacing: Spacing | None, box: Box | None, shape: tuple[int, ...]) -> Frame:
    """Where a prepared grid lies in the scan that it was made from.

    Args:
        source: slices, rows and columns as read.
        spacing: as read; None where unknown.
        box: part of the scan that was kept; None for all of it.
        shape: slices, rows and columns of the prepared grid.
    """
    whole = whole_frame(source, spacing).spacing
    starts = [part.start for part in box] if box else [0, 0, 0]
    lengths = [part.stop - part.start for part in box] if box else list(source)
    corner = [start * step for start, step in zip(starts, whole, strict=True)]
    steps = [n * step / kept for n, step, kept in zip(lengths, whole, shape, strict=True)]
    return Frame((corner[0], corner[1], corner[2]), (steps[0], steps[1], steps[2]))


def draw_scan(voxels: NDArray[Any], units: Units, offset: float | None, frame: Frame, bits: int = 8) -> Picture:
    """A scan as NIfTI in HU (relative values as they are); 8 bits keep `SHOWN_HU`, 16 keep every value.

    Args:
        voxels: int16 or uint8 [slice, row, column].
        units: of the voxels.
        offset: what to subtract to get HU; None for relative values.
        frame: where the grid lies.
        bits: 8 or 16.
    """
    zero = 0.0 if offset is None else float(offset)
    said = "relative" if units == "relative" else "HU"
    low, high = float(voxels.min()) - zero, float(voxels.max()) - zero
    if bits == 16 or voxels.dtype == np.uint8:
        return Picture(_nifti(voxels, frame, 1.0, -zero), len(voxels), said, low, high, 1.0)
    if said == "HU":
        low, high = max(low, SHOWN_HU[0]), max(min(high, SHOWN_HU[1]), SHOWN_HU[0] + 1)
    step = max(high - low, 1.0) / LEVELS
    levels = np.clip(np.rint((voxels - np.float32(low + zero)) / np.float32(step)), 0, LEVELS).astype(np.uint8)
    return Picture(_nifti(levels, frame, step, low), len(voxels), said, low, high, step)


def spread(cells: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A coarse map [slice, row, column] on a grid of `shape` over the same field, linear between the cells' centres."""
    found = cells
    for axis, length in enumerate(shape):
        weights = linear_weights(cells.shape[axis], length)
        found = np.moveaxis(np.tensordot(weights, found, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(found, dtype=np.float32)


def draw_overlay(shares: NDArray[np.float32], frame: Frame) -> bytes:
    """A map of 0..1 [slice, row, column] as 8-bit NIfTI."""
    levels = np.clip(np.rint(shares * LEVELS), 0, LEVELS).astype(np.uint8)
    return _nifti(levels, frame, 1 / LEVELS, 0.0)


def _nifti(voxels: NDArray[Any], frame: Frame, slope: float, inter: float) -> bytes:
    """Gzipped NIfTI-1 whose value is slope * stored + inter; equal voxels give equal bytes."""
    from nibabel import Nifti1Header  # noqa: PLC0415  (late: nothing else of a study needs it)

    header = Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape[::-1])
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, place in enumerate((2, 1, 0)):  # left, posterior and inferior are NIfTI's negative directions
        affine[axis, axis] = -frame.spacing[place]
        affine[axis, 3] = -(frame.corner[place] + frame.spacing[place] / 2)
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1)
    header.set_xyzt_units("mm")
    header.set_slope_inter(slope, inter)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return gzip.compress(header.binaryblock + bytes(4) + np.ascontiguousarray(voxels).tobytes(), 6, mtime=0)

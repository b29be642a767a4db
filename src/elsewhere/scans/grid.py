"""Voxels with an affine, as volume files hold them: turned to the canonical axes, in whole numbers and millimetres."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.scans.ceiling import check_scan_size
from elsewhere.scans.opening import PART_BYTES, Packed
from elsewhere.scans.units import WholeNumbers
from elsewhere.scans.volume import Spacing

CANONICAL = ("L", "P", "I")
"""Where (column, row, slice) point in the canonical axes: the patient's left, posterior, inferior."""

MAX_TILT_DEGREES = 1.0
"""Beyond this angle between the array's and the patient's axes, a remark says that the nearest axes were taken."""

FLATTEST = 1e-3
"""Volume of the box that three directions of length 1 span: below this they lie in one plane."""

MILLIMETRES = {
    **dict.fromkeys(("mm", "millimeter", "millimetre", "millimeters"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "metre", "meters"), 1e3),
    **dict.fromkeys(("in", "inch"), 25.4),
}
"""Of each unit of length that headers name."""

VOXEL_MM = (0.02, 50.0)
"""A CT's voxels are longer than the first and shorter than the second, along each axis."""


@dataclass(frozen=True)
class Grid:
    """Voxels in the canonical axes, not yet known to be HU.

    Attributes:
        voxels: int16 or uint8 [slice, row, column].
        spacing: mm along (slice, row, column).
        notes: remarks on what was repaired.
    """

    voxels: NDArray[np.int16] | NDArray[np.uint8]
    spacing: Spacing
    notes: tuple[str, ...] = ()


def canonical(
    parts: Iterable[NDArray[Any]],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    affine: NDArray[np.float64],
    path: Path,
) -> Grid:
    """An array [i, j, k] with its affine (index → mm, right-anterior-superior positive) → canonical voxels.

    Args:
        parts: the array in pieces along its last axis, from the first on: what holds the whole twice may not fit.
        shape: of the whole.
        dtype: of the pieces.
        affine: 4 × 4.
        path: the file, for messages.

    Raises:
        BadScan: the affine is degenerate, or the values are no numbers, do not fit int16, or are too many.
    """
    from nibabel import orientations  # noqa: PLC0415

    directions = affine[:3, :3]
    if is_flat(affine):
        raise BadScan(path, f"has an affine without volume ({directions.tolist()})", "Export the file again")
    now = orientations.io_orientation(affine)
    turn = orientations.ornt_transform(now, orientations.axcodes2ornt(CANONICAL))
    whole = WholeNumbers(dtype, path)
    check_scan_size(int(np.prod(shape, dtype=object)) * whole.dtype.itemsize, path)
    axes = [int(axis) for axis in turn[:, 0]]
    voxels = np.empty([shape[axes.index(axis)] for axis in (2, 1, 0)], whole.dtype)
    stored = voxels.transpose(2, 1, 0).transpose(axes)  # the same memory as [i, j, k]
    stored = stored[tuple(slice(None, None, int(step)) for step in turn[:, 1])]
    first = 0
    for part in parts:
        stored[:, :, first : first + part.shape[2]] = whole.take(part)
        first += part.shape[2]
    sizes = np.linalg.norm(directions, axis=0)
    column, row, slice_ = (round(float(sizes[np.flatnonzero(now[:, 0] == axis)[0]]), 6) for axis in range(3))
    notes = (*whole.notes(), *_tilt_notes(directions / sizes), *_identity_notes(affine))
    return Grid(voxels, (slice_, row, column), notes)


def is_flat(affine: NDArray[np.float64]) -> bool:
    """Whether an affine maps the array to less than a volume, or holds no numbers."""
    directions = affine[:3, :3]
    if not np.isfinite(affine).all():
        return True
    sizes = np.linalg.norm(directions, axis=0)
    return bool((sizes < np.finfo(np.float32).tiny).any() or abs(np.linalg.det(directions / sizes)) < FLATTEST)


def in_millimetres(sizes: Iterable[float], unit: str) -> tuple[float, tuple[str, ...]]:
    """What lengths in `unit` are to be multiplied with, and remarks; "" says that the file names no unit.

    A unit that makes voxels of no CT, where millimetres would make good ones, is a wrong word in the header.

    Args:
        sizes: of a voxel, as the file tells them.
        unit: the header's word.
    """
    low, high = VOXEL_MM
    sizes = [float(size) for size in sizes]
    factor = MILLIMETRES.get(unit.lower() or "mm")
    shown = " × ".join(f"{size:g}" for size in sizes)
    if factor is None:
        return 1.0, (f"lengths are in '{unit}', which is no known unit; {shown} were taken as mm",)
    if all(low <= size * factor <= high for size in sizes):
        return factor, ()
    if factor != 1 and all(low <= size <= high for size in sizes):
        return 1.0, (f"voxels of {shown} {unit} are none of a CT; their lengths were taken as mm",)
    return factor, (f"voxels of {' × '.join(f'{size * factor:g}' for size in sizes)} mm are none of a CT",)


def check_dimensions(shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """The three dimensions of a shape; further ones of length 1 say nothing. Raises BadScan for any other number."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        what = f"holds {len(shape)} dimensions, expected 3 (slices, rows, columns)"
        raise BadScan(path, what, "Save one three-dimensional volume a file")
    if min(shape) < 1:
        raise BadScan(path, f"has shape {shape}: it holds no voxel", "Export it again")
    return shape


def unreadable(path: Path, error: Exception) -> BadScan:
    """The BadScan for a file that a library gave up on."""
    reason = ((str(error).strip() or type(error).__name__).replace(str(path), "the file").splitlines() or ["?"])[0]
    return BadScan(path, f"cannot be read ({reason})", "Download or export it again")


def planes(file: BinaryIO | Packed, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Some planes [i, j, k] at a time of an array whose first index runs fastest. Raises EOFError where it is short."""
    width, height, count = shape
    size = width * height * dtype.itemsize
    together = max(1, PART_BYTES // size)
    for first in range(0, count, together):
        now = min(together, count - first)
        content = file.read(now * size)
        if len(content) < now * size:
            raise EOFError(f"it ends {(count - first) * size - len(content)} bytes early")
        yield np.frombuffer(content, dtype).reshape(width, height, now, order="F")


def _tilt_notes(directions: NDArray[np.float64]) -> tuple[str, ...]:
    tilt = float(np.degrees(np.arccos(np.clip(np.abs(directions).max(axis=0), 0, 1))).max())
    if tilt <= MAX_TILT_DEGREES:
        return ()
    return (f"axes are tilted by {tilt:.1f}° against the patient's; the nearest axes were taken",)


def _identity_notes(affine: NDArray[np.float64]) -> tuple[str, ...]:
    """What a program writes that was given an array and nothing else: 1 mm, no turn, no place."""
    signs = np.sign(np.diag(affine)[:3])
    plain = np.array_equal(affine, np.diag([*signs, 1.0])) and tuple(signs) in ((1, 1, 1), (-1, -1, 1))
    if not plain:
        return ()
    return (
        "its affine is the identity (1 mm, no turn, origin 0), as of an array saved without a header: spacing and "
        "orientation may be wrong",
    )

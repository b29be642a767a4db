"""A NIfTI file, or any array with an affine, in; voxels in the canonical axes and their spacing out; and back."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.scans.units import whole_numbers
from elsewhere.scans.volume import Spacing, Volume

CANONICAL = ("L", "P", "I")
"""Where (column, row, slice) point in the canonical axes: the patient's left, posterior, inferior."""

GZIP_MAGIC = b"\x1f\x8b"
NIFTI2_HEADER_BYTES = 540
BYTE_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")

MAX_TILT_DEGREES = 1.0
"""Beyond this angle between the array's and the patient's axes, a remark says that the nearest axes were taken."""


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


def read_nifti(path: Path) -> Grid:
    """Read a NIfTI, re-oriented through its affine; scl_slope and scl_inter are applied.

    Raises:
        BadScan: the file is damaged, has no 3 dimensions, no orientation, no numbers, or values that int16 cannot hold.
    """
    try:
        image = _load(path)
        check_dimensions(image.shape, path)
        _check_orientation(image, path)
        values = _stored_or_scaled(image)
    except BadScan:
        raise
    except Exception as error:  # nibabel, gzip and zlib each have their own errors for a damaged file
        raise unreadable(path, error) from error
    return canonical(values, np.asarray(image.affine, dtype=np.float64), path)


def canonical(values: NDArray[np.generic], affine: NDArray[np.float64], path: Path) -> Grid:
    """Array [i, j, k] with its affine (index → mm, right-anterior-superior positive) → canonical voxels.

    Raises:
        BadScan: the affine is degenerate, or the values are no numbers or do not fit int16.
    """
    from nibabel import orientations  # noqa: PLC0415

    directions = affine[:3, :3]
    if not np.isfinite(affine).all() or abs(np.linalg.det(directions)) < 1e-9:
        raise BadScan(path, f"has an affine without volume ({directions.tolist()})", "Export the file again")
    now = orientations.io_orientation(affine)
    turn = orientations.ornt_transform(now, orientations.axcodes2ornt(CANONICAL))
    turned = orientations.apply_orientation(values, turn).transpose(2, 1, 0)
    sizes = np.linalg.norm(directions, axis=0)
    column, row, slice_ = (round(float(sizes[np.flatnonzero(now[:, 0] == axis)[0]]), 6) for axis in range(3))
    voxels, notes = whole_numbers(turned, path)
    return Grid(voxels, (slice_, row, column), (*notes, *_tilt_notes(directions / sizes)))


def write_nifti(path: Path, volume: Volume) -> None:
    """Write a volume with axes left, anterior, superior, as MosMedData stores them. Raises BadScan without spacing."""
    from nibabel import Nifti1Image  # noqa: PLC0415

    if volume.spacing is None:
        raise BadScan(path, "has no spacing, which NIfTI must tell", "Give the volume its spacing")
    slice_, row, column = volume.spacing
    stored = volume.voxels[::-1, ::-1].transpose(2, 1, 0)
    slices, rows, columns = volume.voxels.shape
    affine = np.diag([-column, row, slice_, 1.0])
    affine[:3, 3] = [column * (columns - 1) / 2, -row * (rows - 1) / 2, -slice_ * (slices - 1) / 2]
    image = Nifti1Image(stored, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = image.to_bytes()
    path.write_bytes(imagecodecs.gzip_encode(content, level=1) if path.name.lower().endswith(".gz") else content)


def unreadable(path: Path, error: Exception) -> BadScan:
    """The BadScan for a file that a library gave up on."""
    reason = (str(error).strip() or type(error).__name__).replace(str(path), "the file").splitlines()[0]
    return BadScan(path, f"cannot be read ({reason})", "Download or export it again")


def check_dimensions(shape: tuple[int, ...], path: Path) -> None:
    """Raises BadScan unless there are three dimensions, none of them empty."""
    if len(shape) != 3:
        what = f"holds {len(shape)} dimensions, expected 3 (slices, rows, columns)"
        raise BadScan(path, what, "Save one three-dimensional volume a file")
    if 0 in shape:
        raise BadScan(path, f"has shape {shape}: it holds no voxel", "Export it again")


def _load(path: Path) -> Any:
    """The image, decompressed whole: nibabel alone would never come to the checksum at the end of a .gz."""
    from nibabel import Nifti1Image, Nifti2Image  # noqa: PLC0415  (late: a reader of DICOM never needs it)

    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == GZIP_MAGIC else content
    sizes = {int.from_bytes(content[:4], order) for order in BYTE_ORDERS}
    return (Nifti2Image if NIFTI2_HEADER_BYTES in sizes else Nifti1Image).from_bytes(content)


def _check_orientation(image: Any, path: Path) -> None:
    header = image.header
    if "sform_code" in header and int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        what = "tells no orientation (sform_code and qform_code are 0)"
        raise BadScan(path, what, "Convert it from DICOM again, or set its sform")


def _stored_or_scaled(image: Any) -> NDArray[np.generic]:
    """Voxels as stored where the header scales by 1 and 0, so that int16 stays int16; else scaled floats."""
    data = image.dataobj
    slope, inter = (float(value) for value in (data.slope, data.inter))
    return np.asarray(data.get_unscaled() if (slope, inter) == (1.0, 0.0) else data)


def _tilt_notes(directions: NDArray[np.float64]) -> tuple[str, ...]:
    tilt = float(np.degrees(np.arccos(np.clip(np.abs(directions).max(axis=0), 0, 1))).max())
    if tilt <= MAX_TILT_DEGREES:
        return ()
    return (f"axes are tilted by {tilt:.1f}° against the patient's; the nearest axes were taken",)

"""A NIfTI file, or any array with an affine, in; voxels in the canonical axes and their spacing out; and back."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.scans.units import WholeNumbers
from elsewhere.scans.volume import Spacing, Volume

CANONICAL = ("L", "P", "I")
"""Where (column, row, slice) point in the canonical axes: the patient's left, posterior, inferior."""

GZIP_MAGIC = b"\x1f\x8b"
NIFTI2_HEADER_BYTES = 540
BYTE_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")

PART_BYTES = 4 << 20
"""Read at once."""

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
        with _unpacked(path) as file:
            header = _header(file)
            check_dimensions(header.get_data_shape(), path)
            _check_orientation(header, path)
            affine = np.asarray(header.get_best_affine(), np.float64)
            return canonical(_parts(file, header), header.get_data_shape(), _dtype(header), affine, path)
    except BadScan:
        raise
    except Exception as error:  # nibabel, gzip and zlib each have their own errors for a damaged file
        raise unreadable(path, error) from error


def canonical(
    parts: Iterable[NDArray[Any]],
    shape: tuple[int, int, int],
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
        BadScan: the affine is degenerate, or the values are no numbers or do not fit int16.
    """
    from nibabel import orientations  # noqa: PLC0415

    directions = affine[:3, :3]
    if not np.isfinite(affine).all() or abs(np.linalg.det(directions)) < 1e-9:
        raise BadScan(path, f"has an affine without volume ({directions.tolist()})", "Export the file again")
    now = orientations.io_orientation(affine)
    turn = orientations.ornt_transform(now, orientations.axcodes2ornt(CANONICAL))
    whole = WholeNumbers(dtype, path)
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
    return Grid(voxels, (slice_, row, column), (*whole.notes(), *_tilt_notes(directions / sizes)))


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


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The file's content, decompressed on the way, from its beginning."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        yield cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file


def _header(file: IO[bytes]) -> Any:
    from nibabel import Nifti1Header, Nifti2Header  # noqa: PLC0415  (late: a reader of DICOM never needs it)

    start = file.read(4)
    file.seek(0)
    sizes = {int.from_bytes(start, order) for order in BYTE_ORDERS}
    return (Nifti2Header if NIFTI2_HEADER_BYTES in sizes else Nifti1Header).from_fileobj(file)


def _check_orientation(header: Any, path: Path) -> None:
    if "sform_code" in header and int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        what = "tells no orientation (sform_code and qform_code are 0)"
        raise BadScan(path, what, "Convert it from DICOM again, or set its sform")


def _scaling(header: Any) -> tuple[float, float]:
    slope, inter = header.get_slope_inter()
    return (1.0 if slope is None else float(slope)), (0.0 if inter is None else float(inter))


def _dtype(header: Any) -> np.dtype[Any]:
    """Of the values: as stored where the header scales by 1 and 0, so that int16 stays int16; else floats."""
    stored: np.dtype[Any] = header.get_data_dtype()
    return stored if _scaling(header) == (1.0, 0.0) or stored.kind not in "iuf" else np.dtype(np.float64)


def _parts(file: IO[bytes], header: Any) -> Iterator[NDArray[Any]]:
    """Some planes [i, j, k] at a time, scaled; the file is read to its end, where a .gz keeps its checksum."""
    from nibabel.volumeutils import apply_read_scaling  # noqa: PLC0415

    (width, height, planes), stored, scaling = header.get_data_shape(), header.get_data_dtype(), _scaling(header)
    file.seek(header.get_data_offset())
    size = width * height * stored.itemsize
    together = max(1, PART_BYTES // size)
    for first in range(0, planes, together):
        count = min(together, planes - first)
        content = file.read(count * size)
        if len(content) < count * size:
            raise EOFError(f"it ends {(planes - first) * size - len(content)} bytes early")
        part = np.frombuffer(content, stored).reshape(width, height, count, order="F")
        yield part if scaling == (1.0, 0.0) else apply_read_scaling(part, *scaling)
    while file.read(PART_BYTES):
        pass


def _tilt_notes(directions: NDArray[np.float64]) -> tuple[str, ...]:
    tilt = float(np.degrees(np.arccos(np.clip(np.abs(directions).max(axis=0), 0, 1))).max())
    if tilt <= MAX_TILT_DEGREES:
        return ()
    return (f"axes are tilted by {tilt:.1f}° against the patient's; the nearest axes were taken",)

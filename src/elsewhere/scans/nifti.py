"""NIfTI files: voxels in the canonical axes and their spacing, read and written."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.scans.grid import Grid, canonical, check_dimensions, in_millimetres, is_flat, planes, unreadable
from elsewhere.scans.opening import AFTER_BYTES, GZIP_MAGIC, Packed, behind_notes, check_room, open_regular
from elsewhere.scans.volume import Volume

NIFTI_HEADER_BYTES, NIFTI2_HEADER_BYTES = 348, 540
BYTE_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
UNITS = {0: "", 1: "m", 2: "mm", 3: "micron"}
"""Of length, by the lowest three bits of xyzt_units (NIfTI-1 standard)."""

SAME_AFFINE = 0.01
"""Two affines agree where the matrix that leads from one to the other differs by no more from the identity."""

_quiet = logging.Logger("nibabel, whose remarks on headers become errors or nothing", level=logging.CRITICAL + 1)


def read_nifti(path: Path) -> Grid:
    """Read a NIfTI, re-oriented through its affine; scl_slope, scl_inter and the unit of length are applied.

    Raises:
        BadScan: the file is damaged, has no 3 dimensions, no orientation, no numbers, or values that int16 cannot hold;
            or it promises more than it can hold.
    """
    with open_regular(path) as file:
        try:
            return _read(file, path)
        except (BadScan, MemoryError):
            raise
        except Exception as error:  # nibabel, gzip and zlib each have their own errors for a damaged file
            raise unreadable(path, error) from error


def _read(file: BinaryIO, path: Path) -> Grid:
    there = os.fstat(file.fileno()).st_size
    packed = file.read(2) == GZIP_MAGIC
    file.seek(0)
    source: BinaryIO | Packed = Packed(file, there, many=True) if packed else file
    header, used = _header(source, path)
    shape = check_dimensions(tuple(int(n) for n in header.get_data_shape()), path)
    affine, notes = _affine(header, path)
    stored, gap = header.get_data_dtype(), int(header.get_data_offset()) - used
    needed = int(np.prod(shape, dtype=object)) * stored.itemsize
    if not 0 <= gap <= AFTER_BYTES:
        raise BadScan(path, f"places its voxels at byte {gap + used}", "Export it again")
    check_room(needed, there if packed else there - used - gap, packed=packed)
    source.read(gap)
    grid = canonical(_scaled(source, shape, header), shape, _dtype(header), affine, path)
    extra = source.finish() if isinstance(source, Packed) else there - used - gap - needed
    notes = (*notes, *_unused_scaling(header), *_extra_notes(extra, needed // shape[2], path), *behind_notes(source))
    return Grid(grid.voxels, grid.spacing, (*grid.notes, *notes))


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


# The header --------------------------------------------------------------------------------------------------------


def _header(source: BinaryIO | Packed, path: Path) -> tuple[Any, int]:
    """The header without its extensions, which nobody needs and anyone may make long; and the bytes that it took."""
    from nibabel import Nifti1Header, Nifti2Header  # noqa: PLC0415  (late: a reader of DICOM never needs it)

    block = source.read(NIFTI_HEADER_BYTES)
    second = NIFTI2_HEADER_BYTES in {int.from_bytes(block[:4], order) for order in BYTE_ORDERS}
    if second:
        block += source.read(NIFTI2_HEADER_BYTES - NIFTI_HEADER_BYTES)
    if len(block) < (NIFTI2_HEADER_BYTES if second else NIFTI_HEADER_BYTES):
        raise EOFError(f"it ends within its header, after {len(block)} bytes")
    header = (Nifti2Header if second else Nifti1Header)(block, check=False)
    header.check_fix(logger=_quiet, error_level=40)
    if header["magic"].item()[:2] == b"ni":
        what = "is the header of a pair (.hdr and .img), not a volume"
        raise BadScan(path, what, "Convert the pair to one .nii.gz file")
    slope = float(header["scl_slope"])
    if np.isinf(slope) or (slope and not np.isnan(slope) and not np.isfinite(float(header["scl_inter"]))):
        what = f"scales its values by {slope:g} and {float(header['scl_inter']):g}"
        raise BadScan(path, what, "Correct scl_slope and scl_inter, or export it again")
    return header, len(block)


def _affine(header: Any, path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Index → mm, and remarks: where sform and qform disagree, or one of them cannot be used."""
    codes = int(header["sform_code"]), int(header["qform_code"])
    if codes == (0, 0):
        what = "tells no orientation (sform_code and qform_code are 0)"
        raise BadScan(path, what, "Convert it from DICOM again, or set its sform")
    sform = np.asarray(header.get_sform(), np.float64) if codes[0] else None
    qform = _qform(header) if codes[1] else None
    notes: tuple[str, ...] = ()
    if sform is not None and is_flat(sform) and qform is not None and not is_flat(qform):
        sform, notes = None, ("its sform has no volume; the qform was taken",)
    elif sform is not None:
        notes = _disagreement(sform, qform) if codes[1] else _other_sizes(sform, header)
    affine = sform if sform is not None else qform
    if affine is None:
        raise BadScan(path, "has a qform that is no rotation, and no sform", "Export the file again")
    if is_flat(affine):
        return affine, notes  # `canonical` refuses it
    code = int(header["xyzt_units"]) & 7
    factor, remarks = in_millimetres(np.linalg.norm(affine[:3, :3], axis=0), UNITS.get(code, f"unit {code}"))
    affine = np.array(affine)
    affine[:3] *= factor
    return affine, (*notes, *remarks)


def _qform(header: Any) -> NDArray[np.float64] | None:
    try:
        return np.asarray(header.get_qform(), np.float64)
    except Exception:  # nibabel's HeaderDataError, numpy's LinAlgError: the quaternion is none
        return None


def _disagreement(sform: NDArray[np.float64], qform: NDArray[np.float64] | None) -> tuple[str, ...]:
    if qform is None or is_flat(qform):
        return ("its qform has no volume; the sform was taken",)
    if is_flat(sform):
        return ()
    step = np.linalg.solve(qform[:3, :3], sform[:3, :3])
    if np.abs(step - np.eye(3)).max() <= SAME_AFFINE:
        return ()
    return (f"sform ({_describe(sform)}) and qform ({_describe(qform)}) disagree; the sform was taken",)


def _other_sizes(sform: NDArray[np.float64], header: Any) -> tuple[str, ...]:
    """Voxel sizes that contradict the sform, where no qform does; all 1 is what programs leave that set none."""
    stored, sizes = np.abs(header["pixdim"][1:4].astype(np.float64)), np.linalg.norm(sform[:3, :3], axis=0)
    if is_flat(sform) or (stored == 1).all() or (stored == 0).all() or not np.isfinite(stored).all():
        return ()
    if np.abs(stored / sizes - 1).max() <= SAME_AFFINE:
        return ()
    shown = " × ".join(f"{size:.4g}" for size in stored)
    return (f"sform ({_describe(sform)}) and pixdim ({shown}) disagree; the sform was taken",)


def _describe(affine: NDArray[np.float64]) -> str:
    from nibabel.orientations import aff2axcodes  # noqa: PLC0415

    sizes = " × ".join(f"{size:.4g}" for size in np.linalg.norm(affine[:3, :3], axis=0))
    return f"{''.join(code or '?' for code in aff2axcodes(affine))}, {sizes}"


# The voxels --------------------------------------------------------------------------------------------------------


def _scaling(header: Any) -> tuple[float, float]:
    slope, inter = header.get_slope_inter()
    return (1.0 if slope is None else float(slope)), (0.0 if inter is None else float(inter))


def _unused_scaling(header: Any) -> tuple[str, ...]:
    """NIfTI-1: where scl_slope is 0 nothing is scaled, whatever scl_inter says."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if (slope and not np.isnan(slope)) or not inter or not np.isfinite(inter):
        return ()
    return (f"scl_slope is {slope:g}: scl_inter {inter:g} is not applied, as the format says",)


def _dtype(header: Any) -> np.dtype[Any]:
    """Of the values: as stored where the header scales by 1 and 0, so that int16 stays int16; else floats."""
    stored: np.dtype[Any] = header.get_data_dtype()
    return stored if _scaling(header) == (1.0, 0.0) or stored.kind not in "iuf" else np.dtype(np.float64)


def _scaled(source: BinaryIO | Packed, shape: tuple[int, ...], header: Any) -> Iterator[NDArray[Any]]:
    """Some planes [i, j, k] at a time, scaled."""
    from nibabel.volumeutils import apply_read_scaling  # noqa: PLC0415

    scaling = _scaling(header)
    for part in planes(source, shape, header.get_data_dtype()):
        yield part if scaling == (1.0, 0.0) else apply_read_scaling(part, *scaling)


def _extra_notes(extra: int, plane: int, path: Path) -> tuple[str, ...]:
    """What follows the last voxel: nothing, or the sign that a header's dimensions are too small."""
    if extra > AFTER_BYTES:
        what = f"holds more than {AFTER_BYTES:,} bytes behind the last voxel that its header names"
        raise BadScan(path, what, "Export it again: its dimensions do not fit its data")
    if extra < plane:
        return ()
    return (f"{extra:,} bytes behind the last voxel are not read: its header may name too few slices",)

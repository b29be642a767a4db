"""MetaImage files (MHA, or MHD with its data file): voxels in the canonical axes and their spacing, read and written.

Format: https://github.com/Kitware/MetaIO (MetaImage). ITK's own reader is not used: it looks at no checksum, fills what
a header has lost with defaults, and follows a data file's name wherever it leads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.scans.grid import Grid, canonical, check_dimensions, in_millimetres, planes, unreadable
from elsewhere.scans.opening import Packed, beside, check_room, is_several, open_regular
from elsewhere.scans.volume import Volume

MAX_HEADER_BYTES = 1 << 20
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
NAMES = {code: name for name, code in reversed(TYPES.items())}
MATRIX = ("TransformMatrix", "Rotation", "Orientation")
BYTE_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
LOCAL = "LOCAL"
"""Name of the data file where the data follow the header."""

SIDES = ("RL", "AP", "IS")
"""From which side an axis comes that rises towards left, posterior, superior; and one that falls."""

SAME_LENGTH = 0.01
"""By which a direction's length may differ from 1."""

LPS = np.diag([-1.0, -1.0, 1.0])
"""MetaImage counts towards left and posterior, NIfTI and `canonical` towards right and anterior."""


def read_metaimage(path: Path) -> Grid:
    """Read an MHA, or an MHD with its data file.

    Raises:
        BadScan: the file is damaged, its header lacks a line that tells size, spacing, type or orientation, or its data
            file is missing or lies elsewhere.
    """
    try:
        with open_regular(path) as file:
            header = _header(file, path)
            dtype, shape = _dtype(header, path), _shape(header, path)
            affine, notes = _affine(header, path)
            with _data(header, file, path) as (source, room):
                packed = isinstance(source, Packed)
                needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
                check_room(needed, room, packed=packed)
                grid = canonical(planes(source, shape, dtype), shape, dtype, affine, path)
                extra = source.finish() if isinstance(source, Packed) else room - needed
    except (BadScan, MemoryError):
        raise
    except Exception as error:  # zlib's errors, and what numbers that are none raise
        raise unreadable(path, error) from error
    if extra >= needed // shape[2]:
        what = f"holds {extra:,} bytes more than the {needed:,} that its header promises"
        raise BadScan(path, what, "Correct its DimSize, or export it again")
    return Grid(grid.voxels, grid.spacing, (*grid.notes, *notes))


def data_file(path: Path) -> Path | None:
    """The data file that a header names, whether or not it is there; None where it has none of its own, or several.

    Raises:
        BadScan: there is no header, or the name leads elsewhere.
    """
    with open_regular(path) as file:
        name = _header(file, path)["ElementDataFile"]
    return None if name.upper() == LOCAL or is_several(name) else beside(path, name)


def write_metaimage(path: Path, volume: Volume) -> None:
    """Write an MHA, or an MHD with a `.raw` beside it, uncompressed. Raises BadScan without spacing."""
    if volume.spacing is None:
        raise BadScan(path, "has no spacing, which the format must tell", "Give the volume its spacing")
    slice_, row, column = volume.spacing
    slices, rows, columns = volume.voxels.shape
    apart = path.suffix.lower() == ".mhd"
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": f"{-column * (columns - 1) / 2} {-row * (rows - 1) / 2} {-slice_ * (slices - 1) / 2}",
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": f"{column} {row} {slice_}",
        "DimSize": f"{columns} {rows} {slices}",
        "ElementType": NAMES[volume.voxels.dtype.str[1:]],
        "ElementDataFile": path.with_suffix(".raw").name if apart else LOCAL,
    }
    header = "".join(f"{key} = {value}\n" for key, value in lines.items()).encode()
    content = volume.voxels[::-1].astype(volume.voxels.dtype.newbyteorder("<"), copy=False).tobytes()
    path.write_bytes(header if apart else header + content)
    if apart:
        path.with_suffix(".raw").write_bytes(content)


# The header --------------------------------------------------------------------------------------------------------


def _header(file: BinaryIO, path: Path) -> dict[str, str]:
    """Key → value, up to and with ElementDataFile; the file then stands at the first byte of the data."""
    header: dict[str, str] = {}
    while "ElementDataFile" not in header:
        line = file.readline(MAX_HEADER_BYTES)
        key, sign, value = line.decode("utf-8", "surrogateescape").partition("=")
        key, value = key.strip(), value.strip()
        if not line or file.tell() > MAX_HEADER_BYTES or (line.strip() and not sign):
            what = "has no whole MetaImage header (no line ElementDataFile)"
            raise BadScan(path, what, "Download or export it again")
        if header.get(key, value) != value:
            raise BadScan(
                path, f"says {key} twice: {header[key]} and {value}", "Correct its header, or export it again"
            )
        if sign:
            header[key] = value
    return header


def _told(header: Mapping[str, str], path: Path, *names: str) -> str:
    for name in names:
        if name in header:
            return header[name]
    raise BadScan(path, f"has no line {' or '.join(names)} in its header", "Export it again, or add the line")


def _is_true(text: str) -> bool:
    return text.strip().lower() in {"true", "1", "t"}


def _dtype(header: Mapping[str, str], path: Path) -> np.dtype[Any]:
    kind = _told(header, path, "ElementType")
    if kind not in TYPES:
        raise BadScan(path, f"holds {kind} values, expected one number a voxel", "Export it as MET_SHORT")
    if (channels := int(header.get("ElementNumberOfChannels", "1"))) != 1:
        raise BadScan(path, f"holds {channels} numbers a voxel, expected 1", "Save the CT as one grey volume")
    if "BinaryData" in header and not _is_true(header["BinaryData"]):
        raise BadScan(path, "holds its values as text (BinaryData = False)", "Save it as binary data")
    for name, plain in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if float(header.get(name, plain)) != plain:
            what = f"asks for its values to be rescaled ({name} = {header[name]})"
            raise BadScan(path, what, "Save it with the values themselves")
    swapped = any(_is_true(header[name]) for name in BYTE_ORDER if name in header)
    return np.dtype((">" if swapped else "<") + TYPES[kind])


def _shape(header: Mapping[str, str], path: Path) -> tuple[int, ...]:
    count, sizes = int(_told(header, path, "NDims")), _told(header, path, "DimSize").split()
    if len(sizes) != count:
        what = f"says NDims = {count}, but has {len(sizes)} numbers in DimSize ({' '.join(sizes)})"
        raise BadScan(path, what, "Correct its header, or export it again")
    return check_dimensions(tuple(int(size) for size in sizes), path)


def _affine(header: Mapping[str, str], path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    count = int(header["NDims"])
    spacing = _numbers(header, path, count, "ElementSpacing")
    matrix = _numbers(header, path, count * count, *MATRIX).reshape(count, count)
    if not (spacing[:3] > 0).all():
        raise BadScan(path, f"has the spacing {spacing[:3].tolist()}", "Correct its ElementSpacing")
    lengths = np.linalg.norm(matrix[:3, :3], axis=1)
    if not (np.abs(lengths - 1) < SAME_LENGTH).all():
        shown = " × ".join(f"{length:g}" for length in lengths)
        what = f"has a TransformMatrix whose directions are of length {shown}, not 1"
        raise BadScan(path, what, "Correct it: ElementSpacing alone says how far voxels are apart")
    factor, notes = in_millimetres(spacing[:3], header.get("DistanceUnits", "").replace("?", ""))
    affine = np.eye(4)
    affine[:3, :3] = LPS @ (matrix[:3, :3].T * spacing[:3] * factor)  # a row of the file is one axis' direction
    origin = [float(n) for n in header.get("Offset", header.get("Position", header.get("Origin", "0 0 0"))).split()]
    affine[:3, 3] = LPS @ (np.array(origin[:3]) * factor)
    return affine, (*notes, *_anatomical_notes(header, matrix))


def _anatomical_notes(header: Mapping[str, str], matrix: NDArray[np.float64]) -> tuple[str, ...]:
    """Where the letters, which say from which side each axis comes, contradict the matrix, as ITK takes it."""
    letters = header.get("AnatomicalOrientation", "").strip().upper()[:3]
    axes = [int(np.argmax(np.abs(row))) for row in matrix[:3, :3]]
    meant = "".join(SIDES[axis][int(matrix[i, axis] < 0)] for i, axis in enumerate(axes))
    if not letters or not set(letters) <= set("RLAPIS") or letters == meant:
        return ()
    return (f"AnatomicalOrientation {letters} contradicts the matrix ({meant}); the matrix was taken",)


def _numbers(header: Mapping[str, str], path: Path, count: int, *names: str) -> NDArray[np.float64]:
    text = _told(header, path, *names)
    numbers = np.array([float(number) for number in text.split()])
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise BadScan(path, f"needs {count} numbers in {names[0]}, has '{text}'", "Correct its header")
    return numbers


# The data ----------------------------------------------------------------------------------------------------------


@contextmanager
def _data(header: Mapping[str, str], file: BinaryIO, path: Path) -> Iterator[tuple[BinaryIO | Packed, int]]:
    """What the voxels are read from, and the bytes that it holds."""
    name = header["ElementDataFile"]
    packed = _is_true(header.get("CompressedData", "False"))
    if name.upper() == LOCAL:
        yield _source(header, file, packed)
        return
    if is_several(name):
        raise BadScan(path, f"spreads its data over several files ({name})", "Save it as one .mha")
    with open_regular(beside(path, name)) as data:
        skipped, size = int(header.get("HeaderSize", "0")), os.fstat(data.fileno()).st_size
        if skipped < 0 and not packed:  # -1: the data are the end of the file
            skipped = size - int(np.prod(_shape(header, path), dtype=object)) * _dtype(header, path).itemsize
        if not 0 <= skipped <= size:
            raise EOFError(f"{name} holds {size:,} bytes, too few")
        data.seek(skipped)
        yield _source(header, data, packed)


def _source(header: Mapping[str, str], file: BinaryIO, packed: bool) -> tuple[BinaryIO | Packed, int]:
    room = os.fstat(file.fileno()).st_size - file.tell()
    if not packed:
        return file, room
    said = int(header.get("CompressedDataSize", "0"))  # 0 is not told, as MetaIO reads it
    room = min(room, said) if said else room
    return Packed(file, room, many=False), room

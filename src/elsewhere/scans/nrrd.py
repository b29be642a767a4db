"""NRRD files (NRRD, or NHDR with its data file): voxels in the canonical axes and their spacing, read and written.

Format: https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import bz2
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.scans.grid import Grid, canonical, check_dimensions, in_millimetres, planes, unreadable
from elsewhere.scans.opening import Packed, behind_notes, beside, check_room, is_several, open_regular
from elsewhere.scans.volume import Volume

MAX_HEADER_BYTES = 1 << 20
MAGIC = re.compile(rb"NRRD000\d")
TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
NAMES = {"i2": "int16", "u1": "uint8"}
SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1.0, -1.0, 1.0)),
}
"""Of each space that names the patient's axes: the signs that lead to right, anterior, superior."""

RAW, GZIP, BZIP2 = ("raw",), ("gzip", "gz"), ("bzip2", "bz2")
MORE_DATA = 1 << 16


def read_nrrd(path: Path) -> Grid:
    """Read an NRRD, or an NHDR with its data file.

    Raises:
        BadScan: the file is damaged, its header lacks a field that tells size, type or orientation, or its data file is
            missing or lies elsewhere.
    """
    try:
        with open_regular(path) as file:
            header = _header(file, path)
            dtype, sizes = _dtype(header, path), _sizes(header, path)
            shape, affine, notes = _geometry(header, sizes, path)
            with _data(header, file, path) as (source, room):
                needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
                if not isinstance(source, bz2.BZ2File):
                    check_room(needed, room, packed=isinstance(source, Packed))
                stream = cast(BinaryIO | Packed, source)
                grid = canonical(planes(stream, shape, dtype), shape, dtype, affine, path)
                extra = _left(source, room - needed)
    except (BadScan, MemoryError):
        raise
    except Exception as error:  # zlib's and bz2's errors, and what numbers that are none raise
        raise unreadable(path, error) from error
    if extra >= needed // shape[2]:
        what = f"holds {extra:,} bytes more than the {needed:,} that its header promises"
        raise BadScan(path, what, "Correct its sizes, or export it again")
    return Grid(grid.voxels, grid.spacing, (*grid.notes, *notes, *behind_notes(source)))


def data_file(path: Path) -> Path | None:
    """The data file that a header names, whether or not it is there; None where the data follow it, or are several.

    Raises:
        BadScan: there is no header, or the name leads elsewhere.
    """
    with open_regular(path) as file:
        name = _data_name(_header(file, path))
    return beside(path, name) if name and not is_several(name) else None


def write_nrrd(path: Path, volume: Volume) -> None:
    """Write an NRRD, uncompressed, axes left, posterior, superior. Raises BadScan without spacing."""
    if volume.spacing is None:
        raise BadScan(path, "has no spacing, which the format must tell", "Give the volume its spacing")
    slice_, row, column = volume.spacing
    slices, rows, columns = volume.voxels.shape
    origin = [-step * (count - 1) / 2 for step, count in ((column, columns), (row, rows), (slice_, slices))]
    header = (
        f"NRRD0004\ntype: {NAMES[volume.voxels.dtype.str[1:]]}\ndimension: 3\nspace: left-posterior-superior\n"
        f"sizes: {columns} {rows} {slices}\nspace directions: ({column},0,0) (0,{row},0) (0,0,{slice_})\n"
        f"kinds: domain domain domain\nendian: little\nencoding: raw\n"
        f"space origin: ({','.join(map(str, origin))})\n\n"
    )
    voxels = volume.voxels[::-1]
    path.write_bytes(header.encode() + voxels.astype(voxels.dtype.newbyteorder("<"), copy=False).tobytes())


# The header --------------------------------------------------------------------------------------------------------


def _header(file: BinaryIO, path: Path) -> dict[str, str]:
    """Field → value, names in lower case; the file then stands behind the blank line that ends the header."""
    if not MAGIC.fullmatch(file.readline(MORE_DATA).rstrip()):
        raise BadScan(path, "is no NRRD: it does not begin with NRRD000x", "Download or export it again")
    fields: dict[str, str] = {}
    while line := file.readline(MAX_HEADER_BYTES).decode("utf-8", "surrogateescape").rstrip("\r\n"):
        if file.tell() > MAX_HEADER_BYTES:
            raise BadScan(path, "has a header without end", "Download or export it again")
        if line.startswith("#") or ":=" in line:
            continue
        name, sign, value = line.partition(":")
        name, value = re.sub(r"[\s_]+", " ", name.strip().lower()), value.strip()
        if not sign or fields.get(name, value) != value:
            raise BadScan(path, f"has a header line that says nothing, or twice: {line[:80]!r}", "Export it again")
        fields[name] = value
    return fields


def _told(header: Mapping[str, str], path: Path, name: str) -> str:
    if name not in header:
        raise BadScan(path, f"has no field '{name}' in its header", "Export it again, or add the field")
    return header[name]


def _dtype(header: Mapping[str, str], path: Path) -> np.dtype[Any]:
    kind = _told(header, path, "type").lower()
    if kind not in TYPES:
        raise BadScan(path, f"holds {kind} values, expected one number a voxel", "Export it as short")
    for name in ("old min", "old max"):
        if name in header:
            raise BadScan(path, f"holds values that were requantised ({name}: {header[name]})", "Save it unquantised")
    order = header.get("endian", "").lower()
    if order not in ("little", "big") and not TYPES[kind].endswith("1"):
        raise BadScan(path, f"tells no byte order (endian: {order or 'not there'})", "Export it again")
    return np.dtype((">" if order == "big" else "<") + TYPES[kind])


def _sizes(header: Mapping[str, str], path: Path) -> list[int]:
    count, sizes = int(_told(header, path, "dimension")), [int(n) for n in _told(header, path, "sizes").split()]
    if len(sizes) != count:
        what = f"says dimension {count}, but has {len(sizes)} numbers in sizes ({header['sizes']})"
        raise BadScan(path, what, "Correct its header, or export it again")
    return sizes


def _geometry(
    header: Mapping[str, str], sizes: Sequence[int], path: Path
) -> tuple[tuple[int, ...], NDArray[np.float64], tuple[str, ...]]:
    """Shape [i, j, k], affine (index → mm) and remarks; axes of length 1 without a direction say nothing."""
    signs = _signs(header, path)
    vectors = _vectors(_told(header, path, "space directions"))
    if len(vectors) != len(sizes):
        what = f"has {len(vectors)} space directions for {len(sizes)} axes"
        raise BadScan(path, what, "Correct its header, or export it again")
    directed = [(size, vector) for size, vector in zip(sizes, vectors, strict=True) if vector is not None or size != 1]
    if any(vector is None for _, vector in directed) and len(directed) > 3:
        size = next(size for size, vector in directed if vector is None)
        raise BadScan(path, f"holds {size} numbers a voxel, expected 1", "Save the CT as one grey volume")
    shape = check_dimensions(tuple(size for size, _ in directed), path)
    columns = [vector for _, vector in directed[:3]]
    if any(vector is None or len(vector) != 3 for vector in columns):
        raise BadScan(path, f"has the space directions {header['space directions']}", "Correct its header")
    matrix = np.array(columns, np.float64).T
    words = header.get("space units", header.get("units", ""))
    units = {(quoted or bare).strip() for quoted, bare in re.findall(r'"([^"]*)"|([^\s"]+)', words)} - {"", "none"}
    if len(units) > 1:
        raise BadScan(path, f"mixes units of length ({words})", "Export it in mm")
    factor, notes = in_millimetres(np.linalg.norm(matrix, axis=0), units.pop() if units else "")
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs) @ matrix * factor
    origin = _vectors(header.get("space origin", "(0,0,0)"))[:1]
    if origin and origin[0] is not None and len(origin[0]) == 3:
        affine[:3, 3] = np.array(signs) * origin[0] * factor
    return shape, affine, notes


def _signs(header: Mapping[str, str], path: Path) -> tuple[float, float, float]:
    if "space" not in header:
        what = "tells no orientation (its header has no 'space')"
        raise BadScan(path, what, "Convert it from DICOM again, or add space and space directions to its header")
    space = header["space"].lower()
    if space not in SPACES:
        what = f"tells no orientation of the patient (its space is '{header['space']}')"
        raise BadScan(path, what, "Convert it from DICOM again, into left-posterior-superior")
    return SPACES[space]


def _vectors(text: str) -> list[list[float] | None]:
    """`none (0.7,0,0) (0,0.7,0)` → None, [0.7, 0, 0], …"""
    found = re.findall(r"none|\([^)]*\)", text.lower())
    return [None if part == "none" else [float(number) for number in part[1:-1].split(",")] for part in found]


# The data ----------------------------------------------------------------------------------------------------------


def _data_name(header: Mapping[str, str]) -> str:
    return header.get("data file", header.get("datafile", ""))


@contextmanager
def _data(
    header: Mapping[str, str], file: BinaryIO, path: Path
) -> Iterator[tuple[BinaryIO | Packed | bz2.BZ2File, int]]:
    """What the voxels are read from, and the bytes that it holds."""
    name = _data_name(header)
    if not name:
        yield _source(header, file, path)
        return
    if is_several(name):
        raise BadScan(path, f"spreads its data over several files ({name})", "Save it as one .nrrd")
    with open_regular(beside(path, name)) as data:
        yield _source(header, data, path)


def _source(header: Mapping[str, str], file: BinaryIO, path: Path) -> tuple[BinaryIO | Packed | bz2.BZ2File, int]:
    encoding = _told(header, path, "encoding").lower()
    lines, skipped = int(header.get("line skip", "0")), int(header.get("byte skip", "0"))
    for _ in range(min(lines, MORE_DATA)):
        file.readline(MORE_DATA)
    size = os.fstat(file.fileno()).st_size
    if skipped < 0 and encoding in RAW:  # -1: the data are the end of the file
        skipped = size - int(np.prod(_sizes(header, path), dtype=object)) * _dtype(header, path).itemsize - file.tell()
    if encoding not in (*RAW, *GZIP, *BZIP2):
        raise BadScan(path, f"has the encoding '{encoding}'", "Save it with the encoding raw or gzip")
    if skipped < 0 or (skipped and encoding not in RAW):
        raise BadScan(path, f"skips {skipped} bytes of its data ({encoding})", "Save it as one .nrrd")
    file.seek(skipped, os.SEEK_CUR)
    room = size - file.tell()
    if encoding in GZIP:
        return Packed(file, room, many=True), room
    return (bz2.BZ2File(file), room) if encoding in BZIP2 else (file, room)


def _left(source: BinaryIO | Packed | bz2.BZ2File, plain: int) -> int:
    """Bytes behind the last voxel; a stream is read to its end, where its checksum stands."""
    if isinstance(source, Packed):
        return source.finish()
    return len(source.read(MORE_DATA)) if isinstance(source, bz2.BZ2File) else plain

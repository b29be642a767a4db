"""Prepared volumes on disk, one Blosc2 file each: quick to read a window of, written atomically, never stale."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from imagecodecs import blosc2_decode
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.files import write_whole
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.scan import Scan
from elsewhere.scans.volume import content_hash

STORE_VERSION = 4  # also raised when what is kept beside the voxels changes
CHUNK_SLICES = 8
_CODEC = {"codec": blosc2.Codec.LZ4, "clevel": 5, "nthreads": 1}
_FILTERS = {1: blosc2.Filter.BITSHUFFLE, 2: blosc2.Filter.SHUFFLE}
"""By bytes of a voxel: byte shuffling is undone a tenth quicker, and does nothing for single bytes."""
TRAILER_END, RECORD_NAME, BYTES = 23, b"\xa6record\xd2", b"\xc6"
"""Bytes of the end of a frame, which hold the trailer's length; what stands before the offset of a record, and before
its length (MessagePack's text of six letters and whole number of 32 bits; its bytes)."""
TEXT_HEADS = {**{0xA0 + length: 1 for length in range(32)}, 0xD9: 2, 0xDA: 3, 0xDB: 5}
"""First byte of a text in MessagePack -> bytes before its letters."""


@dataclass(frozen=True)
class Stored:
    """One prepared volume in the store.

    Attributes:
        path: its file.
        slices, rows, columns: shape, in the canonical axes.
        minimum, maximum: over the whole volume, as stored.
        record: facts and notes kept beside the voxels (JSON-able).
    """

    path: Path
    slices: int
    rows: int
    columns: int
    minimum: int
    maximum: int
    record: Mapping[str, Any]

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Voxels of slices start:stop, [slice, row, column], int16 or uint8.

        Raises:
            BadScan: the file is damaged or gone.
        """
        try:
            return _read(_open(self.path), start, min(stop, self.slices))
        except (RuntimeError, OSError, ValueError) as error:
            raise damaged(self.path) from error

    def verify(self) -> None:
        """Compare the voxels with the checksum kept beside them.

        Raises:
            BadScan: they differ, or cannot be read.
        """
        if content_hash(self.read(0, self.slices)) != self.record["checksum"]:
            raise damaged(self.path)


def key(scan: Scan, root: Path, reader: tuple[str, int], preparation: Preparation) -> str:
    """Name of a prepared volume: everything that its voxels and facts depend on, hashed.

    File identity is the path below `root`, the size and the modification time, so that a folder may move.

    Args:
        scan: the scan, with its files.
        root: the site's folder.
        reader: kind of site and its READER_VERSION.
        preparation: how the volume is prepared.

    Raises:
        BadScan: a file has gone since the site was listed.
    """
    files = []
    for file in scan.files:
        try:
            state = file.stat()
        except OSError as error:
            raise BadScan(file, f"cannot be opened ({error.strerror})", "Restore the file and start again") from error
        files.append((os.path.relpath(file, root), state.st_size, state.st_mtime_ns))
    content = [STORE_VERSION, reader, asdict(preparation), files, sorted(scan.facts.items()), scan.scan]
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:32]


def place(store: Path, name: str) -> Path:
    """File of one key."""
    return store / name[:2] / f"{name}.b2nd"


def write(path: Path, voxels: NDArray[Any], record: Mapping[str, Any]) -> Stored:
    """Keep one prepared volume; the file appears whole or not at all.

    Args:
        path: from `place`.
        voxels: int16 or uint8, [slice, row, column].
        record: facts and notes, JSON-able.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    head = {"minimum": int(voxels.min()), "maximum": int(voxels.max()), "checksum": content_hash(voxels), **record}
    chunks = (min(CHUNK_SLICES, voxels.shape[0]), *voxels.shape[1:])
    blocks, codec = (1, *voxels.shape[1:]), {**_CODEC, "filters": [_FILTERS[voxels.dtype.itemsize]]}
    text = json.dumps(head, default=str)

    def fill(partial: Path) -> None:
        given = {"chunks": chunks, "blocks": blocks, "cparams": codec, "contiguous": True}
        try:
            array = blosc2.asarray(np.ascontiguousarray(voxels), urlpath=str(partial), mode="w", **given)
            array.schunk.vlmeta["record"] = text
            del array
            whole = _holds(partial, voxels, text)
        except (OSError, RuntimeError, KeyError, ValueError):
            whole = False
        if not whole:
            _say_why(partial, voxels)

    write_whole(path, fill)
    return _stored(path, voxels.shape, head)


def find(path: Path) -> Stored | None:
    """The prepared volume at `path`, or None where there is none or its file is not whole."""
    try:
        array = _open(path)
        return _stored(path, array.shape, json.loads(_read_record(path)))
    except (OSError, RuntimeError, KeyError, ValueError):
        return None


class Shelf:
    """Reads windows of many stored volumes by (site, scan id), each checked against its checksum on first touch."""

    def __init__(self, paths: Mapping[tuple[str, str], Path]) -> None:
        self._paths = paths
        self._stored: dict[tuple[str, str], Stored] = {}

    def read(self, site: str, scan: str, start: int, stop: int) -> NDArray[Any]:
        """Voxels of slices start:stop of one scan, [slice, row, column]. Raises BadScan when damaged or gone."""
        stored = self._stored.get((site, scan)) or self._open((site, scan))
        return stored.read(start, stop)

    def _open(self, name: tuple[str, str]) -> Stored:
        stored = find(self._paths[name])
        if stored is None:
            raise damaged(self._paths[name])
        stored.verify()
        self._stored[name] = stored
        return stored


def _read(array: blosc2.NDArray, start: int, stop: int) -> NDArray[Any]:
    """Slices start:stop. Whole chunks are decoded to where they belong by imagecodecs, which lets other threads run."""
    out = np.empty((max(stop - start, 0), *array.shape[1:]), array.dtype)
    size = array.chunks[0]
    edges = [start, *range(start // size * size + size, stop, size), stop]
    for first, last in pairwise(edges):
        part = out[first - start : last - start]
        if last - first == size:
            blosc2_decode(array.schunk.get_chunk(first // size), out=part.data.cast("B"))
        else:
            part[...] = array[first:last]
    return out


def _open(path: Path) -> blosc2.NDArray:
    return blosc2.open(str(path), mode="r", dparams={"nthreads": 1})


def _read_record(path: Path) -> str:
    """The text kept beside the voxels, from the file's trailer (Blosc2's README_CFRAME_FORMAT).

    Blosc2's own reading of it (4.14) does not give back its memory: 20 kB a scan, at every reading.

    Raises:
        OSError, ValueError, RuntimeError, KeyError: the file is no whole one of this store.
    """
    with path.open("rb") as file:
        file.seek(-TRAILER_END, os.SEEK_END)
        length = int.from_bytes(file.read(TRAILER_END)[1:5])
        file.seek(-max(length, TRAILER_END), os.SEEK_END)
        trailer = file.read()
    place = trailer.index(RECORD_NAME) + len(RECORD_NAME)
    start = int.from_bytes(trailer[place : place + 4]) + 5  # a mark and the length before the content
    size = int.from_bytes(trailer[start - 4 : start])
    if trailer[start - 5 : start - 4] != BYTES or len(trailer) < start + size:
        raise ValueError(f"{path}: no record in its trailer")
    try:
        content: bytes = blosc2.decompress2(trailer[start : start + size])
    except (SystemError, MemoryError) as error:  # a changed length
        raise ValueError(f"{path}: its record is damaged") from error
    return content[TEXT_HEADS[int.from_bytes(content[:1])] :].decode()


def _holds(path: Path, voxels: NDArray[Any], record: str) -> bool:
    """Whether a file just written gives all of this back: Blosc2 says nothing when the disk is full."""
    array = _open(path)
    size = array.chunks[0]
    return _read_record(path) == record and all(
        np.array_equal(_read(array, first, min(first + size, len(voxels))), voxels[first : first + size])
        for first in range(0, len(voxels), size)
    )


def _say_why(path: Path, voxels: NDArray[Any]) -> None:
    """Raise what the system says of writing so many bytes more to this file."""
    with path.open("ab") as file:
        for picture in voxels:
            file.write(bytes(picture.nbytes))
        os.fsync(file.fileno())
    raise OSError(errno.EIO, "what was written cannot be read back", str(path))


def _stored(path: Path, shape: Sequence[int], record: Mapping[str, Any]) -> Stored:
    slices, rows, columns = shape
    return Stored(path, slices, rows, columns, record["minimum"], record["maximum"], record)


def damaged(path: Path) -> BadScan:
    """What to say of a prepared volume that cannot be read."""
    if not path.exists():
        then = "Put the folder of prepared volumes back where it was, or run `elsewhere prepare` again"
        return BadScan(path, "the prepared volume is gone", then)
    return BadScan(path, "the prepared volume is damaged", "Delete this file and run `elsewhere prepare` again")

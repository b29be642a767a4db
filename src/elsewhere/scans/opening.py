"""Files that nobody vouches for: only regular ones are opened, and no more is unpacked than was promised."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path
from typing import BinaryIO

from elsewhere.errors import BadScan

PART_BYTES = 1 << 20
"""Read, or unpacked, at once."""

GZIP_MAGIC = b"\x1f\x8b"
MOST_DEFLATED = 1032
"""Bytes that one byte of deflated data can stand for, at most (RFC 1951: 258 bytes in two bits)."""

AFTER_BYTES = 64 << 20
"""Read at most behind the last voxel, in search of a checksum."""


def open_regular(path: Path) -> BinaryIO:
    """A file's content. A pipe or a device, which may never end or never begin, is not opened.

    Raises:
        BadScan: it is no regular file, or cannot be read.
    """
    try:
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadScan(path, f"cannot be read ({reason})", "Restore the file, or the right to read it") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise BadScan(path, "is no regular file (a folder, pipe or device)", "Put the file itself in its place")
    return file


def check_room(needed: int, there: int, *, packed: bool) -> None:
    """Compare what a header promises with what its file can hold, before anything is allocated.

    Args:
        needed: bytes of all voxels, unpacked.
        there: bytes that the file holds for them.
        packed: they are deflated.

    Raises:
        EOFError: so many bytes cannot be in it.
    """
    if needed > there * (MOST_DEFLATED if packed else 1):
        room = f"{there:,} {'compressed ' if packed else ''}bytes"
        raise EOFError(f"it is cut short: the header promises {needed:,} bytes of voxels, {room} are there")


def beside(header: Path, name: str) -> Path:
    """The data file that a header names. It lies beside its header or below: nothing else is anyone's to read.

    Raises:
        BadScan: the name leads elsewhere.
    """
    parts = name.replace("\\", "/").split("/")
    outside = not name.strip("./ ") or parts[0] == "" or ":" in parts[0] or ".." in parts or "\0" in name
    if outside:
        what = f"names the data file {name!r}, which is not beside it or below"
        raise BadScan(header, what, "Put the data file beside its header, and its bare name into it")
    return header.parent.joinpath(*parts)


def is_several(name: str) -> bool:
    """Whether what a header calls its data file stands for several: a list, or a pattern of names."""
    return name.upper().startswith("LIST") or "%" in name


class Packed:
    """Reads a stream in the formats of zlib or gzip, its checksum compared at its end.

    Args:
        file: at the beginning of the stream.
        limit: bytes of the file that belong to it.
        many: further gzip members may follow, as in the gzip format; else what follows is not looked at.

    Attributes:
        behind: bytes behind the last member that are no gzip, and no zeros that fill a block up; not read.

    Raises:
        EOFError: the stream ends early.
        zlib.error: it is damaged, or its checksum is wrong.
    """

    def __init__(self, file: BinaryIO, limit: int, *, many: bool) -> None:
        self._file, self._left = file, limit
        self._pending, self._stream = b"", zlib.decompressobj(wbits=47)  # 47: zlib or gzip, by its first bytes
        self._over, self.behind = not many, 0

    def read(self, size: int) -> bytes:
        """The next bytes: `size`, or fewer at the end of the stream."""
        parts, wanted = [], size
        while wanted:
            if self._stream.eof and not self._next_member():
                break
            if not self._pending:
                self._pending = self._more()
            part = self._stream.decompress(self._pending, wanted)
            self._pending = self._stream.unconsumed_tail
            if not part and not self._pending and not self._stream.eof and not self._left:
                raise EOFError("the compressed data end early")
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def finish(self) -> int:
        """Read on to the end, where the checksum stands; bytes that were left, at most `AFTER_BYTES` and a part."""
        extra = 0
        while extra <= AFTER_BYTES and (part := self.read(PART_BYTES)):
            extra += len(part)
        return extra

    def _more(self) -> bytes:
        content = self._file.read(min(1 << 18, self._left))
        self._left = self._left - len(content) if content else 0
        return content

    def _next_member(self) -> bool:
        if self._over:
            return False
        rest, passed = self._stream.unused_data, 0
        while len(rest := rest.lstrip(b"\0")) < len(GZIP_MAGIC) and self._left and passed < AFTER_BYTES:
            more = self._more()
            rest, passed = rest + more, passed + len(more)
        if not rest.startswith(GZIP_MAGIC):
            self._over, self.behind = True, len(rest) + self._left
            return False
        self._pending, self._stream = rest, zlib.decompressobj(wbits=47)
        return True


def behind_notes(source: object) -> tuple[str, ...]:
    """What lies behind a packed stream and is none of it, as gzip itself passes over it; nothing of other sources."""
    if not isinstance(source, Packed) or not source.behind:
        return ()
    return (f"{source.behind:,} bytes behind its compressed data are no part of them and are not read",)

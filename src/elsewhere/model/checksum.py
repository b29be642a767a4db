"""A checksum inside the file that it is of, so that a file changed by one bit is told from a whole one."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

PLACE = "0" * 64
"""What is written where the checksum will stand: SHA-256 of the whole file with this in its place, in hexadecimal."""


def write_sealed(path: Path, content: bytes) -> None:
    """Write a content that holds `PLACE`, with its checksum in the first such place; nothing is copied."""
    at = content.index(PLACE.encode())
    view = memoryview(content)
    with path.open("wb") as file:
        file.write(view[:at])
        file.write(_digest(view, at).encode())
        file.write(view[at + len(PLACE) :])


def is_sealed(content: bytes | mmap.mmap, checksum: object) -> bool:
    """Whether a file's content holds this checksum, and it is the content's."""
    if not isinstance(checksum, str) or len(checksum.encode()) != len(PLACE):
        return False
    at = content.find(checksum.encode())
    with memoryview(content) as view:
        return at >= 0 and _digest(view, at) == checksum


def is_sealed_file(path: Path, checksum: object) -> bool:
    """The same of a file, which is not read into memory.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return is_sealed(content, checksum)


def _digest(content: memoryview, at: int) -> str:
    digest = hashlib.sha256(content[:at])
    digest.update(PLACE.encode())
    digest.update(content[at + len(PLACE) :])
    return digest.hexdigest()

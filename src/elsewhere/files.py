"""A path and its content in; the file on disk, whole or not at all, out."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, content: str | bytes | Callable[[Path], object], *, forced: bool = True) -> None:
    """Write a file so that a reader, or a run killed half-way, never meets half of it. Its folder is made.

    Args:
        path: the file; one that is there is replaced.
        content: text (UTF-8), bytes, or a function that writes the content to the path it is given.
        forced: wait until the disk has it, so that a power cut cannot take it; not worth it for what is made again.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(_partial_name(path.name))
    try:
        with partial.open("xb"):
            pass  # claimed: nobody else writes under this name, on whatever machine
        _fill(partial, content)
        if forced:
            with partial.open("rb") as written:
                os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _partial_name(name: str) -> str:
    """A name that no other process has, on this machine or on another one that shares the folder."""
    host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())[:32]
    kept = name.encode()[:120].decode(errors="ignore")  # file systems allow 255 bytes
    return f"{kept}.{host}.{os.getpid()}.{secrets.token_hex(8)}.part"


def _fill(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8", errors="backslashreplace", newline="")  # names may be no UTF-8
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)

"""A path and its content in; the file on disk, whole or not at all, out."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

LONGEST = 180
"""Bytes of a name that stands in a file's name; file systems allow 255 with what is put before and behind it."""
TRIES = 5
"""Names that are tried for a half-written file; that one is taken already has never been seen."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a cell begins with that a spreadsheet may carry out."""


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
    partial = _claimed(path)
    try:
        _fill(partial, content)
        if forced:
            with partial.open("rb") as written:
                os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _claimed(path: Path) -> Path:
    """An empty file beside a path that nobody else writes, on whatever machine: one that is there is left alone."""
    for _ in range(TRIES - 1):
        partial = path.with_name(_partial_name(path.name))
        with suppress(FileExistsError), partial.open("xb"):
            return partial
    partial = path.with_name(_partial_name(path.name))
    partial.open("xb").close()
    return partial


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


def short_name(name: str) -> str:
    """A name short enough for a file's: a long one keeps its beginning, and a hash of all of it."""
    whole = name.encode(errors="surrogateescape")
    if len(whole) <= LONGEST:
        return name
    return f"{whole[: LONGEST - 17].decode(errors='ignore')}-{hashlib.sha256(whole).hexdigest()[:16]}"


def last_parts(text: str, folders: Iterable[Path]) -> str:
    """A text with the last part of each of these folders instead of the whole path: pages are passed on to others."""
    whole = {str(form): form.name for folder in folders for form in (folder, folder.absolute(), folder.resolve())}
    for path in sorted(whole, key=len, reverse=True):
        if whole[path] not in {"", path}:
            text = text.replace(path, whole[path])
    return text


def shown_path(path: Path) -> str:
    """A path as a page may name it: the last part alone, unless it leads down from the folder that one is in."""
    return path.name or str(path) if path.is_absolute() or ".." in path.parts else str(path)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]], *, plain: bool = False) -> str:
    """A table as CSV; text that a spreadsheet would carry out as a formula gets an apostrophe before it.

    `plain` leaves every value as it is: for tables whose ids are compared when they are read again.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in (header, *rows) if plain else ([_harmless(value) for value in row] for row in (header, *rows)):
        writer.writerow(row)
    return out.getvalue()


def _harmless(value: Any) -> Any:
    if not (isinstance(value, str) and value.startswith(FORMULA)):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value

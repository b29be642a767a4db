"""Code of the user's own: "module:Class" and a folder in; what the class gives, and a hash of the files, out."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elsewhere.errors import BadCheckpoint, BadStudy

BLOCK = 1 << 20


def is_name(text: str) -> bool:
    """Whether a text can be "package.module:Class".

    >>> is_name("my_package.networks:Classifier"), is_name("networks.py")
    (True, False)
    """
    module, colon, name = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), name))


def make_own(name: str, folder: Path | None, arguments: str, keys: tuple[str, str]) -> Any:
    """What a class, or a function, of the user's own gives. **It is imported and called**: ask for leave before.

    Args:
        name: "module:Class".
        folder: that its module lies in; None where it is installed.
        arguments: name and value of each of its arguments, as JSON.
        keys: of the study file: the one that names the class, and the table that it stands in.

    Raises:
        BadStudy: it cannot be imported or called.
    """
    module, _, attribute = name.partition(":")
    key, table = keys
    try:
        with _importable(folder):
            return getattr(importlib.import_module(module), attribute)(**json.loads(arguments))
    except Exception as error:  # whatever a stranger's module raises
        text = " ".join(str(error).split())[:300]
        what = f"is {name!r}, which cannot be made ({type(error).__name__}: {text})"
        raise BadStudy(key, what, f"Correct it, `{table}.folder` or `{table}.arguments`") from error


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    if folder is not None:
        sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if folder is not None:
            sys.path.remove(str(folder))


def module_of(name: str, folder: Path) -> Path:
    """The module's own file in a folder, or its whole package."""
    package = folder / name.partition(":")[0].split(".")[0]
    return package if package.is_dir() else package.with_suffix(".py")


def content_of(path: Path) -> str:
    """Hash of a file, or of all files of a folder and their places in it; byte code of Python does not count.

    Raises:
        BadCheckpoint: it is not there, or cannot be read.
    """
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file() and f.suffix != ".pyc")
    if not files:
        raise BadCheckpoint(path, "does not exist, or holds no file", "Correct its path in the study file")
    try:
        for file in files:
            digest.update(f"\0{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as content:
                while block := content.read(BLOCK):
                    digest.update(block)
    except OSError as error:
        raise BadCheckpoint(path, f"cannot be read ({error.strerror})", "Correct its permissions") from error
    return digest.hexdigest()

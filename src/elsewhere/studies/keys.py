"""Values of a TOML file, each of its type: what is wrong is named with the file, the key and the value."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from elsewhere.errors import BadStudy
from elsewhere.studies.hints import unknown_key

# What `os.path.expandvars` takes for a variable.
VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)


def check_keys(
    path: Path, prefix: str, given: Collection[str], allowed: Sequence[str], sections: Mapping[str, Collection[str]]
) -> None:
    """Refuse a key that is not known, and say what was likely meant.

    Args:
        path: the file.
        prefix: of the keys' table, with its dot; "" on top.
        given: keys as written.
        allowed: keys of that table.
        sections: name of each section of the file -> its keys.
    """
    for key in given:
        if key not in allowed:
            raise BadStudy(path, f"key `{prefix}{key}` is unknown", unknown_key(key, prefix, allowed, sections))


def typed(path: Path, key: str, kind: Any, value: Any, prefix: str = "") -> Any:
    """A value as the type that its key asks for; `prefix` is put before a key that a section's own check names.

    Raises:
        BadStudy: it is of another type, or out of range.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([key, *map(str, first["loc"])])
        raise BadStudy(path, f"key `{where}` is {first['input']!r}", first["msg"]) from error
    except BadStudy as error:  # from a section's own check, which knows no file
        raise BadStudy(path, f"key `{prefix}{error.where}` {error.what}", error.next_step) from error


def named(path: Path, check: Callable[[], None]) -> None:
    """Carry out a check that knows no file: what it finds wrong is told with the file."""
    try:
        check()
    except BadStudy as error:
        raise BadStudy(path, f"key `{error.where}` {error.what}", error.next_step) from error


def path_of(study: Path, key: str, given: Any) -> Path:
    """A path of a study file: variables expanded, relative to the file's folder.

    Raises:
        BadStudy: it is no text, or names a variable that is not set.
    """
    text: str = typed(study, key, str, given)
    for bare, braced in VARIABLE.findall(text):
        name = bare or braced
        if name not in os.environ:
            what = f"key `{key}` names ${name}, which is not set"
            raise BadStudy(study, what, f"Set it: {name}=/folder elsewhere …")
    return (study.parent / os.path.expanduser(os.path.expandvars(text))).resolve()

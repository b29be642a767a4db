"""A TOML file in, its content out; a mistake is shown with its line, a caret below it, and what to write instead."""

from __future__ import annotations

import codecs
import re
import tomllib
from pathlib import Path
from typing import Any

from elsewhere.errors import BadStudy

PLACE = re.compile(r"^(.*?) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)
YAML = re.compile(r"^\s*[\w.-]+:(\s|$)")
BACKSLASH = re.compile(r'"[^"]*\\[^"]*"')
SPACED = re.compile(r"^\s*(\w[\w.-]*(?: +\w[\w.-]*)+)\s*=|^\s*\[([^\]\"]*\w +\w[^\]\"]*)\]")
BARE = re.compile(r"[A-Za-z/~$.\\][^,}\]#]*")
NUMBER_NAME = re.compile(r"\d[\w./-]*[A-Za-z/][\w./-]*")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, as any editor saves it.

    Raises:
        BadStudy: it cannot be read or is no TOML; the message shows the line and what is likely meant.
    """
    try:
        content = path.read_bytes()
    except IsADirectoryError as error:
        files = ", ".join(sorted(p.name for p in path.glob("*.toml"))) or "none"
        raise BadStudy(path, "is a folder", f"Give a study file; those in it: {files}") from error
    except OSError as error:
        files = ", ".join(sorted(p.name for p in path.parent.glob("*.toml"))) if path.parent.is_dir() else ""
        beside = f" (in that folder: {files})" if files else ""
        what = f"cannot be read ({error.strerror})"
        raise BadStudy(path, what, f"Give the path of a study file (TOML){beside}") from error
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as some Windows editors write it
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise BadStudy(path, f"is not valid TOML ({error})", "Save it as UTF-8") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = PLACE.match(str(error))
        number, column = (int(place[2]), int(place[3])) if place and place[2] else (0, 0)
        line = text.split("\n")[number - 1] if number else ""
        shown = f":\n  {number} | {line}\n" + " " * (len(f"  {number} | ") + column - 1) + "^" if number else ""
        raise BadStudy(path, f"is not valid TOML ({error})", explain(text, line, column) + shown) from error


def explain(text: str, line: str, column: int) -> str:
    """What is likely meant by a line that is no TOML.

    Args:
        text: the whole file.
        line: the faulty one, "" where the file ends too early.
        column: of the mistake in it, from 1.
    """
    lines = [one for one in text.split("\n") if one.strip() and not one.lstrip().startswith(("#", "---"))]
    if sum(bool(YAML.match(one)) for one in lines) > len(lines) / 2:
        return 'This looks like YAML; a study file is TOML: [sites.Here] above kind = "volumes" and root = "ct/here"'
    if BACKSLASH.search(line):
        return "A backslash in double quotes is an escape: write '/', or single quotes as in 'C:\\Users\\me'"
    if column > len(line) and line.count('"') % 2:
        return "Close the quotation mark"
    if spaced := SPACED.match(line):
        return f'A name with a space stands in quotes: "{(spaced[1] or spaced[2]).rpartition(".")[2]}"'
    return _about_value(line, column) or "Correct that line"


def _about_value(line: str, column: int) -> str:
    """What is likely meant by a value that is none; "" where nothing is."""
    value = line[max(0, column - 1) :].strip()
    bare = BARE.match(value) or NUMBER_NAME.match(line.partition("=")[2].strip())
    if not bare or "=" not in line:
        return ""
    word = bare[0].strip()
    if word in {"True", "False"}:
        return f"Write {word.lower()}"
    return "Close the quotation mark before it" if '"' in word else f'Text stands in quotes: "{word}"'

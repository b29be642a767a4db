"""A header's text in; the number, time or direction that it stands for, out: unreadable is not absent."""

from __future__ import annotations

import math
import re
from functools import lru_cache

from elsewhere.scans.scan import Fact
from elsewhere.scans.values import MISSING, parse_age

NO_CONTRAST = frozenset(("none", "no", "without", "nativ", "native", "non contrast", "noncontrast", "0"))

Point = tuple[float, ...]


def plain(text: str) -> str:
    """A value as it is compared: numbers by their value ("1.0" is "1"), texts without case or blanks around."""
    number = number_of(text) if "\\" not in text else None
    return f"{number:.15g}" if number is not None else "\\".join(part.strip() for part in text.upper().split("\\"))


def contrast_of(agent: str) -> bool | None:
    """True with an agent, False where the field says none, None where it is silent (many sites never fill it)."""
    text = agent.strip().lower()
    return None if text in MISSING - {"none"} else text not in NO_CONTRAST


def age_of(text: str) -> Fact:
    """Age in years, None where the text is none."""
    try:
        return parse_age(text)
    except ValueError:
        return None


def number_of(text: str | None) -> float | None:
    """The first number of a text, a decimal comma read as a point; None where there is none."""
    first = (text or "").partition("\\")[0]
    if "_" in first:  # Python would read 1_5 as 15
        return None
    try:
        value = float(first.replace(",", ".") if first.count(",") == 1 else first)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def int_of(text: str | None) -> int | None:
    """The whole part of the first number of a text."""
    value = number_of(text)
    return None if value is None else int(value)


def whole_of(text: str | None, name: str) -> int | None:
    """A whole number, None where the file has none. Raises ValueError where it is unreadable."""
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} is '{text[:40]}', expected one whole number") from None


def scale_of(text: str | None, name: str) -> float | None:
    """Slope or intercept; None where the file has none. Raises ValueError where it is unreadable: that is not absent.

    "-1,024" may be -1.024 or -1024: it is unreadable.
    """
    if not text:
        return None
    value = number_of(text)
    if value is None or "\\" in text or re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", text):
        raise ValueError(f"{name} is '{text[:40]}', expected one number")
    return value


def slope_of(text: str | None) -> float | None:
    """RescaleSlope; None where the file has none. Raises ValueError where it is unreadable or 0."""
    value = scale_of(text, "RescaleSlope")
    if value == 0:
        raise ValueError("RescaleSlope is 0: all of its values would be the same")
    return value


def seconds_of(date: str, time: str) -> float | None:
    """Seconds of an acquisition since some day; None where its time is unknown."""
    found = re.match(r"(\d\d):?(\d\d):?(\d\d(?:\.\d+)?)?", time)
    if not found:
        return None
    days = int(date) if date.isdigit() and len(date) == 8 else 0
    return days * 86400.0 + int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3] or 0)


def floats_of(text: str | None, count: int) -> Point | None:
    """Exactly `count` finite numbers, or None."""
    parts = [number_of(part) for part in (text or "").split("\\")]
    values = tuple(part for part in parts if part is not None)
    return values if len(parts) == len(values) == count else None


shared_floats = lru_cache(maxsize=1024)(floats_of)  # the same for a whole series: one object, parsed once


_LETTERS = {"L": (1.0, 0.0, 0.0), "R": (-1.0, 0.0, 0.0), "P": (0.0, 1.0, 0.0)}
_LETTERS |= {"A": (0.0, -1.0, 0.0), "H": (0.0, 0.0, 1.0), "F": (0.0, 0.0, -1.0)}


def letters_of(text: str) -> Point | None:
    """Orientation from PatientOrientation (`L\\P`), for files without ImageOrientationPatient."""
    parts = [_LETTERS.get(part[:1]) for part in text.split("\\")]
    if len(parts) != 2 or parts[0] is None or parts[1] is None:
        return None
    return parts[0] + parts[1]

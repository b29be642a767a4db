"""One cell of a table as text in; a label, an age, a date, a path below the root out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from elsewhere.scans.scan import NEGATIVE, POSITIVE

LABELS: dict[str, int | None] = {
    **dict.fromkeys(("1", "positive", "pos", "covid", "covid-19", "covid19", "ncp", "true", "yes"), POSITIVE),
    **dict.fromkeys(
        ("0", "negative", "neg", "normal", "non-covid", "noncovid", "cp", "control", "false", "no"), NEGATIVE
    ),
    "unknown": None,
}
MISSING = {"", "n/a", "na", "nan", "none", "null", "-"}
YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
OLDEST = 130.0  # years; a larger number is no age
DATES = ("%Y%m%d", "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y")
ROUNDED = re.compile(r"\d(?:[.,]\d+)?E\+\d+", re.IGNORECASE)
KEPT_DIGITS = 15  # of a number in a spreadsheet
LEAST_ZEROS = 3  # in all long ids of a column together: one in a thousand tables ends so by chance

Order = Literal["day first", "month first"]


def parse_label(text: str) -> int | None:
    """1, 0, or None for `unknown`. Raises ValueError."""
    key = text.lower()
    key = key[:-2] if re.fullmatch(r"[01]\.0", key) else key
    if key not in LABELS:
        raise ValueError(f"label '{text}' is outside the classes")
    return LABELS[key]


def parse_age(text: str) -> int | float:
    """Age in years from `53`, `53,5`, `053Y`, `018M` (DICOM age string), `90+`, `>89` (both 90). Raises ValueError."""
    plain = text.strip().replace(",", ".")
    if plain.replace(" ", "") in {"90+", ">89", ">=90", "≥90"}:
        return 90
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*([YMWD]?)", plain, re.IGNORECASE)
    years = float(found[1]) * YEARS[found[2].upper() or "Y"] if found else OLDEST + 1
    if years > OLDEST:
        raise ValueError(f"age '{text}' is neither years nor like 053Y")
    return int(years) if years.is_integer() else round(years, 3)


def slash_order(texts: Iterable[str]) -> Order | None:
    """Which of `13/02/2020` and `02/13/2020` a column of dates uses; None where none decides, or they differ."""
    parts = [found for text in texts if (found := re.match(r"(\d{1,2})/(\d{1,2})/\d{4}", text.strip()))]
    first, second = any(int(p[1]) > 12 for p in parts), any(int(p[2]) > 12 for p in parts)
    if first == second:
        return None
    return "day first" if first else "month first"


def parse_date(text: str, order: Order | None = None) -> str:
    """ISO date from `20200407`, `2020-04-07`, `2020/4/7`, `7.4.2020` or, where the order is known, `7/4/2020`.

    Raises:
        ValueError: it is none of them.
    """
    day = text.strip().partition(" ")[0].partition("T")[0]
    slashed = {"day first": ("%d/%m/%Y",), "month first": ("%m/%d/%Y",), None: ()}[order]
    for form in (*DATES, *slashed):
        try:
            return datetime.strptime(day, form).date().isoformat()
        except ValueError:
            continue
    may = "may be day or month first" if re.match(r"\d{1,2}/\d{1,2}/\d{4}", day) else "is not written as 2020-04-07"
    raise ValueError(f"date '{text}' {may}")


def date_or_none(text: str) -> str | None:
    """ISO date of a header's text, None where it is no date."""
    try:
        return parse_date(text)
    except ValueError:
        return None


def parse_contrast(text: str) -> bool | str:
    """Whether contrast was given, or the agent as written."""
    return {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}.get(text.lower(), text)


def parse_sex(text: str) -> str:
    """ "M", "F", or as written."""
    return {"male": "M", "female": "F", "m": "M", "f": "F"}.get(text.lower(), text)


def check_id(text: str) -> str:
    """An id as it is. Raises ValueError where a spreadsheet has rounded it (1.23457E+19)."""
    if "+" in text and ROUNDED.fullmatch(text):
        raise ValueError(f"'{text}' is a number that a spreadsheet has rounded: format the column as text")
    return text


def check_ids(texts: Iterable[str]) -> None:
    """Look at the ids of a column together.

    Raises:
        ValueError: a spreadsheet has cut them off: several digits in a row behind the 15th are 0 in all of them, and
            the 15th is not. (It keeps 15 digits, and saves a long id as 12345678901234500000.)
    """
    long = sorted({text for text in texts if text.isdecimal() and len(text) > KEPT_DIGITS})
    ends = [text[KEPT_DIGITS:] for text in long]
    if len("".join(ends)) < LEAST_ZEROS or "".join(ends).strip("0"):
        return
    if any(text[KEPT_DIGITS - 1] != "0" for text in long):
        first = f"'{long[0]}' is a number of which a spreadsheet has kept {KEPT_DIGITS} digits"
        raise ValueError(f"{first}, like every long one of its column")


def normal_path(text: str) -> str:
    """A path as tables write it (backslashes, "./", a leading or trailing "/") → parts joined by "/"; "." stays."""
    parts = text.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".")) or ("." if "." in parts else "")


def alike(name: str) -> str:
    """What two spellings of one name share: Unicode's composed form, without invisible letters, and without spaces
    around the parts of a path."""
    seen = "".join(c for c in unicodedata.normalize("NFC", name) if c.isascii() or unicodedata.category(c) != "Cf")
    return "/".join(part.strip() for part in seen.split("/"))


def form(name: str) -> str:
    """What the spellings of one name share that `alike`, case, kinds of spaces and wide letters leave."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", alike(name)).casefold())

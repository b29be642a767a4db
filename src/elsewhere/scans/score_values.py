"""Cells of a score table as text in; scores, labels, calls, ids and dates out, or an error that names the row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadTable
from elsewhere.scans.score_columns import ENDS, SCALES, Role, Scale
from elsewhere.scans.values import (
    LABELS,
    MISSING,
    check_id,
    check_ids,
    parse_age,
    parse_date,
    parse_label,
    parse_sex,
    slash_order,
)

UNKNOWN_LABEL = -1

CALLS: dict[str, int | None] = {
    **LABELS,
    **dict.fromkeys(("flagged", "alert", "suspicious", "abnormal", "detected", "y"), 1),
    **dict.fromkeys(("not flagged", "no alert", "unsuspicious", "not detected", "n"), 0),
}
NOT_REFUSED = {*MISSING, "0", "no", "false", "n", "ok", "accepted", "processed"}
REFUSED = {"1", "yes", "true", "y", "refused", "rejected", "failed"}
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?")
THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:[ '’\u00a0\u202f.,][0-9]{3})+(?:[.,][0-9]+)?")
ONLY_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+")
MONTH = "(?:jan|feb|fév|mar|mär|mrz|apr|avr|may|mai|jun|jui|jul|aug|aoû|sep|oct|okt|nov|dec|dez|déc)[^\\W\\d]{0,6}"
DATE = re.compile(
    r"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}.*|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2,4}"
    rf"|[0-9]{{1,2}}[-. ]+{MONTH}|{MONTH}[-. ]+[0-9]{{1,4}}",
    re.IGNORECASE,
)
SERIAL = re.compile(r"[1-6][0-9]{4}(?:\.[0-9]+)?")
"""What a spreadsheet counts days as: 10000 to 69999 are 1927 to 2091."""


@dataclass(frozen=True)
class Place:
    """A table and the lines of its rows, to say where something stands.

    Attributes:
        where: the table, for messages.
        lines: line of each row (rows,).
    """

    where: str
    lines: NDArray[np.int64]

    def refuse(self, row: int, what: str, next_step: str) -> NoReturn:
        """Raise BadTable with the row's line."""
        raise BadTable(self.where, f"line {self.lines[row]}: {what}", next_step)


# Numbers -----------------------------------------------------------------------------------------------------------


def parse_scores(
    texts: Sequence[str], name: str, scale: Scale | None, at: Place, remarks: list[str]
) -> tuple[NDArray[np.float64], Scale]:
    """Scores, larger meaning more positive, NaN where there is none; and their scale.

    Raises:
        BadTable: a score is no number, may be two numbers, or lies outside its scale.
    """
    values = _numbers(texts, name, scale == "percent", at, remarks)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise BadTable(at.where, f"column {name!r} holds no score", "Fill it, or name another one with --score")
    low, high, scale_read = float(finite.min()), float(finite.max()), scale or "probability"
    ends = ENDS.get(scale_read, (-np.inf, np.inf))
    outside = np.flatnonzero((values < ends[0]) | (values > ends[1]))
    if outside.size:
        many = f" ({outside.size} of {finite.size} scores are outside; they reach from {low:g} to {high:g})"
        what = f"{name} is {values[outside[0]]:g}, outside {ends[0]:g} to {ends[1]:g}{many}"
        others = ", ".join(s for s in SCALES if s != scale_read)
        at.refuse(int(outside[0]), what, f"Correct it, or say what the scores are with --scale: {others}")
    if scale_read == "percent" and high <= 1:
        what = f"column {name!r}: all {finite.size} scores lie in 0 to 1, though the scale is percent"
        raise BadTable(at.where, what, "Use --scale probability, or leave --scale out")
    return on_scale(values, scale_read), scale_read


def on_scale(values: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """Values of the file as larger-is-sicker; probabilities where they are."""
    if scale == "logit":
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-values))
    return {"percent": values / 100, "lower-is-sicker": -values}.get(scale, values)


def _numbers(texts: Sequence[str], name: str, percent: bool, at: Place, remarks: list[str]) -> NDArray[np.float64]:
    plain = [t.replace("−", "-") for t in texts]
    plain = [t.removesuffix("%").rstrip() for t in plain] if percent else plain
    commas = [i for i, t in enumerate(plain) if "," in t]
    if commas:
        if dots := [i for i, t in enumerate(plain) if "." in t]:
            what = f"{name} is {texts[commas[0]]!r}, but {texts[dots[0]]!r} in line {at.lines[dots[0]]}: decimal commas"
            at.refuse(commas[0], f"{what} or thousands separators?", "Write all with a decimal dot, without separators")
        if all(ONLY_THOUSANDS.fullmatch(plain[i]) for i in commas):
            what = f"{name} is {texts[commas[0]]!r}: a decimal comma or a thousands separator?"
            at.refuse(commas[0], what, "Write it with a decimal dot, or without the separator")
        if all(COMMA.fullmatch(plain[i]) for i in commas):
            remarks.append(f"Column {name!r} is read with decimal commas: {texts[commas[0]]} is a number.")
            plain = [t.replace(",", ".") for t in plain]
    values = np.full(len(plain), np.nan)
    for i, text in enumerate(plain):
        if not NUMBER.fullmatch(text):
            if text.lower() in MISSING:
                continue
            _refuse_number(text, name, i, at)
        values[i] = float(text)
        if not np.isfinite(values[i]):
            at.refuse(i, f"{name} is {text!r}, not a finite number", "Correct it")
    return values


def _refuse_number(text: str, name: str, row: int, at: Place) -> NoReturn:
    if text.endswith("%"):
        at.refuse(row, f"{name} is {text!r}", "Say --scale percent")
    if THOUSANDS.fullmatch(text):
        at.refuse(row, f"{name} is {text!r}: a thousands separator?", "Write numbers without separators")
    if DATE.fullmatch(text):
        what = f"{name} is {text!r}, a date: a spreadsheet has made it of a number"
        at.refuse(row, what, "Format the column as text or number and fill the scores in again")
    what = f"{name} is {text!r}, not a number"
    at.refuse(row, what, "Leave the cell empty and give the reason in a column `refused`, or name another with --score")


# Words -------------------------------------------------------------------------------------------------------------


def parse_labels(texts: Sequence[str], name: str, positive: str | None, at: Place) -> NDArray[np.int64]:
    """Labels (rows,): 1, 0, or -1 where not known; with `positive`, every other value is negative.

    Raises:
        BadTable: a value is no label, or `positive` never stands in the column.
    """
    if positive is not None:
        wanted = positive.strip().casefold()
        if not any(t.casefold() == wanted for t in texts):
            raise BadTable(
                at.where, f"column {name!r} never says {positive!r} ({_values(texts)})", "Correct --positive"
            )

        def read(text: str) -> int | None:
            if text.casefold() == wanted:
                return 1
            return None if text.lower() in {*MISSING, "unknown"} else 0
    else:

        def read(text: str) -> int | None:
            return None if text.lower() in MISSING else parse_label(text)

    return _mapped(texts, read, at, f"{name} is {{!r}}, which is no label ({_values(texts)})", "Say --positive VALUE")


def parse_calls(texts: Sequence[str], name: str, at: Place) -> NDArray[np.int64]:
    """The product's decisions (rows,): 1, 0, or -1 where it made none.

    Raises:
        BadTable: a value is neither.
    """

    def read(text: str) -> int | None:
        key = text.lower().removesuffix(".0")
        if key in MISSING:
            return None
        if key not in CALLS:
            raise ValueError
        return CALLS[key]

    what = f"{name} is {{!r}}, neither a positive nor a negative call ({_values(texts)})"
    return _mapped(texts, read, at, what, f"Write 1 and 0, or rename the column {name!r} if it is no decision")


def _mapped(
    texts: Sequence[str], read: Callable[[str], int | None], at: Place, what: str, next_step: str
) -> NDArray[np.int64]:
    """Each distinct text read once; -1 where it says nothing."""
    meanings: dict[str, int] = {}
    for i, text in enumerate(texts):
        if text in meanings:
            continue
        try:
            value = read(text)
        except ValueError:
            at.refuse(i, what.format(text), next_step)
        meanings[text] = UNKNOWN_LABEL if value is None else value
    return np.array([meanings[t] for t in texts], dtype=np.int64)


def _values(texts: Sequence[str]) -> str:
    counts = Counter(t for t in texts if t)
    shown = ", ".join(f"{v} ×{n}" for v, n in counts.most_common(6))
    return f"values: {shown}{', …' if len(counts) > 6 else ''}" if counts else "it is empty"


def parse_reason(text: str) -> str:
    """Why a scan was refused; "" where it was not."""
    key = text.lower()
    if key in NOT_REFUSED:
        return ""
    return "no reason given" if key in REFUSED else text


def parse_ids(texts: Sequence[str] | None, name: str, at: Place) -> list[str]:
    """Ids as they stand; none where the table has no such column.

    Raises:
        BadTable: one is empty, or was rounded by a spreadsheet.
    """
    if texts is None:
        return []
    for i, text in enumerate(texts):
        if not text:
            at.refuse(i, f"the {name} is empty", "Fill it: intervals count patients, and every scan must have a name")
        try:
            check_id(text)
        except ValueError as error:
            at.refuse(i, str(error), "Fill the ids in again")
    try:
        check_ids(texts)
    except ValueError as error:
        raise BadTable(at.where, str(error), "Format the column as text and fill the ids in again") from error
    return list(texts)


def parse_known(
    texts: Mapping[Role, Sequence[str]], names: Mapping[Role, str], at: Place, remarks: list[str]
) -> dict[str, list[str]]:
    """Age, sex and date as metadata; an age that cannot be understood is not known, and a remark says so.

    Raises:
        BadTable: a date is none, or is a spreadsheet's number of a day.
    """
    found: dict[str, list[str]] = {}
    if "date" in texts:
        found[names["date"]] = _dates(texts["date"], names["date"], at)
    if "sex" in texts:
        sexes = {t: "" if t.lower() in MISSING else parse_sex(t) for t in set(texts["sex"])}
        found[names["sex"]] = [sexes[t] for t in texts["sex"]]
    if "age" in texts:
        ages = {text: _age(text) for text in set(texts["age"])}
        found[names["age"]] = [ages[text] or "" for text in texts["age"]]
        if odd := [text for text in texts["age"] if ages[text] is None]:
            remarks.append(f"{len(odd)} values of {names['age']!r} are not understood, the first {odd[0]!r}.")
    return found


def _age(text: str) -> str | None:
    """Years as text, "" where not known, None where it cannot be understood."""
    try:
        return "" if text.lower() in MISSING else f"{parse_age(text):g}"
    except ValueError:
        return None


def _dates(texts: Sequence[str], name: str, at: Place) -> list[str]:
    order = slash_order(texts)
    meanings: dict[str, str] = {}
    for i, text in enumerate(texts):
        if text in meanings:
            continue
        if text.lower() in MISSING:
            meanings[text] = ""
        elif SERIAL.fullmatch(text):
            what = f"{name} is {text!r}: a spreadsheet's number of a day, not a date"
            at.refuse(i, what, "Format the column as a date, as 2026-03-31, and save the table again")
        else:
            try:
                meanings[text] = parse_date(text, order)
            except ValueError as error:
                at.refuse(i, str(error), "Write dates as 2026-03-31")
    return [meanings[t] for t in texts]

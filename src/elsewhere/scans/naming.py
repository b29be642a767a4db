"""Which of a folder's pictures are the slices of its one scan, by their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

MASK = re.compile(
    r"(?:^|[^a-z])(?:mask|seg|segmentation|label|labelmap|lesion|annotation|annotated|overlay|roi)s?(?:[^a-z]|$)"
)
"""Names of what is drawn over a slice."""

COPY = re.compile(r"(?P<of>.+?)(?:\s*\(\d+\)|[ _-]+(?:copy|kopie|copie|copia)(?:[ _-]*\(?\d+\)?)?)")
"""Names that systems give to copies: `0001 (1)`, `0001 - Copy`, `0001_copy2`."""


PLACE = re.compile(r"(.*?)([+-]?\d+(?:[.,]\d+)?)(\D*)", re.DOTALL)
"""A name with one number at its end, with its sign and its fraction."""

LONGEST_NUMBER = 18
"""Digits of a number in a name that counts."""


@dataclass(frozen=True)
class Slices:
    """The names of one scan's slices, and what lies beside them.

    Attributes:
        names: the slices, in the order given.
        masks: what was drawn over them, by its name.
        copies: files that are, byte for byte, one of the slices.
    """

    names: tuple[str, ...]
    masks: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()


def slices_of(folder: Path, names: Sequence[str]) -> Slices:
    """The slices among the pictures of a folder that is one scan.

    Masks are told by their names, where others have the same name without the word; copies by their names and bytes.

    Raises:
        ValueError: two files of one number, or two rows of numbers under different names: which are the scan's? Or
            names that are no count.
    """
    stems = {_stem(name): name for name in names}
    masks = [name for name in names if _without_mask(_stem(name)) in _bare(stems) and MASK.search(_stem(name))]
    rest = [name for name in names if name not in set(masks)]
    copies = [name for name in rest if _is_copy(folder, name, {_stem(other): other for other in rest})]
    kept = [name for name in rest if name not in set(copies)]
    _check_places(kept)
    _check_twice(kept)
    _check_rows(kept)
    return Slices(tuple(kept), tuple(masks), tuple(copies))


def number_of(name: str) -> tuple[str, int] | None:
    """A name's text with its last number left out, and that number; None where it has none."""
    found = re.fullmatch(r"(.*?)(\d+)(\D*)", _stem(name), re.DOTALL)
    return (
        (f"{found[1]}#{found[3]}", int(found[2]))
        if found and found[2].isascii() and len(found[2]) <= LONGEST_NUMBER
        else None
    )


def _stem(name: str) -> str:
    return name.rpartition(".")[0].lower()


def _bare(stems: Mapping[str, str]) -> set[str]:
    return {re.sub(r"[^a-z0-9]+", "", stem) for stem in stems if not MASK.search(stem)}


def _without_mask(stem: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", MASK.sub("", stem))


def _is_copy(folder: Path, name: str, stems: Mapping[str, str]) -> bool:
    found = COPY.fullmatch(_stem(name))
    original = stems.get(found["of"].rstrip(" -_")) if found else None
    if original is None or original == name:
        return False
    try:
        one, other = folder / name, folder / original
        return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _check_places(names: Sequence[str]) -> None:
    """Names that count in signed or broken numbers (`z_-12.5`, `z_7.25`) are places along the body: which way up?"""
    found = [PLACE.fullmatch(_stem(name)) for name in names]
    parts = {(place[1], place[3]) for place in found if place}
    if len(parts) != 1 or None in found:
        return
    numbers = [place[2] for place in found if place]
    whole = {number.lstrip("+-").replace(",", ".").partition(".")[0] for number in numbers}
    signed = len({number[0] in "+-" for number in numbers}) > 1
    broken = len(whole) > 1 and any("." in number or "," in number for number in numbers)
    values = [float(number.replace(",", ".")) for number in numbers]
    if (signed or broken) and values != sorted(values):
        shown = f"{min(names, key=len)}, {max(names, key=len)}"
        raise ValueError(f"names its slices by signed or broken numbers ({shown}), whose direction is not told")


def _check_twice(names: Sequence[str]) -> None:
    seen: dict[tuple[str, int] | str, str] = {}
    for name in names:
        key = number_of(name) or _stem(name)
        if key in seen:
            raise ValueError(f"holds one slice twice: {seen[key]} and {name}")
        seen[key] = name


def _check_rows(names: Sequence[str]) -> None:
    """Two rows of slices that count over the same numbers are two series, whatever the folder says."""
    rows: dict[str, list[int]] = defaultdict(list)
    for name in names:
        if (numbered := number_of(name)) is not None:
            rows[numbered[0]].append(numbered[1])
    long = {text: numbers for text, numbers in rows.items() if len(numbers) > 1}
    if len(long) < 2:
        return
    ranges = sorted((min(numbers), max(numbers), text) for text, numbers in long.items())
    if any(first[1] >= second[0] for first, second in pairwise(ranges)):
        shown = ", ".join(f"{text} ({len(numbers)})" for text, numbers in list(long.items())[:4])
        raise ValueError(f"holds slices under several names that count over the same numbers: {shown}")

"""Counts and decimals of messages and pages: singular and plural agree, and no number is printed as 0 that is not."""

from __future__ import annotations


def numbered(how_many: int, noun: str, several: str = "") -> str:
    """A number with its noun; `several` where the plural is not made with s.

    >>> numbered(1, "cell"), numbered(0, "cell"), numbered(2, "study", "studies"), numbered(1200, "scan")
    ('1 cell', '0 cells', '2 studies', '1,200 scans')
    """
    return f"{how_many:,} {noun if how_many == 1 else several or noun + 's'}"


def decimals(*numbers: float, least: int = 2) -> int:
    """How many decimals show a set of numbers so that none but 0 is printed as 0: one more than `least` where needed.

    >>> decimals(0.004, 0.15), decimals(0.0, 0.15), decimals(-0.02, 0.15)
    (3, 2, 2)
    """
    limit = 0.5 * 10**-least
    return least + any(0 < abs(number) < limit for number in numbers)


def verb(how_many: int, one: str, several: str) -> str:
    """The form of a verb that agrees with a count.

    >>> verb(1, "is", "are"), verb(0, "is", "are")
    ('is', 'are')
    """
    return one if how_many == 1 else several

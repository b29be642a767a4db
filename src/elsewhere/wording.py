"""Counts in the words of messages and pages, so that singular and plural agree."""

from __future__ import annotations


def numbered(how_many: int, noun: str, several: str = "") -> str:
    """A number with its noun; `several` where the plural is not made with s.

    >>> numbered(1, "cell"), numbered(0, "cell"), numbered(2, "study", "studies"), numbered(1200, "scan")
    ('1 cell', '0 cells', '2 studies', '1,200 scans')
    """
    return f"{how_many:,} {noun if how_many == 1 else several or noun + 's'}"


def verb(how_many: int, one: str, several: str) -> str:
    """The form of a verb that agrees with a count.

    >>> verb(1, "is", "are"), verb(0, "is", "are")
    ('is', 'are')
    """
    return one if how_many == 1 else several

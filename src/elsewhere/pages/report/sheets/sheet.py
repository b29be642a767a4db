"""The items of a reporting checklist and a report in; the sheet as far as the run can fill it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from elsewhere.pages.report.content import Report
from elsewhere.pages.report.table import Column, Table

FILLED, PARTLY, OPEN = "from the run", "in part", "you must write this"

Answer = Callable[[Report], str]


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Attributes:
        number: as the checklist numbers it ("12d").
        part: the part of the paper it belongs to.
        asks: what it asks for, in our own words.
        answer: what the run can say to it; None where it can say nothing.
        gap: what only the authors know; "" where the run's answer is enough.
    """

    number: str
    part: str
    asks: str
    answer: Answer | None = None
    gap: str = ""


@dataclass(frozen=True)
class Sheet:
    """A checklist.

    Attributes:
        name: short name, for file names.
        title: its name.
        source: where it was published.
        items: in order.
    """

    name: str
    title: str
    source: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class SheetRow:
    """One item as the sheet shows it.

    Attributes:
        item: its number.
        part: the part of the paper it belongs to.
        asks: what it asks for.
        answer: what the run says; "" for nothing.
        you_must_write: what only the authors know; "" for nothing.
        state: whether it is filled from the run, in part, or open.
    """

    item: str
    part: str
    asks: str
    answer: str
    you_must_write: str
    state: str


def fill(sheet: Sheet, report: Report) -> Table:
    """The sheet as a table: number, part, asks, the run's answer, what is still to be written, and the state."""
    rows = []
    for item in sheet.items:
        answer = item.answer(report) if item.answer else ""
        gap = item.gap if item.gap or answer else "The run has no record of this."
        state = OPEN if not answer else PARTLY if gap else FILLED
        rows.append(SheetRow(item.number, item.part, item.asks, answer, gap, state))
    columns = [
        Column("item", "Item"),
        Column("asks", "What it asks", lambda v, r: f"{r.part}: {v}"),
        Column("answer", "What the run says", lambda v, _: v or "–"),
        Column("you_must_write", "You must write this", lambda v, _: v or "–"),
        Column("state", "State"),
    ]
    done = {state: sum(row.state == state for row in rows) for state in (FILLED, PARTLY, OPEN)}
    caption = (
        f"{sheet.title}: {len(rows)} entries, {done[FILLED]} filled from the run, {done[PARTLY]} in part, "
        f"{done[OPEN]} for you to write."
    )
    note = f"Item numbers as in {sheet.source}; what each asks is put in our own words, so read the original too."
    return Table(f"sheet-{sheet.name}", caption, columns, rows, note)

"""AUC of every model at every site in; the cross-site matrix and the strip of home, seen and unseen cells out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from elsewhere.pages.figures.canvas import BLUE, CARD, INK, LINE, MUTED, ORANGE, TINT, Canvas, shortened, wrap

MARKS = {"home": "●", "seen": "◐", "unseen": "○"}
WIDTH, HEIGHT, ROW_NAME, MARGIN = 104, 46, 190, 14
STRIP_LEFT, STRIP_WIDTH, STRIP_ROW = 12, 336, 56
STRONGEST = 0.62


@dataclass(frozen=True)
class MatrixCell:
    """One model at one site.

    Attributes:
        auc: None at a one-class site and where nothing was measured.
        kin: "home", "seen" or "unseen".
        words: what stands under the AUC (its interval), or in its place.
    """

    auc: float | None
    kin: str
    words: str


@dataclass(frozen=True)
class StripRow:
    """One group of cells.

    Attributes:
        name: "home", "seen in training" or "never seen".
        kin: "home", "seen" or "unseen".
        aucs: one AUC per cell.
        mean: their mean, with the ends of its 95 % interval.
    """

    name: str
    kin: str
    aucs: tuple[float, ...]
    mean: tuple[float, float, float] | None


def shade(auc: float) -> tuple[str, float]:
    """Colour and strength 0..1 of an AUC: blue above chance, orange below, none at 0.5."""
    return (BLUE if auc >= 0.5 else ORANGE), min(1.0, abs(auc - 0.5) / 0.5)


def auc_matrix(
    name: str, alt: str, rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[MatrixCell]]
) -> Canvas:
    """The cross-site matrix: trained on (down) × tested at (across)."""
    canvas = Canvas(name, alt, 2 * MARGIN + ROW_NAME + len(columns) * WIDTH, 40 + len(rows) * HEIGHT + 40)
    for column, title in enumerate(columns):
        x = MARGIN + ROW_NAME + (column + 0.5) * WIDTH
        canvas.text(x, 26, shortened(title, 16), size=9.5, bold=True, anchor="center")
    for row, model in enumerate(rows):
        y = 40 + row * HEIGHT
        lines = wrap(model, 30)
        for i, line in enumerate(lines):
            canvas.text(MARGIN, y + HEIGHT / 2 + 4 - 6 * (len(lines) - 1) + 12 * i, line, size=9.5)
        for column, cell in enumerate(cells[row]):
            _cell(canvas, MARGIN + ROW_NAME + column * WIDTH, y, cell)
    legend = "● trained here only    ◐ one of its training sites    ○ never seen in training"
    canvas.text(MARGIN, canvas.height - 14, legend, size=8.5, color=MUTED)
    return canvas


def _cell(canvas: Canvas, x: float, y: float, cell: MatrixCell) -> None:
    middle = x + WIDTH / 2
    canvas.rect(x + 2, y + 2, WIDTH - 4, HEIGHT - 4, fill=TINT)
    canvas.text(x + 8, y + 15, MARKS[cell.kin], size=8, color=MUTED)
    if cell.auc is None:
        for i, line in enumerate(wrap(cell.words, 18)[:2]):
            canvas.text(middle, y + 21 + 11 * i, line, size=7.5, color=MUTED, anchor="center")
        return
    color, strength = shade(cell.auc)
    canvas.rect(x + 2, y + 2, WIDTH - 4, HEIGHT - 4, fill=color, alpha=round(STRONGEST * strength, 3))
    if cell.kin != "unseen":
        edge = {"width": 1.4} if cell.kin == "home" else {"width": 0.9, "dash": (4, 2)}
        canvas.rect(x + 2, y + 2, WIDTH - 4, HEIGHT - 4, edge=INK, **edge)
    canvas.text(middle, y + 22, f"{cell.auc:.2f}", size=12, bold=True, anchor="center")
    canvas.text(middle, y + 36, cell.words, size=8, anchor="center")


def auc_strip(name: str, alt: str, rows: Sequence[StripRow]) -> Canvas:
    """All AUCs on one scale: one ring per cell, the mean of each group with its interval. Narrow enough for a phone."""
    bottom = 26 + len(rows) * STRIP_ROW
    canvas = Canvas(name, alt, 2 * STRIP_LEFT + STRIP_WIDTH, bottom + 34)
    _scale(canvas, 24, bottom)
    for place, row in enumerate(rows):
        _strip_row(canvas, 26 + place * STRIP_ROW, row)
    return canvas


def _scale(canvas: Canvas, top: float, bottom: float) -> None:
    for tick in range(0, 11, 2):
        x = STRIP_LEFT + STRIP_WIDTH * tick / 10
        canvas.line([x, x], [top, bottom], LINE, 0.6)
        canvas.text(x, bottom + 14, f"{tick / 10:.1f}", size=9, color=MUTED, anchor="center")
    x = STRIP_LEFT + STRIP_WIDTH / 2
    canvas.line([x, x], [top, bottom], MUTED, 1, dash=(3, 2))
    canvas.text(x, top - 7, "0.5 = chance", size=9, color=MUTED, anchor="center")
    canvas.text(x, bottom + 28, "AUC", size=9, color=MUTED, anchor="center")


def _strip_row(canvas: Canvas, y: float, row: StripRow) -> None:
    middle = y + 36
    cells = f"{len(row.aucs)} cell" + ("" if len(row.aucs) == 1 else "s")
    canvas.rect(STRIP_LEFT, y + 3, 186, 16, fill=CARD)
    canvas.text(STRIP_LEFT + 1, y + 15, f"{MARKS[row.kin]} {row.name}, {cells}", size=10)
    color = ORANGE if row.kin == "unseen" else BLUE
    if row.mean is not None and not math.isnan(row.mean[0]):
        mean, low, high = (STRIP_LEFT + STRIP_WIDTH * value for value in row.mean)
        canvas.rect(low, middle - 10, high - low, 20, fill=color, alpha=0.2)
        canvas.line([mean, mean], [middle - 13, middle + 13], color, 2.4)
    for i, auc in enumerate(sorted(row.aucs)):
        canvas.ring(STRIP_LEFT + STRIP_WIDTH * auc, middle + (i % 3 - 1) * 6, color)

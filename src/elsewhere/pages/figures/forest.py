"""Named numbers with intervals in; small panels of dots and whiskers on one scale, one row a number, out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from elsewhere.pages.figures.canvas import BLUE, INK, LINE, MUTED, ORANGE, Canvas, shortened, wrap

NAMES, SCALE, NUMBER, ROW, HEAD, FOOT, GAP, MARGIN = 168, 150, 92, 17, 40, 22, 24, 10


@dataclass(frozen=True)
class ForestRow:
    """One number.

    Attributes:
        name: what it is.
        value: the number; None prints `words` alone.
        low: lower end of its interval, None without one.
        high: upper end.
        sure: drawn full and in colour; otherwise hollow and grey.
        words: the number as printed at the right.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    sure: bool
    words: str


@dataclass(frozen=True)
class ForestPanel:
    """Rows under one title."""

    title: str
    rows: tuple[ForestRow, ...]


@dataclass(frozen=True)
class ForestScale:
    """The scale of all panels.

    Attributes:
        first: left end.
        last: right end.
        none: where nothing happens, drawn as a dashed line.
        words: what the scale says.
        digits: of its end marks.
        higher_is_better: decides which side of `none` is blue and which orange.
    """

    first: float
    last: float
    none: float
    words: str
    digits: int = 1
    higher_is_better: bool = True

    def place(self, value: float) -> float:
        """0..1 along the scale, held inside."""
        return min(max((value - self.first) / (self.last - self.first), 0.0), 1.0)


def forest(name: str, alt: str, panels: Sequence[ForestPanel], scale: ForestScale) -> Canvas:
    """Panels side by side, two in a row, each as high as the highest of its row."""
    across = NAMES + SCALE + NUMBER
    columns = max(1, min(2, len(panels)))
    lines = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    heights = [HEAD + ROW * max(len(p.rows) for p in line) + FOOT for line in lines]
    canvas = Canvas(name, alt, 2 * MARGIN + columns * across + (columns - 1) * GAP, sum(heights) + 6)
    y = 0.0
    for line, height in zip(lines, heights, strict=True):
        for column, panel in enumerate(line):
            _panel(canvas, MARGIN + column * (across + GAP), y, panel, scale)
        y += height
    return canvas


def _panel(canvas: Canvas, x: float, y: float, panel: ForestPanel, scale: ForestScale) -> None:
    canvas.text(x, y + 18, shortened(panel.title, 64), size=9.5, bold=True)
    left, top, bottom = x + NAMES, y + HEAD - 10, y + HEAD + ROW * len(panel.rows)
    for value in (scale.first, scale.last):
        at = left + SCALE * scale.place(value)
        canvas.line([at, at], [top, bottom], LINE, 0.6)
        canvas.text(
            at, bottom + 11, f"{value:.{scale.digits}f}".replace("-", "−"), size=8, color=MUTED, anchor="center"
        )
    middle = left + SCALE * scale.place(scale.none)
    canvas.line([middle, middle], [top, bottom], MUTED, 0.9, dash=(3, 2))
    if 0.15 < scale.place(scale.none) < 0.85:
        canvas.text(middle, bottom + 11, scale.words, size=8, color=MUTED, anchor="center")
    else:
        canvas.text(left + SCALE / 2, bottom + 11, scale.words, size=8, color=MUTED, anchor="center")
    for i, row in enumerate(panel.rows):
        _row(canvas, (x, left, y + HEAD + ROW * i + 5), row, scale)


def _row(canvas: Canvas, place: tuple[float, float, float], row: ForestRow, scale: ForestScale) -> None:
    x, left, y = place
    better = ((row.value or 0.0) >= scale.none) == scale.higher_is_better
    color = (BLUE if better else ORANGE) if row.sure else MUTED
    lines = wrap(row.name, 34)
    for i, line in enumerate(lines):
        canvas.text(x, y + 3 + 8 * (i - (len(lines) - 1) / 2), line, size=8.5 if len(lines) == 1 else 7.5)
    canvas.text(left + SCALE + 10, y + 3, row.words, size=8.5, color=INK if row.sure else MUTED)
    if row.value is None or math.isnan(row.value):
        return
    at = left + SCALE * scale.place(row.value)
    if row.low is not None and row.high is not None:
        canvas.line([left + SCALE * scale.place(v) for v in (row.low, row.high)], [y, y], color, 1.4)
    else:
        canvas.line([left + SCALE * scale.place(scale.none), at], [y, y], color, 2.2)
    if row.sure:
        canvas.rect(at - 3.5, y - 3.5, 7, 7, fill=color)
    else:
        canvas.ring(at, y, color)

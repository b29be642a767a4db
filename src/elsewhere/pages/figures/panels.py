"""Rows, columns and a way to draw one panel in; a grid of panels, models down and sites across, out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from elsewhere.pages.figures.canvas import INK, LINE, MUTED, TINT, Canvas, shortened

GAP, MARGIN, LEFT = 34, 12, 38
HEADER = 26  # a row's name over its panels
LINE_HEIGHT = 12.5


@dataclass(frozen=True)
class Frame:
    """Where one panel stands and what its axes reach from and to.

    Attributes:
        x: left edge in points.
        y: upper edge.
        across: width.
        down: height.
        ends: (first x, last x, lowest y, highest y) of the axes.
    """

    x: float
    y: float
    across: float
    down: float
    ends: tuple[float, float, float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Place on the canvas of a value, held inside the frame."""
        first, last, low, high = self.ends
        right = min(max((x - first) / (last - first), 0.0), 1.0)
        up = min(max((y - low) / (high - low), 0.0), 1.0)
        return self.x + right * self.across, self.y + (1 - up) * self.down

    def path(self, xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
        """Places of a curve's points."""
        places = [self.at(x, y) for x, y in zip(xs, ys, strict=True)]
        return [p[0] for p in places], [p[1] for p in places]


@dataclass(frozen=True)
class PanelStyle:
    """What all panels of a grid share.

    Attributes:
        across: width of a panel in points.
        down: its height.
        x_words: what runs across.
        y_words: what runs up.
        lines: lines of words under each panel.
        column_words: what stands before a column's name over its panel ("tested at").
        row_words: what stands before a row's name ("Trained on").
    """

    across: float
    down: float
    x_words: str
    y_words: str
    lines: int
    column_words: str = "tested at "
    row_words: str = "Trained on "


def panel_grid(  # noqa: PLR0917 - a table and how to draw it
    canvas_of: tuple[str, str],
    rows: Sequence[str],
    columns: Sequence[str],
    panels: Sequence[Sequence[Any]],
    style: PanelStyle,
    draw: Callable[[Canvas, tuple[float, float], Any], None],
) -> Canvas:
    """The grid; `draw` gets the canvas, a panel's upper left corner and what the panel shows; None stays empty.

    Args:
        canvas_of: name and alt text.
        rows: names of the rows.
        columns: names of the columns.
        panels: what each panel shows, or a tuple of words that say why it shows nothing.
        style: sizes and words.
        draw: draws one panel.
    """
    pitch = HEADER + 18 + style.down + 22 + LINE_HEIGHT * style.lines
    width = MARGIN + LEFT + len(columns) * (style.across + GAP) - GAP + MARGIN
    canvas = Canvas(*canvas_of, width, len(rows) * pitch + 4)
    for row, name in enumerate(rows):
        y = row * pitch + HEADER + 18
        canvas.text(MARGIN, row * pitch + 18, f"{style.row_words}{name}", size=10.5, bold=True)
        for column, panel in enumerate(panels[row]):
            x = MARGIN + LEFT + column * (style.across + GAP)
            canvas.text(x, y - 6, shortened(f"{style.column_words}{columns[column]}", 30), size=9, color=MUTED)
            if isinstance(panel, tuple):
                _empty(canvas, x, y, panel, style)
            elif panel is not None:
                draw(canvas, (x, y), panel)
        canvas.text(MARGIN + 2, y + style.down / 2, style.y_words, size=8.5, color=MUTED, anchor="center", turned=True)
    return canvas


def _empty(canvas: Canvas, x: float, y: float, words: Sequence[str], style: PanelStyle) -> None:
    canvas.rect(x, y, style.across, style.down, fill=TINT, edge=LINE, dash=(3, 2))
    top = y + style.down / 2 - 7 * (len(words) - 1)
    for i, line in enumerate(words):
        canvas.text(x + style.across / 2, top + 14 * i, line, size=8.5, color=MUTED, anchor="center")


def axes(canvas: Canvas, frame: Frame, x_words: str) -> None:
    """A frame with a few lines, the ends of both axes and what runs across."""
    first, last, low, high = frame.ends
    canvas.rect(frame.x, frame.y, frame.across, frame.down, edge=MUTED)
    for share in (0.25, 0.5, 0.75):
        canvas.line([frame.x + share * frame.across] * 2, [frame.y, frame.y + frame.down], LINE, 0.5)
        canvas.line([frame.x, frame.x + frame.across], [frame.y + share * frame.down] * 2, LINE, 0.5)
    canvas.text(frame.x - 3, frame.y + 8, _end(high), size=8, color=MUTED, anchor="right")
    canvas.text(frame.x - 3, frame.y + frame.down, _end(low), size=8, color=MUTED, anchor="right")
    bottom = frame.y + frame.down + 11
    canvas.text(frame.x, bottom, f"{first:g}", size=8, color=MUTED)
    canvas.text(frame.x + frame.across / 2, bottom, x_words, size=8, color=MUTED, anchor="center")
    canvas.text(frame.x + frame.across, bottom, f"{last:g}", size=8, color=MUTED, anchor="right")


def _end(value: float) -> str:
    """An axis' end with two digits, whole numbers without."""
    return (f"{value:.0f}" if value == round(value) else f"{value:.2f}").replace("-", "−")


def foot(canvas: Canvas, frame: Frame, words: Sequence[str]) -> None:
    """Lines of words under a panel, the first in bold."""
    for i, line in enumerate(words):
        y = frame.y + frame.down + 25 + LINE_HEIGHT * i
        canvas.text(frame.x, y, line, size=9, color=INK if i == 0 else MUTED, bold=i == 0)

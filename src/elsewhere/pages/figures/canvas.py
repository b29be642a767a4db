"""Rectangles, lines, words and small pictures in page points in; the same drawing as SVG, PNG and inline SVG out."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elsewhere.pages.figures.marks import NOT_XML, Area, Line, Mark, Paint, Picture, Rect, Ring, Words
from elsewhere.pages.figures.pen import Pen

INK, MUTED, LINE, CARD = "#1d2733", "#566270", "#c9d1da", "#ffffff"
BLUE, ORANGE, GREEN, TINT = "#2a6cab", "#bf5b04", "#1f8a70", "#eef2f6"
"""Blue and orange stay apart for the colour-blind (after Okabe and Ito 2008); green never stands alone."""

VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    CARD: "--card",
    BLUE: "--blue",
    ORANGE: "--orange",
    GREEN: "--green",
    TINT: "--tint",
}
"""Each colour of a drawing is a variable of the page's style sheet, so that a drawing turns dark with the page."""

BLACK = "#000000"
FONTS = "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', Arial, sans-serif"


class Canvas:
    """A drawing surface of width × height points; x to the right, y downwards, origin at the top left.

    Attributes:
        name: short name, unique on the page; the files' stem.
        alt: what the picture shows, in words, for those who do not see it.
        width: in points.
        height: in points.
    """

    def __init__(self, name: str, alt: str, width: float, height: float) -> None:
        self.name, self.alt, self.width, self.height = name, alt, width, height
        self._marks: list[Mark] = [Rect(0, 0, width, height, CARD)]

    def rect(  # noqa: PLR0917 - a corner and two sides
        self,
        x: float,
        y: float,
        across: float,
        down: float,
        fill: str = "",
        edge: str = "",
        *,
        alpha: float = 1.0,
        width: float = 0.8,
        dash: tuple[float, ...] = (),
    ) -> None:
        """A rectangle; `alpha` of the fill, `width` and `dash` of the edge."""
        self._marks.append(Rect(x, y, across, down, fill, edge, alpha, width, dash))

    def line(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        color: str = INK,
        width: float = 1.0,
        dash: tuple[float, ...] = (),
    ) -> None:
        """A polyline."""
        self._marks.append(Line(xs, ys, color, width, dash))

    def area(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float]) -> None:
        """A band between two curves over the same xs."""
        self._marks.append(Area(xs, low, high, BLUE))

    def ring(self, x: float, y: float, color: str) -> None:
        """A small ring; the card shows through it."""
        self._marks.append(Ring(x, y, color, CARD))

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float = 9,
        color: str = INK,
        *,
        anchor: str = "left",
        bold: bool = False,
        turned: bool = False,
    ) -> None:
        """One line of words on its baseline; `anchor` is left, center or right; `turned` reads upwards."""
        self._marks.append(Words(x, y, words, size, color, anchor, bold, turned))

    def image(self, x: float, y: float, size: float, pixels: NDArray[np.uint8]) -> None:
        """A grey picture [row, column] fitted into a square of `size` points, shape kept, black beside it."""
        rows, columns = pixels.shape
        scale = size / max(rows, columns)
        across, down = columns * scale, rows * scale
        self.rect(x, y, size, size, BLACK)
        self._marks.append(Picture(x + (size - across) / 2, y + (size - down) / 2, across, down, pixels))

    def svg(self) -> str:
        """The drawing as a stand-alone SVG file on a white card."""
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:g}pt" height="{self.height:g}pt"'
        words = f"<title>{_xml(self.name)}</title><desc>{_xml(self.alt)}</desc>"
        return f'{head} {self._view()} font-family="{FONTS}">\n{words}\n{self._body(lambda color: color)}\n</svg>\n'

    def inline_svg(self) -> str:
        """The drawing to stand inside the page: the page's colours and letters, alt text as its label."""
        head = f'<svg role="img" aria-label="{_xml(self.alt)}" style="--w:{self.width:g}px" {self._view()}>'
        return f"{head}\n{self._body(_variable)}\n</svg>"

    def png(self) -> bytes:
        """The drawing as a PNG file on a white card, two pixels a point."""
        pen = Pen(self.width, self.height)
        for mark in self._marks:
            mark.draw(pen)
        return pen.png()

    def _view(self) -> str:
        return f'viewBox="0 0 {self.width:g} {self.height:g}"'

    def _body(self, paint: Paint) -> str:
        return "\n".join(mark.to_svg(paint) for mark in self._marks)


def wrap(words: str, width: int) -> list[str]:
    """Words cut into lines of at most `width` letters, never inside a word unless it is longer than a line."""
    return textwrap.wrap(words, width, break_on_hyphens=False) or [""]


def shortened(words: str, width: int) -> str:
    """What of the words fits into a line of `width` letters; with an ellipsis where that is not all."""
    first, *more = wrap(words, width)
    return f"{first[: width - 1]}…" if more else first


def _variable(color: str) -> str:
    return f"var({VARIABLES[color]})" if color in VARIABLES else color


def _xml(words: str) -> str:
    return html.escape(NOT_XML.sub("", words), quote=True)

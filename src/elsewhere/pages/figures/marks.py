"""One thing drawn (a rectangle, a line, words, a picture); it writes itself as SVG and draws itself for the PNG."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from matplotlib.path import Path
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from elsewhere.pages.figures.pen import Pen, WordStyle
from elsewhere.pages.figures.png import encode

Paint = Callable[[str], str]
"""Colour as the drawing has it -> colour as the SVG shall have it (itself, or a variable of the page)."""

BAND = 0.22
ANCHORS = {"left": "start", "center": "middle", "right": "end"}
NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


class Mark(Protocol):
    """Anything that a canvas holds."""

    def to_svg(self, paint: Paint) -> str:
        """The mark as one SVG element."""

    def draw(self, pen: Pen) -> None:
        """The mark on the sheet of a PNG."""


@dataclass(frozen=True)
class Rect:
    """A rectangle with its corner at the top left; `dash` and `width` belong to the edge, `alpha` to the fill."""

    x: float
    y: float
    across: float
    down: float
    fill: str = ""
    edge: str = ""
    alpha: float = 1.0
    width: float = 0.8
    dash: tuple[float, ...] = ()

    def to_svg(self, paint: Paint) -> str:
        """As <rect>."""
        fill = f'fill="{paint(self.fill)}"' if self.fill else 'fill="none"'
        fill += f' fill-opacity="{_n(self.alpha)}"' if self.alpha < 1 else ""
        box = f'x="{_n(self.x)}" y="{_n(self.y)}" width="{_n(self.across)}" height="{_n(self.down)}"'
        return f"<rect {box} {fill}{_stroke(self.edge, self.width, self.dash, paint)}/>"

    def draw(self, pen: Pen) -> None:
        """As a closed path."""
        right, bottom = self.x + self.across, self.y + self.down
        corners = [(self.x, self.y), (right, self.y), (right, bottom), (self.x, bottom), (self.x, self.y)]
        path = Path(corners, closed=True)
        pen.shape(path, self.fill, self.edge, alpha=self.alpha, width=self.width, dash=self.dash)


@dataclass(frozen=True)
class Line:
    """A polyline."""

    xs: Sequence[float]
    ys: Sequence[float]
    color: str
    width: float = 1.0
    dash: tuple[float, ...] = ()

    def to_svg(self, paint: Paint) -> str:
        """As <path>."""
        stroke = _stroke(self.color, self.width, self.dash, paint)
        return f'<path d="{_path(self.xs, self.ys)}" fill="none"{stroke}/>'

    def draw(self, pen: Pen) -> None:
        """As an open path."""
        path = Path(np.column_stack([self.xs, self.ys]))
        pen.shape(path, edge=self.color, width=self.width, dash=self.dash)


@dataclass(frozen=True)
class Area:
    """A pale band between two curves over the same xs."""

    xs: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    color: str

    def to_svg(self, paint: Paint) -> str:
        """As a closed <path>."""
        path = _path([*self.xs, *reversed(self.xs)], [*self.low, *reversed(self.high)])
        return f'<path d="{path}z" fill="{paint(self.color)}" fill-opacity="{BAND}"/>'

    def draw(self, pen: Pen) -> None:
        """As a closed path."""
        points = [*zip(self.xs, self.low, strict=True), *reversed([*zip(self.xs, self.high, strict=True)])]
        pen.shape(Path([*points, points[0]], closed=True), self.color, alpha=BAND)


@dataclass(frozen=True)
class Ring:
    """A round mark of a given diameter."""

    x: float
    y: float
    color: str
    fill: str
    size: float = 5.0

    def to_svg(self, paint: Paint) -> str:
        """As <circle>."""
        place = f'cx="{_n(self.x)}" cy="{_n(self.y)}" r="{_n(self.size / 2)}"'
        return f'<circle {place} fill="{paint(self.fill)}"{_stroke(self.color, 1.1, (), paint)}/>'

    def draw(self, pen: Pen) -> None:
        """As a circle."""
        circle = Path.unit_circle().transformed(Affine2D().scale(self.size / 2).translate(self.x, self.y))
        pen.shape(circle, self.fill, self.color, width=1.1)


@dataclass(frozen=True)
class Words:
    """One line of words on its baseline; `anchor` is left, center or right; `turned` reads upwards."""

    x: float
    y: float
    words: str
    size: float
    color: str
    anchor: str = "left"
    bold: bool = False
    turned: bool = False

    def to_svg(self, paint: Paint) -> str:
        """As <text>."""
        style = f' text-anchor="{ANCHORS[self.anchor]}"' if self.anchor != "left" else ""
        style += ' font-weight="600"' if self.bold else ""
        style += f' transform="rotate(-90 {_n(self.x)} {_n(self.y)})"' if self.turned else ""
        place = f'x="{_n(self.x)}" y="{_n(self.y)}" font-size="{_n(self.size)}" fill="{paint(self.color)}"'
        return f"<text {place}{style}>{html.escape(NOT_XML.sub('', self.words))}</text>"

    def draw(self, pen: Pen) -> None:
        """As text, never as mathematics."""
        style = WordStyle(self.anchor, self.bold, self.turned)
        pen.words((self.x, self.y), self.words, self.size, self.color, style)


@dataclass(frozen=True)
class Picture:
    """A grey picture uint8 [row, column], its corner at the top left."""

    x: float
    y: float
    across: float
    down: float
    pixels: NDArray[np.uint8]

    def to_svg(self, paint: Paint) -> str:  # noqa: ARG002 - a picture keeps its greys
        """As <image> with its PNG inside."""
        code = base64.b64encode(encode(self.pixels)).decode()
        box = f'x="{_n(self.x)}" y="{_n(self.y)}" width="{_n(self.across)}" height="{_n(self.down)}"'
        return f'<image {box} preserveAspectRatio="none" href="data:image/png;base64,{code}"/>'

    def draw(self, pen: Pen) -> None:
        """As an image."""
        pen.picture((self.x, self.y), self.across, self.down, self.pixels)


def _stroke(color: str, width: float, dash: tuple[float, ...], paint: Paint) -> str:
    if not color:
        return ""
    dashes = f' stroke-dasharray="{" ".join(map(_n, dash))}"' if dash else ""
    return f' stroke="{paint(color)}" stroke-width="{_n(width)}"{dashes}'


def _path(xs: Sequence[float], ys: Sequence[float]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in zip(xs, ys, strict=True))


def _n(value: float) -> str:
    """A coordinate with at most two digits, the shortest way."""
    return f"{value:.2f}".rstrip("0").rstrip(".")

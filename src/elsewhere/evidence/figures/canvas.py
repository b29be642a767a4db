"""Rectangles, lines, words and small pictures in page points in; the same drawing as SVG, PNG and inline SVG out."""

from __future__ import annotations

import html
import io
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

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

POINTS_PER_INCH = 72
PIXELS_PER_POINT = 2
SVG_STYLE = {
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "path.simplify": False,
    "image.composite_image": False,
    "hatch.linewidth": 0.6,
}


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
        self._figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), facecolor=CARD)
        self._axes: Any = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(0, width), ylim=(height, 0))
        self._axes.axis("off")

    def rect(
        self, x: float, y: float, width: float, height: float, *, fill: str = "none", edge: str = "none", **style: Any
    ) -> None:
        """A rectangle; style: alpha of the fill, line width, dash, hatch."""
        style = {"linewidth": 0.8} | style
        self._axes.add_artist(Rectangle((x, y), width, height, facecolor=fill, edgecolor=edge, clip_on=False, **style))

    def line(
        self, xs: Sequence[float], ys: Sequence[float], color: str = INK, width: float = 1.0, **style: Any
    ) -> None:
        """A polyline."""
        self._axes.plot(xs, ys, color=color, linewidth=width, solid_capstyle="round", clip_on=False, **style)

    def area(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float], color: str = BLUE) -> None:
        """A band between two curves over the same xs."""
        self._axes.fill_between(xs, low, high, color=color, alpha=0.22, linewidth=0, clip_on=False)

    def dot(self, x: float, y: float, color: str, size: float = 5.0, hollow: bool = False) -> None:
        """A round mark of the given diameter; hollow ones show the card through."""
        style = {
            "markerfacecolor": CARD if hollow else color,
            "markeredgecolor": color,
            "markeredgewidth": 1.1,
            "clip_on": False,
        }
        self._axes.plot([x], [y], "o", markersize=size, **style)

    def text(self, x: float, y: float, words: str, size: float = 9, color: str = INK, **style: Any) -> None:
        """Words with their anchor at (x, y): `ha` left, center or right; `va` baseline, center, top."""
        style = {"ha": "left", "va": "baseline"} | style
        self._axes.text(x, y, words, fontsize=size, color=color, parse_math=False, **style)

    def image(self, x: float, y: float, size: float, pixels: NDArray[np.uint8]) -> None:
        """A grey picture [row, column] fitted into a square of `size` points, shape kept, black beside it."""
        rows, columns = pixels.shape
        scale = size / max(rows, columns)
        width, height = columns * scale, rows * scale
        left, top = x + (size - width) / 2, y + (size - height) / 2
        self._axes.add_artist(Rectangle((x, y), size, size, facecolor="#000000", edgecolor="none", clip_on=False))
        extent = (left, left + width, top + height, top)
        rgb = np.repeat(pixels[..., None], 3, axis=2)
        self._axes.imshow(rgb, extent=extent, interpolation="none", aspect="auto", origin="upper", zorder=2)
        self._axes.set(xlim=(0, self.width), ylim=(self.height, 0))

    def svg(self) -> str:
        """The drawing as a stand-alone SVG file; the same drawing gives the same text."""
        out = io.StringIO()
        metadata = {"Date": None, "Creator": "elsewhere", "Title": self.name, "Description": self.alt}
        with matplotlib.rc_context(SVG_STYLE | {"svg.hashsalt": self.name}):
            FigureCanvasSVG(self._figure).print_svg(out, metadata=metadata)
        return out.getvalue()

    def png(self) -> bytes:
        """The drawing as a PNG file, two pixels a point."""
        out = io.BytesIO()
        self._figure.set_dpi(POINTS_PER_INCH * PIXELS_PER_POINT)
        with matplotlib.rc_context(SVG_STYLE):
            FigureCanvasAgg(self._figure).print_png(out, metadata={"Software": "elsewhere"})
        return out.getvalue()


def inline_svg(svg: str, name: str, alt: str) -> str:
    """A stand-alone SVG made ready to stand inside the page: no prologue, own ids, the page's colours, alt text."""
    body = svg[svg.index("<svg") :]
    for clutter in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r"<title>.*?</title>", r"<!--.*?-->"):
        body = re.sub(clutter, "", body, flags=re.DOTALL)
    body = re.sub(r"<[^>]+>", lambda found: _inline_tag(found[0], name), body)
    head = f'<svg role="img" aria-label="{html.escape(alt, quote=True)}" style="--w:{_width(svg)}"'
    body = head + re.sub(r' (?:width|height)="[0-9.]+pt"', "", body[len("<svg") :], count=2)
    return re.sub(r"\s*\n\s*", "\n", body)


def _inline_tag(tag: str, name: str) -> str:
    """One tag without what the page has no use for; the words between tags are never touched."""
    tag = re.sub(r'^<g id="[A-Za-z0-9]+_\d+">', "<g>", tag)
    tag = re.sub(r'( id="|url\(#|href="#)', lambda found: f"{found[1]}{name}-", tag)
    tag = re.sub(r"(\d+\.\d\d)\d+", r"\1", tag)
    tag = re.sub(r" font-family: [^;\"]+;| transform=\"rotate\(-0 [^\"]+\"", "", tag)
    for color, variable in VARIABLES.items():
        tag = tag.replace(color, f"var({variable})")
    return tag


def wrap(words: str, width: int) -> list[str]:
    """Words cut into lines of at most `width` letters, never inside a word unless it is longer than a line."""
    return textwrap.wrap(words, width, break_on_hyphens=False) or [""]


def _width(svg: str) -> str:
    found = re.search(r'<svg[^>]* width="([0-9.]+)pt"', svg)
    return f"{float(found[1]):g}px" if found else "100%"

"""Shapes and words in page points in; pixels of a PNG out. The one file that draws with matplotlib's renderer.

The renderer is called directly: a sheet of 42 confusion matrices takes a quarter of the time that figures, axes and
artists need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from elsewhere.pages.figures.png import encode

POINTS_PER_INCH = 72
PIXELS_PER_POINT = 2
MARGIN = 4  # pixels around a line of words, for letters that lean out
COMPRESSION = 5

Points = NDArray[np.float64]


@dataclass(frozen=True)
class WordStyle:
    """How a line of words stands: `anchor` is left, center or right; `turned` reads upwards."""

    anchor: str = "left"
    bold: bool = False
    turned: bool = False


class Pen:
    """Draws on a white sheet of width × height points; x to the right, y downwards."""

    def __init__(self, width: float, height: float) -> None:
        self._scale, self._height = PIXELS_PER_POINT, round(height * PIXELS_PER_POINT)
        self._sheet = RendererAgg(round(width * self._scale), self._height, POINTS_PER_INCH * self._scale)
        self._to_pixels = Affine2D().scale(self._scale, -self._scale).translate(0, self._height)

    def shape(
        self,
        path: Path,
        fill: str = "",
        edge: str = "",
        *,
        alpha: float = 1.0,
        width: float = 0.8,
        dash: Sequence[float] = (),
    ) -> None:
        """A path in points, filled (with `alpha`), outlined, or both."""
        if fill:
            bare = self._sheet.new_gc()
            bare.set_linewidth(0)
            self._sheet.draw_path(bare, path, self._to_pixels, (*to_rgba(fill)[:3], alpha))
        if edge:
            line = self._sheet.new_gc()
            line.set_foreground(edge)
            line.set_linewidth(width * self._scale)
            if dash:
                line.set_dashes(0, [length * width * self._scale for length in dash])
            self._sheet.draw_path(line, path, self._to_pixels, None)

    def words(self, place: tuple[float, float], words: str, size: float, color: str, style: WordStyle) -> None:
        """One line on its baseline."""
        ink = _ink(words, size, style.bold)
        across = {"left": 0.0, "center": 0.5, "right": 1.0}[style.anchor] * ink.width
        x, y = (v * self._scale for v in place)
        if style.turned:
            self._stain(np.rot90(ink.cover), color, x - ink.baseline, y + across + MARGIN - ink.cover.shape[1])
        else:
            self._stain(ink.cover, color, x - across - MARGIN, y - ink.baseline)

    def _stain(self, cover: Points, color: str, left: float, top: float) -> None:
        """Blend a colour into the sheet where `cover` [row, column] of 0..1 says so."""
        sheet = np.asarray(self._sheet.buffer_rgba())
        row, column = round(top), round(left)
        above, before = max(-row, 0), max(-column, 0)
        cover = cover[above : max(0, sheet.shape[0] - row), before : max(0, sheet.shape[1] - column), None]
        if cover.size:
            part = sheet[row + above :, column + before :, :3][: cover.shape[0], : cover.shape[1]]
            part += np.asarray(cover * (np.multiply(to_rgba(color)[:3], 255) - part), dtype=np.int16).astype(np.uint8)

    def picture(self, corner: tuple[float, float], across: float, down: float, pixels: NDArray[np.uint8]) -> None:
        """A grey picture [row, column], its corner at the top left; each pixel repeated or the nearest taken."""
        rows, columns = round(down * self._scale), round(across * self._scale)
        taken = pixels[np.arange(rows) * pixels.shape[0] // rows][:, np.arange(columns) * pixels.shape[1] // columns]
        color = np.dstack([taken] * 3 + [np.full_like(taken, 255)])
        x, y = corner[0] * self._scale, self._height - corner[1] * self._scale - rows
        self._sheet.draw_image(self._sheet.new_gc(), x, y, np.ascontiguousarray(color[::-1]))

    def png(self) -> bytes:
        """What was drawn, as a PNG file."""
        return encode(np.asarray(self._sheet.buffer_rgba())[..., :3], COMPRESSION)


@dataclass(frozen=True)
class Ink:
    """A line of words as it covers pixels.

    Attributes:
        cover: [row, column] 0..1, with a margin all round.
        baseline: the row of its baseline.
        width: of the words in pixels, without the margin.
    """

    cover: Points
    baseline: int
    width: float


@lru_cache(maxsize=8192)
def _ink(words: str, size: float, bold: bool) -> Ink:
    """Drawn once for all the places where the same words stand."""
    font, dpi = FontProperties(size=size, weight="bold" if bold else "normal"), POINTS_PER_INCH * PIXELS_PER_POINT
    gauge = RendererAgg(1, 1, dpi)
    width, height, descent = gauge.get_text_width_height_descent(words, font, False)
    baseline = ceil(height - descent) + MARGIN
    sheet = RendererAgg(ceil(width) + 2 * MARGIN, baseline + ceil(descent) + MARGIN, dpi)
    sheet.draw_text(sheet.new_gc(), MARGIN, baseline, words, font, 0)
    return Ink(np.asarray(sheet.buffer_rgba())[..., 3] / 255, baseline, float(width))

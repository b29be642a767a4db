"""Windowed slices of each site in; the picture sheet of the paper's Figure 1 out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elsewhere.pages.figures.canvas import LINE, MUTED, TINT, Canvas, shortened, wrap

SIZE, GAP, MARGIN, HEADER, ROW_NAME = 168, 12, 14, 36, 64

Picture = tuple[NDArray[np.uint8], str]
"""A slice uint8 [row, column] and its caption."""


def slice_sheet(
    name: str, alt: str, columns: Sequence[str], rows: Sequence[str], pictures: Sequence[Sequence[Picture | str]]
) -> Canvas:
    """Pictures in rows (class) and columns (site); a string stands where a site has no such picture, and says why.

    Raises:
        ValueError: a picture is not uint8 [row, column].
    """
    width = MARGIN + ROW_NAME + len(columns) * (SIZE + GAP) + MARGIN - GAP
    row_height = SIZE + 34
    canvas = Canvas(name, alt, width, HEADER + len(rows) * row_height)
    for column, title in enumerate(columns):
        x = MARGIN + ROW_NAME + column * (SIZE + GAP)
        canvas.text(x, 24, shortened(title, 24), size=10, bold=True)
    for row, title in enumerate(rows):
        y = HEADER + row * row_height
        for i, line in enumerate(wrap(title, 10)):
            canvas.text(MARGIN, y + 14 + 12 * i, line, size=10, bold=True)
        for column, picture in enumerate(pictures[row]):
            _picture(canvas, MARGIN + ROW_NAME + column * (SIZE + GAP), y, picture)
    return canvas


def _picture(canvas: Canvas, x: float, y: float, picture: Picture | str) -> None:
    if isinstance(picture, str):
        canvas.rect(x, y, SIZE, SIZE, fill=TINT, edge=LINE, dash=(3, 2))
        canvas.text(x + SIZE / 2, y + SIZE / 2, picture, size=8.5, color=MUTED, anchor="center")
        return
    pixels, caption = picture
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise ValueError(f"an example slice is {pixels.dtype} with shape {pixels.shape}; expected uint8 [row, column]")
    canvas.image(x, y, SIZE, pixels)
    for i, line in enumerate(wrap(caption, 34)[:2]):
        canvas.text(x, y + SIZE + 12 + 11 * i, line, size=8.5, color=MUTED)

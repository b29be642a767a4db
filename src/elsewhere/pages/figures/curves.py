"""Loss and validation accuracy over the iterations in; one pair of small panels per model out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elsewhere.pages.figures.canvas import BLUE, GREEN, LINE, MUTED, ORANGE, Canvas, shortened

WIDTH, HEIGHT, GAP, MARGIN, TITLE, WORDS = 250, 62, 40, 34, 46, 20
COLUMNS = 3
FEW = 12  # points that are marked one by one, so that a single one can be seen
KINDS = {"training loss": ORANGE, "validation accuracy": BLUE}

Series = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Iterations and values, both rising in iteration; empty when not logged."""


@dataclass(frozen=True)
class TrainingPanel:
    """How one model's training went.

    Attributes:
        model: its name.
        loss: training loss.
        accuracy: accuracy on the validation scans.
        best: the iteration whose weights were kept, None when not known.
    """

    model: str
    loss: Series
    accuracy: Series
    best: int | None = None


def training_sheet(name: str, alt: str, panels: Sequence[TrainingPanel]) -> Canvas:
    """Small multiples, three across: loss above, validation accuracy below, the kept iteration marked."""
    columns = min(COLUMNS, max(1, len(panels)))
    rows = -(-len(panels) // columns)
    block = TITLE + 2 * HEIGHT + WORDS + 26
    canvas = Canvas(name, alt, MARGIN + columns * (WIDTH + GAP), rows * block + 6)
    for index, panel in enumerate(panels):
        x, y = MARGIN + index % columns * (WIDTH + GAP), index // columns * block
        canvas.text(x, y + 22, shortened(panel.model, 44), size=9.5, bold=True)
        last = max((series[0].max() for series in (panel.loss, panel.accuracy) if series[0].size), default=1.0)
        top = max(1.0, float(np.nanmax(panel.loss[1], initial=0.0)))
        _curve(canvas, (x, y + TITLE), panel.loss, (last, top), "training loss")
        _curve(canvas, (x, y + TITLE + HEIGHT + WORDS), panel.accuracy, (last, 1.0), "validation accuracy")
        _kept(canvas, x, y + TITLE, panel.best, last)
    return canvas


def _curve(canvas: Canvas, corner: tuple[float, float], series: Series, ends: tuple[float, float], kind: str) -> None:
    """One series in its frame; `ends` are the last iteration and the largest value."""
    (x, y), (last, top) = corner, ends
    canvas.rect(x, y, WIDTH, HEIGHT, edge=LINE)
    canvas.text(x - 4, y + 8, f"{top:.1f}", size=8.5, color=MUTED, anchor="right")
    canvas.text(x - 4, y + HEIGHT, "0", size=8.5, color=MUTED, anchor="right")
    iterations, values = series
    missing = not iterations.size
    words = kind + (": not logged" if missing else "")
    canvas.text(x, y - 5, words, size=8.5, color=KINDS[kind])
    if missing:
        return
    xs, ys = (x + WIDTH * iterations / last).tolist(), (y + HEIGHT * (1 - values / top)).tolist()
    canvas.line(xs, ys, KINDS[kind], 1.3)
    if len(xs) <= FEW:
        for at, value in zip(xs, ys, strict=True):
            canvas.ring(at, value, KINDS[kind])


def _kept(canvas: Canvas, x: float, y: float, best: int | None, last: float) -> None:
    bottom = y + 2 * HEIGHT + WORDS
    canvas.text(x, bottom + 13, "0", size=8.5, color=MUTED)
    canvas.text(x + WIDTH, bottom + 13, f"{last:,.0f} iterations", size=8.5, color=MUTED, anchor="right")
    if best is None or best > last:
        return
    at = x + WIDTH * best / last
    canvas.line([at, at], [y, bottom], GREEN, 1, dash=(2, 2))
    canvas.text(
        min(max(at, x + 40), x + WIDTH - 110), bottom + 13, f"kept: {best:,}", size=8.5, color=GREEN, anchor="center"
    )

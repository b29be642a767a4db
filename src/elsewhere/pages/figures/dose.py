"""AUC against the dose of a simulated shift in; small multiples, models down and shifts across, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elsewhere.pages.figures.canvas import BLUE, GREEN, LINE, MUTED, Canvas
from elsewhere.pages.figures.panels import Frame, PanelStyle, foot, panel_grid

ACROSS, DOWN = 118, 84

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DosePanel:
    """One model under one shift.

    Attributes:
        doses: names of the doses in rising order, the scans as they are among them.
        auc: at each dose (doses,).
        low: lower end of its interval.
        high: upper end.
        plain: place of the scans as they are, -1 where they are not there.
        words: lines under the panel.
    """

    doses: tuple[str, ...]
    auc: Floats
    low: Floats
    high: Floats
    plain: int
    words: tuple[str, ...]


def dose_grid(
    name: str,
    alt: str,
    rows: Sequence[str],
    columns: Sequence[str],
    panels: Sequence[Sequence[DosePanel | tuple[str, ...]]],
    *,
    row_words: str = "Trained on ",
) -> Canvas:
    """AUC with its interval at each dose, doses at equal steps; the green mark is the scans as they are."""
    style = PanelStyle(ACROSS, DOWN, "dose", "AUC", lines=1, column_words="", row_words=row_words)
    return panel_grid((name, alt), rows, columns, panels, style, _panel)


def _panel(canvas: Canvas, corner: tuple[float, float], panel: DosePanel) -> None:
    steps = max(len(panel.doses) - 1, 1)
    frame = Frame(*corner, ACROSS, DOWN, (-0.3, steps + 0.3, 0.0, 1.0))
    canvas.rect(frame.x, frame.y, frame.across, frame.down, edge=MUTED)
    for value in (0.25, 0.75):
        canvas.line(*frame.path([-0.3, steps + 0.3], [value, value]), LINE, 0.5)
    canvas.line(*frame.path([-0.3, steps + 0.3], [0.5, 0.5]), MUTED, 0.8, dash=(3, 2))
    for words, y in (("1", frame.y + 8), ("0", frame.y + frame.down)):
        canvas.text(frame.x - 3, y, words, size=8, color=MUTED, anchor="right")
    xs = list(range(len(panel.doses)))
    ends = [frame.path(xs, side.tolist())[1] for side in (panel.low, panel.high)]
    places = frame.path(xs, panel.auc.tolist())
    canvas.area(places[0], ends[0], ends[1])
    canvas.line(*places, BLUE, 1.5)
    for i, (x, y) in enumerate(zip(*places, strict=True)):
        canvas.ring(x, y, GREEN if i == panel.plain else BLUE)
        if len(xs) <= 6 or i in {0, len(xs) - 1}:
            canvas.text(x, frame.y + frame.down + 11, panel.doses[i], size=7.5, color=MUTED, anchor="center")
    foot(canvas, frame, panel.words)

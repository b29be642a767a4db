"""ROC curves with dropout bands per model and site in; the grid of the paper's Figures 5 and 6 out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elsewhere.evidence.figures.canvas import BLUE, INK, LINE, MUTED, TINT, Canvas, wrap

PANEL, GAP, MARGIN, HEADER, ROW_NAME = 148, 28, 14, 34, 118


@dataclass(frozen=True)
class RocPanel:
    """One ROC curve, or why there is none.

    Attributes:
        fpr: false-positive rates, rising; empty where there is no curve.
        tpr: true-positive rates at `fpr`.
        band_fpr: false-positive rates of the dropout band; empty without dropout passes.
        band_low: lower edge of the band (mean − 1 SD).
        band_high: upper edge of the band (mean + 1 SD).
        words: lines that stand in the panel (AUC ± SD, interval), or the reason why there is no curve.
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    band_fpr: NDArray[np.float64]
    band_low: NDArray[np.float64]
    band_high: NDArray[np.float64]
    words: tuple[str, ...]


def closed_curve(fpr: ArrayLike, tpr: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points of a ROC curve sorted from (0, 0) to (1, 1), both ends added."""
    points = np.column_stack([np.asarray(fpr, dtype=float), np.asarray(tpr, dtype=float)])
    points = np.vstack([[0.0, 0.0], points, [1.0, 1.0]])
    points = np.unique(points.round(6), axis=0)
    return points[:, 0], points[:, 1]


def roc_grid(
    name: str, alt: str, rows: Sequence[str], columns: Sequence[str], panels: Sequence[Sequence[RocPanel]]
) -> Canvas:
    """The grid of ROC curves: models × sites, each with its diagonal (guessing) and its dropout band."""
    width = MARGIN + ROW_NAME + len(columns) * (PANEL + GAP)
    height = HEADER + len(rows) * (PANEL + GAP) + 14
    canvas = Canvas(name, alt, width, height)
    for column, title in enumerate(columns):
        x = MARGIN + ROW_NAME + column * (PANEL + GAP)
        canvas.text(x + PANEL / 2, 22, wrap(title, 24)[0], size=10, weight="bold", ha="center")
    for row, model in enumerate(rows):
        y = HEADER + row * (PANEL + GAP)
        for i, line in enumerate(wrap(model, 16)):
            canvas.text(MARGIN, y + 20 + 13 * i, line, size=9.5, weight="bold")
        for column, panel in enumerate(panels[row]):
            _panel(canvas, MARGIN + ROW_NAME + column * (PANEL + GAP), y, panel)
            if column == 0:
                _axis_words(canvas, MARGIN + ROW_NAME, y, row == len(rows) - 1)
    return canvas


def _panel(canvas: Canvas, x: float, y: float, panel: RocPanel) -> None:
    if not len(panel.fpr):
        canvas.rect(x, y, PANEL, PANEL, fill=TINT, edge=LINE, linestyle=(0, (3, 2)))
        top = y + PANEL / 2 - 7 * (len(panel.words) - 1)
        for i, line in enumerate(panel.words):
            canvas.text(x + PANEL / 2, top + 14 * i, line, size=8.5, color=MUTED, ha="center")
        return
    canvas.rect(x, y, PANEL, PANEL, edge=MUTED)
    for share in (0.25, 0.5, 0.75):
        canvas.line([x + share * PANEL] * 2, [y, y + PANEL], LINE, 0.5)
        canvas.line([x, x + PANEL], [y + share * PANEL] * 2, LINE, 0.5)
    canvas.line([x, x + PANEL], [y + PANEL, y], MUTED, 0.8, dashes=(3, 2))
    if len(panel.band_fpr):
        low, high = y + PANEL * (1 - panel.band_low), y + PANEL * (1 - panel.band_high)
        canvas.area((x + PANEL * panel.band_fpr).tolist(), low.tolist(), high.tolist())
    canvas.line((x + PANEL * panel.fpr).tolist(), (y + PANEL * (1 - panel.tpr)).tolist(), BLUE, 1.6)
    for i, line in enumerate(reversed(panel.words)):
        first = i == len(panel.words) - 1
        style = {"weight": "bold"} if first else {}
        canvas.text(x + PANEL - 6, y + PANEL - 7 - 12 * i, line, size=9, color=INK, ha="right", **style)


def _axis_words(canvas: Canvas, x: float, y: float, last: bool) -> None:
    canvas.text(x - 4, y + 8, "1", size=8.5, color=MUTED, ha="right")
    canvas.text(x - 4, y + PANEL, "0", size=8.5, color=MUTED, ha="right")
    canvas.text(x - 12, y + PANEL / 2, "sensitivity", size=8.5, color=MUTED, ha="center", va="center", rotation=90)
    if last:
        canvas.text(x + PANEL / 2, y + PANEL + 14, "1 − specificity", size=8.5, color=MUTED, ha="center")

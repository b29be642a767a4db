"""ROC curves with dropout bands per model and site in; the grid of the paper's Figures 5 and 6 out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elsewhere.pages.figures.canvas import BLUE, INK, LINE, MUTED, TINT, Canvas, shortened

PANEL, GAP, MARGIN, LEFT = 168, 26, 12, 22
HEADER = 26  # a model's name over its row
LINE_HEIGHT, PITCH = 12.5, HEADER + PANEL + 74  # the site above each panel, three lines of words under it


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
    name: str,
    alt: str,
    rows: Sequence[str],
    columns: Sequence[str],
    panels: Sequence[Sequence[RocPanel]],
    *,
    words: tuple[str, str] = ("Trained on ", "tested at "),
) -> Canvas:
    """The grid of ROC curves: models × sites, each with its diagonal (chance) and its dropout band."""
    width = MARGIN + LEFT + len(columns) * (PANEL + GAP) - GAP + MARGIN
    canvas = Canvas(name, alt, width, len(rows) * PITCH)
    for row, model in enumerate(rows):
        y = row * PITCH + HEADER + 18
        canvas.text(MARGIN, row * PITCH + 18, f"{words[0]}{model}", size=10.5, bold=True)
        for column, panel in enumerate(panels[row]):
            x = MARGIN + LEFT + column * (PANEL + GAP)
            canvas.text(x, y - 6, f"{words[1]}{shortened(columns[column], 24)}", size=9, color=MUTED)
            _panel(canvas, x, y, panel)
        _axis_words(canvas, MARGIN + LEFT, y)
    return canvas


def _panel(canvas: Canvas, x: float, y: float, panel: RocPanel) -> None:
    if not len(panel.fpr):
        canvas.rect(x, y, PANEL, PANEL, fill=TINT, edge=LINE, dash=(3, 2))
        top = y + PANEL / 2 - 7 * (len(panel.words) - 1)
        for i, line in enumerate(panel.words):
            canvas.text(x + PANEL / 2, top + 14 * i, line, size=8.5, color=MUTED, anchor="center")
        return
    canvas.rect(x, y, PANEL, PANEL, edge=MUTED)
    for share in (0.25, 0.5, 0.75):
        canvas.line([x + share * PANEL] * 2, [y, y + PANEL], LINE, 0.5)
        canvas.line([x, x + PANEL], [y + share * PANEL] * 2, LINE, 0.5)
    canvas.line([x, x + PANEL], [y + PANEL, y], MUTED, 0.8, dash=(3, 2))
    if len(panel.band_fpr):
        low, high = y + PANEL * (1 - panel.band_low), y + PANEL * (1 - panel.band_high)
        canvas.area((x + PANEL * panel.band_fpr).tolist(), low.tolist(), high.tolist())
    canvas.line((x + PANEL * panel.fpr).tolist(), (y + PANEL * (1 - panel.tpr)).tolist(), BLUE, 1.6)
    for i, line in enumerate(panel.words):
        canvas.text(x, y + PANEL + 14 + LINE_HEIGHT * i, line, size=9, color=INK if i == 0 else MUTED, bold=i == 0)


def _axis_words(canvas: Canvas, x: float, y: float) -> None:
    canvas.text(x - 4, y + 8, "1", size=8.5, color=MUTED, anchor="right")
    canvas.text(x - 4, y + PANEL, "0", size=8.5, color=MUTED, anchor="right")
    canvas.text(x - 12, y + PANEL / 2, "sensitivity", size=8.5, color=MUTED, anchor="center", turned=True)
    canvas.text(x + PANEL - 4, y + PANEL - 5, "1 − specificity", size=8.5, color=MUTED, anchor="right")

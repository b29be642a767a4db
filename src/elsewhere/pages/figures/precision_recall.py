"""Precision against recall per model and site in; the grid of the curves, each with the line of its prevalence, out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elsewhere.pages.figures.canvas import BLUE, MUTED, Canvas
from elsewhere.pages.figures.panels import Frame, PanelStyle, axes, foot, panel_grid
from elsewhere.statistics.precision_recall import PrecisionRecall

PANEL = 150


def precision_grid(
    name: str,
    alt: str,
    rows: Sequence[str],
    columns: Sequence[str],
    panels: Sequence[Sequence[PrecisionRecall | tuple[str, ...]]],
) -> Canvas:
    """The grid; the dashed line is the prevalence, the precision of scores that tell nothing."""
    style = PanelStyle(PANEL, PANEL, "recall (sensitivity)", "precision (PPV)", lines=2)
    return panel_grid((name, alt), rows, columns, panels, style, _curve)


def _curve(canvas: Canvas, corner: tuple[float, float], curve: PrecisionRecall) -> None:
    frame = Frame(*corner, PANEL, PANEL, (0, 1, 0, 1))
    axes(canvas, frame, "recall (sensitivity)")
    canvas.line(*frame.path([0, 1], [curve.prevalence] * 2), MUTED, 0.8, dash=(3, 2))
    steps = np.diff(curve.recall, prepend=0.0) > 0
    ends, heights = curve.recall[steps], curve.precision[steps]
    starts = np.concatenate([[0.0], ends[:-1]])
    xs, ys = np.stack([starts, ends], axis=1).ravel(), np.repeat(heights, 2)
    canvas.line(*frame.path(xs.tolist(), ys.tolist()), BLUE, 1.4)
    foot(canvas, frame, (f"average precision {curve.average:.2f}", f"prevalence {curve.prevalence:.2f}"))

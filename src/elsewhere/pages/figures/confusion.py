"""Counts of right and wrong calls per model and site in; the grid of the paper's Figures 3 and 4 out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elsewhere.pages.figures.canvas import BLUE, CARD, INK, LINE, MUTED, ORANGE, TINT, Canvas, wrap

CELL_WIDTH, CELL_HEIGHT = 49, 38
GAP, MARGIN, LEFT = 24, 12, 14
HEADER = 66  # a model's name and the columns' names over its row
FOOT = 24
STRONGEST = 0.62  # alpha of a full cell; the words on it stay readable in light and dark


@dataclass(frozen=True)
class ConfusionPanel:
    """One confusion matrix, normalised per true class.

    Attributes:
        sensitivity: share of the positives called positive; None at a site without positives.
        specificity: share of the negatives called negative; None at a site without negatives.
        counts: (tp, fn, fp, tn), or None for an average of rates.
        foot: what stands under it (threshold, accuracy).
    """

    sensitivity: float | None
    specificity: float | None
    counts: tuple[int, int, int, int] | None
    foot: str = ""


def confusion_grid(
    name: str, alt: str, rows: Sequence[str], columns: Sequence[str], panels: Sequence[Sequence[ConfusionPanel | None]]
) -> Canvas:
    """The grid of confusion matrices: models × (sites and averages), true class down, called class across."""
    pitch = HEADER + 2 * CELL_HEIGHT + FOOT + 8
    steps = [MARGIN + LEFT + column * (2 * CELL_WIDTH + GAP) for column in range(len(columns))]
    canvas = Canvas(name, alt, MARGIN + LEFT + len(columns) * (2 * CELL_WIDTH + GAP) - GAP + MARGIN, len(rows) * pitch)
    for row, model in enumerate(rows):
        canvas.text(MARGIN, row * pitch + 18, f"Trained on {model}", size=10.5, bold=True)
        for x, title, panel in zip(steps, columns, panels[row], strict=True):
            _heading(canvas, x, row * pitch + HEADER, title)
            _panel(canvas, x, row * pitch + HEADER, panel)
    return canvas


def _heading(canvas: Canvas, x: float, y: float, title: str) -> None:
    lines = wrap(title, 19)
    for i, line in enumerate(lines):
        canvas.text(x, y - 19 - 11 * (len(lines) - 1 - i), line, size=9)
    for i, called in enumerate(("called +", "called −")):
        canvas.text(x + (i + 0.5) * CELL_WIDTH, y - 5, called, size=8.5, color=MUTED, anchor="center")


def _panel(canvas: Canvas, x: float, y: float, panel: ConfusionPanel | None) -> None:
    if panel is None:
        canvas.rect(x, y, 2 * CELL_WIDTH, 2 * CELL_HEIGHT, fill=TINT, edge=LINE, dash=(3, 2))
        canvas.text(x + CELL_WIDTH, y + CELL_HEIGHT + 3, "not measured", size=8, color=MUTED, anchor="center")
        return
    tp, fn, fp, tn = panel.counts or (None, None, None, None)
    _row(canvas, (x, y), panel.sensitivity, (tp, fn), hit=0)
    _row(canvas, (x, y + CELL_HEIGHT), panel.specificity, (fp, tn), hit=1)
    canvas.rect(x, y, 2 * CELL_WIDTH, 2 * CELL_HEIGHT, edge=MUTED)
    canvas.text(x, y + 2 * CELL_HEIGHT + 14, panel.foot, size=9, color=INK)


def _row(
    canvas: Canvas,
    corner: tuple[float, float],
    share_right: float | None,
    counts: tuple[int | None, int | None],
    hit: int,
) -> None:
    """One true class; `hit` is the column of the right calls, 0 for the positives and 1 for the negatives."""
    x, y = corner
    canvas.text(x - 6, y + CELL_HEIGHT / 2 + 4, "+−"[hit], size=10, color=MUTED, anchor="center")
    if share_right is None:
        canvas.rect(x, y, 2 * CELL_WIDTH, CELL_HEIGHT, fill=TINT)
        words = "no positives" if hit == 0 else "no negatives"
        canvas.text(x + CELL_WIDTH, y + CELL_HEIGHT / 2 + 3, words, size=9, color=MUTED, anchor="center")
        return
    for column in (0, 1):
        share = share_right if column == hit else 1 - share_right
        left, color = x + column * CELL_WIDTH, BLUE if column == hit else ORANGE
        canvas.rect(left, y, CELL_WIDTH, CELL_HEIGHT, fill=CARD)
        canvas.rect(left, y, CELL_WIDTH, CELL_HEIGHT, fill=color, alpha=round(STRONGEST * share, 3))
        middle = left + CELL_WIDTH / 2
        canvas.text(middle, y + (18 if counts[column] is not None else 23), f"{share:.2f}", size=11.5, anchor="center")
        if counts[column] is not None:
            canvas.text(middle, y + 31, f"{counts[column]:,}", size=8.5, color=INK, anchor="center")

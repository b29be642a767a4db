"""Reliability and net benefit per model and site in; the grids of reliability curves and of decision curves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elsewhere.pages.figures.canvas import BLUE, GREEN, MUTED, Canvas
from elsewhere.pages.figures.panels import Frame, PanelStyle, axes, foot, panel_grid

PANEL, BENEFIT_DOWN = 150, 112
HISTOGRAM = 24  # points that the fullest bin's bar is high
FURTHEST_DOWN = -0.25  # of the highest net benefit possible; curves are cut below it

Floats = NDArray[np.float64]
Words = tuple[str, ...]


@dataclass(frozen=True)
class ReliabilityPanel:
    """One reliability curve.

    Attributes:
        said: mean probability of each bin.
        happened: share of positives in it.
        low: lower end of the share's 95 % interval.
        high: upper end.
        scans: scans in the bin.
        words: lines under the panel.
    """

    said: Floats
    happened: Floats
    low: Floats
    high: Floats
    scans: NDArray[np.int64]
    words: Words


@dataclass(frozen=True)
class BenefitPanel:
    """One decision curve.

    Attributes:
        threshold: probability from which one would act.
        model: net benefit per scan of acting by the model.
        treat_all: of acting on everyone.
        words: lines under the panel.
    """

    threshold: Floats
    model: Floats
    treat_all: Floats
    words: Words


def reliability_grid(
    name: str,
    alt: str,
    rows: Sequence[str],
    columns: Sequence[str],
    panels: Sequence[Sequence[ReliabilityPanel | Words | None]],
    *,
    words: tuple[str, str] = ("Trained on ", "tested at "),
) -> Canvas:
    """Share of positives against the probability that was said, with intervals; the diagonal is perfect."""
    style = PanelStyle(
        PANEL, PANEL, "probability said", "share positive", lines=2, row_words=words[0], column_words=words[1]
    )
    return panel_grid((name, alt), rows, columns, panels, style, _reliability)


def _reliability(canvas: Canvas, corner: tuple[float, float], panel: ReliabilityPanel) -> None:
    frame = Frame(*corner, PANEL, PANEL, (0, 1, 0, 1))
    axes(canvas, frame, "probability said")
    bottom = frame.y + frame.down
    for said, scans in zip(panel.said, panel.scans, strict=True):
        bar = HISTOGRAM * float(scans) / float(panel.scans.max())
        canvas.rect(frame.at(float(said), 0)[0] - 3, bottom - bar, 6, bar, fill=MUTED, alpha=0.25)
    canvas.line(*frame.path([0, 1], [0, 1]), MUTED, 0.8, dash=(3, 2))
    for said, low, high in zip(panel.said, panel.low, panel.high, strict=True):
        canvas.line(*frame.path([said, said], [low, high]), BLUE, 1.0)
    canvas.line(*frame.path(panel.said.tolist(), panel.happened.tolist()), BLUE, 1.4)
    for said, happened in zip(panel.said, panel.happened, strict=True):
        canvas.ring(*frame.at(float(said), float(happened)), BLUE)
    foot(canvas, frame, panel.words)


def benefit_grid(
    name: str,
    alt: str,
    rows: Sequence[str],
    columns: Sequence[str],
    panels: Sequence[Sequence[BenefitPanel | Words | None]],
    *,
    words: tuple[str, str] = ("Trained on ", "tested at "),
) -> Canvas:
    """Net benefit against the probability at which one would act, beside acting on everyone and on nobody."""
    style = PanelStyle(
        PANEL, BENEFIT_DOWN, "act from this probability on", "net benefit", 2, row_words=words[0], column_words=words[1]
    )
    return panel_grid((name, alt), rows, columns, panels, style, _benefit)


def _benefit(canvas: Canvas, corner: tuple[float, float], panel: BenefitPanel) -> None:
    top = max(float(panel.model.max()), float(panel.treat_all.max()), 0.05)
    frame = Frame(*corner, PANEL, BENEFIT_DOWN, (0, 1, FURTHEST_DOWN * top, top))
    axes(canvas, frame, "act from this probability on")
    canvas.line(*frame.path([0, 1], [0, 0]), MUTED, 1.0)
    for values, color, width, dash in (
        (panel.treat_all, GREEN, 1.1, (3.0, 2.0)),
        (panel.model, BLUE, 1.6, ()),
    ):
        held = values >= frame.ends[2]
        for run in np.split(np.flatnonzero(held), np.flatnonzero(np.diff(np.flatnonzero(held)) > 1) + 1):
            if run.size:
                canvas.line(*frame.path(panel.threshold[run].tolist(), values[run].tolist()), color, width, dash)
    foot(canvas, frame, panel.words)

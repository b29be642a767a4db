"""How well two sites are told apart, for every pair and every way of looking, in; small triangles of cells out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elsewhere.pages.figures.canvas import LINE, MUTED, ORANGE, TINT, Canvas, shortened

CELL, NAME, HEAD, MARGIN, GAP = 58, 92, 44, 10, 22
STRONGEST = 0.62


@dataclass(frozen=True)
class Pair:
    """One pair of sites seen in one way.

    Attributes:
        auc: how well the sites are told apart, 0.5 not at all.
        sure: whether that is more than chance.
    """

    auc: float
    sure: bool


def pair_sheet(
    name: str, alt: str, views: Mapping[str, Mapping[tuple[str, str], Pair]], sites: Sequence[str]
) -> Canvas:
    """One square per view, sites down and across; the darker, the easier the two are told apart."""
    side = NAME + CELL * len(sites)
    columns = max(1, min(2, len(views)))
    lines = -(-len(views) // columns)
    height = HEAD + CELL * 0.62 * len(sites) + 26
    canvas = Canvas(name, alt, 2 * MARGIN + columns * side + (columns - 1) * GAP, lines * height + 6)
    for i, (view, pairs) in enumerate(views.items()):
        _square(canvas, (MARGIN + i % columns * (side + GAP), i // columns * height), (view, pairs), sites)
    return canvas


def _square(
    canvas: Canvas,
    corner: tuple[float, float],
    view: tuple[str, Mapping[tuple[str, str], Pair]],
    sites: Sequence[str],
) -> None:
    (x, y), down = corner, CELL * 0.62
    canvas.text(x, y + 16, view[0], size=9.5, bold=True)
    for i, site in enumerate(sites):
        canvas.text(
            x + NAME + (i + 0.5) * CELL, y + HEAD - 6, shortened(site, 11), size=8, color=MUTED, anchor="center"
        )
        canvas.text(x, y + HEAD + (i + 0.6) * down, shortened(site, 17), size=8.5)
        for j, other in enumerate(sites):
            place = (x + NAME + j * CELL, y + HEAD + i * down)
            _cell(canvas, place, view[1].get((site, other)), same=site == other)


def _cell(canvas: Canvas, place: tuple[float, float], pair: Pair | None, *, same: bool) -> None:
    (x, y), down = place, CELL * 0.62
    canvas.rect(x + 1.5, y + 1.5, CELL - 3, down - 3, fill=TINT)
    if pair is None:
        if not same:
            canvas.rect(x + 1.5, y + 1.5, CELL - 3, down - 3, edge=LINE, dash=(3, 2))
        return
    strength = STRONGEST * min(1.0, max(0.0, pair.auc - 0.5) / 0.5)
    canvas.rect(x + 1.5, y + 1.5, CELL - 3, down - 3, fill=ORANGE, alpha=round(strength if pair.sure else 0.0, 3))
    words = f"{pair.auc:.2f}" if pair.sure else f"({pair.auc:.2f})"
    canvas.text(x + CELL / 2, y + down / 2 + 3.5, words, size=9.5, anchor="center", bold=pair.sure)

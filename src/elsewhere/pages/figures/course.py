"""One measure of a product over its evaluations in; a control chart, evaluations across at equal steps, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elsewhere.pages.figures.canvas import BLUE, INK, LINE, MUTED, ORANGE, Canvas
from elsewhere.pages.figures.panels import Frame

STEP, LEAST, MOST, DOWN = 26, 240, 760, 118
LEFT, TOP, BOTTOM, RIGHT = 46, 40, 34, 14


@dataclass(frozen=True)
class CoursePoint:
    """One evaluation.

    Attributes:
        date: when.
        version: of the product.
        value: estimate; None where it was not measured.
        low: lower end of its interval.
        high: upper end.
        update: on frozen scans: drawn hollow.
        alarm: an alarm was raised here: drawn in orange.
    """

    date: str
    version: str
    value: float | None
    low: float
    high: float
    update: bool
    alarm: bool


def course_chart(name: str, title: str, points: Sequence[CoursePoint], need: float | None) -> Canvas:
    """The chart; a dashed line is what is required, a thin upright one the first evaluation of another version."""
    across = min(max(STEP * len(points), LEAST), MOST)
    measured = [p for p in points if p.value is not None]
    ends = [v for p in measured for v in (p.low, p.high)] + ([need] if need is not None else [])
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = max(0.08 * (high - low), 0.01)
    low, high = max(low - room, 0.0), min(high + room, 1.0)
    canvas = Canvas(name, f"{title}: {_words(points, need)}", LEFT + across + RIGHT, TOP + DOWN + BOTTOM)
    canvas.text(4, 16, title, size=10.5, bold=True)
    frame = Frame(LEFT, TOP, across, DOWN, (-0.5, max(len(points), 1) - 0.5, low, high))
    canvas.rect(frame.x, frame.y, frame.across, frame.down, edge=MUTED)
    for value, y in ((high, frame.y + 8), (low, frame.y + frame.down)):
        canvas.text(frame.x - 4, y, f"{value:.2f}", size=8, color=MUTED, anchor="right")
    if need is not None:
        canvas.line(*frame.path([frame.ends[0], frame.ends[1]], [need, need]), ORANGE, 0.9, dash=(3, 2))
    _versions(canvas, frame, points)
    for place, point in enumerate(points):
        _point(canvas, frame, place, point)
    for place in sorted({0, len(points) - 1} if points else set()):
        x = frame.at(place, low)[0]
        canvas.text(x, frame.y + frame.down + 13, points[place].date, size=8, color=MUTED, anchor="center")
    return canvas


def _point(canvas: Canvas, frame: Frame, place: int, point: CoursePoint) -> None:
    if point.value is None:
        return
    color = ORANGE if point.alarm else MUTED if point.update else BLUE
    (x, y), top, bottom = frame.at(place, point.value), frame.at(place, point.high)[1], frame.at(place, point.low)[1]
    canvas.line([x, x], [top, bottom], color, 1.3)
    if point.update:
        canvas.ring(x, y, color)
    else:
        canvas.rect(x - 3, y - 3, 6, 6, fill=color)


def _versions(canvas: Canvas, frame: Frame, points: Sequence[CoursePoint]) -> None:
    last = -100.0
    for place, point in enumerate(points):
        if place and points[place - 1].version == point.version:
            continue
        x = frame.at(place - 0.5, 0)[0]
        if place:
            canvas.line([x, x], [frame.y, frame.y + frame.down], LINE, 1.0)
        if x - last > 40:  # a name over another one would be read as neither
            canvas.text(x + 2, frame.y - 5, point.version[:12], size=8, color=INK)
            last = x


def _words(points: Sequence[CoursePoint], need: float | None) -> str:
    told = [f"{p.date} {p.value:.2f}{' (alarm)' if p.alarm else ''}" for p in points if p.value is not None]
    limit = "" if need is None else f"; required {need:.2f}"
    return (", ".join(told) or "not measured") + limit

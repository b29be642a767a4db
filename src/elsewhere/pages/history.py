"""The page of a product's history: what stands, each measure over time, every evaluation, and the versions seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from elsewhere import __version__
from elsewhere.pages.figures.course import CoursePoint, course_chart
from elsewhere.pages.template import style, template
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.monitoring import HORIZON, JUDGED, STRETCH, UNLABELLED, Chart, Course, Update, Watched
from elsewhere.statistics.verdict import DISCLAIMER, said
from elsewhere.wording import numbered

TITLES: dict[Watched, str] = {
    "discrimination (AUC)": "Discrimination (AUC)",
    "sensitivity": "Sensitivity: positives found",
    "specificity": "Specificity: negatives cleared",
    "alerts": "Alerts: share of answered scans called positive",
    "no answer": "Share of scans without an answer",
}
HEADLINES = {
    0: "No alarm",
    12: "Stop: below what is required",
    14: "Worse than it was",
    20: "Cannot tell: label new scans",
}


@dataclass(frozen=True)
class HistoryRow:
    """One evaluation of one finding.

    Attributes:
        date: when.
        version: of the product.
        kind: "acceptance", "update" or "new scans".
        page: where its own page lies, below the history's folder.
        scans: evaluated ones.
        positives: positive ones among them.
        values: measure -> value and interval; None where it was not measured.
        headline: its own verdict.
        exit_code: its own.
        update: what the rule says of it where it is an update.
        alarms: charts that raised an alarm here, as "sensitivity fall".
    """

    date: str
    version: str
    kind: str
    page: str
    scans: int
    positives: int
    values: Mapping[Watched, Interval | None]
    headline: str
    exit_code: int
    update: Update | None
    alarms: tuple[str, ...]


@dataclass(frozen=True)
class FindingHistory:
    """All evaluations of one finding.

    Attributes:
        name: of the finding; "" where there is one.
        rows: in their order.
        course: what they say together.
        needs: measure -> value required.
    """

    name: str
    rows: tuple[HistoryRow, ...]
    course: Course
    needs: Mapping[Watched, float]


def render_history(product: str, findings: Sequence[FindingHistory], exit_code: int, command: str) -> str:
    """The page, as HTML; it needs no network, and no other file but the evaluations' own pages.

    Args:
        product: its name.
        findings: one or more.
        exit_code: of the whole.
        command: how the page was made.
    """
    return template("history.html.j2", {"said": _said, "count_of": numbered, "last": _last}).render(
        product=product,
        findings=findings,
        pictures=[_pictures(f, i) for i, f in enumerate(findings)],
        versions=[_versions(f) for f in findings],
        headline=HEADLINES[exit_code],
        exit_code=exit_code,
        command=command,
        judged=JUDGED,
        unlabelled=UNLABELLED,
        horizon=HORIZON,
        stretch=STRETCH,
        style=style(),
        disclaimer=DISCLAIMER,
        version=__version__,
    )


def _said(interval: Interval | None) -> str:
    return "not measured" if interval is None else said(interval)


def _last(chart: Chart) -> str:
    """What a chart reads after the last evaluation."""
    reading = chart.readings[-1] if chart.readings else None
    if reading is None or reading.distance is None:
        return "too few scans"
    return f"{reading.distance:+.2f}"


def _pictures(finding: FindingHistory, place: int) -> list[Markup]:
    found = []
    for measure in (*JUDGED, *UNLABELLED):
        points = []
        for row in finding.rows:
            value = row.values.get(measure)
            lost = row.update is not None and measure in row.update.lost
            alarm = lost or any(words.startswith(measure) for words in row.alarms)
            ends = (0.0, 0.0) if value is None else (value.low, value.high)
            estimate = None if value is None else value.estimate
            points.append(CoursePoint(row.date, row.version, estimate, *ends, row.kind == "update", alarm))
        if all(p.value is None for p in points):
            continue
        name = f"course-{place}-{measure.partition(' ')[0]}"
        found.append(Markup(course_chart(name, TITLES[measure], points, finding.needs.get(measure)).inline_svg()))
    return found


def _versions(finding: FindingHistory) -> list[tuple[str, str, str, int, int, str]]:
    """(version, first and last date, evaluations, scans, last verdict) in the order of their coming."""
    found = []
    for version in dict.fromkeys(row.version for row in finding.rows):
        own = [row for row in finding.rows if row.version == version]
        scans = sum(row.scans for row in own)
        found.append((version, own[0].date, own[-1].date, len(own), scans, own[-1].headline))
    return found

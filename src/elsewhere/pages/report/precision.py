"""Precision against recall: what share of the positive calls is right, beside the share that chance would have."""

from __future__ import annotations

from dataclasses import dataclass

from elsewhere.pages.figures.precision_recall import precision_grid
from elsewhere.pages.report.content import Study
from elsewhere.pages.report.folder import Folder, Picture
from elsewhere.pages.report.learned import marked_name, marked_names
from elsewhere.pages.report.table import Column, Table
from elsewhere.pages.report.words import figure

MOST_SHOWN = 40
"""Rows of the table that stand on the page."""


@dataclass(frozen=True)
class Precision:
    """The section.

    Attributes:
        words: how to read it.
        picture: the curves.
        table: average precision and prevalence of each cell.
    """

    words: str
    picture: Picture
    table: Table


def section(study: Study, slug: str, out: Folder) -> Precision | None:
    """The section; None where no cell has both classes, or nothing of the cells is at hand."""
    curves = study.details.curves
    if not curves:
        return None
    models = [m for m in study.models if any(model == m.name for model, _ in curves)]
    sites = [s.name for s in study.sites if any(site == s.name for _, site in curves)]
    panels = [[curves.get((m.name, site), ("one class only",)) for site in sites] for m in models]
    alt = f"Precision against recall of study {study.name}; dashed: prevalence."
    picture = out.add_picture(precision_grid(f"{slug}-precision", alt, [marked_name(m) for m in models], sites, panels))
    rows = [
        {"model": m, "site": s, "average_precision": c.average, "prevalence": c.prevalence}
        for (m, s), c in curves.items()
    ]
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("site", "Tested at"),
        Column("average_precision", "Average precision", lambda v, _: figure(v), numeric=True),
        Column("prevalence", "Prevalence", lambda v, _: figure(v), numeric=True),
    ]
    table = Table(f"{slug}-precision", "Average precision, beside the prevalence.", columns, rows, most=MOST_SHOWN)
    return Precision(_words([c.prevalence for c in curves.values()]), picture, out.add_table(table))


def _words(shares: list[float]) -> str:
    low, high = figure(min(shares)), figure(max(shares))
    head = (
        "Precision (PPV) is the share of positive calls that are right, recall the sensitivity; average precision "
        "is the area under the steps, without interpolation and here without an interval. "
    )
    if low == high:
        return f"{head}Scores that tell nothing have the prevalence, {low} at every site."
    return (
        f"{head}Scores that tell nothing have the prevalence, {low} to {high} here: average precisions of sites with "
        "different prevalences do not compare, AUCs do."
    )

"""A report in; `report.html`, `figures/*.svg|png` and `tables/*.csv` out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from elsewhere import __version__
from elsewhere.pages.figures.cells import MARKS
from elsewhere.pages.report import (
    comparisons,
    first_screen,
    headline,
    learned,
    origins,
    pictures,
    products,
    published,
    sections,
    selection,
    tables,
    words,
)
from elsewhere.pages.report.content import Report, Study
from elsewhere.pages.report.folder import Folder, Picture
from elsewhere.pages.report.matrix import MatrixEntry, baseline_table, matrix_rows
from elsewhere.pages.report.over_sites import over_sites_table
from elsewhere.pages.report.records import KINS, READINGS, Group, groups
from elsewhere.pages.report.sheets import SHEETS, fill
from elsewhere.pages.report.table import Table, plain_table
from elsewhere.pages.template import style, template

DISCLAIMER = "Research use only. Not a medical device."
UNBROKEN = re.compile(r"(?<![\w&/.-])\w{1,12}-\w{1,12}(?![\w/.-])|\d{1,4} x \d{1,4}")


def write_report(report: Report, folder: Path) -> Path:
    """Write the page of one or several studies, with every picture as SVG and PNG and every table as CSV.

    The same report gives the same bytes.

    Returns:
        the path of `report.html`.

    Raises:
        ValueError: no study, two studies of one name, a name without a letter or digit, or an example slice that is
            not uint8 [row, column].
    """
    slugs = _slugs(report.studies)
    out = Folder(folder)
    parts = [_part(report, place, slugs[place], out) for place in range(len(report.studies))]
    made = sections.make_of_report(report, out)
    context = {
        "report": report,
        "parts": parts,
        "made": made,
        "first": sections.SECTIONS[0],
        "folded": sections.shown([made, *(part.made for part in parts)])[1:],
        "warnings": first_screen.warnings(report),
        "next_steps": first_screen.next_steps(report),
        "paper_comparison": comparisons.paper_words() if any(s.published for s in report.studies) else "",
        "paper_beside": origins.paper_beside(report),
        "source": published,
        "banners": origins.banners(report),
        "notes": origins.shared(report.studies, "notes"),
        "opening": words.opening(report),
        "comparison": headline.comparison(report),
        "disclaimer": DISCLAIMER,
        "version": __version__,
        "style": style(),
        "kins": KINS,
        "marks": MARKS,
        "readings": READINGS,
        "notable": headline.NOTABLE_DROP,
        "sheets": [(sheet, out.add_table(fill(sheet, report))) for sheet in SHEETS],
        "holds": origins.holdings(report),
    }
    page = template("report.html.j2", {"whole": whole})
    cells = sum(len(study.models) * len(study.sites) for study in report.studies)
    return out.add_page(lambda: page.render(context), cells)


def whole(text: str) -> Markup:
    """Escaped text; no line ends inside a name with a hyphen ("COVID-CTset") or a size ("512 x 512")."""
    return Markup(UNBROKEN.sub(r'<span class="whole">\g<0></span>', str(escape(text))))


def _slugs(studies: Sequence[Study]) -> list[str]:
    """File-name stems of the studies."""
    if not studies:
        raise ValueError("a report needs at least one study")
    slugs = [re.sub(r"[^a-z0-9]+", "-", study.name.lower()).strip("-") for study in studies]
    for study, slug in zip(studies, slugs, strict=True):
        if not slug or slugs.count(slug) > 1:
            raise ValueError(f"study name {study.name!r} is empty or stands twice in the report; each needs its own")
    return slugs


@dataclass(frozen=True)
class Part:
    """Everything of one study that the template shows, besides what is made for single sections.

    Attributes:
        study: the study itself.
        slug: stem of its file names.
        made: what was made for its sections, by id.
        tag: what its scans are, where the report mixes studies of different origin.
        notes: its own sentences, and what its preparation left out.
        answer, brief, finding, limits: sentences of its first screen (`first_screen`, `headline`).
        learned_table, selection_table, selection_warnings: whether its networks learned, and how weights were chosen.
        over_sites: table of what to expect at a new hospital.
        groups: kin -> its means.
        strip: picture of the means.
        matrix, matrix_picture: the cross-site matrix.
        confusions: (figure number, reading, family in words, picture) of Figures 3 and 4.
        rocs: (figure number, family in words, picture) of Figures 5 and 6.
        tables: name -> table (`STUDY_TABLES`).
        data_of, split_of, audit_of, examples_of: name of the first earlier study with the same, or "".
        audit_tables: what the audit found.
        examples: Figure 1.
        training, trainings: picture of the training curves, table of further trainings.
        rules_words, rules: what a rule of metadata sees, in words and as a picture.
        points: tables that are kept as CSV only.
    """

    study: Study
    slug: str
    made: sections.Made
    tag: str
    notes: list[str]
    answer: str
    brief: str
    finding: str
    limits: str
    learned_table: Table | None
    selection_table: Table | None
    selection_warnings: list[str]
    over_sites: Table | None
    groups: Mapping[str, Group]
    strip: Picture | None
    matrix: list[tuple[str, list[MatrixEntry]]]
    matrix_picture: Picture
    confusions: list[tuple[str, str, str, Picture]]
    rocs: list[tuple[str, str, Picture]]
    tables: Mapping[str, Table]
    data_of: str
    split_of: str
    audit_of: str
    audit_tables: list[Table]
    examples_of: str
    examples: Picture | None
    training: Picture | None
    trainings: Table | None
    rules_words: str
    rules: Picture | None
    points: list[Table]


def _part(report: Report, place: int, slug: str, out: Folder) -> Part:
    """What the template shows of one study; what equals an earlier study's points to it instead."""
    study, earlier = report.studies[place], report.studies[:place]
    return Part(
        study=study,
        slug=slug,
        made=sections.make_of_study(study, slug, out),
        tag=origins.tag(report, study),
        notes=[*(w for w in study.notes if w not in origins.shared(report.studies, "notes")), *study.left_out],
        answer=first_screen.answer(study),
        brief=first_screen.brief(study),
        finding=headline.result(study),
        limits=headline.limits(study),
        learned_table=out.add_table(learned.learned_table(study, f"{slug}-learned")) if study.learned else None,
        selection_table=out.add_table(selection.selection_table(study, f"{slug}-selection"))
        if study.selections
        else None,
        selection_warnings=selection.warnings(study),
        over_sites=out.add_table(over_sites_table(study, f"{slug}-new-hospital")) if study.over_sites else None,
        groups={group.kin: group for group in groups(study)},
        strip=out.add_picture(pictures.strip(study, f"{slug}-strip")) if groups(study) else None,
        matrix=[*matrix_rows(study), *products.product_rows(study)],
        matrix_picture=out.add_picture(pictures.matrix(study, f"{slug}-matrix")),
        confusions=_confusions(study, slug, out),
        rocs=_rocs(study, slug, out),
        tables={key: out.add_table(make(study, f"{slug}-{key}")) for key, make in STUDY_TABLES.items()},
        data_of=_same(study, earlier, lambda s: list(s.counts)),
        split_of=_same(study, earlier, lambda s: s.split_hash) if study.split_hash else "",
        audit_of=_same(study, earlier, lambda s: (s.audit, list(s.bad_scans))),
        audit_tables=[out.add_table(table) for table in tables.audit_tables(study.audit, slug)],
        examples_of=_same(study, earlier, _example_keys),
        examples=out.add_picture(pictures.examples(study, f"{slug}-examples"), first=True) if study.examples else None,
        training=out.add_picture(pictures.training(study, f"{slug}-training")) if study.curves else None,
        trainings=out.add_table(tables.trainings(study, f"{slug}-seeds")) if study.trainings else None,
        rules_words=words.rules_words(study.audit.confounding),
        rules=out.add_picture(rules) if (rules := pictures.rules(study, f"{slug}-rules")) else None,
        points=[out.add_table(table) for table in _points(study, slug)],
    )


STUDY_TABLES: dict[str, Callable[[Study, str], Table]] = {
    "groups": tables.group_table,
    "baselines": baseline_table,
    "data": tables.data_table,
    "patients": tables.patient_table,
    "cells": tables.cell_table,
    "decisions": tables.decision_table,
    "averages": tables.average_table,
    "models": tables.model_table,
    "bad-scans": tables.bad_scan_table,
    "settings": tables.settings_table,
}


def _points(study: Study, slug: str) -> list[Table]:
    """The points behind the curves, kept as CSV only."""
    points = [{"model": row.model, **row.logged} for row in study.curves]
    curves = plain_table(f"{slug}-curves", "Training curves, every logged point.", points)
    rocs = plain_table(f"{slug}-roc", "ROC curves and dropout bands, every point.", tables.roc_rows(study))
    return [table for table in (curves, rocs) if table.rows]


def _confusions(study: Study, slug: str, out: Folder) -> list[tuple[str, str, str, Picture]]:
    """(figure number, reading, family in words, picture) of Figures 3 and 4 under both readings."""
    found = []
    for number_, name in (("3", "single"), ("4", "several")):
        models = pictures.family(study, name)
        for reading, letter in (("model", "a"), ("site", "b")):
            if models:
                stem = f"{slug}-figure-{number_}{letter}"
                picture = out.add_picture(pictures.confusions(study, stem, models, reading))
                found.append((f"{number_}{letter}", READINGS[reading], pictures.FAMILIES[name], picture))
    return found


def _rocs(study: Study, slug: str, out: Folder) -> list[tuple[str, str, Picture]]:
    """(figure number, family in words, picture) of Figures 5 and 6."""
    found = []
    for number_, name in (("5", "single"), ("6", "several")):
        models = pictures.family(study, name)
        if models:
            picture = out.add_picture(pictures.rocs(study, f"{slug}-figure-{number_}", models))
            found.append((number_, pictures.FAMILIES[name], picture))
    return found


def _same(study: Study, earlier: Sequence[Study], part: Callable[[Study], Any]) -> str:
    """Name of the first earlier study with the same part, "" if there is none."""
    return next((other.name for other in earlier if part(other) == part(study)), "")


def _example_keys(study: Study) -> list[tuple[Any, ...]]:
    return [
        (e.site, e.label, e.caption, e.scan, e.stage, None if e.pixels is None else e.pixels.tobytes())
        for e in study.examples
    ]

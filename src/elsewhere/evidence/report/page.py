"""A report in; `report.html`, `figures/*.svg|png` and `tables/*.csv` out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from elsewhere import __version__
from elsewhere.evidence.figures import Canvas
from elsewhere.evidence.figures.cells import MARKS, shade
from elsewhere.evidence.report import pictures, published, tables, words
from elsewhere.evidence.report.content import Model, Record, Report, Study
from elsewhere.evidence.report.records import KINS, READINGS, cell, groups, index, kin_of, number, one_class
from elsewhere.evidence.report.table import Table, plain_table

LARGEST_PAGE = 5_000_000  # bytes, so that the page travels by mail
DISCLAIMER = "Research use only. Not a medical device."
UNBROKEN = re.compile(r"(?<![\w&/.-])\w{1,12}-\w{1,12}(?![\w/.-])|\d{1,4} x \d{1,4}")
STRONGEST = 62  # per cent of colour in a cell of the matrix; the words on it stay readable in light and dark


@dataclass(frozen=True)
class Picture:
    """A drawing ready to stand on the page.

    Attributes:
        name: stem of its SVG and PNG.
        svg: inline SVG.
    """

    name: str
    svg: Markup


@dataclass(frozen=True)
class MatrixEntry:
    """One cell of the cross-site matrix.

    Attributes:
        mark: home, seen or unseen as a sign.
        kin: the same as a word.
        main: the AUC, or what stands in its place.
        lines: what stands under it.
        hover: everything about it in sentences.
        tint: background as CSS.
    """

    mark: str
    kin: str
    main: str
    lines: tuple[str, ...]
    hover: str
    tint: str


@dataclass
class Folder:
    """Where the page, its figures and its tables go; each file is written whole or not at all."""

    root: Path
    written: set[str] = field(default_factory=set)

    def add_picture(self, canvas: Canvas) -> Picture:
        """Write a drawing as SVG and PNG, and make it ready for the page."""
        self._write(f"figures/{canvas.name}.svg", canvas.svg().encode())
        self._write(f"figures/{canvas.name}.png", canvas.png())
        return Picture(canvas.name, Markup(canvas.inline_svg()))

    def add_table(self, table: Table) -> Table:
        """Write a table as CSV."""
        self._write(f"tables/{table.name}.csv", table.to_csv().encode())
        return table

    def add_page(self, page: str) -> Path:
        """Write the page.

        Raises:
            ValueError: it is larger than `LARGEST_PAGE`.
        """
        content = page.encode()
        if len(content) > LARGEST_PAGE:
            words_ = f"report.html would take {len(content):,} bytes, more than {LARGEST_PAGE:,}"
            raise ValueError(f"{words_}; give it fewer studies or smaller example slices")
        return self._write("report.html", content)

    def _write(self, name: str, content: bytes) -> Path:
        assert name not in self.written, f"{name} is written twice"
        self.written.add(name)
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(content)
        os.replace(part, path)
        return path


def write_report(report: Report, folder: Path) -> Path:
    """Write the page of one or several studies, with every picture as SVG and PNG and every table as CSV.

    The same report gives the same bytes.

    Returns:
        the path of `report.html`.

    Raises:
        ValueError: no study, two studies of one name, a name without a letter or digit, an example slice that is
            not uint8 [row, column], or a page over `LARGEST_PAGE`.
    """
    slugs = _slugs(report.studies)
    out = Folder(folder)
    parts = [_part(report, place, slugs[place], out) for place in range(len(report.studies))]
    several = len(report.studies) > 1
    environment = Environment(
        loader=PackageLoader("elsewhere.evidence", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["whole"] = whole
    context = {
        "report": report,
        "parts": parts,
        "protocols": out.add_table(tables.protocol_table(report.studies, "protocols")) if several else None,
        "published": _published(report, out) if report.published else None,
        "source": published,
        "banners": words.banners(report),
        "comparison": words.comparison([s.name for s in report.studies], [groups(s) for s in report.studies]),
        "disclaimer": DISCLAIMER,
        "version": __version__,
        "kins": KINS,
        "marks": MARKS,
        "readings": READINGS,
        "notable": words.NOTABLE_DROP,
    }
    template = environment.get_template("report.html.j2")
    style = environment.loader.get_source(environment, "style.css")[0] if environment.loader else ""
    return out.add_page(template.render(context | {"style": Markup(style)}))


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


def _part(report: Report, place: int, slug: str, out: Folder) -> dict[str, Any]:
    """Everything of one study that the template shows; what equals an earlier study's points to it instead."""
    study, earlier = report.studies[place], report.studies[:place]
    return {
        "study": study,
        "slug": slug,
        "opening": words.opening(study),
        "finding": words.finding(groups(study)),
        "groups": {group.kin: group for group in groups(study)},
        "strip": out.add_picture(pictures.strip(study, f"{slug}-strip")),
        "matrix": _matrix(study),
        "baselines": _baselines(study),
        "matrix_picture": out.add_picture(pictures.matrix(study, f"{slug}-matrix")),
        "confusions": _confusions(study, slug, out),
        "rocs": _rocs(study, slug, out),
        "tables": {key: out.add_table(make(study, f"{slug}-{key}")) for key, make in STUDY_TABLES.items()},
        "data_of": _same(study, earlier, lambda s: list(s.counts)),
        "audit_of": _same(study, earlier, lambda s: (s.audit, list(s.bad_scans))),
        "audit_tables": [out.add_table(table) for table in tables.audit_tables(study.audit, slug)],
        "examples_of": _same(study, earlier, _example_keys),
        "examples": out.add_picture(pictures.examples(study, f"{slug}-examples")) if study.examples else None,
        "training": out.add_picture(pictures.training(study, f"{slug}-training")) if study.curves else None,
        "points": [out.add_table(table) for table in _points(study, slug)],
    }


STUDY_TABLES: dict[str, Callable[[Study, str], Table]] = {
    "groups": tables.group_table,
    "data": tables.data_table,
    "cells": tables.cell_table,
    "decisions": tables.decision_table,
    "averages": tables.average_table,
    "models": tables.model_table,
    "bad-scans": tables.bad_scan_table,
    "settings": tables.settings_table,
}


def _points(study: Study, slug: str) -> list[Table]:
    """The points behind the curves, kept as CSV only."""
    curves = plain_table(f"{slug}-curves", "Training curves, every logged point.", list(study.curves))
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


def _matrix(study: Study) -> list[tuple[str, list[MatrixEntry]]]:
    """Rows of the cross-site matrix: a model's name and its cells."""
    cells = index(study.scores)
    return [
        (
            words.spaced(m.name),
            [_entry(study, m, s.name, cell(cells, m.name, s.name, first=study.reading)) for s in study.sites],
        )
        for m in study.models
    ]


def _entry(study: Study, model: Model, site: str, record: Record | None) -> MatrixEntry:
    kin = kin_of(model, site)
    hover = words.hover(study, model.name, site, record)
    if record is None:
        return MatrixEntry(MARKS[kin], kin, words.NOT_MEASURED, (), hover, "")
    accuracy = f"acc {words.figure(record.get('accuracy'))}"
    majority = f"majority {words.figure(record.get('baseline_majority_accuracy'))}"
    auc = number(record.get("auc"))
    if one_class(record) or auc is None:
        lines = words.one_class_words(record) if one_class(record) else (words.NOT_MEASURED,)
        return MatrixEntry(MARKS[kin], kin, lines[0], (*lines[1:], majority), hover, "")
    ends = words.interval(record.get("auc_sampling_low"), record.get("auc_sampling_high"))
    _, strength = shade(auc)
    tone = "--blue" if auc >= 0.5 else "--orange"
    tint = f"background: color-mix(in srgb, var({tone}) {round(STRONGEST * strength)}%, var(--card))"
    return MatrixEntry(MARKS[kin], kin, words.figure(auc), (ends, f"{accuracy} · {majority}"), hover, tint)


def _baselines(study: Study) -> list[tuple[str, list[str]]]:
    """Rows of trivial rules under the matrix: what each reaches at each site, whatever the model."""
    by_site = {str(r["site"]): r for r in study.scores}
    found = [by_site.get(site.name, {}) for site in study.sites]
    aucs = [words.figure(r.get("baseline_chance_auc")) if r else "–" for r in found]
    majority = [words.figure(r.get("baseline_majority_accuracy")) if r else "–" for r in found]
    return [
        ("Chance (AUC)", aucs),
        ("Knows only the site (AUC)", aucs),
        ("Always the commoner class (accuracy)", majority),
    ]


def _same(study: Study, earlier: Sequence[Study], part: Callable[[Study], Any]) -> str:
    """Name of the first earlier study with the same part, "" if there is none."""
    return next((other.name for other in earlier if part(other) == part(study)), "")


def _example_keys(study: Study) -> list[tuple[Any, ...]]:
    return [(e.site, e.label, e.caption, e.scan, e.pixels.shape, e.pixels.tobytes()) for e in study.examples]


def _published(report: Report, out: Folder) -> Table:
    """The paper's numbers; ours stand beside them on real data only."""
    return out.add_table(published.published_table(report.studies if report.origin == "real" else (), "published"))

"""Score records in; the cells of the cross-site matrix, their colour and everything said about them, out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elsewhere.pages.figures.cells import MARKS, shade
from elsewhere.pages.report import words
from elsewhere.pages.report.content import Model, Study
from elsewhere.pages.report.learned import marked_name
from elsewhere.pages.report.records import cell, index, kin_of, number, one_class
from elsewhere.pages.report.table import Column, Table
from elsewhere.pages.report.visits import counts_only_words, where_computed
from elsewhere.rows import ProductScoreRow, ScoreRow

STRONGEST = 55  # per cent of colour in a cell; the words on it stay readable in light and dark


@dataclass(frozen=True)
class MatrixEntry:
    """One cell of the cross-site matrix.

    Attributes:
        mark: home, seen or unseen as a sign.
        kin: the same as a word.
        main: the AUC, or what stands in its place.
        lines: what stands under it.
        details: everything about it in sentences.
        tint: background as CSS.
    """

    mark: str
    kin: str
    main: str
    lines: tuple[str, ...]
    details: str
    tint: str


def matrix_rows(study: Study) -> list[tuple[str, list[MatrixEntry]]]:
    """Rows of the cross-site matrix: a model's name and its cells."""
    cells = index(study.scores)
    return [
        (
            marked_name(m),
            [_entry(study, m, s.name, cell(cells, m.name, s.name, first=study.reading)) for s in study.sites],
        )
        for m in study.scored
    ]


def _entry(study: Study, model: Model, site: str, row: ScoreRow | None) -> MatrixEntry:
    kin = kin_of(model, site)
    details = " ".join(filter(None, (words.details(study, model.name, site, row), where_computed(study, site))))
    visit = next(
        (v for v in study.visits if (v.hospital, v.counts_only) == (site, True) and model.name in v.models), None
    )
    if visit is not None and row is None:
        main, line = counts_only_words(visit)
        return MatrixEntry(MARKS[kin], kin, main, (line,), details, "")
    return matrix_entry(MARKS[kin], kin, row, details)


def matrix_entry(mark: str, kin: str, row: ScoreRow | ProductScoreRow | None, details: str) -> MatrixEntry:
    """A cell from its scores; `details` is all that is said of it."""
    if row is None:
        return MatrixEntry(mark, kin, words.NOT_MEASURED, (), details, "")
    auc = number(row.auc)
    if one_class(row) or auc is None:
        lines = words.one_class_words(row) if one_class(row) else (words.NOT_MEASURED,)
        return MatrixEntry(mark, kin, lines[0], lines[1:], details, "")
    ends = words.interval(row.auc_sampling_low, row.auc_sampling_high)
    _, strength = shade(auc)
    tone = "--blue" if auc >= 0.5 else "--orange"
    tint = f"background: color-mix(in srgb, var({tone}) {round(STRONGEST * strength)}%, var(--card))"
    return MatrixEntry(mark, kin, words.figure(auc), (ends,), details, tint)


def baseline_table(study: Study, name: str) -> Table:
    """What trivial rules reach at each site, whatever the model."""
    by_site = {r.site: r for r in study.scores}
    known = {site.name: by_site[site.name] for site in study.sites if site.name in by_site}
    chance = {site: row.baseline_chance_auc for site, row in known.items()}
    rules: dict[str, dict[str, Any]] = {
        "Chance (AUC)": chance,
        "Knows only the site (AUC)": chance,
        "Always the majority class (accuracy)": {s: row.baseline_majority_accuracy for s, row in known.items()},
    }
    columns = [Column("rule", "Rule")]
    columns += [Column(site.name, site.name, lambda v, _: words.figure(v), numeric=True) for site in study.sites]
    return Table(name, "What trivial rules reach.", columns, [{"rule": rule, **found} for rule, found in rules.items()])

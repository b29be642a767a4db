"""Score records in; the cells of the cross-site matrix, their colour and everything said about them, out."""

from __future__ import annotations

from dataclasses import dataclass

from elsewhere.pages.figures.cells import MARKS, shade
from elsewhere.pages.report import words
from elsewhere.pages.report.content import Model, Study
from elsewhere.pages.report.learned import marked_name
from elsewhere.pages.report.records import cell, index, kin_of, number, one_class
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
        for m in study.models
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
    accuracy = f"acc {words.figure(row.accuracy)}"
    majority = f"majority {words.figure(row.baseline_majority_accuracy)}"
    auc = number(row.auc)
    if one_class(row) or auc is None:
        lines = words.one_class_words(row) if one_class(row) else (words.NOT_MEASURED,)
        return MatrixEntry(mark, kin, lines[0], (*lines[1:], majority), details, "")
    ends = words.interval(row.auc_sampling_low, row.auc_sampling_high)
    _, strength = shade(auc)
    tone = "--blue" if auc >= 0.5 else "--orange"
    tint = f"background: color-mix(in srgb, var({tone}) {round(STRONGEST * strength)}%, var(--card))"
    return MatrixEntry(mark, kin, words.figure(auc), (ends, f"{accuracy} · {majority}"), details, tint)


def baseline_rows(study: Study) -> list[tuple[str, list[str]]]:
    """Rows of trivial rules under the matrix: what each reaches at each site, whatever the model."""
    by_site = {r.site: r for r in study.scores}
    found = [by_site.get(site.name) for site in study.sites]
    aucs = [words.figure(r.baseline_chance_auc) if r else "–" for r in found]
    majority = [words.figure(r.baseline_majority_accuracy) if r else "–" for r in found]
    return [
        ("Chance (AUC)", aucs),
        ("Knows only the site (AUC)", aucs),
        ("Always the majority class (accuracy)", majority),
    ]

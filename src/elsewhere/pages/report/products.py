"""Models that were not trained here, judged from their scores: rows of the matrix, numbers, paired tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elsewhere.pages.report import words
from elsewhere.pages.report.content import Study, UnansweredRow
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.kept_patients import KeptPatients, kept_patients
from elsewhere.pages.report.matrix import MatrixEntry, matrix_entry
from elsewhere.pages.report.records import number, one_class
from elsewhere.pages.report.table import Column, Table
from elsewhere.rows import ProductScoreRow
from elsewhere.wording import verb

MARK, KIN = "◇", "product"
"""A product stands neither at home nor elsewhere: what it was trained on is not known here."""
KEPT_OUT = "Patients who were kept for thresholds are left out."


@dataclass(frozen=True)
class Products:
    """The section.

    Attributes:
        words: what was done.
        scores: each product at each site.
        tests: each product against each network on the scans that both answered; None without networks.
        unanswered: scans without an answer, and why; None where each was answered.
        foreign: sentences on foreign code that was run.
        kept: thresholds and recalibrations from kept patients; None where none were kept.
    """

    words: str
    scores: Table
    tests: Table | None
    unanswered: Table | None
    foreign: tuple[str, ...]
    kept: KeptPatients | None


def product_rows(study: Study) -> list[tuple[str, list[MatrixEntry]]]:
    """Rows of the cross-site matrix: a product's name and its cells."""
    cells = {(r.model, r.site): r for r in study.product_scores}
    return [(f"{name} (product)", [_entry(name, s.name, cells.get((name, s.name))) for s in study.sites])
            for name in study.products]  # fmt: skip


def _entry(name: str, site: str, row: ProductScoreRow | None) -> MatrixEntry:
    said = f"{words.NOT_MEASURED}."
    if row is not None:
        auc = number(row.auc)
        ends = words.interval(row.auc_sampling_low, row.auc_sampling_high, 3)
        said = f"AUC {words.figure(auc, 3)}, 95 % interval {ends}."
        if auc is None:
            said = f"{', '.join(words.one_class_words(row) if one_class(row) else (words.NOT_MEASURED,))}."
        if row.unanswered:
            said += f" No answer to {row.unanswered} of {row.given} scans."
    return matrix_entry(MARK, KIN, row, f"{name} at {site}, judged from its scores: {said}")


def section(study: Study, slug: str, out: Folder) -> Products | None:
    """The section on products; None in a study without."""
    if not study.products:
        return None
    tests = _tests(study, f"{slug}-products-tests") if study.product_tests else None
    scores = out.add_table(_scores(study, f"{slug}-products"))
    lost = out.add_table(_unanswered_table(study, f"{slug}-products-unanswered")) if study.unanswered else None
    kept = kept_patients(study, f"{slug}-products-local")
    for made in () if kept is None else (kept.choices, kept.measures):
        if made is not None:
            out.add_table(made)
    tests = None if tests is None else out.add_table(tests)
    return Products(_words(study), scores, tests, lost, foreign_code(study), kept)


def _words(study: Study) -> str:
    who = words.count(len(study.products), "model").capitalize()
    ran = {model.name for model in study.ran}
    read = [name for name in study.products if name not in ran]
    said = f"{who} {verb(len(study.products), 'was', 'were')} not trained here. "
    if read:
        said += f"Of {words.listed(read)} scores of the test scans were read from a table. "
    for model in study.ran:
        said += f"{model.name} was run on the test scans: {model.words} (SHA-256 {model.sha256[:12]}…). "
    said += (
        "Decisions are the product's own. The scans that it learned from are not known, so it is neither at home nor "
        "elsewhere, and no mean over networks holds it."
    )
    if study.models:
        said += " A test says which of two ranks these patients better; networks are taken as they are."
    return said


def foreign_code(study: Study) -> tuple[str, ...]:
    """A sentence for each model that foreign code was run for."""
    return tuple(
        f"Foreign code was run: {model.name} {model.foreign_code}. What it does besides giving scores is not known."
        for model in study.ran
        if model.foreign_code
    )


def _scores(study: Study, name: str) -> Table:
    columns = [
        Column("model", "Product"),
        Column("site", "Site"),
        Column("scans", "Scans", None, numeric=True),
        Column("unanswered", "No answer (95 %)", _unanswered, numeric=True),
        Column("auc", "AUC (95 %)", words.share_words("auc"), numeric=True),
        Column("sensitivity", "Sensitivity (95 %)", words.share_words("sensitivity"), numeric=True),
        Column("specificity", "Specificity (95 %)", words.share_words("specificity"), numeric=True),
        Column("calibration_slope", "Calibration slope", lambda v, _: words.figure(v), numeric=True),
    ]
    note = "Intervals: patients as the unit. Scans without an answer are left out of AUC, sensitivity and specificity."
    note += f" {KEPT_OUT}" if study.product_local else ""
    return Table(name, "Products at each site, judged from their scores.", columns, study.product_scores, note)


def _unanswered_table(study: Study, name: str) -> Table:
    columns = [
        Column("model", "Product"),
        Column("site", "Site"),
        Column("reason", "Why it gave no answer"),
        Column("scans", "Scans", _of_given, numeric=True),
    ]
    among = " Those of patients who were kept for thresholds are among them." if study.product_local else ""
    return Table(name, f"Test scans without an answer, by product, site and reason.{among}", columns, study.unanswered)


def _of_given(scans: Any, row: UnansweredRow) -> str:
    return f"{scans} of {row.given}"


def _tests(study: Study, name: str) -> Table:
    columns = [
        Column("product", "Product"),
        Column("network", "Network", lambda v, _: words.spaced(str(v))),
        Column("site", "Site"),
        Column("scans", "Scans", None, numeric=True),
        Column("auc_product", "AUC, product", lambda v, _: words.figure(v, 3), numeric=True),
        Column("auc_network", "AUC, network", lambda v, _: words.figure(v, 3), numeric=True),
        Column("difference", "Product less network (95 %)", words.difference_words, numeric=True),
        Column("p_value_holm", "p (Holm)", lambda v, _: words.figure(v, 3), numeric=True),
    ]
    note = "DeLong's test on the scans that both answered, clustered by patient; Holm's adjustment over all rows."
    note += f" {KEPT_OUT}" if study.product_local else ""
    return Table(name, "Products against networks on the same scans.", columns, study.product_tests, note)


def _unanswered(value: Any, row: ProductScoreRow) -> str:
    share = words.estimate(row.unanswered_share, row.unanswered_low, row.unanswered_high)
    return f"{number(value) or 0:.0f} of {number(row.given) or 0:.0f}: {share}"

"""A cross-validation by patient: how good the recipe is at each training site, and the mean of the folds elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elsewhere.fold_rows import CrossValidatedRow, EnsembleRow
from elsewhere.pages.report import words
from elsewhere.pages.report.content import Study
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.learned import marked_names
from elsewhere.pages.report.table import Column, Table, estimate_column
from elsewhere.wording import numbered

ALIKE = 0.02
"""Two AUCs of the same scans that differ by less are called alike."""
CHANCE = 0.5


@dataclass(frozen=True)
class Folds:
    """The section.

    Attributes:
        words: what was done, and what the interval does not hold.
        answers: a sentence on each model at each training site.
        table: the cross-validation.
        elsewhere: a sentence on the ensembles at other sites; "" without one.
        ensembles: their table; None without one.
    """

    words: str
    answers: tuple[str, ...]
    table: Table
    elsewhere: str
    ensembles: Table | None


def section(study: Study, slug: str, out: Folder) -> Folds | None:
    """The section on a cross-validation; None in a study without."""
    rows = study.cross_validation
    if not rows:
        return None
    beside = study.ensembles_elsewhere
    return Folds(
        _words(rows[0].folds),
        tuple(map(answer, rows)),
        out.add_table(_table(study, f"{slug}-cross-validation")),
        elsewhere_words(beside),
        out.add_table(_ensembles(study, f"{slug}-ensembles")) if beside else None,
    )


def _words(folds: int) -> str:
    return (
        f"Every patient of a training site is in one of {folds} folds, and is scored once, by a network that was "
        "fitted, and its weights and threshold chosen, on patients of other folds. The main value counts pairs of a "
        "positive and a negative scan of one fold, which one network scored; the pooled AUC also compares scores of "
        "different networks, which need not be on one scale. The interval is for these networks and other patients of "
        "the same site; it rests on twice the variance that the folds show, because each network learned from patients "
        "whom others score, which no single cross-validation can measure. It is none for one network trained on all "
        "patients, for the mean of the networks, or for another hospital."
    )


def answer(row: CrossValidatedRow) -> str:
    """What the cross-validation says of one model at one training site."""
    head = f"{words.spaced(row.model)} at {row.site}"
    people = f"{numbered(row.positive_patients, 'positive patient')} and {row.negative_patients} negative"
    if row.auc is None:
        return f"{head}: {row.note}."
    said = f"{head}: discrimination (AUC) {words.estimate(row.auc, row.auc_low, row.auc_high)} within folds, {people}"
    if row.auc_low is not None and row.auc_low <= CHANCE <= (row.auc_high or 1.0):
        said += ", not distinguishable from chance"
    elif row.auc < CHANCE:
        said += ", worse than chance: look for reversed labels"
    said += f". {_pooled(row)}"
    if row.fold_aucs:
        low, high = min(row.fold_aucs), max(row.fold_aucs)
        said += f" Single folds: {words.figure(low)} to {words.figure(high)}."
    if row.single is not None:
        alone = words.estimate(row.single, row.single_low, row.single_high)
        said += (
            f" The one network of the study's split: {alone} on its {numbered(row.single_patients, 'test patient')}."
        )
    return said


def _pooled(row: CrossValidatedRow) -> str:
    if row.pooled is None or row.auc is None:
        return ""
    pooled = f"Pooled over folds it is {words.figure(row.pooled)}"
    if abs(row.pooled - row.auc) < ALIKE:
        return f"{pooled}: comparing scores of different networks changes little."
    if row.pooled > row.auc:
        return f"{pooled}: pairs of scans of two networks are ranked rightly more often."
    return f"{pooled}: pairs of scans of two networks are ranked rightly less often, as where scores differ in scale."


def elsewhere_words(rows: Sequence[EnsembleRow]) -> str:
    """How the means of the fold networks do at other sites beside the one network; "" where there is no such site."""
    if not rows:
        return ""
    better, worse = sum(row.low > 0 for row in rows), sum(row.high < 0 for row in rows)
    cells = f"{numbered(len(rows), 'cell')} elsewhere"
    learned = (
        "Together the folds' networks learned from all patients of the training sites, the one network from those "
        "that the split gives it."
    )
    if not better and not worse:
        return (
            f"In none of {cells} is the mean of the folds surely better or worse than the one network of the split; "
            f"that is not to say that they are equal. {learned}"
        )
    parts = [f"surely better in {better}"] * bool(better) + [f"surely worse in {worse}"] * bool(worse)
    return (
        f"Of {cells}, the mean of the folds is {words.listed(parts)} than the one network of the split (intervals of "
        f"single cells, not adjusted for their number). {learned}"
    )


def _table(study: Study, name: str) -> Table:
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("site", "Patients of"),
        Column("patients", "Patients", lambda v, r: f"{v} ({r.positive_patients} positive)", numeric=True),
        estimate_column("auc", "AUC within folds (95 %)"),
        estimate_column("pooled", "Pooled AUC (95 %)"),
        Column("fold_aucs", "Single folds", lambda v, _: ", ".join(words.figure(auc) for auc in v) or "–"),
        estimate_column("sensitivity", "Sensitivity (95 %)"),
        estimate_column("specificity", "Specificity (95 %)"),
        estimate_column("single", "The split's test AUC (95 %)"),
        Column("note", "Note"),
    ]
    note = (
        "Patients as the unit. Sensitivity and specificity at each fold's own threshold, chosen on other patients. The "
        "pooled interval is as of one network's scores and too narrow: it stands there to be compared, not reported."
    )
    return Table(name, "Every patient scored by a network that never saw him.", columns, study.cross_validation, note)


def _ensembles(study: Study, name: str) -> Table:
    columns = [
        Column("model", "Model", marked_names(study)),
        Column("site", "Tested at"),
        Column("ensemble", "AUC of the mean", lambda v, _: words.figure(v), numeric=True),
        Column("single", "AUC of the split's network", lambda v, _: words.figure(v), numeric=True),
        Column("difference", "Difference (95 %)", words.difference_words, numeric=True),
        Column(
            "member_lowest",
            "Single folds' networks",
            lambda v, r: f"{words.figure(v)} to {words.figure(r.member_highest)}",
            numeric=True,
        ),
    ]
    note = (
        "The same test scans for both; the difference is paired, by patient, and not adjusted for the number of cells."
    )
    caption = "The mean of the folds' networks where none of them was trained."
    return Table(name, caption, columns, study.ensembles_elsewhere, note)

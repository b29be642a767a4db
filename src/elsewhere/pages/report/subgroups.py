"""Subgroups by age, sex, scanner, kernel and contrast: where a network does surely otherwise than in the rest."""

from __future__ import annotations

from dataclasses import dataclass

from elsewhere.pages.report import words
from elsewhere.pages.report.content import Study
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.learned import marked_names
from elsewhere.pages.report.records import record_of
from elsewhere.pages.report.table import Column, Table, estimate_column
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.subgroups import Subgroup
from elsewhere.statistics.verdict_rule import LEAST_PATIENTS
from elsewhere.wording import numbered

MOST_SHOWN = 30
"""Rows of the table that stand on the page, those that differ first."""


@dataclass(frozen=True)
class Subgroups:
    """The section.

    Attributes:
        answer: whether any network does surely otherwise in a subgroup.
        words: how it was found, and what it cannot tell.
        table: every subgroup of every cell.
    """

    answer: str
    words: str
    table: Table


@dataclass(frozen=True)
class Line:
    """One subgroup of one cell, as the CSV has it; None where there are too few patients.

    Attributes:
        model: name of the network.
        site: where it was tested.
        group: column and level.
        scans: of the subgroup.
        patients: whose they are.
        positives: positive scans.
        auc: discrimination, then its 95 % interval.
        sensitivity: likewise.
        specificity: likewise.
        differs: measures that surely differ from the rest of the cell.
    """

    model: str
    site: str
    group: str
    scans: int
    patients: int
    positives: int
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    sensitivity: float | None
    sensitivity_low: float | None
    sensitivity_high: float | None
    specificity: float | None
    specificity_low: float | None
    specificity_high: float | None
    differs: tuple[str, ...]


def section(study: Study, slug: str, out: Folder) -> Subgroups | None:
    """The section; None where no metadata divide the test scans of any cell."""
    cells = study.details.subgroups
    if not cells:
        return None
    lines = [_line(model, site, group) for (model, site), groups in cells.items() for group in groups]
    rows = [record_of(line) for line in sorted(lines, key=lambda line: not line.differs)]
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("site", "Tested at"),
        Column("group", "Subgroup"),
        Column("patients", "Patients", numeric=True),
        Column("positives", "Positive scans", numeric=True),
        *(estimate_column(name, title) for name, title in MEASURES.items()),
        Column("differs", "Surely otherwise than the rest", lambda v, _: ", ".join(v) or "no"),
    ]
    note = (
        "Intervals (95 %) by patient, each by itself, not corrected. A dash: fewer than "
        f"{LEAST_PATIENTS} patients of the class (of each class, for the AUC)."
    )
    table = Table(f"{slug}-subgroups", "Subgroups of the test scans.", columns, rows, note, MOST_SHOWN)
    return Subgroups(answer(study), _words(len(cells)), out.add_table(table))


MEASURES = {"auc": "AUC (95 %)", "sensitivity": "Sensitivity (95 %)", "specificity": "Specificity (95 %)"}


def answer(study: Study) -> str:
    """What the subgroups say, in one sentence; networks that did not learn are left out."""
    able = {model.name for model in study.able}
    cells = {key: groups for key, groups in study.details.subgroups.items() if key[0] in able}
    judged = [
        group for groups in cells.values() for group in groups if group.auc or group.sensitivity or group.specificity
    ]
    if not judged:
        return (
            f"No subgroup has {LEAST_PATIENTS} patients of a class: whether the networks do otherwise in some patients "
            "cannot be told from these scans."
        )
    marked = [(key, group) for key, groups in cells.items() for group in groups if group.differs]
    if not marked:
        return (
            f"In none of {numbered(len(judged), 'subgroup')} with enough patients does a network surely otherwise than "
            "in the other scans of the site; that is not to say that all do alike: small groups show large differences "
            "alone."
        )
    (model, site), group = marked[0]
    return (
        f"In {numbered(len(marked), 'subgroup')} of {len(judged)} with enough patients a network does surely otherwise "
        f"than in the other scans of the site, such as {words.spaced(model)} at {site}, {group.column} {group.level}: "
        f"{', '.join(group.differs)}."
    )


def _words(cells: int) -> str:
    return (
        "Each subgroup of a network's test scans at a site (age under 40, 40 to 60, 60 and over; sex; manufacturer; "
        "scanner; kernel; contrast, where the scans tell them) is compared with all other scans of that site. Within "
        "one network and site the comparisons are corrected for their number (Bonferroni), so that a network that does "
        f"alike everywhere is marked in at most 5 % of cells; over {numbered(cells, 'cell')} that is not corrected "
        "again, and a single mark may be chance. A difference is no cause: scanner and patients go together."
    )


def _line(model: str, site: str, group: Subgroup) -> Line:
    counts = group.scans, group.patients, group.positives
    measures = *_ends(group.auc), *_ends(group.sensitivity), *_ends(group.specificity)
    return Line(model, site, f"{group.column}: {group.level}", *counts, *measures, group.differs)


def _ends(one: Interval | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if one is None else (one.estimate, one.low, one.high)

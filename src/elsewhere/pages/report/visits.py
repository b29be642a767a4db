"""Hospitals whose scans did not leave them: what they computed, and what is missing for it."""

from __future__ import annotations

from dataclasses import dataclass

from elsewhere.pages.report import words
from elsewhere.pages.report.content import Study, VisitRow
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.table import Column, Table
from elsewhere.wording import numbered, verb


@dataclass(frozen=True)
class Visits:
    """The section.

    Attributes:
        words: what was done, and what is missing for it.
        remarks: a sentence on a hospital each.
        table: the hospitals.
    """

    words: str
    remarks: tuple[str, ...]
    table: Table


def section(study: Study, slug: str, out: Folder) -> Visits | None:
    """The section on hospitals that computed their cells themselves; None in a study without."""
    if not study.visits:
        return None
    remarks = tuple(sentence for visit in study.visits for sentence in _remarks(visit))
    return Visits(_words(study), remarks, out.add_table(_table(study, f"{slug}-visits")))


def _words(study: Study) -> str:
    names = words.listed([visit.hospital for visit in study.visits])
    them = verb(len(study.visits), "it", "them")
    means = "" if study.trainings else "the means, "
    seeds = ", further trainings (seeds) and with them the means over cells" if study.trainings else ""
    return (
        f"At {names} the networks were run at the hospital, on scans that nobody here has seen; counts, scores and how "
        f"they vary together came back. These cells stand in the matrix, {means}the tests of networks and the "
        "prediction interval as all others do. Their labels and scans were checked there and cannot be checked here. "
        f"What needs the score of each scan leaves {them} out: threshold reading (b){seeds}, calibration curves and "
        "net benefit, where accuracy was lost, hardest scans, diagnosis, and dose–response. ROC curves are coarse: "
        "each step stands for five patients of each class or more."
    )


def counts_only_words(visit: VisitRow) -> tuple[str, str]:
    """What stands in a cell of which nothing but counts left."""
    return "counts only", numbered(visit.scans, "scan")


def where_computed(study: Study, site: str) -> str:
    """A sentence for a cell that was computed at its hospital; "" for others."""
    day = next((visit.date for visit in study.visits if visit.hospital == site), "")
    return f"Computed at the hospital on {day}; no scan left it." if day else ""


def _remarks(visit: VisitRow) -> list[str]:
    said = []
    if visit.counts_only:
        said.append(f"{visit.hospital} has too few patients of a class for more than counts.")
    said += visit.warnings
    if visit.outside:
        names = visit.outside.replace("_", " ")
        said.append(f"Most scans of {visit.hospital} lie outside all that the study knows in: {names}.")
    return said


def _table(study: Study, name: str) -> Table:
    columns = [
        Column("hospital", "Hospital"),
        Column("date", "Computed on"),
        Column("scans", "Scans", None, numeric=True),
        Column("patients", "Patients", None, numeric=True),
        Column("positive_patients", "Positive", None, numeric=True),
        Column("negative_patients", "Negative", None, numeric=True),
        Column("unlabelled", "No label", None, numeric=True),
        Column("unusable", "Not usable", None, numeric=True),
        Column("copies", "Copies", None, numeric=True),
        Column("learned_from", "Learned from", None, numeric=True),
        Column("kit", "Kit", lambda v, _: str(v)[:12]),
    ]
    note = "Positive and negative: patients with a scan of that class. Learned from: left out, as a network knows them."
    return Table(name, "Hospitals that computed their cells themselves.", columns, study.visits, note)

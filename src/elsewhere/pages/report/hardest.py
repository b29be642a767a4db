"""The scans that most networks get wrong in; two tables of them, positives and negatives, and what they mean, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elsewhere.pages.report.content import Study
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.shown_rows import HardScanRow, JudgedRow
from elsewhere.pages.report.table import Column, Table
from elsewhere.pages.report.words import figure, listed
from elsewhere.wording import numbered, verb

KINDS = {1: "positives", 0: "negatives"}


@dataclass(frozen=True)
class Hardest:
    """What the section shows of one study: a table of each class, and what the listed scans can mean."""

    words: str
    tables: Sequence[Table]


def section(study: Study, slug: str, out: Folder) -> Hardest | None:
    """What the section shows of one study; None with one network, for there is no consensus then."""
    if len(study.models) < 2:
        return None
    tables = [_table(study, f"{slug}-hardest-{kind}", label, kind) for label, kind in KINDS.items()]
    return Hardest(sentence(study), [out.add_table(table) for table in tables if table.rows])


def sentence(study: Study) -> str:
    """What the listed scans can mean: failures of the networks on a whole class, or scans to be looked at."""
    judged = [r for r in study.judged if r.models > 1]
    without = listed(list(dict.fromkeys(r.site for r in study.judged if r.models < 2)))
    not_judged = f" Not judged, for want of two networks that discriminate there: {without}." if without else ""
    if not judged:
        return f"No scan is listed: no site has two networks that discriminate there.{not_judged}"
    if not study.hardest:
        return f"No scan of {listed(_sites(judged))} is called wrongly by more than half of the networks.{not_judged}"
    failing = [r for r in judged if 2 * r.mostly_wrong > r.scans]
    classes = {(r.site, r.label) for r in failing}
    lone = [r for r in study.hardest if (r.site, r.label) not in classes]
    said = [_counted(judged, study.hardest)]
    if failing:
        named = [f"{r.mostly_wrong} of {r.scans} {KINDS[r.label]} of {r.site}" for r in failing]
        said.append(
            f"Most networks get most of a whole class wrong, {listed(named)}: there the networks fail, and a listed "
            "scan of that class need not be hard."
        )
    if lone:
        here = sum(2 * r.trained_here_wrong > r.trained_here for r in lone if r.trained_here)
        said.append(
            f"{_of_listed(len(lone), len(study.hardest))} of a class that the networks mostly get right at that site; "
            f"{here} of these {verb(here, 'is', 'are')} called wrongly also by most networks trained there. Look at "
            "these first: odd scan, hardly visible disease or wrong label; the records cannot tell which."
        )
    return " ".join(said) + not_judged


def _counted(judged: Sequence[JudgedRow], hardest: Sequence[HardScanRow]) -> str:
    """How many scans of how many patients most networks get wrong, by class, and how many of them are listed."""
    parts, cut = [], []
    for label, kind in KINDS.items():
        of_class = [r for r in judged if r.label == label]
        scans, patients = sum(r.mostly_wrong for r in of_class), sum(r.mostly_wrong_patients for r in of_class)
        shown = sum(r.label == label for r in hardest)
        if scans:
            parts.append(f"{numbered(scans, kind.removesuffix('s'))} of {numbered(patients, 'patient')}")
        if shown < scans:
            cut.append(f"the {shown} hardest {kind}")
    listing = f"; listed are {listed(cut)}" if cut else ""
    return f"Called wrongly by more than half of the networks: {listed(parts)}{listing}."


def _of_listed(some: int, total: int) -> str:
    if some == total:
        return "The listed scan is" if total == 1 else "All listed scans are"
    return f"{some} of the listed scans {verb(some, 'is', 'are')}"


def _sites(judged: Sequence[JudgedRow]) -> list[str]:
    return list(dict.fromkeys(r.site for r in judged))


def _table(study: Study, name: str, label: int, kind: str) -> Table:
    columns = [
        Column("scan", "Scan"),
        Column("site", "Site"),
        Column("wrong", "Networks wrong", lambda v, r: f"{v} of {r.models}", numeric=True),
        Column("trained_here_wrong", "Of those trained at its site", _here, numeric=True),
        Column("mean_probability", "Mean probability", lambda v, _: figure(v), numeric=True),
        Column("known", "What is known of it", lambda v, _: v or "–"),
    ]
    missed = "missed" if label else "called positive"
    rows = [row for row in study.hardest if row.label == label]
    caption = f"{kind.capitalize()} {missed} by more than half of the networks that discriminate at the site, the "
    total = sum(r.mostly_wrong for r in study.judged if r.label == label and r.models > 1)
    end = f"{len(rows)} hardest of {total}." if len(rows) < total else "hardest first."
    return Table(name, caption + end, columns, rows)


def _here(value: int, row: HardScanRow) -> str:
    return f"{value} of {row.trained_here}" if row.trained_here else "none was"

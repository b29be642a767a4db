"""A finished study's page has its networks' cards, precision and subgroups from its own scans."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from elsewhere.commands.report import report
from elsewhere.commands.report.cells import read_cells
from elsewhere.commands.report.details import details
from elsewhere.commands.report.kept_study import read_study
from elsewhere.statistics.precision_recall import precision_recall
from elsewhere.studies.folder import Folder
from elsewhere.studies.records import read_scores, usable_rows


def test_cards_precision_and_subgroups_are_those_of_the_study(finished_study: Path, tmp_path: Path) -> None:
    out = tmp_path / "page"
    text = report([finished_study], out).read_text(encoding="utf-8")
    folder = Folder(finished_study)
    study = read_study(folder)
    for path in re.findall(r'href="(cards/[^"]+)"', text):
        assert (out / path.replace("%2B", "+")).read_text(encoding="utf-8").startswith("# ")
    assert len(list((out / "cards").glob("*.md"))) == len(study.models)
    cells = read_cells(folder, study)
    table = next((out / "tables").glob("*-precision.csv")).read_text(encoding="utf-8")
    shown = {(r["model"], r["site"]): float(r["average_precision"]) for r in csv.DictReader(table.splitlines())}
    assert shown == {k: precision_recall(c.labels, c.probabilities).average for k, c in cells.items() if c.two_classes}


def test_a_group_of_scans_is_made_of_what_the_scans_tell(finished_study: Path) -> None:
    folder = Folder(finished_study)
    study = read_study(folder)
    rows, cells, scores = usable_rows(folder), read_cells(folder, study), read_scores(folder, study.record)
    key = next(key for key, cell in cells.items() if cell.two_classes)
    for place, row in enumerate(rows):
        facts = dict.fromkeys(("age", "sex", "manufacturer", "model", "kernel", "contrast"))
        row.facts.update(facts | {"contrast": place % 2 == 0})  # type: ignore[attr-defined]
    found = details(folder, rows, {key: cells[key]}, scores, "model", [])
    assert {group.column for group in found.subgroups[key]} == {"contrast"}
    assert {group.level for group in found.subgroups[key]} == {"with", "without"}
    assert sum(group.scans for group in found.subgroups[key]) == cells[key].labels.size
    assert not found.cards
    for row in rows:
        row.facts.update({"contrast": None})  # type: ignore[attr-defined]
    assert not details(folder, rows, {key: cells[key]}, scores, "model", []).subgroups

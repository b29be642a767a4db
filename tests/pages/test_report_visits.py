"""Hospitals that computed their cells themselves: what the page says of them, on both sides of each condition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_study import a_cell, a_study

from elsewhere.pages.report import ExampleSlice, Site, Study, VisitRow
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.matrix import matrix_rows
from elsewhere.pages.report.pictures import examples
from elsewhere.pages.report.records import groups
from elsewhere.pages.report.visits import section
from elsewhere.rows import SeedRow

TRAINED_TWICE = SeedRow("A", "A", "auc", 0.9, 0.8, 1.0, None, 2, 0.9, 0.01, 0.89, 0.91)


def a_visit(hospital: str = "Mercy", **values: object) -> VisitRow:
    row = VisitRow(hospital, "2026-11-28", "ab" * 32, ("A", "B"), 48, 44, 20, 24, 0, 1, 0, 2, False)
    return replace(row, **values)  # type: ignore[arg-type]


def visited(*visits: VisitRow, **parts: object) -> Study:
    own = a_study(
        a_cell("A", "A", 0.9),
        a_cell("A", "B", 0.7),
        *(a_cell("A", v.hospital, 0.6) for v in visits if not v.counts_only),
    )
    sites = [*own.sites, *(Site(v.hospital, visited=v.date) for v in visits)]
    return replace(own, sites=sites, visits=visits, **parts)  # type: ignore[arg-type]


def test_nothing_is_said_without_a_visit(tmp_path: Path) -> None:
    assert section(a_study(), "paper", Folder(tmp_path)) is None


@pytest.mark.parametrize(("names", "them"), [(["Mercy"], "leaves it out"), (["Mercy", "North"], "leaves them out")])
def test_what_is_missing_is_said(tmp_path: Path, names: list[str], them: str) -> None:
    found = section(visited(*map(a_visit, names)), "paper", Folder(tmp_path))
    assert found is not None
    assert f"At {' and '.join(names)} the networks were run at the hospital" in found.words
    assert them in found.words
    assert "the matrix, the means, the tests" in found.words
    assert [row.hospital for row in found.table.rows] == names


def test_remarks_are_those_of_each_hospital(tmp_path: Path) -> None:
    plain = section(visited(a_visit()), "paper", Folder(tmp_path))
    assert plain is not None
    assert plain.remarks == ()
    told = visited(
        a_visit(counts_only=True), a_visit("North", warnings=("North: knowing only kernel …",), outside="units")
    )
    found = section(told, "paper", Folder(tmp_path))
    assert found is not None
    assert found.remarks == (
        "Mercy has too few patients of a class for more than counts.",
        "North: knowing only kernel …",
        "Most scans of North lie outside all that the study knows in: units.",
    )


def test_a_cell_says_where_it_was_computed() -> None:
    rows = dict(matrix_rows(visited(a_visit(), a_visit("North", counts_only=True))))
    own, mercy, north = rows["A"][0], rows["A"][4], rows["A"][5]
    assert "Computed at the hospital on 2026-11-28; no scan left it." in mercy.details
    assert "Computed at the hospital" not in own.details
    assert (mercy.main, north.main, north.lines) == ("0.60", "counts only", ("48 scans",))
    assert rows["A + D"][5].main == "not measured"  # no network of the kit


def test_means_hold_a_hospital_unless_networks_were_trained_again(tmp_path: Path) -> None:
    once, again = visited(a_visit()), visited(a_visit(), trainings=(TRAINED_TWICE,))
    assert [group.aucs for group in groups(once) if group.kin == "unseen"] == [(0.7, 0.6)]
    assert [group.aucs for group in groups(again) if group.kin == "unseen"] == [(0.7,)]
    found = section(again, "paper", Folder(tmp_path))
    assert found is not None
    assert "the matrix, the tests" in found.words
    assert "further trainings (seeds) and with them the means over cells" in found.words


def test_pictures_of_scans_have_no_column_for_scans_that_are_not_here() -> None:
    slices = [ExampleSlice("A", 1, np.zeros((8, 8), np.uint8), "a slice", "s1", "as read")]
    drawn = examples(visited(a_visit(), examples=slices), "examples")
    assert "Mercy" not in drawn.svg()
    assert "no such scan" in drawn.svg()  # B, C and D, whose scans are here

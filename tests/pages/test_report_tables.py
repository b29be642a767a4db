"""Tables of the page: each heading and caption from records on both sides of its condition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from small_study import a_study

from elsewhere.audit_rows import OddityRow, RuleRow
from elsewhere.pages.report import Audit, CurveRow, Model, tables
from elsewhere.pages.report.table import Column, Table
from elsewhere.statistics.audit import CountRow
from study_rows import an_oddity


def headings(table: Table) -> dict[str, str]:
    """Key -> heading of each column."""
    return {column.key: column.heading for column in table.columns}


def printed(table: Table, key: str) -> list[str]:
    """What stands in one column."""
    return [column.print(row) for column in table.columns if column.key == key for row in table.rows]


def a_rule(**values: Any) -> RuleRow:
    """A row of `Audit.confounding`."""
    return replace(RuleRow("kernel", "A", 0.9, 0.01, 99), **values)


def rules_table(*rules: RuleRow) -> Table:
    """The audit's table of rules."""
    return next(t for t in tables.audit_tables(Audit(confounding=rules), "s") if t.name == "s-confounding")


def test_the_validation_accuracy_is_that_of_the_kept_weights_and_not_the_highest() -> None:
    curves = [CurveRow("A", {"iteration": float(i), "validation_accuracy": v}) for i, v in ((40, 0.7), (80, 0.9))]
    curves += [CurveRow("A", {"iteration": 40.0, "training_loss": 0.5}), CurveRow("B", {"iteration": 40.0})]
    study = a_study(models=(Model("A", ("A",), 40), Model("B", ("B",), 40)), curves=curves)
    assert printed(tables.model_table(study, "models"), "kept_validation_accuracy") == ["0.700", "–"]
    later = replace(study, models=(Model("A", ("A",), 80),))
    assert printed(tables.model_table(later, "models"), "kept_validation_accuracy") == ["0.900"]


def test_columns_that_no_rule_fills_are_left_out() -> None:
    assert list(headings(rules_table(a_rule()))) == ["rule", "sites", "auc", "p_value", "permutations"]
    assert list(headings(rules_table(a_rule(p_value=None, permutations=None)))) == ["rule", "sites", "auc"]
    assert list(headings(rules_table(a_rule(), a_rule(facts="kernel"))))[-1] == "facts"


def test_a_p_that_no_shuffle_reached_is_at_most_that() -> None:
    rules = a_rule(), a_rule(p_value=0.02), a_rule(p_value=0.0083, permutations=119), a_rule(permutations=None)
    assert printed(rules_table(*rules), "p_value") == ["≤ 0.010", "0.020", "≤ 0.009", "0.010"]


def test_findings_on_single_scans_and_pairs_are_counted_apart() -> None:
    """258 pairs of one patient's reconstructions are no odd scans."""
    scan = an_oddity(finding="slice order")
    pair = replace(scan, finding="same anatomy", other_site="A", other_scan="t", other_subset="train")
    pairs = [replace(pair, other_patient="p"), replace(pair, other_patient="q", suspected_leak=True)]

    def caption(*rows: OddityRow) -> str:
        return next(t for t in tables.audit_tables(Audit(forensics=rows), "s")).caption

    assert caption(scan, *pairs) == (
        "Odd scans, seen in the pictures alone: 1 finding on single scans, and 2 pairs of scans that look like one "
        "body (1 within a patient); 1 suspected leak."
    )
    assert "2 findings on single scans, and 0 pairs" in caption(scan, scan)


def test_rows_may_be_dataclasses_or_records_and_a_column_may_be_computed() -> None:
    columns = [Column("class", "Class", value=lambda row: f"class {row.label}"), Column("scans", "Scans", numeric=True)]
    table = Table("t", "Counts.", columns, [CountRow("A", 1, "test", 2, 3, 40), CountRow("A", None, "test", 1, 1, 9)])
    assert [column.print(table.rows[0]) for column in table.columns] == ["class 1", "3"]
    assert table.to_csv().splitlines() == [
        "class,scans,site,label,subset,patients,slices",
        "class 1,3,A,1,test,2,40",
        "class None,1,A,,test,1,9",
    ]
    records = Table("t", "Counts.", [Column("b", "B")], [{"a": 1}, {"b": None}])
    assert [records.columns[0].print(row) for row in records.rows] == ["–", "–"]
    assert records.to_csv().splitlines() == ["b,a", ",1", ","]

"""What the page says of thresholds and recalibrations from kept patients, and that each sentence follows its record."""

from __future__ import annotations

from dataclasses import replace

from small_study import a_study

from elsewhere.local_rows import LocalReadingRow
from elsewhere.pages.report.kept_patients import KeptPatients, kept_patients
from elsewhere.pages.report.table import Table

SHIFTED = LocalReadingRow(
    model="Vendor",
    site="A",
    change="threshold",
    measure="balanced accuracy",
    own=0.7,
    own_low=0.65,
    own_high=0.75,
    changed=0.8,
    changed_low=0.75,
    changed_high=0.85,
    difference=0.1,
    difference_low=0.05,
    difference_high=0.15,
    outcome="better",
    kept_positive_patients=20,
    kept_negative_patients=21,
    kept_unanswered=0,
    positive_patients=30,
    negative_patients=31,
    own_threshold=0.5,
    threshold=0.875,
    intercept=-1.5,
    slope=0.9,
    reason="",
)
BRIER = replace(
    SHIFTED, change="recalibration", measure="Brier score", own=0.2214, own_low=0.2, own_high=0.24, changed=0.18
)
FEW = replace(
    SHIFTED,
    site="B",
    change="",
    measure="",
    own=None,
    changed=None,
    difference=None,
    outcome="",
    threshold=None,
    intercept=None,
    slope=None,
    reason="they are 3 positive and 4 negative, and a threshold from fewer than 10 of a class is chance",
)


def shown(*rows: LocalReadingRow) -> KeptPatients:
    found = kept_patients(a_study(product_local=rows, settings={"split": {"local": 0.4}}), "local")
    assert found is not None
    return found


def cells(table: Table | None) -> list[list[str]]:
    assert table is not None
    return [[column.print(row) for column in table.columns] for row in table.rows]


def test_a_study_that_keeps_nobody_says_nothing() -> None:
    assert kept_patients(a_study(), "local") is None


def test_better_is_said_of_what_is_better_and_of_nothing_else() -> None:
    same = replace(SHIFTED, site="B", outcome="not shown", difference=0.0, difference_low=-0.1, difference_high=0.1)
    worse = replace(SHIFTED, site="C", outcome="worse")
    found = shown(SHIFTED, same, worse, BRIER)
    assert found.findings == (
        "3 local thresholds against the product as it is, by balanced accuracy: better: 1 (Vendor at A); worse: 1 "
        "(Vendor at C); no difference shown: 1 (Vendor at B).",
        "1 recalibration against the product as it is, by Brier score: better: 1 (Vendor at A).",
    )
    assert "a share of 40%" in found.words
    assert found.reasons == ()


def test_a_threshold_that_trades_sensitivity_away_is_not_called_better_without_saying_so() -> None:
    lower = replace(SHIFTED, measure="sensitivity", outcome="worse", difference=-0.1)
    (said,) = shown(lower, SHIFTED).findings
    assert said.endswith("better: 1 (Vendor at A, at a lower sensitivity).")


def test_measures_that_only_moved_along_are_no_finding() -> None:
    found = shown(replace(SHIFTED, measure="specificity"), replace(SHIFTED, measure="sensitivity", outcome="worse"))
    assert found.findings == ()


def test_too_few_patients_are_a_sentence_and_no_row() -> None:
    found = shown(FEW)
    assert found.choices is found.measures is None
    assert found.findings == ()
    assert found.reasons == (
        "Vendor at B: neither a threshold nor a recalibration was chosen on the kept patients: they are 3 positive and "
        "4 negative, and a threshold from fewer than 10 of a class is chance.",
    )


def test_a_row_says_on_how_many_what_was_chosen_and_what_came_of_it() -> None:
    intercept = replace(
        BRIER, measure="calibration intercept", own=-1.0, own_low=-1.25, own_high=-0.75, difference=None, outcome=""
    )
    rows = [SHIFTED, BRIER, intercept, replace(SHIFTED, measure="sensitivity")]
    found = shown(*(replace(row, kept_unanswered=3) for row in rows), FEW)
    first, brier, third, fourth = cells(found.measures)
    assert first == [
        *("Vendor", "A", "balanced accuracy", "0.70 (0.65–0.75)", "0.80 (0.75–0.85)"),
        *("+0.10 (+0.05 to +0.15)", "better"),
    ]
    assert brier[2:4] == ["Brier score", "0.221 (0.200–0.240)"]
    assert third[3] == "−1.00 (−1.25 to −0.75)"
    assert third[5:] == ["–", "–"]
    assert fourth[2] == "sensitivity"
    numbers = ["20", "21", "3", "0.50", "0.88", "0.90", "−1.50", "30", "31"]
    assert cells(found.choices) == [["Vendor", "A", *numbers]]


def test_what_cannot_be_compared_is_said() -> None:
    bare = replace(SHIFTED, measure="sensitivity", own=None, difference=None, outcome="")
    alike = replace(BRIER, negative_patients=0, outcome="")
    assert shown(bare, alike).reasons == (
        "Vendor at A has no decisions of its own to compare a local threshold with.",
        "Vendor at A: all scored patients are positive, so that neither change is judged there.",
    )

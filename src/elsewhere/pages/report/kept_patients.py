"""Models that were not trained here, with a threshold and a recalibration from kept patients: sentences, two tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from elsewhere.local_rows import LocalReadingRow
from elsewhere.pages.report import words
from elsewhere.pages.report.content import Study
from elsewhere.pages.report.records import number
from elsewhere.pages.report.table import Column, Table
from elsewhere.wording import numbered

DECIDING = {"threshold": "balanced accuracy", "recalibration": "Brier score"}
"""Change -> the measure that says whether it is better."""
TRADED = ("sensitivity", "specificity")
SHOWN = {"better": "better", "worse": "worse", "not shown": "no difference shown"}
HELD = (
    "Both columns: the same scans, of patients that nothing was chosen on. Intervals: these patients as the unit; they "
    "are not adjusted for the number of rows, and hold what was chosen: other kept patients would give another choice. "
    "Brier score: smaller is better. Calibrated: intercept 0, slope 1. A threshold that trades sensitivity for "
    "specificity is judged by their mean, which may not be what the product is used for."
)


@dataclass(frozen=True)
class KeptPatients:
    """What stands on the page of kept patients.

    Attributes:
        words: what was done.
        findings: a sentence on each change.
        reasons: a sentence on each place where nothing was chosen, or not compared.
        choices: what was chosen, on how many; None where nothing was chosen anywhere.
        measures: each measure; likewise.
    """

    words: str
    findings: tuple[str, ...]
    reasons: tuple[str, ...]
    choices: Table | None
    measures: Table | None


def kept_patients(study: Study, name: str) -> KeptPatients | None:
    """The sentences and the tables; None where no patient was kept.

    Args:
        study: with its readings.
        name: of the table of measures.
    """
    if not study.product_local:
        return None
    rows = [row for row in study.product_local if row.measure]
    findings = tuple(said for change in DECIDING if (said := _finding(change, rows)))
    choices, measures = (_choices(f"{name}-chosen", rows), _measures(name, rows)) if rows else (None, None)
    return KeptPatients(_words(study), findings, _reasons(study.product_local), choices, measures)


def _words(study: Study) -> str:
    share = number(study.settings.get("split", {}).get("local")) or 0.0
    return (
        f"Of the test patients of each site a share of {share:.0%} was kept, by patient within each class. On the kept "
        "ones that a model answered, a local threshold (the one whose smaller reserve above a sensitivity and a "
        "specificity of 0.70 is largest) and a recalibration of its probabilities (logistic: Platt) were chosen. All "
        "scores of models that were not trained here, in the matrix too, are those of the other patients."
    )


def _finding(change: str, rows: Sequence[LocalReadingRow]) -> str:
    """How often a change is better, worse, or neither; "" where it was compared nowhere."""
    deciding = [row for row in rows if (row.change, row.measure) == (change, DECIDING[change]) and row.outcome]
    if not deciding:
        return ""
    lost = {(r.model, r.site): r.measure for r in rows if r.measure in TRADED and r.outcome == "worse"}
    said = []
    for outcome, shown in SHOWN.items():
        places = [(row.model, row.site) for row in deciding if row.outcome == outcome]
        less = [f", at a lower {lost[place]}" if change == "threshold" and place in lost else "" for place in places]
        names = [f"{place[0]} at {place[1]}{more}" for place, more in zip(places, less, strict=True)]
        said += [f"{shown}: {len(names)} ({words.listed(names)})"] if names else []
    what = {"threshold": "local threshold", "recalibration": "recalibration"}[change]
    head = f"{numbered(len(deciding), what)} against the product as it is, by {DECIDING[change]}"
    return f"{head}: {'; '.join(said)}."


def _reasons(rows: Sequence[LocalReadingRow]) -> tuple[str, ...]:
    found = []
    for row in rows:
        place = f"{row.model} at {row.site}"
        if row.reason:
            why = f"neither a threshold nor a recalibration was chosen on the kept patients: {row.reason}"
            found.append(f"{place}: {why}.")
        if row.measure == "sensitivity" and row.own is None:
            found.append(f"{place} has no decisions of its own to compare a local threshold with.")
        if row.measure == "Brier score" and not (row.positive_patients and row.negative_patients):
            alike = "positive" if row.positive_patients else "negative"
            found.append(f"{place}: all scored patients are {alike}, so that neither change is judged there.")
    return tuple(dict.fromkeys(found))


def _measures(name: str, rows: Sequence[LocalReadingRow]) -> Table:
    columns = [
        Column("model", "Product"),
        Column("site", "Site"),
        Column("measure", "Measure"),
        _column("own", "As it is (95 %)", lambda r: _measured(r.measure, r.own, r.own_low, r.own_high)),
        _column("changed", "Changed (95 %)", lambda r: _measured(r.measure, r.changed, r.changed_low, r.changed_high)),
        _column("difference", "Difference (95 %)", _difference),
        Column("outcome", "With the change", lambda v, _: SHOWN.get(str(v), "–")),
    ]
    caption = (
        "As the product is, and with the local threshold (sensitivity, specificity, balanced accuracy) or recalibrated "
        "probabilities (Brier score, calibration)."
    )
    return Table(name, caption, columns, rows, HELD)


def _choices(name: str, rows: Sequence[LocalReadingRow]) -> Table:
    columns = [
        Column("model", "Product"),
        Column("site", "Site"),
        Column("kept_positive_patients", "Chosen on: positive", numeric=True),
        Column("kept_negative_patients", "negative", numeric=True),
        Column("kept_unanswered", "no answer (scans)", numeric=True),
        Column("own_threshold", "Own threshold", lambda v, _: words.figure(v), numeric=True),
        Column("threshold", "Local threshold", lambda v, _: words.figure(v), numeric=True),
        Column("slope", "Slope", lambda v, _: words.figure(v), numeric=True),
        Column("intercept", "Intercept", lambda v, _: words.signed(v), numeric=True),
        Column("positive_patients", "Measured on: positive", numeric=True),
        Column("negative_patients", "negative", numeric=True),
    ]
    first = {(row.model, row.site): row for row in rows}
    chosen = [{column.key: vars(row)[column.key] for column in columns} for row in first.values()]
    caption = "What was chosen, on how many kept patients, and on how many others it is measured."
    return Table(name, caption, columns, chosen, "Thresholds are probabilities.")


def _column(key: str, heading: str, show: Callable[[LocalReadingRow], str]) -> Column:
    return Column(key, heading, lambda _, row: show(row), numeric=True)


def _measured(measure: str, value: float | None, low: float | None, high: float | None) -> str:
    if measure == "calibration intercept":
        known = low is not None and high is not None
        return words.signed(value) + (f" ({words.signed_ends(low, high)})" if known else "")
    if measure == "calibration slope":
        ends = words.interval(low, high)
        return words.figure(value) + (f" ({ends})" if ends else "")
    return words.estimate(value, low, high, 3 if measure == "Brier score" else 2)


def _difference(row: LocalReadingRow) -> str:
    if row.difference is None:
        return "–"
    moved = words.signed(row.difference, 3 if row.measure == "Brier score" else 2)
    return f"{moved} ({words.signed_ends(row.difference_low, row.difference_high)})"

"""Score records in; the cell asked for, its kin (home, seen, unseen), averages and group means out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from elsewhere.pages.report.content import Model, Study
from elsewhere.pages.report.shown_rows import GroupRow
from elsewhere.rows import ProductScoreRow, ScoreRow
from elsewhere.statistics.score import Confusion, average_confusion, combine_confusions

READINGS = {
    "model": "(a): one threshold per model, from the validation scans of its own training sites",
    "site": "(b): one threshold per model and tested site, from that site's own validation scans",
}
"""The two threshold readings (protocol page, "Evaluation"); (a) is the external test, (b) our reading of the paper."""

KINS = {"home": "trained here only", "seen": "one of its training sites", "unseen": "never seen in training"}

CAUTIOUS = "mean of the cells' 95 % limits: wide enough whatever patients the cells share"
"""A mean of errors is no less than the error of a mean, so these ends hold without knowing what the cells share."""


@dataclass(frozen=True)
class Group:
    """Cells of one kin.

    Attributes:
        kin: "home", "seen" or "unseen".
        aucs: exact AUC of each cell that has one.
        mean: their plain mean.
        low: lower end of its 95 % interval.
        high: upper end.
        method: how the interval was made, in words.
    """

    kin: str
    aucs: tuple[float, ...]
    mean: float
    low: float
    high: float
    method: str


@dataclass(frozen=True)
class Averaged:
    """The paper's "Average" or "Combined" of one model over sites.

    Attributes:
        name: the column's heading.
        sensitivity: None where no site has positives.
        specificity: None where no site has negatives.
        accuracy: mean of the sites' accuracies, or from the added counts.
        confusion: the added counts; None for an average.
    """

    name: str
    sensitivity: float | None
    specificity: float | None
    accuracy: float
    confusion: Confusion | None


def number(value: Any) -> float | None:
    """A float, or None where nothing was measured (None, NaN, or no number at all)."""
    if value is None or isinstance(value, str):
        return None
    return None if math.isnan(value) else float(value)


def kin_of(model: Model, site: str) -> str:
    """How a test site stands to a model: "home", "seen" or "unseen"."""
    if site not in model.trained_on:
        return "unseen"
    return "home" if len(model.trained_on) == 1 else "seen"


def index(scores: Iterable[ScoreRow]) -> dict[tuple[str, str, str], ScoreRow]:
    """Scores by (model, site, threshold reading)."""
    return {(r.model, r.site, r.threshold_reading): r for r in scores}


def cell(
    cells: Mapping[tuple[str, str, str], ScoreRow], model: str, site: str, reading: str = "", first: str = "model"
) -> ScoreRow | None:
    """One cell by its reading, or by whichever is there when none is asked for; None when it was not measured."""
    readings = [reading] if reading else [first, *READINGS]
    return next((cells[model, site, r] for r in readings if (model, site, r) in cells), None)


def confusion_of(row: ScoreRow | None) -> Confusion | None:
    """The counts of one cell, None when they were not measured."""
    if row is None:
        return None
    counts = (row.true_positive, row.false_negative, row.false_positive, row.true_negative)
    values = [number(count) for count in counts]
    if any(value is None for value in values) or not sum(v for v in values if v):
        return None
    return Confusion(*(int(v or 0) for v in values))


def record_of(row: object) -> Mapping[str, Any]:
    """A row's columns by name, as a table of the page has them; where it was made from stays behind."""
    given: Mapping[str, Any] = row if isinstance(row, Mapping) else vars(row)
    return {name: value for name, value in given.items() if name != "made_from"}


def value_in(row: object, name: str) -> Any:
    """What a row has in one column; None where it has no such column."""
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def one_class(row: ScoreRow | ProductScoreRow) -> str:
    """ "positive" or "negative" when all scans of the cell are so, "" otherwise."""
    positives, negatives = number(row.positives), number(row.negatives)
    if negatives == 0 and positives:
        return "positive"
    return "negative" if positives == 0 and negatives else ""


def one_class_sites(study: Study) -> list[str]:
    """Sites of which every measured cell has one class only, in the study's order."""
    found = {r.site for r in study.scores if one_class(r)}
    return [site.name for site in study.sites if site.name in found]


def averages(study: Study, model: str, reading: str) -> list[Averaged]:
    """ "Average" over all measured sites, the same without one-class sites, and "Combined" of one model."""
    cells = index(study.scores)
    matrices = {site.name: confusion_of(cell(cells, model, site.name, reading)) for site in study.sites}
    measured = {site: matrix for site, matrix in matrices.items() if matrix}
    if not measured:
        return []
    odd = [site for site in one_class_sites(study) if site in measured]
    both = {site: matrix for site, matrix in measured.items() if site not in odd}
    rows = [_average("Average", measured.values())]
    if odd and both:
        rows.append(_average(f"Average without {', '.join(odd)}", both.values()))
    total = combine_confusions(measured.values())
    rates = (number(total.sensitivity), number(total.specificity))
    return [*rows, Averaged("Combined", *rates, total.accuracy, total)]


def groups(study: Study) -> list[Group]:
    """Home, seen and unseen cells of the networks that learned, with their mean AUC; kins without one are left out."""
    given = {row.group: row for row in study.groups}
    found = [_group(study, kin, given.get(kin)) for kin in KINS]
    return [group for group in found if group]


def fall(study: Study, name: str = "fall") -> Group | None:
    """The difference of the means at home (or seen) and elsewhere with its interval; None where nobody made it.

    `name` "fall, same networks" asks for that of the networks that stand on both sides.
    """
    given = next((row for row in study.groups if row.group == name), None)
    return Group(name, (), given.auc, given.auc_low, given.auc_high, given.method) if given else None


def _group(study: Study, kin: str, given: GroupRow | None) -> Group | None:
    cells = index(study.scores)
    sites = [s.name for s in study.sites if not (s.visited and study.trainings)]  # those know no further trainings
    records = [cell(cells, m.name, site) for m in study.able for site in sites if kin_of(m, site) == kin]
    measured = [(auc, r) for r in records if r and (auc := number(r.auc)) is not None]
    if not measured:
        return None
    aucs = tuple(auc for auc, _ in measured)
    if given:
        return Group(kin, aucs, given.auc, given.auc_low, given.auc_high, given.method)
    low = _mean(number(r.auc_sampling_low) for _, r in measured)
    high = _mean(number(r.auc_sampling_high) for _, r in measured)
    return Group(
        kin,
        aucs,
        _mean(aucs),
        low,
        high,
        CAUTIOUS,
    )


def _average(name: str, matrices: Iterable[Confusion]) -> Averaged:
    matrices = list(matrices)
    rates = average_confusion(matrices)
    accuracy = _mean(m.accuracy for m in matrices)
    return Averaged(name, number(rates[1, 1]), number(rates[0, 0]), accuracy, None)


def _mean(values: Iterable[float | None]) -> float:
    """Plain mean; NaN when a value is missing, so that a gap shows."""
    listed = [math.nan if value is None else value for value in values]
    return sum(listed) / len(listed) if listed else math.nan

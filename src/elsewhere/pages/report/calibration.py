"""One study's reliability and decision curves in; figures, tables and a sentence on how far to believe them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any

import numpy as np

from elsewhere.pages.figures import BenefitPanel, Canvas, ReliabilityPanel, benefit_grid, reliability_grid
from elsewhere.pages.report.content import Calibration, Model, Study
from elsewhere.pages.report.folder import Folder, Picture
from elsewhere.pages.report.learned import marked_name, marked_names
from elsewhere.pages.report.pictures import FAMILIES, family
from elsewhere.pages.report.records import cell, index, kin_of, number, one_class, value_in
from elsewhere.pages.report.table import Column, Table, marked_site, plain_table
from elsewhere.pages.report.words import NOT_MEASURED, figure, listed, one_class_words, signed, signed_ends, spaced
from elsewhere.rows import ScoreRow
from elsewhere.wording import numbered

Found = dict[tuple[str, str], Calibration]


NARROW = 0.05
"""A range of thresholds narrower than this is named by its middle: nobody sets a threshold so finely."""


@dataclass(frozen=True)
class CalibrationPart:
    """What the section shows of one study; `pictures`: family in words, reliability, net benefit; `points` are CSV."""

    words: str
    pictures: Sequence[tuple[str, Picture, Picture]]
    table: Table
    points: Sequence[Table]


@dataclass(frozen=True)
class CalibrationRow:
    """Calibration of one model at one site in numbers: as in `ScoreRow`, and as in `Calibration` for the rest."""

    model: str
    site: str
    kin: str
    brier: float | None
    ece: float | None
    ece_if_calibrated: float | None
    calibration_note: str | None
    calibration_intercept: float | None
    calibration_intercept_sampling_low: float | None
    calibration_intercept_sampling_high: float | None
    calibration_slope: float | None
    calibration_slope_sampling_low: float | None
    calibration_slope_sampling_high: float | None
    observed_expected: float | None
    observed_expected_sampling_low: float | None
    observed_expected_sampling_high: float | None
    useful_from: float | None
    useful_to: float | None
    observed_expected_corrected: float | None


@dataclass(frozen=True)
class BinRow:
    """One bin of a reliability curve: share of positives with its 95 % interval."""

    model: str
    site: str
    mean_probability: float
    positive_share: float
    low: float
    high: float
    scans: int


@dataclass(frozen=True)
class BenefitRow:
    """One threshold of a decision curve: net benefit per scan, as in `Calibration`."""

    model: str
    site: str
    threshold: float
    net_benefit: float
    treat_all: float
    treat_none: float
    least_gain: float


def section(study: Study, slug: str, out: Folder) -> CalibrationPart | None:
    """What the section shows of one study; None without any curve."""
    if not study.calibrations:
        return None
    found = {(c.model, c.site): c for c in study.calibrations}
    pictures = []
    for key, letter in (("single", "a"), ("several", "b")):
        models = family(study, key)
        if models:
            reliability = out.add_picture(_reliability(study, f"{slug}-calibration-{letter}", models, found))
            benefit = out.add_picture(_benefit(study, f"{slug}-net-benefit-{letter}", models, found))
            pictures.append((FAMILIES[key], reliability, benefit))
    points = [
        plain_table(f"{slug}-reliability", "Reliability curves, every bin.", _bins(study)),
        plain_table(f"{slug}-decision-curves", "Decision curves, every threshold.", _benefits(study)),
    ]
    return CalibrationPart(
        words=sentence(study),
        pictures=pictures,
        table=out.add_table(calibration_table(study, f"{slug}-calibration", found)),
        points=[out.add_table(table) for table in points],
    )


def useful_range(curve: Calibration) -> tuple[float, float] | None:
    """The longest run of thresholds at which the model is shown to beat treat-all and treat-none; None for none.

    Shown: the whole 95 % interval of the gain over the better of both lies above 0. A curve that merely lies above both
    is no find: scores of pure chance do so at some threshold in most cells.
    """
    better = np.asarray(curve.least_gain) > 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], better, [False]]).astype(np.int8)))
    if not edges.size:
        return None
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    thresholds = np.asarray(curve.threshold)
    return float(thresholds[starts[longest]]), float(thresholds[stops[longest] - 1])


def sentence(study: Study) -> str:
    """Calibration of the networks that learned, at home and elsewhere, in words."""
    cells, said, useless = index(study.scores), [], 0
    able = {model.name: model for model in study.able}
    curves = [c for c in study.calibrations if c.model in able]
    kins = [kin_of(able[c.model], c.site) for c in curves]
    home = "at training sites (internal test sets)" if "seen" in kins else "at home"
    for words, sides in ((home, ("home", "seen")), ("elsewhere", ("unseen",))):
        rows: list[ScoreRow | None] = []
        for c, kin in zip(curves, kins, strict=True):
            if kin in sides:
                rows.append(cell(cells, c.model, c.site))
                useless += useful_range(c) is None
        known = [e for r in rows if r and (e := number(r.ece)) is not None]
        if known:
            said.append(f"{words} the median calibration error (ECE) is {median(known):.2f}, and {_slopes(rows)}")
    if not said:
        return ""
    text = "; ".join(said)
    ending = f" In {useless} of {numbered(len(curves), 'cell')} the net benefit is at no threshold shown to be above "
    return f"{text[0].upper()}{text[1:]}.{ending}that of treat-all and treat-none.{_balanced(study, curves)}"


def _balanced(study: Study, curves: Sequence[Calibration]) -> str:
    """What balanced training does to the probabilities, and O:E without it; "" for training as patients come."""
    training = study.options.training
    if training is None or not training.balanced_classes:
        return ""
    if training.sampling not in {None, "uniform"}:
        return (
            " In training the classes of each site were drawn in turn, so the probabilities refer to that mix of sites "
            "and classes, not to the share of positives at a site: O:E and intercept are off by design."
        )
    said = (
        " In training positives and negatives were drawn in turn, so the probabilities refer to half of the scans "
        "being positive: where fewer are, O:E below 1 and an intercept below 0 are expected by design"
    )
    cells = index(study.scores)
    rows = [row for c in curves if (row := cell(cells, c.model, c.site))]
    plain = [v for row in rows if (v := number(row.observed_expected)) is not None]
    corrected = [v for c in curves if (v := number(c.observed_expected_corrected)) is not None]
    if plain and corrected:
        said += (
            "; corrected for the share of positives at each site (Saerens et al. 2002) the cells have a median O:E of "
            f"{median(corrected):.2f} instead of {median(plain):.2f}"
        )
    return f"{said}."


def slope_verdict(row: ScoreRow | None) -> str:
    """What the 95 % interval of a cell's calibration slope says: one of `SLOPES`."""
    low = number(row.calibration_slope_sampling_low) if row else None
    high = number(row.calibration_slope_sampling_high) if row else None
    if low is None or high is None:
        return "unknown"
    if high < 0:
        return "reversed"
    if high < 1:
        return "overconfident" if low > 0 else "unrelated"
    return "underconfident" if low > 1 else "open"


SLOPES = {
    "reversed": "reversed (slope and its interval below 0)",
    "unrelated": "not shown to follow the label (interval of the slope below 1, with 0 in it)",
    "overconfident": "overconfident (slope and its interval between 0 and 1)",
    "underconfident": "underconfident (above 1)",
    "open": "with an interval that includes 1",
    "unknown": "whose slope cannot be estimated",
}


def _slopes(rows: Sequence[ScoreRow | None]) -> str:
    counts = Counter(slope_verdict(row) for row in rows)
    parts = [f"{counts[key]} {words}" for key, words in SLOPES.items() if counts[key]]
    return f"of {numbered(len(rows), 'cell')} {listed(parts)}"


def calibration_table(study: Study, name: str, found: Found) -> Table:
    """Calibration of every model at every two-class site in numbers."""
    cells, rows = index(study.scores), []
    measured = {f.name for f in fields(ScoreRow)} - {"model", "site"}
    for (model, site), curve in found.items():
        found_row, useful = cell(cells, model, site), useful_range(curve)
        rows.append(
            CalibrationRow(
                model,
                site,
                kin_of(_model(study, model), site),
                **{f.name: value_in(found_row, f.name) for f in fields(CalibrationRow) if f.name in measured},
                useful_from=useful[0] if useful else None,
                useful_to=useful[1] if useful else None,
                observed_expected_corrected=curve.observed_expected_corrected,
            )
        )
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("site", "Tested at", marked_site),
        Column("brier", "Brier score", lambda v, _: figure(v, 3), numeric=True),
        Column("ece", "Calibration error (if perfect)", _error_words, numeric=True),
        *(Column(name, heading, _line_words(name), numeric=True) for name, heading in LINE.items()),
        Column("useful_from", "Useful thresholds", _useful_words, numeric=True),
    ]
    note = (
        "Calibration error (ECE): mean distance between probability and share of positives, 10 bins; in brackets what "
        "a perfectly calibrated network would get from so few scans. Intercept 0, slope 1 and O:E 1 are right; a slope "
        "below 1 is overconfident, below 0 the wrong way round; O:E above 1 says too little. In brackets 95 %, by "
        "patient; an interval that includes 1 does not show that the network is calibrated. No slope is given where "
        "the scores hardly differ or separate the classes. Useful thresholds: where the net benefit is above that of "
        "treat-all and of treat-none with its whole 95 % interval, each threshold by itself. The CSV holds O:E "
        "corrected from half positives in training to the share at the site, where classes were drawn in turn."
    )
    return Table(name, "Calibration of every model at every site with two classes.", columns, rows, note)


LINE = {
    "calibration_intercept": "Intercept (95 %)",
    "calibration_slope": "Slope (95 %)",
    "observed_expected": "O:E (95 %)",
}


def _ends_of(name: str) -> tuple[str, str]:
    return f"{name}_sampling_low", f"{name}_sampling_high"


def _line_words(name: str) -> Callable[[Any, CalibrationRow], str]:
    def words(value: Any, row: CalibrationRow) -> str:
        if number(value) is None:
            return "cannot be estimated" if row.calibration_note else figure(value)
        low, high = (number(value_in(row, end)) for end in _ends_of(name))
        return signed(value) + ("" if low is None or high is None else f" ({signed_ends(low, high)})")

    return words


def _error_words(value: Any, row: CalibrationRow) -> str:
    return f"{figure(value)} ({figure(row.ece_if_calibrated)})"


def _useful_words(value: Any, row: CalibrationRow) -> str:
    low, high = number(value), number(row.useful_to)
    return "none shown" if low is None or high is None else range_words(low, high)


def range_words(low: float, high: float) -> str:
    """A range of thresholds; one that is narrower than anyone can set a threshold is named by its middle."""
    return f"only near {(low + high) / 2:.2f}" if high - low < NARROW else f"{low:.2f} to {high:.2f}"


def _reliability(study: Study, name: str, models: Sequence[Model], found: Found) -> Canvas:
    cells = index(study.scores)
    rows = []
    for model in models:
        row: list[ReliabilityPanel | tuple[str, ...] | None] = []
        for site in study.sites:
            record, curve = cell(cells, model.name, site.name), found.get((model.name, site.name))
            row.append(_reliability_panel(record, curve) if curve else _why_not(record))
        rows.append(row)
    alt = f"Reliability curves of study {study.name}, {numbered(len(models), 'model')} (rows) at each site (columns): "
    alt += "share of positives against the probability said. "
    return reliability_grid(name, alt + _alt_words(found, models), *_names(study, models), rows)


def _reliability_panel(row: ScoreRow | None, curve: Calibration) -> ReliabilityPanel:
    ece, perfect = (row.ece, row.ece_if_calibrated) if row else (None, None)
    intercept, slope = (row.calibration_intercept, row.calibration_slope) if row else (None, None)
    error = f"error {figure(ece)} (if perfect {figure(perfect)})"
    line = f"intercept {figure(intercept)}, slope {'unknown' if number(slope) is None else figure(slope)}"
    columns = (curve.said, curve.happened, curve.happened_low, curve.happened_high)
    said, happened, low, high = (np.asarray(values, dtype=np.float64) for values in columns)
    return ReliabilityPanel(said, happened, low, high, np.asarray(curve.scans, dtype=np.int64), (error, line))


def _benefit(study: Study, name: str, models: Sequence[Model], found: Found) -> Canvas:
    cells = index(study.scores)
    rows = []
    for model in models:
        row: list[BenefitPanel | tuple[str, ...] | None] = []
        for site in study.sites:
            curve = found.get((model.name, site.name))
            row.append(_benefit_panel(curve) if curve else _why_not(cell(cells, model.name, site.name)))
        rows.append(row)
    alt = f"Decision curves of study {study.name}, {numbered(len(models), 'model')} (rows) at each site (columns): "
    alt += "net benefit against the threshold probability. "
    return benefit_grid(name, alt + _alt_words(found, models), *_names(study, models), rows)


def _benefit_panel(curve: Calibration) -> BenefitPanel:
    useful = useful_range(curve)
    words = f"useful: {range_words(*useful)}" if useful else "not shown to be useful"
    columns = (curve.threshold, curve.benefit, curve.treat_all)
    threshold, benefit, everyone = (np.asarray(values, dtype=np.float64) for values in columns)
    return BenefitPanel(threshold, benefit, everyone, (words,))


def _alt_words(found: Found, models: Sequence[Model]) -> str:
    names = {model.name for model in models}
    said = []
    for (model, site), curve in found.items():
        useful = useful_range(curve)
        if model in names:
            said.append(f"{spaced(model)} at {site} " + (range_words(*useful) if useful else "not shown"))
    return f"Thresholds at which the model is shown to be of use: {'; '.join(said) or NOT_MEASURED}."


def _why_not(row: ScoreRow | None) -> tuple[str, ...]:
    if row is not None and one_class(row):
        kind = one_class_words(row)[0]
        return (kind, "nothing to calibrate against")
    return (NOT_MEASURED,)


def _names(study: Study, models: Sequence[Model]) -> tuple[list[str], list[str]]:
    return [marked_name(model) for model in models], [site.name for site in study.sites]


def _model(study: Study, name: str) -> Model:
    return next(model for model in study.models if model.name == name)


def _bins(study: Study) -> list[BinRow]:
    return [
        BinRow(c.model, c.site, float(said), float(happened), float(low), float(high), int(scans))
        for c in study.calibrations
        for said, happened, low, high, scans in zip(
            c.said, c.happened, c.happened_low, c.happened_high, c.scans, strict=True
        )
    ]


def _benefits(study: Study) -> list[BenefitRow]:
    return [
        BenefitRow(c.model, c.site, float(threshold), float(benefit), float(everyone), 0.0, float(least))
        for c in study.calibrations
        for threshold, benefit, everyone, least in zip(c.threshold, c.benefit, c.treat_all, c.least_gain, strict=True)
    ]

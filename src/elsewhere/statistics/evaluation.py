"""All rows of a product for one finding in; every case counted, its scores with intervals, and the verdict, out.

>>> rows = ProductRows(np.array([0, 1]), range(2), np.array([0.2, np.nan]), None, ["", "blurred"])
>>> found = evaluate_product(rows, Requirements())
>>> found.unanswered, found.exit_code, to_record(found)["flow"]["rows"], plain((np.nan, np.int64(1)))
('It gave no answer to 1 of 2 scans, which its measures leave out.', 20, 2, [None, 1])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from elsewhere.statistics.acceptance import (
    Claim,
    ClaimFinding,
    assess,
    count_unanswered,
    decide_acceptance,
    exit_code,
    judge_claims,
)
from elsewhere.statistics.calibration import (
    CalibrationLine,
    DecisionCurve,
    Reliability,
    calibration_line,
    decision_curve,
    reliability_curve,
)
from elsewhere.statistics.columns import Floats, Ints, check_groups
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.doubts import (
    by_measure,
    doubt,
    doubt_copies,
    doubt_unlabelled,
    parts_of,
    repeated_rows,
    repeated_words,
    silent_sites,
)
from elsewhere.statistics.intervals import Interval, proportion_interval
from elsewhere.statistics.over_sites import OverSites
from elsewhere.statistics.predictive import (
    LikelihoodRatios,
    PredictiveValues,
    likelihood_ratios,
    local_values,
    values_at,
)
from elsewhere.statistics.product_sites import SiteRow, product_over_sites, site_rows
from elsewhere.statistics.requirements import Requirement, Requirements, class_shares
from elsewhere.statistics.roc import Roc, exact_roc
from elsewhere.statistics.score import score_cell
from elsewhere.statistics.scored import Scored, decisions, discrimination, shares
from elsewhere.statistics.subgroups import Subgroup, find_subgroups, level_order, levels
from elsewhere.statistics.verdict_rule import Answer, brief

DRAWS = 4_000_000
"""Scans drawn in all resamples of a bootstrap together: fewer resamples where there are very many scans."""
MOST_RESAMPLES, LEAST_RESAMPLES = 2000, 100
THRESHOLDS = 9
"""Thresholds of the what-if table, besides the product's own."""
MOST_POINTS = 400
"""Points of a ROC curve that is drawn."""

ONLY_PROBABILITY = (
    *("auc_grid", "brier", "ece", "ece_if_calibrated", "calibration_note", "calibration_intercept"),
    *(f"calibration_intercept_sampling_{end}" for end in ("low", "high")),
    *("calibration_slope", "calibration_slope_sampling_low", "calibration_slope_sampling_high"),
    *("observed_expected", "observed_expected_sampling_low", "observed_expected_sampling_high"),
)
"""Columns of a cell that mean nothing where the score is no probability."""
ONLY_DECISIONS = (
    *("true_positive", "false_negative", "false_positive", "true_negative"),
    *(
        f"{name}{end}"
        for name in ("accuracy", "sensitivity", "specificity", "balanced_accuracy")
        for end in ("", "_sampling_low", "_sampling_high")
    ),
    *("proportion_sampling_method", "threshold", "threshold_rule"),
)
"""Columns of a cell that need decisions."""


@dataclass(frozen=True)
class ProductRows:
    """All rows of a product for one finding, refused ones too.

    Attributes:
        labels: 1, 0, or -1 where not known (rows,).
        patients: patient of each row (rows,).
        scores: larger meaning more positive (rows,); NaN where the product gave none.
        calls: its decisions, 1 or 0 (rows,), looked at where there is a score; None without.
        refused: reason why it gave no answer, "" where it gave one (rows,).
        sites: site of each row (rows,); None where there is one.
        metadata: column -> value of each row, "" where not known.
        threshold: from which a score is called positive; None where not known.
        is_probability: whether the scores are probabilities.
        stated_probability: whether the user says so.
        show: a threshold in words of the product's own scale.
    """

    labels: Ints
    patients: ArrayLike
    scores: Floats
    calls: Ints | None
    refused: Sequence[str]
    sites: Sequence[str] | None = None
    metadata: Mapping[str, Sequence[str]] = field(default_factory=dict)
    threshold: float | None = None
    is_probability: bool = True
    stated_probability: bool = False
    show: Callable[[float], str] = "from {:.4g}".format


@dataclass(frozen=True)
class Flow:
    """Cases at each step, from the table to what was evaluated.

    Attributes:
        rows: rows of the table.
        refused: of them, without an answer of the product, with a reason.
        no_score: without a score, and no reason given.
        no_label: with a score, but without a label.
        scans: with both: evaluated.
        patients: patients they come from.
        positives: positive ones.
    """

    rows: int
    refused: int
    no_score: int
    no_label: int
    scans: int
    patients: int
    positives: int


@dataclass(frozen=True)
class Refusals:
    """What the product gave no answer to (no score, with or without a reason).

    Attributes:
        reasons: (reason, scans, positive ones, negative ones).
        groups: (column, level, scans, refused ones, share refused).
        sensitivity: were each a wrong decision, unlabelled ones missed positives; None without decisions or such scans.
        specificity: likewise, those without a label as false alarms.
    """

    reasons: tuple[tuple[str, int, int, int], ...]
    groups: tuple[tuple[str, str, int, int, Interval], ...]
    sensitivity: Interval | None
    specificity: Interval | None


@dataclass(frozen=True)
class WhatIf:
    """Decisions at one threshold.

    Attributes:
        threshold: on the scores.
        shown: in words of the product's scale.
        own: whether it is the product's own.
        sensitivity: at it.
        specificity: at it.
        values: PPV, NPV and alerts per 100 at it; None where they cannot be measured.
    """

    threshold: float
    shown: str
    own: bool
    sensitivity: Interval | None
    specificity: Interval | None
    values: PredictiveValues | None


@dataclass(frozen=True)
class Section:
    """Everything that the scans of one finding say. None stands where something cannot be measured.

    Attributes:
        name: of the finding, or finding and version; "" where the table has one.
        flow: cases at each step.
        refusals: what the product gave no answer to.
        answer: the verdict and its rule.
        requirements: every requirement and whether it is met.
        claims: each claim and whether it is contradicted.
        auc: discrimination; over pairs of scans of one site where there are several.
        sensitivity: of the product's decisions.
        specificity: of them.
        values: PPV, NPV, alerts per 100 at the prevalence of these scans, and at the given one.
        likelihood_ratios: of its calls.
        what_if: other thresholds.
        subgroups: by metadata.
        comparisons: number of comparisons of subgroups, for which differences are corrected.
        not_grouped: columns that make no subgroups.
        sites: each site, where there are several.
        over_sites: measure -> mean over sites and what to expect of a new one.
        roc: its curve, at most some hundred points.
        line: calibration intercept and slope; None where the score is no probability.
        reliability: likewise.
        benefit: decision curve; likewise.
        cells: one record for all scans and one for each site, as a study's scores.
        notes: what else to know.
    """

    name: str
    flow: Flow
    refusals: Refusals
    answer: Answer
    requirements: tuple[Requirement, ...]
    claims: tuple[ClaimFinding, ...]
    auc: Interval | None
    sensitivity: Interval | None
    specificity: Interval | None
    values: tuple[PredictiveValues, ...]
    likelihood_ratios: LikelihoodRatios | None
    what_if: tuple[WhatIf, ...]
    subgroups: tuple[Subgroup, ...]
    comparisons: int
    not_grouped: tuple[str, ...]
    sites: tuple[SiteRow, ...]
    over_sites: Mapping[str, OverSites]
    roc: Roc | None
    line: CalibrationLine | None
    reliability: Reliability | None
    benefit: DecisionCurve | None
    cells: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()

    @property
    def unanswered(self) -> str:
        """What the measures leave out, in a sentence; "" where the product answered for every scan."""
        without, r = self.flow.refused + self.flow.no_score, self.refusals
        if not without:
            return ""
        words = f"It gave no answer to {without} of {self.flow.rows} scans, which its measures leave out"
        if r.sensitivity is None or r.specificity is None:
            return f"{words}."
        return (
            f"{words}; were each a wrong decision, sensitivity would be {brief(r.sensitivity)} and specificity "
            f"{brief(r.specificity)}."
        )

    @property
    def exit_code(self) -> int:
        """Of this finding alone."""
        return exit_code([self.answer], self.claims)


def evaluate_product(
    rows: ProductRows,
    stated: Requirements,
    *,
    name: str = "",
    claims: Sequence[Claim] = (),
    prevalence: float | None = None,
    seed: int = 0,
) -> Section:
    """Everything that labelled scans say of a product for one finding. Raises ValueError without a labelled score.

    Args:
        rows: all rows, refused ones too.
        stated: what the product must reach.
        name: of the finding.
        claims: what it is said to reach.
        prevalence: share of positives at which predictive values are wanted beside that of these scans.
        seed: of all that is drawn.
    """
    used = np.isfinite(rows.scores) & (rows.labels >= 0)
    if not used.any():
        raise ValueError("no scan has both a score and a label")
    scans = _scored(rows, used)
    auc, (sensitivity, specificity) = discrimination(scans), shares(scans)
    two = scans.labels.min() < scans.labels.max()
    answer = decide_acceptance(
        scans, stated, probability=rows.stated_probability, prevalence=prevalence, show=rows.show, seed=seed
    )
    refusals, requirements = _refusals(rows, used, scans), assess(scans, stated)
    silent = int((~np.isfinite(rows.scores)).sum())
    worst = _worst_auc(rows, used) if silent else None
    as_wrong = by_measure(worst, refusals.sensitivity, refusals.specificity)
    answer = count_unanswered(answer, requirements, as_wrong, silent)
    measured = by_measure(auc, sensitivity, specificity)
    metadata = {n: [v for v, u in zip(values, used, strict=True) if u] for n, values in rows.metadata.items()}
    groups, comparisons, unused = find_subgroups(scans, metadata)
    names = np.array(rows.sites)[used] if rows.sites is not None else None
    sites = site_rows(scans, names)
    answer = doubt(answer, requirements, scans, parts_of(sites, groups), silent_sites(rows.sites or (), used))
    answer = doubt_unlabelled(answer, _scored(rows, np.isfinite(rows.scores)))
    again = repeated_rows(scans.scores, scans.labels, list(metadata.values()))
    answer = doubt_copies(answer, again, scans.labels.size)
    probabilities = scans.scores if rows.is_probability else None
    return Section(
        name=name,
        flow=_flow(rows, used, scans),
        refusals=refusals,
        answer=answer,
        requirements=requirements,
        claims=judge_claims(claims, measured),
        auc=auc,
        sensitivity=sensitivity,
        specificity=specificity,
        values=_values(scans, prevalence),
        likelihood_ratios=None if scans.called is None else likelihood_ratios(*decisions(scans)),
        what_if=_what_if(scans, rows, prevalence) if two else (),
        subgroups=groups,
        comparisons=comparisons,
        not_grouped=unused,
        sites=sites,
        over_sites=product_over_sites(scans),
        roc=_thin(exact_roc(scans.labels, scans.scores)) if two else None,
        line=None if probabilities is None else calibration_line(scans.labels, probabilities, scans.patients),
        reliability=None if probabilities is None else reliability_curve(scans.labels, probabilities, scans.patients),
        benefit=None if probabilities is None or not two else decision_curve(scans.labels, probabilities),
        cells=_cells(scans, rows, names, name, seed),
        notes=_notes(rows, scans, used, again),
    )


def _worst_auc(rows: ProductRows, used: NDArray[np.bool_]) -> Interval | None:
    """Discrimination, were every scan without an answer ranked as wrongly as can be; unlabelled ones as positive."""
    lost = ~np.isfinite(rows.scores)
    scores, labels = rows.scores.copy(), np.where(lost & (rows.labels < 0), 1, rows.labels)
    scores[lost & (labels == 1)] = rows.scores[used].min() - 1
    scores[lost & (labels == 0)] = rows.scores[used].max() + 1
    return discrimination(_scored(replace(rows, scores=scores, labels=labels, calls=None, threshold=None), used | lost))


def _scored(rows: ProductRows, used: NDArray[np.bool_]) -> Scored:
    scores, called = rows.scores[used], None
    if rows.calls is not None:
        called = rows.calls[used] == 1
    elif rows.threshold is not None:
        called = scores >= rows.threshold
    count = int(used.sum())
    sites = None if rows.sites is None else check_groups(np.array(rows.sites)[used], count, "sites")
    several = sites if sites is not None and sites.max() > 0 else None
    return Scored(rows.labels[used], check_groups(np.asarray(rows.patients)[used], count), scores, called, several)


def _flow(rows: ProductRows, used: NDArray[np.bool_], scans: Scored) -> Flow:
    answered, refused = np.isfinite(rows.scores), np.array([bool(r) for r in rows.refused])
    return Flow(
        rows=used.size,
        refused=int(refused.sum()),
        no_score=int((~answered & ~refused).sum()),
        no_label=int((answered & (rows.labels < 0)).sum()),
        scans=scans.labels.size,
        patients=int(scans.patients.max()) + 1,
        positives=int(scans.labels.sum()),
    )


def _refusals(rows: ProductRows, used: NDArray[np.bool_], scans: Scored) -> Refusals:
    without = ~np.isfinite(rows.scores)
    if not without.any():
        return Refusals((), (), None, None)
    reasons = np.array([r or "no score, no reason given" for r in rows.refused])[without]
    truth = rows.labels[without]
    counted = tuple(
        (str(r), n, int((truth[reasons == r] == 1).sum()), int((truth[reasons == r] == 0).sum()))
        for r, n in Counter(reasons.tolist()).most_common()
    )
    people, groups = check_groups(rows.patients, without.size), []
    for name, values in rows.metadata.items():
        found = levels(name, values)
        places = {level: i for i, level in enumerate(sorted(set(found or ()), key=level_order))}
        column = np.array([places[level] for level in found or ()])
        for level, place in places.items():
            inside = column == place
            share = proportion_interval(without[inside].astype(np.int64), people[inside])
            groups.append((name, level, int(inside.sum()), int(without[inside].sum()), share))
    if scans.called is None:
        return Refusals(counted, tuple(groups), None, None)
    whose, worst = np.concatenate([people[used], people[without]]), list[Interval | None]()
    for kind, place in ((1, 0), (0, 1)):  # an unlabelled one counts against either share
        assumed = np.where(truth < 0, kind, truth)
        labels = np.concatenate([scans.labels, assumed])
        called = np.concatenate([scans.called.astype(np.int64), 1 - assumed])
        worst.append(class_shares(labels, whose, called)[place])
    return Refusals(counted, tuple(groups), *worst)


def _values(scans: Scored, prevalence: float | None) -> tuple[PredictiveValues, ...]:
    if scans.called is None:
        return ()
    given = None if prevalence is None else values_at(*decisions(scans), prevalence)
    return (local_values(*decisions(scans)), *(() if given is None else (given,)))


def _what_if(scans: Scored, rows: ProductRows, prevalence: float | None) -> tuple[WhatIf, ...]:
    if rows.is_probability:
        asked = np.arange(1, THRESHOLDS + 1) / (THRESHOLDS + 1)
    else:
        asked = np.quantile(scans.scores, np.arange(1, THRESHOLDS + 1) / (THRESHOLDS + 1), method="higher")
    own = set() if rows.threshold is None else {rows.threshold}
    found = []
    for threshold in sorted({*asked.tolist(), *own}):
        columns = scans.labels, scans.patients, (scans.scores >= threshold).astype(np.int64)
        values = local_values(*columns) if prevalence is None else values_at(*columns, prevalence)
        found.append(WhatIf(threshold, rows.show(threshold), threshold in own, *class_shares(*columns), values))
    return tuple(found)


def _thin(roc: Roc) -> Roc:
    """The curve with at most `MOST_POINTS` points, its ends kept."""
    if roc.thresholds.size <= MOST_POINTS:
        return roc
    steps = np.cumsum(np.abs(np.diff(roc.false_positive_rate, prepend=0)) + np.diff(roc.true_positive_rate, prepend=0))
    kept = np.unique(np.searchsorted(steps, np.linspace(0, steps[-1], MOST_POINTS)).clip(0, steps.size - 1))
    return Roc(roc.thresholds[kept], roc.false_positive_rate[kept], roc.true_positive_rate[kept])


def _cells(
    scans: Scored, rows: ProductRows, names: NDArray[np.str_] | None, name: str, seed: int
) -> tuple[dict[str, Any], ...]:
    """All scans, then each site; as a study's scores, without what needs a probability or decisions that are absent."""
    places: list[tuple[str, Scored]] = [("all", scans)]
    if scans.sites is not None and names is not None:
        places += [(str(site), scans.subset(names == site)) for site in np.unique(names)]
    point = OperatingPoint(0.5 if rows.threshold is None else rows.threshold, "grid", "model", float("nan"), 0)
    found = []
    for site, here in places:
        unit = here.scores if rows.is_probability else rankdata(here.scores) / (here.scores.size + 1)
        resamples = int(np.clip(DRAWS // here.labels.size, LEAST_RESAMPLES, MOST_RESAMPLES))
        cell = score_cell(
            here.labels, here.patients, unit, operating_point=point, called=here.called, resamples=resamples, seed=seed
        ).to_record()
        empty = (() if rows.is_probability else ONLY_PROBABILITY) + (() if here.called is not None else ONLY_DECISIONS)
        cell |= dict.fromkeys(empty) | ({} if rows.threshold is not None else {"threshold": None})
        found.append({"finding": name, "site": site, **cell, "resamples": resamples})
    return tuple(found)


def _notes(rows: ProductRows, scans: Scored, used: NDArray[np.bool_], again: int) -> tuple[str, ...]:
    notes = []
    if scans.sites is not None:
        notes.append("Discrimination (AUC) compares scans of one site only; prevalence differs between sites.")
    if scans.called is not None and rows.calls is not None:
        positive, negative = scans.scores[scans.called], scans.scores[~scans.called]
        if positive.size and negative.size and positive.min() <= negative.max():
            odd = _against_one_threshold(scans.scores, scans.called)
            notes.append(f"Its calls are not those of one threshold on its scores: {odd} scans lie on the wrong side.")
        if rows.threshold is not None:
            other = int(((scans.scores >= rows.threshold) != scans.called).sum())
            notes.append(
                f"The given threshold would decide {other} of {scans.labels.size} scans otherwise than it did."
            )
    if not scans.class_patients[0] or not scans.class_patients[1]:
        notes.append("One class only: neither discrimination nor a verdict.")
    if int(np.asarray(rows.patients)[used].size) == int(scans.patients.max()) + 1:
        notes.append(
            "Every scan counts as a patient of its own: no patient has two. Where the table has no column of patients "
            "and some have several scans, all intervals here are too narrow."
        )
    if again:
        notes.append(
            f"{repeated_words(again, scans.labels.size)}: if they are copies, all intervals here are too narrow."
        )
    return tuple(notes)


def _against_one_threshold(scores: Floats, called: NDArray[np.bool_]) -> int:
    """Scans on the wrong side of the threshold that fits the calls best."""
    values, place = np.unique(scores, return_inverse=True)
    up, down = (np.bincount(place, called == c, values.size + 1) for c in (True, False))
    return int((np.cumsum(up) - up + down.sum() - (np.cumsum(down) - down)).min())


def to_record(section: Section) -> dict[str, Any]:
    """JSON-able: every number of a section but the curves and the cells, NaN and infinities as None."""
    left = {"roc", "reliability", "benefit", "cells"}
    record: dict[str, Any] = {k: v for k, v in asdict(section).items() if k not in left}
    record["exit_code"] = section.exit_code
    for row, requirement in zip(record["requirements"], section.requirements, strict=True):
        row |= {"demand": requirement.demand, "met": requirement.status == "met"}
    for row, claim in zip(record["claims"], section.claims, strict=True):
        row["sentence"] = claim.sentence
    found: dict[str, Any] = plain(record)
    return found


def plain(value: Any) -> Any:
    """JSON-able: tuples as lists, numpy's numbers as Python's, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value

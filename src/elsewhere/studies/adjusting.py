"""What a verdict advises, or labelled scans show, as an adjustment of a model: a threshold, perhaps a recalibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elsewhere.errors import BadStudy, BadTable
from elsewhere.scans.score_table import read_score_table
from elsewhere.scans.score_values import UNKNOWN_LABEL
from elsewhere.statistics.decision import decide, fit_recalibration, recalibrate
from elsewhere.statistics.local_threshold import choose_local_threshold, cross_fitted_decisions
from elsewhere.statistics.requirements import Requirement, Requirements, assess_decisions, class_shares
from elsewhere.statistics.verdict import Scans, Verdict
from elsewhere.statistics.verdict_rule import LEAST_PATIENTS, RULE_ERROR, wanted_shares
from elsewhere.studies.known_model import Adjustment, KnownModel, scored
from elsewhere.studies.new_scans import NewScan, scored_scans
from elsewhere.studies.records import ADAPTATION
from elsewhere.studies.verdict_record import read_verdict
from elsewhere.wording import numbered

ASK_ADAPT = "`elsewhere adapt` measures it on the labelled scans of this site."


@dataclass(frozen=True)
class Tried:
    """An adjustment chosen on labelled scans, and what its decisions are worth.

    Attributes:
        adjustment: of the network's own probabilities.
        requirements: on sensitivity, specificity and net benefit, measured on patients that the threshold of each was
            not chosen on.
    """

    adjustment: Adjustment
    requirements: tuple[Requirement, ...]


def advised(model: KnownModel, path: Path) -> Adjustment:
    """The adjustment that a verdict on this model advises.

    Args:
        model: on which the verdict was asked.
        path: its verdict.json.

    Raises:
        BadStudy: the file is missing or damaged, of another model, or advises something else.
    """
    record = read_verdict(path)
    own, before = (None if a is None else (a.threshold, a.slope) for a in (model.adjustment, record.adjustment))
    if record.checkpoint != model.checkpoint or own != before:
        what = f"is a verdict on another model ({record.model}, weights {record.checkpoint[:12]}…)"
        raise BadStudy(path, what, f"Give the verdict on {model.name}, or the model that it was asked about")
    if record.local_threshold is None:
        what = f'advises "{record.action}", which is neither a threshold nor a recalibration'
        raise BadStudy(path, what, record.next_step)
    found = Adjustment(
        record.local_threshold,
        record.local_intercept or 0.0,
        record.local_slope or 1.0,
        source=f"as the verdict at {record.site} advised",
        scans=record.scans,
        chosen_on=record.voxels,
    )
    return found.after(model.adjustment)


def from_scans(
    model: KnownModel, rows: Sequence[NewScan], site: str, stated: Requirements, *, only_threshold: bool = False
) -> Tried:
    """An adjustment from labelled scans that the model predicted without any adjustment; as `fit_adjustment`."""
    labelled = [r for r in rows if r.label is not None]
    here = scored_scans(labelled)
    tried = fit_adjustment(model, here, site, stated, only_threshold=only_threshold)
    change = replace(tried.adjustment, chosen_on=tuple(sorted({r.voxels for r in labelled})))
    return replace(tried, adjustment=change)


def from_table(model: KnownModel, path: Path, stated: Requirements, *, only_threshold: bool = False) -> Tried:
    """An adjustment from a table of the model's probabilities with labels, as `predict` and `verdict` write.

    Raises:
        BadTable: it cannot be read; and as `fit_adjustment`.
    """
    table = read_score_table(path)
    used = np.isfinite(table.score) & (table.label != UNKNOWN_LABEL)
    here = Scans(table.label[used], np.array(table.patient)[used], table.score[used])
    return fit_adjustment(model, here, str(path.name), stated, only_threshold=only_threshold)


def fit_adjustment(
    model: KnownModel, here: Scans, where: str, stated: Requirements, *, only_threshold: bool = False
) -> Tried:
    """A threshold, and unless `only_threshold` a recalibration, from labelled scans of the place of use.

    The map is Platt's (`fit_recalibration`), the threshold that of `choose_local_threshold` for the sensitivity and
    specificity that a verdict would ask for; what it is worth is measured with thresholds of other patients.

    Args:
        model: as it gave these probabilities.
        here: labelled scans.
        where: they are from.
        stated: what the model must reach.
        only_threshold: leave the probabilities as they are.

    Raises:
        BadTable: fewer than 10 patients of a class; or the scores point the wrong way.
    """
    labels, patients = np.asarray(here.labels), np.asarray(here.patients)
    few = [np.unique(patients[labels == c]).size for c in (1, 0)]
    if min(few) < LEAST_PATIENTS:
        what = f"has labelled scans of {few[0]} positive and {few[1]} negative patients"
        raise BadTable(where, what, f"Give {LEAST_PATIENTS} or more of each: a threshold from fewer is chance")
    values = np.asarray(here.probabilities, dtype=np.float64)
    line = fit_recalibration(labels, values)
    if line.slope <= 0:
        what = "has positive scans with the lower scores: they point the wrong way"
        raise BadTable(where, what, "Check that the labels are not exchanged; no threshold corrects it")
    tried = _try(model, labels, patients, values, stated)
    least = wanted_shares(tried[0])
    threshold = choose_local_threshold(labels, values, least)
    change = Adjustment(
        threshold if only_threshold else float(recalibrate(threshold, line)),
        0.0 if only_threshold else line.intercept,
        1.0 if only_threshold else line.slope,
        source=f"chosen on {numbered(int(labels.size), 'labelled scan')} of {where}",
        scans=int(labels.size),
    )
    return Tried(change.after(model.adjustment), tuple(tried[1]))


def _try(
    model: KnownModel, labels: NDArray[np.int64], patients: ArrayLike, values: NDArray[np.float64], stated: Requirements
) -> tuple[list[Requirement], list[Requirement]]:
    """The requirements at the threshold as it is, and at local ones that never saw the scan's patient."""
    home = scored([s for site in model.home_sites for s in model.at_home("test") if s.site == site])
    shares = class_shares(home.labels, home.patients, decide(home.probabilities, model.home_point))
    now = assess_decisions(labels, patients, decide(values, model.point), shares, stated)
    called = cross_fitted_decisions(labels, patients, values, wanted_shares(now), model.settings.seed)
    return now, assess_decisions(labels, patients, called, shares, stated)


@dataclass(frozen=True)
class MeasuredNeed:
    """What an adaptation measured of how many patients an AUC takes.

    Attributes:
        words: in sentences.
        aim: the AUC.
        patients: of each class to fit on; None where the curves do not say.
        low: lower end of the 95 % interval.
        high: upper end; None where none is known.
    """

    words: str
    aim: float
    patients: int | None
    low: int | None
    high: int | None


def measured_need(model: KnownModel, site: str) -> MeasuredNeed | None:
    """What a kept adaptation of these weights to this site says of how many patients it takes; None without one.

    An adaptation of other weights, one that is damaged and one that could not be trained say nothing.
    """
    try:
        record = ADAPTATION.read(model.folder.adaptation(model.name, site) / "adaptation.json")
    except BadStudy:
        return None
    many = record["how_many"]
    if record["checkpoint"] != model.checkpoint or not isinstance(many, dict):
        return None
    way, outcome = str(record.get("curve_way", "")), str(record.get("headline", ""))
    words = (
        f"Measured with `elsewhere adapt` on labelled scans of this site (way: {way}; outcome: {outcome}). "
        f"{many.get('words', '')}"
    )
    number, low, high = (None if many.get(k) is None else int(many[k]) for k in ("patients", "low", "high"))
    return MeasuredNeed(words, float(many.get("aim", 0)), number, low, high)


def rest_on_measured(answer: Verdict, need: MeasuredNeed | None) -> Verdict:
    """A verdict that advises to adapt, with the number that was measured in place of the rule of thumb's.

    Where nothing was measured, or the curves do not say how many, the rule's number stays, with how far it was off.
    Other verdicts stay as they are.
    """
    if answer.action != "adapt":
        return answer
    if need is None or need.patients is None:
        words = f"{need.words} {RULE_ERROR}" if need is not None else f"{RULE_ERROR} {ASK_ADAPT}"
        return replace(answer, notes=(words, *answer.notes))
    share = (answer.positives or 0) / max(answer.scans, 1)
    rarer = min(max(min(share, 1 - share), 0.05), 0.5)
    proof = (answer.scans_needed or 0) // 2
    ends = f"{need.low} to {need.high}" if need.high is not None else f"{need.low} or more"
    advice = (
        f"Adapt it with about {need.patients} patients of each class from here (measured on this site's scans, for an "
        f"AUC of {need.aim:.2f}; 95 % interval {ends}), then ask again on about {proof} other scans."
    )
    needed = ceil(need.patients / rarer) + proof
    return replace(answer, next_step=advice, scans_needed=needed, notes=(need.words, *answer.notes))

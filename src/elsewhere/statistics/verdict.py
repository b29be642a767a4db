"""The verdict: whether a model works at a new site, why not, and what to do next, from its scores there and at home.

The rule and its order stand in `verdict_rule`, what "works" requires in `requirements`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.errors import BadInstallation
from elsewhere.statistics.calibration import CalibrationLine, calibration_line
from elsewhere.statistics.columns import Ints, check_groups, check_labels, check_probabilities
from elsewhere.statistics.decision import OperatingPoint, decide
from elsewhere.statistics.decomposition import Decomposition, Relearned, decompose, local_gain, relearn
from elsewhere.statistics.doubts import doubt_patients
from elsewhere.statistics.estimate import Estimate, KnownSite, estimate_auc, outside
from elsewhere.statistics.intervals import Interval, auc_interval, proportion_interval
from elsewhere.statistics.learned import Learned, auc_within_sites, judge_learned
from elsewhere.statistics.predictive import (
    LikelihoodRatios,
    PredictiveValues,
    likelihood_ratios,
    local_values,
    values_at,
)
from elsewhere.statistics.requirements import (
    LEAST_AUC,
    Requirement,
    Requirements,
    all_met,
    assess_decisions,
    assess_discrimination,
    class_shares,
    subtract,
)
from elsewhere.statistics.scored import Scored
from elsewhere.statistics.verdict_rule import (
    EXIT_CODES,
    LEAST_PATIENTS,
    Action,
    Answer,
    Measured,
    decide_with_labels,
    decide_without_labels,
    few_answer,
    scans_to_prove,
)

SIZES = (10, 20, 50, 100, 200, 500)
"""Numbers of local scans that accuracy is shown for."""

DRAWS = 200
"""Draws of patients for each of them, or `resamples` if that is less."""
DISCLAIMER = "Research use only. Not a medical device."

HEADLINES: dict[Action, str] = {
    "nothing": "It works here: every requirement is met",
    "re-threshold": "Do not use unchanged: choose a threshold for this site first",
    "recalibrate": "Do not use unchanged: recalibrate for this site first",
    "adapt": "Do not use unchanged: adapt to this site first",
    "do not use": "Do not use it here",
    "not learned": "Do not use: no discrimination shown at home",
    "cannot tell": "Cannot tell",
    "estimate only": "Estimate only: no labels were used",
}
DECISIONS_HOLD = "Its decisions hold here: recalibrate before its probabilities are read"
"""Headline of "recalibrate" where every requirement is met."""

ONLY_AUC = (
    "Sensitivity, specificity, net benefit and margins to home cannot be estimated without labels: not looked at."
)

UNDECIDED = Answer("cannot tell", "", "", ())
"""Before the rule was asked."""


@dataclass(frozen=True)
class Scans:
    """One model's scored scans of one place.

    Attributes:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        probabilities: the model's (scans,).
        strata: stratum of each scan for case mix (scans,), or None.
        sites: site of each scan (scans,), where there are several; AUCs compare scans of one site only.

    >>> scans = Scans([0, 1], ["p1", "p2"], [0.2, 0.7])
    >>> len(scans.columns), scans.places.tolist()
    (3, [0, 0])
    """

    labels: ArrayLike
    patients: ArrayLike
    probabilities: ArrayLike
    strata: ArrayLike | None = None
    sites: ArrayLike | None = None

    @property
    def columns(self) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
        """Labels, patients, probabilities."""
        return self.labels, self.patients, self.probabilities

    @property
    def places(self) -> ArrayLike:
        """Site of each scan; all the same where none is given."""
        return np.zeros(np.asarray(self.labels).size, np.int64) if self.sites is None else self.sites


@dataclass(frozen=True)
class Verdict:
    """Whether a model works at a new site. None stands where a number does not exist.

    Attributes:
        action: what to do next.
        reason: why, in one plain sentence.
        next_step: the action in one or two plain sentences.
        estimated: True where no label was used: an estimate, not a measurement.
        scans: scans of the new site that were scored.
        patients: patients they come from.
        positives: positive scans; None without labels.
        threshold: probability from which the model says positive, chosen at home.
        threshold_rule: "grid", or "argmax" where the best home threshold was trivial.
        called_positive: share of scans called positive here.
        stated: what the user requires.
        requirements: every requirement, stated or default, with its estimate, interval and whether it is met.
        auc: discrimination here; measured.
        home_auc: on the internal test set, pairs of scans of one site only.
        sensitivity: here, at the operating point.
        specificity: here.
        accuracy: here.
        home_sensitivity: on the internal test set, at the same operating point.
        home_specificity: likewise.
        lost: AUC at home less AUC here.
        decomposition: the accuracy lost, by cause.
        calibration: intercept and slope here.
        gain: log loss that a local recalibration saves per scan, cross-fitted.
        predictive: PPV, NPV, alerts per 100 at the local prevalence and at the given one.
        likelihood_ratios: of a positive and a negative call.
        relearned: accuracy from numbers of local scans.
        local_threshold: where the action is re-threshold, or recalibrate (on the recalibrated scale).
        local_intercept: log-odds to add after the slope, where the action is recalibrate.
        local_slope: factor on the log-odds, likewise.
        estimate: the AUC estimated without labels.
        scans_needed: labelled scans, in all, that the next step takes, about; None where none or none is enough.
        outside: in what the site lies outside everything measured.
        rule: the steps of the rule that were gone through, with their numbers.
        notes: what else to know.

    >>> found = Verdict("adapt", "AUC 0.71.", "Label 600 scans.", False, 60, 60, 30, 0.5, "grid", 0.5)
    >>> found.exit_code, found.headline == found.to_record()["headline"], found.lines[1:]
    (11, True, ('AUC 0.71.', 'Label 600 scans.'))
    """

    action: Action
    reason: str
    next_step: str
    estimated: bool
    scans: int
    patients: int
    positives: int | None
    threshold: float
    threshold_rule: str
    called_positive: float
    stated: Requirements = field(default=Requirements())
    requirements: tuple[Requirement, ...] = ()
    auc: Interval | None = None
    home_auc: Interval | None = None
    sensitivity: Interval | None = None
    specificity: Interval | None = None
    accuracy: Interval | None = None
    home_sensitivity: Interval | None = None
    home_specificity: Interval | None = None
    lost: Interval | None = None
    decomposition: Decomposition | None = None
    calibration: CalibrationLine | None = None
    gain: Interval | None = None
    predictive: tuple[PredictiveValues, ...] = ()
    likelihood_ratios: LikelihoodRatios | None = None
    relearned: tuple[Relearned, ...] = ()
    local_threshold: float | None = None
    local_intercept: float | None = None
    local_slope: float | None = None
    estimate: Estimate | None = None
    scans_needed: int | None = None
    outside: tuple[str, ...] = ()
    rule: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """For scripts (`EXIT_CODES`)."""
        return EXIT_CODES[self.action]

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        if self.action == "recalibrate" and all_met(self.requirements):
            return DECISIONS_HOLD
        return HEADLINES[self.action]

    @property
    def lines(self) -> tuple[str, str, str]:
        """The verdict in three lines: what, why, what next."""
        return f"{self.headline}.", self.reason, self.next_step

    def table(self) -> Any:
        """Every requirement with its estimate and interval, as a pandas DataFrame.

        Raises:
            BadInstallation: pandas is not installed.
        """
        try:
            import pandas  # noqa: PLC0415 - wanted by those who have it
        except ImportError as error:
            raise BadInstallation("pandas", "is not installed", "pip install pandas, or use requirements") from error
        none = (None, None, None)
        rows = [
            (r.demand, *(none if r.value is None else (r.value.estimate, r.value.low, r.value.high)), r.status)
            for r in self.requirements
        ]
        return pandas.DataFrame(rows, columns=["required", "estimate", "low", "high", "status"])

    def to_record(self) -> dict[str, Any]:
        """JSON-able, fields in order, with headline and exit code; NaN and infinities become None."""
        head = {"headline": self.headline, "exit_code": self.exit_code, "disclaimer": DISCLAIMER}
        record: dict[str, Any] = _plain(head | asdict(self))
        for row, requirement in zip(record["requirements"], self.requirements, strict=True):
            row |= {"demand": requirement.demand, "met": requirement.status == "met"}
        return record


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def said(interval: Interval) -> str:
    """An interval in digits: estimate (low to high).

    >>> said(Interval(0.9, 0.85, 0.94, ""))
    '0.900 (0.850 to 0.940)'
    """
    return f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})"


# With labels ------------------------------------------------------------------------------------------------------


def judge(
    here: Scans,
    home: Scans,
    point: OperatingPoint,
    *,
    home_point: OperatingPoint | None = None,
    stated: Requirements = Requirements(),  # noqa: B008 - frozen
    prevalence: float | None = None,
    validation: Learned | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Verdict:
    """The verdict on a model from labelled scans of a new site (the rule: `verdict_rule`).

    Args:
        here: scans of the new site.
        home: the model's internal test set, none of whose patients is here.
        point: the model's operating point here, chosen at home unless `home_point` is given.
        home_point: the operating point at home, of a model that was recalibrated for another site; its probabilities
            there are those before the recalibration.
        stated: what the model must reach.
        prevalence: share of positives where the model is used, for predictive values beside the local ones; where it
            differs from that of the labelled scans, they do not say whether the probabilities hold.
        validation: what the validation scans say of the model; asked where the internal test set is small.
        resamples: of the bootstrap behind the decomposition; at most as many draws of local scans.
        seed: of all that is drawn.

    Raises:
        ValueError: no scan, NaN, labels other than 0 and 1, probabilities outside 0 to 1, lengths that differ.

    >>> here, home = (Scans([0, 1] * 99, range(start, start + 198), [0.2, 0.8] * 99) for start in (0, 198))
    >>> judge(here, home, OperatingPoint(0.5, "grid", "model", 1.0, 198), resamples=20).headline
    'It works here: every requirement is met'
    """
    labels = check_labels(here.labels)
    values = check_probabilities(here.probabilities, labels.size)
    groups = check_groups(here.patients, labels.size)
    at_home = home_point or point
    found = _measured(here, home, (point, at_home), stated, prevalence)
    few = [np.unique(groups[labels == c]).size for c in (1, 0)]
    answer = _not_learned(home, validation)
    if answer is None and (min(few) < LEAST_PATIENTS or found.home_auc is None):
        answer = _too_few(found, few, home, labels)
    scored = Scored(labels, groups, values, decide(values, point).astype(bool))
    if answer is None:
        answer = few_answer(scored.class_worth)
    if answer is None and np.ptp(values) == 0:
        words = f"All {values.size} probabilities are the same ({values[0]:.2g}): they tell nothing here."
        answer = Answer("cannot tell", words, "Look whether the scans were read and prepared rightly.", (words,))
    if answer is not None:
        return replace(found, **vars(answer))
    auc, home_auc = cast("tuple[Interval, Interval]", (found.auc, found.home_auc))  # both classes are on either side
    strata = None if home.strata is None or here.strata is None else (home.strata, here.strata)
    sizes = [n for n in SIZES if n <= 0.7 * labels.size]
    gain = local_gain(*here.columns, point, seed=seed).recalibrate
    excess = subtract(gain, local_gain(*home.columns, at_home, seed=seed).recalibrate)
    lost = subtract(home_auc, auc)
    found = replace(
        found,
        lost=lost,
        gain=gain,
        decomposition=decompose(
            home.columns, here.columns, point, strata, home_point=at_home, resamples=resamples, seed=seed
        ),
        calibration=calibration_line(labels, values),
        relearned=relearn(*here.columns, sizes, seed, point=point, draws=min(DRAWS, resamples)),
    )
    measured = Measured(
        auc=auc,
        home_auc=home_auc,
        lost=lost,
        discrimination=[r for r in found.requirements if r.measure == "discrimination (AUC)"],
        decisions=[r for r in found.requirements if r.measure != "discrimination (AUC)"],
        gain=gain,
        excess=excess,
        labels=labels,
        patients=groups,
        probabilities=values,
        point=point,
        wanted=stated,
        home_shares=(found.home_sensitivity, found.home_specificity),
        seed=seed,
        prevalence=prevalence,
    )
    answer = doubt_patients(decide_with_labels(measured), found.requirements, scored)
    return replace(found, **vars(answer))


def _measured(
    here: Scans,
    home: Scans,
    points: tuple[OperatingPoint, OperatingPoint],
    stated: Requirements,
    prevalence: float | None,
) -> Verdict:
    """What is known before the rule is asked."""
    point = points[0]
    called, at_home = decide(here.probabilities, point), decide(home.probabilities, points[1])
    columns = here.labels, here.patients, called
    home_shares = class_shares(home.labels, home.patients, at_home)
    sensitivity, specificity = class_shares(*columns)
    auc, home_auc = _auc(here), _auc(home)
    given = None if prevalence is None else values_at(*columns, prevalence)
    return Verdict(
        **vars(UNDECIDED),
        estimated=False,
        scans=called.size,
        patients=np.unique(np.asarray(here.patients)).size,
        positives=int(check_labels(here.labels).sum()),
        threshold=point.threshold,
        threshold_rule=point.rule,
        called_positive=float(called.mean()),
        stated=stated,
        requirements=(*assess_discrimination(auc, home_auc, stated), *assess_decisions(*columns, home_shares, stated)),
        auc=auc,
        home_auc=home_auc,
        sensitivity=sensitivity,
        specificity=specificity,
        accuracy=proportion_interval(called == check_labels(here.labels), here.patients),
        home_sensitivity=home_shares[0],
        home_specificity=home_shares[1],
        predictive=(local_values(*columns), *(() if given is None else (given,))),
        likelihood_ratios=likelihood_ratios(*columns),
    )


def _auc(scans: Scans) -> Interval | None:
    """Pairs of scans of one site only; None where no site has both classes."""
    labels = check_labels(scans.labels)
    places = check_groups(scans.places, labels.size, "sites")
    if np.unique(places).size == 1:
        return auc_interval(*scans.columns) if labels.min() < labels.max() else None
    values = check_probabilities(scans.probabilities, labels.size)
    found = auc_within_sites(labels, check_groups(scans.patients, labels.size), places, values)
    return None if found is None else Interval(*found, "score interval on the DeLong variance, pairs within sites")


def _not_learned(home: Scans, validation: Learned | None) -> Answer | None:
    """Step 1, asked of the first that can show discrimination: a large internal test set, validation, a small one."""
    columns = home.labels, home.patients, home.places, home.probabilities
    test = judge_learned(*columns, scans="internal test scans")
    candidates = [test, validation] if _least_patients(home) >= LEAST_PATIENTS else [validation, test]
    learned = next((c for c in candidates if c is not None and c.detectable is not None), None)
    if learned is None or not learned.degenerate:
        return None
    words = f"{'; '.join(learned.reasons)}."
    words = f"{words[0].upper()}{words[1:]}"
    advice = "Train the model again, or choose another: nothing can be said of this site through its scores."
    return Answer("not learned", words, advice, (f"{words} Nothing was asked of this site.",))


def _least_patients(scans: Scans) -> int:
    labels, patients = check_labels(scans.labels), np.asarray(scans.patients)
    return min(np.unique(patients[labels == c]).size for c in (0, 1))


def _too_few(found: Verdict, few: Sequence[int], home: Scans, labels: Ints) -> Answer:
    rule = (f"Labelled patients here: {few[0]} positive, {few[1]} negative (least: {LEAST_PATIENTS} of each).",)
    if found.home_auc is None:
        reason = (
            f"The internal test set ({np.asarray(home.labels).size} scans) has no site with both classes: "
            "discrimination at home cannot be measured."
        )
        next_step = "Choose a model whose internal test set has both classes."
        return Answer("cannot tell", reason, next_step, rule)
    share = float(np.clip(labels.mean(), 0.1, 0.9))
    needed = scans_to_prove(found.home_auc.estimate, share)
    lost = [r.finding for r in found.requirements if r.status == "not met"]
    reason = (
        f"Only {few[0]} patients with the disease and {few[1]} without it are labelled here; "
        f"{LEAST_PATIENTS} of each are the least for a verdict."
    )
    if lost:
        reason += f" Already not met: {lost[0].removeprefix('Required: ')}"
    next_step = f"Label about {needed} scans, both classes among them, and ask again."
    return Answer("cannot tell", reason, next_step, (*rule, *lost), needed)


# Without labels ---------------------------------------------------------------------------------------------------


def judge_unlabelled(
    probabilities: ArrayLike,
    patients: ArrayLike,
    known: Sequence[KnownSite],
    home: Scans,
    point: OperatingPoint,
    *,
    stated: Requirements = Requirements(),  # noqa: B008 - frozen
    metadata: Mapping[str, Sequence[object]] = {},
    known_metadata: Mapping[str, Sequence[object]] = {},
) -> Verdict:
    """The answer from scans without labels: an estimate, marked as one, with an exit code of its own.

    Args:
        probabilities: the model's at the new site (scans,).
        patients: patient of each scan (scans,).
        known: every site of the study with its labels and the model's probabilities there.
        home: the validation scans at home.
        point: the model's operating point.
        stated: what the model must reach; only the least AUC can be compared with an estimate.
        metadata: name -> one value per scan of the new site.
        known_metadata: the same for the scans of the known sites.

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1.

    >>> home, point = Scans([0, 1] * 30, range(60), [0.2, 0.8] * 30), OperatingPoint(0.5, "grid", "model", 1.0, 60)
    >>> judge_unlabelled([0.2, 0.8] * 30, range(60), [], home, point).action
    'estimate only'
    """
    given = np.asarray(probabilities, dtype=np.float64)
    values = check_probabilities(given, given.size)
    found = Verdict(
        **vars(UNDECIDED),
        estimated=True,
        scans=values.size,
        patients=np.unique(np.asarray(patients)).size,
        positives=None,
        threshold=point.threshold,
        threshold_rule=point.rule,
        called_positive=float(decide(values, point).mean()),
        stated=stated,
        notes=(ONLY_AUC,) if replace(stated, least_auc=None, prevalence=None) != Requirements() else (),
    )
    answer = _not_learned(home, None)
    if answer is not None:
        return replace(found, **vars(answer))
    needed = scans_to_prove(LEAST_AUC, 0.5)
    label = f"Label about {needed} scans of both classes and ask again with --labels."
    reasons = outside(values, known, metadata, known_metadata)
    if reasons:
        words = f"This site lies outside everything measured: {reasons[0][0].lower()}{reasons[0][1:]}"
        return replace(found, **vars(Answer("estimate only", words, label, reasons, needed)), outside=reasons)
    try:
        estimate = estimate_auc((home.labels, home.probabilities), known, values, patients)
    except ValueError as error:
        words = f"Nothing can be estimated without labels: {error}."
        return replace(found, **vars(Answer("estimate only", words, label, (), needed)))
    least = LEAST_AUC if stated.least_auc is None else stated.least_auc
    answer = decide_without_labels(estimate, least, stated.least_auc is not None)
    return replace(found, estimate=estimate, **vars(answer))

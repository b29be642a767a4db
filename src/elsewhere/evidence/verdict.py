"""A model's scores at a new site and at home in; whether it works here, why not, and what to do next, out.

The rule, in its order (the numbers are the constants below):

With labels
    1. fewer than 10 patients of a class: **cannot tell**;
    2. ranking lost, which is an AUC surely (95 %) below 0.70, or surely below home's and by more than 0.05:
       where the AUC cannot be told from chance **do not use**, else **adapt**;
    3. the AUC may lie below 0.70: **cannot tell**;
    4. a local recalibration saves surely more log loss here than at home, and by more than 0.02: **recalibrate**;
    5. a local threshold surely gains right decisions, and more than 2 in 100 scans: **re-threshold**;
    6. else **nothing** is to be done.

Without labels
    1. scores or facts outside everything measured, or no way to measure the estimate's own error: **cannot tell**;
    2. the whole estimated range at or above 0.80: **nothing**; the whole range below 0.60: **do not use**;
    3. else **cannot tell**: label some scans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elsewhere.evidence.calibration import CalibrationLine, calibration_line
from elsewhere.evidence.columns import check_labels, check_probabilities
from elsewhere.evidence.comparison import Comparison, compare_sites
from elsewhere.evidence.decision import OperatingPoint, choose_threshold, decide, fit_recalibration
from elsewhere.evidence.decomposition import Decomposition, LocalGain, Relearned, decompose, local_gain, relearn
from elsewhere.evidence.estimate import Estimate, KnownSite, estimate_auc, outside
from elsewhere.evidence.intervals import Interval, auc_interval, proportion_interval, z_value

Action = Literal["nothing", "re-threshold", "recalibrate", "adapt", "do not use", "cannot tell"]

EXIT_CODES: dict[Action, int] = {
    "nothing": 0,
    "re-threshold": 10,
    "recalibrate": 10,
    "adapt": 11,
    "do not use": 12,
    "cannot tell": 20,
}
"""Exit code of `elsewhere verdict` for each action; 1 stays for errors, 2 for a wrong command line."""

HEADLINES: dict[Action, str] = {
    "nothing": "It works here",
    "re-threshold": "It works here with a threshold of your own",
    "recalibrate": "It works here once its probabilities are recalibrated",
    "adapt": "Not as it is: adapt it first",
    "do not use": "Do not use it here",
    "cannot tell": "Cannot tell",
}

LEAST_PATIENTS = 10
"""Patients of each class without which no AUC is worth a decision."""

USABLE = 0.70
"""AUC from which discrimination is called acceptable (Hosmer, Lemeshow & Sturdivant 2013, section 5.2.4)."""

EXCELLENT, USELESS = 0.80, 0.60
"""What an estimate must clear, or stay below, to be acted on: stricter than a measurement."""

NOTABLE_DROP = 0.05
"""AUC lost at an external site that Yu et al. 2022 count as notable (49 % of 86 radiology algorithms lose as much)."""

NOTABLE_GAIN = 0.02
"""Right decisions per scan, or nats per scan, below which a local threshold or recalibration is not worth the work."""

HALF_WIDTH = 0.05
"""Half-width of the AUC's 95 % interval that the number of scans to label is planned for."""

SIZES = (10, 20, 50, 100, 200, 500)
ENOUGH = 0.01
"""A number of scans is enough where its new threshold comes within this of the largest number's accuracy."""

DISCLAIMER = "Research use only. Not a medical device."
CHANCE = 0.5


@dataclass(frozen=True)
class Scans:
    """One model's scored scans of one place.

    Attributes:
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        probabilities: the model's (scans,).
        strata: stratum of each scan for case mix (scans,), or None.
    """

    labels: ArrayLike
    patients: ArrayLike
    probabilities: ArrayLike
    strata: ArrayLike | None = None

    @property
    def columns(self) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
        """Labels, patients, probabilities."""
        return self.labels, self.patients, self.probabilities


@dataclass(frozen=True)
class Verdict:
    """Whether a model works at a new site. None stands where a number does not exist.

    Attributes:
        action: what to do next.
        reason: why, in one plain sentence.
        next_step: the action in one plain sentence.
        estimated: True where no label was used: an estimate, not a measurement.
        scans: scans of the new site that were scored.
        patients: patients they come from.
        positives: positive scans; None without labels.
        threshold: probability from which the model says positive, chosen at home.
        threshold_rule: "grid", or "argmax" where the best home threshold was trivial.
        called_positive: share of scans called positive here.
        auc: here; measured.
        home_auc: on home's test scans.
        sensitivity: here, at the operating point.
        specificity: here.
        accuracy: here.
        home_sensitivity: at home, at the same operating point.
        home_specificity: at home.
        comparison: AUC at home less AUC here.
        decomposition: the drop in right decisions by cause.
        calibration: intercept and slope here.
        gain: what local labels would bring, cross-fitted.
        relearned: the same for numbers of local scans.
        local_threshold: threshold from all labelled scans here, where the action is re-threshold.
        local_intercept: log-odds to add after the slope, where the action is recalibrate.
        local_slope: factor on the log-odds, likewise.
        estimate: the AUC estimated without labels.
        scans_needed: labelled scans that the next step takes, about; None where it takes none.
        outside: in what the site lies outside everything measured.
        rule: the steps of the rule that were gone through, with their numbers.
        notes: what else to know.
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
    auc: Interval | None = None
    home_auc: Interval | None = None
    sensitivity: Interval | None = None
    specificity: Interval | None = None
    accuracy: Interval | None = None
    home_sensitivity: Interval | None = None
    home_specificity: Interval | None = None
    comparison: Comparison | None = None
    decomposition: Decomposition | None = None
    calibration: CalibrationLine | None = None
    gain: LocalGain | None = None
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
        """The verdict in a few words; an estimate says so."""
        return f"{HEADLINES[self.action]}{' (an estimate: no labels were used)' if self.estimated else ''}"

    @property
    def lines(self) -> tuple[str, str, str]:
        """The verdict in three lines: what, why, what next."""
        return f"{self.headline}.", self.reason, self.next_step

    def to_record(self) -> dict[str, Any]:
        """JSON-able, fields in order, with headline and exit code; NaN and infinities become None."""
        head = {"headline": self.headline, "exit_code": self.exit_code, "disclaimer": DISCLAIMER}
        record: dict[str, Any] = _plain(head | asdict(self))
        return record


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


# With labels ------------------------------------------------------------------------------------------------------


def judge(here: Scans, home: Scans, point: OperatingPoint, *, resamples: int = 1000, seed: int = 0) -> Verdict:
    """The verdict on a model from labelled scans of a new site (the rule: this file's first lines).

    Args:
        here: scans of the new site.
        home: the model's test scans at its training sites, none of whose patients is here.
        point: the model's operating point, chosen at home.
        resamples: of the bootstrap behind the decomposition.
        seed: of all that is drawn.

    Raises:
        ValueError: no scan, NaN, labels other than 0 and 1, probabilities outside 0 to 1, lengths that differ.
    """
    labels = check_labels(here.labels)
    values = check_probabilities(here.probabilities, labels.size)
    few = [np.unique(np.asarray(here.patients)[labels == c]).size for c in (1, 0)]
    numbers = _numbers(here, home, point)
    if min(few) < LEAST_PATIENTS or numbers["home_auc"] is None:
        return _too_few(numbers, few, home, labels)
    comparison, gain = compare_sites(home.columns, here.columns), local_gain(*here.columns, point, seed=seed)
    sizes = [n for n in SIZES if n <= 0.7 * labels.size]
    strata = None if home.strata is None or here.strata is None else (home.strata, here.strata)
    numbers |= {
        "comparison": comparison,
        "gain": gain,
        "decomposition": decompose(home.columns, here.columns, point, strata, resamples=resamples, seed=seed),
        "calibration": calibration_line(labels, values),
        "relearned": relearn(*here.columns, sizes, seed, point=point),
    }
    excess = _difference(gain.recalibrate, local_gain(*home.columns, point, seed=seed).recalibrate)
    return Verdict(**numbers, **_decide(numbers, excess, labels, values))


def _numbers(here: Scans, home: Scans, point: OperatingPoint) -> dict[str, Any]:
    called = decide(here.probabilities, point)
    sensitivity, specificity, accuracy = _shares(here, point)
    home_sensitivity, home_specificity, _ = _shares(home, point)
    return {
        "estimated": False,
        "scans": called.size,
        "patients": np.unique(np.asarray(here.patients)).size,
        "positives": int(check_labels(here.labels).sum()),
        "threshold": point.threshold,
        "threshold_rule": point.rule,
        "called_positive": float(called.mean()),
        "auc": _auc(here),
        "home_auc": _auc(home),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "accuracy": accuracy,
        "home_sensitivity": home_sensitivity,
        "home_specificity": home_specificity,
    }


def _shares(scans: Scans, point: OperatingPoint) -> tuple[Interval | None, Interval | None, Interval]:
    labels, patients = check_labels(scans.labels), np.asarray(scans.patients)
    right: NDArray[np.bool_] = decide(scans.probabilities, point) == (labels == 1)
    within = [proportion_interval(right[k], patients[k]) if k.any() else None for k in (labels == 1, labels == 0)]
    return within[0], within[1], proportion_interval(right, patients)


def _auc(scans: Scans) -> Interval | None:
    if len(set(check_labels(scans.labels).tolist())) < 2:
        return None
    return auc_interval(*scans.columns)


def _difference(first: Interval, second: Interval) -> Interval:
    """First minus second of two independent means (square-and-add)."""
    gap = first.estimate - second.estimate
    down = np.hypot(first.estimate - first.low, second.high - second.estimate)
    up = np.hypot(first.high - first.estimate, second.estimate - second.low)
    return Interval(gap, float(gap - down), float(gap + up), "square-and-add of two clustered intervals")


def _too_few(numbers: dict[str, Any], few: Sequence[int], home: Scans, labels: ArrayLike) -> Verdict:
    needed: int | None = scans_to_prove(_auc_or(numbers["home_auc"]), _balanced_share(labels))
    if numbers["home_auc"] is None:
        reason = f"The model's home test scans ({np.asarray(home.labels).size}) are of one class: it has no measure."
        next_step = "Choose a model that was tested at home with both classes."
        needed = None
    else:
        reason = (
            f"Only {few[0]} patients with the disease and {few[1]} without it are labelled here; "
            f"{LEAST_PATIENTS} of each are the least that can say anything."
        )
        next_step = f"Label about {needed} scans, both classes among them, and ask again."
    rule = (f"Labelled patients here: {few[0]} positive, {few[1]} negative (least: {LEAST_PATIENTS} of each).",)
    return Verdict("cannot tell", reason, next_step, **numbers, scans_needed=needed, rule=rule)


def _auc_or(auc: Interval | None) -> float:
    return EXCELLENT if auc is None else auc.estimate


def _balanced_share(labels: ArrayLike) -> float:
    """Share of positives, kept away from 0 and 1 where only planning depends on it."""
    return float(np.clip(np.mean(np.asarray(labels)), 0.1, 0.9))


def _decide(numbers: dict[str, Any], excess: Interval, labels: NDArray, values: NDArray) -> dict[str, Any]:
    """The rule: action, reason, next step, scans needed, steps."""
    auc, home, comparison, gain = (numbers[k] for k in ("auc", "home_auc", "comparison", "gain"))
    share = _balanced_share(labels)
    seen = f"It ranks a sick patient above a healthy one in {_in_100(auc.estimate)} of 100 pairs here"
    steps = [
        f"AUC here {said(auc)}; at home {said(home)}.",
        f"AUC lost from home to here: {comparison.difference:.3f} ({comparison.low:.3f} to {comparison.high:.3f}); "
        f"notable is more than {NOTABLE_DROP} with the whole interval above 0, or an AUC surely below {USABLE:.2f}.",
    ]
    lost = (comparison.difference > NOTABLE_DROP and comparison.low > 0) or auc.high < USABLE
    if lost and auc.low <= CHANCE:
        steps.append("The AUC here cannot be told from chance (0.5): do not use.")
        words = f"{seen}, which cannot be told from tossing a coin (at home {_in_100(home.estimate)})."
        return _answer("do not use", words, "A model for this site needs training with scans from here.", steps)
    if lost:
        needed = 2 * scans_to_prove(home.estimate, share)
        steps += [
            "Ranking was lost, but is better than chance: adapt.",
            f"{needed} scans: half of them prove the adapted model's AUC to ±{HALF_WIDTH} where it comes back to "
            "home's, as many are left to adapt with. That is a rule of thumb: no adaptation was tried.",
        ]
        words = f"{seen}, at home in {_in_100(home.estimate)}: no other threshold brings that back."
        return _answer(
            "adapt", words, f"Adapt it with about {needed} labelled scans from here, then ask again.", steps, needed
        )
    if auc.low < USABLE:
        needed = scans_to_prove(auc.estimate, share)
        steps.append(f"The AUC here may lie below {USABLE:.2f}: cannot tell.")
        words = (
            f"{seen}, but with so few scans the truth may be anything from {_in_100(auc.low)} to {_in_100(auc.high)}."
        )
        return _answer("cannot tell", words, f"Label about {needed} scans and ask again.", steps, needed)
    return _decide_of_decisions(numbers, gain, excess, (labels, values), steps)


def _decide_of_decisions(
    numbers: dict[str, Any], gain: LocalGain, excess: Interval, here: tuple[NDArray, NDArray], steps: list[str]
) -> dict[str, Any]:
    """Ranking has held; what is left are the probabilities and the threshold."""
    auc = numbers["auc"]
    ranks = f"It ranks patients here as it should ({_in_100(auc.estimate)} of 100 pairs)"
    steps += [
        f"A local recalibration saves {said(gain.recalibrate)} nats per scan here, {said(excess)} more than at home; "
        f"notable is more than {NOTABLE_GAIN} with the whole interval above 0.",
        f"A local threshold gains {said(gain.rethreshold)} right decisions per scan; notable likewise.",
    ]
    if _is_notable(excess) and _is_notable(gain.recalibrate):
        line = fit_recalibration(*here)
        found = {"local_intercept": line.intercept, "local_slope": line.slope}
        words = f"{ranks}, but the probabilities that it gives are further off than at home."
        line_said = f"log-odds × {line.slope:.2f} {line.intercept:+.2f}"
        advice = f"Recalibrate it with your labelled scans ({line_said}), and call positive from 0.50."
        return _answer("recalibrate", words, advice, steps, _enough(numbers["relearned"]), **found)
    if _is_notable(gain.rethreshold):
        threshold = choose_threshold(*here, reading="site").threshold
        words = f"{ranks}, but its threshold from home ({numbers['threshold']:.2f}) decides too often wrongly."
        advice = f"Call positive from {threshold:.2f} here, and check it on new scans."
        return _answer("re-threshold", words, advice, steps, _enough(numbers["relearned"]), local_threshold=threshold)
    words = f"{ranks}, not surely worse than at home ({_in_100(numbers['home_auc'].estimate)}), and its decisions hold."
    return _answer(
        "nothing", words, "Nothing needs to be changed; check it again when scanner or patients change.", steps
    )


def _answer(
    action: Action, reason: str, next_step: str, steps: Sequence[str], needed: int | None = None, **found: float
) -> dict[str, Any]:
    answer = {"action": action, "reason": reason, "next_step": next_step, "rule": tuple(steps), "scans_needed": needed}
    return answer | found


def _is_notable(gain: Interval) -> bool:
    return gain.estimate > NOTABLE_GAIN and gain.low > 0


def _enough(curve: Sequence[Relearned]) -> int | None:
    """Fewest scans whose new threshold comes within 0.01 of the accuracy that the most scans reach."""
    if not curve:
        return None
    best = curve[-1].rethresholded.estimate
    return next(row.scans for row in curve if row.rethresholded.estimate >= best - ENOUGH)


def scans_to_prove(auc: float, positives: float, half_width: float = HALF_WIDTH) -> int:
    """Scans (one per patient) whose AUC has a 95 % interval of ± `half_width`, rounded up to tens.

    Hanley & McNeil 1982, equation 2, exponential model; an AUC above 0.95 is planned as 0.95, because near 1 the
    formula promises too much, and one below 0.5 as its mirror image.

    Args:
        auc: supposed AUC.
        positives: share of positives, above 0 and below 1.
        half_width: of the interval.

    Raises:
        ValueError: the share of positives is not between 0 and 1.
    """
    if not 0 < positives < 1:
        raise ValueError(f"the share of positives is {positives}; an AUC needs both classes")
    a = min(max(auc, 1 - auc), 0.95)
    pair_up, pair_down = a / (2 - a), 2 * a**2 / (1 + a)
    for scans in range(20, 20_000, 10):
        up, down = positives * scans, (1 - positives) * scans
        variance = a * (1 - a) + (up - 1) * (pair_up - a**2) + (down - 1) * (pair_down - a**2)
        if z_value(0.95) * (variance / (up * down)) ** 0.5 <= half_width:
            return scans
    return 20_000


def _in_100(share: float) -> str:
    return f"{100 * share:.0f}"


def said(interval: Interval) -> str:
    """An interval in digits: estimate (low to high)."""
    return f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})"


# Without labels ---------------------------------------------------------------------------------------------------


def judge_unlabelled(
    probabilities: ArrayLike,
    patients: ArrayLike,
    known: Sequence[KnownSite],
    home: tuple[ArrayLike, ArrayLike],
    point: OperatingPoint,
    *,
    facts: Mapping[str, Sequence[object]] = {},
    known_facts: Mapping[str, Sequence[object]] = {},
) -> Verdict:
    """The verdict on a model from scans without labels: an estimate, and marked as one.

    Args:
        probabilities: the model's at the new site (scans,).
        patients: patient of each scan (scans,).
        known: every site of the study with its labels and the model's probabilities there.
        home: (labels, probabilities) of the home validation scans.
        point: the model's operating point.
        facts: name -> one value per scan of the new site.
        known_facts: the same for the scans of the known sites.

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1.
    """
    given = np.asarray(probabilities, dtype=np.float64)
    values = check_probabilities(given, given.size)
    numbers: dict[str, Any] = {
        "estimated": True,
        "scans": values.size,
        "patients": np.unique(np.asarray(patients)).size,
        "positives": None,
        "threshold": point.threshold,
        "threshold_rule": point.rule,
        "called_positive": float(decide(values, point).mean()),
        "scans_needed": scans_to_prove(EXCELLENT, 0.5),
    }
    label = f"Label about {numbers['scans_needed']} scans of both classes and ask again with --labels."
    reasons = outside(values, known, facts, known_facts)
    if reasons:
        words = f"This site lies outside everything measured: {reasons[0][0].lower()}{reasons[0][1:]}"
        return Verdict("cannot tell", words, label, **numbers, outside=reasons, rule=reasons)
    try:
        estimate = estimate_auc(home, known, values, patients)
    except ValueError as error:
        return Verdict("cannot tell", f"Nothing can be estimated without labels: {error}.", label, **numbers)
    return Verdict(**numbers, estimate=estimate, **_decide_by_estimate(estimate, label))


def _decide_by_estimate(estimate: Estimate, label: str) -> dict[str, Any]:
    steps = (
        "Scores and facts lie within what was measured at the known sites.",
        f"Estimated AUC {estimate.auc:.3f}, range {estimate.low:.3f} to {estimate.high:.3f}: the largest error "
        f"({estimate.largest_error:.3f}) at {len(estimate.left_out)} known unseen sites, each left out in turn, and "
        f"the sampling error of the scans here ({estimate.sampling:.3f}), square-and-add.",
        f"To act on an estimate the whole range must lie at or above {EXCELLENT:.2f}, or below {USELESS:.2f}.",
    )
    seen = (
        f"By its scores alone it would rank rightly {_in_100(estimate.auc)} of 100 pairs here, "
        f"give or take {_in_100((estimate.high - estimate.low) / 2)}"
    )
    if estimate.low >= EXCELLENT:
        answer: tuple[Action, str, str] = ("nothing", f"{seen}.", f"Measure it before it counts. {label}")
    elif estimate.high < USELESS:
        answer = ("do not use", f"{seen}: little better than tossing a coin.", f"Do not use it on this word. {label}")
    else:
        answer = ("cannot tell", f"{seen}, which decides nothing.", label)
    return {"action": answer[0], "reason": answer[1], "next_step": answer[2], "rule": steps}

"""The rule of the verdict: measurements in; what to do next, why, and every step of the rule with its numbers, out.

With labels, in this order ("surely": the whole 95 % interval, clustered by patient; requirements: requirements.py):
    1. discrimination at home is not surely above chance, or the scores hardly vary, on scans that could show it (the
       internal test set, or the validation scans where it has fewer than 10 patients of a class): **not learned**;
    2. fewer than 10 patients of a class here, or scans of so unequal numbers a patient that they are worth fewer:
       **cannot tell**; so too where all probabilities are the same;
    3. the AUC is surely below 0.5, where the scores point the wrong way: **do not use**;
    4. a requirement on the AUC is surely not met: **do not use** where the AUC is not distinguishable from chance or
       surely not even home reaches the requirement, else **adapt**; **adapt** too where one is open and the AUC is
       surely above chance, surely below home's, and by more than 0.05;
    5. a requirement on the AUC is open, and none on the decisions surely not met: **cannot tell**;
    6. every requirement on the decisions is met: **recalibrate** where the probabilities are off (7), else **nothing**;
       off they never are where the user states another prevalence than that of the labelled scans;
    7. one is surely not met, or one is open and a recalibration surely saves more log loss than at home, and more than
       0.02 nats: where a local threshold, tried on patients it was not chosen on, reaches the requirements,
       **recalibrate** (probabilities off) or **re-threshold**; where one is surely not met and none does, **adapt**;
    8. else **cannot tell**.

Without labels the answer is **estimate only** in every case (`decide_without_labels`), after step 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from elsewhere.statistics.columns import Floats, Ints
from elsewhere.statistics.decision import OperatingPoint, decide, fit_recalibration, recalibrate
from elsewhere.statistics.estimate import Estimate
from elsewhere.statistics.intervals import Interval, z_value
from elsewhere.statistics.local_threshold import choose_local_threshold, cross_fitted_decisions
from elsewhere.statistics.predictive import enriched_words
from elsewhere.statistics.requirements import (
    MOST_SCANS,
    Requirement,
    Requirements,
    all_met,
    assess_decisions,
    scans_to_settle,
)
from elsewhere.wording import decimals

Action = Literal[
    "nothing", "re-threshold", "recalibrate", "adapt", "do not use", "not learned", "cannot tell", "estimate only"
]

HOLDS: tuple[Action, ...] = ("nothing", "recalibrate")
"""Actions that say that the decisions hold."""

EXIT_CODES: dict[Action, int] = {
    "nothing": 0,
    "re-threshold": 10,
    "recalibrate": 10,
    "adapt": 11,
    "do not use": 12,
    "not learned": 30,
    "cannot tell": 20,
    "estimate only": 21,
}
"""Exit code of `elsewhere verdict` for each action; 1 stays for errors, 2 for a wrong command line.

30 is that of `elsewhere study` with a model that learned nothing, too.
"""

LEAST_PATIENTS = 10
"""Patients of each class without which no AUC is worth a decision."""

NOTABLE_DROP = 0.05
"""AUC lost at an external site that Yu et al. 2022 count as notable (49 % of 86 radiology algorithms lose as much)."""

NOTABLE_GAIN = 0.02
"""Nats per scan below which a local recalibration is not worth the work."""

HALF_WIDTH = 0.05
"""Half-width of the AUC's 95 % interval that the number of scans for an adapted model is planned for."""

RULE_ERROR = (
    "The number of scans is a rule of thumb. On three simulated pairs of sites it left 45, 70 and 90 patients of each "
    "class to adapt with, and all weights fitted on 32 of each came within 0.05 of home's AUC in 15 of 15 fits: it "
    "asked for 1.4 to 2.8 times what was enough there. On real sites its error is not known."
)
"""How far the number of scans to adapt with was off where it was measured (docs/adapt-tables.md)."""

CHANCE = 0.5

SEEN = "A value that is stated with {option} only now, after these scans were seen, holds for new scans alone."
"""Of a requirement that is chosen by the number that it is to judge."""

OPTIONS = {
    "discrimination (AUC)": "--least-auc",
    "sensitivity": "--least-sensitivity",
    "specificity": "--least-specificity",
    "net benefit": "--net-benefit-at",
}
"""What a user states each requirement with."""


@dataclass(frozen=True)
class Measured:
    """What labelled scans of a new site say of a model, before the rule.

    Attributes:
        auc: discrimination here.
        home_auc: on the internal test set.
        lost: home's less the one here.
        discrimination: the requirements on the AUC.
        decisions: the requirements on sensitivity, specificity, net benefit.
        gain: log loss (nats per scan) that a local recalibration saves here, cross-fitted.
        excess: what it saves here more than at home.
        labels: 1 or 0 (scans,).
        patients: patient of each scan, as integers (scans,).
        probabilities: (scans,).
        point: the operating point.
        wanted: what the user stated.
        home_shares: sensitivity and specificity on the internal test set.
        seed: of the folds.
        prevalence: share of positives where the model is used, as the user says; None for that of these scans.
    """

    auc: Interval
    home_auc: Interval
    lost: Interval
    discrimination: Sequence[Requirement]
    decisions: Sequence[Requirement]
    gain: Interval
    excess: Interval
    labels: Ints
    patients: Ints
    probabilities: Floats
    point: OperatingPoint
    wanted: Requirements
    home_shares: tuple[Interval | None, Interval | None]
    seed: int
    prevalence: float | None = None


@dataclass(frozen=True)
class Answer:
    """What the rule says.

    Attributes:
        action: what to do next.
        reason: why, in one sentence.
        next_step: the action in one or two sentences.
        rule: the steps that were gone through, with their numbers.
        scans_needed: labelled scans, in all, that the next step takes; None where it takes none or none is enough.
        local_threshold: threshold from the labelled scans here; on the recalibrated scale with `local_slope`.
        local_intercept: log-odds to add after the slope.
        local_slope: factor on the log-odds.
    """

    action: Action
    reason: str
    next_step: str
    rule: tuple[str, ...]
    scans_needed: int | None = None
    local_threshold: float | None = None
    local_intercept: float | None = None
    local_slope: float | None = None


def doubted(answer: Answer, words: str, advice: str) -> Answer:
    """ "Cannot tell" in place of an answer, whose steps stay and whose threshold and numbers of scans go.

    >>> found = doubted(Answer("nothing", "It works.", "", ("AUC met.",)), "One site fails.", "Look at it.")
    >>> found.action, found.rule
    ('cannot tell', ('AUC met.', 'One site fails.'))
    """
    return Answer("cannot tell", words, advice, (*answer.rule, words))


def few_answer(worth: tuple[float, float], steps: Sequence[str] = ()) -> Answer | None:
    """The answer where scans (positive, negative) are worth too few patients (`worth_of`); None where they are not.

    >>> few_answer((2.0, 30.0)).action, few_answer((12.0, 30.0))
    ('cannot tell', None)
    """
    if min(worth) >= LEAST_PATIENTS:
        return None
    words = (
        f"A few patients have most of the scans: the positive ones are worth {worth[0]:.0f} patients with equal "
        f"numbers of scans, the negative ones {worth[1]:.0f}; {LEAST_PATIENTS} of each are the least for a verdict: "
        "intervals do not hold with fewer."
    )
    return Answer("cannot tell", words, "Judge one scan of each patient, or label more patients.", (*steps, words))


def brief(interval: Interval) -> str:
    """An interval in two digits: estimate (low to high); in three where an end would read as 0 and is not.

    >>> brief(Interval(0.9, 0.85, 0.94, "")), brief(Interval(0.05, 0.004, 0.12, ""))
    ('0.90 (0.85 to 0.94)', '0.050 (0.004 to 0.120)')
    """
    digits = decimals(interval.low, interval.high)
    return f"{interval.estimate:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


# With labels ------------------------------------------------------------------------------------------------------


def decide_with_labels(m: Measured) -> Answer:
    """Steps 3 to 8 of the rule.

    >>> auc, same, labels = Interval(0.9, 0.86, 0.93, ""), Interval(0.0, -0.01, 0.01, ""), np.tile([0, 1], 20)
    >>> columns = labels, np.arange(40), 0.2 + 0.6 * labels, OperatingPoint(0.5, "grid", "model", 1.0, 40)
    >>> m = Measured(auc, auc, same, [], [], same, same, *columns, Requirements(), (None, None), seed=0)
    >>> decide_with_labels(m).action
    'nothing'
    """
    steps = [
        f"Discrimination (AUC) here {brief(m.auc)}, at home {brief(m.home_auc)}; from home to here "
        f"{brief(m.lost)} lost.",
        *(r.finding for r in (*m.discrimination, *m.decisions)),
    ]
    seen = f"Discrimination (AUC) here is {brief(m.auc)}"
    if m.auc.high < CHANCE:
        words = (
            f"{seen}: the scores point the wrong way, positive scans get the lower ones (at home {brief(m.home_auc)})."
        )
        advice = (
            "Check that labels and classes are not exchanged; if they are right, train a model with scans from here."
        )
        return Answer("do not use", words, advice, tuple(steps))
    missed = [r for r in m.discrimination if r.status == "not met"]
    lower = m.lost.low > 0 and m.lost.estimate > NOTABLE_DROP and m.auc.low > CHANCE
    if missed or (lower and not all_met(m.discrimination)):
        return _discrimination_lost(m, missed, seen, steps)
    undecided = [r for r in m.discrimination if r.status == "open"]
    if undecided and not any(r.status == "not met" for r in m.decisions):
        return _undecided(m, undecided, seen, steps)
    return _decide_on_decisions(m, steps)


def _discrimination_lost(m: Measured, missed: Sequence[Requirement], seen: str, steps: list[str]) -> Answer:
    if m.auc.low <= CHANCE:
        words = f"{seen}: not distinguishable from chance (AUC 0.5); at home {brief(m.home_auc)}."
        return Answer("do not use", words, "A model for this site needs training with scans from here.", tuple(steps))
    unreachable = [r for r in missed if not r.against and m.home_auc.high < r.limit]
    if unreachable:
        words = f"{seen}, at home {brief(m.home_auc)}: both are surely below the required {unreachable[0].limit:.2f}."
        return Answer("do not use", words, "Choose another model: not even at home does it reach this.", tuple(steps))
    needed = 2 * scans_to_prove(m.home_auc.estimate, _planned_share(m.labels))
    steps.append(
        f"{needed} scans: half of them prove the adapted model's AUC to ±{HALF_WIDTH} where it comes back to home's, "
        "as many are left to adapt with (a rule of thumb)."
    )
    below = [r for r in missed if not r.against]
    against = (
        f"surely below the required {below[0].limit:.2f}; at home {brief(m.home_auc)}"
        if below
        else f"surely below home's {brief(m.home_auc)}"
    )
    advice = f"Adapt it with about {needed} labelled scans from here, then ask again."
    return Answer("adapt", f"{seen}, {against}; no threshold can restore it.", advice, tuple(steps), needed)


def _decide_on_decisions(m: Measured, steps: list[str]) -> Answer:
    """Steps 6 to 8: discrimination is not surely lost; what is left are the decisions and the probabilities."""
    line = fit_recalibration(m.labels, m.probabilities)
    enriched = enriched_words(m.labels, m.prevalence)
    off = not enriched and is_notable(m.excess) and is_notable(m.gain) and line.slope > 0
    steps.append(
        enriched
        or f"Recalibrating here saves {m.gain.estimate:.3f} nats per scan ({m.gain.low:.3f} to {m.gain.high:.3f}), "
        f"{m.excess.estimate:.3f} more than at home ({m.excess.low:.3f} to {m.excess.high:.3f}): probabilities are "
        f"{'' if off else 'not surely '}further off than at home (needed: more than {NOTABLE_GAIN}, surely above 0)."
    )
    seen = f"Discrimination (AUC) here is {brief(m.auc)}"
    map_words = f"log-odds × {line.slope:.2f} {line.intercept:+.2f}"
    if all_met(m.decisions):
        held = f"{seen}, and its decisions hold: {_shares_words(m.decisions)}"
        if not off:
            then = "Nothing needs to be changed; check it again when scanner or patients change."
            return Answer("nothing", f"{held}.", then, tuple(steps))
        moved = float(recalibrate(m.point.threshold, line))
        words = f"{held}, but its probabilities are further off than at home."
        advice = f"Recalibrate them ({map_words}) before they are read; its threshold is then {moved:.2f}."
        return Answer("recalibrate", words, advice, tuple(steps), None, moved, line.intercept, line.slope)
    missed = [r for r in m.decisions if r.status == "not met"]
    undecided = [r for r in m.decisions if r.status == "open"]
    if missed or off:
        found = _try_local_threshold(m, steps)
        if found is not None:
            threshold, tried = found
            why = _failure(m, missed or undecided)
            needed = _scans_for(tried, m)
            check = f"check it on about {needed} new scans" if needed else "check it on new scans"
            then = f"patients left out of its choice had {_shares_words(tried)}; {check}."
            if off:
                moved = float(recalibrate(threshold, line))
                words = f"{seen}, but its probabilities are further off than at home, and {why}."
                advice = f"Recalibrate it ({map_words}), and call positive from {moved:.2f}: {then}"
                return Answer("recalibrate", words, advice, tuple(steps), needed, moved, line.intercept, line.slope)
            advice = f"Call positive from {threshold:.2g} instead of {m.point.threshold:.2f}: {then}"
            return Answer("re-threshold", f"{seen}, but {why}.", advice, tuple(steps), needed, threshold)
        if missed:
            needed = 2 * scans_to_prove(m.home_auc.estimate, _planned_share(m.labels))
            words = f"{seen}, but {_failure(m, missed)}, and no local threshold reaches the requirements."
            advice = f"Adapt it with about {needed} labelled scans from here, then ask again."
            return Answer("adapt", words, advice, tuple(steps), needed)
    return _undecided(m, undecided, seen, steps)


def _try_local_threshold(m: Measured, steps: list[str]) -> tuple[float, list[Requirement]] | None:
    """A local threshold and the requirements at cross-fitted ones, where the estimates reach all of them."""
    least = wanted_shares(m.decisions)
    called = cross_fitted_decisions(m.labels, m.patients, m.probabilities, least, m.seed)
    tried = assess_decisions(m.labels, m.patients, called, m.home_shares, m.wanted)
    reached = all(r.value is not None and r.value.estimate >= r.limit for r in tried)
    steps.append(
        f"Local thresholds for a sensitivity of {least[0]:.2f} and a specificity of {least[1]:.2f}, each tried on "
        f"patients that it was not chosen on: {_shares_words(tried)}; the requirements are "
        f"{'reached' if reached else 'not all reached'}."
    )
    return (choose_local_threshold(m.labels, m.probabilities, least), tried) if reached else None


def wanted_shares(requirements: Sequence[Requirement]) -> tuple[float, float]:
    """The least sensitivity and specificity that requirements ask for; 0 where they ask for none.

    >>> wanted_shares([Requirement("sensitivity", 0.8, True, "", None, None, None, "open")])
    (0.8, 0.0)
    """
    least = [
        max([r.bound for r in requirements if r.measure == name and r.bound is not None], default=0.0)
        for name in ("sensitivity", "specificity")
    ]
    return least[0], least[1]


def _undecided(m: Measured, undecided: Sequence[Requirement], seen: str, steps: list[str]) -> Answer:
    first = undecided[0]
    of_auc = first.measure == "discrimination (AUC)"
    words = f"{seen}, which leaves open: {first.demand}." if of_auc else f"{seen}, but {_failure(m, undecided)}."
    planned = [(r, scans_to_settle(r, m.labels.size)) for r in undecided]
    stuck = [r for r, number in planned if number is None]
    if not stuck:
        needed = max(_scans_for(undecided, m) or 0, m.labels.size + 10)
        return Answer("cannot tell", words, f"Label about {needed} scans in all and ask again.", tuple(steps), needed)
    r = stuck[0]
    if r.here is None or (r.against == "home" and r.home is None):
        advice = f"{r.demand}: that cannot be measured here. State {OPTIONS[r.measure]}."
    elif r.against == "home" and r.home is not None:
        advice = (
            f"{MOST_SCANS} scans here would not settle {r.demand}: the estimate lies close to it, or the internal test "
            f"set is too small ({r.measure} {brief(r.home)}). Test more scans at home. "
            f"{SEEN.format(option=OPTIONS[r.measure])}"
        )
    else:
        advice = (
            f"{MOST_SCANS} scans would not settle {r.demand}: the estimate lies too close to it. "
            f"{SEEN.format(option=OPTIONS[r.measure])}"
        )
    return Answer("cannot tell", words, advice, tuple(steps))


def _failure(m: Measured, failed: Sequence[Requirement]) -> str:
    """What is not met or open of the decisions, in words, with the scans that were missed or falsely called."""
    r = failed[0]
    called = decide(m.probabilities, m.point)
    truth = m.labels == 1
    if r.measure == "net benefit":
        amount = (
            "unknown" if r.value is None else f"{r.value.estimate:+.3f} ({r.value.low:+.3f} to {r.value.high:+.3f})"
        )
        lead = f"the net benefit of its decisions less that of {r.against.replace(' ', '-')} is {amount}"
    elif r.here is None:
        lead = f"{r.measure} cannot be measured"
    elif r.measure == "sensitivity":
        lead = (
            f"sensitivity is {brief(r.here)}, {int((truth & ~called).sum())} of {int(truth.sum())} positives are missed"
        )
    else:
        lead = (
            f"specificity is {brief(r.here)}, {int((~truth & called).sum())} of {int((~truth).sum())} negatives are "
            "called positive"
        )
    home = "" if r.home is None else f" (at home {brief(r.home)})"
    return f"{lead}{home}: {r.demand} is {'surely not met' if r.status == 'not met' else 'open'}"


def _shares_words(requirements: Sequence[Requirement]) -> str:
    seen = {r.measure: brief(r.here) for r in requirements if r.measure != "net benefit" and r.here is not None}
    return ", ".join(f"{name} {words}" for name, words in seen.items())


def _scans_for(requirements: Sequence[Requirement], m: Measured) -> int | None:
    """Scans that settle all of these, with at least 10 patients of each class among them."""
    numbers = [scans_to_settle(r, m.labels.size) for r in requirements]
    known = [n for n in numbers if n is not None]
    if len(known) < len(numbers) or not known:
        return None
    share = _planned_share(m.labels)
    return max(*known, -(-int(LEAST_PATIENTS / min(share, 1 - share)) // 10) * 10)


def is_notable(gain: Interval) -> bool:
    """More than `NOTABLE_GAIN`, and surely above 0.

    >>> is_notable(Interval(0.05, 0.01, 0.09, "")), is_notable(Interval(0.05, -0.01, 0.11, ""))
    (True, False)
    """
    return gain.estimate > NOTABLE_GAIN and gain.low > 0


def _planned_share(labels: Ints) -> float:
    """Share of positives, kept away from 0 and 1 where only planning depends on it."""
    return float(np.clip(np.mean(labels), 0.05, 0.95))


def scans_to_prove(auc: float, positives: float) -> int:
    """Scans (one per patient) whose AUC has a 95 % interval of ± `HALF_WIDTH`, rounded up to tens.

    Hanley & McNeil 1982, equation 2, exponential model; an AUC above 0.95 is planned as 0.95, because near 1 the
    formula promises too much, and one below 0.5 as its mirror image.

    Args:
        auc: supposed AUC.
        positives: share of positives, above 0 and below 1.

    Raises:
        ValueError: the share of positives is not between 0 and 1.

    >>> scans_to_prove(0.8, 0.5), scans_to_prove(0.8, 0.1)
    (310, 1140)
    """
    if not 0 < positives < 1:
        raise ValueError(f"the share of positives is {positives}; an AUC needs both classes")
    a = min(max(auc, 1 - auc), 0.95)
    pair_up, pair_down = a / (2 - a), 2 * a**2 / (1 + a)
    for scans in range(20, 20_000, 10):
        up, down = positives * scans, (1 - positives) * scans
        variance = a * (1 - a) + (up - 1) * (pair_up - a**2) + (down - 1) * (pair_down - a**2)
        if z_value(0.95) * (variance / (up * down)) ** 0.5 <= HALF_WIDTH:
            return scans
    return 20_000


# Without labels ---------------------------------------------------------------------------------------------------


def decide_without_labels(estimate: Estimate, least_auc: float, stated: bool) -> Answer:
    """The estimate beside the required AUC: never more than an estimate, whichever side its range lies on.

    >>> estimate = Estimate(0.8, None, None, 0.82, 0.1, (), 0.0, 0.0)
    >>> decide_without_labels(estimate, 0.8, stated=True).action
    'estimate only'
    """
    needed = scans_to_prove(estimate.auc, CHANCE)
    source = "stated" if stated else "default"
    steps = [
        "Scores and metadata lie within what was measured at the known sites.",
        f"From the scores: AUC {estimate.auc:.2f}. {estimate.range_words}",
        "Scores without labels decide nothing: where known sites are alike and the new one is not, no range shows it.",
    ]
    label = f"Label about {needed} scans of both classes and ask again with --labels."
    seen = f"From the scores alone its AUC here is estimated as {estimate.auc:.2f}"
    if estimate.low is None or estimate.high is None:
        return Answer("estimate only", f"{seen}, without a range: {estimate.range_words}", label, tuple(steps), needed)
    seen = f"{seen} (95 % prediction interval {estimate.low:.2f} to {estimate.high:.2f})"
    if estimate.low >= least_auc:
        side = f"all of it at or above the required {least_auc:.2f} ({source})"
    elif estimate.high < least_auc:
        side = f"all of it below the required {least_auc:.2f} ({source})"
    else:
        side = f"on both sides of the required {least_auc:.2f} ({source})"
    return Answer("estimate only", f"{seen}, {side}: that is no measurement.", label, tuple(steps), needed)

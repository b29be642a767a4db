"""Whether a product meets the requirements here, and whether it is what it was said to be; it has no home to compare.

The rule, in this order ("surely": the whole 95 % interval, clustered by patient; requirements: requirements.py, those
without a comparison to home):
    1. all scores are the same: **cannot tell**, the product is degenerate here;
    2. fewer than 10 patients of a class: **cannot tell**;
    3. the AUC is surely below 0.5: **do not use**, the scores point the wrong way;
    4. the requirement on the AUC is surely not met: **do not use** where the AUC is not distinguishable from chance,
       else **adapt**;
    5. its decisions are not known (neither calls nor a threshold), or the AUC is open and no requirement on the
       decisions is surely not met: **cannot tell**;
    6. every requirement is met: **nothing** has to be done, or **recalibrate** where the user says that the scores are
       probabilities and a local recalibration surely saves log loss, more than 0.02 nats;
    7. one on the decisions is surely not met: **re-threshold** where a local threshold, tried on patients it was not
       chosen on, reaches all of them, else **adapt**;
    8. else **cannot tell**; and so where 6 says yes, but a required sensitivity or specificity would not surely be
       reached if every scan that the product gave no answer to counted as a wrong decision.

A claim is contradicted where the interval of the difference, here less claimed, lies wholly below 0. The level is 95 %
for one or two claimed measures and higher for three, so that a product that is as claimed is named in at most 5 % of
tests (Bonferroni on the one-sided errors).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.stats import rankdata

from elsewhere.statistics.columns import Floats
from elsewhere.statistics.decision import ARGMAX, OperatingPoint, fit_recalibration
from elsewhere.statistics.decomposition import local_gain
from elsewhere.statistics.intervals import LEVEL, Interval, binormal_variance, score_ends, wilson_ends, z_value
from elsewhere.statistics.local_threshold import choose_local_threshold, cross_fitted_decisions
from elsewhere.statistics.predictive import enriched_words
from elsewhere.statistics.requirements import (
    MOST_SCANS,
    Measure,
    Requirement,
    Requirements,
    all_met,
    assess_decisions,
    assess_discrimination,
    require,
    scans_to_settle,
    subtract,
)
from elsewhere.statistics.scored import Scored, discrimination
from elsewhere.statistics.verdict_rule import (
    CHANCE,
    EXIT_CODES,
    HOLDS,
    LEAST_PATIENTS,
    OPTIONS,
    SEEN,
    Answer,
    brief,
    doubted,
    few_answer,
    is_notable,
)
from elsewhere.wording import decimals, numbered, verb

SHARES = ("sensitivity", "specificity")
NOT_AS_CLAIMED = 13
"""Exit code where a claim is contradicted, whatever the requirements say."""
WORSE_THAN_BEFORE = 14
"""Exit code where an update is worse than the version before by more than the stated margin."""
SEVERITY = (0, 20, 30, 10, 11, 12, WORSE_THAN_BEFORE, NOT_AS_CLAIMED)
"""Exit codes from best to worst: of several findings the worst counts."""

ALIKE = 1e-6
"""Scores that differ by less than this part of their size are the same."""


def assess(scans: Scored, stated: Requirements) -> tuple[Requirement, ...]:
    """Every requirement that needs no home, stated or default, with what the scans say of it.

    >>> scans = Scored(np.repeat([0, 1], 20), np.arange(40), np.arange(40.0))  # ranked rightly, decisions not known
    >>> [(r.measure, r.status) for r in assess(scans, Requirements())]
    [('discrimination (AUC)', 'met'), ('sensitivity', 'open'), ('specificity', 'open')]
    """
    found = assess_discrimination(discrimination(scans), None, stated)
    if scans.called is not None:
        columns = scans.labels, scans.patients, scans.called.astype(np.int64)
        found += assess_decisions(*columns, (None, None), stated)
    else:
        shares: tuple[Measure, Measure] = ("sensitivity", "specificity")
        for measure in shares:
            found += [require(measure, limit, None, stated=s) for rel, limit, s in stated.limits(measure) if not rel]
    return tuple(r for r in found if r.against != "home")


def decide_acceptance(  # noqa: PLR0911 - one for each answer of the rule
    scans: Scored,
    stated: Requirements,
    *,
    probability: bool = False,
    prevalence: float | None = None,
    show: Callable[[float], str] = "from {:.4g}".format,
    seed: int = 0,
) -> Answer:
    """The answer of the rule, with its steps.

    Args:
        scans: with scores and labels.
        stated: what the user requires.
        probability: whether the user says that the scores are probabilities.
        prevalence: share of positives where it is used, as the user says; None for that of these scans.
        show: a threshold on `scans.scores` in the words of the product's own scale.
        seed: of the folds of local thresholds.

    >>> labels = np.repeat([0, 1], 20)
    >>> decide_acceptance(Scored(labels, np.arange(40), np.arange(40.0), labels == 1), Requirements()).action
    'nothing'
    """
    t, requirements, steps = scans, assess(scans, stated), list[str]()
    if np.ptp(t.scores) <= ALIKE * float(np.abs(t.scores).max()):
        words = f"All {t.scores.size} scores are the same ({t.scores[0]:.4g}): the product is degenerate here."
        return Answer("cannot tell", words, "Ask the vendor, or check how the scores were exported.", (words,))
    few, auc = t.class_patients, discrimination(t)
    steps.append(f"Labelled patients: {few[0]} positive, {few[1]} negative (least: {LEAST_PATIENTS} of each).")
    steps += [r.finding for r in requirements]
    if auc is None and min(few) >= LEAST_PATIENTS:
        words = "No site has scans of both classes: discrimination cannot be measured, only that the sites differ."
        return Answer("cannot tell", words, "Label scans of both classes at one site at least.", (*steps, words))
    if min(few) < LEAST_PATIENTS or auc is None:
        return _too_few(few, requirements, steps)
    if (unequal := few_answer(t.class_worth, steps)) is not None:
        return unequal
    seen = f"Discrimination (AUC) is {brief(auc)}"
    if auc.high < CHANCE:
        words = f"{seen}: the scores point the wrong way, positive scans get the lower ones."
        advice = "Check labels and --scale: do lower scores mean disease (--scale lower-is-sicker)?"
        return Answer("do not use", words, advice, tuple(steps))
    ranking = [r for r in requirements if r.measure == "discrimination (AUC)"]
    decisions = [r for r in requirements if r.measure != "discrimination (AUC)"]
    if missed := [r for r in ranking if r.status == "not met"]:
        if auc.low <= CHANCE:
            words = f"{seen}: not distinguishable from chance (AUC 0.5)."
            return Answer(
                "do not use",
                words,
                "No threshold can help: choose another product, or ask for a version adapted to scans like these.",
                tuple(steps),
            )
        words = f"{seen}, surely below the required {missed[0].limit:.2f}; no threshold can restore it."
        advice = "Ask for a version adapted to scans like these, then test it on scans that it was not adapted on."
        return Answer("adapt", words, advice, tuple(steps))
    if t.called is None:
        words = f"{seen}, but the product's decisions are not known: sensitivity and specificity are not measured."
        return Answer("cannot tell", words, "Give its threshold with --threshold, or a column `call`.", tuple(steps))
    surely = [r for r in decisions if r.status == "not met"]
    if all_met(requirements):
        enriched = enriched_words(t.labels, prevalence)
        steps += [enriched] if enriched else []
        return _accepted(t, seen, requirements, steps, probability and not enriched)
    if surely:
        words = f"{seen}, but {surely[0].measure} {brief(surely[0].here)}" if surely[0].here else f"{seen}, but"
        return _rethreshold(t, f"{words}: {surely[0].demand} is surely not met", decisions, (stated, seed), steps, show)
    return _open([r for r in requirements if r.status == "open"], seen, t.labels.size, steps)


def _too_few(few: tuple[int, int], requirements: Sequence[Requirement], steps: list[str]) -> Answer:
    words = (
        f"Only {numbered(few[0], 'patient')} with the finding and {few[1]} without it are labelled; "
        f"{LEAST_PATIENTS} of each are the least for a verdict."
    )
    if lost := [r.finding for r in requirements if r.status == "not met"]:
        words += f" Already not met: {lost[0].removeprefix('Required: ')}"
    return Answer("cannot tell", words, "Label more scans of the rarer class and ask again.", tuple(steps))


def _accepted(t: Scored, seen: str, requirements: Sequence[Requirement], steps: list[str], probability: bool) -> Answer:
    shares = ", ".join(
        f"{r.measure} {brief(r.here)}" for r in requirements if r.measure in SHARES and r.here is not None
    )
    held = f"{seen}, and its decisions hold: {shares}"
    if probability:
        gain = local_gain(t.labels, t.patients, t.scores, OperatingPoint(ARGMAX, "argmax", "model", 0.0, 0)).recalibrate
        off = is_notable(gain)
        steps.append(
            f"Recalibrating here saves {gain.estimate:.3f} nats per scan ({gain.low:.3f} to {gain.high:.3f}): its "
            f"probabilities are {'' if off else 'not surely '}off (needed: more than 0.02, surely above 0)."
        )
        line = fit_recalibration(t.labels, t.scores)
        if off and line.slope > 0:
            words = f"{held}, but its probabilities are off."
            advice = (
                "Recalibrate its scores before they are read as probabilities: new log-odds = "
                f"{line.slope:.2f} × log-odds {'−' if line.intercept < 0 else '+'} {abs(line.intercept):.2f}."
            )
            return Answer("recalibrate", words, advice, tuple(steps), None, None, line.intercept, line.slope)
    advice = "Nothing needs to be changed; test it again when product, scanner or patients change."
    return Answer("nothing", f"{held}.", advice, tuple(steps))


def count_unanswered(
    answer: Answer, requirements: Sequence[Requirement], shares: Mapping[Measure, Interval | None], scans: int
) -> Answer:
    """The answer, or "cannot tell" where a product works only because it was silent on scans (step 8 of the rule).

    Args:
        answer: what the rule says of the scans that it answered.
        requirements: what was asked of these.
        shares: AUC, sensitivity and specificity, were each scan without an answer wrong.
        scans: how many have no answer.

    >>> need = require("sensitivity", 0.7, Interval(0.95, 0.9, 0.98, ""), stated=True)
    >>> as_wrong = {"sensitivity": Interval(0.75, 0.66, 0.82, "")}
    >>> count_unanswered(Answer("nothing", "It works.", "", ()), [need], as_wrong, 20).action
    'cannot tell'
    """
    if answer.action not in HOLDS:
        return answer
    missed = [(r, here) for r in requirements if (here := shares.get(r.measure)) and here.low < r.limit]
    if not missed:
        return answer
    first, here = missed[0]
    words = (
        f"Where it answered, it meets the requirements; but {numbered(scans, 'scan')} {verb(scans, 'has', 'have')} no "
        f"answer, and were each of them wrong, {first.measure} would be {brief(here)}, not surely the required "
        f"{first.limit:.2f}."
    )
    advice = "Look at what it does not answer, and decide how such scans are read; then judge both together."
    return doubted(answer, words, advice)


def _rethreshold(  # noqa: PLR0917 - what was measured, and how to say it
    t: Scored,
    words: str,
    decisions: Sequence[Requirement],
    wanted: tuple[Requirements, int],
    steps: list[str],
    show: Callable[[float], str],
) -> Answer:
    stated, seed = wanted
    sens, spec = (max([r.limit for r in decisions if r.measure == name], default=0.0) for name in SHARES)
    unit = rankdata(t.scores) / (t.scores.size + 1)  # the order alone counts, whatever the scale
    called = cross_fitted_decisions(t.labels, t.patients, unit, (sens, spec), seed)
    tried = [r for r in assess(replace(t, called=called), stated) if r.measure != "discrimination (AUC)"]
    reached = all(r.value is not None and r.value.estimate >= r.limit for r in tried)
    shares = ", ".join(f"{r.measure} {brief(r.here)}" for r in tried if r.measure in SHARES and r.here is not None)
    steps.append(
        f"Local thresholds for a sensitivity of {sens:.2f} and a specificity of {spec:.2f}, on patients that they "
        f"were not chosen on: {shares}; the requirements are {'reached' if reached else 'not all reached'}."
    )
    if not reached:
        advice = "Ask for a version adapted to scans like these, then test it on scans that it was not adapted on."
        return Answer("adapt", f"{words}, and no local threshold reaches the requirements.", advice, tuple(steps))
    threshold = score_threshold(t.scores, unit, choose_local_threshold(t.labels, unit, (sens, spec)))
    advice = (
        f"Call positive {show(threshold)}: patients left out of its choice had {shares}; check it on new scans. "
        "Where the product's threshold cannot be changed, do not use it."
    )
    return Answer("re-threshold", f"{words}.", advice, tuple(steps), None, threshold)


def score_threshold(scores: Floats, unit: Floats, threshold: float) -> float:
    """The threshold on the scores that calls the same scans as `threshold` does on `unit`, which ranks them alike.

    >>> score_threshold(np.array([1.0, 3.0, 9.0]), np.array([0.25, 0.5, 0.75]), 0.6)
    6.0
    """
    lowest, below = scores[unit >= threshold].min(), scores[unit < threshold]
    if below.size == 0:
        return float(lowest)
    middle = (float(lowest) + float(below.max())) / 2
    return middle if below.max() < middle <= lowest else float(lowest)


def _open(undecided: Sequence[Requirement], seen: str, scans: int, steps: list[str]) -> Answer:
    first = undecided[0]
    lead = (
        ""
        if first.measure == "discrimination (AUC)" or first.here is None
        else f", {first.measure} {brief(first.here)}"
    )
    words = f"{seen}{lead}, which leaves open: {first.demand}."
    planned = [scans_to_settle(r, scans) for r in undecided]
    numbers = [n for n in planned if n is not None]
    if len(numbers) < len(planned):
        stuck = next(r for r, n in zip(undecided, planned, strict=True) if n is None)
        rarer = {"sensitivity": "Test more positive scans. ", "specificity": "Test more negative scans. "}
        advice = (
            f"{MOST_SCANS} scans would not settle {stuck.demand}: the estimate lies too close to it. "
            f"{rarer.get(stuck.measure, 'Test more scans of the rarer class. ')}"
            f"{SEEN.format(option=OPTIONS[stuck.measure])}"
        )
        return Answer("cannot tell", words, advice, tuple(steps))
    needed = max(*numbers, scans + 10)
    return Answer("cannot tell", words, f"Label about {needed} scans in all and ask again.", tuple(steps), needed)


# What it was said to be --------------------------------------------------------------------------------------------

ClaimStatus = Literal["contradicted", "not contradicted", "not measured"]
CLAIMED: dict[str, Measure] = {
    "auc": "discrimination (AUC)",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


@dataclass(frozen=True)
class Claim:
    """What a product is said to reach.

    Attributes:
        measure: what of.
        value: the claim, with its 95 % interval; without one, both ends are the value itself.
        source: where it is claimed; "" where not told.
    """

    measure: Measure
    value: Interval
    source: str = ""


@dataclass(frozen=True)
class ClaimFinding:
    """A claim, and what the scans say of it.

    Attributes:
        claim: what is claimed.
        here: the measure here, 95 % interval; None where it cannot be measured.
        difference: here less claimed, at `level`.
        level: of the difference's interval.
        status: "contradicted" where the whole interval of the difference lies below 0.
    """

    claim: Claim
    here: Interval | None
    difference: Interval | None
    level: float
    status: ClaimStatus

    @property
    def sentence(self) -> str:
        """What was found, in words.

        >>> claim = Claim("sensitivity", Interval(0.95, 0.95, 0.95, "claimed without an interval"))
        >>> judge_claims([claim], {"sensitivity": Interval(0.8, 0.7, 0.87, "")})[0].sentence.partition("; ")[2]
        'here less claimed -0.15 (95 % interval -0.25 to -0.08): surely lower than claimed.'
        """
        c = self.claim
        if self.here is None or self.difference is None:
            return f"Claimed: {c.measure} {c.value.estimate:.2f}. It cannot be measured here."
        d, share = self.difference, f"{100 * self.level:.1f}".rstrip("0").rstrip(".")
        digits = decimals(d.low, d.high)
        ends = f"{d.low:+.{digits}f} to {d.high:+.{digits}f}"
        gap = f"here less claimed {d.estimate:+.2f} ({share} % interval {ends})"
        verdict = "surely lower than claimed" if self.status == "contradicted" else "not shown to be lower than claimed"
        return f"Claimed: {c.measure} {brief(c.value)}. Here {brief(self.here)}; {gap}: {verdict}."


def read_claims(content: Mapping[str, Any]) -> tuple[Claim, ...]:
    """Claims of a TOML file: sections `auc`, `sensitivity`, `specificity`, with `value`, and `low` and `high` or `n`.

    `n` counts the scans behind the claim (for sensitivity the positive, for specificity the negative ones; for the AUC
    all, half of them positive unless `positives` says how many).

    Raises:
        ValueError: unknown keys, no claim, values outside 0 to 1, ends on the wrong sides.

    >>> claim = read_claims({"sensitivity": {"value": 0.9, "n": 100}})[0]
    >>> claim.measure, round(claim.value.low, 2), round(claim.value.high, 2)
    ('sensitivity', 0.83, 0.94)
    """
    source = str(content.get("source", ""))
    unknown = [key for key in content if key not in {*CLAIMED, "source", "product", "version"}]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; known: {', '.join(CLAIMED)}, source, product, version")
    claims = [Claim(measure, _claimed(key, content[key]), source) for key, measure in CLAIMED.items() if key in content]
    if not claims:
        raise ValueError(f"no claim; give one of the sections {', '.join(CLAIMED)}")
    return tuple(claims)


def _claimed(key: str, section: Any) -> Interval:
    given = {"value": section} if isinstance(section, int | float) else section
    if not isinstance(given, Mapping) or "value" not in given:
        raise ValueError(f"{key} has no value; write [{key}] value = 0.90")
    if unknown := [k for k in given if k not in {"value", "low", "high", "n", "positives"}]:
        raise ValueError(f"{key} has an unknown key {unknown[0]!r}; known: value, low, high, n, positives")
    if wrong := [k for k, v in given.items() if isinstance(v, bool) or not isinstance(v, int | float)]:
        raise ValueError(f"{key}.{wrong[0]} must be a number, is {given[wrong[0]]!r}")
    value, n = float(given["value"]), given.get("n")
    if n is not None and not n >= 2:
        raise ValueError(f"{key}.n must be at least 2, is {n}")
    if not 0 < value <= 1:
        raise ValueError(f"{key}.value must be above 0 and at most 1, is {value:g} (a percentage? Write 0.90 for 90 %)")
    if "low" in given or "high" in given:
        low, high = float(given.get("low", np.nan)), float(given.get("high", np.nan))
        if not 0 <= low <= value <= high <= 1:
            raise ValueError(f"{key}: low {low:g}, value {value:g} and high {high:g} must rise, within 0 to 1")
        return Interval(value, low, high, "as claimed")
    if n is None:
        return Interval(value, value, value, "claimed without an interval")
    if key != "auc":
        return Interval(value, *wilson_ends(value, float(n)), f"Wilson, from the claimed {n} scans")
    positives = float(given.get("positives", n / 2))
    if not 0 < positives < n:
        raise ValueError(f"{key}.positives must be above 0 and below n, is {positives:g}")
    scans = positives, n - positives
    ends = score_ends(value, binormal_variance(min(value, 1 - 1e-6), scans), scans, z_value(LEVEL))
    return Interval(value, *ends, f"score interval, from the claimed {n} scans")


def judge_claims(claims: Sequence[Claim], here: Mapping[Measure, Interval | None]) -> tuple[ClaimFinding, ...]:
    """Each claim against what was measured (measure -> interval), the level raised where more than two are claimed.

    >>> claim = Claim("sensitivity", Interval(0.95, 0.9, 0.98, ""))
    >>> here = Interval(0.8, 0.7, 0.87, ""), Interval(0.9, 0.82, 0.95, "")
    >>> [judge_claims([claim], {"sensitivity": interval})[0].status for interval in here]
    ['contradicted', 'not contradicted']
    """
    level = 1 - 2 * 0.05 / max(len(claims), 2)
    findings = []
    for claim in claims:
        found = here.get(claim.measure)
        if found is None:
            findings.append(ClaimFinding(claim, None, None, level, "not measured"))
            continue
        gap = subtract(at_level(found, level), at_level(claim.value, level))
        status: ClaimStatus = "contradicted" if gap.high < 0 else "not contradicted"
        findings.append(ClaimFinding(claim, found, gap, level, status))
    return tuple(findings)


def at_level(interval: Interval, level: float, bounds: tuple[float, float] = (0.0, 1.0)) -> Interval:
    """A 95 % interval widened to another level, each end by the ratio of the normal quantiles, held within bounds.

    >>> wide = at_level(Interval(0.5, 0.4, 0.6, ""), 0.99)
    >>> round(wide.low, 3), round(wide.high, 3)
    (0.369, 0.631)
    """
    ratio = z_value(level) / z_value(LEVEL)
    low = interval.estimate - ratio * (interval.estimate - interval.low)
    high = interval.estimate + ratio * (interval.high - interval.estimate)
    return Interval(interval.estimate, max(low, bounds[0]), min(high, bounds[1]), interval.method)


def exit_code(answers: Sequence[Answer], claims: Sequence[ClaimFinding]) -> int:
    """Of a whole evaluation: 13 where a claim is contradicted, else that of the worst finding.

    >>> exit_code([Answer("nothing", "", "", ()), Answer("re-threshold", "", "", ())], [])
    10
    """
    if any(c.status == "contradicted" for c in claims):
        return NOT_AS_CLAIMED
    return max((EXIT_CODES[a.action] for a in answers), key=SEVERITY.index)

"""How often the verdict is wrong on simulated sites: "works", predictive values, estimates, the check of learning.

Scores are binormal: log-odds 2 · (noise + gap · (label - 1/2)) + shift, so that the AUC is Φ(gap / √2) and, at a
threshold of 0.5, sensitivity Φ((gap + shift) / 2) and specificity Φ((gap - shift) / 2): the truth of each row is
exact. Home has gap 2 (AUC 0.92, sensitivity and specificity 0.84) and 200 internal test scans; one scan per patient.

`python benchmarks/verdict.py [file] [share]` writes docs/verdict-tables.md (or `file`), with `share` of the
repetitions. The seed of the published tables is `REPORT`; rules were chosen on others.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from elsewhere.statistics import verdict
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.decomposition import decompose
from elsewhere.statistics.estimate import KnownSite, estimate_auc
from elsewhere.statistics.intervals import Interval, auc_interval, wilson_ends
from elsewhere.statistics.learned import judge_learned
from elsewhere.statistics.predictive import likelihood_ratios, local_values, values_at
from elsewhere.statistics.requirements import (
    LEAST_AUC,
    LEAST_SHARE,
    MARGIN,
    Requirements,
    all_met,
    assess_decisions,
    assess_discrimination,
    class_shares,
)
from elsewhere.statistics.verdict import HEADLINES, Scans, judge
from elsewhere.statistics.verdict_rule import LEAST_PATIENTS

REPORT = 564_738_291
"""Seed of every table that is published; never used before."""

WORKS, ACTIONS, PARTS, COVERAGE, RANGES, LEARNED = 600, 100, 60, 600, 300, 200
"""Repetitions of a row in each table."""

HOME_SCANS, HOME_GAP, CONFIDENCE = 200, 2.0, 2.0
HALF = OperatingPoint(0.5, "grid", "model", 0.9, 100)
SIZES = (60, 120, 250, 500)
PREVALENCES = (0.05, 0.1, 0.2, 0.5)
SHIFTS = (0.0, -0.5, -1.0, -1.5, -2.0, -2.5)
GAPS = (1.8, 1.5, 1.15, 0.5)
STATED = Requirements(least_auc=0.75, least_sensitivity=0.80, least_specificity=0.75)
ONLY_AUC = Requirements(least_auc=0.80, least_sensitivity=0.5, least_specificity=0.5)
WANTED = (Requirements(), STATED, ONLY_AUC)


def draw(scans: int, gap: float, shift: float, positives: float, random: np.random.Generator) -> Scans:
    labels = (random.random(scans) < positives).astype(int)
    odds = CONFIDENCE * (random.normal(0, 1, scans) + gap * (labels - 0.5)) + shift
    return Scans(labels, np.arange(scans), expit(odds))


def truths(gap: float, shift: float) -> tuple[float, float, float]:
    """True AUC, sensitivity, specificity at a threshold of 0.5."""
    return tuple(float(norm.cdf(x)) for x in (gap / 2**0.5, (gap + shift) / 2, (gap - shift) / 2))  # type: ignore[return-value]


def is_met(gap: float, shift: float, wanted: Requirements) -> bool:
    """Whether the truth meets the requirements."""
    here, home = truths(gap, shift), truths(HOME_GAP, 0)
    stated = (wanted.least_auc, wanted.least_sensitivity, wanted.least_specificity)
    default = (LEAST_AUC, LEAST_SHARE, LEAST_SHARE)
    return all(
        h >= s if s is not None else h >= d and h >= o - MARGIN
        for h, o, s, d in zip(here, home, stated, default, strict=True)
    )


@cache
def home(repetition: int) -> tuple[Interval, tuple[Interval | None, Interval | None]]:
    """AUC, sensitivity and specificity of one internal test set."""
    made = draw(HOME_SCANS, HOME_GAP, 0, 0.5, np.random.default_rng([REPORT, repetition, 0]))
    called = np.asarray(made.probabilities) >= 0.5
    return auc_interval(*made.columns), class_shares(made.labels, made.patients, called)


def works(scans: int, positives: float, gap: float, shift: float, repetitions: int) -> list[int]:
    """How many of these sites "work" by each of `WANTED`."""
    counts = [0] * len(WANTED)
    seed = [REPORT, 1, scans, round(1000 * positives), round(1000 * gap), round(-1000 * shift)]
    for repetition in range(repetitions):
        made = draw(scans, gap, shift, positives, np.random.default_rng([*seed, repetition]))
        labels = np.asarray(made.labels)
        if min(labels.sum(), scans - labels.sum()) < LEAST_PATIENTS:
            continue
        home_auc, shares = home(repetition)
        called = np.asarray(made.probabilities) >= 0.5
        held = [all_met(assess_decisions(labels, made.patients, called, shares, w)) for w in WANTED]
        if any(held):
            auc = auc_interval(*made.columns)
            for k, w in enumerate(WANTED):
                counts[k] += held[k] and all_met(assess_discrimination(auc, home_auc, w))
    return counts


def works_tables(share: float, pool: ProcessPoolExecutor) -> Iterator[str]:
    """Sensitivity lost (shifts), then discrimination lost (gaps)."""
    repetitions = _number(WORKS, share)
    rows = [(n, p, HOME_GAP, s) for s, p, n in product(SHIFTS, PREVALENCES, SIZES)]
    rows += [(n, p, g, 0.0) for g, p, n in product(GAPS, PREVALENCES, SIZES)]
    found = dict(zip(rows, pool.map(works, *zip(*rows, strict=True), [repetitions] * len(rows)), strict=True))
    worst: list[tuple[float, int]] = []
    for title, places in (("log-odds shifted", SHIFTS), ("lower discrimination", GAPS)):
        yield f"### {title.capitalize()}: share of sites told “it works” or “its decisions hold”"
        yield (
            f"{repetitions} sites a row; **bold** where the truth is below a requirement, so that every one of them is "
            "wrong. First the default requirements, then the stated ones "
            f"(AUC ≥ {STATED.least_auc}, sensitivity ≥ {STATED.least_sensitivity}, specificity ≥ "
            f"{STATED.least_specificity}).\n"
        )
        yield f"| truth: AUC, sensitivity, specificity | prevalence | {' | '.join(f'n = {n}' for n in SIZES)} |"
        yield f"|---|---|{'---|' * len(SIZES)}"
        for place, positives in product(places, PREVALENCES):
            gap, shift = (HOME_GAP, place) if places is SHIFTS else (place, 0.0)
            cells = []
            for n in SIZES:
                pair = found[n, positives, gap, shift]
                shown = []
                for count, wanted in zip(pair[:2], WANTED[:2], strict=True):
                    met = is_met(gap, shift, wanted)
                    worst += [] if met else [(count / repetitions, repetitions)]
                    shown.append(f"{count / repetitions:.1%}" if met else f"**{count / repetitions:.1%}**")
                cells.append(" / ".join(shown))
            auc, sensitivity, specificity = truths(gap, shift)
            name = f"{auc:.2f}, {sensitivity:.2f}, {specificity:.2f} (shift {shift:g})"
            yield f"| {name} | {positives:.0%} | {' | '.join(cells)} |"
        yield ""
    most, n = max(worst)
    low, high = wilson_ends(most, n)
    total = sum(w * m for w, m in worst) / sum(m for _, m in worst)
    yield (
        f"Largest wrong share of the {len(worst)} rows whose truth is below a requirement: {most:.1%} (95 % Monte-"
        f"Carlo interval {low:.1%} to {high:.1%}); over all of them {total:.2%}.\n"
    )


BOUNDARY = {
    "sensitivity 0.10 below home": (HOME_GAP, 2 * (norm.ppf(truths(2, 0)[1] - MARGIN - 0.001) - 1), Requirements()),
    "stated AUC 0.80": (2**0.5 * norm.ppf(0.799), 0.0, ONLY_AUC),
    "stated sensitivity 0.80": (HOME_GAP, 2 * (norm.ppf(0.799) - 1), STATED),
}
"""Truths just below a requirement: the hardest rows there are. Name: (gap, shift, what is required)."""


def boundary_table(share: float, pool: ProcessPoolExecutor) -> Iterator[str]:
    """The truth 0.001 below one requirement."""
    repetitions = _number(WORKS * 2, share)
    rows = [(n, p, g, float(s)) for (g, s, _), p, n in product(BOUNDARY.values(), PREVALENCES, SIZES)]
    found = iter(pool.map(works, *zip(*rows, strict=True), [repetitions] * len(rows)))
    yield "### The truth 0.001 below a requirement: share of sites told that it works, all of them wrong"
    yield f"{repetitions} sites a row. A rule with 2.5 % at the limit itself cannot do better with large n.\n"
    yield f"| requirement | prevalence | {' | '.join(f'n = {n}' for n in SIZES)} |\n|---|---|{'---|' * len(SIZES)}"
    most = 0.0
    for (name, (_, _, wanted)), positives in product(BOUNDARY.items(), PREVALENCES):
        shares = [next(found)[WANTED.index(wanted)] / repetitions for _ in SIZES]
        most = max(most, *shares)
        yield f"| {name} | {positives:.0%} | {' | '.join(f'{s:.1%}' for s in shares)} |"
    low, high = wilson_ends(most, repetitions)
    yield f"\nLargest: {most:.1%} (95 % Monte-Carlo interval {low:.1%} to {high:.1%}).\n"


# What is advised --------------------------------------------------------------------------------------------------

PLANTED = {
    "as at home (AUC 0.92)": (2.0, 0.0),
    "log-odds shifted by -1": (2.0, -1.0),
    "log-odds shifted by -2": (2.0, -2.0),
    "log-odds shifted by 2": (2.0, 2.0),
    "AUC 0.76": (1.0, 0.0),
    "AUC 0.64": (0.5, 0.0),
    "noise (AUC 0.50)": (0.0, 0.0),
    "wrong way (AUC 0.24)": (-1.0, 0.0),
}


def actions(name: str, scans: int, positives: float, repetitions: int) -> Counter[str]:
    """Verdicts by the whole rule; what costs time and decides nothing is left out."""
    verdict.SIZES, verdict.decompose = (), lambda *_, **__: None  # type: ignore[assignment]
    gap, shift = PLANTED[name]
    seen: Counter[str] = Counter()
    for repetition in range(repetitions):
        random = np.random.default_rng(
            [REPORT, 2, scans, round(1000 * positives), list(PLANTED).index(name), repetition]
        )
        at_home = draw(HOME_SCANS, HOME_GAP, 0, 0.5, random)
        seen[judge(draw(scans, gap, shift, positives, random), at_home, HALF).action] += 1
    return seen


def actions_table(share: float, pool: ProcessPoolExecutor) -> Iterator[str]:
    repetitions = _number(ACTIONS, share)
    rows = list(product(PLANTED, (60, 120, 500), (0.1, 0.5)))
    names = [a for a in HEADLINES if a not in {"estimate only", "not learned"}]
    yield f"### What is advised, by the default requirements\n{repetitions} sites a row.\n"
    yield f"| planted | n | prevalence | {' | '.join(names)} |\n|---|---|---|{'---|' * len(names)}"
    for row, seen in zip(rows, pool.map(actions, *zip(*rows, strict=True), [repetitions] * len(rows)), strict=True):
        cells = " | ".join(f"{seen[a] / repetitions:.0%}" for a in names)
        yield f"| {row[0]} | {row[1]} | {row[2]:.0%} | {cells} |"
    yield ""


# Predictive values ------------------------------------------------------------------------------------------------


def coverage(scans: int, positives: float, repetitions: int) -> tuple[list[int], list[int]]:
    """How often the intervals of PPV, NPV (local), LR+, LR-, PPV, NPV, alerts at 2 % hold the truth; and how many."""
    _, up, down = truths(HOME_GAP, -0.5)
    at = 0.02
    truth = [
        *_values(up, down, positives),
        up / (1 - down),
        (1 - up) / down,
        *_values(up, down, at),
        100 * (up * at + (1 - down) * (1 - at)),
    ]
    held, made = [0] * len(truth), [0] * len(truth)
    for repetition in range(repetitions):
        random = np.random.default_rng([REPORT, 3, scans, round(1000 * positives), repetition])
        site = draw(scans, HOME_GAP, -0.5, positives, random)
        columns = site.labels, site.patients, np.asarray(site.probabilities) >= 0.5
        local, ratios, given = local_values(*columns), likelihood_ratios(*columns), values_at(*columns, at)
        ends = [local.ppv, local.npv, ratios.positive, ratios.negative]
        ends += [None] * 3 if given is None else [given.ppv, given.npv, given.alerts]
        for k, interval in enumerate(ends):
            if interval is not None:
                made[k] += 1
                held[k] += interval.low <= truth[k] <= interval.high
    return held, made


def _values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    alerts = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
    return sensitivity * prevalence / alerts, specificity * (1 - prevalence) / (1 - alerts)


def coverage_table(share: float, pool: ProcessPoolExecutor) -> Iterator[str]:
    repetitions = _number(COVERAGE, share)
    rows = list(product((60, 120, 500), PREVALENCES))
    names = ("PPV", "NPV", "LR+", "LR-", "PPV at 2 %", "NPV at 2 %", "alerts at 2 %")
    yield "### Predictive values and likelihood ratios: coverage of the 95 % intervals"
    yield f"{repetitions} sites a row, sensitivity 0.77, specificity 0.89; sites where one does not exist left out.\n"
    yield f"| n | prevalence | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}"
    for row, (held, made) in zip(
        rows, pool.map(coverage, *zip(*rows, strict=True), [repetitions] * len(rows)), strict=True
    ):
        cells = " | ".join(f"{h / m:.1%}" for h, m in zip(held, made, strict=True))
        yield f"| {row[0]} | {row[1]:.0%} | {cells} |"
    yield ""


# Parts of the accuracy lost ---------------------------------------------------------------------------------------


def parts(scans: int, name: str, repetitions: int) -> list[list[tuple[float, bool]]]:
    """For calibration, ranking and drop: (error, interval holds the truth) of each repetition."""
    gap, shift = PLANTED[name]
    random = np.random.default_rng([REPORT, 4, 0])
    big = [draw(100_000, g, s, 0.5, random).columns for g, s in ((HOME_GAP, 0.0), (gap, shift))]
    truth = decompose(*big, HALF, resamples=2)
    rows: list[list[tuple[float, bool]]] = [[], [], []]
    for repetition in range(repetitions):
        random = np.random.default_rng([REPORT, 4, scans, list(PLANTED).index(name), repetition])
        pair = [draw(n, g, s, 0.5, random).columns for n, g, s in ((HOME_SCANS, HOME_GAP, 0.0), (scans, gap, shift))]
        found = decompose(*pair, HALF, resamples=300, seed=repetition)
        for row, part in zip(rows, ("calibration", "ranking", "drop"), strict=True):
            seen, true = getattr(found, part), getattr(truth, part).estimate
            row.append((seen.estimate - true, seen.low <= true <= seen.high))
    return rows


def parts_table(share: float, pool: ProcessPoolExecutor) -> Iterator[str]:
    repetitions = _number(PARTS, share)
    rows = list(product((60, 300), ("as at home (AUC 0.92)", "log-odds shifted by 2", "AUC 0.76")))
    yield "### Parts of the accuracy lost: mean error (percentage points) and coverage of the 95 % intervals"
    yield f"{repetitions} sites a row, half of the scans positive.\n"
    yield "| n | planted | calibration | ranking | together |\n|---|---|---|---|---|"
    for row, found in zip(rows, pool.map(parts, *zip(*rows, strict=True), [repetitions] * len(rows)), strict=True):
        cells = [f"{100 * np.mean([e for e, _ in p]):+.1f}, {np.mean([h for _, h in p]):.0%}" for p in found]
        yield f"| {row[0]} | {row[1]} | {' | '.join(cells)} |"
    yield ""


# Without labels ---------------------------------------------------------------------------------------------------

KINDS = ("alike", "one in four bad")


def odd_site(kind: str, random: np.random.Generator) -> tuple[float, float]:
    """Gap and share of pure noise of a site. Bad: from a half to all of its scores are noise."""
    if kind == "alike":
        return random.uniform(0.5, 2.5), random.uniform(0, 0.6)
    return random.uniform(1.7, 2.4), random.uniform(0, 0.1) if random.random() < 0.75 else random.uniform(0.5, 1)


def noisy(scans: int, gap: float, noise: float, random: np.random.Generator) -> Scans:
    made = draw(scans, gap, 0, 0.5, random)
    scores = np.asarray(made.probabilities)
    spoilt = random.random(scans) < noise
    return Scans(made.labels, made.patients, np.where(spoilt, random.permutation(scores), scores))


def noisy_auc(gap: float, noise: float) -> float:
    """True AUC: a spoilt scan's score is one of all the scores, half of them positive, so that it says nothing."""
    clean, half = norm.cdf(gap / 2**0.5), 0.5
    mixed = (clean + half) / 2  # a positive's own score against one of all scores
    return float((1 - noise) ** 2 * clean + 2 * noise * (1 - noise) * mixed + noise**2 * half)


def ranges(kind: str, sites: int, scans: int, repetitions: int) -> tuple[list[float], ...]:
    """(range holds the true AUC, width, range at or above 0.80, and the truth below it) of each repetition."""
    rows: tuple[list[float], ...] = ([], [], [], [])
    for repetition in range(repetitions):
        random = np.random.default_rng([REPORT, 5, KINDS.index(kind), sites, scans, repetition])
        at_home = draw(HOME_SCANS, HOME_GAP, 0, 0.5, random)
        drawn = [odd_site(kind, random) for _ in range(sites + 1)]
        known = [KnownSite(str(i), s.labels, s.probabilities, False) for i, s in enumerate(_sites(drawn[:-1], random))]
        true, new = noisy_auc(*drawn[-1]), noisy(scans, *drawn[-1], random)
        found = estimate_auc((at_home.labels, at_home.probabilities), known, new.probabilities)
        low, high = (0.0, 1.0) if found.low is None or found.high is None else (found.low, found.high)
        above = low >= LEAST_AUC
        for row, value in zip(rows, (low <= true <= high, high - low, above, above and true < LEAST_AUC), strict=True):
            row.append(float(value))
    return rows


def _sites(drawn: Sequence[tuple[float, float]], random: np.random.Generator) -> Iterator[Scans]:
    for gap, noise in drawn:
        yield noisy(150, gap, noise, random)


def ranges_table(share: float, pool: ProcessPoolExecutor) -> Iterator[str]:
    repetitions = _number(RANGES, share)
    rows = list(product(KINDS, (3, 5, 8), (60, 300)))
    yield "### Without labels: the 95 % prediction interval against the true AUC"
    yield (
        f"{repetitions} new sites a row. “Alike”: sites drawn alike, AUC about 0.55 to 0.95, up to 60 % of the scores "
        "noise. “One in four bad”: at three of four sites AUC about 0.85 to 0.95, at the fourth half or more of the "
        "scores are noise. Two known sites get no range. Last: of the sites whose whole range lies at or above "
        f"{LEAST_AUC:.2f}, those whose true AUC is below it; that is why an estimate never says “works”.\n"
    )
    yield "| sites | known | n | range holds | mean width | range at or above 0.80 | of these wrong |"
    yield "|---|---|---|---|---|---|---|"
    for row, found in zip(rows, pool.map(ranges, *zip(*rows, strict=True), [repetitions] * len(rows)), strict=True):
        held, width, above, wrong = (np.mean(column) for column in found)
        of_these = f"{wrong / above:.0%} ({sum(found[3]):.0f} of {sum(found[2]):.0f})" if above else "–"
        yield f"| {row[0]} | {row[1]} | {row[2]} | {held:.0%} | {width:.2f} | {above:.1%} | {of_these} |"
    yield ""


# Whether a model learned ------------------------------------------------------------------------------------------

NETWORKS = (
    "constant",
    "near-constant",
    "site only",
    "AUC 0.50",
    "AUC 0.60",
    "AUC 0.65",
    "AUC 0.70",
    "AUC 0.75",
    "AUC 0.85",
)


def learned(network: str, scans: int, positives: float, repetitions: int) -> int:
    """How many such networks are marked as having learned nothing; two sites where only the site is known."""
    marked = 0
    for repetition in range(repetitions):
        random = np.random.default_rng([REPORT, 6, NETWORKS.index(network), scans, round(1000 * positives), repetition])
        labels = np.zeros(scans, int)
        labels[: max(round(positives * scans), 1)] = 1
        sites = np.zeros(scans)
        noise = random.normal(0, 1, scans)
        if network == "constant":
            odds = np.full(scans, -1.0)
        elif network == "near-constant":
            odds = 0.02 * noise - 1
        elif network == "site only":  # four of five positives, and a third of the negatives, are of the first site
            sites = np.where(random.random(scans) < np.where(labels == 1, 0.8, 1 / 3), 0.0, 1.0)
            odds = 3 * (1 - sites) + 0.5 * noise
        else:
            odds = noise + 2**0.5 * norm.ppf(float(network.split()[1])) * labels
        marked += judge_learned(labels, np.arange(scans), sites, expit(odds)).degenerate
    return marked


def learned_table(share: float, pool: ProcessPoolExecutor) -> Iterator[str]:
    repetitions, sizes, shares = _number(LEARNED, share), (20, 50, 100, 200), (0.05, 0.1, 0.25, 0.5)
    rows = list(product(NETWORKS, sizes, shares))
    found = dict(zip(rows, pool.map(learned, *zip(*rows, strict=True), [repetitions] * len(rows)), strict=True))
    yield "### Marked as a model that learned nothing, by validation scans and prevalence"
    yield (
        f"{repetitions} networks a cell; at each number of validation scans the prevalences "
        f"{', '.join(f'{s:.0%}' for s in shares)}. The first four rows should be marked, the last five should not: "
        "what is not surely above chance is marked, so that weak networks need many validation scans. The message "
        "names the AUC that so many scans would have shown.\n"
    )
    yield f"| network | {' | '.join(f'{n} scans' for n in sizes)} |\n|---|{'---|' * len(sizes)}"
    for network in NETWORKS:
        cells = (" / ".join(f"{found[network, n, s] / repetitions:.0%}" for s in shares) for n in sizes)
        yield f"| {network} | {' | '.join(cells)} |"
    yield ""


def _number(repetitions: int, share: float) -> int:
    return max(int(repetitions * share), 5)


def write(path: Path, share: float) -> None:
    """Every table, in one file."""
    lines = []
    with ProcessPoolExecutor(2) as pool:
        tables = (works_tables, boundary_table, actions_table, coverage_table, ranges_table, learned_table, parts_table)
        for table in tables:
            begun = time.perf_counter()
            lines += list(table(share, pool))
            print(f"{table.__name__}: {time.perf_counter() - begun:.0f} s", flush=True)
    head = [
        "# Verdict tables",
        "",
        "How often `elsewhere verdict` is right on simulated sites whose truth is known. Written by "
        f"`python benchmarks/verdict.py` on {datetime.now(UTC).date().isoformat()}; seed {REPORT}, never used to "
        "choose a rule. Scores are binormal, one scan per patient; home has AUC 0.92, sensitivity and specificity 0.84 "
        f"at its threshold, and {HOME_SCANS} internal test scans, half of them positive.",
        "",
    ]
    path.write_text("\n".join([*head, *lines]).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs" / "verdict-tables.md"
    write(target, float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)

"""How often noise passes as a network that learned when its weights are the best of several checks, and what it costs.

A training is simulated as checks whose log-odds share `alike` of their variance; the criterion keeps one, and
`judge_learned` judges it with and without `chance_of_selection`.

`python benchmarks/selected.py [file] [share]` writes docs/selection-tables.md (or `file`), with `share` of the
repetitions. Rules were chosen on other seeds than `REPORT`.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from elsewhere.model.sample import Case
from elsewhere.model.selection import best_check, by_chance, score_check
from elsewhere.model.settings import Select
from elsewhere.statistics.learned import judge_learned
from elsewhere.statistics.selected import chance_of_selection

REPORT = 90_417_233
"""Seed of the published tables; never used before."""

REPETITIONS = 120
AUCS, CHECKS, ALIKE = (0.5, 0.75), (1, 8, 30), (0.0, 0.5, 0.9)
SCANS, POSITIVES = (50, 200), (0.1, 0.3)
CRITERIA: tuple[Select, ...] = ("accuracy", "log_loss", "auc")
Row = tuple[float, Select, int, float]


def training(row: Row, scans: int, positives: float, seed: list[int]) -> NDArray[np.float64]:
    """Labels (first row) and the probabilities of every check."""
    auc, _, checks, alike = row
    random = np.random.default_rng(seed)
    labels = np.zeros(scans)
    labels[: round(positives * scans)] = 1
    shared, own = random.normal(size=scans), random.normal(size=(checks, scans))
    odds = alike**0.5 * shared + (1 - alike) ** 0.5 * own + 2**0.5 * norm.ppf(auc) * labels
    return np.vstack([labels, expit(odds - np.log((1 - positives) / positives))])


def passed(row: Row, scans: int, positives: float, repetitions: int) -> tuple[int, int]:
    """How many such trainings are said to have learned, without and with the chance of the choice."""
    auc, select, checks, alike = row
    plain = told = 0
    for repetition in range(repetitions):
        place = [AUCS.index(auc), CRITERIA.index(select), checks, round(10 * alike), scans, round(100 * positives)]
        made = training(row, scans, positives, [REPORT, *place, repetition])
        labels, said = made[0].astype(int), made[1:]
        cases = [Case("A", str(i), str(i), int(label), 1, 0, 1) for i, label in enumerate(labels)]
        curves = [score_check(i, 0.0, cases, one, balanced=False) for i, one in enumerate(said)]
        kept = best_check(curves, select).iteration
        columns = labels, np.arange(scans), np.zeros(scans), said[kept]
        if judge_learned(*columns).degenerate:
            continue
        plain += 1
        selected = by_chance(curves, select, cases, list(said), balanced=False)
        told += not judge_learned(*columns, selected=selected).degenerate
    return plain, told


def unequal(most: int, alike: float, repetitions: int) -> list[float]:
    """Shares of trainings of noise whose p is at most 0.025, 0.05 and 0.5; one of 12 positives has most scans."""
    scans = np.array([most] + 51 * [1])
    labels, patients = (np.arange(52) < 12).astype(int).repeat(scans), np.arange(52).repeat(scans)
    found = []
    for repetition in range(repetitions):
        random = np.random.default_rng([REPORT, 52, most, round(10 * alike), repetition])
        odds = alike**0.5 * random.normal(size=52).repeat(scans) + (1 - alike) ** 0.5 * random.normal(size=labels.size)
        p = chance_of_selection(labels, patients, np.zeros(labels.size, int), expit(odds), 0, "auc", permutations=399).p
        found.append(1.0 if p is None else p)
    return [float(np.mean(np.array(found) <= limit)) for limit in (0.025, 0.05, 0.5)]


def unequal_lines(repetitions: int) -> list[str]:
    lines = [
        "",
        "## One patient with most of the scans",
        "",
        f"Noise, one check, 12 positive patients and 40 negative ones with one scan each but for one positive with "
        f"`scans`; `alike` is the share of the log-odds' variance that a patient's scans have in common. Share of "
        f"{repetitions} trainings whose p is at most 0.025, 0.05 and 0.5.",
        "",
        "| scans | alike | ≤ 0.025 | ≤ 0.05 | ≤ 0.5 |",
        "|---|---|---|---|---|",
    ]
    for most, alike in product((1, 4, 60), (0.5, 0.9)):
        shares = " | ".join(f"{share:.1%}" for share in unequal(most, alike, repetitions))
        lines.append(f"| {most} | {alike:g} | {shares} |")
    return lines


def tables(share: float) -> list[str]:
    repetitions = max(round(REPETITIONS * share), 5)
    rows: list[Row] = [
        (auc, select, checks, alike)
        for auc, select, checks, alike in product(AUCS, CRITERIA, CHECKS, ALIKE)
        if checks > 1 or (select == "auc" and alike == 0)
    ]
    cells = list(product(rows, SCANS, POSITIVES))
    with ProcessPoolExecutor(2) as pool:
        counts = pool.map(passed, *zip(*cells, strict=True), [repetitions] * len(cells), chunksize=4)
        found = dict(zip(cells, counts, strict=True))
    worst = max(found[cell][1] for cell in cells if cell[0][0] == 0.5) / repetitions
    loosest = max(found[cell][0] for cell in cells if cell[0][0] == 0.5) / repetitions
    columns = [f"{scans}, {positives:.0%}" for scans, positives in product(SCANS, POSITIVES)]
    lines = [
        "# Selection tables",
        "",
        "How often a simulated training is said to have learned, where its weights are the best of several checks on "
        "the validation scans that judge it. Written by `python benchmarks/selected.py` on "
        f"{datetime.now(UTC).date().isoformat()}; seed {REPORT}, {repetitions} trainings a cell.",
        "",
        "`alike` is the share of the log-odds' variance that all checks have in common; beside it the share of "
        "trainings said to have learned by the interval of the AUC alone → with the chance of the choice "
        "(`chance_of_selection`). "
        f"At an AUC of 0.50 nothing was learned: at most {loosest:.1%} of such trainings pass the interval alone, at "
        f"most {worst:.1%} pass both. Columns: validation scans, prevalence.",
        "",
        "| true AUC | kept by | checks | alike | "
        + " | ".join(f"{n}, {p:.0%}" for n, p in product(SCANS, POSITIVES))
        + " |",
        "|" + "---|" * (4 + len(columns)),
    ]
    for row in rows:
        shares = (tuple(n / repetitions for n in found[row, n, p]) for n, p in product(SCANS, POSITIVES))
        auc, select, checks, alike = row
        head = f"| {auc:.2f} | {select if checks > 1 else 'no choice'} | {checks} | {alike:g} | "
        lines.append(head + " | ".join(f"{plain:.1%} → {told:.1%}" for plain, told in shares) + " |")
    return lines + unequal_lines(round(5 * repetitions))


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs" / "selection-tables.md"
    target.write_text("\n".join(tables(float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)) + "\n", encoding="utf-8")

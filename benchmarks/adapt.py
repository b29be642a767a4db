"""How often the rules of `elsewhere adapt` are right: the choice of a way, and how many more patients.

Numbers alone: scores are drawn and no network is fitted. A site has k patients of each class; the model as it is has a
score; the six ways are logistic fits with a ridge on that score, on a second measurement and on up to 19 measurements
that are noise, so that they overfit few patients as networks do. Each is chosen by `choose_way` as in a run.

* nothing lost: the score is all there is to know; "adapt" is wrong;
* moved: the same, its log-odds moved by 2; recalibrating does all that adapting does;
* lost: the second measurement knows more than the score (AUC 0.76 as it is, 0.88 with both).

How many: AUCs of fits on 4, 8, …, 64 patients of each class follow a curve a - b k^-c, with draws that differ by 0.03
and 200 or 1000 scored patients, half positive; asked is the number for an AUC that takes 20 to 200.

`python benchmarks/adapt.py [repeats] [seed]` writes the first part of docs/adapt-tables.md (300 and 20261129);
the second, with networks, is that of adapt_networks.py.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from elsewhere.statistics.adaptation import choose_way, deal_folds
from elsewhere.statistics.learning_curve import fit_curve, how_many

PAGE = Path(__file__).parents[1] / "docs" / "adapt-tables.md"
NETWORKS = "## With networks"
Floats = NDArray[np.float64]
WAYS = (
    ("last", 1, 0.1),
    ("norm", 4, 0.1),
    ("dense", 8, 1.0),
    ("all", 21, 1.0),
    ("anchor", 21, 10.0),
    ("replay", 21, 100.0),
)
SITES = {
    "nothing lost": (1.5, 0.0, 0.0),
    "nothing lost, chance": (0.0, 0.0, 0.0),
    "moved": (1.5, 2.0, 0.0),
    "lost": (1.0, 0.0, 1.3),
}
LADDER = (4, 8, 16, 32, 64)
SCORED = (200, 1000)


def ridge(columns: Floats, labels: Floats, strength: float) -> Floats:
    """Intercept and weights of a logistic regression with a ridge, by Newton's method."""
    design = np.c_[np.ones(len(labels)), columns]
    penalty = np.diag([1e-9, *[strength] * columns.shape[1]])
    weights = np.zeros(design.shape[1])
    for _ in range(15):
        means = expit(design @ weights)
        slope = design.T @ (means - labels) + penalty @ weights
        weights = weights - np.linalg.solve((design.T * (means * (1 - means) + 1e-9)) @ design + penalty, slope)
    return weights


def decision(patients: int, site: tuple[float, float, float], seed: int) -> str:
    """What is decided at one site with so many patients of each class."""
    signal, shift, more = site
    random = np.random.default_rng([seed, patients, 1])
    labels = np.repeat([1, 0], patients)
    score = random.normal(signal * (labels - 0.5), 1.0)
    columns = np.c_[score, random.normal(more * (labels - 0.5), 1.0), random.normal(size=(labels.size, 19))]
    people = np.arange(labels.size)
    folds = deal_folds(labels, people, seed)
    said = {}
    for name, used, strength in WAYS:
        said[name] = np.empty(labels.size)
        for fold in np.unique(folds):
            out = folds == fold
            weights = ridge(columns[~out, :used], labels[~out], strength)
            said[name][out] = expit(weights[0] + columns[out, :used] @ weights[1:])
    return choose_way(labels, people, folds, expit(signal * score + shift), said).decision


def needed(seed: int, scored: int) -> tuple[float, int | None, int | None, int | None]:
    """(true number, what is said, its ends) of one learning curve, each fit scored on so many patients."""
    random = np.random.default_rng([seed, 2])
    plateau, drop, exponent = random.uniform(0.88, 0.97), random.uniform(0.5, 0.9), random.uniform(0.35, 0.9)
    truth = float(np.exp(random.uniform(np.log(20), np.log(200))))
    aim = plateau - drop * truth**-exponent
    labels, noise = np.arange(scored) % 2, random.normal(size=scored)
    table = np.empty((len(LADDER), 5, scored))
    for i, size in enumerate(LADDER):
        for draw in range(5):
            auc = np.clip(plateau - drop * size**-exponent + random.normal(0, 0.03), 0.3, 0.995)
            table[i, draw] = np.sqrt(2) * ndtri(auc) * (labels - 0.5) + noise + random.normal(0, 0.3, scored)
    found = how_many(fit_curve(labels, range(scored), table, LADDER, seed=seed), float(aim))
    return truth, found.patients, found.low, found.high


def need_line(repeats: int, seed: int, scored: int) -> str:
    """One line of the second table."""
    answers = [needed(seed + i, scored) for i in range(repeats)]
    given = [(t, n, lo, hi) for t, n, lo, hi in answers if n is not None]
    near = sum(t / 2 <= n <= 2 * t for t, n, _, _ in given)
    inside = sum((lo is None or lo <= t) and (hi is None or t <= hi) for t, _, lo, hi in given)
    share = 100 / max(len(given), 1)
    return f"| {scored} | {len(given)} of {repeats} | {share * near:.0f} % | {share * inside:.0f} % |"


def tables(repeats: int, seed: int) -> str:
    begun = time.monotonic()
    lines = ["| site | patients of each class | adapt | recalibrate | leave it |", "|---|---|---|---|---|"]
    for name, site in SITES.items():
        for patients in (8, 16, 32, 64):
            found = Counter(decision(patients, site, seed + i) for i in range(repeats))
            cells = (f"{100 * found[one] / repeats:.1f} %" for one in ("adapt", "recalibrate", "nothing"))
            lines.append(f"| {name} | {patients} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    counts = [need_line(repeats, seed, scored) for scored in SCORED]
    minutes = (time.monotonic() - begun) / 60
    return "\n".join([
        "# Adapting, measured", "",
        f"Made by `python benchmarks/adapt.py {repeats} {seed}` ({datetime.now(UTC):%Y-%m-%d}, {minutes:.0f} minutes",
        "on a shared machine). [What is done](how-to/adapt.md).", "",
        "Everything here is drawn numbers: it grades the rules, not the networks.", "",
        "## The choice", "", *lines, "",
        "“Adapt” is wrong at every site but the last. The rule is cautious: with few patients a real loss is often not",
        "shown, and the answer is then to leave it or to recalibrate.", "",
        "## How many more", "",
        "| scored patients | gave a number | within a factor of 2 | 95 % interval held it |",
        "|---|---|---|---|", *counts, "",
        "The others said that they cannot tell. Part of what is off is the AUC of the scored patients, which 100 of",
        "each class give to about ±0.04; the rest is the curve's exponent.", "",
    ])  # fmt: skip


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    before = PAGE.read_text(encoding="utf-8")
    measured = before[before.index(NETWORKS) :] if NETWORKS in before else ""
    PAGE.write_text(tables(*(given + [300, 20261129][len(given) :])) + measured, encoding="utf-8")

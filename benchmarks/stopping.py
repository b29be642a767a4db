"""How often the stop rule of `elsewhere evaluate --next` is wrong, and how many labels it takes.

`python benchmarks/stopping.py [runs] [seed]` prints the table of docs/how-to/acceptance-test.md. Scores are binormal
(AUC = Φ(gap / √2)), the need is 0.80, a look every 20 labels up to 400. Rows differ in the true AUC, the prevalence,
and scans per patient (two of a patient follow each other, have the same label, and share half of the variance). All
runs are looked at together; some are looked at by the product's own function as well, which must agree. The rule was
chosen on seeds 1 and 2; the seed of the document was first used for it.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, owens_t

from elsewhere.statistics.intervals import PRIOR_SCANS
from elsewhere.statistics.stopping import StopRule, boundary_at, look
from elsewhere.statistics.verdict_rule import LEAST_PATIENTS

RUNS, SEED = 1000, 20_261_202
NEED = 0.80
RULE = StopRule("auc", NEED, 20)
CHECKED = 5
"""Runs of each row that the product's own function looks at, too."""
CASES = (
    *((0.92, 0.5, 1), (0.92, 0.3, 1), (0.92, 0.1, 1), (0.92, 0.5, 2)),
    *((0.80, 0.5, 1), (0.80, 0.3, 1), (0.80, 0.1, 1), (0.80, 0.5, 2)),
    *((0.55, 0.5, 1), (0.55, 0.3, 1), (0.55, 0.1, 1)),
)
Floats = NDArray[np.float64]


def simulate(
    auc: float, prevalence: float, each: int, runs: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and scores (runs, scans) in the order in which they are read."""
    random = np.random.default_rng([seed, round(1000 * auc), round(1000 * prevalence), each])
    people = RULE.cap // each
    labels = np.repeat(random.random((runs, people)) < prevalence, each, axis=1).astype(np.int64)
    noise = random.normal(size=labels.shape)
    if each > 1:
        noise = np.sqrt(0.5) * (noise + np.repeat(random.normal(size=(runs, people)), each, axis=1))
    return labels, noise + 2**0.5 * ndtri(auc) * labels


def binormal(auc: Floats, worth: Floats) -> Floats:
    """`intervals.binormal_variance` of many runs: AUC (runs,), effective scans (2, runs)."""
    cut = ndtri(auc)
    pair = ndtr(cut) - 2 * owens_t(cut, 1 / np.sqrt(3)) - auc**2
    return (auc * (1 - auc) + np.maximum(worth.sum(axis=0) - 2, 0) * pair) / (worth[0] * worth[1])


def distances(labels: NDArray[np.int64], scores: Floats, each: int) -> Floats:
    """Standardised distance of the AUC from the need, one for each run; NaN where too few are labelled."""
    order = np.argsort(scores, axis=1)
    ranked = np.take_along_axis(labels, order, axis=1)
    counts = np.stack([labels.sum(axis=1), (1 - labels).sum(axis=1)]).astype(np.float64)  # positive, negative
    usable = counts.min(axis=0) / each >= LEAST_PATIENTS
    up, down = np.maximum(counts, 1)[:, :, None]
    placed = np.empty(scores.shape)
    beside = np.where(ranked == 1, np.cumsum(1 - ranked, axis=1) / down, 1 - np.cumsum(ranked, axis=1) / up)
    np.put_along_axis(placed, order, beside, axis=1)
    auc = (placed * labels).sum(axis=1) / np.maximum(counts[0], 1)
    residual = placed - auc[:, None]
    variance, worth = np.zeros(auc.size), np.ones((2, auc.size))
    for place, inside in enumerate((labels, 1 - labels)):
        scans = np.maximum(counts[place], 2)
        people = np.maximum(scans / each, 2)
        pulls = ((residual * inside).reshape(auc.size, -1, each).sum(axis=2) ** 2).sum(axis=1) * people / (people - 1)
        variance += pulls / scans**2
        alone = ((residual * inside) ** 2).sum(axis=1) / (scans - 1)
        worth[place] = scans / np.clip(np.where(alone > 0, pulls / scans / np.maximum(alone, 1e-300), each), 1, each)
    misplaced = worth.min(axis=0) * np.minimum(auc, 1 - auc)
    inner = np.clip(auc, 1e-9, 1 - 1e-9)
    seen = variance / binormal(inner, worth)
    ratio = np.where(misplaced > 0, np.maximum(seen, (seen * misplaced + PRIOR_SCANS) / (misplaced + PRIOR_SCANS)), 1.0)
    found = (auc - NEED) / np.sqrt(ratio * binormal(np.full(auc.size, NEED), worth))
    return np.where(usable, found, np.nan)


def stops(
    auc: float, prevalence: float, each: int, runs: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each run, 1 good enough, -1 not good enough, 0 open at the cap; and the labels taken (runs,)."""
    labels, scores = simulate(auc, prevalence, each, runs, seed)
    state, taken = np.zeros(runs, np.int64), np.full(runs, RULE.cap)
    open_runs = np.ones(runs, bool)
    for count in range(RULE.step, RULE.cap + 1, RULE.step):
        some = np.flatnonzero(open_runs)
        if not some.size:
            break
        part = labels[some, :count], scores[some, :count]
        distance = distances(*part, each)
        limit = np.array([boundary_at(count, RULE.step, RULE.cap, float(share)) for share in part[0].mean(axis=1)])
        for i in np.flatnonzero(some < CHECKED):
            own = look(RULE, part[0][i], np.arange(count) // each, part[1][i], None)
            if own.distance is None or own.boundary is None:
                assert np.isnan(distance[i])
            else:
                np.testing.assert_allclose((distance[i], limit[i]), (own.distance, own.boundary), rtol=1e-6)
        past = np.abs(np.nan_to_num(distance)) >= limit
        state[some[past]], taken[some[past]] = np.sign(distance[past]).astype(np.int64), count
        open_runs[some[past]] = False
    return state, taken


def main(runs: int = RUNS, seed: int = SEED) -> None:
    start = time.process_time()
    print("| true AUC | prevalence | scans per patient | good enough | not good enough | open | labels |")
    print("|---|---|---|---|---|---|---|")
    for auc, prevalence, each in CASES:
        state, taken = stops(auc, prevalence, each, runs, seed)
        shares = " | ".join(f"{100 * (state == s).mean():.1f} %" for s in (1, -1, 0))
        print(f"| {auc:.2f} | {prevalence} | {each} | {shares} | {np.median(taken):.0f} |", flush=True)
    print(f"\n{runs} runs a row, seed {seed}, {time.process_time() - start:.0f} s on the processor.")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

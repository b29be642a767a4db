"""How often the stop rule of `elsewhere evaluate --next` is wrong, and how many labels it takes.

`python benchmarks/stopping.py [runs] [seed]` prints the table of docs/stopping-tables.md. Scores are binormal (AUC =
Φ(gap / √2)), the need is 0.80, a look every 20 labels up to 400. Rows differ in the true AUC, the prevalence, scans per
patient (two of a patient share half of the variance), and how scans are chosen among 2000. The rule was
chosen on seed 1; the seed of the document was first used for it.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from scipy.stats import norm

from elsewhere.evidence.stopping import Choice, StopRule, look, reading_order, weights_of

RUNS, SEED, SCANS = 1000, 20_261_201, 2000
NEED = 0.80
CASES: tuple[tuple[float, float, int, Choice], ...] = (
    (0.92, 0.5, 1, "random"),
    (0.92, 0.3, 1, "random"),
    (0.92, 0.1, 1, "score"),
    (0.92, 0.5, 2, "random"),
    (0.80, 0.5, 1, "random"),
    (0.80, 0.3, 1, "random"),
    (0.80, 0.1, 1, "random"),
    (0.80, 0.1, 1, "score"),
    (0.80, 0.5, 2, "random"),
    (0.55, 0.5, 1, "random"),
    (0.55, 0.3, 1, "random"),
)


def one_run(
    auc: float, prevalence: float, each: int, choice: Choice, run: int, *, seed: int, rule: StopRule | None = None
) -> tuple[str, int]:
    """State and number of labels at which one product's labelling stops."""
    rule = rule or StopRule("auc", NEED, 20, choice=choice)
    random = np.random.default_rng([seed, run, round(1000 * auc), round(1000 * prevalence), each])
    patients = np.arange(SCANS) // each
    labels = np.repeat(random.random(SCANS // each) < prevalence, each).astype(np.int64)
    noise = random.normal(size=SCANS)
    if each > 1:
        noise = np.sqrt(0.5) * (noise + np.repeat(random.normal(size=SCANS // each), each))
    scores = noise + 2**0.5 * norm.ppf(auc) * labels
    order = reading_order([f"{run}-{i}" for i in range(SCANS)], scores, choice)
    for count in range(rule.step, rule.cap + 1, rule.step):
        read = np.zeros(SCANS, bool)
        read[order[:count]] = True
        weights = None if choice == "random" else weights_of(scores, read)
        found = look(rule, labels[read], patients[read], scores[read], None, weights=weights)
        if found.state != "go on":
            return found.state, count
    return "go on", rule.cap


def main(runs: int = RUNS, seed: int = SEED) -> None:
    start = time.perf_counter()
    print("| true AUC | prevalence | scans per patient | chosen | good enough | not good enough | cap | labels, median |")
    print("|---|---|---|---|---|---|---|---|")
    for auc, prevalence, each, choice in CASES:
        found = [one_run(auc, prevalence, each, choice, run, seed=seed) for run in range(runs)]
        states = [state for state, _ in found]
        shares = [f"{100 * states.count(s) / runs:.1f} %" for s in ("good enough", "not good enough", "cap")]
        labels = f"{np.median([n for _, n in found]):.0f}"
        print(f"| {auc:.2f} | {prevalence} | {each} | {choice} | {' | '.join(shares)} | {labels} |", flush=True)
    print(f"\n{runs} runs a row, seed {seed}, {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

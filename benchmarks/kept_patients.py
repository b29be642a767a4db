"""How often a threshold and a recalibration from kept patients are called better, of a product that needs them or not.

`python benchmarks/kept_patients.py [runs] [seed]` prints a table. Two scans a patient, log-odds binormal within and
between patients, half of the patients positive; four in ten are kept. "Already right": scores are the true
probabilities and the threshold is 0.5. "Shifted": its log-odds are too high by 1.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np

from elsewhere.statistics.local_reading import Sample, choose_locally, compare_locally

SPREAD = 0.7
"""Standard deviation between patients, and within one."""


def drawn(random: np.random.Generator, patients: int, shift: float) -> Sample:
    labels = np.repeat(np.arange(patients) % 2, 2)
    people = np.repeat(np.arange(patients), 2)
    between = np.repeat(random.normal(0, SPREAD, patients), 2)
    values = (labels - 0.5) * 2 + between + random.normal(0, SPREAD, 2 * patients)
    odds = 2 / (2 * SPREAD**2) * values + shift
    return Sample(labels, people, 1 / (1 + np.exp(-odds)))


def main(runs: int = 2000, seed: int = 20261129) -> None:
    print("| product | patients | " + " | ".join(f"{m}: better, worse" for m in MEASURES) + " |\n|---|---|---|---|")
    for name, shift in (("already right", 0.0), ("log-odds shifted by 1", 1.0)):
        for patients in (50, 100, 200):
            counts: dict[str, Counter[str]] = {measure: Counter() for measure in MEASURES}
            for run in range(runs):
                random = np.random.default_rng([seed, patients, run])
                kept, scored = (drawn(random, int(share * patients) // 2 * 2, shift) for share in (0.4, 0.6))
                own = (scored.probabilities >= 0.5).astype(int)
                found = {row.measure: row for row in compare_locally(scored, choose_locally(kept), own)}
                for measure in MEASURES:
                    counts[measure][found[measure].outcome if measure in found else "none"] += 1
            cells = [f"{100 * c['better'] / runs:.1f} %, {100 * c['worse'] / runs:.1f} %" for c in counts.values()]
            print(f"| {name} | {patients} | {' | '.join(cells)} |", flush=True)


MEASURES = ("balanced accuracy", "Brier score")

if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

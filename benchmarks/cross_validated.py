"""How often the interval of a cross-validated AUC holds the truth, and how far the pooled AUC is off.

Two kinds of simulation. "Scores": normal scores of fixed networks, one a fold, each with its own AUC, scale and
offset; scans of a patient share half of their variance. "Fitted": patients with 20 normal features, of which two differ
between the classes; each fold's network is the difference of the class means of the other folds, so that networks share
patients as they do in truth, and the AUC of each is known from its weights.

`python benchmarks/cross_validated.py [file] [share] [seed]` writes docs/cross-validation-tables.md (or `file`), with
`share` of the repetitions. Rules were chosen on other seeds than `REPORT`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from elsewhere.statistics.cross_validated import CrossValidated, cross_validated_auc

REPORT = 55_081_417
"""Seed of the published tables; never used before."""

REPETITIONS = 2000
AUCS = (0.5, 0.7, 0.85, 0.95)
SIZES = ((10, 10), (20, 40), (60, 60), (100, 300))
"""Positive and negative patients."""
FEATURES = 20


@dataclass(frozen=True)
class Drawn:
    """One cross-validation: what came out, the networks' own AUCs as its folds weigh them, and their plain mean."""

    found: CrossValidated
    truth: float


def folds_of(patients: tuple[int, int], folds: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Label and fold of each patient, folds within classes."""
    labels = np.repeat([1, 0], patients)
    return labels, np.concatenate([np.arange(count) % folds for count in patients])


def weighed(labels: NDArray[np.int64], folds: NDArray[np.int64], aucs: NDArray[np.float64]) -> float:
    """Mean of the folds' true AUCs, by their pairs."""
    pairs = [np.sum(labels[folds == f]) * np.sum(1 - labels[folds == f]) for f in range(len(aucs))]
    return float(np.average(aucs, weights=pairs))


def scored(auc: float, patients: tuple[int, int], folds: int, scans: int, random: np.random.Generator) -> Drawn:
    """Scores of fixed networks."""
    labels, parts = folds_of(patients, folds)
    distance = 2**0.5 * (ndtri(auc) + 0.15 * random.normal(size=folds))
    whose = np.repeat(np.arange(labels.size), scans)
    noise = 0.5**0.5 * (random.normal(size=labels.size)[whose] + random.normal(size=whose.size))
    values = distance[parts[whose]] * labels[whose] + noise
    values = np.exp(0.5 * random.normal(size=folds))[parts[whose]] * values + random.normal(size=folds)[parts[whose]]
    truth = weighed(labels, parts, ndtr(distance / 2**0.5))
    return Drawn(cross_validated_auc(labels[whose], whose, parts[whose], values), truth)


def fitted(auc: float, patients: tuple[int, int], folds: int, random: np.random.Generator) -> Drawn:
    """Scores of networks that were fitted on the other folds; `auc` is that of the best one possible."""
    labels, parts = folds_of(patients, folds)
    distance = np.zeros(FEATURES)
    distance[:2] = ndtri(auc)  # two features: 2**0.5 * ndtri(auc) apart in all
    values = random.normal(size=(labels.size, FEATURES)) + np.outer(labels - 0.5, distance)
    scores, aucs = np.zeros(labels.size), np.zeros(folds)
    for fold in range(folds):
        own = parts == fold
        up, down = (values[~own & (labels == label)].mean(axis=0) for label in (1, 0))
        weights = up - down
        scores[own] = (values[own] - (up + down) / 2) @ weights
        aucs[fold] = ndtr(weights @ distance / np.linalg.norm(weights) / 2**0.5)
    return Drawn(cross_validated_auc(labels, np.arange(labels.size), parts, scores), weighed(labels, parts, aucs))


def row(drawn: list[Drawn]) -> list[str]:
    """Coverage, misses, width, the pooled AUC's bias and coverage, and coverage of the mean truth over repetitions."""
    within = [one.found.within for one in drawn]
    truth = np.array([one.truth for one in drawn])
    low, high = (np.array([getattr(one, end) for one in within]) for end in ("low", "high"))
    bias = np.mean([one.estimate for one in within] - truth)
    pooled = [one.found.pooled for one in drawn]
    off = np.mean([one.estimate for one in pooled] - truth)
    held = np.mean([one.low <= value <= one.high for one, value in zip(pooled, truth, strict=True)])
    recipe = np.mean((low <= truth.mean()) & (truth.mean() <= high))
    return [
        f"{truth.mean():.2f}",
        f"{np.mean((low <= truth) & (truth <= high)):.1%}",
        f"{np.mean(low > truth):.1%}, {np.mean(high < truth):.1%}",
        f"{np.mean(high - low):.2f}",
        f"{bias:+.3f}".replace("-", "−"),
        f"{off:+.3f}".replace("-", "−"),
        f"{held:.1%}",
        f"{recipe:.1%}",
    ]


HEAD = "true AUC | held | above, below | width | bias within | bias pooled | pooled held | mean over trainings held"


def tables(share: float, seed: int) -> list[str]:
    repetitions = max(round(REPETITIONS * share), 20)
    lines = [
        "# Cross-validation tables",
        "",
        "How often the 95 % interval of the AUC within folds (`cross_validated_auc`) holds the mean of the networks' "
        "own AUCs. Written by `python benchmarks/cross_validated.py` on "
        f"{datetime.now(UTC).date().isoformat()}; seed {seed}, {repetitions} cross-validations a row (standard error "
        f"of 95 %: {(0.95 * 0.05 / repetitions) ** 0.5:.1%}).",
        "",
        "`above, below`: the interval lies wholly above, below the truth. `bias`: estimate less truth. `pooled held`: "
        "how often the interval of the pooled AUC, as of one network's scores, holds that truth. `mean over trainings "
        "held`: how often the interval within folds holds the mean of that truth over all repetitions of the row, "
        "which it is not made for.",
        "",
        "## Scores of fixed networks, on scales that differ",
        "",
        f"| patients (positive + negative) | folds | scans each | {HEAD} |",
        "|" + "---|" * 11,
    ]
    for place, (auc, size, folds, scans) in enumerate(product(AUCS, SIZES, (5,), (1, 3))):
        random = np.random.default_rng([seed, 1, place])
        drawn = [scored(auc, size, folds, scans, random) for _ in range(repetitions)]
        lines.append(f"| {size[0]} + {size[1]} | {folds} | {scans} | " + " | ".join(row(drawn)) + " |")
    lines += ["", "## Networks fitted on the other folds", "", "`best`: the AUC of the best possible network.", ""]
    lines += [f"| patients | folds | best | {HEAD} |", "|" + "---|" * 11]
    for place, (auc, size, folds) in enumerate(product(AUCS, SIZES, (5, 10))):
        if min(size) >= folds:
            random = np.random.default_rng([seed, 2, place])
            drawn = [fitted(auc, size, folds, random) for _ in range(repetitions)]
            lines.append(f"| {size[0]} + {size[1]} | {folds} | {auc:.2f} | " + " | ".join(row(drawn)) + " |")
    return lines


if __name__ == "__main__":
    target = (
        Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs/cross-validation-tables.md"
    )
    made = tables(float(sys.argv[2]) if len(sys.argv) > 2 else 1.0, int(sys.argv[3]) if len(sys.argv) > 3 else REPORT)
    target.write_text("\n".join(made) + "\n", encoding="utf-8")

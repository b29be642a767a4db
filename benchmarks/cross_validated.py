"""How often the interval of a cross-validated AUC holds the truth, and how far the pooled AUC is off.

Two kinds of simulation. "Scores": normal scores of fixed networks, one a fold, each with its own AUC, scale and
offset; scans of a patient share half of their variance. "Fitted": patients with normal features, of which two differ
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
from elsewhere.statistics.intervals import Interval

REPORT = 55_081_417
"""Seed of the published tables; never used before."""

REPETITIONS = 1000
AUCS = (0.5, 0.7, 0.85, 0.95)
SIZES = ((10, 10), (20, 40), (100, 300))
"""Positive and negative patients."""
FEATURES = (20, 200)


@dataclass(frozen=True)
class Drawn:
    """One cross-validation: what came out, the same with networks taken as fixed, and the mean of their own AUCs."""

    found: CrossValidated
    fixed: CrossValidated
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
    return drawn_of(labels[whose], whose, parts[whose], values, truth)


def fitted(auc: float, patients: tuple[int, int], features: int, random: np.random.Generator) -> Drawn:
    """Scores of networks that were fitted on the other folds; `auc` is that of the best one possible."""
    folds = 5
    labels, parts = folds_of(patients, folds)
    distance = np.zeros(features)
    distance[:2] = ndtri(auc)  # two features: 2**0.5 * ndtri(auc) apart in all
    values = random.normal(size=(labels.size, features)) + np.outer(labels - 0.5, distance)
    scores, aucs = np.zeros(labels.size), np.zeros(folds)
    for fold in range(folds):
        own = parts == fold
        up, down = (values[~own & (labels == label)].mean(axis=0) for label in (1, 0))
        weights = up - down
        scores[own] = (values[own] - (up + down) / 2) @ weights
        aucs[fold] = ndtr(weights @ distance / np.linalg.norm(weights) / 2**0.5)
    return drawn_of(labels, np.arange(labels.size), parts, scores, weighed(labels, parts, aucs))


def drawn_of(
    labels: NDArray[np.int64],
    patients: NDArray[np.int64],
    parts: NDArray[np.int64],
    values: NDArray[np.float64],
    truth: float,
) -> Drawn:
    columns = labels, patients, parts, values
    return Drawn(cross_validated_auc(*columns), cross_validated_auc(*columns, dependence=1.0), truth)


def held(intervals: list[Interval], truth: NDArray[np.float64]) -> NDArray[np.int64]:
    """-1 where an interval lies below the truth, 1 above, 0 where it holds it."""
    low, high = (np.array([getattr(one, end) for one in intervals]) for end in ("low", "high"))
    return (low > truth).astype(int) - (high < truth)


def row(drawn: list[Drawn]) -> list[str]:
    """Coverage, misses and width of the interval, coverage of others, bias."""
    within, pooled = [one.found.within for one in drawn], [one.found.pooled for one in drawn]
    truth = np.array([one.truth for one in drawn])
    sides = held(within, truth)
    whole = np.full(truth.size, truth.mean())
    return [
        f"{truth.mean():.2f}",
        f"{np.mean(sides == 0):.1%}",
        f"{np.mean(sides > 0):.1%}, {np.mean(sides < 0):.1%}",
        f"{np.mean([one.high - one.low for one in within]):.2f}",
        f"{np.mean(held([one.fixed.within for one in drawn], truth) == 0):.1%}",
        f"{np.mean(held(pooled, truth) == 0):.1%}",
        f"{np.mean(held(within, whole) == 0):.1%}",
        *(f"{np.mean([one.estimate for one in kind] - truth):+.3f}".replace("-", "−") for kind in (within, pooled)),
    ]


HEAD = (
    "true AUC | held | above, below | width | held, networks fixed | held, pooled | mean over trainings held | "
    "bias within | bias pooled"
)


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
        "`above, below`: the interval lies wholly above, below the truth. `networks fixed`: the interval without the "
        "factor for dependence (`dependence=1`). `pooled`: that of the pooled AUC, as of one network's scores. `mean "
        "over trainings held`: how often the interval holds the mean of that truth over all repetitions of the row, "
        "which it is not made for. `bias`: estimate less truth.",
        "",
        "## Networks fitted on the other folds",
        "",
        "As in truth: the networks share patients, and score those whom others learned from. `best`: the AUC of the "
        "best possible network.",
        "",
        f"| patients (positive + negative) | features | best | {HEAD} |",
        "|" + "---|" * 12,
    ]
    for place, (auc, size, features) in enumerate(product(AUCS, SIZES, FEATURES)):
        random = np.random.default_rng([seed, 2, place])
        drawn = [fitted(auc, size, features, random) for _ in range(repetitions)]
        lines.append(f"| {size[0]} + {size[1]} | {features} | {auc:.2f} | " + " | ".join(row(drawn)) + " |")
    lines += ["", "## Scores of fixed networks, on scales that differ", ""]
    lines += ["Here no network knows any patient, and the factor for dependence is not needed: this is its price.", ""]
    lines += [f"| patients (positive + negative) | scans each | {HEAD} |", "|" + "---|" * 11]
    for place, (auc, size, scans) in enumerate(product(AUCS, SIZES, (1, 3))):
        random = np.random.default_rng([seed, 1, place])
        drawn = [scored(auc, size, 5, scans, random) for _ in range(repetitions)]
        lines.append(f"| {size[0]} + {size[1]} | {scans} | " + " | ".join(row(drawn)) + " |")
    return lines


if __name__ == "__main__":
    target = (
        Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs/cross-validation-tables.md"
    )
    made = tables(float(sys.argv[2]) if len(sys.argv) > 2 else 1.0, int(sys.argv[3]) if len(sys.argv) > 3 else REPORT)
    target.write_text("\n".join(made) + "\n", encoding="utf-8")

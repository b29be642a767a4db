"""How often the right CT shift is named for a site whose truth is known, and how often one is named for nothing.

Half of a home's patients play a new site under a planted shift, the other half stay home; both are drawn anew in each
repetition. `python benchmarks/dose.py REPETITIONS STUDY.toml FOLDER [STUDY.toml FOLDER …]` prints the tables of
docs/dose-tables.md for the single-site models of finished studies (made with the two studies of `elsewhere demo`).
What the scans score is kept in FOLDER/stress, as `elsewhere stress` keeps it.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.commands import stress
from elsewhere.commands.train import usable_rows
from elsewhere.errors import BadScan
from elsewhere.evidence.decision import log_odds
from elsewhere.evidence.dose import CHANCE, Explanation, explain
from elsewhere.evidence.roc import exact_auc
from elsewhere.plan import Folder, load_study
from elsewhere.scans.shifts import Shift, plan_shifts

RESAMPLES = 200
BINS = (0.05, 0.15, 0.5, 1.0)
"""Bounds of the mean move of the log-odds, for the table over all models."""


@dataclass(frozen=True)
class Scored:
    """One model's probabilities of its home scans: as they are and under each shift (1 + shifts, scans)."""

    name: str
    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    shifts: tuple[Shift, ...]
    probabilities: NDArray[np.float64]


def scored(file: Path, root: Path) -> list[Scored]:
    """Every single-site model of a finished study on all test and validation scans of its home."""
    plan, folder, shifts = load_study(file), Folder(root), plan_shifts()
    found = []
    for name in stress._models(plan, ()):
        rows = [r for r in usable_rows(folder) if r["site"] == name and r["subset"] in {"test", "validation"}]
        home = stress.Home(name, name, tuple(rows), 0.5)
        tasks, bad = stress._tasks(plan, folder, [home], shifts)
        left = [(task,) for task in tasks if stress._missing(task)]
        bad += [r for _, r in engine.run(stress.stress_scan, left, describe=name) if isinstance(r, BadScan)]
        if bad:
            print(f"{name}: {len(bad)} scans could not be used; the first: {bad[0]}", file=sys.stderr)
        given = stress._probabilities(folder, home, tasks)
        ready = tuple(s for s in shifts if all(isinstance(g.get(stress._entry(s)), float) for g in given.values()))
        kept = [r for r in rows if r["scan"] in given]
        entries = [stress.AS_IS, *map(stress._entry, ready)]
        table = np.array([[given[r["scan"]][entry] for r in kept] for entry in entries], dtype=np.float64)
        labels, patients = np.array([r["label"] for r in kept]), np.array([r["patient"] for r in kept])
        found.append(Scored(f"{plan.name}, {name}", labels, patients, ready, table))
    return found


def halves(model: Scored, repetition: int) -> NDArray[np.bool_]:
    """Scans (scans,) of the patients that play the new site: half of each class."""
    random, site = np.random.default_rng([repetition, 1]), set()
    for label in (0, 1):
        patients = np.unique(model.patients[model.labels == label])
        site |= set(random.permutation(patients)[: len(patients) // 2].tolist())
    return np.isin(model.patients, list(site))


def said(model: Scored, planted: int, repetition: int) -> Explanation:
    """The explanation of a half under the planted shift (0: none)."""
    there = halves(model, repetition)
    here = ~there
    shifted = {(s.name, s.dose): model.probabilities[i, here] for i, s in enumerate(model.shifts, 1)}
    home = (model.labels[here], model.patients[here], model.probabilities[0, here])
    site = (model.labels[there], model.patients[there], model.probabilities[planted, there])
    return explain(home, shifted, site, resamples=RESAMPLES, seed=repetition)


def verdict(found: Explanation, name: str) -> str:
    """Right, among those that cannot be told apart, wrong, like home, or none of the shifts."""
    if found.best is None:
        return "like" if found.p_difference > CHANCE else "none"
    if found.best.shift == name:
        return "right"
    return "rival" if name in found.rivals else "wrong"


def tally(model: Scored, planted: int, repetitions: int) -> Counter[str]:
    name = model.shifts[planted - 1].name if planted else ""
    return Counter(verdict(said(model, planted, r), name) for r in range(repetitions))


def moves(model: Scored, planted: int) -> float:
    odds = log_odds(model.probabilities[[0, planted]])
    return float(np.abs(odds[1] - odds[0]).mean())


def shares(counts: Counter[str], repetitions: int, keys: tuple[str, ...]) -> str:
    return " | ".join(f"{counts[key] / repetitions:.0%}" for key in keys)


def print_false_alarms(models: list[Scored], repetitions: int) -> None:
    print(
        "## Nothing planted\n\n| model | scans | AUC | like home | none of the shifts | a shift named (false alarm) |"
    )
    print("|---|---|---|---|---|---|")
    total: Counter[str] = Counter()
    for model in models:
        counts = tally(model, 0, repetitions)
        total += counts
        auc = exact_auc(model.labels, model.probabilities[0])
        row = shares(counts, repetitions, ("like", "none", "wrong"))
        print(f"| {model.name} | {model.labels.size} | {auc:.2f} | {row} |", flush=True)
    print(f"| all | | | {shares(total, repetitions * len(models), ('like', 'none', 'wrong'))} |")


def print_power(models: list[Scored], repetitions: int) -> None:
    pooled: dict[int, list[Counter[str]]] = {}
    for model in models:
        print(
            f"\n## {model.name}\n\n| planted | scores move by | AUC | {' | '.join(HEADS)} |\n|---|---|---|{'---|' * 5}"
        )
        moved = {planted: moves(model, planted) for planted in range(1, len(model.shifts) + 1)}
        for planted, move in moved.items():
            if move < BINS[0]:
                continue
            shift, auc = model.shifts[planted - 1], exact_auc(model.labels, model.probabilities[planted])
            tried = tally(model, planted, repetitions)
            pooled.setdefault(int(np.searchsorted(BINS, move)), []).append(tried)
            row = shares(tried, repetitions, KEYS)
            print(f"| {shift.name}, {shift.dose:g} {shift.unit} | {move:.2f} | {auc:.2f} | {row} |", flush=True)
        still = [f"{s.name} {s.dose:g}" for s, move in zip(model.shifts, moved.values(), strict=True) if move < BINS[0]]
        print(f"\nMove the scores by less than {BINS[0]}: {', '.join(still) or 'none'}.")
    print_pooled(pooled, repetitions)


def print_pooled(pooled: dict[int, list[Counter[str]]], repetitions: int) -> None:
    print("\n## All models, by how far the planted shift moves the scores\n")
    print(f"| log-odds | planted | {' | '.join(HEADS)} |\n|---|---|{'---|' * 5}")
    edges = (*BINS, np.inf)
    for place in sorted(pooled):
        counts, number = sum(pooled[place], Counter()), len(pooled[place])
        span = f"{edges[place - 1]:g} to {edges[place]:g}"
        print(f"| {span} | {number} | {shares(counts, number * repetitions, KEYS)} |")


KEYS = ("right", "rival", "wrong", "none", "like")
HEADS = ("right shift", "right one not told apart", "wrong shift", "none of them", "nothing to explain")


def main(repetitions: int, studies: list[str]) -> None:
    pairs = zip(studies[::2], studies[1::2], strict=True)
    models = [model for file, root in pairs for model in scored(Path(file), Path(root))]
    print_false_alarms(models, repetitions)
    print_power(models, repetitions)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])

"""How often a good product is doubted for a site, a subgroup, its labels or copies, and how often a bad one is.

`python benchmarks/doubts.py [runs] [seed] [first row]` prints the tables of docs/how-to/acceptance-test.md; with
`data` for the first row only those of labels, copies and unequal patients. Scores are
binormal around the threshold of 0; sensitivity and specificity are what the row says, the required ones 0.70 each.
Sites and groups of one row are of equal size but for the bad site of the lower rows. Runs are those that all scans
together call "works". The seed of the document was first used for it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtri

from elsewhere.statistics.acceptance import assess, decide_acceptance
from elsewhere.statistics.doubts import LABELS_ALIKE, doubt, labels_follow, parts_of, repeated_rows
from elsewhere.statistics.product_sites import site_rows
from elsewhere.statistics.requirements import Requirements
from elsewhere.statistics.scored import Scored
from elsewhere.statistics.subgroups import find_subgroups
from elsewhere.statistics.verdict_rule import LEAST_PATIENTS

RUNS, SEED = 400, 20_261_128
NEEDED = 0.70
STATED = Requirements(least_auc=0.6, least_sensitivity=NEEDED, least_specificity=NEEDED)


@dataclass(frozen=True)
class Row:
    """One product: sensitivity everywhere and at the bad site, where there is one; scans in all and there."""

    sensitivity: float
    sites: int
    columns: int
    scans: int
    bad: float | None = None
    there: int = 0
    each: int = 1


ROWS = (
    *(Row(s, 1, c, 1500) for s in (0.75, 0.8, 0.9) for c in (1, 5)),
    *(Row(s, n, 2, 1500) for s in (0.75, 0.8, 0.9) for n in (4, 12)),
    Row(0.8, 4, 2, 1500, each=3),
    *(Row(0.95, 4, 2, 1500, bad, there) for bad in (0.6, 0.4, 0.2) for there in (60, 200)),
)


def draw(row: Row, random: np.random.Generator) -> tuple[Scored, np.ndarray, dict[str, list[str]]]:
    """Scans, their sites, and columns of six groups each."""
    people = row.scans // row.each
    sites = np.repeat(np.arange(people) % row.sites, row.each)
    if row.bad is not None:
        sites = np.concatenate([sites, np.full(row.there, row.sites)])
    patients = np.concatenate([np.repeat(np.arange(people), row.each), people + np.arange(sites.size - row.scans)])
    labels = (random.random(patients.max() + 1) < 0.5).astype(np.int64)[patients]
    noise = random.normal(size=patients.size)
    if row.each > 1:
        noise = np.sqrt(0.5) * (noise + random.normal(size=patients.max() + 1)[patients])
    sensitivity = np.where(sites == row.sites, row.bad or row.sensitivity, row.sensitivity)
    scores = noise + np.where(labels == 1, ndtri(sensitivity), -ndtri(row.sensitivity))
    columns = {f"c{i}": random.choice(list("abcdef"), labels.size).tolist() for i in range(row.columns)}
    return Scored(labels, patients, scores, scores >= 0, sites), np.array([f"s{i}" for i in sites]), columns


def doubted(row: Row, runs: int, seed: int) -> tuple[int, int]:
    """Runs that all scans together call "works", and those of them that are doubted."""
    works = lost = 0
    for run in range(runs):
        scans, sites, columns = draw(row, np.random.default_rng([seed, ROWS.index(row), run]))
        answer = decide_acceptance(scans, STATED)
        if answer.action != "nothing":
            continue
        works += 1
        groups, _, _ = find_subgroups(scans, columns)
        found = doubt(answer, assess(scans, STATED), scans, parts_of(site_rows(scans, sites), groups), {})
        lost += found.action != "nothing"
    return works, lost


LABELLING = (  # name, patients, scans of each, share labelled and prevalence at each site, more labels of called ones
    ("at random, one site", 300, 1, (0.6,), (0.3,), 0.0),
    ("at random, one site, little disease", 300, 1, (0.6,), (0.05,), 0.0),
    ("at random, nearly all", 300, 1, (0.95,), (0.1,), 0.0),
    ("at random, patients of five scans", 100, 5, (0.6,), (0.3,), 0.0),
    ("a site with more disease labels more", 300, 1, (0.9, 0.4), (0.6, 0.1), 0.0),
    ("called patients more, +0.3", 100, 1, (0.6,), (0.3,), 0.3),
    ("called patients more, +0.3", 300, 1, (0.6,), (0.3,), 0.3),
    ("called patients more, +0.1", 1000, 1, (0.6,), (0.3,), 0.1),
    ("called patients more, +0.3, patients of five scans", 100, 5, (0.6,), (0.3,), 0.3),
)


def labelled(
    row: tuple[str, int, int, tuple[float, ...], tuple[float, ...], float], random: np.random.Generator
) -> float:
    """The p-value of labels that follow calls, of one product."""
    _, people, each, share, prevalence, follows = row
    site, patients = np.arange(people) % len(share), np.arange(people).repeat(each)
    positive = random.random(people) < np.array(prevalence)[site]
    noise = np.sqrt(0.5) * (random.normal(size=patients.size) + random.normal(size=people)[patients])
    called = noise + np.where(positive[patients], 1.0, -1.0) > 0
    ever = np.bincount(patients, called) > 0
    known = (random.random(people) < np.array(share)[site] + follows * (ever - 0.5))[patients]
    return labels_follow(known, called, patients, site[patients])[1]


def repeated(scans: int, digits: int, copies: float, random: np.random.Generator) -> bool:
    """Whether copies are suspected among binormal probabilities of so many digits, a share of them copied rows."""
    labels = (random.random(scans) < 0.3).astype(np.int64)
    scores = np.round(expit(2 * random.normal(size=scans) + 3 * labels - 1.5), digits)
    again = random.integers(0, scans, round(copies * scans))
    scores[: again.size], labels[: again.size] = scores[again], labels[again]
    return repeated_rows(scores, labels, []) > 0


def unequal(positives: int, tail: float, random: np.random.Generator) -> tuple[bool, bool]:
    """Whether a product exactly at the required sensitivity is said to work, and whether its patients are too unequal.

    Patients' own sensitivities are beta-distributed around it, scans of a patient log-normal of this spread.
    """
    counts = np.maximum(np.exp(tail * random.normal(size=2 * positives)).round().astype(int), 1)
    own = random.beta(2 * NEEDED, 2 * (1 - NEEDED), 2 * positives)
    labels = (np.arange(2 * positives) < positives).astype(np.int64).repeat(counts)
    patients = np.arange(2 * positives).repeat(counts)
    right = random.random(patients.size) < np.where(labels == 1, own[patients], 0.95)
    called = np.where(right, labels == 1, labels == 0)
    scores = np.where(called, 1.0, -1.0) + 0.1 * random.normal(size=patients.size)
    scans = Scored(labels, patients, scores, called)
    answer = decide_acceptance(scans, STATED)
    found = doubt(answer, assess(scans, STATED), scans, [], {})
    return found.action == "nothing", min(scans.class_worth) < LEAST_PATIENTS


def data_tables(runs: int, seed: int) -> None:
    """Print the tables of doubts about the data."""
    print("\n| labels are given | patients | scans of each | products | doubted |\n|---|---|---|---|---|")
    for place, row in enumerate(LABELLING):
        doubted = np.mean(
            [labelled(row, np.random.default_rng([seed, 1, place, i])) < LABELS_ALIKE for i in range(runs)]
        )
        print(f"| {row[0]} | {row[1]} | {row[2]} | {runs} | {doubted:.1%} |", flush=True)
    print("\n| scans | digits of the scores | copied rows | products | copies suspected |\n|---|---|---|---|---|")
    for place, row in enumerate(((300, 2, 0.0), (300, 4, 0.0), (5000, 4, 0.0), (5000, 6, 0.0), (300, 6, 0.1),
                                 (300, 6, 0.3), (5000, 6, 0.3), (300, 3, 0.3))):  # fmt: skip
        found = np.mean([repeated(*row, np.random.default_rng([seed, 2, place, i])) for i in range(runs)])
        print(f"| {row[0]} | {row[1]} | {row[2]:.0%} | {runs} | {found:.1%} |", flush=True)
    print("\n| patients of a class | spread of their scans | products | too unequal | works |\n|---|---|---|---|---|")
    for place, (positives, tail) in enumerate(((20, 0.0), (40, 0.0), (40, 1.0), (40, 1.5), (100, 1.0), (100, 1.5))):
        found = [unequal(positives, tail, np.random.default_rng([seed, 3, place, i])) for i in range(runs)]
        works, apart = (np.mean([one[i] for one in found]) for i in (0, 1))
        print(f"| {positives} | {tail:g} | {runs} | {apart:.1%} | {works:.1%} |", flush=True)


def main(runs: int, seed: int, first: int) -> None:
    """Print the table from a row on."""
    print(
        "| sensitivity | sites | columns of six groups | scans of a patient | bad site | products | works | doubted |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in ROWS[first:]:
        works, lost = doubted(row, runs, seed)
        bad = "none" if row.bad is None else f"{row.bad:.2f}, {row.there} scans"
        share = f"{lost / works:.1%}" if works else "–"
        cells = f"{row.sensitivity:.2f} | {row.sites} | {row.columns} | {row.each} | {bad} | {runs} | {works} | {share}"
        print(f"| {cells} |", flush=True)


if __name__ == "__main__":
    asked = [len(ROWS) if text == "data" else int(text) for text in sys.argv[1:]]
    given = (*asked, *(RUNS, SEED, 0)[len(asked) :])
    if given[2] < len(ROWS):
        main(*given)
    data_tables(*given[:2])

"""How often a product that meets its requirements everywhere is doubted for a site or a subgroup, and a bad site found.

`python benchmarks/doubts.py [runs] [seed] [first row]` prints the table of docs/how-to/acceptance-test.md. Scores are
binormal around the threshold of 0; sensitivity and specificity are what the row says, the required ones 0.70 each.
Sites and groups of one row are of equal size but for the bad site of the lower rows. Runs are those that all scans
together call "works". The seed of the document was first used for it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from elsewhere.statistics.acceptance import assess, decide_acceptance
from elsewhere.statistics.doubts import doubt, parts_of
from elsewhere.statistics.product_sites import site_rows
from elsewhere.statistics.requirements import Requirements
from elsewhere.statistics.scored import Scored
from elsewhere.statistics.subgroups import find_subgroups

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
    asked = [int(text) for text in sys.argv[1:]]
    main(*asked, *(RUNS, SEED, 0)[len(asked) :])

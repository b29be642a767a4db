"""36 cells of made-up scores in; time of 2000 patient-clustered resamples of every AUC, and of a loop's, out.

    python benchmarks/scores.py [--rounds 5]

The loop draws patients and asks scikit-learn's roc_auc_score, ten times a cell; its time is multiplied up to 2000.
"""

from __future__ import annotations

import argparse

import numpy as np
from evidence import SITES, Site, clustered_normals, equal_normals, scans_of
from measure import HEAD, Missing, Part, Row, interleave, table
from numpy.typing import NDArray

from elsewhere.statistics.bootstrap import resampled_aucs

MODELS, RESAMPLES, LOOPED = 9, 2000, 10
FOUR_SITES = (SITES[0], SITES[3], SITES[1], Site("MosMedData 171/171", (171, 171), (171, 171), 1))
"""MosMedData has no negatives; here it has as many, so that its cells have an AUC."""
STAGE = f"{MODELS * len(FOUR_SITES)} cells × {RESAMPLES} clustered resamples"
PEER = "a scikit-learn loop"
Cell = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def make_cells() -> list[Cell]:
    """Labels, patients and the scores of nine models at each site."""
    random, cells = np.random.default_rng(0), []
    for site in FOUR_SITES:
        labels, patients = scans_of(site)
        noise = [clustered_normals(patients, random) for _ in range(MODELS)]
        cells.append((labels, patients, np.stack([equal_normals(labels, one, 0.8) for one in noise])))
    return cells


def loop(cells: list[Cell]) -> None:
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - a peer

    random = np.random.default_rng(0)
    for labels, patients, scores in cells:
        members = [np.flatnonzero(patients == patient) for patient in range(patients.max() + 1)]
        for row in scores:
            for _ in range(LOOPED):
                drawn = np.concatenate([members[i] for i in random.integers(len(members), size=len(members))])
                if 0 < labels[drawn].mean() < 1:
                    roc_auc_score(labels[drawn], row[drawn])


def measure(rounds: int) -> Part:
    cells = make_cells()
    try:
        import sklearn.metrics  # noqa: PLC0415, F401
    except ImportError as error:
        return Part([Missing(STAGE, PEER, str(error))])
    ways = {"ours": lambda: [resampled_aucs(*cell, RESAMPLES) for cell in cells], "theirs": lambda: loop(cells)}
    times = interleave(ways, rounds)
    theirs = times["theirs"].scaled(RESAMPLES / LOOPED)
    note = f"loop: {LOOPED} resamples, times {RESAMPLES // LOOPED}"
    return Part([Row(STAGE, PEER, times["ours"], theirs, 1 / 200, note)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    print(table(HEAD, [row.cells() for row in measure(parser.parse_args().rounds).rows]))


if __name__ == "__main__":
    main()

"""How often the comparison of arms calls one surely better: where none is, and where one is; and whole small studies.

Numbers alone: no network is trained. ERM and seven arms, three unseen sites, 100 scans each (one a patient, half
positive), three trials and S seeds. A network's scores are the patients' signal with the network's own noise, whose
size is drawn anew for each training, so that two trainings of one recipe differ in AUC (SD given in the table); what
a trial is chosen by is its AUC on 40 further scans of the same kind. Nothing differs: "surely better" is wrong. One
arm is better: its noise is smaller by what brings 0.05 of AUC.

Studies: sites simulated with all dials at 0 and at 1 (UTSW, CC-CCII, COVID-CTset; MosMedData has one class), each left
out in turn, eight ways to train, two seeds, one trial, networks of 100 000 parameters.

`python benchmarks/arms.py [FOLDER [SEED ...]] [--repeats N] [--ways NAME ...] [--dials D ...]` writes
docs/arms-tables.md: the numbers, and the studies of these seeds, which are run in FOLDER (what is finished there is not
run again).
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.arm_rows import ERM, RULES, ArmRow
from elsewhere.commands.report import report
from elsewhere.commands.study import run_study
from elsewhere.scans.phantom.planting import Simulation, write_sites
from elsewhere.scans.phantom.sites import default_sites, turn
from elsewhere.statistics.arms import RecipeCell, best_trial, compare_recipes
from elsewhere.statistics.comparison import holm
from elsewhere.statistics.roc import exact_auc
from elsewhere.studies.arm_results import read_arms
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder

PAGE = Path(__file__).parents[1] / "docs" / "arms-tables.md"
LAYOUTS = {"UTSW": "dicom", "CC-CCII": "cc_ccii", "COVID-CTset": "covid_ctset"}
PATIENTS, POSITIVE, MATRIX, FINEST, ITERATIONS = 40, 0.5, 48, 10.0, 80
ARMS, SITES, SCANS, CHOOSING, TRIALS = 7, 3, 100, 40, 3
Floats = NDArray[np.float64]
WAYS = {
    "site-balanced": 'sampling = "balanced"',
    "GroupDRO": 'objective = "group_dro", sampling = "balanced"',
    "V-REx": 'objective = "v_rex", sampling = "balanced", penalty = 10.0, penalty_from = 20',
    "CORAL": 'objective = "coral", sampling = "balanced"',
    "MixStyle": "mixstyle = 0.5",
    "EMA": "ema = 0.97",
    "acquisition": "acquisition = 0.5, acquisition_strength = 0.5",
}

STUDY = """\
name = "arms"
title = "Arms on simulated sites, dials at {dials}"
origin = "simulated"
combinations = "leave-one-site-out"
seed = {seed}
seeds = [{seed}, {second}]
store = "store"

[split]
train = 0.5
test = 0.3

[network]
input = [16, 24, 24]
filters = [8, 16, 16]
kernels = [[3, 3, 3], [3, 3, 3], [3, 3, 3]]
pools = [[2, 2, 2], [2, 2, 2]]
dense = [32]
groups = 4
dense_groups = 4
dropblock = 0.0
dropout = 0.05

[training]
iterations = {iterations}
batch = 4
learning_rate = 1e-3
validate_every = {check}
save_every = {iterations}
threads = 1
tensorboard = false

[prediction]
passes = 0
stride = 16

[evaluation]
resamples = 200

"""


# Numbers alone -----------------------------------------------------------------------------------------------------


def networks(rng: np.random.Generator, signal: Floats, noise: Floats) -> Floats:
    """Scores (networks, scans) of networks whose own noise has these SDs."""
    return signal + noise[:, None] * rng.normal(size=(len(noise), signal.size))


def one_arm(
    rng: np.random.Generator, signals: list[tuple[Floats, Floats]], seeds: int, spread: float, less: float
) -> Floats:
    """Scores (seeds, scans) at one unseen site of an arm's chosen trial."""
    tested, chosen_by = signals
    labels = np.arange(CHOOSING) % 2
    trials, scores = [], []
    for _ in range(TRIALS):
        noise = np.abs(1.0 + spread * rng.normal(size=seeds)) - less
        trials.append(networks(rng, tested, noise))
        scores.append(float(np.mean(exact_auc(labels, networks(rng, chosen_by, noise)))))
    best = best_trial(scores)
    assert best is not None
    return trials[best]


def surely_better(rng: np.random.Generator, seeds: int, spread: float, less: float) -> tuple[bool, bool]:
    """Whether the first arm, and whether any other, is called surely better than ERM in one drawn study."""
    cells: dict[int, list[RecipeCell]] = {arm: [] for arm in range(ARMS)}
    for site in range(SITES):
        labels = np.arange(SCANS) % 2
        signals = [1.5 * (np.arange(n) % 2) + rng.normal(size=n) for n in (SCANS, CHOOSING)]
        erm = one_arm(rng, signals, seeds, spread, 0.0)
        for arm, own in cells.items():
            first = one_arm(rng, signals, seeds, spread, less if arm == 0 else 0.0)
            own.append(RecipeCell(str(site), f"all but {site}", labels, np.arange(SCANS), first, erm))
    found = [compare_recipes(own) for own in cells.values()]
    adjusted = holm([one.p_value for one in found])
    sure = [p < 0.05 and one.difference > 0 for p, one in zip(adjusted, found, strict=True)]
    return sure[0], any(sure[1:])


def numbers_table(repeats: int, seed: int) -> str:
    """The first table."""
    head = ["seeds", "AUC's SD between trainings", "one arm is better by"]
    head += ["any wrongly “surely better”", "the better one found"]
    lines = [f"| {' | '.join(head)} |", "|---|---|---|---|---|"]
    for seeds in (2, 3, 5):
        for spread in (0.3, 0.8):
            for less in (0.0, 0.45):
                rng = np.random.default_rng([seed, seeds, int(10 * spread)])
                gain, between = _gain(spread, less)
                found = [surely_better(rng, seeds, spread, less) for _ in range(repeats // (3 if less else 1))]
                wrong = np.mean([other or (first and not less) for first, other in found])
                power = f"{np.mean([first for first, _ in found]):.1%}" if less else "–"
                lines.append(f"| {seeds} | {between:.3f} | {f'{gain:.2f}' if less else '–'} | {wrong:.1%} | {power} |")
    return "\n".join(lines)


def _gain(spread: float, less: float) -> tuple[float, float]:
    """How much AUC the smaller noise brings, and the SD of the AUC between trainings, on many scans."""
    rng, labels = np.random.default_rng(1), np.arange(20_000) % 2
    signal = 1.5 * labels + rng.normal(size=labels.size)
    noise = np.abs(1.0 + spread * rng.normal(size=60))
    plain, better = (exact_auc(labels, networks(rng, signal, noise - part)) for part in (0.0, less))
    return float((better - plain).mean()), float(plain.std())


# Whole studies -----------------------------------------------------------------------------------------------------


def run_one(
    folder: Path, seed: int, dials: float, iterations: int, ways: Sequence[str] = tuple(WAYS)
) -> tuple[list[ArmRow], float]:
    """One study of some of the ways to train, and the seconds that this run of it took."""
    began, place = time.monotonic(), folder / f"{seed}-dials-{dials:g}"
    sites = tuple(
        turn(replace(site, patients=PATIENTS, positive=POSITIVE), all=dials)
        for site in default_sites()
        if site.name in LAYOUTS
    )
    write_sites(Simulation(seed, MATRIX, FINEST, sites), place / "sites", engine.run)
    text = STUDY.format(dials=f"{dials:g}", seed=seed, second=seed + 1, iterations=iterations, check=iterations // 4)
    text += "".join(f'[[arms]]\nname = "{way}"\ntraining = {{ {WAYS[way]} }}\n' for way in ways)
    tables = [f'\n[sites.{name}]\nkind = "{kind}"\nroot = "sites/{name}"\n' for name, kind in LAYOUTS.items()]
    (place / "arms.toml").write_text(text + "".join(tables), encoding="utf-8")
    run_study(place / "arms.toml", Folder(place / "arms"))
    report([place / "arms"])
    rows, _ = read_arms(load_study(place / "arms.toml"), Folder(place / "arms"))
    return rows, time.monotonic() - began


def study_lines(rows: list[ArmRow], seed: int, dials: float) -> list[str]:
    """Lines of the second table."""
    lines = []
    for row in (row for row in rows if not row.site and row.rule == RULES[0]):
        worst = min(r.auc for r in rows if r.site and r.arm == row.arm and r.rule == row.rule and r.auc is not None)
        gap = "–" if row.arm == ERM else f"{row.difference:+.3f} ({row.low:+.2f} to {row.high:+.2f})"
        p = "–" if row.p_value_holm is None else f"{row.p_value_holm:.2f}"
        lines.append(f"| {dials:g} | {seed} | {row.arm} | {row.auc:.3f} | {worst:.3f} | {gap} | {p} |")
    return lines


def main(folder: Path | None, seeds: list[int], repeats: int, ways: list[str], dials: list[float]) -> None:
    """Write the page."""
    command = f"python benchmarks/arms.py {' '.join(sys.argv[1:])}".replace(str(folder), "FOLDER").strip()
    parts = [
        "# Arms: how often one is called surely better",
        f"Made by `{command}` ({datetime.now(UTC):%Y-%m-%d}); its first lines say what is drawn.",
        f"## Numbers alone ({repeats} studies a row where no arm is better, a third of that where one is)",
        numbers_table(repeats, 20261130),
    ]
    if folder:
        lines = ["| dials | seed | arm | mean AUC at unseen sites | worst site | less ERM (95 %) | p (Holm) |"]
        lines.append("|---|---|---|---|---|---|---|")
        for seed in seeds:
            for strength in dials:
                rows, seconds = run_one(folder, seed, strength, ITERATIONS, ways)
                print(f"seed {seed}, dials {strength:g}: {seconds:.0f} s in this run")
                lines += study_lines(rows, seed, strength)
        left = [way for way in WAYS if way not in ways]
        lacking = f" Not run: {', '.join(left)}." if left else ""
        lacking += "" if len(dials) > 1 else f" Only dials at {dials[0]:g} were run."
        parts += [
            "## Whole studies",
            f"{PATIENTS} patients a site, {ITERATIONS} iterations, two trainings of each network, trials chosen by the "
            f"training domains.{lacking}",
            "\n".join(lines),
        ]
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("seeds", type=int, nargs="*", default=[1101])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--dials", type=float, nargs="+", default=[0.0, 1.0])
    given = parser.parse_args()
    main(given.folder, given.seeds or [1101], given.repeats, given.ways, given.dials)

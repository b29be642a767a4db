"""Which options of a training help small networks on simulated sites: the trial behind the defaults of `harmonised`.

Single-site networks of the quick demo, harmonised preparation, at the three sites that have both classes. Every arm
is the plain recipe (Adam, constant rate, uniform draws, kept by accuracy at 0.5) or the full one but for one option;
all else is equal, data and seeds too. The seeds of the patients are those of development, never reported elsewhere.

`python benchmarks/recipe.py FOLDER [SEED ...]` writes one line per arm: mean AUC of the test scans at home and at the
other two sites, and its range over seeds and sites.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from elsewhere import engine
from elsewhere.commands.demo import FINEST, MATRIX, study_text
from elsewhere.commands.prepare import prepare_study
from elsewhere.model import training
from elsewhere.model.batch import predict_many
from elsewhere.model.network import load_checkpoint
from elsewhere.scans.phantom.planting import Simulation, write_sites
from elsewhere.scans.phantom.sites import default_sites
from elsewhere.statistics.roc import exact_auc
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.prepared import cases, shelf_reader
from elsewhere.studies.records import usable_rows
from elsewhere.studies.trainings import checkpoint_record

SITES = ("UTSW", "CC-CCII", "COVID-CTset")
PATIENTS = {"UTSW": 150, "CC-CCII": 120, "COVID-CTset": 100, "MosMedData": 30}
PLAIN: dict[str, Any] = {
    "balanced_classes": False, "select": "accuracy", "schedule": "constant", "weight_decay": 0.0, "warm_up": 0,
    "clip": 0.0, "ema": 0.0,
}  # fmt: skip
FULL = PLAIN | {"balanced_classes": True, "select": "log_loss", "schedule": "cosine", "weight_decay": 1e-4}
ARMS: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "plain, kept by log loss": PLAIN | {"select": "log_loss"},
    "full": FULL,
    "full, plain draws": FULL | {"balanced_classes": False},
    "full, constant rate": FULL | {"schedule": "constant"},
    "full, no weight decay": FULL | {"weight_decay": 0.0},
    "full, warm-up 24": FULL | {"warm_up": 24},
    "full, clip 1": FULL | {"clip": 1.0},
    "full, EMA 0.98": FULL | {"ema": 0.98},
    "full, kept by AUC": FULL | {"select": "auc"},
}


def main(folder: Path, seeds: list[int]) -> None:
    """Simulate, prepare, train every arm, print the table."""
    tasks = []
    for seed in seeds:
        place = folder / str(seed)
        sites = tuple(replace(site, patients=PATIENTS[site.name]) for site in default_sites())
        write_sites(Simulation(seed, MATRIX, FINEST, sites), place / "sites", engine.run)
        file = place / "harmonised.toml"
        file.write_text(study_text("harmonised", seed, quick=True), encoding="utf-8")
        prepare_study(load_study(file), Folder(place / "harmonised"), None, whole=True)
        tasks += [(file, place / "harmonised", arm, site) for arm in ARMS for site in SITES]
    found: dict[str, list[tuple[float, list[float]]]] = {arm: [] for arm in ARMS}
    for index, result in engine.run(trial, tasks, describe="Training", ticks=True):
        found[tasks[index][2]].append(result)
    print(f"| recipe | mean AUC at home | range | mean AUC elsewhere |  ({len(seeds)} × 3 trainings each)")
    print("|---|---|---|---|")
    for arm, results in found.items():
        home = [one for one, _ in results]
        away = [one for _, others in results for one in others]
        print(f"| {arm} | {mean(home):.3f} | {min(home):.2f}–{max(home):.2f} | {mean(away):.3f} |")


def trial(file: Path, root: Path, arm: str, home: str, tick: Callable[[float, str], None]) -> tuple[float, list[float]]:
    """(AUC at home, AUCs at the other sites) of the test scans, of one training."""
    study, folder = load_study(file), Folder(root)
    rows = usable_rows(folder)
    settings = replace(study.training_of(home), **ARMS[arm])
    read = shelf_reader(rows)
    job = training.Job(
        study.network, study.sample, settings, cases(rows, [home], "train"), cases(rows, [home], "validation"), read,
        root / "arms" / f"{arm}-{home}".replace(" ", "_"), checkpoint_record(study, home, [home], rows),
        lambda done, total, _: tick(done / total, f"{arm}, {home}"), study.prediction.stride,
    )  # fmt: skip
    network, _ = load_checkpoint(training.train_job(job))
    areas = {site: _area(network, cases(rows, [site], "test"), read, study) for site in SITES}
    return areas[home], [area for site, area in areas.items() if site != home]


def _area(network: Any, test: list[Any], read: Any, study: Any) -> float:
    windows = predict_many(network.eval(), [(case, read) for case in test], study.sample, study.prediction.stride)
    return float(exact_auc(np.array([case.label for case in test]), np.array([one.max() for one in windows])))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2:]] or [1010, 1011])

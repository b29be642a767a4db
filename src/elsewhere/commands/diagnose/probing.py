"""Scans and models of a study in; each scan in numbers, and what each model makes of its parts, out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.model.batch import predict_many
from elsewhere.model.cuda import device_of
from elsewhere.model.network import Network, load_checkpoint, read_checkpoint_record
from elsewhere.model.saliency import find_saliency
from elsewhere.model.sample import Case, Read
from elsewhere.scans.regions import (
    REGIONS_VERSION,
    Regions,
    describe,
    erase_lungs,
    find_regions,
    keep_lungs,
    keep_outside,
    on_grid,
    stored_level,
)
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder, read_table, write_table
from elsewhere.studies.kept import key
from elsewhere.studies.prepared import case_of, shelf_reader
from elsewhere.studies.records import ScanRow

Row = dict[str, Any]
Voxels = NDArray[Any]

CHUNK = 24
"""Scans that are looked at, and kept, together: a killed run loses no more."""

VIEWS: dict[str, Callable[[Voxels, Regions], Voxels]] = {
    "lungs_erased": erase_lungs,
    "lungs_only": keep_lungs,
    "border_only": keep_outside,
}
"""What models are shown besides whole scans."""

ELSEWHERE = ("lungs_erased",)
"""What is shown of them at sites that a model was not trained on: each part costs as much as the whole."""


@dataclass(frozen=True)
class Chunk:
    """Scans to look at.

    Attributes:
        study: the study file.
        folder: the study's folder.
        models: names of the models.
        scans: to look at.
        ranked: sites of two classes, where an AUC can be had.
    """

    study: Path
    folder: Path
    models: tuple[str, ...]
    scans: tuple[ScanRow, ...]
    ranked: frozenset[str]


def probe_scans(
    file: Path, folder: Folder, models: Sequence[str], rows: Sequence[ScanRow], workers: int | None
) -> list[Row]:
    """One row per scan, in the order given; chunks kept from an earlier run are read.

    Returns:
        rows of `site`, `patient`, `scan`, `label`, `subset`, `lungs_found`, `lung_share`, `outside_found`, the parts of
        `describe`, and `models`: for test scans with lungs a list of `model`, `features`, `probability`, the views'
        probabilities (None where it was not shown), `inside` and `expected` of its saliency.

    Raises:
        BadScan: a prepared volume is damaged or gone.
        BadCheckpoint: a model is missing or damaged.
    """
    plan, home = load_study(file), folder.diagnosis_parts
    weights = [str(read_checkpoint_record(folder.checkpoint(model))["sha256"]) for model in models]
    classes = {(r.site, r.label) for r in rows if r.subset == "test" and r.label is not None}
    ranked = frozenset(site for site, label in classes if (site, 1 - label) in classes)
    ordered = sorted(rows, key=lambda r: (r.subset != "test", r.site, r.scan))  # the slow ones first
    chunks = [ordered[i : i + CHUNK] for i in range(0, len(ordered), CHUNK)]
    parts = [home / f"{_key(plan, [*models, *weights, *sorted(ranked)], chunk)}.parquet" for chunk in chunks]
    missing = [i for i, part in enumerate(parts) if not part.is_file()]
    tasks = [(Chunk(file, folder.root, tuple(models), tuple(chunks[i]), ranked),) for i in missing]
    for index, table in engine.run(probe, tasks, workers=workers, describe="Looking at scans without their lungs"):
        write_table(parts[missing[index]], table)
    for old in set(home.glob("*.parquet")) - set(parts):
        old.unlink()
    found = {(r["site"], r["scan"]): r for part in parts for r in read_table(part)}
    return [found[row.site, row.scan] for row in rows]


def _key(plan: Study, models: Sequence[str], chunk: Sequence[ScanRow]) -> str:
    """Key of everything that a chunk's rows depend on."""
    scans = [(r.site, r.patient, r.scan, r.label, r.subset, Path(r.file).name) for r in chunk]
    return key("diagnosis parts", REGIONS_VERSION, models, asdict(plan.sample), plan.prediction.stride, scans)


def probe(chunk: Chunk) -> list[Row]:
    """Describe each scan of a chunk, and show the test scans to the models."""
    plan, folder = load_study(chunk.study), Folder(chunk.folder)
    torch.set_num_threads(plan.training.threads or torch.get_num_threads())
    networks = {}
    if any(row.subset == "test" for row in chunk.scans):
        for model in chunk.models:
            network = load_checkpoint(folder.checkpoint(model))[0]
            networks[model] = network.to(device_of(plan.training.accelerator))
    read = shelf_reader(chunk.scans)
    return [_probe_scan(plan, row, read, networks, row.site in chunk.ranked) for row in chunk.scans]


def _probe_scan(plan: Study, row: ScanRow, read: Read, networks: dict[str, Network], ranked: bool) -> Row:
    case = case_of(row)
    voxels = read(case, 0, case.slices)
    preparation = plan.preparation
    level = stored_level("HU" if preparation.encoding == "hu" else row.units, preparation.relative_window)
    regions = find_regions(voxels, level)
    shown = networks if row.subset == "test" and regions.has_lungs else {}
    return {
        **{key: getattr(row, key) for key in ("site", "patient", "scan", "label", "subset")},
        "lungs_found": regions.has_lungs,
        "lung_share": regions.lung_share,
        "outside_found": regions.has_outside,
        **{name: [float(v) for v in numbers] for name, numbers in describe(voxels, regions, level).items()},
        "models": [
            _show(plan, model, network, (case, voxels, regions), _parts(plan, model, row.site, ranked))
            for model, network in shown.items()
        ],
    }


def _parts(plan: Study, model: str, site: str, ranked: bool) -> tuple[str, ...]:
    """The parts that a model is shown at a site."""
    if not ranked:
        return ()
    return tuple(VIEWS) if site in plan.models[model] else ELSEWHERE


def _show(plan: Study, model: str, network: Network, scan: tuple[Case, Voxels, Regions], parts: Sequence[str]) -> Row:
    """What one model makes of one scan in parts, on the grey scale of the whole scan."""
    case, voxels, regions = scan
    wanted = [name for name in parts if name != "border_only" or regions.has_outside]
    pictures = [(case, partial(_slices, VIEWS[name](voxels, regions))) for name in wanted]
    windows = predict_many(network, pictures, plan.sample, plan.prediction.stride)
    probabilities: dict[str, float | None] = dict.fromkeys(VIEWS)
    probabilities |= {name: float(found.max()) for name, found in zip(wanted, windows, strict=True)}
    saliency = find_saliency(network, case, partial(_slices, voxels), plan.sample, plan.prediction.stride)
    inside, expected = saliency.share_inside(on_grid(regions.lungs, regions))
    seen = [float(v) for v in saliency.features]
    told = {"model": model, "features": seen, "probability": saliency.probability, **probabilities}
    return {**told, "inside": inside, "expected": expected}


def _slices(voxels: Voxels, _: Case, start: int, stop: int) -> Voxels:
    return np.ascontiguousarray(voxels[start:stop])

"""Scans and models of a study in; each scan in numbers, and what each model makes of its parts, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.commands.diagnose.probed import ProbedScan, SeenBy, read_probed, write_probed
from elsewhere.model.batch import predict_many, side_by_side
from elsewhere.model.cuda import device_of
from elsewhere.model.network import Network, load_checkpoint, read_checkpoint_record
from elsewhere.model.network_settings import PAPER
from elsewhere.model.prediction import extract_features
from elsewhere.model.saliency import find_saliencies
from elsewhere.model.sample import Case, Read
from elsewhere.scans.intake import prepared_as
from elsewhere.scans.regions import (
    REGIONS_VERSION,
    VIEWS,
    Regions,
    describe,
    find_regions,
    on_grid,
    stored_level,
)
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import key
from elsewhere.studies.needs import study_needs
from elsewhere.studies.prepared import case_of, shelf_reader
from elsewhere.studies.records import ScanRow

Voxels = NDArray[Any]

CHUNK = 24
"""Scans that are looked at, and kept, together: a killed run loses no more."""

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
) -> list[ProbedScan]:
    """Every scan in numbers, in the order given; chunks kept from an earlier run are read.

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
    needs = study_needs(plan, folder, accelerator=plan.training.accelerator, also=[file.resolve()])
    words = "Looking at scans without their lungs"
    for index, probed in engine.run(probe, tasks, workers=workers, describe=words, needs=needs):
        write_probed(parts[missing[index]], probed)
    for old in set(home.glob("*.parquet")) - set(parts):
        old.unlink()
    found = {(scan.site, scan.scan): scan for part in parts for scan in read_probed(part)}
    return [replace(found[row.site, row.scan], facts=row.facts) for row in rows]


def _key(plan: Study, models: Sequence[str], chunk: Sequence[ScanRow]) -> str:
    """Key of everything that a chunk's rows depend on."""
    scans = [(r.site, r.patient, r.scan, r.label, r.subset, Path(r.file).name) for r in chunk]
    return key("diagnosis parts", REGIONS_VERSION, models, asdict(plan.sample), plan.prediction.stride, scans)


def probe(chunk: Chunk) -> list[ProbedScan]:
    """Describe each scan of a chunk, and show the test scans to the models."""
    plan, folder = load_study(chunk.study), Folder(chunk.folder)
    torch.set_num_threads(plan.training.threads or torch.get_num_threads())
    networks = {}
    if any(row.subset == "test" for row in chunk.scans):
        for model in chunk.models:
            network = load_checkpoint(folder.checkpoint(model), plan.network)[0]
            networks[model] = network.to(device_of(plan.training.accelerator))
    read = shelf_reader(chunk.scans)
    group = max((side_by_side(network) for network in networks.values()), default=1)
    return [
        scan
        for first in range(0, len(chunk.scans), group)
        for scan in _probe_scans(plan, chunk.scans[first : first + group], read, networks, chunk.ranked)
    ]


class _Look(NamedTuple):
    """A scan with its voxels and regions, and what it is in numbers."""

    case: Case
    voxels: Voxels
    regions: Regions
    told: ProbedScan


def _probe_scans(
    plan: Study, rows: Sequence[ScanRow], read: Read, networks: dict[str, Network], ranked: frozenset[str]
) -> list[ProbedScan]:
    looks = [_look(plan, row, read) for row in rows]
    shown = [i for i, row in enumerate(rows) if row.subset == "test" and looks[i].regions.has_lungs]
    seen: dict[int, list[SeenBy]] = {i: [] for i in shown}
    for model, network in networks.items():
        parts = [_parts(plan, model, rows[i].site, rows[i].site in ranked) for i in shown]
        for i, made in zip(shown, _show(plan, model, network, [looks[i] for i in shown], parts), strict=True):
            seen[i].append(made)
    return [replace(look.told, models=tuple(seen.get(i, ()))) for i, look in enumerate(looks)]


def _look(plan: Study, row: ScanRow, read: Read) -> _Look:
    case, preparation = case_of(row), prepared_as(plan.preparation, row.facts)
    voxels = read(case, 0, case.slices)
    level = stored_level("HU" if preparation.encoding == "hu" else row.units, preparation.relative_window)
    regions = find_regions(voxels, level)
    told = ProbedScan(
        site=row.site,
        patient=row.patient,
        scan=row.scan,
        label=row.known_label,
        subset=row.subset,
        lungs_found=regions.has_lungs,
        lung_share=regions.lung_share,
        outside_found=regions.has_outside,
        numbers={name: [float(v) for v in found] for name, found in describe(voxels, regions, level).items()},
        models=(),
    )
    return _Look(case, voxels, regions, told)


def _parts(plan: Study, model: str, site: str, ranked: bool) -> tuple[str, ...]:
    """The parts that a model is shown at a site."""
    if not ranked:
        return ()
    return tuple(VIEWS) if site in plan.models[model] else ELSEWHERE


def _show(
    plan: Study, model: str, network: Network, looks: Sequence[_Look], parts: Sequence[Sequence[str]]
) -> list[SeenBy]:
    """What one model makes of scans in parts, each on the grey scale of its whole scan."""
    wanted = [
        (i, name)
        for i, names in enumerate(parts)
        for name in names
        if name != "border_only" or looks[i].regions.has_outside
    ]
    pictures = [(looks[i].case, partial(_slices, VIEWS[name](looks[i].voxels, looks[i].regions))) for i, name in wanted]
    windows = predict_many(network, pictures, plan.sample, plan.prediction.stride)
    answers: list[dict[str, float | None]] = [dict.fromkeys(VIEWS) for _ in looks]
    for (i, name), window in zip(wanted, windows, strict=True):
        answers[i][name] = float(window.max())
    return _seen(plan, model, network, looks, answers)


def _seen(
    plan: Study,
    model: str,
    network: Network,
    looks: Sequence[_Look],
    parts: Sequence[Mapping[str, float | None]],
) -> list[SeenBy]:
    """What one model makes of whole scans, and where it looks; beside its answers to their parts."""
    whole = [(look.case, partial(_slices, look.voxels)) for look in looks]
    if network.settings.kind != PAPER:  # no level whose gradients are known
        windows = predict_many(network, whole, plan.sample, plan.prediction.stride)
        features = [extract_features(network, *scan, plan.sample, plan.prediction.stride) for scan in whole]
        return [
            SeenBy(model, [float(v) for v in found], float(window.max()), answers)
            for found, window, answers in zip(features, windows, parts, strict=True)
        ]
    seen = []
    for look, saliency, answers in zip(
        looks, find_saliencies(network, whole, plan.sample, plan.prediction.stride), parts, strict=True
    ):
        share = saliency.share_inside(on_grid(look.regions.lungs, look.regions))
        seen.append(SeenBy(model, [float(v) for v in saliency.features], saliency.probability, answers, *share))
    return seen


def _slices(voxels: Voxels, _: Case, start: int, stop: int) -> Voxels:
    return np.ascontiguousarray(voxels[start:stop])

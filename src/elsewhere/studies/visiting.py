"""A kit and a hospital's folder in; the models' scores of its scans, as they may leave, out. No network is needed.

The scans are prepared, audited, predicted and scored as a study does it with a site for external validation, so that
every number is the one that the study would have got had it had the scans.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.errors import BadSite
from elsewhere.files import short_name
from elsewhere.model.batch import predict_spread, side_by_side
from elsewhere.model.cuda import device_of, fuse
from elsewhere.model.ensemble import mean_probability
from elsewhere.model.network import Network, versions
from elsewhere.model.network_settings import NetworkSettings
from elsewhere.model.prediction import measure_fast_error
from elsewhere.model.settings import TrainingSettings
from elsewhere.scans.scan import SplitSettings
from elsewhere.stages import stage
from elsewhere.statistics.estimate import outside
from elsewhere.statistics.roc import coarse_roc
from elsewhere.statistics.score import score_cell
from elsewhere.statistics.site_aucs import site_aucs
from elsewhere.studies.auditing import audit_study, print_audit
from elsewhere.studies.file import EvaluationSettings, Site, Study
from elsewhere.studies.folder import Folder
from elsewhere.studies.kit import Kit, KitModel, kit_networks
from elsewhere.studies.known_model import METADATA
from elsewhere.studies.prepared import cases, shelf_reader
from elsewhere.studies.preparing import prepare_study
from elsewhere.studies.records import ScanRow, read_scans
from elsewhere.studies.returned import FEWEST_IN_STEP, Return, VisitedCell, VisitedScans

TEST = "test"


@dataclass(frozen=True)
class Scored:
    """One model's probabilities of the hospital's scans.

    Attributes:
        single: without dropout (scans,).
        passes: over dropout passes (passes, scans).
    """

    single: NDArray[np.float64]
    passes: NDArray[np.float64]


def visit_site(
    path: Path, kit: Kit, site: Site, work: Path, *, day: str, workers: int | None = None
) -> tuple[Return, tuple[str, ...]]:
    """Prepare, audit, predict and score a hospital's scans with every model of a kit.

    Args:
        path: the kit.
        kit: what it says of itself.
        site: the hospital's scans; its name is the one that the return carries.
        work: folder for the prepared scans, which are patient data and stay there.
        day: on which it is computed (ISO).
        workers: processes; None means one per core.

    Returns:
        What may leave, and hashes of the voxels of the scans that it is of, which stay.

    Raises:
        BadSite: the folder or its labels table is wrong, no scan can be read, or every scan is one that a model of the
            kit learned from.
        BadStudy: no scan has a label.
        BadCheckpoint: a network of the kit is damaged, or not the one that the kit names.
    """
    folder = Folder(work / "sites" / short_name(site.name))
    prepare_study(_study(kit, replace(site, use="test"), work), folder, workers)
    findings = audit_study(folder, workers)
    print_audit(findings, folder)
    rows = read_scans(folder)
    labelled = [row for row in rows if row.usable and row.subset == TEST]
    fresh = [row for row in labelled if not _learned_from(kit, row)]
    if not fresh:
        what = f"holds {len(labelled)} labelled scans, and models of the kit learned from each of them"
        raise BadSite(site.root, what, "Give scans that no model of the kit was trained or chosen on")
    counts = _counts(folder, rows, fresh, len(labelled) - len(fresh))
    scored = _predicted(path, kit, fresh)
    aucs = site_aucs(*_columns(fresh), {name: one.single for name, one in scored.items()}) if _both(counts) else None
    rules = findings.confounding or () if aucs is not None else ()
    returned = Return(
        hospital=site.name,
        date=day,
        study=kit.study,
        kit=kit.number,
        counts=counts,
        cells=tuple(_cell(model, scored[model.name], fresh, counts) for model in kit.models),
        versions=versions(),
        aucs=aucs,
        rules=rules,
        outside=tuple(_outside(kit, fresh)) if counts.enough else (),
    )
    return returned, tuple(sorted(row.content_hash for row in fresh))


def _study(kit: Kit, site: Site, work: Path) -> Study:
    """The hospital as the only site of a study that trains nothing."""
    settings = kit.settings
    return Study(
        name="visit",
        title="visit",
        origin="real",
        notes=(),
        planted=(),
        protocol=kit.protocol,
        seed=settings.seed,
        allow_leak=True,
        store=work / "store",
        sites=(site,),
        combinations=(),
        split=SplitSettings(),
        preparation=settings.preparation,
        network=NetworkSettings(),
        sample=settings.sample,
        training=TrainingSettings(),
        prediction=settings.prediction,
        evaluation=EvaluationSettings(resamples=settings.resamples),
    )


def _learned_from(kit: Kit, row: ScanRow) -> bool:
    hashes = [one for one in (row.prepared_hash, row.content_hash) if one]
    return any(model.learned_on(one) for model in kit.models for one in hashes)


def _counts(folder: Folder, rows: Sequence[ScanRow], fresh: Sequence[ScanRow], learned_from: int) -> VisitedScans:
    labels, patients = _columns(fresh)
    with folder.bad_scans.open(encoding="utf-8", newline="") as file:
        unusable = sum(1 for _ in csv.reader(file)) - 1
    return VisitedScans(
        scans=len(fresh),
        patients=len(set(patients.tolist())),
        positives=int(labels.sum()),
        negatives=int((1 - labels).sum()),
        positive_patients=len(set(patients[labels == 1].tolist())),
        negative_patients=len(set(patients[labels == 0].tolist())),
        unlabelled=sum(row.usable and row.label is None for row in rows),
        unusable=unusable,
        copies=sum(not row.usable for row in rows),
        learned_from=learned_from,
    )


def _both(counts: VisitedScans) -> bool:
    """Whether a ranking may leave: two classes, and enough patients of each."""
    return counts.enough and min(counts.positives, counts.negatives) > 0


def _columns(rows: Sequence[ScanRow]) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Labels and patients in the order in which scans are predicted."""
    order = sorted(rows, key=lambda row: row.scan)
    return np.array([row.known_label for row in order], dtype=np.int64), np.array([row.patient for row in order])


def _cell(model: KitModel, scored: Scored, rows: Sequence[ScanRow], counts: VisitedScans) -> VisitedCell:
    if not counts.enough:
        return VisitedCell(model.name, model.checkpoint)
    labels, patients = _columns(rows)
    score = score_cell(
        labels,
        patients,
        scored.single,
        scored.passes if len(scored.passes) else None,
        operating_point=model.point,
        resamples=model.settings.resamples,
        seed=model.settings.seed,
    )
    points = coarse_roc(labels, patients, scored.single, FEWEST_IN_STEP).tolist() if _both(counts) else []
    return VisitedCell(model.name, model.checkpoint, score, tuple((false, true) for false, true in points))


def _outside(kit: Kit, rows: Sequence[ScanRow]) -> list[str]:
    """Names of the metadata of which most scans lie beyond all that the study knows: no value of a scan."""
    known = kit.models[0].metadata
    return [
        name for name in METADATA if outside([], [], {name: [getattr(row, name) for row in rows]}, {name: known[name]})
    ]


def _predicted(path: Path, kit: Kit, rows: Sequence[ScanRow]) -> Mapping[str, Scored]:
    """Every model of the kit on every scan, by the models' names."""
    tasks = [(path, kit, place, rows) for place in range(len(kit.models))]
    found = engine.run(predict_scans, tasks, workers=1, describe="Predicting", ticks=True)
    return {kit.models[place].name: scored for place, scored in found}


def predict_scans(
    path: Path, kit: Kit, place: int, rows: Sequence[ScanRow], tick: Callable[[float, str], None]
) -> Scored:
    """One model of a kit on every scan, as a study predicts its test scans.

    Raises:
        BadCheckpoint: the network is damaged, or not the one that the kit names.
        BadScan: a probability is not a number.
    """
    networks, model = kit_networks(path, kit, place), kit.models[place]
    settings = model.settings
    if len(networks) > 1:  # as a study scores them: the mean of probabilities, without dropout
        settings = replace(settings, prediction=replace(settings.prediction, passes=0))
    found = []
    for number, network in enumerate(networks):
        share = partial(_part, tick, number, len(networks))
        found.append(_of_network(network, replace(model, settings=settings), rows, share))
    if len(found) == 1:
        return found[0]
    return Scored(mean_probability([one.single for one in found]), found[0].passes)


def _part(tick: Callable[[float, str], None], done: int, of: int, share: float, text: str) -> None:
    tick((done + share) / of, text)


def _of_network(
    network: Network, model: KitModel, rows: Sequence[ScanRow], tick: Callable[[float, str], None]
) -> Scored:
    settings = model.settings
    if network.to(device_of(settings.accelerator)).last.weight.device.type == "cuda":
        fuse(network)
    read, chosen = shelf_reader(rows), cases(rows, {row.site for row in rows}, TEST)
    if settings.prediction.fast:
        error = measure_fast_error(network, chosen[0], read, settings.sample)
        engine.say(f"{model.name}: fast mode, logits change by {error:.1e}")
    single: list[float] = []
    passes: list[NDArray[np.float64]] = []
    together = side_by_side(network)
    for first in range(0, len(chosen), together):
        group = [(case, read) for case in chosen[first : first + together]]
        with stage("predict"):
            for windows, dropped in predict_spread(
                network, group, settings.sample, settings.prediction, seed=settings.seed
            ):
                single.append(float(windows.max()))
                passes.append(dropped)
        tick((first + len(group)) / len(chosen), model.name)
    return Scored(np.array(single), np.array(passes, dtype=np.float64).T)

"""A trained model of a study in; its probabilities for one site's validation and test scans out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from elsewhere import engine
from elsewhere.errors import BadStudy
from elsewhere.model.batch import predict_spread, side_by_side
from elsewhere.model.cuda import device_of, fuse
from elsewhere.model.network import load_checkpoint
from elsewhere.model.prediction import measure_fast_error
from elsewhere.records import read_record, write_record
from elsewhere.stages import stage
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder, default_folder
from elsewhere.studies.predictions import (
    PREDICTED,
    PredictionRow,
    prediction_rows,
    read_predictions,
    write_predictions,
)
from elsewhere.studies.kept import usable_rows
from elsewhere.studies.prepared import cases, shelf_reader


def predict(
    study: Annotated[Path, typer.Argument(help="Study file (TOML).")],
    model: Annotated[str, typer.Argument(help="Name of a trained model.")],
    site: Annotated[str, typer.Argument(help="Name of a site.")],
    out: Annotated[Path | None, typer.Argument(help="The study's folder [runs/NAME].")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time went, stage by stage.")] = False,
) -> None:
    """Predict one site's validation and test scans with one trained model of a study."""
    folder = Folder(out or default_folder(load_study(study)))
    task = (study, folder.root, model, site)
    with engine.profiled(profile):
        for _ in engine.run(predict_site, [task], workers=1, describe=f"{model} on {site}", ticks=True):
            engine.say(folder.predictions(model, site))


def predict_site(study_file: Path, out: Path, name: str, site: str, tick: Callable[[float, str], None]) -> None:
    """Write the predictions of the model `name` at `site`; predictions of the same weights are not made again."""
    study, folder = load_study(study_file), Folder(out)
    rows = [row for row in usable_rows(folder) if row.site == site]
    network, record = load_checkpoint(folder.model(name) / "checkpoint")
    path = folder.predictions(name, site)
    origin = _origin(study, record, rows)
    if _made_from(path) == origin:
        return
    torch.set_num_threads(study.training.threads or torch.get_num_threads())
    if network.to(device_of(study.training.accelerator)).last.weight.device.type == "cuda":
        fuse(network)
    read = shelf_reader(rows)
    chosen = [(subset, case) for subset in PREDICTED for case in cases(rows, [site], subset)]
    fast = study.prediction.fast
    error = measure_fast_error(network, chosen[0][1], read, study.sample) if fast and chosen else 0.0
    if fast:
        engine.say(f"{name} on {site}: fast mode, logits change by {error:.1e}")
    table: list[PredictionRow] = []
    once = replace(study.prediction, passes=0)
    together = side_by_side(network)
    for first in range(0, len(chosen), together):
        group = chosen[first : first + together]
        with stage("predict"):
            for subset, settings in (("validation", once), ("test", study.prediction)):
                scans = [(case, read) for of, case in group if of == subset]
                found = predict_spread(network, scans, study.sample, settings, seed=study.seed)
                for (case, _), (windows, passes) in zip(scans, found, strict=True):
                    table += prediction_rows(name, subset, case, windows, passes)
        tick((first + len(group)) / len(chosen), f"{name} on {site}")
    write_predictions(path, table)
    write_record(_sidecar(path), {"made_from": origin, "fast_error": error})


def _origin(study: Study, record: Mapping[str, Any], rows: Sequence[ScanRow]) -> str:
    """Hash of everything that the predictions depend on."""
    scans = [(row.patient, row.scan, row.subset, row.label, Path(row.file).name) for row in rows]
    content = [record["sha256"], asdict(study.sample), asdict(study.prediction), study.seed, scans]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _made_from(path: Path) -> str:
    """What the predictions were made from; nothing where they are missing or damaged, and are to be made again."""
    try:
        read_predictions(path)
        return str(read_record(_sidecar(path), "", ["made_from"])["made_from"])
    except BadStudy:
        return ""


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")

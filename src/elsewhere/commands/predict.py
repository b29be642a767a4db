"""A trained model of a study in; its probabilities for one site's validation and test scans out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
from elsewhere.studies.kept import VERSIONS, key
from elsewhere.studies.predictions import PREDICTED, PREDICTIONS, PredictionRow, prediction_rows, write_predictions
from elsewhere.studies.prepared import cases, shelf_reader
from elsewhere.studies.records import ScanRow, usable_rows


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
    network, record = load_checkpoint(folder.checkpoint(name))
    path = folder.predictions(name, site)
    inputs = _inputs(study, record, rows)
    if _is_current(path, inputs):
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
    if fast:
        write_record(_sidecar(path), {"fast_error": error})
    else:
        _sidecar(path).unlink(missing_ok=True)
    write_predictions(path, table, key("predictions", *inputs))


def _inputs(study: Study, record: Mapping[str, Any], rows: Sequence[ScanRow]) -> list[Any]:
    """Everything that the predictions depend on."""
    scans = [(row.patient, row.scan, row.subset, row.label, Path(row.file).name) for row in rows]
    return [record["sha256"], asdict(study.sample), asdict(study.prediction), study.seed, scans]


def _is_current(path: Path, inputs: Sequence[Any]) -> bool:
    """Whether whole predictions of these inputs are there; missing or damaged ones are to be made again."""
    with suppress(BadStudy):
        made_from = PREDICTIONS.made_from(path)
        if made_from or VERSIONS["predictions"] > 1:
            return made_from == key("predictions", *inputs)
        earlier = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()  # release 0.1.0 kept it beside the table
        return bool(read_record(_sidecar(path), "", ["made_from"])["made_from"] == earlier)
    return False


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")

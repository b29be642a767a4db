"""A trained model in; its probabilities of new scans, or of one site's validation and test scans, out."""

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
from elsewhere.commands import Workers
from elsewhere.errors import BadOption, BadStudy
from elsewhere.files import write_whole
from elsewhere.model.batch import predict_spread, side_by_side
from elsewhere.model.cuda import device_of, fuse
from elsewhere.model.network import load_checkpoint
from elsewhere.model.prediction import PredictionSettings, measure_fast_error
from elsewhere.records import read_record, write_record
from elsewhere.scans.sites import KINDS
from elsewhere.stages import stage
from elsewhere.statistics.estimate import outside
from elsewhere.studies import new_scans
from elsewhere.studies.exported import is_exported
from elsewhere.studies.file import Site, Study, load_study
from elsewhere.studies.fold_names import fold_of
from elsewhere.studies.folder import Folder, open_study
from elsewhere.studies.folds import as_seen_by
from elsewhere.studies.kept import VERSIONS, key
from elsewhere.studies.known_model import METADATA, KnownModel
from elsewhere.studies.needs import study_needs
from elsewhere.studies.new_scans import first_bad
from elsewhere.studies.new_site import find_scans, new_site, read_options
from elsewhere.studies.predictions import PREDICTED, PREDICTIONS, PredictionRow, prediction_rows, write_predictions
from elsewhere.studies.prepared import cases, shelf_reader
from elsewhere.studies.records import ScanRow, usable_rows
from elsewhere.studies.scan_features import predict_kept, scan_features
from elsewhere.studies.scores import Scores
from elsewhere.studies.trainings import check_device
from elsewhere.studies.which_model import named_model
from elsewhere.wording import numbered

ENDS = (".csv", ".json")


def predict(
    study: Annotated[Path, typer.Argument(help="Study (folder or file) of the model; or a model alone: a .zip.")],
    model: Annotated[str, typer.Argument(help="Name of the model in the study. With a .zip: the scans.")],
    scans: Annotated[
        str | None, typer.Argument(help="Folder of new scans (or a study file that has them); or a site of the study.")
    ] = None,
    folder: Annotated[Path | None, typer.Argument(help="With a site: the study's folder [runs/NAME].")] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="File to write, .csv or .json [printed as CSV].")] = None,
    kind: Annotated[str | None, typer.Option(help=f"File format of new scans: {', '.join(KINDS)} [dicom].")] = None,
    labels: Annotated[Path | None, typer.Option(help="Table that names scans and patients; none is needed.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Site option KEY=VALUE, as units=HU; repeatable.")] = None,
    site: Annotated[str | None, typer.Option(help="Site of a study file with new scans [the only one].")] = None,
    workers: Workers = None,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time went, stage by stage.")] = False,
) -> Scores | None:
    """Probabilities of new scans, no labels needed; or of a study's own site, as a cluster asks for. Research use only.

    A scan that cannot be used is a row with its reason. With a site of the study, its validation and test scans are
    predicted into the study's folder, and nothing is printed.
    """
    with engine.profiled(profile):
        if scans is not None and _is_site(study, scans):
            plan, place = open_study(study, folder)
            check_device(plan)
            task = (study, place.root, model, scans)
            needs = study_needs(plan, place, accelerator=plan.training.accelerator, also=[study.resolve()])
            words = f"{model} on {scans}"
            for _ in engine.run(predict_site, [task], workers=1, describe=words, ticks=True, needs=needs):
                engine.say(place.predictions(model, scans))
            return None
        if out is not None and out.suffix.lower() not in ENDS:
            raise BadOption("--out", f"is {out}", f"Give a file that ends in {' or '.join(ENDS)}")
        known, rest = named_model([study, model, scans, folder], "the folder of the scans is")
        new = new_site(Path(rest[0]), kind, labels, read_options(option or ()), site)
        found = predict_new(known, new, workers)
    _leave(found, out)
    return found


def _is_site(study: Path, name: str) -> bool:
    """Whether a word is the name of a site of the study, and no folder that is spelt as one."""
    if is_exported(study) or (study / "checkpoint.json").is_file() or "/" in name:
        return False
    return name in {site.name for site in load_study(study).sites}


def predict_new(model: KnownModel, site: Site, workers: int | None = None) -> Scores:
    """Prepare and predict the scans of a site that the model does not know; labels are neither needed nor used.

    Raises:
        BadSite: the folder holds no readable scan.
        BadCheckpoint: the model's weights are missing or damaged.
    """
    found = find_scans(site)
    store = model.folder.verdicts / "store"
    rows, bad = new_scans.predict_site(model, site, found, store, workers, skip_known=False)
    metadata = {name: [r.metadata[name] for r in rows] for name in METADATA}
    return Scores(
        model=model.name,
        trained_on=model.trained_on,
        site=site.name,
        point=model.point,
        adjusted="" if model.adjustment is None else model.adjustment.source,
        scans=tuple(rows),
        unused=tuple(bad),
        warnings=(*outside([], [], metadata, model.metadata), *found.notes),
        checkpoint=model.checkpoint,
        origin=model.origin,
        finding=model.finding,
    )


def _leave(found: Scores, out: Path | None) -> None:
    """Write the rows, or print them; say what is remarkable."""
    if out is None:
        engine.tell(found.to_csv().rstrip("\n"))
    elif out.suffix.lower() == ".json":
        write_whole(out, json.dumps(found.to_record(), indent=1))
    else:
        write_whole(out, found.to_csv())
    for words in found.warnings:
        engine.say(words, "Note:", "yellow")
    if found.unused:
        count = numbered(len(found.unused), "scan")
        engine.say(f"{count} could not be used; the first: {first_bad(found.unused)}")
    engine.say(f"{numbered(len(found.scans), 'scan')} predicted. Research use only.", f"{found.model}:")


def predict_site(study_file: Path, out: Path, name: str, site: str, tick: Callable[[float, str], None]) -> None:
    """Write the predictions of the model `name` at `site`; predictions of the same weights are not made again."""
    study, folder = load_study(study_file), Folder(out)
    rows = [row for row in as_seen_by(name, usable_rows(folder)) if row.site == site]
    network, record = load_checkpoint(folder.checkpoint(name), study.network)
    path = folder.predictions(name, site)
    once = replace(study.prediction, passes=0)
    several = fold_of(name)[1] or name in study.arm_networks  # they have each other for a spread
    prediction = once if several else study.prediction
    inputs = _inputs(study, record, rows, prediction)
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
    wanted = {(case.site, case.scan) for _, case in chosen}
    own = [row for row in rows if (row.site, row.scan) in wanted]
    encoded = scan_features(study, own) if study.network.is_pretrained else None
    table: list[PredictionRow] = []
    together = side_by_side(network)
    for first in range(0, len(chosen), together):
        group = chosen[first : first + together]
        with stage("predict"):
            for subset, settings in (("validation", once), ("test", prediction)):
                scans = [(case, read) for of, case in group if of == subset]
                found = (
                    predict_kept(network, encoded, scans, settings, study.seed)
                    if encoded
                    else predict_spread(network, scans, study.sample, settings, seed=study.seed)
                )
                for (case, _), (windows, passes) in zip(scans, found, strict=True):
                    table += prediction_rows(name, subset, case, windows, passes)
        tick((first + len(group)) / len(chosen), f"{name} on {site}")
    if fast:
        write_record(_sidecar(path), {"fast_error": error})
    else:
        _sidecar(path).unlink(missing_ok=True)
    write_predictions(path, table, key("predictions", *inputs))


def _inputs(
    study: Study, record: Mapping[str, Any], rows: Sequence[ScanRow], prediction: PredictionSettings
) -> list[Any]:
    """Everything that the predictions depend on."""
    scans = [(row.patient, row.scan, row.subset, row.label, Path(row.file).name) for row in rows]
    return [record["sha256"], asdict(study.sample), asdict(prediction), study.seed, scans]


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

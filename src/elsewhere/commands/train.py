"""Train one network of a prepared study, and warn where its kept weights are no better than a constant answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.errors import BadStudy
from elsewhere.kept import read_scans
from elsewhere.model import training
from elsewhere.model.network import read_checkpoint_record, versions
from elsewhere.model.sample import Case, Read, hash_cases
from elsewhere.plan import Folder, Study, default_folder, load_study
from elsewhere.scans.scan import split_hash
from elsewhere.scans.store import Shelf
from elsewhere.stages import stage


def train(
    study: Annotated[Path, typer.Argument(help="Study file (TOML).")],
    model: Annotated[str, typer.Argument(help="Name of the model: its training sites joined by '+'.")],
    out: Annotated[Path | None, typer.Argument(help="The study's folder [runs/NAME].")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time went, stage by stage.")] = False,
) -> None:
    """Train one model of a prepared study; started again it goes on where it was killed."""
    folder = Folder(out or default_folder(load_study(study)))
    with engine.profiled(profile):
        for _, warnings in engine.run(
            train_model, [(study, folder.root, model)], workers=1, describe=model, ticks=True
        ):
            engine.say(folder.model(model), f"{model}:")
            print_warnings(model, warnings)


def print_warnings(model: str, warnings: Collection[str]) -> None:
    """Say what the choice of a network's weights warns of."""
    for warning in warnings:
        engine.say(f"{model}: {warning}.", "Warning:", "yellow")


def train_model(study_file: Path, out: Path, name: str, tick: Callable[[float, str], None]) -> list[str]:
    """Train the model `name` of a study into its folder; a finished training is not repeated.

    Returns:
        What the choice of its weights warns of, as its checkpoint records it.

    Raises:
        BadStudy: there is no such model, or its training sites give too few scans or classes.
    """
    study, folder = load_study(study_file), Folder(out)
    if name not in {**study.models, **study.repeats}:
        raise BadStudy(
            study_file, f"has no model {name!r}", f"Its models: {', '.join([*study.models, *study.repeats])}"
        )
    job = _job(study, folder, name, usable_rows(folder))
    stem = training.train_job(replace(job, progress=lambda done, total, text: tick(done / total, f"{name} {text}")))
    found: list[str] = read_checkpoint_record(stem).get("selection", {}).get("warnings", [])
    return found


def _job(study: Study, folder: Folder, name: str, rows: Collection[dict[str, Any]]) -> training.Job:
    sites = study.trained_on(name)
    return training.Job(
        study.network,
        study.sample,
        study.training_of(name),
        cases(rows, sites, "train"),
        cases(rows, sites, "validation"),
        shelf_reader(rows),
        folder.model(name),
        checkpoint_record(study, name, rows),
        None,
        study.prediction.stride,
    )


def check_trainings(study: Study, folder: Folder, rows: Collection[dict[str, Any]], *, whole: bool) -> None:
    """Refuse what begun or finished trainings of a study do not go on with; nothing is written.

    Args:
        study: as it is now.
        folder: its folder, with the trainings.
        rows: the usable scans as they are now.
        whole: compare everything that decides a training's result, and not only its scans, labels and preparation.

    Raises:
        BadStudy: names the training, and what has changed.
        BadCheckpoint: a training's state is damaged.
    """
    for name in [*study.models, *study.repeats]:
        training.check_kept(_job(study, folder, name, rows), whole=whole)


def check_trained_scans(
    folder: Folder,
    name: str,
    sites: Sequence[str],
    record: Mapping[str, Any],
    rows: Collection[dict[str, Any]],
) -> None:
    """Refuse a model that learned from other scans, labels or another split than scans.parquet has now.

    Args:
        folder: the study's.
        name: of the model.
        sites: its training sites.
        record: what its checkpoint says; those of earlier versions do not say which scans they are of.
        rows: the usable scans of scans.parquet.

    Raises:
        BadStudy: names the model and the way back.
    """
    for subset, known in zip(("train", "validation"), training.scan_hashes_of(record), strict=True):
        if known and known != hash_cases(cases(rows, sites, subset)):
            raise BadStudy(
                folder.scans,
                f"is not what {name} learned from: its {subset} scans, their labels or the split have changed since",
                f"Restore them and run `elsewhere prepare` again, or remove {folder.model(name)} and run "
                "`elsewhere study` to train it anew",
            )


def checkpoint_record(study: Study, name: str, rows: Collection[dict[str, Any]]) -> dict[str, Any]:
    """What a checkpoint says of itself, besides its network and sample settings.

    The split hash is that of the training sites alone, so that adding a hospital leaves finished trainings valid.
    """
    own = [r for r in rows if r["site"] in study.trained_on(name)]
    return {
        "model": name,
        "study": study.name,
        "origin": study.origin,
        "protocol": study.protocol,
        "training_sites": list(study.trained_on(name)),
        "preparation": asdict(study.preparation),
        "split_hash": split_hash({(r["site"], r["scan"]): r["subset"] for r in own}),
        "versions": versions(),
    }


def usable_rows(folder: Folder) -> list[dict[str, Any]]:
    """The rows of a study's scans that can be used."""
    return [row for row in read_scans(folder) if row["status"] == "ok"]


def cases(rows: Collection[dict[str, Any]], sites: Collection[str], subset: str) -> list[Case]:
    """The labelled scans of some sites and one subset, in a fixed order."""
    chosen = [r for r in rows if r["site"] in sites and r["subset"] == subset]
    return [
        Case(r["site"], r["patient"], r["scan"], r["label"], r["slices"], r["minimum"], r["maximum"])
        for r in sorted(chosen, key=lambda r: (r["site"], r["scan"]))
    ]


def shelf_reader(rows: Collection[dict[str, Any]]) -> Read:
    """A function that reads windows of the stored volumes."""
    shelf = Shelf({(r["site"], r["scan"]): Path(r["file"]) for r in rows})

    def read(case: Case, start: int, stop: int) -> NDArray[np.int16] | NDArray[np.uint8]:
        with stage("load window"):
            return shelf.read(case.site, case.scan, start, stop)

    return read

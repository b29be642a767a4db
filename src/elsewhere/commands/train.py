"""Train one network of a prepared study, and warn where its kept weights are no better than a constant answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.errors import BadStudy
from elsewhere.model import training
from elsewhere.model.network import read_checkpoint_record
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder, open_study
from elsewhere.studies.needs import study_needs
from elsewhere.studies.records import usable_rows
from elsewhere.studies.trainings import check_device, training_job


def train(
    study: Annotated[Path, typer.Argument(help="Study file (TOML), or the folder of a study that was run.")],
    model: Annotated[str, typer.Argument(help="Name of the model: its training sites joined by '+'.")],
    out: Annotated[Path | None, typer.Argument(help="The study's folder [runs/NAME].")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time went, stage by stage.")] = False,
) -> Path:
    """Train one model of a prepared study; started again it goes on where it was killed. Gives the model's folder."""
    plan, folder = open_study(study, out)
    check_device(plan)
    with engine.profiled(profile):
        for _, warnings in engine.run(
            train_model,
            [(study, folder.root, model)],
            workers=1,
            describe=model,
            ticks=True,
            needs=training_needs([(plan, study, folder)]),
        ):
            engine.say(folder.model(model), f"{model}:")
            print_warnings(model, warnings)
    return folder.model(model)


def training_needs(studies: Sequence[tuple[Study, Path, Folder]]) -> engine.Needs:
    """What the trainings and predictions of some studies need of a machine: of all of them together.

    Args:
        studies: each study, its file and its folder.
    """
    parts = [
        study_needs(
            plan, folder, accelerator=plan.training.accelerator, devices=plan.training.devices, also=[file.resolve()]
        )
        for plan, file, folder in studies
    ]
    asked = {part.accelerator for part in parts}
    accelerator = "cuda" if "cuda" in asked else "auto" if "auto" in asked else "cpu"
    return engine.Needs(
        tuple(path for part in parts for path in part.reads),
        tuple(path for part in parts for path in part.writes),
        accelerator,
        max(part.devices for part in parts),
    )


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
    if name not in study.trainings:
        raise BadStudy(
            study_file,
            f"has no model {name!r}",
            f"Choose one of its models: {', '.join(study.trainings)}",
        )
    job = training_job(study, folder, name, usable_rows(folder))
    stem = training.train_job(replace(job, progress=lambda done, total, text: tick(done / total, f"{name} {text}")))
    found: list[str] = read_checkpoint_record(stem).get("selection", {}).get("warnings", [])
    return found

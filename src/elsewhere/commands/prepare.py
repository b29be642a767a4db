"""`elsewhere prepare`: raw scans of a study's sites into the store, with the list of scans and the audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.commands import Workers
from elsewhere.studies.folder import open_study
from elsewhere.studies.preparing import prepare_study


def prepare(
    study: Annotated[Path, typer.Argument(help="Study file (TOML), or the folder of a study that was run.")],
    out: Annotated[Path | None, typer.Argument(help="Folder for the results [runs/NAME].")] = None,
    workers: Workers = None,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time went, stage by stage.")] = False,
) -> Path:
    """Read, check and store the scans of every site; print and keep the audit. Gives the study's folder."""
    plan, folder = open_study(study, out)
    with engine.profiled(profile):
        prepare_study(plan, folder, workers)
    return folder.root

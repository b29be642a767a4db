"""`elsewhere export`: a trained model as one file that may leave the house."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elsewhere.files import short_name
from elsewhere.studies.exported import save_model
from elsewhere.studies.which_model import named_model


def export(
    study: Annotated[
        Path, typer.Argument(help="Study (folder or file) of the model, or its folder STUDY/models/NAME.")
    ],
    model: Annotated[str | None, typer.Argument(help="Name of the model in the study.")] = None,
    file: Annotated[Path | None, typer.Argument(help="File to write [MODEL.zip].")] = None,
) -> Path:
    """Write a trained model as one .zip that may leave the house: no patient id, path or UID inside.

    It holds weights, settings, thresholds, home scores without ids, ranges of the metadata and a model card. Every
    command that takes a model takes such a file. Research use only.
    """
    known, rest = named_model([study, model, file])
    target = Path(rest[0]) if rest else Path(f"{short_name(known.name)}.zip")
    save_model(known, target)
    return target

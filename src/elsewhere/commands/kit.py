"""`elsewhere kit`: models of a study as one file that a hospital runs on its own scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.studies.folder import folder_of
from elsewhere.studies.kit import make_kit
from elsewhere.wording import numbered


def kit(
    study: Annotated[Path, typer.Argument(help="Study (folder or file) that trained the models.")],
    models: Annotated[list[str] | None, typer.Argument(help="Names of its models [all].")] = None,
    *,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("kit.zip"),
    hospital: Annotated[str, typer.Option(help="Name of the hospital, for the study's page [the visit's].")] = "",
) -> Path:
    """Write networks of a study as one .zip for a hospital whose scans may not leave: it runs `elsewhere visit`.

    The kit holds weights, settings, thresholds, versions and hashes; no patient id, path, UID or score of a scan.
    Research use only.
    """
    made = make_kit(folder_of(study), models or (), hospital, out)
    count, size = numbered(len(made.models), "network"), f"{out.stat().st_size / 1e6:.1f} MB"
    engine.say(f"{out} ({size}): {count}, kit {made.number[:12]}; no patient id, path or UID is inside", "Written:")
    return out

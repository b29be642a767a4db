"""`elsewhere kit`: models of a study as one file that a hospital runs on its own scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.studies.folder import folder_of
from elsewhere.studies.kit import make_kit
from elsewhere.studies.nvflare_job import check_job, write_job
from elsewhere.wording import numbered


def kit(
    study: Annotated[Path, typer.Argument(help="Study (folder or file) that trained the models.")],
    models: Annotated[list[str] | None, typer.Argument(help="Names of its models [all].")] = None,
    *,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("kit.zip"),
    hospital: Annotated[str, typer.Option(help="Name of the hospital, for the study's page [the visit's].")] = "",
    nvflare: Annotated[Path | None, typer.Option(help="Also write the folder of an NVFlare job [none].")] = None,
) -> Path:
    """Write models of a study as one .zip for a hospital whose scans may not leave: it runs `elsewhere visit`.

    The kit holds weights, settings, thresholds, versions and hashes; no patient id, path, UID or score of a scan.
    Research use only.
    """
    if nvflare is not None:
        check_job(nvflare)
    made = make_kit(folder_of(study), models or (), hospital, out)
    count, size = numbered(len(made.models), "model"), f"{out.stat().st_size / 1e6:.1f} MB"
    engine.say(f"{out} ({size}): {count}, kit {made.number[:12]}; no patient id, path or UID is inside", "Written:")
    if nvflare is not None:
        write_job(out, nvflare)
        engine.say(f"{nvflare}: an NVFlare job that runs the visit at every client", "Written:")
    return out

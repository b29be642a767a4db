"""`elsewhere audit`: how well metadata alone predict a study's labels, and its duplicate and corrupted scans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from elsewhere.commands import Workers
from elsewhere.studies.auditing import PERMUTATIONS, audit_study, print_audit
from elsewhere.studies.file import Study
from elsewhere.studies.folder import Folder, open_study
from elsewhere.studies.preparing import prepare_study
from elsewhere.studies.records import read_scans


def audit(
    study: Annotated[Path, typer.Argument(help="Study file (TOML), or the folder of a study that was run.")],
    out: Annotated[Path | None, typer.Argument(help="The study's folder [runs/NAME].")] = None,
    workers: Workers = None,
    permutations: Annotated[int, typer.Option(min=19, help="Label permutations behind each p-value.")] = PERMUTATIONS,
) -> Path:
    """Before training: test whether metadata alone predict the label; find duplicate and corrupted scans.

    Prepares the study first where that has not been done. Leaks are reported, not refused. Research use only.
    """
    plan, folder = open_study(study, out)
    if not _is_prepared(plan, folder):
        prepare_study(replace(plan, allow_leak=True), folder, workers)
    print_audit(audit_study(folder, workers, permutations), folder)
    return folder.audit


def _is_prepared(plan: Study, folder: Folder) -> bool:
    if not (folder.scans.is_file() and folder.audit.is_file()):
        return False
    rows = read_scans(folder)
    return {row.site for row in rows} == {site.name for site in plan.sites} and all(
        row.prepared_hash and Path(row.file).is_file() for row in rows
    )

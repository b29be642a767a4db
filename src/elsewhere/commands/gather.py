"""`elsewhere gather`: what hospitals sent back, checked and taken into a study and its page."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.commands.report import report
from elsewhere.studies.folder import folder_of
from elsewhere.studies.records import read_identity
from elsewhere.studies.returned import check_return, check_together, keep_return, read_return, read_returns


def gather(
    study: Annotated[Path, typer.Argument(help="Study (folder or file) that made the kits.")],
    returns: Annotated[list[Path], typer.Argument(help="Files that hospitals sent back (return.json).")],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="A hospital's new return takes the place of its older one.")
    ] = False,
) -> Path:
    """Take returns of `elsewhere visit` into a study, and write its page with their cells. Research use only.

    A return is refused where it is damaged or changed, where this study did not make its kit, where a model was
    trained anew since, and where its scans are there already. Either all are taken or none.
    """
    folder = folder_of(study)
    read_identity(folder)
    given = [(path, read_return(path)) for path in returns]
    for path, found in given:
        check_return(folder, path, found)
    check_together(given, read_returns(folder), replacing=replace)
    for path, found in given:
        keep_return(folder, path, found)
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        engine.say(f"{found.counts.words}, computed on {found.date} (SHA-256 {sha[:16]})", f"{found.hospital}:")
    return report([folder.root])

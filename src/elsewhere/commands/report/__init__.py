"""The records of one or several studies in; one page, its figures and its tables out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.commands.report.assembly import names_of, study_of
from elsewhere.commands.report.cells import read_cells
from elsewhere.commands.report.comparisons import between_protocols
from elsewhere.files import shown_path
from elsewhere.pages import report as page
from elsewhere.studies.folder import Folder
from elsewhere.studies.records import read_identity

PAPER_SITES = ("UTSW", "CC-CCII", "COVID-CTset", "MosMedData")


def report(
    studies: Annotated[list[Path], typer.Argument(help="Folders of studies, to be shown side by side.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the page [the first study's].")] = None,
) -> None:
    """Write `report.html`, every figure as SVG and PNG, and every table as CSV. Research use only."""
    folders = [Folder(path) for path in studies]
    identities = [read_identity(folder) for folder in folders]
    settings = [identity["settings"] for identity in identities]
    cells = [read_cells(f, i) for f, i in zip(folders, identities, strict=True)]
    shown = [study_of(f, i, c) for f, i, c in zip(folders, identities, cells, strict=True)]
    pairs, first = list(zip(shown, cells, strict=True)), settings[0]
    content = page.Report(
        title=first["title"],
        studies=shown,
        protocols=between_protocols(pairs),
        origin=first["origin"],
        published=all(site in names_of(first) for site in PAPER_SITES),
        planted=first["planted"],
        notes=first["notes"],
        command=shlex.join(
            ["elsewhere", "report", *map(shown_path, studies), *(["--out", shown_path(out)] if out else [])]
        ),
    )
    target = out or folders[0].root
    page.write_report(content, target)
    engine.say(target / "report.html", "The page:")

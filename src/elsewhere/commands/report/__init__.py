"""The records of one or several studies in; one page, its figures and its tables out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.commands.report.assembly import study_of
from elsewhere.commands.report.cells import read_cells
from elsewhere.commands.report.comparisons import between_protocols
from elsewhere.commands.report.kept_study import read_study
from elsewhere.files import shown_path
from elsewhere.pages import report as page
from elsewhere.studies.folder import folder_of


def report(
    studies: Annotated[list[Path], typer.Argument(help="Studies (folders or files), to be shown side by side.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the page [the first study's].")] = None,
) -> Path:
    """Write `report.html`, every figure as SVG and PNG, and every table as CSV. Research use only."""
    folders = [folder_of(path) for path in studies]
    kept = [read_study(folder) for folder in folders]
    cells = [read_cells(f, k) for f, k in zip(folders, kept, strict=True)]
    shown = [study_of(f, k, c) for f, k, c in zip(folders, kept, cells, strict=True)]
    protocols, means = between_protocols(list(zip(shown, cells, strict=True)))
    content = page.Report(
        title=kept[0].settings.title,
        studies=shown,
        protocols=protocols,
        protocol_means=means,
        command=shlex.join(
            ["elsewhere", "report", *map(shown_path, studies), *(["--out", shown_path(out)] if out else [])]
        ),
    )
    target = out or folders[0].root
    page.write_report(content, target)
    engine.say(target / "report.html", "The page:")
    return target / "report.html"

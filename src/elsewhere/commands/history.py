"""`elsewhere history`: all kept evaluations of a product in one table and one plot, with the stop rule."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from elsewhere.studies.history import History, print_history, read_history, write_history


def history(
    folder: Annotated[Path, typer.Argument(help="Folder that `elsewhere evaluate --keep` was given.")],
) -> History:
    """Is a product still what was accepted? Its evaluations over time, control charts, versions. Research use only.

    Exit codes: 0 no alarm, 12 below what is required (stop), 14 worse than it was, 20 changed, or nothing can be said
    yet, 1 error.
    """
    found = write_history(folder, *read_history(folder), shlex.join(["elsewhere", "history", folder.name]))
    print_history(found, folder)
    return found

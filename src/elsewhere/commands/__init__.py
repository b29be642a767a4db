"""The verbs: one file is one sub-command is one public function."""

from __future__ import annotations

from typing import Annotated

import typer

Workers = Annotated[int | None, typer.Option(min=1, help="Processes [all cores].")]
"""How many processes a command uses; none and fewer are refused by all of them alike."""

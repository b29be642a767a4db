"""The verbs: one file is one sub-command is one public function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

Workers = Annotated[int | None, typer.Option(min=1, help="Processes [all cores].")]
"""How many processes a command uses; none and fewer are refused by all of them alike."""

LeastAuc = Annotated[float | None, typer.Option(help="Discrimination (AUC) to reach [0.80].")]
LeastSensitivity = Annotated[float | None, typer.Option(help="Sensitivity to reach [0.70].")]
LeastSpecificity = Annotated[float | None, typer.Option(help="Specificity to reach [0.70].")]
NetBenefitAt = Annotated[
    float | None, typer.Option(help="Threshold probability at which the net benefit must exceed treat-all and -none.")
]
"""Requirements that a user states, alike for a model of a study and for any product."""


def split_names(given: Sequence[str] | None) -> list[str]:
    """Names that a user gave with commas between, or one by one, or both; each once, in their order.

    >>> split_names(["A, B", "C", "A"]), split_names(None)
    (['A', 'B', 'C'], [])
    """
    words = [word.strip() for text in given or () for word in text.split(",")]
    return list(dict.fromkeys(word for word in words if word))

"""Names of a model's fold networks and of their ensemble."""

from __future__ import annotations

import re

FOLD = re.compile(r"(?P<model>.+)~fold(?P<number>[0-9]+)")


def fold_name(model: str, number: int) -> str:
    """Name of the training of one fold, from 1.

    >>> fold_name("A+B", 3)
    'A+B~fold3'
    """
    return f"{model}~fold{number}"


def ensemble_name(model: str) -> str:
    """Name of the mean over the fold networks of a model.

    >>> ensemble_name("A+B")
    'A+B~folds'
    """
    return f"{model}~folds"


def fold_of(name: str) -> tuple[str, int]:
    """Model and fold of a fold's training; the name itself and 0 of any other.

    >>> fold_of("A+B~fold3"), fold_of("A+B~folds"), fold_of("A~3")
    (('A+B', 3), ('A+B~folds', 0), ('A~3', 0))
    """
    found = FOLD.fullmatch(name)
    return (found["model"], int(found["number"])) if found else (name, 0)

"""The model that a command names: an exported model, a model's folder in its study, or a study and a name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.model.network import read_checkpoint_record
from elsewhere.studies.exported import is_exported, read_model
from elsewhere.studies.folder import folder_of
from elsewhere.studies.known_model import KnownModel, trained_model

FORMS = "MODEL (an exported .zip, or STUDY/models/NAME), or STUDY NAME"


def named_model(words: Sequence[str | Path | None], then: str = "") -> tuple[KnownModel, list[str]]:
    """The model that the first word, or the first two, name; and the words after it.

    Args:
        words: as they are given; None for those that are not.
        then: what the words after it are, for the message where one is missing.

    Raises:
        BadStudy: no such study or model, or a word too few.
        BadCheckpoint: the file is no exported model, or damaged.
    """
    given = [str(word) for word in words if word is not None]
    first = Path(given[0])
    if is_exported(first):
        found, rest = read_model(first), given[1:]
    elif (first / "checkpoint.json").is_file():
        found, rest = _model_in_study(first), given[1:]
    else:
        root = folder_of(first).root
        if len(given) < 2:
            raise BadStudy(first, "is a study: no model is named", f"Give {FORMS}")
        found, rest = trained_model(root, given[1]), given[2:]
    if then and not rest:
        raise BadStudy(given[-1], f"{then} not given", f"Give {FORMS}, then {then.removesuffix(' is')}")
    return found, rest


def _model_in_study(folder: Path) -> KnownModel:
    name = str(read_checkpoint_record(folder / "checkpoint").get("model", folder.name))
    study = folder.resolve().parent.parent
    try:
        return trained_model(study, name)
    except BadStudy as error:
        if (study / "study.json").is_file():
            raise
        what = f"is a model whose study is not in {study}"
        raise BadCheckpoint(folder, what, "Give the model where its study lies, or export it there") from error

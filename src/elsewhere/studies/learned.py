"""Whether each model of a study learned: its predictions of its training sites' validation scans, judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import typer

from elsewhere import engine
from elsewhere.errors import BadStudy
from elsewhere.statistics.learned import Learned, judge_learned
from elsewhere.studies.file import Study
from elsewhere.studies.folder import Folder, read_table, write_table
from elsewhere.studies.kept import predictions_hash
from elsewhere.studies.predictions import validation_at_home

DEGENERATE = 30
"""Exit code where all was done, but a model learned nothing."""

LINE = "\n"
"""Between the sentences of one column."""


def learned_models(folder: Folder, models: Mapping[str, Sequence[str]]) -> dict[str, Learned]:
    """Judge every model by the validation scans of its training sites (`judge_learned`).

    Args:
        folder: the study's folder, predictions and all.
        models: name of each model -> its training sites (`Study.models`, or `models` of study.json).

    Raises:
        BadStudy: predictions are missing or damaged, or no validation scan of a model's training sites was predicted.
    """
    return {name: _judge(folder, name, sites) for name, sites in models.items()}


def _judge(folder: Folder, model: str, sites: Sequence[str]) -> Learned:
    found = validation_at_home(folder, model, sites)
    if not len(found):
        raise BadStudy(
            folder.predictions(model, sites[0]),
            f"holds no validation scan of {', '.join(sites)}, so that nothing tells whether {model} learned",
            "Keep validation scans at the training sites ([split]), and run the study again",
        )
    return judge_learned(found.labels, found.people, found.sites, found.probabilities)


def write_learned(folder: Folder, judged: Mapping[str, Learned], models: Mapping[str, Sequence[str]]) -> None:
    """Keep the judgements of models, whose training sites are given, one row per model (`learned.parquet`)."""
    rows = [
        {
            "model": model,
            "degenerate": found.degenerate,
            **asdict(found),
            "reasons": LINE.join(found.reasons),
            "remarks": LINE.join(found.remarks),
            "made_from": predictions_hash(folder, [model], models[model]),
        }
        for model, found in judged.items()
    ]
    write_table(folder.learned, rows)


def read_learned(folder: Folder, models: Mapping[str, Sequence[str]]) -> dict[str, Learned]:
    """The judgements that the study kept; where none is of the predictions as they are, it is made from them.

    Raises:
        BadStudy: as `learned_models`, for a model without a kept judgement.
    """
    kept = read_table(folder.learned) if folder.learned.is_file() else []
    whole = [row for row in kept if row["model"] in models and all(field.name in row for field in fields(Learned))]
    rows = {
        row["model"]: row
        for row in whole
        if row.get("made_from") in {None, predictions_hash(folder, [row["model"]], models[row["model"]])}
    }
    missing = learned_models(folder, {name: sites for name, sites in models.items() if name not in rows})
    return {name: missing[name] if name in missing else _learned(rows[name]) for name in models}


def stop_if_unlearned(studies: Sequence[tuple[Study, Folder]]) -> None:
    """End with exit code 30 where a model of a finished study did not learn, and say which, further trainings too.

    Raises:
        typer.Exit: code 30.
        BadStudy: as `read_learned`.
    """
    named = unlearned(studies)
    if named:
        engine.say(f"{', '.join(named)} (exit code {DEGENERATE}; the pages say why).", "Did not learn:", "bold")
        raise typer.Exit(DEGENERATE)


def unlearned(studies: Sequence[tuple[Study, Folder]]) -> list[str]:
    """Names of the models that did not learn, with their study where there are several.

    Raises:
        BadStudy: as `read_learned`.
    """
    return [
        f"{name} ({plan.name})" if len(studies) > 1 else name
        for plan, folder in studies
        for name, found in read_learned(folder, {n: plan.trained_on(n) for n in (*plan.models, *plan.repeats)}).items()
        if found.degenerate
    ]


def _learned(row: Mapping[str, Any]) -> Learned:
    values = {field.name: row[field.name] for field in fields(Learned)}
    return Learned(**{**values, **{key: tuple(filter(None, row[key].split(LINE))) for key in ("reasons", "remarks")}})

"""Whether each model of a study learned: its predictions of its training sites' validation scans, judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elsewhere import engine
from elsewhere.errors import BadStudy
from elsewhere.model.network import read_checkpoint_record
from elsewhere.model.selection import chosen_among
from elsewhere.rows import LearnedRow
from elsewhere.statistics.learned import Learned, judge_learned
from elsewhere.statistics.selected import Selected
from elsewhere.studies.file import Study
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import key
from elsewhere.studies.predictions import validation_at_home
from elsewhere.studies.records import LEARNED

DEGENERATE = 30
"""Exit code where all was done, but a model learned nothing."""


def learned_models(folder: Folder, models: Mapping[str, Sequence[str]]) -> dict[str, Learned]:
    """Judge every model by the validation scans of its training sites (`judge_learned`).

    Args:
        folder: the study's folder, predictions and all.
        models: name of each model -> its training sites (`Study.models`, or `models` of study.json).

    Raises:
        BadStudy: predictions are missing or damaged, or no validation scan of a model's training sites was predicted.
        BadCheckpoint: the record of a model's weights is damaged.
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
    columns = found.labels, found.people, found.sites, found.probabilities
    return judge_learned(*columns, selected=selection_of(folder, model))


def write_learned(folder: Folder, judged: Mapping[str, Learned], models: Mapping[str, Sequence[str]]) -> None:
    """Keep the judgements of models, whose training sites are given, one row per model (`learned.parquet`)."""
    rows = [
        LearnedRow(
            model=name, degenerate=found.degenerate, **vars(found), made_from=_key(folder, name, models[name], found)
        )
        for name, found in judged.items()
    ]
    LEARNED.write(folder.learned, rows)


def _key(folder: Folder, model: str, sites: Sequence[str], judged: Learned) -> str:
    """Of the predictions and of the choice of the weights; of the choice that was judged where the weights are gone."""
    if (selected := selection_of(folder, model)) is None and judged.checks:
        selected = Selected(judged.checks, judged.by_chance)
    chosen = None if selected is None else [selected.checks, selected.p]
    return key("learned", model, list(sites), [folder.predictions(model, site) for site in sites], chosen)


def selection_of(folder: Folder, model: str) -> Selected | None:
    """What a model's weights were chosen among; None where its record is gone: predictions can be judged without it."""
    stem = folder.checkpoint(model)
    return chosen_among(read_checkpoint_record(stem)) if stem.with_suffix(".json").is_file() else None


def read_learned(folder: Folder, models: Mapping[str, Sequence[str]]) -> dict[str, Learned]:
    """The judgements that the study kept; where none is of the predictions as they are, it is made from them.

    Raises:
        BadStudy: as `learned_models`, for a model without a kept judgement.
    """
    kept = {row.model: row for row in (LEARNED.read(folder.learned) if folder.learned.is_file() else [])}
    current = {
        n: r.learned for n, r in kept.items() if n in models and r.made_from == _key(folder, n, models[n], r.learned)
    }
    return current | learned_models(folder, {name: sites for name, sites in models.items() if name not in current})


def say_unlearned(studies: Sequence[tuple[Study, Folder]]) -> tuple[str, ...]:
    """Say which models of finished studies did not learn, further trainings too; their names.

    Raises:
        BadStudy: as `read_learned`.
    """
    named = unlearned(studies)
    if named:
        engine.say(f"{', '.join(named)} (exit code {DEGENERATE}; the pages say why).", "Did not learn:", "bold")
    return tuple(named)


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

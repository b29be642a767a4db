"""Whether each model of a study learned: its predictions of its training sites' validation scans, judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elsewhere.errors import BadStudy
from elsewhere.evidence.learned import Learned, judge_learned
from elsewhere.model.prediction import DETERMINISTIC, read_predictions
from elsewhere.plan import Folder


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
    rows = [row for site in sites for row in read_predictions(folder.predictions(model, site))]
    rows = [row for row in rows if row["subset"] == "validation" and row["pass"] == DETERMINISTIC]
    if not rows:
        raise BadStudy(
            folder.predictions(model, sites[0]),
            f"holds no validation scan of {', '.join(sites)}, so that nothing tells whether {model} learned",
            "Keep validation scans at the training sites ([split]), and run the study again",
        )
    return judge_learned(
        [row["label"] for row in rows],
        [f"{row['site']}/{row['patient']}" for row in rows],
        [row["site"] for row in rows],
        [row["probability"] for row in rows],
    )

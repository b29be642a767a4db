"""What a study's trainings are made from, and whether those that are begun or finished still fit it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from elsewhere.engine import is_here
from elsewhere.errors import BadStudy
from elsewhere.model import training
from elsewhere.model.cuda import device_of
from elsewhere.model.network import versions
from elsewhere.model.sample import hash_cases
from elsewhere.scans.scan import split_hash
from elsewhere.studies.file import Study
from elsewhere.studies.fold_names import fold_of
from elsewhere.studies.folder import Folder
from elsewhere.studies.folds import as_seen_by
from elsewhere.studies.prepared import cases, grid_reader, shelf_reader
from elsewhere.studies.records import ScanRow
from elsewhere.studies.scan_features import scan_features


def check_device(plan: Study) -> None:
    """Refuse at once what would fail after preparing. Raises BadStudy where CUDA is asked for and there is none.

    Other machines than this one are asked for a card when they are needed.
    """
    if is_here() and plan.training.accelerator == "cuda" and device_of("cuda") == "cpu":
        what = "is 'cuda', but this machine has no CUDA device that torch sees"
        raise BadStudy("training.accelerator", what, 'Use "auto" or "cpu", or run it where there is a GPU')


def training_job(study: Study, folder: Folder, name: str, rows: Collection[ScanRow]) -> training.Job:
    """The training of the model `name` into its folder, from the usable scans of its sites."""
    sites, rows = study.trained_on(name), as_seen_by(name, rows)
    used = [
        row for row in rows if row.site in sites and row.subset in {"train", "validation"} and row.label is not None
    ]
    return training.Job(
        study.network,
        study.sample,
        study.training_of(name),
        cases(rows, sites, "train"),
        cases(rows, sites, "validation"),
        shelf_reader(rows),
        folder.model(name),
        checkpoint_record(study, name, sites, rows),
        None,
        study.prediction.stride,
        grid_of=grid_reader(rows, study.preparation),
        features=partial(scan_features, study, used) if study.network.is_pretrained else None,
    )


def check_trainings(study: Study, folder: Folder, rows: Collection[ScanRow], *, whole: bool) -> None:
    """Refuse what begun or finished trainings of a study do not go on with; nothing is written.

    Args:
        study: as it is now.
        folder: its folder, with the trainings.
        rows: the usable scans as they are now.
        whole: compare everything that decides a training's result, and not only its scans, labels and preparation.

    Raises:
        BadStudy: names the training, and what has changed.
        BadCheckpoint: a training's state is damaged.
    """
    for name in study.trainings:
        try:
            training.check_kept(training_job(study, folder, name, rows), whole=whole)
        except BadStudy as error:
            if not fold_of(name)[1]:
                raise
            then = f"{error.next_step}. Where it was `split.folds` that changed: --restart puts aside what was trained"
            raise BadStudy(error.where, error.what, then) from error


def check_trained_scans(
    folder: Folder,
    name: str,
    sites: Sequence[str],
    record: Mapping[str, Any],
    rows: Collection[ScanRow],
) -> None:
    """Refuse a model that learned from other scans, labels or another split than scans.parquet has now.

    Args:
        folder: the study's.
        name: of the model.
        sites: its training sites.
        record: what its checkpoint says; those of earlier versions do not say which scans they are of.
        rows: the usable scans of scans.parquet.

    Raises:
        BadStudy: names the model and the way back.
    """
    for subset, known in zip(("train", "validation"), training.scan_hashes_of(record), strict=True):
        if known and known != hash_cases(cases(rows, sites, subset)):
            raise BadStudy(
                folder.scans,
                f"is not what {name} learned from: its {subset} scans, their labels or the split have changed since",
                f"Restore them and run `elsewhere prepare` again, or remove {folder.model(name)} and run "
                "`elsewhere study` to train it anew",
            )


def checkpoint_record(study: Study, name: str, sites: Sequence[str], rows: Collection[ScanRow]) -> dict[str, Any]:
    """What a checkpoint says of itself, besides its network and sample settings.

    The split hash is that of the training sites alone, so that adding a hospital leaves finished trainings valid.
    """
    own = [r for r in rows if r.site in sites]
    return {
        "model": name,
        "study": study.name,
        "origin": study.origin,
        "protocol": study.protocol,
        "training_sites": list(sites),
        "preparation": asdict(study.preparation),
        "split_hash": split_hash({(r.site, r.scan): r.subset for r in own}),
        "versions": versions(),
        **({"finding": study.finding} if study.finding else {}),
    }

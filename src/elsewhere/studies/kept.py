"""A study's folder in; its scans, identity, audit and scores out, each whole and each fitting the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from elsewhere.errors import BadStudy
from elsewhere.records import read_record
from elsewhere.studies.folder import Folder, read_table
from elsewhere.studies.records import SCANS, ScanRow

Row = dict[str, Any]
IDENTITY = ("settings", "models", "versions", "split_hash")
AUDIT = ("counts", "facts", "duplicates", "leaks", "site_only_auc", "warnings", "notes", "copies_left_out", "repaired")


def read_scans(folder: Folder) -> list[ScanRow]:
    """The rows of scans.parquet; `file` is the path of the prepared volume as this machine has it.

    Raises:
        BadStudy: the table is missing, damaged or of another format.
    """
    return [replace(row, file=str(folder.volume(row.file))) for row in SCANS.read(folder.scans)]


def usable_rows(folder: Folder) -> list[ScanRow]:
    """The rows of a study's scans that can be used; raises as `read_scans`."""
    return [row for row in read_scans(folder) if row.usable]


def read_identity(folder: Folder) -> dict[str, Any]:
    """What study.json says.

    Raises:
        BadStudy: there is none, or it is damaged.
    """
    if not folder.study.is_file():
        raise BadStudy(folder.root, "holds no study (study.json is missing)", "Run `elsewhere study` into it first")
    return read_record(folder.study, "Run `elsewhere study` again: finished trainings are kept", IDENTITY)


def read_audit(folder: Folder) -> dict[str, Any]:
    """What audit.json says.

    Raises:
        BadStudy: there is none, or it is damaged.
    """
    return read_record(folder.audit, "Run `elsewhere prepare` again: scans in the store are not read again", AUDIT)


def read_findings(path: Path) -> list[Row]:
    """What `elsewhere diagnose` found, from its findings.json; nothing where it was not run.

    Raises:
        BadStudy: the file is damaged.
    """
    if not path.is_file():
        return []
    with suppress(ValueError):  # earlier versions kept a bare list
        if isinstance(found := json.loads(path.read_bytes()), list):
            return found
    findings: list[Row] = read_record(path, "Run `elsewhere diagnose` again", ["findings"])["findings"]
    return findings


def predictions_hash(folder: Folder, models: Iterable[str], sites: Iterable[str], scoring: object = None) -> str:
    """What is made from predictions keeps this, so that it is known when it no longer belongs to them.

    Args:
        folder: the study's.
        models: trainings whose predictions count.
        sites: where they count.
        scoring: JSON-able settings that also decide the result.
    """
    names, sites = list(models), list(sites)
    paths = [folder.predictions(name, site) for name in names for site in sites]
    content = [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in paths]
    return hashlib.sha256(json.dumps([names, sites, content, scoring], sort_keys=True).encode()).hexdigest()[:32]


def scores_hash(folder: Folder, models: Iterable[str], settings: Mapping[str, Any]) -> str:
    """The same of scores: at all sites of the study, whose validation scans give thresholds, and how they are scored.

    Args:
        folder: the study's.
        models: a model, and its further trainings where these are scored with it.
        settings: of the study, as study.json has them.
    """
    sites = [site["name"] for site in settings["sites"]]
    return predictions_hash(folder, models, sites, [settings["evaluation"], settings["seed"]])


def read_scores(folder: Folder, identity: Mapping[str, Any]) -> list[Row]:
    """The rows of scores.parquet, which must be made from the predictions and settings that lie beside them.

    Args:
        folder: the study's.
        identity: its study.json.

    Raises:
        BadStudy: the table is missing, damaged, or made from other predictions.
    """
    return _made_from(folder.scores, lambda name: scores_hash(folder, [name], identity["settings"]))


def read_seed_scores(folder: Folder, identity: Mapping[str, Any]) -> list[Row]:
    """The rows of seeds.parquet, as `read_scores`; none where the study trains with one seed."""
    further = identity["settings"].get("seeds", ())[1:]

    def current(name: str) -> str:
        return scores_hash(folder, [name, *(f"{name}~{seed}" for seed in further)], identity["settings"])

    return _made_from(folder.seeds, current) if folder.seeds.is_file() else []


def _made_from(path: Path, current: Callable[[str], str]) -> list[Row]:
    """A table's rows; refused where their predictions have changed since. Earlier versions did not keep their hash."""
    rows = read_table(path, ("model", "site"))
    for name, made_from in {row["model"]: row.pop("made_from", None) for row in rows}.items():
        if made_from is not None and made_from != current(name):
            raise BadStudy(
                path,
                f"does not belong to the predictions of {name}, or to [evaluation], in this folder: they have changed",
                "Run `elsewhere study` again: it scores them anew and keeps trainings and predictions",
            )
    return rows


def forget(path: Path) -> None:
    """Remove what a refused run left in a folder, so that it is not taken for what stands now."""
    for file in path.glob("*") if path.is_dir() else ():
        file.unlink()
    if path.is_dir():
        path.rmdir()

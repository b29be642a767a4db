"""Each model's scores at home and elsewhere in; where accuracy was lost, and what local scans would bring, out.

Both tables are kept in the study's folder (`decomposition.parquet`, `local_scans.parquet`), and made again only when
predictions, thresholds or settings have changed: each row carries the fingerprint of what it was made from.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.commands.report.cells import Cell, Cells
from elsewhere.pages import report as page
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.decomposition import decompose, relearn
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.strata import age_and_sex
from elsewhere.studies.folder import Folder, read_table, write_table
from elsewhere.studies.kept import read_scans

Row = dict[str, Any]

SIZES, DRAWS, RESAMPLES = (10, 30, 100), 100, 1000
MADE = 2
"""Raised when the same scores give other rows, so that kept ones are made again."""
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
LARGEST_SHARE = 0.5  # of a site's test scans that may be taken for labelling, so that enough are left to try it on


@dataclass(frozen=True)
class Trial:
    """One model, its home and one site it never saw.

    Attributes:
        model: the model's name.
        site: the new site.
        home: the training sites whose test scans are home.
        ours: (labels, patients, probabilities) at home.
        theirs: the same at the new site.
        strata: stratum of each scan at home and there; None where age or sex is not known for all.
        point: the model's operating point, chosen at home.
    """

    model: str
    site: str
    home: tuple[str, ...]
    ours: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    theirs: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    strata: tuple[NDArray[Any], NDArray[Any]] | None
    point: OperatingPoint


def drops(
    folder: Folder,
    cells: Cells,
    models: Sequence[page.Model],
    scores: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> list[Row]:
    """Where each model lost accuracy between home and each site it never saw (`evidence.decomposition`)."""
    path = folder.root / "decomposition.parquet"
    return _kept(
        path, _key(cells, models, scores, settings), lambda: map(_drop, _trials(folder, cells, models, scores))
    )


def local_gains(
    folder: Folder,
    cells: Cells,
    models: Sequence[page.Model],
    scores: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> list[Row]:
    """What merely a new threshold, or a recalibration, from n local labelled scans would give at each unseen site."""
    path = folder.root / "local_scans.parquet"

    def make() -> Iterable[Row]:
        return (row for trial in _trials(folder, cells, models, scores) for row in _local(trial))

    return _kept(path, _key(cells, models, scores, settings), make)


def _kept(path: Path, key: str, make: Callable[[], Iterable[Row]]) -> list[Row]:
    if path.is_file():
        found = read_table(path)
        if found and all(row["made_from"] == key for row in found):
            return found
    rows = [{**row, "made_from": key} for row in make()]
    try:
        if rows:
            write_table(path, rows)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in CLOSED:  # a folder that may only be read still has its page, elsewhere
            raise
    return rows


def _key(
    cells: Cells,
    models: Sequence[page.Model],
    scores: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> str:
    seen = hashlib.sha256(
        json.dumps([MADE, SIZES, DRAWS, RESAMPLES, settings["seed"], [m.name for m in models]]).encode()
    )
    for (model, site), cell in cells.items():
        seen.update(json.dumps([model, site, cell.scans.tolist(), cell.labels.tolist()]).encode())
        seen.update(cell.probabilities.tobytes())
    seen.update(json.dumps([_point_of(r) for r in scores if r["threshold_reading"] == "model"]).encode())
    return seen.hexdigest()[:16]


def _point_of(record: Mapping[str, Any]) -> list[Any]:
    return [record["model"], record["site"], record["threshold"], record["threshold_rule"]]


def operating_points(scores: Sequence[Mapping[str, Any]]) -> dict[str, OperatingPoint]:
    """Each model's own operating point (reading a), from its score records."""
    own = [r for r in scores if r["threshold_reading"] == "model"]
    nan = float("nan")
    return {r["model"]: OperatingPoint(r["threshold"], r["threshold_rule"], "model", nan, 0) for r in own}


def _trials(
    folder: Folder, cells: Cells, models: Sequence[page.Model], scores: Sequence[Mapping[str, Any]]
) -> Iterable[Trial]:
    points, strata = operating_points(scores), _strata(folder)
    for model in models:
        home = tuple(s for s in model.trained_on if cells[model.name, s].two_classes)
        there = [s for (m, s), cell in cells.items() if m == model.name and cell.two_classes]
        for site in there:
            if home and site not in model.trained_on:
                ours, theirs = _pooled(cells, model.name, home), _pooled(cells, model.name, (site,))
                kinds = (_kinds(strata, cells, model.name, home), _kinds(strata, cells, model.name, (site,)))
                known = kinds if all(kind is not None for side in kinds for kind in side) else None
                yield Trial(model.name, site, home, ours, theirs, known, points[model.name])


def _pooled(
    cells: Cells, model: str, sites: Sequence[str]
) -> tuple[NDArray[Any], NDArray[np.str_], NDArray[np.float64]]:
    """Columns of several sites together; patients of two sites are never the same."""
    found: list[tuple[str, Cell]] = [(site, cells[model, site]) for site in sites]
    patients = [np.array([f"{site}/{patient}" for patient in cell.patients]) for site, cell in found]
    labels, probabilities = ([getattr(c, k) for _, c in found] for k in ("labels", "probabilities"))
    return np.concatenate(labels), np.concatenate(patients), np.concatenate(probabilities)


def _strata(folder: Folder) -> dict[tuple[str, str], str | None]:
    return {(r.site, r.scan): age_and_sex(r.facts) for r in read_scans(folder)}


def _kinds(
    strata: Mapping[tuple[str, str], str | None], cells: Cells, model: str, sites: Sequence[str]
) -> NDArray[Any]:
    return np.array([strata.get((s, scan)) for s in sites for scan in cells[model, s].scans.tolist()], dtype=object)


def _drop(trial: Trial) -> Row:
    found = decompose(trial.ours, trial.theirs, trial.point, trial.strata, resamples=RESAMPLES)
    intervals = {
        "home_accuracy": found.home,
        "accuracy": found.elsewhere,
        "drop": found.drop,
        "case_mix": found.case_mix,
        "threshold": found.threshold,
        "threshold_held": found.threshold_held,
        "calibration": found.calibration,
        "ranking": found.ranking,
    }
    row = {"model": trial.model, "site": trial.site, "home": " + ".join(trial.home)}
    return row | _columns(intervals) | {"largest": found.largest, "note": found.note, "method": found.drop.method}


def _local(trial: Trial) -> Iterable[Row]:
    labels, patients, probabilities = trial.theirs
    sizes = [n for n in SIZES if n <= LARGEST_SHARE * len(labels) and len(set(patients.tolist())) > 1]
    for found in relearn(labels, patients, probabilities, sizes, point=trial.point, draws=DRAWS):
        parts = {"as_is": found.as_is, "rethresholded": found.rethresholded, "recalibrated": found.recalibrated}
        row = {"model": trial.model, "site": trial.site, "scans": found.scans, "draws": found.draws}
        losses = {
            "log_loss_as_is": found.log_loss_as_is,
            "log_loss_recalibrated": found.log_loss_recalibrated,
        }
        yield row | _columns(parts) | losses


def _columns(intervals: Mapping[str, Interval | None]) -> Row:
    row: Row = {}
    for name, interval in intervals.items():
        values = (interval.estimate, interval.low, interval.high) if interval else (None, None, None)
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return row

"""Each model's scores at home and elsewhere in; where accuracy was lost, and what local scans would bring, out.

Both tables are kept in the study's folder (`decomposition.parquet`, `local_scans.parquet`), and made again only when
predictions, thresholds or strata have changed (`studies.kept`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.commands.report.cells import Cell, Cells
from elsewhere.pages import report as page
from elsewhere.rows import DropRow, LocalRow, ScoreRow
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.decomposition import decompose, relearn
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.strata import age_and_sex
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import content, keep_rows, key
from elsewhere.studies.records import DROPS, LOCAL, ScanRow

SIZES, DRAWS, RESAMPLES = (10, 30, 100), 100, 1000
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


def losses(
    folder: Folder, scans: Sequence[ScanRow], cells: Cells, models: Sequence[page.Model], scores: Sequence[ScoreRow]
) -> tuple[list[DropRow], list[LocalRow]]:
    """What each model lost between home and each site it never saw, and what local labelled scans would give back.

    Returns:
        where accuracy was lost (`statistics.decomposition`), and what merely a new threshold, or a recalibration, from
        n local scans would give.
    """
    trials = list(_trials(scans, cells, models, scores))
    inputs = _inputs(folder, cells, trials)
    wanted = key("decomposition", RESAMPLES, *inputs)
    lost = keep_rows(DROPS, folder.decomposition, wanted, lambda: map(_drop, trials))
    wanted = key("local scans", SIZES, DRAWS, *inputs)
    given = keep_rows(LOCAL, folder.local_scans, wanted, lambda: (row for trial in trials for row in _local(trial)))
    return lost, given


def _inputs(folder: Folder, cells: Cells, trials: Sequence[Trial]) -> list[Any]:
    """What both tables are made from: predictions, operating points and strata."""
    predictions = [content(folder.predictions(model, site)) for model, site in cells]
    points = [(t.model, t.site, t.home, t.point.threshold, t.point.rule) for t in trials]
    return [list(cells), predictions, points, [t.strata and [kinds.tolist() for kinds in t.strata] for t in trials]]


def operating_points(scores: Sequence[ScoreRow]) -> dict[str, OperatingPoint]:
    """Each model's own operating point (reading a), from its scores."""
    return {r.model: r.point for r in scores if r.threshold_reading == "model"}


def _trials(
    scans: Sequence[ScanRow], cells: Cells, models: Sequence[page.Model], scores: Sequence[ScoreRow]
) -> Iterable[Trial]:
    points = operating_points(scores)
    strata = {(r.site, r.scan): age_and_sex(r.facts) for r in scans}
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


def _kinds(
    strata: Mapping[tuple[str, str], str | None], cells: Cells, model: str, sites: Sequence[str]
) -> NDArray[Any]:
    return np.array([strata.get((s, scan)) for s in sites for scan in cells[model, s].scans.tolist()], dtype=object)


def _drop(trial: Trial) -> DropRow:
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
    said: dict[str, Any] = {"largest": found.largest, "note": found.note, "method": found.drop.method}
    said["discriminates"] = found.discriminates
    return DropRow(model=trial.model, site=trial.site, home=" + ".join(trial.home), **_columns(intervals), **said)


def _local(trial: Trial) -> Iterable[LocalRow]:
    labels, patients, probabilities = trial.theirs
    sizes = [n for n in SIZES if n <= LARGEST_SHARE * len(labels) and len(set(patients.tolist())) > 1]
    for found in relearn(labels, patients, probabilities, sizes, point=trial.point, draws=DRAWS):
        parts = {"as_is": found.as_is, "rethresholded": found.rethresholded, "recalibrated": found.recalibrated}
        yield LocalRow(
            model=trial.model,
            site=trial.site,
            scans=found.scans,
            draws=found.draws,
            **_columns(parts),
            log_loss_as_is=found.log_loss_as_is,
            log_loss_recalibrated=found.log_loss_recalibrated,
        )


def _columns(intervals: Mapping[str, Interval | None]) -> dict[str, Any]:
    """The estimate and the ends of each interval, by the names of their columns."""
    row: dict[str, Any] = {}
    for name, interval in intervals.items():
        values = (interval.estimate, interval.low, interval.high) if interval else (None, None, None)
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return row

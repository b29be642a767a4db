"""Predictions of a study as columns: each scan's probability without dropout and in each dropout pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from elsewhere.errors import BadScan, BadStudy
from elsewhere.model.sample import Case
from elsewhere.studies.fold_names import fold_of
from elsewhere.studies.folder import Folder
from elsewhere.studies.folds import as_seen_by
from elsewhere.studies.records import usable_rows
from elsewhere.table_format import TableFormat, column

PREDICTED = ("validation", "test")
"""Subsets that are predicted."""

DETERMINISTIC = -1
"""The pass number of a prediction without dropout."""

Standing = tuple[str, int | None, str]
"""Subset, label and patient of a scan."""


@dataclass(frozen=True)
class PredictionRow:
    """One scan in one pass.

    Attributes:
        model: name of the training.
        site: where the scan is from.
        subset: "validation" or "test".
        patient: whose it is.
        scan: its id.
        label: 1 or 0.
        windows: windows that covered it.
        dropout_pass: `DETERMINISTIC`, or the number of the pass with dropout; `pass` in the file.
        probability: of COVID, the highest over the windows.
    """

    model: str
    site: str
    subset: str
    patient: str
    scan: str
    label: Annotated[int, pa.int8()]
    windows: Annotated[int, pa.int32()]
    dropout_pass: Annotated[int, pa.int32()] = field(metadata=column("pass"))
    probability: float


PREDICTIONS = TableFormat(
    "predictions",
    1,
    PredictionRow,
    "Run `elsewhere study` again: it predicts what is missing or damaged, and keeps the rest",
)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted scans, one entry per scan and pass; every column is (entries,), in the order of the file.

    Attributes:
        sites: where each scan is from.
        subsets: "validation" or "test".
        patients: patient ids, unique within a site.
        scans: scan ids, unique within a site.
        labels: 1 or 0.
        passes: `DETERMINISTIC`, or the number of the dropout pass.
        probabilities: of COVID.
    """

    sites: NDArray[np.str_]
    subsets: NDArray[np.str_]
    patients: NDArray[np.str_]
    scans: NDArray[np.str_]
    labels: NDArray[np.int64]
    passes: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scans)

    def where(self, chosen: ArrayLike) -> Predictions:
        """The entries chosen, by a mask or by their numbers in a new order."""
        taken = np.asarray(chosen)
        return Predictions(*(getattr(self, f.name)[taken] for f in fields(self)))

    def subset(self, name: str) -> Predictions:
        """The entries of one subset."""
        return self.where(self.subsets == name)

    @property
    def deterministic(self) -> Predictions:
        """The entries without dropout: one per scan."""
        return self.where(self.passes == DETERMINISTIC)

    @property
    def people(self) -> NDArray[np.str_]:
        """SITE/PATIENT of each entry: patients of two sites are never the same."""
        return np.array([f"{s}/{p}" for s, p in zip(self.sites, self.patients, strict=True)], dtype=np.str_)

    @property
    def dropout_table(self) -> NDArray[np.float64]:
        """Probabilities with dropout (passes, scans), scans of one site in the order of `deterministic`; NaN if absent.

        Without dropout passes the table has no rows.
        """
        scans = {scan: i for i, scan in enumerate(self.deterministic.scans.tolist())}
        dropout = self.where(self.passes != DETERMINISTIC)
        table = np.full((dropout.passes.max(initial=-1) + 1, len(scans)), np.nan)
        table[dropout.passes, [scans[scan] for scan in dropout.scans.tolist()]] = dropout.probabilities
        return table


def join_predictions(tables: Sequence[Predictions]) -> Predictions:
    """The entries of several tables, one after the other."""
    return Predictions(*(np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(Predictions)))


def prediction_rows(
    model: str,
    subset: str,
    case: Case,
    windows: NDArray[np.float64],
    passes: Sequence[float] | NDArray[np.float64] = (),
) -> list[PredictionRow]:
    """The table's rows of one scan: its deterministic prediction, then its dropout passes.

    Args:
        model: name of the model.
        subset: "validation" or "test".
        case: the scan.
        windows: probability of each window, from `predict`.
        passes: probability in each pass, from `predict_passes`.
    """
    scan = (model, case.site, subset, case.patient, case.scan, case.label, len(windows))
    numbered = [(DETERMINISTIC, windows.max()), *enumerate(passes)]
    return [PredictionRow(*scan, number, float(probability)) for number, probability in numbered]


def write_predictions(path: Path, rows: Sequence[PredictionRow], made_from: str = "") -> None:
    """Write the predictions of one model at one site; the file appears whole or not at all.

    Args:
        path: the file.
        rows: of every scan and pass.
        made_from: key of the weights, scans and settings.

    Raises:
        BadScan: a probability is not a number in 0..1.
    """
    for row in rows:
        if not 0 <= row.probability <= 1:
            raise BadScan(
                f"{row.site}: {row.scan}",
                f"the probability of model {row.model} is {row.probability}, expected 0 to 1",
                "Look at the training's curves, and predict again",
            )
    PREDICTIONS.write(path, rows, made_from)


def read_predictions(path: Path) -> Predictions:
    """A predictions table, whatever the table of scans says (`fitting_predictions` compares them).

    Raises:
        BadStudy: the file is missing, damaged, of another format or has other columns.
    """
    table = PREDICTIONS.read_columns(path)

    def texts(name: str) -> NDArray[np.str_]:
        return np.array(table[name].to_pylist(), dtype=np.str_)

    return Predictions(
        sites=texts("site"),
        subsets=texts("subset"),
        patients=texts("patient"),
        scans=texts("scan"),
        labels=table["label"].to_numpy().astype(np.int64),
        passes=table["pass"].to_numpy().astype(np.int64),
        probabilities=table["probability"].to_numpy(),
    )


def fitting_predictions(folder: Folder, model: str, site: str) -> Predictions:
    """The predictions of one model at one site, which must be of the scans, labels and split of scans.parquet.

    Raises:
        BadStudy: they are missing, damaged or of other scans.
    """
    path = folder.predictions(model, site)
    found = read_predictions(path)
    of = model if fold_of(model)[1] else ""
    known = _known_scans(folder, of, *_state(folder.scans)).get(site, {})
    standings = zip(found.subsets.tolist(), found.labels.tolist(), found.patients.tolist(), strict=True)
    seen: dict[str, Standing] = dict(zip(found.scans.tolist(), standings, strict=True))
    for scan in [*known, *seen]:
        if seen.get(scan) != known.get(scan):
            raise BadStudy(
                path,
                f"is older than scans.parquet, or newer: scan {scan!r} is {_words(seen.get(scan))} in the predictions, "
                f"{_words(known.get(scan))} in the table of scans",
                "Run `elsewhere study` again: it predicts what has changed and keeps the rest",
            )
    return found


def validation_at_home(folder: Folder, model: str, trained_on: Iterable[str]) -> Predictions:
    """Predictions without dropout of the validation scans of a model's training sites; raises as `fitting_predictions`.

    Thresholds are chosen on these scans, and whether the model learned is judged by them.
    """
    tables = [fitting_predictions(folder, model, site) for site in trained_on]
    return join_predictions(tables).subset("validation").deterministic


def _words(standing: Standing | None) -> str:
    if standing is None:
        return "not there"
    subset, label, patient = standing
    return f"a {subset} scan of patient {patient!r} with label {label}"


def _state(path: Path) -> tuple[int, int]:
    """Time of the last change and size; both 0 where there is no file."""
    if not path.is_file():
        return 0, 0
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@lru_cache(maxsize=4)
def _known_scans(
    folder: Folder,
    fold: str,
    changed: int,  # noqa: ARG001 - the key
    size: int,  # noqa: ARG001 - the key
) -> dict[str, dict[str, Standing]]:
    """Site -> scan -> how it stands in the table for the network of a fold ("" any other), of those predicted."""
    sites: dict[str, dict[str, Standing]] = {}
    for row in as_seen_by(fold, usable_rows(folder)):
        if row.subset in PREDICTED:
            sites.setdefault(row.site, {})[row.scan] = (row.subset, row.label, row.patient)
    return sites

"""A training's validations in; curves.csv, TensorBoard events and (where it is set up) an MLflow run out."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elsewhere.errors import BadOption
from elsewhere.files import write_whole
from elsewhere.model.selection import Check

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ARTIFACTS = ("curves.csv", "checkpoint.json", "checkpoint.safetensors")
"""What an MLflow run gets of a finished training; none of it holds a patient id or a path of a scan."""

COLUMNS = ("iteration", "training_loss", "validation_accuracy", "validation_log_loss", "validation_auc")

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""MLflow's own are 7 and 120 s, doubled at each try: minutes without a word where a server is gone."""


class Curves:
    """Where each validation is shown.

    The CSV is written whole from the training's state each time, so that a resumed training leaves the same bytes
    as one that was never stopped. MLflow is used where `mlflow` is installed and MLFLOW_TRACKING_URI is set.

    Args:
        folder: the model's folder.
        rows: the validations so far, from the state.
        tensorboard: also write TensorBoard events.
        settings: parameters of a new MLflow run, each a name and a settings dataclass, as "training" and its settings.
    """

    def __init__(
        self,
        folder: Path,
        rows: Sequence[Check],
        *,
        tensorboard: bool,
        settings: Sequence[tuple[str, DataclassInstance]] = (),
    ) -> None:
        self._folder, self._events = folder, None
        write_csv(folder / "curves.csv", rows)
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - only where it is wanted

            self._events = SummaryWriter(folder / "tensorboard", purge_step=rows[-1][0] + 1 if rows else None)
        self._mlflow = _start_mlflow(folder, settings)

    def add(self, rows: Sequence[Check]) -> None:
        """Show the last of these rows."""
        write_csv(self._folder / "curves.csv", rows)
        iteration, *values = rows[-1]
        for name, value in zip(COLUMNS[1:], values, strict=True):
            if self._events and value is not None:
                self._events.add_scalar(name, value, iteration)
        if self._mlflow:
            self._mlflow.add(iteration, values)

    def close(self) -> None:
        """Flush what is still under way; an MLflow run gets the curves, the weights and their record as artifacts."""
        if self._events:
            self._events.close()
        if self._mlflow:
            self._mlflow.close([self._folder / name for name in ARTIFACTS])


class MlflowRun:
    """A run that MLflow has open; a server that goes away costs its numbers, never the training.

    Args:
        mlflow: the module.
        name: of the model, for the message.
    """

    def __init__(self, mlflow: Any, name: str) -> None:
        self._mlflow, self._name, self._lost = mlflow, name, False

    def add(self, iteration: int, values: Sequence[float | None]) -> None:
        """Log the values of one validation, in the order of `COLUMNS`."""
        found = {name: value for name, value in zip(COLUMNS[1:], values, strict=True) if value is not None}
        self._try(lambda: self._mlflow.log_metrics(found, step=iteration))

    def close(self, files: Sequence[Path]) -> None:
        """Log the files that are there, and end the run."""
        for file in files:
            if file.is_file():
                self._try(partial(self._mlflow.log_artifact, str(file)))
        self._try(self._mlflow.end_run)

    def _try(self, act: Callable[[], object]) -> None:
        if self._lost:
            return
        try:
            act()
        except Exception as error:  # whatever a client, a database or a disk of others does
            self._lost = True
            what = f"{self._name}: MLflow takes no more numbers ({type(error).__name__}: {str(error)[:200]})"
            print(f"{what}. The training goes on; curves.csv in its folder has them all.", file=sys.stderr, flush=True)


def write_csv(path: Path, rows: Sequence[Check]) -> None:
    """Write the curves, one row per validation; numbers keep all their digits, an undefined AUC is left empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(COLUMNS), *(",".join("" if value is None else repr(value) for value in row) for row in rows)]
    write_whole(path, "\n".join(lines) + "\n")


def _start_mlflow(folder: Path, settings: Sequence[tuple[str, DataclassInstance]]) -> MlflowRun | None:
    """This model's run, the same one after a restart; None where MLflow is not set up.

    Raises:
        BadOption: the server, or the file, that MLFLOW_TRACKING_URI names cannot be reached.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri or importlib.util.find_spec("mlflow") is None:
        return None
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    mlflow = importlib.import_module("mlflow")
    kept = folder / "mlflow_run"
    new = not kept.exists()
    try:
        run = mlflow.start_run(run_id=None if new else kept.read_text(), run_name=folder.name)
        if new:  # a parameter of a run cannot change, and a training that goes on may have more iterations
            mlflow.log_params({f"{part}.{key}": str(v) for part, one in settings for key, v in asdict(one).items()})
    except Exception as error:
        what = f"is {uri!r}, where no run can be begun ({type(error).__name__}: {str(error)[:200]})"
        raise BadOption("MLFLOW_TRACKING_URI", what, "Start the server, or unset the variable") from error
    write_whole(kept, run.info.run_id)
    return MlflowRun(mlflow, folder.name)

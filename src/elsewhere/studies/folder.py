"""Where a study keeps what it made, and how its tables are written and read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from elsewhere.files import short_name
from elsewhere.records import read_columns, write_columns
from elsewhere.studies.file import Study, load_study
from elsewhere.table_format import printable


@dataclass(frozen=True)
class Folder:
    """Where a study keeps what it made."""

    root: Path

    @property
    def study(self) -> Path:
        """Resolved settings, versions and the split hash."""
        return self.root / "study.json"

    @property
    def scans(self) -> Path:
        """One row per scan."""
        return self.root / "scans.parquet"

    @property
    def bad_scans(self) -> Path:
        """The scans that could not be used, and why."""
        return self.root / "bad_scans.csv"

    @property
    def audit(self) -> Path:
        """What the audit found."""
        return self.root / "audit.json"

    @property
    def scores(self) -> Path:
        """One row per model, site and threshold reading."""
        return self.root / "scores.parquet"

    @property
    def seeds(self) -> Path:
        """One row per model, site and score, of a study that trains with several seeds."""
        return self.root / "seeds.parquet"

    @property
    def out_of_fold(self) -> Path:
        """One row per model and scan of its training sites, of a study with folds."""
        return self.root / "out_of_fold.parquet"

    @property
    def cross_validation(self) -> Path:
        """One row per model and training site, of a study with folds."""
        return self.root / "cross_validation.parquet"

    @property
    def arms(self) -> Path:
        """One row per rule of selection, arm and unseen site, of a study that compares arms."""
        return self.root / "arms.parquet"

    @property
    def arm_trials(self) -> Path:
        """One row per arm, trial, training set and unseen site."""
        return self.root / "arm_trials.parquet"

    @property
    def learned(self) -> Path:
        """One row per model: whether it learned anything."""
        return self.root / "learned.parquet"

    @property
    def decomposition(self) -> Path:
        """One row per model and unseen site: where accuracy was lost."""
        return self.root / "decomposition.parquet"

    @property
    def local_scans(self) -> Path:
        """One row per model, unseen site and number of labelled local scans."""
        return self.root / "local_scans.parquet"

    @property
    def examples(self) -> Path:
        """Slices as they were read, for the page."""
        return self.root / "examples.parquet"

    @property
    def diagnosis(self) -> Path:
        """Folder of what `elsewhere diagnose` found."""
        return self.root / "diagnosis"

    @property
    def findings(self) -> Path:
        """The causes that `elsewhere diagnose` names."""
        return self.diagnosis / "findings.json"

    @property
    def diagnosis_parts(self) -> Path:
        """Folder of the scans that `elsewhere diagnose` looked at."""
        return self.diagnosis / "parts"

    def diagnosis_table(self, name: str) -> Path:
        """One table of `elsewhere diagnose`: "scans", "separation", "labels", "shortcuts" or "saliency"."""
        return self.diagnosis / f"{name}.parquet"

    @property
    def stress_curves(self) -> Path:
        """One row per model, home, shift and dose."""
        return self.root / "stress" / "curves.parquet"

    @property
    def stress_explanations(self) -> Path:
        """Which shift could explain the scores of each site."""
        return self.root / "stress" / "explanations.parquet"

    def shifted_scan(self, key: str) -> Path:
        """What one checkpoint said of one scan under each shift."""
        return self.root / "stress" / "scans" / f"{key}.json"

    def marks(self, key: str) -> Path:
        """What was measured in one scan as it is."""
        return self.root / "stress" / "marks" / f"{key}.json"

    @property
    def verdicts(self) -> Path:
        """Folder of the verdicts, and of the store of their scans."""
        return self.root / "verdicts"

    def verdict(self, model: str, site: str) -> Path:
        """Folder of one verdict."""
        return self.verdicts / short_name(model) / short_name(site)

    @property
    def adaptations(self) -> Path:
        """Folder of the adaptations."""
        return self.root / "adaptations"

    def adaptation(self, model: str, site: str) -> Path:
        """Folder of one adaptation."""
        return self.adaptations / short_name(model) / short_name(site)

    @property
    def sequence(self) -> Path:
        """Folder of sites learned one after another: the page, and the steps."""
        return self.root / "sequence"

    @property
    def transfer(self) -> Path:
        """One row per way, order, step and site."""
        return self.sequence / "transfer.parquet"

    def step(self, name: str) -> Path:
        """Training of one step of a sequence."""
        return self.sequence / "steps" / short_name(name)

    def step_scores(self, name: str, site: str) -> Path:
        """What the network of one step said of one site's test scans."""
        return self.sequence / "scores" / short_name(name) / f"{short_name(site)}.parquet"

    def view(self, name: str) -> Path:
        """One page of `elsewhere view`."""
        return self.root / "views" / f"{name}.html"

    @property
    def store(self) -> Path:
        """Where prepared volumes lie unless the study file says otherwise: beside this folder."""
        return self.root.resolve().parent / "store"

    @property
    def products(self) -> Path:
        """One row per product (a model that is not trained here) and test scan."""
        return self.root / "products.parquet"

    def answer(self, key: str) -> Path:
        """What one product that can be run said of one scan."""
        return self.root / "answers" / f"{key}.json"

    @property
    def product_scores(self) -> Path:
        """One row per product and site."""
        return self.root / "product_scores.parquet"

    @property
    def product_local(self) -> Path:
        """One row per product, site and measure: as it is, and with what was chosen on kept patients."""
        return self.root / "product_local.parquet"

    @property
    def kept_patients(self) -> Path:
        """Test patients that were kept for thresholds and recalibration of products."""
        return self.root / "kept_patients.parquet"

    def kit(self, number: str) -> Path:
        """Record of a kit that the study gave to a hospital."""
        return self.root / "kits" / f"{number[:32]}.json"

    @property
    def returns(self) -> Path:
        """Folder of what hospitals sent back, one file each."""
        return self.root / "returns"

    @property
    def refused(self) -> Path:
        """What the last run found that was refused before it changed anything."""
        return self.root / "refused"

    def keep(self, path: Path) -> str:
        """A path as records keep it: relative to this folder where it lies beside or below it: both may move."""
        whole, root = path.resolve(), self.root.resolve()
        return os.path.relpath(whole, root) if whole.is_relative_to(root.parent) else str(whole)

    def place(self, kept: str) -> Path:
        """The path that a record keeps, as this machine has it."""
        return Path(os.path.normpath(self.root.resolve() / kept))

    def volume(self, kept: str) -> Path:
        """A prepared volume's file; one of a study that was moved with the store beside it is found there."""
        path = self.place(kept)
        beside = self.store / path.parent.name / path.name
        return beside if Path(kept).is_absolute() and not path.exists() and beside.is_file() else path

    def model(self, name: str) -> Path:
        """Folder of one model: checkpoint, curves, training state."""
        return self.root / "models" / short_name(name)

    def checkpoint(self, name: str) -> Path:
        """Stem of a model's checkpoint: its weights and its record differ in their suffix."""
        return self.model(name) / "checkpoint"

    def curves(self, name: str) -> Path:
        """What a model's training logged."""
        return self.model(name) / "curves.csv"

    def predictions(self, model: str, site: str) -> Path:
        """Predictions of one model on one site's validation and test scans."""
        return self.root / "predictions" / short_name(model) / f"{short_name(site)}.parquet"


def default_folder(study: Study) -> Path:
    """Where a study's results go unless the user says otherwise."""
    return Path("runs") / study.name


def open_study(study: Path, out: Path | None = None) -> tuple[Study, Folder]:
    """A study and its folder, from its study file or from the folder of a study that was run.

    Args:
        study: a study file, or a study's folder.
        out: the folder, where the user names it.

    Raises:
        BadStudy: the study file is wrong, or the folder holds no study.
    """
    plan = load_study(study)
    return plan, Folder(out or (study if study.is_dir() else default_folder(plan)))


def folder_of(study: Path) -> Folder:
    """A study's folder, from its study file or from the folder itself, which need not be whole.

    Raises:
        BadStudy: the study file is wrong.
    """
    return open_study(study)[1] if study.suffix == ".toml" else Folder(study)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep records as Parquet with a checksum; the file appears whole or not at all."""
    write_columns(path, pa.Table.from_pylist([{key: printable(value) for key, value in row.items()} for row in rows]))


def read_table(path: Path, next_step: str = "Run the command that makes it again") -> list[dict[str, Any]]:
    """Records of a Parquet table.

    Raises:
        BadStudy: there is no such table yet, or it is damaged; `next_step` says what to do.
    """
    rows: list[dict[str, Any]] = read_columns(path, next_step).to_pylist()
    return rows


def put_aside(folder: Folder) -> Path | None:
    """Move a study's trainings, predictions, sequences and what hospitals sent back into a folder of their own.

    None where there are none.

    The prepared scans stay, and so do the tables: they are made anew from what is trained next.
    """
    names = ("models", "predictions", "returns", "sequence")
    there = [folder.root / name for name in names if (folder.root / name).is_dir()]
    if not there:
        return None
    place = next(p for n in count(1) if not (p := folder.root / "earlier" / str(n)).exists())
    place.mkdir(parents=True)
    for path in there:
        path.rename(place / path.name)
    return place


def forget(path: Path) -> None:
    """Remove what a refused run left in a folder, so that it is not taken for what stands now."""
    for file in path.glob("*") if path.is_dir() else ():
        file.unlink()
    if path.is_dir():
        path.rmdir()

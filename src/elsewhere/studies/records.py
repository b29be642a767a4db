"""The records of a study: the one form in which each table is kept, and readers that refuse what does not fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from elsewhere.adapting_rows import AdaptRow, ChosenRow
from elsewhere.arm_rows import ArmRow, TrialRow
from elsewhere.audit_rows import AuditRecord
from elsewhere.errors import BadStudy
from elsewhere.fold_rows import CrossValidatedRow, OutOfFoldRow
from elsewhere.local_rows import KeptPatientRow, LocalReadingRow
from elsewhere.rows import (
    ClassSeparationRow,
    DoseRow,
    DropRow,
    ExplanationRow,
    FindingRow,
    LearnedRow,
    LocalRow,
    LookedAtRow,
    ModelAtSite,
    ProductScoreRow,
    SaliencyRow,
    ScoreRow,
    SeedRow,
    SeparationRow,
    ShortcutRow,
)
from elsewhere.scans.scan import Fact
from elsewhere.scans.volume import Units
from elsewhere.sequence_rows import SequenceRow
from elsewhere.studies.fold_names import fold_name
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import VERSIONS, content, key
from elsewhere.table_format import RecordFormat, TableFormat, TypedFormat, column

IDENTITY = RecordFormat(
    "study",
    1,
    ("settings", "models", "versions", "split_hash"),
    "Run `elsewhere study` again: finished trainings are kept",
)
AUDIT = TypedFormat("audit", 1, AuditRecord, "Run `elsewhere prepare` again: scans in the store are not read again")
FINDINGS = RecordFormat("findings", 1, ("findings",), "Run `elsewhere diagnose` again")
ADAPTED_ANEW = "Run `elsewhere adapt` again: fits that are kept are not made again"
ADAPTATION = RecordFormat("adaptation", 1, ("model", "site", "checkpoint", "decision", "how_many"), ADAPTED_ANEW)
ADAPT_ROWS = TableFormat("adapted fits", 1, AdaptRow, ADAPTED_ANEW)
CHOSEN_ROWS = TableFormat("scans to label next", 1, ChosenRow, "Remove it: what was chosen before is not known then")
SEQUENCE_ROWS = TableFormat(
    "transfer of a sequence", 1, SequenceRow, "Run `elsewhere sequence` again: finished steps are kept"
)

OK, COPY = "ok", "copy"
"""Status of a scan that is used, and of a copy of one."""


@dataclass(frozen=True)
class ScanRow:
    """One scan of a study, as it was prepared.

    Attributes:
        site: name of the site.
        patient: patient id within the site.
        scan: scan id within the site.
        label: 1, 0 or None (unlabelled).
        stratum: group that is split on its own.
        status: "ok", or "copy" for a second volume with the same voxels of one patient.
        file: the prepared volume; in the file relative to the study's folder where it lies beside or below it.
        slices: stored slices.
        minimum: lowest stored value.
        maximum: highest stored value.
        content_hash: of the voxels as read.
        rows: of the matrix as read.
        columns: of the matrix as read.
        units: "HU", "ct_number" or "relative".
        padding_share: share of padding, 0..1.
        black_share: share of black voxels, 0..1.
        slice_spacing_mm: distance of slices; None where the files do not say.
        source_slices: slices as read.
        notes: remarks of its reader.
        facts: metadata of its tables and headers, and what was measured.
        subset: "train", "validation", "test" or "unlabelled".
        prepared_hash: of the stored voxels; "" in tables of early versions.
        fold: the fold of a cross-validation that scores it, from 1; 0 where there is none (`scans.scan.Fold`).
        chooses: the fold whose network's weights and threshold are chosen on it; 0 for none.
    """

    site: str
    patient: str
    scan: str
    label: int | None
    stratum: str | None
    status: str
    file: str
    slices: int
    minimum: int
    maximum: int
    prepared_hash: str = field(default="", kw_only=True)
    content_hash: str
    rows: int
    columns: int
    units: Units
    padding_share: float
    black_share: float
    slice_spacing_mm: float | None
    source_slices: int
    notes: tuple[str, ...] = field(metadata=column(as_json=True))
    facts: Mapping[str, Fact] = field(metadata=column(as_json=True))
    subset: str
    fold: int = field(default=0, kw_only=True)
    chooses: int = field(default=0, kw_only=True)

    @property
    def usable(self) -> bool:
        """Whether it is trained on, predicted or shown: no copy of another scan of its patient."""
        return self.status == OK

    @property
    def known_label(self) -> int:
        """The label of a scan that has one.

        Raises:
            ValueError: it has none.
        """
        if self.label is None:
            raise ValueError(f"{self.site}/{self.scan} has no label")
        return self.label


SCANS = TableFormat("scans", 1, ScanRow, "Run `elsewhere prepare` again: scans in the store are not read again")
SCORED_ANEW = "Run `elsewhere study` again: it scores them anew and keeps trainings and predictions"
SCORES = TableFormat("scores", 1, ScoreRow, SCORED_ANEW)
SEEDS = TableFormat("scores over trainings", 1, SeedRow, SCORED_ANEW)
OUT_OF_FOLD = TableFormat("out-of-fold scores", 1, OutOfFoldRow, SCORED_ANEW)
CROSS_VALIDATION = TableFormat("cross-validation", 1, CrossValidatedRow, SCORED_ANEW)
ARMS = TableFormat("arms", 1, ArmRow, SCORED_ANEW)
ARM_TRIALS = TableFormat("trials of arms", 1, TrialRow, SCORED_ANEW)
LEARNED = TableFormat("learned", 1, LearnedRow, SCORED_ANEW)
PAGE_ANEW = "Remove it and run `elsewhere report` again"
STRESSED_ANEW = "Run `elsewhere stress` again: scans that were shifted are not shifted again"
DOSES = TableFormat("dose response", 1, DoseRow, STRESSED_ANEW)
EXPLANATIONS = TableFormat("explanations", 1, ExplanationRow, STRESSED_ANEW)
DIAGNOSED_ANEW = "Run `elsewhere diagnose` again: scans that were looked at are not looked at again"
LOOKED_AT = TableFormat("diagnosed scans", 1, LookedAtRow, DIAGNOSED_ANEW)
SEPARATIONS = TableFormat("separation", 1, SeparationRow, DIAGNOSED_ANEW)
CLASS_SEPARATIONS = TableFormat("separation of classes", 1, ClassSeparationRow, DIAGNOSED_ANEW)
SHORTCUTS = TableFormat("shortcuts", 1, ShortcutRow, DIAGNOSED_ANEW)
SALIENCY = TableFormat("saliency", 1, SaliencyRow, DIAGNOSED_ANEW)
DROPS = TableFormat("decomposition", 1, DropRow, PAGE_ANEW)
LOCAL = TableFormat("local scans", 1, LocalRow, PAGE_ANEW)


@dataclass(frozen=True)
class ExampleRow:
    """One slice of one scan as it was read, for the page (examples.parquet).

    Attributes:
        site: name of the site.
        scan: scan id.
        key: of the voxels and the preparation.
        pixels: uint8 row by row, windowed; None where there is nothing to show.
        width: pixels of a row.
        caption: what it shows, or why it shows nothing.
    """

    site: str
    scan: str
    key: str
    pixels: bytes | None
    width: int
    caption: str


EXAMPLES = TableFormat("examples", 1, ExampleRow, PAGE_ANEW)


@dataclass(frozen=True)
class ProductRow(ModelAtSite):
    """What one product (a model that is not trained here) said of one test scan (products.parquet).

    Attributes:
        patient: patient id within the site.
        scan: scan id within the site.
        label: 1 or 0.
        probability: of being positive; None where it gave none.
        call: 1 or 0, its own decision; None where it is not known.
        reason: why there is no probability, or "".
        threshold: from which it calls a scan positive, as a probability; None where its table has the calls.
    """

    patient: str
    scan: str
    label: int
    probability: float | None
    call: int | None
    reason: str
    threshold: float | None


MATCHED_ANEW = "Run `elsewhere study` again: it reads the table of the product anew and keeps trainings and predictions"
PRODUCTS = TableFormat("products", 1, ProductRow, MATCHED_ANEW)
PRODUCT_SCORES = TableFormat("product scores", 1, ProductScoreRow, MATCHED_ANEW)
PRODUCT_LOCAL = TableFormat("local readings of products", 1, LocalReadingRow, MATCHED_ANEW)
KEPT_PATIENTS = TableFormat("kept patients", 1, KeptPatientRow, MATCHED_ANEW)

Scored = TypeVar("Scored", ScoreRow, SeedRow)


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
    return IDENTITY.read(folder.study)


def trained_models(folder: Folder) -> dict[str, tuple[str, ...]]:
    """Name of each model that a study trained, ensembles of folds last -> its sites. Raises as `read_identity`."""
    identity = read_identity(folder)
    found = {**identity["models"], **identity.get("ensembles", {})}
    return {name: tuple(sites) for name, sites in found.items()}


def read_audit(folder: Folder) -> AuditRecord:
    """What audit.json says.

    Raises:
        BadStudy: there is none, or it is damaged.
    """
    return AUDIT.read(folder.audit)


def read_findings(path: Path) -> list[FindingRow]:
    """What `elsewhere diagnose` found, from its findings.json; nothing where it was not run.

    Raises:
        BadStudy: the file is damaged.
    """
    if not path.is_file():
        return []
    found: Any = None
    with suppress(ValueError):  # earlier versions kept a bare list
        found = json.loads(path.read_bytes())
    if not isinstance(found, list):
        found = FINDINGS.read(path)["findings"]
    try:
        return [FindingRow(**finding) for finding in found]
    except TypeError as error:
        raise BadStudy(path, f"holds a finding of another form ({error})", FINDINGS.next_step) from error


def scores_key(folder: Folder, models: Iterable[str], settings: Mapping[str, Any]) -> str:
    """Key of scores: of predictions at all sites, whose validation scans give thresholds, and of how they are scored.

    Args:
        folder: the study's.
        models: a model, and its further trainings where these are scored with it.
        settings: of the study, as study.json has them.
    """
    return key("scores", *_scored_from(folder, models, settings))


def cross_validation_key(folder: Folder, model: str, sites: Iterable[str], folds: int, ties: str) -> str:
    """Key of a model's cross-validation: of its folds' predictions, and its own, at its training sites."""
    names = [model, *(fold_name(model, number) for number in range(1, folds + 1))]
    predictions = [folder.predictions(name, site) for name in names for site in sites]
    return key("cross-validation", names, predictions, ties)


def _scored_from(folder: Folder, models: Iterable[str], settings: Mapping[str, Any]) -> list[Any]:
    names, sites = list(models), [site["name"] for site in settings["sites"]]
    predictions = [folder.predictions(name, site) for name in names for site in sites]
    return [names, sites, predictions, [settings["evaluation"], settings["seed"]]]


def _earlier_key(folder: Folder, models: Iterable[str], settings: Mapping[str, Any]) -> str:
    """Key of the same scores in release 0.1.0, which knew no version of their maker."""
    scored_from = json.dumps(_scored_from(folder, models, settings), sort_keys=True, default=content)
    return hashlib.sha256(scored_from.encode()).hexdigest()[:32]


def read_scores(folder: Folder, identity: Mapping[str, Any]) -> list[ScoreRow]:
    """The rows of scores.parquet, which must be made from the predictions and settings that lie beside them.

    Args:
        folder: the study's.
        identity: its study.json.

    Raises:
        BadStudy: the table is missing, damaged, or made from other predictions.
    """
    if not identity["models"]:  # a study of products alone
        return []
    return _fitting(folder, folder.scores, SCORES, lambda name: [name], identity["settings"])


def read_seed_scores(folder: Folder, identity: Mapping[str, Any]) -> list[SeedRow]:
    """The rows of seeds.parquet, as `read_scores`; none where the study trains with one seed."""
    if not folder.seeds.is_file():
        return []
    further = identity["settings"].get("seeds", ())[1:]
    return _fitting(
        folder, folder.seeds, SEEDS, lambda name: [name, *(f"{name}~{seed}" for seed in further)], identity["settings"]
    )


def _fitting(
    folder: Folder,
    path: Path,
    form: TableFormat[Scored],
    trainings: Callable[[str], Sequence[str]],
    settings: Mapping[str, Any],
) -> list[Scored]:
    """A table's rows; refused where what they were made from has changed. Early versions did not keep their key."""
    rows = form.read(path)
    for name, made_from in {row.model: row.made_from for row in rows}.items():
        if made_from is None or made_from == scores_key(folder, trainings(name), settings):
            continue
        if VERSIONS["scores"] != 1 or made_from != _earlier_key(folder, trainings(name), settings):
            raise BadStudy(
                path,
                f"does not belong to the predictions of {name}, or to [evaluation], in this folder: they, or how they "
                "are scored, have changed",
                SCORED_ANEW,
            )
    return rows

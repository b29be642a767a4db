"""What a hospital sends back: scores of a kit's models on its scans, typed, sealed, without a scan, an id or a path.

A return is refused where it is damaged, where its kit is not one that the study gave away, and where a model of it was
trained anew since. Its numbers are those that the study itself would have computed on the same scans.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from elsewhere.audit_rows import RuleRow
from elsewhere.errors import BadStudy
from elsewhere.files import short_name, write_whole
from elsewhere.model.network import read_checkpoint_record
from elsewhere.rows import ScoreRow
from elsewhere.statistics.score import CellScore
from elsewhere.statistics.site_aucs import SiteAucs
from elsewhere.studies.file import SITE_NAME
from elsewhere.studies.folder import Folder
from elsewhere.studies.kit import Kit, read_kit_record
from elsewhere.studies.records import read_identity
from elsewhere.table_format import RecordFormat
from elsewhere.wording import numbered

FEWEST_PATIENTS = 10
"""A class with fewer patients, and at least one, leaves nothing but counts."""

FEWEST_IN_STEP = 5
"""Patients of each class that every step of a ROC curve in a return stands for, at least."""

UNNAMED = "hospital-"
AGAIN = "Ask the hospital for the file again; `elsewhere visit` writes it"
RETURN = RecordFormat("return", 1, ("hospital", "date", "study", "kit", "counts", "cells", "versions"), AGAIN)


@dataclass(frozen=True)
class VisitedScans:
    """How many scans a hospital scored, and how many it did not.

    Attributes:
        scans: scored.
        patients: they come from.
        positives: positive scans.
        negatives: negative scans.
        positive_patients: patients with a positive scan.
        negative_patients: patients with a negative scan.
        unlabelled: scans without a label, which are not scored.
        unusable: scans that cannot be read, or not as a network takes them.
        copies: second volumes with the voxels of another scan of their patient.
        learned_from: scans that a model of the kit was trained or chosen on.
    """

    scans: int
    patients: int
    positives: int
    negatives: int
    positive_patients: int
    negative_patients: int
    unlabelled: int = 0
    unusable: int = 0
    copies: int = 0
    learned_from: int = 0

    @property
    def enough(self) -> bool:
        """Whether more than counts may leave: no class of one to nine patients."""
        return all(n == 0 or n >= FEWEST_PATIENTS for n in (self.positive_patients, self.negative_patients))

    @property
    def words(self) -> str:
        """How many scans, of how many patients of each class."""
        classes = f"{self.positive_patients} positive and {self.negative_patients} negative"
        return f"{numbered(self.scans, 'scan')} of {numbered(self.patients, 'patient')} ({classes})"


@dataclass(frozen=True)
class VisitedCell:
    """One model at the hospital.

    Attributes:
        model: its name.
        checkpoint: SHA-256 of its weights.
        score: as `scores.parquet` has it for a site; None where only counts may leave.
        roc: (false, true) positives at points of the ROC curve, coarse (`statistics.roc.coarse_roc`); none with one
            class or few patients.
    """

    model: str
    checkpoint: str
    score: CellScore | None = None
    roc: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Return:
    """All that leaves a hospital.

    Attributes:
        hospital: the name that it gave.
        date: day on which it was computed there (ISO).
        study: that the kit is of.
        kit: number of the kit.
        counts: of its scans.
        cells: one per model of the kit.
        versions: of what computed it.
        aucs: what tests and means need of all models together; None with one class or few patients.
        rules: how well metadata alone tell the classes apart there; none with few patients.
        outside: names of the metadata of which most scans lie beyond all that the study knows.
    """

    hospital: str
    date: str
    study: str
    kit: str
    counts: VisitedScans
    cells: tuple[VisitedCell, ...]
    versions: Mapping[str, str]
    aucs: SiteAucs | None = None
    rules: tuple[RuleRow, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def scores(self) -> tuple[ScoreRow, ...]:
        """One row per model of which more than counts left."""
        cells = [(cell.model, cell.score) for cell in self.cells if cell.score is not None]
        return tuple(ScoreRow(model=model, site=self.hospital, **vars(score)) for model, score in cells)

    @property
    def numbers(self) -> str:
        """What two returns of the same scans share, whatever name and day they carry, as text."""
        cells = [(c.model, c.score and {**vars(c.score), **PER_NAME}, c.roc) for c in self.cells]
        return repr((self.kit, self.counts, cells))


PER_NAME = dict.fromkeys(("auc_dropout_mean", "auc_dropout_sd", "auc_grid_dropout_mean", "auc_grid_dropout_sd"))
"""What is drawn from the name of the site as well: dropout passes."""


def named(found: Return, name: str) -> Return:
    """The return under a hospital's name; without one, under a name made from its numbers."""
    name = name or UNNAMED + hashlib.sha256(found.numbers.encode()).hexdigest()[:6]
    return replace(found, hospital=name, rules=tuple(replace(rule, sites=name) for rule in found.rules))


def rounded(found: Return, digits: int) -> Return:
    """The return with every number cut to so many digits: who knows some of the scans learns less of the others."""
    return _read(_cut(asdict(found), digits))


def _cut(value: Any, digits: int) -> Any:
    if isinstance(value, Mapping):
        return {name: _cut(one, digits) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(one, digits) for one in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) and math.isfinite(value) else value


def write_return(path: Path, found: Return) -> str:
    """Write a return, whole or not at all; gives its SHA-256, which the study's people see when they gather it."""
    RETURN.write(path, asdict(found))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def text_of(found: Return) -> str:
    """The return as its file holds it, but for the checksum and the format."""
    return json.dumps(asdict(found), indent=1)


def read_return(path: Path) -> Return:
    """A return.

    Raises:
        BadStudy: the file is missing, damaged, changed, of another format, or its numbers do not belong together.
    """
    record = RETURN.read(path)
    try:
        found = _read(record)
        wrong = next(_contradictions(found), "")
    except (ValidationError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadStudy(path, f"holds other values ({' '.join(str(error).split())[:200]})", AGAIN) from error
    if wrong:
        raise BadStudy(path, f"was changed: {wrong}", AGAIN)
    return found


def _read(record: Mapping[str, Any]) -> Return:
    found: Return = TypeAdapter(Return).validate_python(record)
    return found


def _contradictions(found: Return) -> Iterator[str]:
    """What in a return cannot come from one visit."""
    counts = found.counts
    if not SITE_NAME.fullmatch(found.hospital):
        yield f"{found.hospital!r} cannot name a hospital"
    if counts.positives + counts.negatives != counts.scans:
        yield "its positive and negative scans are not all of its scans"
    both = counts.enough and min(counts.positives, counts.negatives) > 0
    if (found.aucs is not None) != both or any((cell.score is not None) != counts.enough for cell in found.cells):
        yield f"it holds scores that {counts.words} do not give, or lacks some that they give"
    for place, cell in enumerate(found.cells):
        score = cell.score
        if score is None:
            continue
        sides = (score.true_positive + score.false_negative, score.true_negative + score.false_positive)
        if (score.scans, *sides) != (counts.scans, counts.positives, counts.negatives):
            yield f"the decisions of {cell.model} are not those of {counts.words}"
        if found.aucs is not None and (found.aucs.models[place], found.aucs.aucs[place]) != (cell.model, score.auc):
            yield f"the AUC of {cell.model} stands there twice, and differs"


# In the study ------------------------------------------------------------------------------------------------------


def keep_return(folder: Folder, path: Path, found: Return) -> Path:
    """Keep a checked return in its study's folder, byte by byte as it came."""
    target = place_of(folder, found)
    write_whole(target, path.read_bytes())
    return target


def place_of(folder: Folder, found: Return) -> Path:
    """Where a study keeps a hospital's return."""
    return folder.returns / f"{short_name(found.hospital)}.json"


def read_returns(folder: Folder) -> list[Return]:
    """What hospitals sent back to a study, by their names; all of it must belong to the study as it is now.

    Raises:
        BadStudy: a return or its kit is damaged, or of other weights than the study has now.
    """
    found = []
    for path in sorted(folder.returns.glob("*.json")) if folder.returns.is_dir() else ():
        one = read_return(path)
        check_return(folder, path, one)
        found.append(one)
    return found


def check_return(folder: Folder, path: Path, found: Return) -> Kit:
    """Refuse a return that is not of this study as it is now; gives its kit.

    Raises:
        BadStudy: its kit is not one of this study's, a model was trained anew since, or the hospital has the name of a
            site of the study.
        BadCheckpoint: the record of the kit, or of a checkpoint, is damaged.
    """
    record = folder.kit(found.kit)
    if not record.is_file():
        what = f"was computed with kit {found.kit[:12]} of {found.study!r}, which this study did not write"
        raise BadStudy(path, what, "Gather it into the study that made the kit, or have the hospital run yours")
    kit = read_kit_record(record, record)
    if kit.number != found.kit:
        raise BadStudy(path, f"names kit {found.kit[:12]}, and the study keeps {kit.number[:12]} for it", AGAIN)
    if [(c.model, c.checkpoint) for c in found.cells] != [(m.name, m.checkpoint) for m in kit.models]:
        raise BadStudy(path, "holds other models than its kit", AGAIN)
    _check_models(folder, path, found, kit)
    sites = [site["name"] for site in read_identity(folder)["settings"]["sites"]]
    if found.hospital in sites:
        what = f"is of a hospital named {found.hospital!r}, which is a site of the study already"
        raise BadStudy(path, what, "Have it computed under another name (`elsewhere visit --hospital`)")
    return kit


def _check_models(folder: Folder, path: Path, found: Return, kit: Kit) -> None:
    for model, cell in zip(kit.models, found.cells, strict=True):
        if read_checkpoint_record(folder.checkpoint(model.name))["sha256"] != model.checkpoint:
            what = f"is of the weights that {model.name} had when kit {kit.number[:12]} was made; it was trained anew"
            raise BadStudy(path, what, "Make a new kit and have it run, or put the return away")
        if cell.score is not None and cell.score.threshold != model.point.threshold:
            raise BadStudy(path, f"decides for {model.name} from {cell.score.threshold:g} on, not as its kit", AGAIN)


def same_scans(first: Return, second: Return) -> bool:
    """Whether two returns are of the same scans: more than counts left, and every number agrees."""
    return first.counts.enough and first.numbers == second.numbers


def check_together(given: Sequence[tuple[Path, Return]], kept: Sequence[Return], *, replacing: bool) -> None:
    """Refuse what would stand twice on the page.

    Args:
        given: returns to be taken.
        kept: those that the study has.
        replacing: a hospital's newer return may take the place of its older one.

    Raises:
        BadStudy: two of one hospital, or the same scans under two names.
    """
    for place, (path, one) in enumerate(given):
        for other_path, other in given[:place]:
            if other.hospital == one.hospital and other != one:
                what = f"is of {one.hospital!r}, and so is {other_path}, with other numbers"
                raise BadStudy(path, what, "Give the one that counts; two hospitals need two names")
        others = [*(other for _, other in given[:place]), *kept]
        for other in others:
            if other.hospital != one.hospital and same_scans(one, other):
                what = f"holds the numbers of {other.hospital!r} to the last digit: the same scans under two names"
                raise BadStudy(path, what, "Give one of them")
        older = next((other for other in kept if other.hospital == one.hospital), None)
        if older is not None and older != one and not replacing:
            what = f"is a second return of {one.hospital!r}; the study has the one of {older.date}"
            raise BadStudy(path, what, "Give --replace if it takes its place; two hospitals need two names")

"""The fold networks of a finished cross-validation in; out-of-fold scores, their AUC, and the ensemble, out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, replace

import numpy as np

from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.fold_rows import CrossValidatedRow, OutOfFoldRow
from elsewhere.model.ensemble import mean_probability, save_ensemble
from elsewhere.model.network import checkpoint_is_whole, load_checkpoint, read_checkpoint_record
from elsewhere.rows import ScoreRow
from elsewhere.statistics.cross_validated import cross_validated_auc, cross_validated_share
from elsewhere.statistics.decision import OperatingPoint, choose_threshold, decide
from elsewhere.statistics.intervals import Interval
from elsewhere.studies.file import Study
from elsewhere.studies.fold_names import fold_of
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import key
from elsewhere.studies.predictions import (
    DETERMINISTIC,
    PREDICTED,
    PREDICTIONS,
    PredictionRow,
    fitting_predictions,
    validation_at_home,
    write_predictions,
)
from elsewhere.studies.records import (
    CROSS_VALIDATION,
    OUT_OF_FOLD,
    SCORED_ANEW,
    ScanRow,
    cross_validation_key,
    read_identity,
    usable_rows,
)
from elsewhere.studies.trainings import checkpoint_record


def write_ensembles(study: Study, folder: Folder) -> None:
    """Write the checkpoint of each ensemble of a study, and its predictions at every site.

    The probability at a site is the mean of the fold networks' (`model.ensemble`). At a training site all but one of
    these networks know each patient: there it is that of the one that does not, and no mean.

    Raises:
        BadStudy: predictions of a fold are missing, damaged or of other scans.
        BadCheckpoint: a fold's weights are missing or damaged.
    """
    rows = usable_rows(folder) if study.ensembles else []
    for name in study.ensembles:
        _write_checkpoint(study, folder, name, rows)
        for site in study.sites:
            _write_predictions(study, folder, name, [row for row in rows if row.site == site.name])


def _members(study: Study, model: str) -> list[str]:
    return [name for name, (of, _) in study.folds.items() if of == model]


def _write_checkpoint(study: Study, folder: Folder, name: str, rows: Collection[ScanRow]) -> None:
    stem, members = folder.checkpoint(name), _members(study, study.ensembles[name])
    weights = [read_checkpoint_record(folder.checkpoint(member))["sha256"] for member in members]
    with suppress(BadCheckpoint):
        if read_checkpoint_record(stem).get("member_weights") == weights and checkpoint_is_whole(stem):
            return
    networks = [load_checkpoint(folder.checkpoint(member), study.network)[0] for member in members]
    whole = checkpoint_record(study, name, study.trained_on(name), rows)
    record = whole | {"sample": asdict(study.sample), "member_weights": weights}
    save_ensemble(stem, networks, record)


def _write_predictions(study: Study, folder: Folder, name: str, rows: Collection[ScanRow]) -> None:
    """Predictions of an ensemble at the one site of these scans."""
    site, members = next(row.site for row in rows), _members(study, study.ensembles[name])
    path = folder.predictions(name, site)
    standing = [(row.scan, row.subset, row.patient, row.label, row.fold) for row in rows]
    made_from = key("ensemble", name, [folder.predictions(member, site) for member in members], standing)
    with suppress(BadStudy):
        if PREDICTIONS.made_from(path) == made_from:
            return
    home = site in study.trained_on(name)
    given: dict[str, list[PredictionRow]] = {}
    for member in members:
        fitting_predictions(folder, member, site)
        for said in PREDICTIONS.read(folder.predictions(member, site)):
            if said.dropout_pass == DETERMINISTIC and (said.subset == "test" or not home):
                given.setdefault(said.scan, []).append(said)
    table = []
    for subset in PREDICTED:
        for scan in sorted(row.scan for row in rows if row.subset == subset):
            mean = float(mean_probability([said.probability for said in given[scan]]))
            table.append(replace(given[scan][0], model=name, subset=subset, probability=mean))
    write_predictions(path, table, made_from)


def write_cross_validation(study: Study, folder: Folder, scores: Collection[ScoreRow]) -> None:
    """Write out_of_fold.parquet and cross_validation.parquet; none that an earlier study file left behind.

    Args:
        study: with its folds trained and predicted.
        folder: its folder.
        scores: of the trainings of the study's own split.

    Raises:
        BadStudy: predictions of a fold are missing, damaged or of other scans.
    """
    if not study.folds:
        folder.out_of_fold.unlink(missing_ok=True)
        folder.cross_validation.unlink(missing_ok=True)
        return
    single = {(r.model, r.site): r for r in scores if r.threshold_reading == "model"}
    scored: list[OutOfFoldRow] = []
    rows = []
    for model, sites in study.models.items():
        own = _out_of_fold(study, folder, model)
        made_from = cross_validation_key(folder, model, sites, study.split.folds, study.evaluation.ties)
        for site in sites:
            of_site = [row for row in own if row.site == site]
            rows.append(_cross_validated(of_site, study.split.folds, single.get((model, site)), made_from))
        scored += own
    OUT_OF_FOLD.write(folder.out_of_fold, scored)
    CROSS_VALIDATION.write(folder.cross_validation, rows)


def _out_of_fold(study: Study, folder: Folder, model: str) -> list[OutOfFoldRow]:
    rows = []
    for name in _members(study, model):
        point = _operating_point(study, folder, name)
        for site in study.trained_on(name):
            test = fitting_predictions(folder, name, site).subset("test").deterministic
            called = decide(test.probabilities, point)
            columns = (test.patients, test.scans, test.labels, test.probabilities, called)
            for patient, scan, label, probability, call in zip(*(c.tolist() for c in columns), strict=True):
                row = (patient, scan, label, fold_of(name)[1], probability, point.threshold, int(call))
                rows.append(OutOfFoldRow(model, site, *row))
    return sorted(rows, key=lambda row: (row.site, row.scan))


def _operating_point(study: Study, folder: Folder, name: str) -> OperatingPoint:
    found = validation_at_home(folder, name, study.trained_on(name))
    return choose_threshold(found.labels, found.probabilities, ties=study.evaluation.ties)


def _cross_validated(
    rows: Sequence[OutOfFoldRow], folds: int, single: ScoreRow | None, made_from: str
) -> CrossValidatedRow:
    labels, patients = np.array([r.label for r in rows]), np.array([r.patient for r in rows], dtype=np.str_)
    within = pooled = None
    aucs: tuple[float, ...] = ()
    note = ""
    try:
        found = cross_validated_auc(labels, patients, [r.fold for r in rows], [r.probability for r in rows])
        within, pooled = found.within, found.pooled
        aucs = tuple(auc for auc in found.aucs if not np.isnan(auc))
        note = f"{found.skipped} scans are of folds that lack a class" if found.skipped else ""
    except ValueError as error:
        note = f"no AUC: {error}"
    shares: list[Interval | None] = []
    for label in (1, 0):
        own = labels == label
        right = [row.call == label for row, is_own in zip(rows, own, strict=True) if is_own]
        shares.append(cross_validated_share(right, patients[own]) if right else None)
    alone = None if single is None or single.auc is None else single
    return CrossValidatedRow(
        rows[0].model,
        rows[0].site,
        folds=folds,
        scans=len(rows),
        patients=len(set(patients.tolist())),
        positives=int(labels.sum()),
        negatives=int((1 - labels).sum()),
        positive_patients=len(set(patients[labels == 1].tolist())),
        negative_patients=len(set(patients[labels == 0].tolist())),
        **_columns("auc", within),
        **_columns("pooled", pooled),
        fold_aucs=aucs,
        **_columns("sensitivity", shares[0]),
        **_columns("specificity", shares[1]),
        single=alone.auc if alone else None,
        single_low=alone.auc_sampling_low if alone else None,
        single_high=alone.auc_sampling_high if alone else None,
        single_patients=alone.patients if alone else 0,
        note=note,
        made_from=made_from,
    )


def _columns(name: str, found: Interval | None) -> dict[str, float | None]:
    values = (None,) * 3 if found is None else (found.estimate, found.low, found.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def read_cross_validation(folder: Folder) -> list[CrossValidatedRow]:
    """The rows of cross_validation.parquet, which must be made from the predictions that lie beside it.

    None where the study has no folds.

    Raises:
        BadStudy: the table is missing, damaged, or made from other predictions.
    """
    identity = read_identity(folder)
    if not identity.get("ensembles"):
        return []
    settings = identity["settings"]
    rows = CROSS_VALIDATION.read(folder.cross_validation)
    for row in rows:
        sites = identity["models"].get(row.model, ())
        folds = settings["split"]["folds"]
        if row.made_from != cross_validation_key(folder, row.model, sites, folds, settings["evaluation"]["ties"]):
            what = f"does not belong to the predictions of {row.model}'s folds, or to [evaluation], in this folder"
            raise BadStudy(folder.cross_validation, what, SCORED_ANEW)
    return rows

"""Models of a study that are not trained here: their scores of the test scans, matched or asked for, kept, and judged.

`products.parquet` has one row for each test scan and product: its probability and call, or the reason why there is
none. `product_scores.parquet` has the scores of each product at each site, in the columns of `scores.parquet`. With
`[split] local` a share of the test patients (`kept_patients.parquet`) is not scored: a threshold and a recalibration
are chosen on them, and `product_local.parquet` has what these give on the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from elsewhere import engine
from elsewhere.errors import BadTable
from elsewhere.local_rows import LocalReadingRow
from elsewhere.model.declared import Declared
from elsewhere.model.runnable import threshold_of
from elsewhere.rows import ProductScoreRow
from elsewhere.scans.score_columns import Role
from elsewhere.scans.score_table import LEAST_FOUND, ScoreTable, read_score_table
from elsewhere.scans.score_values import UNKNOWN_LABEL
from elsewhere.scans.values import alike
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.evaluation import ONLY_DECISIONS
from elsewhere.statistics.intervals import proportion_interval
from elsewhere.statistics.score import score_cell
from elsewhere.studies.asking import Answer, ask_models
from elsewhere.studies.file import Study
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import key
from elsewhere.studies.local_products import is_kept, keep_patients, local_readings, say_kept, write_kept
from elsewhere.studies.models import Product
from elsewhere.studies.records import PRODUCT_LOCAL, PRODUCT_SCORES, PRODUCTS, ProductRow, ScanRow, usable_rows
from elsewhere.table_format import TableFormat
from elsewhere.wording import numbered

FILE_ENDS = re.compile(r"\.(nii|nii\.gz|mha|mhd|nrrd|nhdr|dcm|png|tiff?)$", re.IGNORECASE)
NO_ROW = "no row in its table"
Kind = TypeVar("Kind", ProductScoreRow, LocalReadingRow)


def score_products(study: Study, folder: Folder, workers: int | None = None) -> list[ProductScoreRow]:
    """Match every product's table with the test scans, or run it on them, and score it at each site; all is kept.

    Returns:
        one row for each product and site.

    Raises:
        BadTable: a table cannot be read, holds too few of a site's test scans, or labels them otherwise.
        BadCheckpoint, BadStudy: a model that is to be run is missing, damaged, or not what the study file says.
    """
    for file in (folder.products, folder.product_scores, folder.product_local, folder.kept_patients):
        file.unlink(missing_ok=True)
    if not study.products:
        return []
    scans = [row for row in usable_rows(folder) if row.subset == "test"]
    tables = [product for product in study.products if isinstance(product, Product)]
    rows = {product.name: match_product(product, study, scans) for product in tables}
    rows |= run_products(study, folder, scans, workers)
    matched = [row for product in study.products for row in rows[product.name]]
    PRODUCTS.write(folder.products, matched)
    kept = keep_patients(study.split, scans)
    if study.split.local:
        write_kept(folder, kept)
        say_kept(kept, scans)
    pairs = [(product.name, site.name) for product in study.products for site in study.sites]
    cells = [[row for row in matched if (row.model, row.site) == pair] for pair in pairs]
    found = [row for cell in cells if (row := _score(study, [r for r in cell if not is_kept(r, kept)]))]
    made_from = _made_from(folder, asdict(study.evaluation), study.seed)
    if found:
        PRODUCT_SCORES.write(folder.product_scores, found, made_from)
    if found and study.split.local:
        readings = [row for cell in cells for row in local_readings(cell, kept)]
        PRODUCT_LOCAL.write(folder.product_local, readings, made_from)
    return found


def read_products(folder: Folder) -> list[ProductRow]:
    """The rows of products.parquet; none where the study has no product.

    Raises:
        BadStudy: the table is damaged or of another format.
    """
    return PRODUCTS.read(folder.products) if folder.products.is_file() else []


def read_product_scores(folder: Folder, settings: Mapping[str, Any]) -> list[ProductScoreRow]:
    """The rows of product_scores.parquet, which must be made from products.parquet as it is.

    Raises:
        BadStudy: the table is damaged or of another format.
        BadTable: the rows are made from another; the study must be run again.
    """
    made_from = _made_from(folder, dict(settings["evaluation"]), settings["seed"])
    return _made_from_this(PRODUCT_SCORES, folder.product_scores, made_from)


def read_local_readings(folder: Folder, settings: Mapping[str, Any]) -> list[LocalReadingRow]:
    """The rows of product_local.parquet; none where no patient is kept. Raises as `read_product_scores`."""
    made_from = _made_from(folder, dict(settings["evaluation"]), settings["seed"])
    return _made_from_this(PRODUCT_LOCAL, folder.product_local, made_from)


def _made_from_this(form: TableFormat[Kind], path: Path, made_from: str) -> list[Kind]:
    if not path.is_file():
        return []
    rows, known = form.read_made_from(path)
    if known != made_from:
        what = "does not belong to products.parquet, or to [evaluation], in this folder"
        raise BadTable(path, what, "Run `elsewhere study` again")
    return rows


def _made_from(folder: Folder, evaluation: object, seed: int) -> str:
    kept = [folder.kept_patients] if folder.kept_patients.is_file() else []
    return key("product scores", folder.products, evaluation, seed, *kept)


# Which row of the table is which scan ------------------------------------------------------------------------------


def match_product(product: Product, study: Study, scans: Sequence[ScanRow]) -> list[ProductRow]:
    """One row for each test scan of the sites that a product's table holds.

    A row is that of the scan with its id, with or without the ending of a file; where the table names no scan, that of
    the patient, if it has one test scan. A site of which the table holds nothing is one that the product was not given.

    Args:
        product: with its table.
        study: for its sites.
        scans: usable test scans.

    Raises:
        BadTable: the table cannot be read; one id may be two scans; fewer than 95 % of a site's test scans have a row;
            labels differ.
    """
    given: dict[Role, str] = {"score": product.score} if product.score else {}
    table = read_score_table(product.table, given, scale=product.scale, threshold=product.threshold, lenient=True)
    if not table.is_probability:
        raise BadTable(table.where, f"holds scores of the scale {table.scale}", "`elsewhere evaluate` takes any scale")
    if len(set(zip(table.finding, table.version, strict=True))) > 1:
        raise BadTable(
            table.where, "holds several findings or versions", "Give a table for each, as models of their own"
        )
    by_patient = "scan" not in table.columns
    if by_patient and "patient" not in table.columns:
        raise BadTable(table.where, "has no column that names the scan or the patient", "Add a column `scan`")
    places = _index(table, by_patient, {site.name for site in study.sites})
    found: list[ProductRow] = []
    for site in study.sites:
        own = [row for row in scans if row.site == site.name]
        at = [_place(table, places, row, by_patient) for row in own]
        absent = [row.scan for row, i in zip(own, at, strict=True) if i is None]
        if len(absent) == len(own):
            continue
        if len(absent) > (1 - LEAST_FOUND) * len(own):
            what = f"holds {len(own) - len(absent)} of the {len(own)} test scans of {site.name}; not there"
            then = "Give each of them a row, also those that the product refuses"
            raise BadTable(table.where, f"{what}: {', '.join(absent[:3])}", then)
        found += [_row(product, table, row, i) for row, i in zip(own, at, strict=True)]
    if not found:
        theirs, ours = ", ".join(table.scan[:3]), ", ".join(row.scan for row in scans[:3])
        raise BadTable(
            table.where, f"holds no test scan of the study (its ids: {theirs}; ours: {ours})", "Make ids agree"
        )
    return found


def _index(table: ScoreTable, by_patient: bool, sites: set[str]) -> dict[tuple[str, str], int]:
    """(site or "", id) -> row of the table; sites only where the table's are those of the study."""
    apart = set(table.site) <= sites and "site" in table.columns
    found: dict[tuple[str, str], int] = {}
    loose: dict[tuple[str, str], list[int]] = {}
    for i, name in enumerate(table.patient if by_patient else table.scan):
        site, (exact, plain) = table.site[i] if apart else "", _keys(name)
        j = found.setdefault((site, exact), i)
        if j != i:
            what = f"line {table.line[i]}: {name!r} stands here and in line {table.line[j]}"
            raise BadTable(table.where, what, "Keep one row per scan, or add a column `site`")
        loose.setdefault((site, plain), []).append(i)
    return {key: rows[0] for key, rows in loose.items() if len(rows) == 1} | found


def _keys(name: str) -> tuple[str, str]:
    plain = alike(name).casefold().replace("\\", "/")
    return plain, FILE_ENDS.sub("", plain)


def _place(table: ScoreTable, places: Mapping[tuple[str, str], int], row: ScanRow, by_patient: bool) -> int | None:
    name, sites = row.patient if by_patient else row.scan, (row.site, "")
    i = next((i for site in sites for key in _keys(name) if (i := places.get((site, key))) is not None), None)
    if i is not None and table.label[i] not in {UNKNOWN_LABEL, row.label}:
        what = f"line {table.line[i]}: {name!r} has the label {table.label[i]}, in the study {row.label}"
        raise BadTable(table.where, what, "Correct the label there or in the site's labels table")
    return i


def _row(product: Product, table: ScoreTable, row: ScanRow, place: int | None) -> ProductRow:
    score = np.nan if place is None else float(table.score[place])
    known = bool(np.isfinite(score))
    call = None
    if known and place is not None and table.call is not None:
        call = int(table.call[place]) if table.call[place] >= 0 else None
    elif known and table.threshold is not None:
        call = int(score >= table.threshold)
    reason = NO_ROW if place is None else table.refused[place] or "no score, no reason given"
    return ProductRow(
        model=product.name,
        site=row.site,
        patient=row.patient,
        scan=row.scan,
        label=row.known_label,
        probability=score if known else None,
        call=call,
        reason="" if known else reason,
        threshold=table.threshold,
    )


# Models that are run -----------------------------------------------------------------------------------------------


def run_products(
    study: Study, folder: Folder, scans: Sequence[ScanRow], workers: int | None = None
) -> dict[str, list[ProductRow]]:
    """Name of each model that can be run -> one row for each scan; printed is how many it answered.

    Raises:
        BadCheckpoint, BadStudy: as `ask_models`.
    """
    models = [product for product in study.products if isinstance(product, Declared)]
    answers = ask_models(study, folder, scans, models, workers)
    found: dict[str, list[ProductRow]] = {}
    for model in models:
        threshold = threshold_of(model)
        own = [answers[model.name, row.site, row.scan] for row in scans]
        rows = [_of_answer(model.name, row, answer, threshold) for row, answer in zip(scans, own, strict=True)]
        found[model.name] = rows
        for remark in dict.fromkeys(remark for answer in own for remark in answer.remarks):
            engine.say(f"{model.name}: {remark}.", "Note:", "yellow")
        lost = [row for row in rows if row.probability is None]
        if lost:
            first = f"the first, {lost[0].site}/{lost[0].scan}: {lost[0].reason}"
            said = f"to {len(lost)} of {numbered(len(scans), 'scan')}; {first}"
            engine.say(said, f"{model.name} gave no answer", "yellow")
    return found


def _of_answer(name: str, row: ScanRow, answer: Answer, threshold: float | None) -> ProductRow:
    probability = answer.probability
    return ProductRow(
        model=name,
        site=row.site,
        patient=row.patient,
        scan=row.scan,
        label=row.known_label,
        probability=probability,
        call=None if probability is None or threshold is None else int(probability >= threshold),
        reason=answer.reason,
        threshold=threshold,
    )


# Scores --------------------------------------------------------------------------------------------------------------


def _score(study: Study, rows: Sequence[ProductRow]) -> ProductScoreRow | None:
    """One product at one site, as a study's scores; None where it gave no score there."""
    answered = [(r, r.probability) for r in rows if r.probability is not None]
    if not answered:
        return None
    first, calls = answered[0][0], [r.call for r, _ in answered]
    decided = all(call is not None for call in calls)
    point = OperatingPoint(0.5 if first.threshold is None else first.threshold, "grid", "model", float("nan"), 0)
    cell: dict[str, Any] = score_cell(
        np.array([r.label for r, _ in answered]),
        np.array([r.patient for r, _ in answered]),
        np.array([probability for _, probability in answered]),
        operating_point=point,
        called=np.array(calls) if decided else None,
        resamples=study.evaluation.resamples,
        seed=study.seed,
    ).to_record()
    cell |= dict.fromkeys(ONLY_DECISIONS) if not decided else {}
    cell |= {"threshold": None} if first.threshold is None else {}
    lost = proportion_interval(np.array([r.probability is None for r in rows]), np.array([r.patient for r in rows]))
    return ProductScoreRow(
        model=first.model,
        site=first.site,
        **cell,
        given=len(rows),
        unanswered=len(rows) - len(answered),
        unanswered_share=lost.estimate,
        unanswered_low=lost.low,
        unanswered_high=lost.high,
    )

"""One study's records in; the page's tables out, each printed on the page and kept whole as CSV."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elsewhere.audit_rows import OddityRow, RuleRow
from elsewhere.pages.report.content import Audit, Record, Study
from elsewhere.pages.report.learned import marked_names
from elsewhere.pages.report.records import (
    KINS,
    averages,
    cell,
    groups,
    index,
    kin_of,
    number,
    one_class,
    record_of,
    value_in,
)
from elsewhere.pages.report.shown_rows import PatientsRow
from elsewhere.pages.report.table import Column, Table, marked_site, plain, plain_table
from elsewhere.pages.report.words import (
    NOT_MEASURED,
    estimate,
    figure,
    one_class_words,
    rule_p,
    rule_sees,
    share_words,
    spread,
)
from elsewhere.rows import ScoreRow, SeedRow
from elsewhere.statistics.audit import CountRow
from elsewhere.statistics.strata import age_words
from elsewhere.table_format import to_json
from elsewhere.wording import numbered

CLASSES = {1: "positive", 0: "negative", None: "unlabelled"}
SUBSETS = {"train": "train", "validation": "val.", "test": "test"}
ODDITIES_ON_PAGE = 12


def data_table(study: Study, name: str) -> Table:
    """Table 1: patients, scans and slices per site, class and subset."""
    places = {site.name: site for site in study.sites}
    order = {name: place for place, name in enumerate(places)}
    rows: dict[tuple[str, int | None], dict[str, Any]] = {}
    for r in sorted(study.counts, key=lambda r: order.get(r.site, 99)):
        site = places.get(r.site)
        blank = {"site": r.site, "country": site.country if site else "", "form": site.form if site else ""}
        row = rows.setdefault((r.site, r.label), blank | {"class": _class_words(r)})
        for unit, number_ in (("patients", r.patients), ("scans", r.scans), ("slices", r.slices)):
            row[f"{unit}_{r.subset}"] = number_
            row[unit] = row.get(unit, 0) + number_
    columns = [
        Column(k, h) for k, h in (("site", "Site"), ("country", "Country"), ("form", "Format"), ("class", "Class"))
    ]
    for unit in ("patients", "scans"):
        columns.append(Column(unit, unit.capitalize(), None, numeric=True))
        columns += [Column(f"{unit}_{s}", h, _zero, numeric=True) for s, h in SUBSETS.items()]
    columns.append(Column("slices", "Slices", None, numeric=True))
    ordered = sorted(rows, key=lambda key: (order.get(key[0], 99), -RANKS.get(key[1], 0)))
    caption = "Patients, scans and slices per site and class, and how they were split (by patient)."
    return Table(name, caption, columns, [rows[key] for key in ordered])


RANKS: dict[int | None, int] = {1: 2, 0: 1}
"""Label -> order of the classes within a site, the highest first."""


def _class_words(row: CountRow | PatientsRow) -> str:
    return CLASSES.get(row.label, str(row.label))


def patient_table(study: Study, name: str) -> Table:
    """Who the patients are; without rows where no scan tells age, sex or date."""
    rows = [r for r in study.patients if r.age_known or r.sex_known or r.first_month]
    columns = [
        Column("site", "Site"),
        Column("class", "Class", value=_class_words),
        Column("subset", "Subset"),
        Column("patients", "Patients", None, numeric=True),
        Column("age", "Age, median (quartiles)", _age_words, numeric=True),
        Column("women", "Women", _women_words, numeric=True),
        Column("first_month", "Scanned", lambda v, r: f"{v} to {r.last_month}" if v else "–"),
    ]
    note = "Each patient once. In brackets after the share of women: patients whose sex is known."
    return Table(name, "Who the patients are, as far as their scans tell.", columns, rows, note)


def _age_words(value: float | None, row: PatientsRow) -> str:
    if value is None or row.age_low is None or row.age_high is None:
        return "–"
    return f"{age_words(value)} ({age_words(row.age_low)}–{age_words(row.age_high)})"


def _women_words(value: float | None, row: PatientsRow) -> str:
    return "–" if value is None else f"{value:.0%} ({row.sex_known})"


@dataclass(frozen=True)
class MeanRow:
    """The mean AUC over the cells of one kin, with its 95 % interval and the smallest and largest AUC."""

    group: str
    cells: int
    mean_auc: float
    low: float
    high: float
    smallest: float
    largest: float
    method: str


def group_table(study: Study, name: str) -> Table:
    """Mean AUC at home, at seen and at unseen sites."""
    rows = [
        MeanRow(KINS[g.kin], len(g.aucs), g.mean, g.low, g.high, min(g.aucs), max(g.aucs), g.method)
        for g in groups(study)
    ]
    columns = [
        Column("group", "Test site was"),
        Column("cells", "Cells", None, numeric=True),
        Column("mean_auc", "Mean AUC (95 %)", lambda v, r: estimate(v, r.low, r.high), numeric=True),
        Column("smallest", "Smallest", lambda v, _: figure(v), numeric=True),
        Column("largest", "Largest", lambda v, _: figure(v), numeric=True),
    ]
    methods = ", or ".join(dict.fromkeys(row.method for row in rows))
    note = f"How the interval was made: {methods}." if methods else ""
    return Table(name, "Mean AUC by what the network knew of the test site.", columns, rows, note)


def trainings(study: Study, name: str) -> Table:
    """AUC of every cell over trainings with several seeds, beside the spreads over patients and dropout passes."""
    rows = [row for row in study.trainings if row.score == "auc"]
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("site", "Tested at"),
        Column("first", "First training (95 %, by patient)", _sampled_words, numeric=True),
        Column("dropout_sd", "± over dropout passes", lambda v, _: figure(v, 3), numeric=True),
        Column("seeds", "Trainings", None, numeric=True),
        Column("mean", "Their mean", lambda v, _: figure(v), numeric=True),
        Column("standard_deviation", "± over trainings", lambda v, _: figure(v, 3), numeric=True),
        Column("smallest", "Smallest to largest", lambda v, r: f"{figure(v)} to {figure(r.largest)}", numeric=True),
    ]
    note = (
        "The trainings differ in their seed alone. The three spreads answer three questions, and none holds another: "
        "other patients of the same site, other dropout masks in the same network, another training of it."
    )
    return Table(name, "AUC over several trainings of each network.", columns, rows, note)


def _sampled_words(value: Any, row: SeedRow) -> str:
    return estimate(value, row.sampling_low, row.sampling_high)


def cell_table(study: Study, name: str) -> Table:
    """Every model at every site: the AUC three ways, with its spreads kept apart."""
    cells = index(study.scores)
    rows = []
    for model in study.scored:
        for site in study.sites:
            row = cell(cells, model.name, site.name)
            ranking = {
                k: v
                for k, v in (record_of(row) if row else {}).items()
                if k.startswith(("auc", "baseline", "sens", "spec")) or k in _SIZES
            }
            note = (row.note or "") if row else NOT_MEASURED
            rows.append(
                {"model": model.name, "site": site.name, "kin": kin_of(model, site.name), **ranking, "note": note}
            )
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("site", "Tested at", marked_site),
        Column("positives", "Scans + / −", _sizes_words, numeric=True),
        Column("patients", "Patients", None, numeric=True),
        Column("auc", "AUC (95 %, by patient)", _auc_words(cells), numeric=True),
        Column("auc_grid", "Grid AUC", lambda v, _: figure(v, 3), numeric=True),
        Column("auc_grid_dropout_mean", "Over dropout passes", _dropout_words, numeric=True),
        Column("sensitivity", "Sensitivity (a)", share_words("sensitivity"), numeric=True),
        Column("specificity", "Specificity (a)", share_words("specificity"), numeric=True),
    ]
    note = (
        "Exact AUC is Mann–Whitney's; grid AUC is the paper's, on thresholds 0 to 1 by 0.01, and is biased where the "
        "network's outputs saturate. The interval says how far the AUC would move with other patients of the same "
        "site; the ± only how far it moves over dropout passes of the same network on the same scans. "
        "The CSV holds the bootstrap interval and the spread of the exact AUC too."
    )
    return Table(name, "Ranking: every model at every site.", columns, rows, note)


def decision_table(study: Study, name: str) -> Table:
    """Every model at every site under both threshold readings."""
    wanted = [(m, s, r) for m in study.scored for s in study.sites for r in ("model", "site")]
    cells = index(study.scores)
    rows = []
    for model, site, reading in wanted:
        row = cell(cells, model.name, site.name, reading)
        if row:
            kept = {k: v for k, v in record_of(row).items() if not k.startswith("auc")}
            rows.append(kept | {"reading": "a" if reading == "model" else "b", "kin": kin_of(model, site.name)})
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("site", "Tested at", marked_site),
        Column("reading", "Reading"),
        Column("threshold", "Threshold", _threshold_cell, numeric=True),
        *(
            Column(key, heading, None, numeric=True)
            for key, heading in (
                ("true_positive", "TP"),
                ("false_negative", "FN"),
                ("false_positive", "FP"),
                ("true_negative", "TN"),
            )
        ),
        Column("accuracy", "Accuracy (95 %)", share_words("accuracy"), numeric=True),
        Column("baseline_majority_accuracy", "Majority class", lambda v, _: figure(v), numeric=True),
        Column("sensitivity", "Sensitivity (95 %)", share_words("sensitivity"), numeric=True),
        Column("specificity", "Specificity (95 %)", share_words("specificity"), numeric=True),
        Column("balanced_accuracy", "Balanced accuracy", lambda v, _: figure(v), numeric=True),
    ]
    note = ""
    if noted := sum(bool(value_in(row, "threshold_note")) for row in rows):
        note = (
            f"* in {noted} of {len(rows)} rows: on the validation scans no threshold is more accurate than calling "
            "every scan the same; the column threshold_note of the CSV says which call, and what was done."
        )
    return Table(name, "Decisions: every model at every site under both threshold readings.", columns, rows, note)


def average_table(study: Study, name: str) -> Table:
    """The paper's Average and Combined of every model."""
    rows = []
    for model in study.models:
        for reading, letter in (("model", "a"), ("site", "b")):
            for a in averages(study, model.name, reading):
                counts = a.confusion.counts if a.confusion else None
                majority = float(counts.sum(axis=1).max() / counts.sum()) if counts is not None else None
                rows.append(
                    {
                        "model": model.name,
                        "reading": letter,
                        "over": a.name,
                        "accuracy": a.accuracy,
                        "majority_accuracy": majority,
                        "sensitivity": a.sensitivity,
                        "specificity": a.specificity,
                    }
                )
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("reading", "Reading"),
        Column("over", "Over sites"),
        *(
            Column(key, heading, lambda v, _: figure(v), numeric=True)
            for key, heading in (
                ("accuracy", "Accuracy"),
                ("majority_accuracy", "Majority class"),
                ("sensitivity", "Sensitivity"),
                ("specificity", "Specificity"),
            )
        ),
    ]
    note = "Average: unweighted mean over sites; a site without one class counts only in the rate it has. "
    note += "Combined: counts added up."
    return Table(name, "Average and Combined over all test sites.", columns, rows, note)


def model_table(study: Study, name: str) -> Table:
    """What was trained, and how it ended."""
    rows = [
        {
            "model": m.name,
            "trained_on": " + ".join(m.trained_on),
            "best_iteration": m.best_iteration,
            "kept_validation_accuracy": _kept_accuracy(study, m.name, m.best_iteration),
            "weights": m.weights,
        }
        for m in study.models
    ]
    columns = [
        Column("trained_on", "Trained on"),
        Column("best_iteration", "Weights kept of iteration", None, numeric=True),
        Column(
            "kept_validation_accuracy",
            "Their validation accuracy",
            lambda v, _: figure(v, 3),
            numeric=True,
        ),
        Column("weights", "Checkpoint checksum", lambda v, _: v[:12] if v else "–"),
    ]
    return Table(name, "Trained networks.", columns, rows)


def audit_tables(audit: Audit, slug: str) -> list[Table]:
    """Confounding, leaks, duplicates, facts, looks and odd scans; a table that would be empty is left out."""
    rules = list(audit.confounding)
    if audit.site_only_auc is not None:
        rules.insert(0, RuleRow("site only", "all sites together", audit.site_only_auc))
    copies = [{"group": i} | vars(scan) for i, group in enumerate(audit.duplicates, start=1) for scan in group]
    leaks = [vars(leak) | {"subsets": " and ".join(leak.subsets)} for leak in audit.leaks]
    facts, looks = (
        [vars(row) | {"label": CLASSES.get(row.label)} for row in given] for given in (audit.facts, audit.looks)
    )
    tables = [
        _confounding_table(f"{slug}-confounding", rules),
        plain_table(f"{slug}-leaks", "Leaks: what stands on two sides of a split.", leaks),
        plain_table(f"{slug}-duplicates", "Copies: groups of scans with equal voxels.", copies),
        plain_table(f"{slug}-facts", "What differs between the classes of a site besides disease.", facts),
        plain_table(f"{slug}-looks", "How the scans look: shares of the scans of each site and class.", looks),
        _oddity_table(f"{slug}-forensics", audit.forensics),
    ]
    return [table for table in tables if table.rows]


def bad_scan_table(study: Study, name: str) -> Table:
    """Scans that could not be used, and what to do about each."""
    rows = study.bad_scans
    headings = {"site": "Site", "scan": "Scan", "path": "File", "reason": "What is wrong", "next_step": "What to do"}
    return plain_table(name, f"Scans that could not be used: {len(rows)}.", rows, headings)


def settings_table(study: Study, name: str) -> Table:
    """Everything that made this study, one row a setting."""
    given: dict[str, Any] = {"split hash": study.split_hash or NOT_MEASURED}
    for part, values in (("seed", study.seeds), ("version", study.versions), ("departure", study.departures)):
        given |= {f"{part} · {key}": value for key, value in values.items()}
    rows = [{"setting": key, "value": value} for key, value in (given | _flat(study.settings)).items()]
    columns = [Column("setting", "Setting"), Column("value", "Value", lambda v, _: _value_words(v))]
    return Table(name, "All settings, versions and seeds.", columns, rows)


def roc_rows(study: Study) -> list[dict[str, str | float]]:
    """The points behind Figures 5 and 6, one row a point."""
    rows: list[dict[str, str | float]] = []
    for band in study.rocs:
        for fpr, tpr in zip(band.fpr, band.tpr, strict=True):
            rows.append({"model": band.model, "site": band.site, "kind": "curve", "fpr": float(fpr), "tpr": float(tpr)})
        for fpr, low, high in zip(band.band_fpr, band.band_low, band.band_high, strict=True):
            head = {"model": band.model, "site": band.site, "kind": "dropout band"}
            rows.append({**head, "fpr": float(fpr), "low": float(low), "high": float(high)})
    return rows


_SIZES = ("scans", "patients", "positives", "negatives", "positive_patients", "negative_patients", "dropout_passes")


def _auc_words(cells: Mapping[tuple[str, str, str], ScoreRow]) -> Callable[[Any, object], str]:
    def words(_: Any, row: object) -> str:
        found = cell(cells, value_in(row, "model"), value_in(row, "site"))
        if found and one_class(found):
            return one_class_words(found)[0]
        if found is None or number(found.auc) is None:
            return NOT_MEASURED
        return estimate(found.auc, found.auc_sampling_low, found.auc_sampling_high, 3)

    return words


def _sizes_words(positives: Any, row: object) -> str:
    return f"{plain(positives)} / {plain(value_in(row, 'negatives'))}"


def _dropout_words(value: Any, row: object) -> str:
    return spread(value, value_in(row, "auc_grid_dropout_sd"))


def _threshold_cell(value: Any, row: object) -> str:
    mark = "*" if value_in(row, "threshold_note") else ""
    return ("argmax" if value_in(row, "threshold_rule") == "argmax" else figure(value)) + mark


def _zero(value: Any, _: object) -> str:
    return plain(value or 0)


def _kept_accuracy(study: Study, model: str, iteration: int | None) -> float | None:
    """Validation accuracy of the weights that were kept, which need not be the highest of the training."""
    rows = [r for r in study.curves if r.model == model and r.iteration == iteration]
    values = [value for r in rows if (value := number(r.logged.get("validation_accuracy"))) is not None]
    return values[-1] if values else None


def _confounding_table(name: str, rules: Sequence[RuleRow]) -> Table:
    caption = f"Rules that see only {rule_sees(rules)}: how well they tell the classes apart."
    given = [{**vars(rule), "facts": rule.facts or None} for rule in rules]
    known = [key for key in (given[0] if given else ()) if any(row[key] is not None for row in given)]
    rows = [{key: row[key] for key in known} for row in given]
    own = {
        "rule": Column("rule", "A rule that knows only"),
        "sites": Column("sites", "Sites"),
        "auc": Column("auc", "AUC", lambda v, _: figure(v), numeric=True),
        "p_value": Column("p_value", "p", lambda v, r: rule_p(v, value_in(r, "permutations")), numeric=True),
    }
    return Table(name, caption, [own.get(c.key, c) for c in plain_table(name, caption, rows).columns], rows)


def _oddity_table(name: str, rows: Sequence[OddityRow]) -> Table:
    leaks = sum(bool(row.suspected_leak) for row in rows)
    pairs = [row for row in rows if row.is_pair]
    expected = sum(row.of_one_patient for row in pairs)
    caption = (
        f"Odd scans, seen in the pictures alone: {numbered(len(rows) - len(pairs), 'finding')} on single scans, and "
        f"{numbered(len(pairs), 'pair')} of scans that look like one body ({expected} within a "
        f"patient); {numbered(leaks, 'suspected leak')}."
    )
    note = (
        "Suspicions, to be looked at one by one; nothing was left out because of them. Pairs of one patient stand last."
    )
    named = [
        to_json(row) | {"suspected_leak": "yes" if row.suspected_leak else ""}
        for row in sorted(rows, key=lambda row: row.of_one_patient)
    ]
    columns = [
        Column("finding", "Finding"),
        Column("suspected_leak", "Suspected leak"),
        Column("detail", "What was seen"),
        Column("scan", "Scan", lambda _, r: _scan_words(r, "")),
        Column("other_scan", "Other scan", lambda v, r: _scan_words(r, "other_") if v else "–"),
    ]
    return Table(name, caption, columns, named, note, most=ODDITIES_ON_PAGE)


def _scan_words(row: Record, which: str) -> str:
    return f"{row.get(f'{which}site')}: {row.get(f'{which}scan')} ({row.get(f'{which}subset')})"


def _flat(settings: Mapping[str, Any], head: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{head}{key} · ") if isinstance(value, Mapping) else {f"{head}{key}": value}
    return flat


def _value_words(value: Any) -> str:
    nested = isinstance(value, (list, tuple)) and any(isinstance(v, (list, tuple, Mapping)) for v in value)
    return json.dumps(value, ensure_ascii=False, default=str) if nested else plain(value)

"""One study's records in; the page's tables out, each printed on the page and kept whole as CSV."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from elsewhere.audit_rows import OddityRow, RuleRow
from elsewhere.pages.figures.cells import MARKS
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
)
from elsewhere.pages.report.table import Column, Table, plain, plain_table
from elsewhere.pages.report.words import (
    NOT_MEASURED,
    estimate,
    figure,
    one_class_words,
    rule_p,
    rule_sees,
    share_words,
    signed,
    spread,
)
from elsewhere.rows import ScoreRow
from elsewhere.statistics.strata import age_words
from elsewhere.table_format import to_json
from elsewhere.wording import numbered

CLASSES = {1: "positive", 0: "negative", None: "unlabelled"}
SUBSETS = {"train": "train", "validation": "val.", "test": "test"}
ODDITIES_ON_PAGE = 12


def data_table(study: Study, name: str) -> Table:
    """Table 1: patients, scans and slices per site, class and subset."""
    places = {site.name: site for site in study.sites}
    rows: dict[tuple[str, Any], dict[str, Any]] = {}
    for r in sorted(study.counts, key=lambda r: list(places).index(r.site) if r.site in places else 99):
        site = places.get(r.site)
        blank = {"site": r.site, "country": site.country if site else "", "form": site.form if site else ""}
        row = rows.setdefault((r.site, r.label), blank | {"class": CLASSES.get(r.label, str(r.label))})
        for unit, number_of in (("patients", r.patients), ("scans", r.scans), ("slices", r.slices)):
            row[f"{unit}_{r.subset}"] = number_of
            row[unit] = row.get(unit, 0) + number_of
    columns = [
        Column(k, h) for k, h in (("site", "Site"), ("country", "Country"), ("form", "Format"), ("class", "Class"))
    ]
    for unit in ("patients", "scans"):
        columns.append(Column(unit, unit.capitalize(), None, numeric=True))
        columns += [Column(f"{unit}_{s}", h, _zero, numeric=True) for s, h in SUBSETS.items()]
    columns.append(Column("slices", "Slices", None, numeric=True))
    ordered = sorted(
        rows.values(), key=lambda row: (list(places).index(row["site"]) if row["site"] in places else 99, -_rank(row))
    )
    return Table(
        name, "Patients, scans and slices per site and class, and how they were split (by patient).", columns, ordered
    )


def patient_table(study: Study, name: str) -> Table:
    """Who the patients are; without rows where no scan tells age, sex or date."""
    told = [r for r in study.patients if r["age_known"] or r["sex_known"] or r["first_month"]]
    rows = [{**r, "class": CLASSES.get(r["label"], str(r["label"]))} for r in told]
    columns = [
        Column("site", "Site"),
        Column("class", "Class"),
        Column("subset", "Subset"),
        Column("patients", "Patients", None, numeric=True),
        Column("age", "Age, median (quartiles)", _age_words, numeric=True),
        Column("women", "Women", _women_words, numeric=True),
        Column("first_month", "Scanned", lambda v, r: f"{v} to {r['last_month']}" if v else "–"),
    ]
    note = "Each patient once. In brackets after the share of women: patients whose sex is known."
    return Table(name, "Who the patients are, as far as their scans tell.", columns, rows, note)


def _age_words(value: Any, row: Record) -> str:
    if not row["age_known"]:
        return "–"
    return f"{age_words(value)} ({age_words(row['age_low'])}–{age_words(row['age_high'])})"


def _women_words(value: Any, row: Record) -> str:
    return f"{value:.0%} ({row['sex_known']})" if row["sex_known"] else "–"


def group_table(study: Study, name: str) -> Table:
    """Mean AUC at home, at seen and at unseen sites."""
    rows = [
        {
            "group": KINS[g.kin],
            "cells": len(g.aucs),
            "mean_auc": g.mean,
            "low": g.low,
            "high": g.high,
            "smallest": min(g.aucs),
            "largest": max(g.aucs),
            "method": g.method,
        }
        for g in groups(study)
    ]
    columns = [
        Column("group", "Test site was"),
        Column("cells", "Cells", None, numeric=True),
        Column("mean_auc", "Mean AUC (95 %)", lambda v, r: estimate(v, r["low"], r["high"]), numeric=True),
        Column("smallest", "Smallest", lambda v, _: figure(v), numeric=True),
        Column("largest", "Largest", lambda v, _: figure(v), numeric=True),
    ]
    methods = ", or ".join(dict.fromkeys(str(row["method"]) for row in rows))
    note = f"How the interval was made: {methods}." if methods else ""
    return Table(name, "Mean AUC by what the network knew of the test site.", columns, rows, note)


def trainings(study: Study, name: str) -> Table:
    """AUC of every cell over trainings with several seeds, beside the spreads over patients and dropout passes."""
    rows = [record_of(row) for row in study.trainings if row.score == "auc"]
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("site", "Tested at"),
        Column("first", "First training (95 %, by patient)", _sampled_words, numeric=True),
        Column("dropout_sd", "± over dropout passes", lambda v, _: figure(v, 3), numeric=True),
        Column("seeds", "Trainings", None, numeric=True),
        Column("mean", "Their mean", lambda v, _: figure(v), numeric=True),
        Column("standard_deviation", "± over trainings", lambda v, _: figure(v, 3), numeric=True),
        Column("smallest", "Smallest to largest", lambda v, r: f"{figure(v)} to {figure(r['largest'])}", numeric=True),
    ]
    note = (
        "The trainings differ in their seed alone. The three spreads answer three questions, and none holds another: "
        "other patients of the same site, other dropout masks in the same network, another training of it."
    )
    return Table(name, "AUC over several trainings of each network.", columns, rows, note)


def _sampled_words(value: Any, row: Record) -> str:
    return estimate(value, row["sampling_low"], row["sampling_high"])


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
        Column("site", "Tested at", lambda v, r: f"{MARKS[r['kin']]}\u00a0{v}"),
        Column("positives", "Scans + / −", lambda v, r: f"{plain(v)} / {plain(r.get('negatives'))}", numeric=True),
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
        Column("site", "Tested at", lambda v, r: f"{MARKS[r['kin']]}\u00a0{v}"),
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
    if noted := sum(bool(row.get("threshold_note")) for row in rows):
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
    rows = [vars(row) for row in study.bad_scans]
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


def protocol_table(studies: Sequence[Study], name: str) -> Table:
    """One row a study: its departures and what they buy against the study nearest to it."""
    ordered = sorted(studies, key=lambda s: len(s.departures))
    rows = []
    for place, study in enumerate(ordered):
        nearest = min(ordered[:place], key=lambda s: len(_changed(study, s)), default=None)
        rows.append(_protocol_row(study, nearest))
    columns = [
        Column("study", "Protocol"),
        Column("home", "At home", lambda v, r: estimate(v, r["home_low"], r["home_high"]), numeric=True),
        Column("unseen", "Elsewhere", lambda v, r: estimate(v, r["unseen_low"], r["unseen_high"]), numeric=True),
        Column("fall", "Fall", lambda v, _: figure(v), numeric=True),
        Column("against", "Against", lambda v, _: v or "–"),
        Column("change", "What was changed", lambda v, _: v or "–"),
        Column("home_gain", "Gain at home", lambda v, _: signed(v), numeric=True),
        Column("unseen_gain", "Gain elsewhere", lambda v, _: signed(v), numeric=True),
    ]
    note = "Fall: the difference of the two means, whatever networks stand behind each."
    return Table(name, "Mean AUC per protocol, and what each change buys.", columns, rows, note)


def roc_rows(study: Study) -> list[dict[str, Any]]:
    """The points behind Figures 5 and 6, one row a point."""
    rows = []
    for band in study.rocs:
        for fpr, tpr in zip(band.fpr, band.tpr, strict=True):
            rows.append({"model": band.model, "site": band.site, "kind": "curve", "fpr": float(fpr), "tpr": float(tpr)})
        for fpr, low, high in zip(band.band_fpr, band.band_low, band.band_high, strict=True):
            row = {"model": band.model, "site": band.site, "kind": "dropout band", "fpr": float(fpr)}
            rows.append(row | {"low": float(low), "high": float(high)})
    return rows


_SIZES = ("scans", "patients", "positives", "negatives", "positive_patients", "negative_patients", "dropout_passes")


def _auc_words(cells: Mapping[tuple[str, str, str], ScoreRow]) -> Callable[[Any, Record], str]:
    def words(_: Any, row: Record) -> str:
        found = cell(cells, str(row["model"]), str(row["site"]))
        if found and one_class(found):
            return one_class_words(found)[0]
        if found is None or number(found.auc) is None:
            return NOT_MEASURED
        return estimate(found.auc, found.auc_sampling_low, found.auc_sampling_high, 3)

    return words


def _dropout_words(value: Any, row: Record) -> str:
    return spread(value, row.get("auc_grid_dropout_sd"))


def _threshold_cell(value: Any, row: Record) -> str:
    mark = "*" if row.get("threshold_note") else ""
    return ("argmax" if row.get("threshold_rule") == "argmax" else figure(value)) + mark


def _zero(value: Any, _: Record) -> str:
    return plain(value or 0)


def _rank(row: Record) -> int:
    return list(CLASSES.values())[::-1].index(row["class"]) if row["class"] in CLASSES.values() else 0


def _kept_accuracy(study: Study, model: str, iteration: int | None) -> float | None:
    """Validation accuracy of the weights that were kept, which need not be the highest of the training."""
    rows = [r for r in study.curves if str(r["model"]) == model and number(r.get("iteration")) == iteration]
    values = [value for r in rows if (value := number(r.get("validation_accuracy"))) is not None]
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
        "p_value": Column("p_value", "p", lambda v, r: rule_p(v, r.get("permutations")), numeric=True),
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


def _changed(study: Study, other: Study) -> list[str]:
    options = dict.fromkeys([*study.departures, *other.departures])
    return [key for key in options if study.departures.get(key) != other.departures.get(key)]


def _protocol_row(study: Study, nearest: Study | None) -> dict[str, Any]:
    means, theirs = ({g.kin: g for g in groups(s)} if s else {} for s in (study, nearest))
    row: dict[str, Any] = {"study": study.name, "against": nearest.name if nearest else ""}
    for kin in ("home", "unseen"):
        found, other = means.get(kin), theirs.get(kin)
        row |= {kin: found.mean if found else None}
        row |= {f"{kin}_low": found.low if found else None, f"{kin}_high": found.high if found else None}
        row[f"{kin}_gain"] = found.mean - other.mean if found and other else None
    row["fall"] = row["home"] - row["unseen"] if None not in (row["home"], row["unseen"]) else None
    changed = _changed(study, nearest) if nearest else []
    row["change"] = "; ".join(_change_words(key, study, nearest) for key in changed if nearest)
    return row


def _change_words(key: str, study: Study, nearest: Study) -> str:
    """ "preparation.grid: fixed (“paper”: in_plane)": what each of the two studies has, not what the paper had."""
    return f"{key}: {_own_value(key, study)} (“{nearest.name}”: {_own_value(key, nearest)})"


def _own_value(key: str, study: Study) -> str:
    """A study's value of an option by its settings; where they do not hold it, what its departures say."""
    section, _, field = key.partition(".")
    part = study.settings.get(section)
    if isinstance(part, Mapping) and field in part:
        value = part[field]
        return "none" if value is None else json.dumps(value) if isinstance(value, (list, tuple)) else plain(value)
    return study.departures.get(key, "as in the paper")

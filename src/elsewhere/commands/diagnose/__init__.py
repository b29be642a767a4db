"""A finished study in; label information outside the lungs, site separability, and what its models use of it, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from elsewhere import engine
from elsewhere.commands import Workers, split_names
from elsewhere.commands.diagnose.probing import probe_scans
from elsewhere.commands.diagnose.tables import separations, shortcuts
from elsewhere.errors import BadStudy
from elsewhere.model.declared import Declared
from elsewhere.scans.regions import VIEWS as SHOWN
from elsewhere.statistics.diagnosis.findings import CAUSES, PARTS, VIEWS, adjust, at_floor, find
from elsewhere.statistics.diagnosis.separation import SeparationSettings
from elsewhere.statistics.permutation import p_value
from elsewhere.studies.asking import ask_models, can_be_run, model_to_run
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder, open_study
from elsewhere.studies.learned import learned_models
from elsewhere.studies.prepared import examined_scans
from elsewhere.studies.records import DIAGNOSIS, FINDINGS, ScanRow, usable_rows
from elsewhere.wording import numbered

Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

PERMUTATIONS = 1999
SCAN_COLUMNS = ("site", "patient", "scan", "label", "subset", "lungs_found", "lung_share", "outside_found")


def diagnose(  # noqa: PLR0917 - one option each
    study: Annotated[Path, typer.Argument(help="Study file (TOML), or the folder of a study that was run.")],
    out: Annotated[Path | None, typer.Argument(help="The study's folder [runs/NAME].")] = None,
    models: Annotated[
        list[str] | None, typer.Option(help="Models to try, with commas between or repeated [those of one site].")
    ] = None,
    sites: Annotated[list[str] | None, typer.Option(help="Sites to look at, likewise [all].")] = None,
    permutations: Annotated[int, typer.Option(min=99, help="Permutations of patients, at least.")] = PERMUTATIONS,
    workers: Workers = None,
) -> Path:
    """Explain loss of external performance: shortcuts outside the lungs, site separability, saliency.

    Research use only. Not a medical device.
    """
    folder = open_study(study, out)[1]
    chosen = split_names(models), split_names(sites)
    found = diagnose_study(study, folder, *chosen, permutations=permutations, workers=workers)
    _print(found, folder)
    return folder.findings


@engine.kept()
def diagnose_study(
    file: Path,
    folder: Folder,
    models: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    *,
    permutations: int = PERMUTATIONS,
    workers: int | None = None,
) -> dict[str, list[Row]]:
    """Write `diagnosis/` of a finished study's folder; scans looked at before are not looked at again.

    Args:
        file: the study file.
        folder: the study's folder.
        models: names; None means those trained on one site (all where there is none), and all that can be run where
            none was trained.
        sites: names; None means all.
        permutations: of patients, at least; more where Holm's adjustment needs them.
        workers: processes; None means one per core.

    Returns:
        the tables and the findings, as they were written; rows of a model that did not learn say why (`degenerate`).

    Raises:
        BadStudy: no such model or site, or the study has not run (predictions and all).
        BadScan: a prepared volume is damaged or gone.
        BadCheckpoint: a model is missing or damaged.
    """
    plan = load_study(file)
    foreign = _foreign(plan, models)
    named = [name for name in models or () if name not in {model.name for model in foreign}]
    single = [name for name, trained_on in plan.models.items() if len(trained_on) == 1]
    tried = _chosen(file, "model", named, list(plan.models)) or ([] if foreign else single or list(plan.models))
    places = _chosen(file, "site", sites, [site.name for site in plan.sites]) or [site.name for site in plan.sites]
    judged = learned_models(folder, {model: plan.models[model] for model in tried})
    degenerate = {model: "; ".join(found.reasons) for model, found in judged.items() if found.degenerate}
    rows = [row for row in examined_scans(folder) if row.site in places and row.label is not None]
    facts = [{"facts": row.facts} for row in rows]
    scans = [row | known for row, known in zip(probe_scans(file, folder, tried, rows, workers), facts, strict=True)]
    shown = {(row["site"], row["scan"]): row for row in scans if row["subset"] == "test" and row["lungs_found"]}
    for (model, *place), seen in _seen_parts(plan, folder, foreign, set(shown), workers).items():
        nothing: dict[str, object] = {
            "features": [],
            "inside": None,
            "expected": None,
        }  # what such a model looks at is not known
        shown[place[0], place[1]]["models"].append({"model": model, **nothing, **seen})
    settings = SeparationSettings(permutations=permutations, seed=plan.seed)
    names = [*tried, *(model.name for model in foreign)]
    battery = [row for model in names for site in places for row in shortcuts(scans, model, site, settings)]
    apart, labels = separations(scans, tried, places, settings, workers)
    labels = adjust(labels)
    saliency = [row for model in tried for row in _saliency(scans, model)]
    homes = {model: plan.models.get(model, ()) for model in names}
    battery, apart, saliency = (
        [row | {"degenerate": degenerate.get(row["model"], "")} for row in table]
        for table in (battery, apart, saliency)
    )
    views = [r for r in labels if r["view"] in CAUSES]
    found = {
        "scans": [{key: row[key] for key in SCAN_COLUMNS} for row in scans],
        "separation": apart,
        "labels": labels,
        "shortcuts": battery,
        "saliency": saliency,
        "findings": find(views, apart, battery, saliency, homes, degenerate=degenerate),
    }
    _write(folder, found)
    return found


def _foreign(plan: Study, names: Sequence[str] | None) -> list[Declared]:
    """The models to try that were not trained here: those named, or all that can be run where none was trained.

    Raises:
        BadStudy: one that is named cannot be shown parts of scans, or there is no model at all.
    """
    chosen = names or (() if plan.models else can_be_run(plan))
    found = [model for name in dict.fromkeys(chosen) if (model := model_to_run(plan, name, "--models")) is not None]
    if not plan.models and not found and not names:
        what = "has no model that can be shown parts of scans: none was trained, and none can be run on changed scans"
        then = "`elsewhere audit` asks what tells the label without a lung, and needs no network"
        raise BadStudy(plan.name, what, then)
    return found


def _seen_parts(
    plan: Study, folder: Folder, models: Sequence[Declared], scans: set[tuple[str, str]], workers: int | None
) -> dict[tuple[str, str, str], dict[str, float | None]]:
    """(model, site, scan) -> probability of the test scan ("probability") and of each part, for those answered."""
    rows: list[ScanRow] = [row for row in usable_rows(folder) if (row.site, row.scan) in scans]
    if not models or not rows:
        return {}
    answers = {part: ask_models(plan, folder, rows, models, workers, part=part) for part in ("", *SHOWN)}
    found: dict[tuple[str, str, str], dict[str, float | None]] = {}
    for model in models:
        reasons = []
        for place in [(model.name, row.site, row.scan) for row in rows]:
            whole = answers[""][place]
            if whole.probability is None:
                reasons.append(whole.reason)
                continue
            found[place] = {"probability": whole.probability}
            found[place] |= {part: answers[part][place].probability for part in SHOWN}
        if reasons:
            words = f"to {len(reasons)} of {numbered(len(rows), 'scan')}; the first: {reasons[0]}"
            engine.say(words, f"{model.name} gave no answer", "yellow")
    return found


def _chosen(file: Path, what: str, asked: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    for name in asked or ():
        if name not in known:
            raise BadStudy(file, f"has no {what} {name!r}", f"Choose one of its {what}s: {', '.join(known)}")
    return list(dict.fromkeys(asked or ()))


def _saliency(scans: Rows, model: str) -> list[Row]:
    """Rows of saliency.parquet; `probability` is that of the whole scan."""
    return [
        {key: row[key] for key in ("site", "patient", "scan", "label")}
        | {key: m[key] for key in ("model", "probability", "inside", "expected")}
        for row in scans
        for m in row["models"]
        if m["model"] == model
    ]


def _write(folder: Folder, found: Mapping[str, list[Row]]) -> None:
    """Every table that has a row; a table of an earlier run that has none now goes."""
    for name, form in DIAGNOSIS.items():
        path = folder.diagnosis_table(name)
        if found[name]:
            form.write(path, [form.row(**row) for row in found[name]])
        else:
            path.unlink(missing_ok=True)
    FINDINGS.write(folder.findings, {"findings": found["findings"]})


def _print(found: Mapping[str, list[Row]], folder: Folder) -> None:
    table = Table(
        "what was looked at", "site", "AUC", "95 %", "p (Holm)", "power", title="Label information outside the lungs"
    )
    for r in found["labels"]:
        words = CAUSES.get(r["view"]) or f"{VIEWS[r['view']]} (for comparison)"
        table.add_row(
            words, r["site"], f"{r['auc']:.2f}", _range(r), p_value(r["p_holm"], r["p_floor"]), f"{r['power']:.0%}"
        )
    engine.console.print(table)
    table = Table("model", "site", "shown", "AUC", "95 %", "p", title="Shortcut battery: models on parts of the scans")
    for r in found["shortcuts"]:
        p = "" if r["p"] is None else p_value(r["p"], r["p"] if at_floor(r) else 0.0)
        table.add_row(r["model"] + mark(r), r["site"], PARTS[r["view"]], f"{r['auc']:.2f}", _range(r), p)
    engine.console.print(table)
    lost = [r for r in found["scans"] if not r["lungs_found"]]
    if lost:
        positive = sum(r["label"] for r in lost)
        words = f"no lungs were found in {len(lost)} of {len(found['scans'])} scans ({positive} positive): left out"
        engine.say(words, "Note:", "yellow")
    for finding in found["findings"]:
        engine.say(finding["sentence"], "•")
    if not found["findings"]:
        engine.console.print("No label information outside the lungs and no separable sites were found.")
    engine.say(folder.diagnosis, "Records:")


def mark(row: Mapping[str, Any]) -> str:
    """What stands behind the name of a model that did not learn."""
    return " (degenerate)" if row.get("degenerate") else ""


def _range(row: Mapping[str, Any]) -> str:
    return f"{row['low']:.2f}–{row['high']:.2f}"

"""A finished study in; label information outside the lungs, site separability, and what its models use of it, out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.table import Table

from elsewhere import engine
from elsewhere.commands import Workers, split_names
from elsewhere.commands.diagnose.probed import ProbedScan, SeenBy
from elsewhere.commands.diagnose.probing import probe_scans
from elsewhere.commands.diagnose.tables import separations, shortcuts
from elsewhere.errors import BadStudy
from elsewhere.model.declared import Declared
from elsewhere.rows import ClassSeparationRow, LookedAtRow, SaliencyRow, SeparationRow, ShortcutRow
from elsewhere.scans.regions import VIEWS as SHOWN
from elsewhere.statistics.diagnosis.findings import CAUSES, PARTS, VIEWS, Finding, find
from elsewhere.statistics.diagnosis.separation import SeparationSettings
from elsewhere.statistics.diagnosis.tested import adjust, at_floor
from elsewhere.statistics.permutation import p_value
from elsewhere.studies.asking import ask_models, can_be_run, model_to_run
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder, open_study
from elsewhere.studies.learned import learned_models
from elsewhere.studies.prepared import examined_scans
from elsewhere.studies.records import (
    CLASS_SEPARATIONS,
    FINDINGS,
    LOOKED_AT,
    SALIENCY,
    SEPARATIONS,
    SHORTCUTS,
    ScanRow,
    usable_rows,
)
from elsewhere.table_format import TableFormat
from elsewhere.wording import numbered

KeptT = TypeVar("KeptT")

PERMUTATIONS = 1999


@dataclass(frozen=True)
class Diagnosed:
    """What one run found, as it is written; rows of a model that did not learn say why (`degenerate`).

    Attributes:
        scans: what was looked at.
        separation: what tells two sites apart.
        labels: what tells positive from negative.
        shortcuts: models on parts of the scans.
        saliency: where models look.
        findings: what that means.
    """

    scans: Sequence[LookedAtRow]
    separation: Sequence[SeparationRow]
    labels: Sequence[ClassSeparationRow]
    shortcuts: Sequence[ShortcutRow]
    saliency: Sequence[SaliencyRow]
    findings: Sequence[Finding]


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
) -> Diagnosed:
    """Write `diagnosis/` of a finished study's folder; scans looked at before are not looked at again.

    Args:
        file: the study file.
        folder: the study's folder.
        models: names; None means those trained on one site (all where there is none), and all that can be run where
            none was trained.
        sites: names; None means all.
        permutations: of patients, at least; more where Holm's adjustment needs them.
        workers: processes; None means one per core.

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
    names = [*tried, *(model.name for model in foreign)]
    rows = [row for row in examined_scans(folder) if row.site in places and row.label is not None]
    scans = _with_foreign(plan, folder, foreign, probe_scans(file, folder, tried, rows, workers), workers)
    settings = SeparationSettings(permutations=permutations, seed=plan.seed)
    battery = [row for model in names for site in places for row in shortcuts(scans, model, site, settings)]
    apart, classes = separations(scans, tried, places, settings, workers)
    labels = [ClassSeparationRow(**vars(r.test), p_holm=r.p_holm, p_floor=r.p_floor) for r in adjust(classes)]
    saliency = [row for model in tried for row in _saliency(scans, model, degenerate.get(model, ""))]
    homes = {model: plan.models.get(model, ()) for model in names}
    causes = [row for row in labels if row.view in CAUSES]
    found = Diagnosed(
        scans,
        [SeparationRow(**vars(row), degenerate=degenerate.get(row.model, "")) for row in apart],
        labels,
        [ShortcutRow(**vars(row), degenerate=degenerate.get(row.model, "")) for row in battery],
        saliency,
        find(causes, apart, battery, saliency, homes, degenerate=degenerate),
    )
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


def _with_foreign(
    plan: Study, folder: Folder, models: Sequence[Declared], scans: Sequence[ProbedScan], workers: int | None
) -> list[ProbedScan]:
    """The scans, those for testing that have lungs with what models that were not trained here made of them."""
    shown = {(scan.site, scan.scan) for scan in scans if scan.subset == "test" and scan.lungs_found}
    rows = [row for row in usable_rows(folder) if (row.site, row.scan) in shown]
    seen = _seen_parts(plan, folder, rows, models, workers)
    return [replace(scan, models=(*scan.models, *seen.get((scan.site, scan.scan), ()))) for scan in scans]


def _seen_parts(
    plan: Study, folder: Folder, rows: Sequence[ScanRow], models: Sequence[Declared], workers: int | None
) -> dict[tuple[str, str], list[SeenBy]]:
    """(site, scan) -> what each model made of it and of its parts, for those answered; where it looks is not known."""
    if not models or not rows:
        return {}
    answers = {part: ask_models(plan, folder, rows, models, workers, part=part) for part in ("", *SHOWN)}
    found: dict[tuple[str, str], list[SeenBy]] = defaultdict(list)
    for model in models:
        reasons = []
        for row in rows:
            given = {part: answer[model.name, row.site, row.scan] for part, answer in answers.items()}
            whole = given.pop("")
            if whole.probability is None:
                reasons.append(whole.reason)
                continue
            parts = {part: answer.probability for part, answer in given.items()}
            found[row.site, row.scan].append(SeenBy(model.name, (), whole.probability, parts))
        if reasons:
            words = f"to {len(reasons)} of {numbered(len(rows), 'scan')}; the first: {reasons[0]}"
            engine.say(words, f"{model.name} gave no answer", "yellow")
    return found


def _chosen(file: Path, what: str, asked: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    for name in asked or ():
        if name not in known:
            raise BadStudy(file, f"has no {what} {name!r}", f"Choose one of its {what}s: {', '.join(known)}")
    return list(dict.fromkeys(asked or ()))


def _saliency(scans: Sequence[ProbedScan], model: str, degenerate: str) -> list[SaliencyRow]:
    """Rows of saliency.parquet; `probability` is that of the whole scan."""
    return [
        SaliencyRow(
            site=scan.site,
            patient=scan.patient,
            scan=scan.scan,
            label=scan.label,
            model=model,
            probability=seen.probability,
            inside=seen.inside,
            expected=seen.expected,
            degenerate=degenerate,
        )
        for scan in scans
        if (seen := scan.seen_by(model))
    ]


def _write(folder: Folder, found: Diagnosed) -> None:
    _keep(folder.diagnosis_table("scans"), LOOKED_AT, found.scans)
    _keep(folder.diagnosis_table("separation"), SEPARATIONS, found.separation)
    _keep(folder.diagnosis_table("labels"), CLASS_SEPARATIONS, found.labels)
    _keep(folder.diagnosis_table("shortcuts"), SHORTCUTS, found.shortcuts)
    _keep(folder.diagnosis_table("saliency"), SALIENCY, found.saliency)
    FINDINGS.write(folder.findings, {"findings": [vars(finding) for finding in found.findings]})


def _keep(path: Path, form: TableFormat[KeptT], rows: Sequence[KeptT]) -> None:
    """Write a table that has a row; one of an earlier run that has none now goes."""
    if rows:
        form.write(path, rows)
    else:
        path.unlink(missing_ok=True)


def _print(found: Diagnosed, folder: Folder) -> None:
    table = Table(
        "what was looked at", "site", "AUC", "95 %", "p (Holm)", "power", title="Label information outside the lungs"
    )
    for label in found.labels:
        words = CAUSES.get(label.view) or f"{VIEWS[label.view]} (for comparison)"
        p = "" if label.p_holm is None else p_value(label.p_holm, label.p_floor)
        table.add_row(words, label.site, f"{label.auc:.2f}", _range(label), p, f"{label.power:.0%}")
    engine.console.print(table)
    table = Table("model", "site", "shown", "AUC", "95 %", "p", title="Shortcut battery: models on parts of the scans")
    for r in found.shortcuts:
        p = "" if r.p is None else p_value(r.p, r.p if at_floor(r.p, r.permutations) else 0.0)
        named = f"{r.model} (degenerate)" if r.degenerate else r.model
        table.add_row(named, r.site, PARTS[r.view], f"{r.auc:.2f}", _range(r), p)
    engine.console.print(table)
    lost = [scan for scan in found.scans if not scan.lungs_found]
    if lost:
        positive = sum(scan.label for scan in lost)
        words = f"no lungs were found in {len(lost)} of {len(found.scans)} scans ({positive} positive): left out"
        engine.say(words, "Note:", "yellow")
    for finding in found.findings:
        engine.say(finding.sentence, "•")
    if not found.findings:
        engine.console.print("No label information outside the lungs and no separable sites were found.")
    engine.say(folder.diagnosis, "Records:")


def _range(row: ClassSeparationRow | ShortcutRow) -> str:
    return f"{row.low:.2f}–{row.high:.2f}"

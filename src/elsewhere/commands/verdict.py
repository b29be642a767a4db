"""`elsewhere verdict`: whether a model works on the scans of a new site, as three lines, a page and JSON."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.commands import LeastAuc, LeastSensitivity, LeastSpecificity, NetBenefitAt, Workers
from elsewhere.errors import BadOption, BadSite, BadStudy
from elsewhere.files import csv_text, last_parts, write_whole
from elsewhere.model.declared import Declared
from elsewhere.model.runnable import threshold_of
from elsewhere.pages.verdict import Occasion, ScanLine, render
from elsewhere.scans.score_table import read_score_table
from elsewhere.scans.sites import KINDS
from elsewhere.statistics.decision import decide
from elsewhere.statistics.requirements import Requirements
from elsewhere.statistics.verdict import Verdict, judge, judge_unlabelled
from elsewhere.studies.adjusting import measured_need, rest_on_measured
from elsewhere.studies.asking import ask_about_new, product_of
from elsewhere.studies.evaluation import Evaluation, evaluate_table
from elsewhere.studies.exported import is_exported
from elsewhere.studies.file import Site
from elsewhere.studies.folder import Folder, folder_of
from elsewhere.studies.known_model import METADATA, KnownModel, scored
from elsewhere.studies.new_scans import Bad, NewScan, first_bad, predict_site, scored_scans
from elsewhere.studies.new_site import find_scans, new_site, read_options
from elsewhere.studies.verdict_record import UnusedScan, VerdictRecord, write_verdict
from elsewhere.studies.which_model import named_model
from elsewhere.wording import numbered, verb


def verdict(
    study: Annotated[Path, typer.Argument(help="Study (folder or file) of the model; or a model alone: a .zip.")],
    model: Annotated[str, typer.Argument(help="Name of the model in the study. With a .zip: the scans.")],
    scans: Annotated[
        Path | None, typer.Argument(help="Folder of the new site's scans, or a study file that has the site.")
    ] = None,
    *,
    kind: Annotated[str | None, typer.Option(help=f"File format of the scans: {', '.join(KINDS)} [dicom].")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels table [the one in the folder; none: estimate].")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Site option KEY=VALUE, as units=HU; repeatable.")] = None,
    site: Annotated[str | None, typer.Option(help="Site of the study file [the only one in it].")] = None,
    least_auc: LeastAuc = None,
    least_sensitivity: LeastSensitivity = None,
    least_specificity: LeastSpecificity = None,
    net_benefit_at: NetBenefitAt = None,
    margin: Annotated[
        float | None, typer.Option(help="Largest loss of AUC, sensitivity, specificity against home [0.10].")
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option(help="Prevalence for predictive values, beside that of the labelled scans.")
    ] = None,
    name: Annotated[str, typer.Option(help="Hospital's name on the page [the site's].")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the verdict [STUDY/verdicts/MODEL/SITE].")] = None,
    workers: Workers = None,
) -> Verdict | Evaluation:
    """Will this model work on these scans? One page in plain words, and an exit code. Research use only.

    It works where the whole 95 % interval meets every requirement; those in brackets stand in for what is not stated
    (a stated AUC, sensitivity or specificity also replaces its default margin to home).

    Exit codes: 0 works, 10 re-threshold or recalibrate, 11 adapt, 12 do not use, 20 cannot tell, 21 estimate only
    (no labels), 30 no discrimination at home, 1 error.
    """
    try:
        at = None if net_benefit_at is None else prevalence
        stated = Requirements(least_auc, least_sensitivity, least_specificity, net_benefit_at, margin, at)
    except ValueError as error:
        raise BadOption.of_value(error) from error
    if prevalence is not None and not 0 < prevalence < 1:
        raise BadOption("--prevalence", f"must be above 0 and below 1, is {prevalence:g}", "Give a share")
    if (product := _product(study, model)) is not None and scans is not None:
        if name:
            raise BadOption("--name", f"is not on the page of {product.name}: it was not trained here", "Leave it out")
        folder, new = folder_of(study), new_site(scans, kind, labels, read_options(option or ()), site)
        return judge_product(folder, product, new, stated=stated, prevalence=prevalence, out=out, workers=workers)
    known, rest = named_model([study, model, scans], "the folder of the scans is")
    new = new_site(Path(rest[0]), kind, labels, read_options(option or ()), site)
    return judge_site(known, new, stated=stated, prevalence=prevalence, name=name, out=out, workers=workers)


def judge_site(
    model: KnownModel,
    site: Site,
    *,
    stated: Requirements = Requirements(),  # noqa: B008 - frozen
    prevalence: float | None = None,
    name: str = "",
    out: Path | None = None,
    workers: int | None = None,
) -> Verdict:
    """Prepare and predict a new site's scans, judge, write verdict.json, verdict.html and scans.csv, print 3 lines.

    With labels for some scans the verdict rests on those; without any it is an estimate. Scans that cannot be used
    are listed, and so are copies of scans that the model was trained, chosen or adjusted on.

    Raises:
        BadStudy: the model was not tried at its own sites.
        BadSite: the folder holds no readable scan, or its labels table is wrong.
        BadCheckpoint: the model's weights are missing or damaged.
    """
    target = out or model.folder.verdict(model.name, site.name)
    shown = partial(last_parts, folders=[site.root])
    found = find_scans(site)
    rows, bad = predict_site(model, site, found, (out or model.folder.verdicts) / "store", workers)
    answer = rest_on_measured(_judge(model, rows, stated, prevalence), measured_need(model, site.name))
    named = (f"Positive scans show {model.finding}.",) if model.finding else ()
    answer = replace(
        answer,
        notes=(
            *named,
            *answer.notes,
            *_adjusted_note(model),
            *(shown(note) for note in found.notes),
        ),
    )
    unused = [(shown(scan), shown(why), then) for scan, why, then in bad]
    lines = [replace(r, notes=tuple(map(shown, r.notes))) for r in rows]
    asked = [*_options(stated, prevalence), *(["--name", name] if name else []), *(["--out", out.name] if out else [])]
    occasion = _occasion(model, site, lines, unused, name, asked)
    write_whole(target / "scans.csv", _table(lines, unused))
    voxels = tuple(sorted({r.voxels for r in rows if r.label is not None}))
    write_verdict(target / "verdict.json", answer, _record(answer, model, occasion, voxels))
    write_whole(target / "verdict.html", render(answer, occasion))
    _print(answer, bad, target)
    return answer


def judge_product(
    folder: Folder,
    product: Declared,
    site: Site,
    *,
    stated: Requirements = Requirements(),  # noqa: B008 - frozen
    prevalence: float | None = None,
    out: Path | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Run a model that was not trained here on a new site's labelled scans, and evaluate its scores, which are kept.

    It has no home here: what it was trained on is not known. So the verdict is that of `elsewhere evaluate`.

    Raises:
        BadStudy: a margin to home is required, or no scan has a label.
        BadSite: the folder holds no scan, or its labels table is wrong.
        BadTable: too little is known of the scans to evaluate anything, such as one class.
        BadCheckpoint: a file of the model is missing or damaged.
    """
    name = product.name
    if stated.margin is not None:
        what = f"compares with home, and what {name} was trained on is not known"
        raise BadStudy("--margin", what, "State --least-auc, --least-sensitivity or --least-specificity instead")
    found = find_scans(site)
    if not found.scans:
        raise BadSite(site.root, "no scan can be used", "Give the folder that holds the scans")
    if all(scan.label is None for scan in found.scans):
        what = f"has no label, and without labels {name} cannot be estimated: where it is at home is not known"
        raise BadStudy(site.root, what, "Give --labels, at least for some scans")
    answers = ask_about_new(site, found.scans, product, folder, workers)
    target = out or folder.verdict(name, site.name)
    rows = [(s, answers[s.scan]) for s in sorted(found.scans, key=lambda s: s.scan)]
    cells = [
        (s.scan, s.patient, s.label, a.probability, a.reason, *(s.facts.get(n) for n in ("age", "sex")))
        for s, a in rows
    ]
    names = ("scan", "patient", "label", "score", "refused", "age", "sex")
    write_whole(target / "scores.csv", csv_text(names, cells, plain=True))
    for error in found.bad:
        engine.say(error, "Left out:", "yellow")
    table = read_score_table(
        target / "scores.csv", {"score": "score"}, scale="probability", threshold=threshold_of(product)
    )
    remarks = (*table.remarks, *found.notes, *dict.fromkeys(r for _, a in rows for r in a.remarks))
    if product.runs_code:
        remarks = (*remarks, f"Foreign code was run: {name} {product.runs_code}.")
    table = replace(table, remarks=remarks)
    return evaluate_table(table, stated, prevalence=prevalence, name=name, out=target)


def _product(study: Path, name: str) -> Declared | None:
    """The model of this name that was not trained here; None where the words name another, or an exported one."""
    if is_exported(study) or not folder_of(study).study.is_file():
        return None
    return product_of(folder_of(study), name)


def _judge(model: KnownModel, rows: Sequence[NewScan], stated: Requirements, prevalence: float | None) -> Verdict:
    home_point, point = model.home_point, model.point
    labelled = [r for r in rows if r.label is not None]
    if not labelled:
        return _estimate(model, rows, stated)
    sites = model.home_sites
    home = [s for site in sites for s in model.at_home("test") if s.site == site]
    answer = judge(
        scored_scans(labelled),
        scored(home),
        point,
        home_point=home_point,
        stated=stated,
        prevalence=prevalence,
        validation=model.learned,
        resamples=model.settings.resamples,
        seed=model.settings.seed,
    )
    notes = []
    if len(labelled) < len(rows):
        spare = len(rows) - len(labelled)
        was = verb(spare, "was", "were")
        notes.append(f"{numbered(spare, 'scan')} without a label {was} predicted, and did not count.")
    if len(sites) > 1:
        notes.append(f"Home is the internal test sets of {' and '.join(sites)}; its AUC compares scans of one site.")
    return replace(answer, notes=tuple(notes))


def _estimate(model: KnownModel, rows: Sequence[NewScan], stated: Requirements) -> Verdict:
    """Without labels: on the scale of the network's own probabilities, which is that of home."""
    point, change = model.point, model.adjustment
    own = point if change is None else replace(point, threshold=change.raw_threshold)
    answer = judge_unlabelled(
        [r.network_probability for r in rows],
        [r.patient for r in rows],
        model.known_sites(),
        scored(model.at_home("validation")),
        own,
        stated=stated,
        metadata={name: [r.metadata[name] for r in rows] for name in METADATA},
        known_metadata=model.metadata,
    )
    return replace(answer, threshold=point.threshold)


def _adjusted_note(model: KnownModel) -> list[str]:
    change = model.adjustment
    if change is None:
        return []
    how = "Its threshold and probabilities were" if change.moves else "Its threshold was"
    words = f"{how} adjusted ({change.source}); home is as it was before."
    if change.scans and not change.chosen_on:
        words += " Scans that it was chosen on are not known here: those among these flatter the model."
    return [words]


# What is left behind ----------------------------------------------------------------------------------------------


def _occasion(  # noqa: PLR0917 - called once
    model: KnownModel, site: Site, rows: Sequence[NewScan], bad: Sequence[Bad], hospital: str, asked: Sequence[str]
) -> Occasion:
    named = [model.where.name] if is_exported(model.where) else [model.where.resolve().name, model.name]
    labelled = [r for r in rows if r.label is not None]
    home = [s for s in model.at_home("test") if s.site in model.home_sites]
    return Occasion(
        model=model.name,
        trained_on=model.trained_on,
        site=site.name,
        root=site.root.resolve().name,
        origin=model.origin,
        checkpoint=model.checkpoint,
        bad=tuple(bad),
        command=shlex.join(
            [
                *("elsewhere", "verdict", *named, site.root.resolve().name),
                *("--kind", site.kind, *(["--labels", site.labels.name] if site.labels else [])),
                *(word for key, value in site.options.items() for word in ("--option", f"{key}={value}")),
                *asked,
            ]
        ),
        hospital=hospital,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        scans=tuple(
            ScanLine(r.scan, r.label, r.probability, bool(decide(r.probability, model.point)), r.notes) for r in rows
        ),
        here=scored_scans(labelled) if labelled else None,
        home=scored(home) if home else None,
        adjusted=model.adjustment is not None and model.adjustment.moves,
    )


def _record(answer: Verdict, model: KnownModel, occasion: Occasion, voxels: tuple[str, ...]) -> VerdictRecord:
    return VerdictRecord(
        action=answer.action,
        next_step=answer.next_step,
        scans=answer.scans,
        local_threshold=answer.local_threshold,
        local_intercept=answer.local_intercept,
        local_slope=answer.local_slope,
        model=model.name,
        site=occasion.site,
        trained_on=model.trained_on,
        checkpoint=occasion.checkpoint,
        origin=occasion.origin,
        hospital=occasion.hospital or occasion.site,
        date=occasion.date,
        adjustment=model.adjustment,
        voxels=voxels,
        bad_scans=tuple(UnusedScan(*bad) for bad in occasion.bad),
    )


def _options(stated: Requirements, prevalence: float | None) -> list[str]:
    """What was required, as it stood in the command."""
    values = asdict(replace(stated, prevalence=None)) | {"prevalence": prevalence}
    return [w for key, v in values.items() if v is not None for w in (f"--{key.replace('_', '-')}", f"{v:g}")]


def _table(rows: Sequence[NewScan], bad: Sequence[Bad]) -> str:
    used = [(r.patient, r.scan, r.label, repr(r.probability), "; ".join(r.notes), "") for r in rows]
    unused = [("", scan, None, None, "", reason) for scan, reason, _ in bad]
    return csv_text(("patient", "scan", "label", "probability", "remarks", "reason_not_used"), [*used, *unused])


def _print(answer: Verdict, bad: Sequence[Bad], target: Path) -> None:
    for words in answer.lines:
        engine.tell(words)
    if bad:
        engine.say(f"{numbered(len(bad), 'scan')} could not be used; the first: {first_bad(bad)}")
    engine.say(target / "verdict.html", "The page:")

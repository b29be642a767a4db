"""`elsewhere evaluate`: a table of a product's scores, without a scan; one page, JSON, cells and an exit code."""

from __future__ import annotations

import shlex
from datetime import date as Date
from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.commands import LeastAuc, LeastSensitivity, LeastSpecificity, NetBenefitAt
from elsewhere.errors import BadOption, BadTable
from elsewhere.files import short_name
from elsewhere.scans.frozen_scans import with_frozen_labels
from elsewhere.scans.score_columns import SCALES, Role, Scale
from elsewhere.scans.score_table import check_table, read_score_table
from elsewhere.statistics.requirements import Measure, Requirements
from elsewhere.statistics.stopping import CAP, MEASURES, Stop, StopMeasure, StopRule
from elsewhere.studies.evaluation import Evaluation, evaluate_table, load_claims, next_scans
from elsewhere.studies.history import (
    Terms,
    agree,
    keep_entry,
    next_entry,
    print_history,
    read_entries,
    read_terms,
    write_history,
)


def evaluate(
    scores: Annotated[
        Path | None, typer.Argument(help="Table of scores (CSV, XLSX, Parquet), one row per scan.")
    ] = None,
    *,
    results: Annotated[
        Path | None, typer.Option(help="Instead of a table: a folder of DICOM structured reports with the results.")
    ] = None,
    score: Annotated[str | None, typer.Option(help="Column of the scores [recognised by its name].")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the labels [recognised].")] = None,
    patient: Annotated[str | None, typer.Option(help="Column of the patients [recognised].")] = None,
    site: Annotated[str | None, typer.Option(help="Column of the sites [recognised].")] = None,
    labels: Annotated[Path | None, typer.Option(help="Table with the labels, joined by scan, else by patient.")] = None,
    positive: Annotated[str | None, typer.Option(help="Label that is positive; all others are negative.")] = None,
    scale: Annotated[str | None, typer.Option(help=f"What scores are: {', '.join(SCALES)} [probability].")] = None,
    threshold: Annotated[float | None, typer.Option(help="The product's threshold, on the scale of the file.")] = None,
    prevalence: Annotated[
        float | None, typer.Option(help="Local prevalence for predictive values, beside that of the labelled scans.")
    ] = None,
    least_auc: LeastAuc = None,
    least_sensitivity: LeastSensitivity = None,
    least_specificity: LeastSpecificity = None,
    net_benefit_at: NetBenefitAt = None,
    claim: Annotated[Path | None, typer.Option(help="TOML file of what the product is said to reach.")] = None,
    versus: Annotated[
        Path | None, typer.Option(help="Table of the version before: compare both on the scans in common.")
    ] = None,
    versus_score: Annotated[str | None, typer.Option(help="Column of its scores [recognised].")] = None,
    versus_threshold: Annotated[float | None, typer.Option(help="Its threshold [that of the new version].")] = None,
    margin: Annotated[
        float | None, typer.Option(help="With --versus: loss of AUC, sensitivity or specificity that is too much.")
    ] = None,
    next_: Annotated[
        int | None,
        typer.Option("--next", help="Stop labelling when you know: look every N labels, say which N are next."),
    ] = None,
    stop_on: Annotated[
        str, typer.Option(help=f"With --next, measure whose requirement decides: {', '.join(MEASURES)}.")
    ] = "auc",
    cap: Annotated[int, typer.Option(help="With --next, labels at which labelling ends in any case.")] = CAP,
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder of the product's history: page and scans are kept there, under its date."),
    ] = None,
    release: Annotated[str | None, typer.Option(help="With --keep, the product's version [column `version`].")] = None,
    date: Annotated[
        str | None, typer.Option(help="With --keep, date of the evaluation, as 2026-03-31 [today].")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the page [NAME-evaluation beside the table].")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the product [that of the table].")] = None,
) -> Evaluation | Stop:
    """Does a product work on these scans? From a table of its scores, without a scan. Research use only.

    It works where the whole 95 % interval meets every requirement; those in brackets stand in for what is not stated.

    Exit codes: 0 works, 10 re-threshold or recalibrate, 11 adapt, 12 do not use, 13 not as claimed, 14 worse than the
    version before (with --margin), 20 cannot tell, 1 error.
    """
    _check_options(scale, prevalence, margin, keep, (versus, versus_score, versus_threshold), (release, date, out))
    if (scores is None) == (results is None):
        what = "takes either a table of scores, or a folder of DICOM reports with --results"
        raise BadOption("evaluate", what, "Give one of the two")
    try:
        at = None if net_benefit_at is None else prevalence
        stated = Requirements(least_auc, least_sensitivity, least_specificity, net_benefit_at, prevalence=at)
    except ValueError as error:
        raise BadOption.of_value(error) from error
    given: dict[Role, str] = {}
    columns: list[tuple[Role, str | None]] = [("score", score), ("label", label), ("patient", patient), ("site", site)]
    given |= {role: column for role, column in columns if column is not None}
    claims = () if claim is None else load_claims(claim)
    source = scores or results or Path()
    folder = out or source.parent / f"{short_name(source.stem)}-evaluation"
    if results is not None:
        from elsewhere.scans.results import write_results_table  # noqa: PLC0415 - pydicom takes its time to import

        written = write_results_table(results, folder / "results.csv", labels=labels, score=given.pop("score", None))
        source, scale = written.path, scale or ("percent" if written.percent else None)
        for remark in written.remarks:
            engine.tell(remark)
    kept = None if keep is None else read_terms(keep)
    entries = [] if keep is None or kept is None else read_entries(keep)
    terms = agree(
        keep or folder,
        kept,
        Terms(name or (scores or results or folder).stem, stated, margin, _scale(scale), threshold),
    )
    stated, margin, threshold = terms.requirements, terms.margin, terms.threshold
    rule = None if next_ is None else _stop_rule(next_, stop_on, cap, stated)
    stop = None
    if rule is not None:
        waiting = read_score_table(
            source, given, labels=labels, positive=positive, scale=terms.scale, threshold=threshold, lenient=True
        )
        stop = next_scans(waiting, rule, folder)
        if stop.state == "go on":
            return stop
    table = read_score_table(
        source, given, labels=labels, positive=positive, scale=terms.scale, threshold=threshold, lenient=bool(entries)
    )
    before = None
    if versus is not None:
        at = threshold if versus_threshold is None else versus_threshold
        theirs = given | ({} if versus_score is None else {"score": versus_score})
        before = read_score_table(versus, theirs, positive=positive, scale=terms.scale, threshold=at, lenient=True)
        if versus_score is not None and before.columns["score"].strip() != versus_score.strip():
            raise BadTable(versus, f"has no column {versus_score!r}", "Correct --versus-score")
    entry = None
    if keep is not None:
        table = with_frozen_labels(table, entries[0].labelled if entries else {})
        check_table(table)
        entry = next_entry(keep, entries, table, release, date or Date.today().isoformat())
        folder, before = entry.place, entry.before if before is None else before
    found = evaluate_table(
        table,
        stated,
        versus=before,
        margin=margin if before is not None else None,
        stop=stop,
        claims=claims,
        prevalence=prevalence,
        name=terms.product,
        labels="" if labels is None else labels.name,
        out=folder,
        options=_as_typed(
            results=results, score=score, label=label, patient=patient, site=site, labels=labels, positive=positive,
            scale=scale, threshold=threshold, prevalence=prevalence, least_auc=least_auc,
            least_sensitivity=least_sensitivity, least_specificity=least_specificity, net_benefit_at=net_benefit_at,
            claim=claim, versus=versus, versus_score=versus_score, versus_threshold=versus_threshold, margin=margin,
            next=next_, stop_on=None if next_ is None else stop_on, cap=None if next_ is None else cap, keep=keep,
            release=release, date=date, out=out, name=name,
        ),
    )  # fmt: skip
    if keep is not None and entry is not None:
        entries = [*entries, keep_entry(keep, terms, entries, table, entry, found)]
        print_history(
            write_history(keep, kept or terms, entries, shlex.join(["elsewhere", "history", keep.name])), keep
        )
    return found


def _check_options(  # noqa: PLR0917 - what belongs together
    scale: str | None,
    prevalence: float | None,
    margin: float | None,
    keep: Path | None,
    versus: tuple[Path | None, str | None, float | None],
    kept: tuple[str | None, str | None, Path | None],
) -> None:
    """Refuse values outside their range, and options without the one that they belong to."""
    if scale is not None and scale not in SCALES:
        raise BadOption("--scale", f"must be one of {', '.join(SCALES)}, is {scale}", "Give another")
    if prevalence is not None and not 0 < prevalence < 1:
        raise BadOption("--prevalence", f"must be above 0 and below 1, is {prevalence:g}", "Give a share")
    if margin is not None and not 0 < margin < 1:
        raise BadOption("--margin", f"must be above 0 and below 1, is {margin:g}", "Give a loss")
    if versus[0] is None:
        lost = [o for o in (None if keep else margin, *versus[1:]) if o is not None]
        if lost:
            what = f"--versus-score and --versus-threshold need --versus (given: {lost[0]})"
            raise BadOption("--margin,", what, "Give the table of the version before")
    if keep is None and (lone := [o for o in kept[:2] if o is not None]):
        raise BadOption("--release", f"and --date need --keep (given: {lone[0]})", "Give the folder of the history")
    if keep is not None and kept[2] is not None:
        raise BadOption("--keep", "decides where the page lies", "Leave --out out")


def _as_typed(**given: object) -> list[str]:
    """Options as they are typed; of paths the last part alone, as the page may leave the house."""
    return [
        word
        for option, value in given.items()
        if value is not None
        for word in (f"--{option.replace('_', '-')}", value.name if isinstance(value, Path) else str(value))
    ]


def _scale(text: str | None) -> Scale | None:
    return next((s for s in SCALES if s == text), None)


def _stop_rule(step: int, measure: str, cap: int, stated: Requirements) -> StopRule:
    """The stop rule that the options ask for; its need is the requirement on the measure."""
    if measure not in MEASURES:
        raise BadOption("--stop-on", f"must be one of {', '.join(MEASURES)}, is {measure}", "Give another")
    wanted = next(m for m in MEASURES if m == measure)
    names: dict[StopMeasure, Measure] = {
        "auc": "discrimination (AUC)",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
    }
    need = next(limit for against_home, limit, _ in stated.limits(names[wanted]) if not against_home)
    try:
        return StopRule(wanted, need, step, cap)
    except ValueError as error:
        raise BadOption("--next", str(error), "Give other numbers") from error

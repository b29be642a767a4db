"""`elsewhere evaluate`: a table of a product's scores, without a scan; one page, JSON, cells and an exit code."""

from __future__ import annotations

import csv
import io
import shlex
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer
from numpy.typing import NDArray
from scipy.special import logit

from elsewhere import engine
from elsewhere.commands import LeastAuc, LeastSensitivity, LeastSpecificity, NetBenefitAt
from elsewhere.errors import BadTable
from elsewhere.files import short_name, write_whole
from elsewhere.pages.evaluation import EvaluationContext, headline, render_evaluation
from elsewhere.records import write_columns, write_record
from elsewhere.scans.score_columns import Role
from elsewhere.scans.score_pairs import cases_hash, pair_rows
from elsewhere.scans.score_table import ScoreTable, read_score_table
from elsewhere.scans.score_values import SCALES, Scale
from elsewhere.statistics.acceptance import SEVERITY, Claim, exit_code, read_claims
from elsewhere.statistics.columns import Ints, check_groups
from elsewhere.statistics.evaluation import ProductRows, Section, evaluate_product, plain, to_record
from elsewhere.statistics.requirements import Measure, Requirements
from elsewhere.statistics.stopping import (
    CAP,
    MEASURES,
    Stop,
    StopMeasure,
    StopRule,
    look,
    reading_order,
)
from elsewhere.statistics.verdict import DISCLAIMER
from elsewhere.statistics.verdict_rule import EXIT_CODES, Answer
from elsewhere.statistics.versus import PairedRows, Versus, compare_versions, version_record

SCALE_WORDS: dict[Scale, str] = {
    "probability": "probabilities, 0 to 1",
    "percent": "probabilities in percent, 0 to 100",
    "logit": "log-odds",
    "higher-is-sicker": "scores without a unit, higher meaning more positive",
    "lower-is-sicker": "scores without a unit, lower meaning more positive",
}


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_table` found.

    Attributes:
        sections: one for each finding and version.
        exit_code: of the whole.
        folder: where the page, the JSON and the cells lie.
    """

    sections: tuple[Section, ...]
    exit_code: int
    folder: Path


def evaluate(
    scores: Annotated[Path, typer.Argument(help="Table of scores (CSV, XLSX, Parquet), one row per scan.")],
    *,
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
    out: Annotated[Path | None, typer.Option(help="Folder for the page [NAME-evaluation beside the table].")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the product [that of the table].")] = None,
) -> None:
    """Does a product work on these scans? From a table of its scores, without a scan. Research use only.

    It works where the whole 95 % interval meets every requirement; those in brackets stand in for what is not stated.

    Exit codes: 0 works, 10 re-threshold or recalibrate, 11 adapt, 12 do not use, 13 not as claimed, 14 worse than the
    version before (with --margin), 20 cannot tell, 1 error.
    """
    if scale is not None and scale not in SCALES:
        raise typer.BadParameter(f"--scale must be one of {', '.join(SCALES)}, is {scale}")
    if prevalence is not None and not 0 < prevalence < 1:
        raise typer.BadParameter(f"--prevalence must be above 0 and below 1, is {prevalence:g}")
    if margin is not None and not 0 < margin < 1:
        raise typer.BadParameter(f"--margin must be above 0 and below 1, is {margin:g}")
    if versus is None and (lost := [o for o in (margin, versus_score, versus_threshold) if o is not None]):
        raise typer.BadParameter(f"--margin, --versus-score and --versus-threshold need --versus (given: {lost[0]})")
    try:
        stated = Requirements(least_auc, least_sensitivity, least_specificity, net_benefit_at)
    except ValueError as error:
        raise typer.BadParameter(f"--{str(error).replace('_', '-')}") from error
    rule = None if next_ is None else _stop_rule(next_, stop_on, cap, stated)
    given: dict[Role, str] = {}
    columns: list[tuple[Role, str | None]] = [("score", score), ("label", label), ("patient", patient), ("site", site)]
    given |= {role: column for role, column in columns if column is not None}
    claims = () if claim is None else load_claims(claim)
    folder = out or scores.parent / f"{short_name(scores.stem)}-evaluation"
    stop = None
    if rule is not None:
        waiting = read_score_table(
            scores, given, labels=labels, positive=positive, scale=_scale(scale), threshold=threshold, lenient=True
        )
        stop = next_scans(waiting, rule, folder)
        if stop.state == "go on":
            raise typer.Exit(EXIT_CODES["cannot tell"])
    table = read_score_table(scores, given, labels=labels, positive=positive, scale=_scale(scale), threshold=threshold)
    before = None
    if versus is not None:
        at = threshold if versus_threshold is None else versus_threshold
        theirs = given | ({} if versus_score is None else {"score": versus_score})
        before = read_score_table(versus, theirs, positive=positive, scale=_scale(scale), threshold=at, lenient=True)
        if versus_score is not None and before.columns["score"].strip() != versus_score.strip():
            raise BadTable(versus, f"has no column {versus_score!r}", "Correct --versus-score")
    found = evaluate_table(
        table,
        stated,
        versus=before,
        margin=margin,
        stop=stop,
        claims=claims,
        prevalence=prevalence,
        name=name or scores.stem,
        labels="" if labels is None else labels.name,
        out=folder,
        options=_as_typed(
            score=score, label=label, patient=patient, site=site, labels=labels, positive=positive, scale=scale,
            threshold=threshold, prevalence=prevalence, least_auc=least_auc, least_sensitivity=least_sensitivity,
            least_specificity=least_specificity, net_benefit_at=net_benefit_at, claim=claim, versus=versus,
            versus_score=versus_score, versus_threshold=versus_threshold, margin=margin, next=next_,
            stop_on=None if next_ is None else stop_on, cap=None if next_ is None else cap, out=out, name=name,
        ),
    )  # fmt: skip
    if found.exit_code:
        raise typer.Exit(found.exit_code)


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


def load_claims(file: Path) -> tuple[Claim, ...]:
    """The claims of a TOML file.

    Raises:
        BadTable: it cannot be read, or claims nothing that can be tested.
    """
    try:
        return read_claims(tomllib.loads(file.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise BadTable(file, f"cannot be read ({error.strerror})", "Give the path of a TOML file") from error
    except ValueError as error:  # bad TOML and bad UTF-8 are of this kind
        raise BadTable(file, str(error), "Correct it (documentation, “Acceptance test”)") from error


def evaluate_table(
    table: ScoreTable,
    stated: Requirements = Requirements(),  # noqa: B008 - frozen
    *,
    claims: Sequence[Claim] = (),
    versus: ScoreTable | None = None,
    margin: float | None = None,
    stop: Stop | None = None,
    prevalence: float | None = None,
    name: str,
    labels: str = "",
    out: Path,
    options: Sequence[str] = (),
    seed: int = 0,
) -> Evaluation:
    """Evaluate a checked table; write evaluation.html, evaluation.json, cells.parquet; print what was read and found.

    Args:
        table: of scores and labels.
        stated: what the product must reach.
        claims: what it is said to reach.
        versus: table of the version before, to compare with on the scans in common; None for none.
        margin: what AUC, sensitivity and specificity may lose against it; None for no such requirement.
        stop: what the stop rule said, where labels were looked at several times; None where once.
        prevalence: at which predictive values are wanted beside that of these scans.
        name: of the product.
        labels: name of the file that the labels are from; "" where they stand in the table.
        out: folder to write to.
        options: as typed, for the command that the page prints.
        seed: of all that is drawn.

    Raises:
        BadTable: no finding has a scan with both a score and a label, or the tables of two versions do not fit.
    """
    engine.say(
        f"{table.where}: {len(table.scan)} rows, {SCALE_WORDS[table.scale]}{'' if table.stated else ' (assumed)'}"
    )
    engine.say("; ".join(f"{role} = {column!r}" for role, column in table.columns.items()), "Columns:")
    for remark in table.remarks:
        engine.say(remark)
    parts = _parts(table)
    sections = tuple(
        evaluate_product(_rows(table, kept), stated, name=part, claims=claims, prevalence=prevalence, seed=seed)
        for part, kept in parts
    )
    compared = () if versus is None else tuple(_compare(table, kept, versus, margin) for _, kept in parts)
    if not sections:
        raise BadTable(table.where, "no finding has a scan with both a score and a label", "Give some scans both")
    if stop is not None and stop.state == "cap":
        sections = tuple(_left_open(s, stop) for s in sections)
    code = exit_code([s.answer for s in sections], [c for s in sections for c in s.claims])
    code = max([code, *(v.exit_code for v in compared)], key=SEVERITY.index)
    context = EvaluationContext(
        product=name,
        table=Path(table.where).name,
        labels=labels,
        columns={str(role): column for role, column in table.columns.items()},
        scale=SCALE_WORDS[table.scale],
        remarks=table.remarks,
        exit_code=code,
        command=shlex.join(["elsewhere", "evaluate", Path(table.where).name, *options]),
        versus="" if versus is None else Path(versus.where).name,
        stop="" if stop is None else f"{stop.sentence} {stop.caution}".strip(),
    )
    record: dict[str, Any] = {"product": name, "exit_code": code, "disclaimer": DISCLAIMER}
    record |= {
        "table": context.table,
        "columns": dict(table.columns),
        "scale": table.scale,
        "stated_scale": table.stated,
    }
    record |= {"remarks": list(table.remarks), "seed": seed}
    record["findings"] = [
        {"headline": headline(s), "cases": cases_hash(table, kept), **to_record(s)}
        for s, (_, kept) in zip(sections, parts, strict=True)
    ]
    if stop is not None:
        record["stop"] = plain(asdict(stop) | {"sentence": stop.sentence, "caution": stop.caution})
    if versus is not None:
        record["versus"] = {"table": context.versus, "findings": [version_record(v) for v in compared]}
    write_record(out / "evaluation.json", record)
    write_columns(out / "cells.parquet", pa.Table.from_pylist([cell for s in sections for cell in s.cells]))
    write_whole(out / "evaluation.html", render_evaluation(sections, context, compared))
    _print(sections, compared, out)
    return Evaluation(sections, code, out)


def _stop_rule(step: int, measure: str, cap: int, stated: Requirements) -> StopRule:
    """The stop rule that the options ask for; its need is the requirement on the measure."""
    if measure not in MEASURES:
        raise typer.BadParameter(f"--stop-on must be one of {', '.join(MEASURES)}, is {measure}")
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
        raise typer.BadParameter(str(error)) from error


def next_scans(table: ScoreTable, rule: StopRule, out: Path) -> Stop:
    """Look at the labels so far; where labelling goes on, write next.csv: the scans to read next. Printed as well.

    Raises:
        BadTable: several findings or versions, no column of scans, or decisions that are not known.
    """
    if len(set(zip(table.finding, table.version, strict=True))) > 1:
        what = "holds several findings or versions; --next takes one"
        raise BadTable(table.where, what, "Keep the rows of one finding and version")
    if len(set(table.site)) > 1:
        what = f"holds {len(set(table.site))} sites; --next takes one, because products do otherwise at each"
        raise BadTable(table.where, what, "Keep the rows of one site")
    if "scan" not in table.columns:
        raise BadTable(
            table.where, "has no column that names the scan", "Add a column `scan`, so that --next can say which"
        )
    scored = np.flatnonzero(np.isfinite(table.score))
    score, label = table.score[scored], table.label[scored]
    calls = _calls(table, scored.tolist())
    if rule.measure != "auc" and calls is None:
        raise BadTable(table.where, f"decisions are not known, so {rule.measure} cannot be", "Give --threshold")
    order = reading_order([f"{table.site[i]}/{table.scan[i]}" for i in scored.tolist()])
    known = label >= 0
    people = check_groups(_patients(table, scored.tolist()), scored.size)
    first = np.zeros(scored.size, bool)
    first[order[: int(known.sum())]] = True
    stop = look(
        rule,
        label[known],
        people[known],
        score[known],
        None if calls is None else calls[known] == 1,
        cap=min(rule.cap, scored.size),
        unplanned=int((known & ~first).sum()),
    )
    typer.echo(stop.sentence)
    if stop.caution:
        typer.echo(stop.caution)
    if stop.state == "go on":
        wanted = min(rule.step - int(known.sum()) % rule.step, stop.cap - int(known.sum()))
        chosen = [int(i) for i in order if not known[i]][:wanted]
        _write_next(table, scored[chosen], out / "next.csv")
        typer.echo(f"Label these {len(chosen)} scans next, then start the same command again: {out / 'next.csv'}")
    return stop


def _write_next(table: ScoreTable, rows: NDArray[np.int64], file: Path) -> None:
    """The scans to read, without their scores: a reader who knows the score is not independent of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [
        "scan",
        *(["patient"] if "patient" in table.columns else []),
        *(["site"] if "site" in table.columns else []),
    ]
    writer.writerow([*names, "label"])
    columns = {"scan": table.scan, "patient": table.patient, "site": table.site}
    writer.writerows([*(columns[n][i] for n in names), ""] for i in rows.tolist())
    write_whole(file, text.getvalue())


def _left_open(section: Section, stop: Stop) -> Section:
    """A verdict that stands on a fixed number of scans is no verdict where looks before the cap left it open."""
    if section.answer.action not in {"nothing", "recalibrate"}:
        return section
    words = f"{stop.sentence} The intervals below are those of a single look, which these labels did not have."
    advice = "State a lower requirement before you see more, or test it on new scans with a larger --cap."
    return replace(section, answer=Answer("cannot tell", words, advice, section.answer.rule))


def _parts(table: ScoreTable) -> list[tuple[str, NDArray[np.bool_]]]:
    """Name and rows (a mask) of each finding and version that has a scan with both a score and a label."""
    versions = len(set(table.version)) > 1
    keys = [
        " · ".join(p for p in (f, v if versions else "") if p)
        for f, v in zip(table.finding, table.version, strict=True)
    ]
    names = np.array(keys)
    masks = [(name, names == name) for name in dict.fromkeys(keys)]
    return [(n, kept) for n, kept in masks if (np.isfinite(table.score[kept]) & (table.label[kept] >= 0)).any()]


def _compare(table: ScoreTable, kept: NDArray[np.bool_], before: ScoreTable, margin: float | None) -> Versus:
    """The rows of one finding against the version before."""
    pairs = pair_rows(table, kept, before)
    new, old = pairs.new.tolist(), pairs.old.tolist()
    rows = PairedRows(
        scans=[table.scan[i] for i in new],
        labels=pairs.label,
        patients=_patients(table, new),
        new=table.score[pairs.new],
        old=before.score[pairs.old],
        new_calls=_calls(table, new),
        old_calls=_calls(before, old),
        sites=[table.site[i] for i in new] if "site" in table.columns else None,
        metadata={n: [values[i] for i in new] for n, values in table.metadata.items()},
        one_scale=table.scale == before.scale,
        show=_show(table.scale),
    )
    return compare_versions(rows, margin, added=pairs.added, dropped=pairs.dropped)


def _patients(table: ScoreTable, rows: Sequence[int]) -> NDArray[np.str_]:
    """Patients of some rows; two sites may give two patients one id."""
    return np.array([f"{table.site[i]}/{table.patient[i]}" for i in rows])


def _calls(table: ScoreTable, rows: list[int]) -> Ints | None:
    """Decisions of some rows, -1 where there is no score; None where neither calls nor a threshold are known."""
    score = table.score[rows]
    if table.call is not None:
        return np.where(np.isfinite(score), table.call[rows], -1)
    if table.threshold is None:
        return None
    return np.where(np.isfinite(score), (score >= table.threshold).astype(np.int64), -1)


def _rows(table: ScoreTable, kept: NDArray[np.bool_]) -> ProductRows:
    places = np.flatnonzero(kept).tolist()
    several = "site" in table.columns
    return ProductRows(
        labels=table.label[kept],
        patients=_patients(table, places),
        scores=table.score[kept],
        calls=None if table.call is None else table.call[kept],
        refused=[table.refused[i] for i in places],
        sites=[table.site[i] for i in places] if several else None,
        metadata={n: [values[i] for i in places] for n, values in table.metadata.items()},
        threshold=table.threshold,
        is_probability=table.is_probability,
        stated_probability=table.is_probability and table.stated,
        show=_show(table.scale),
    )


def _show(scale: Scale) -> Callable[[float], str]:
    """A threshold in words of the file's scale."""
    if scale == "percent":
        return lambda t: f"from {100 * t:.4g} %"
    if scale == "logit":
        return lambda t: f"from {logit(t):.4g}"
    return (lambda t: f"at or below {-t:.4g}") if scale == "lower-is-sicker" else "from {:.4g}".format


def _print(sections: Sequence[Section], compared: Sequence[Versus], out: Path) -> None:
    for s in sections:
        typer.echo(f"{f'{s.name}: ' if s.name else ''}{headline(s)}.")
        typer.echo(s.answer.reason)
        typer.echo(s.answer.next_step)
        if s.unanswered:
            typer.echo(s.unanswered)
        for claim in s.claims:
            typer.echo(claim.sentence)
    for v in compared:
        typer.echo(v.headline)
        for difference in v.differences:
            typer.echo(difference.sentence)
    engine.say(out / "evaluation.html", "The page:")

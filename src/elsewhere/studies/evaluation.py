"""A checked table of a product's scores in; its evaluation as page, record and cells, or the scans to label next."""

from __future__ import annotations

import shlex
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import logit

from elsewhere import engine
from elsewhere.errors import BadTable
from elsewhere.files import csv_text, write_whole
from elsewhere.pages.evaluation import EvaluationContext, headline, render_evaluation
from elsewhere.records import write_columns, write_record
from elsewhere.scans.score_columns import Scale
from elsewhere.scans.score_pairs import cases_hash, pair_rows
from elsewhere.scans.score_table import ScoreTable
from elsewhere.statistics.acceptance import SEVERITY, Claim, exit_code, read_claims
from elsewhere.statistics.columns import Ints, check_groups
from elsewhere.statistics.evaluation import ProductRows, Section, evaluate_product, plain, to_record
from elsewhere.statistics.requirements import Requirements
from elsewhere.statistics.stopping import Stop, StopRule, look, reading_order
from elsewhere.statistics.verdict import DISCLAIMER
from elsewhere.statistics.verdict_rule import EXIT_CODES, HOLDS, Answer
from elsewhere.statistics.versus import PairedRows, Versus, compare_versions, version_record
from elsewhere.wording import numbered

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
    parts = parts_of(table)
    sections = tuple(
        evaluate_product(_rows(table, kept), stated, name=part, claims=claims, prevalence=prevalence, seed=seed)
        for part, kept in parts
    )
    compared = () if versus is None else tuple(compare_tables(table, kept, versus, margin) for _, kept in parts)
    if not sections:
        raise BadTable(table.where, "no finding has a scan with both a score and a label", "Give some scans both")
    if stop is not None and (stop.state == "cap" or stop.caution):
        sections = tuple(_left_open(s, stop) for s in sections)
    silent = silent_parts(table, [kept for _, kept in parts])
    for remark in silent:
        engine.say(remark, "Not judged:", "yellow")
    code = exit_code([s.answer for s in sections], [c for s in sections for c in s.claims])
    code = max(
        [code, *([EXIT_CODES["cannot tell"]] if silent else ()), *(v.exit_code for v in compared)], key=SEVERITY.index
    )
    context = EvaluationContext(
        product=name,
        table=Path(table.where).name,
        labels=labels,
        columns={str(role): column for role, column in table.columns.items()},
        scale=SCALE_WORDS[table.scale],
        remarks=(*table.remarks, *silent),
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
    record |= {"remarks": [*table.remarks, *silent], "seed": seed}
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
    calls = calls_of(table, scored.tolist())
    if rule.measure != "auc" and calls is None:
        raise BadTable(table.where, f"decisions are not known, so {rule.measure} cannot be", "Give --threshold")
    order = reading_order([f"{table.site[i]}/{table.scan[i]}" for i in scored.tolist()])
    known = label >= 0
    people = check_groups(patients_of(table, scored.tolist()), scored.size)
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
    engine.tell(stop.sentence)
    if stop.caution:
        engine.tell(stop.caution)
    if stop.state == "go on":
        wanted = min(rule.step - int(known.sum()) % rule.step, stop.cap - int(known.sum()))
        chosen = [int(i) for i in order if not known[i]][:wanted]
        _write_next(table, scored[chosen], out / "next.csv")
        engine.tell(f"Label these {len(chosen)} scans next, then start the same command again: {out / 'next.csv'}")
    return stop


def _write_next(table: ScoreTable, rows: NDArray[np.int64], file: Path) -> None:
    """The scans to read, without their scores: a reader who knows the score is not independent of it."""
    names = [
        "scan",
        *(["patient"] if "patient" in table.columns else []),
        *(["site"] if "site" in table.columns else []),
    ]
    columns = {"scan": table.scan, "patient": table.patient, "site": table.site}
    chosen = [[*(columns[n][i] for n in names), ""] for i in rows.tolist()]
    write_whole(file, csv_text([*names, "label"], chosen, plain=True))


def _left_open(section: Section, stop: Stop) -> Section:
    """A verdict that stands on a fixed number of scans is no verdict where looks before the cap left it open."""
    if section.answer.action not in HOLDS:
        return section
    words = f"{stop.sentence} The intervals below are those of a single look, which these labels did not have."
    advice = "State a lower requirement before you see more, or test it on new scans with a larger --cap."
    if stop.caution:
        words, advice = (
            f"{stop.sentence} {stop.caution}",
            "Judge it on new scans, read in the order that --next proposes.",
        )
    return replace(section, answer=Answer("cannot tell", words, advice, section.answer.rule))


def parts_of(table: ScoreTable) -> list[tuple[str, NDArray[np.bool_]]]:
    """Name and rows (a mask) of each finding and version that has a scan with both a score and a label."""
    versions = len(set(table.version)) > 1
    keys = [
        " · ".join(p for p in (f, v if versions else "") if p)
        for f, v in zip(table.finding, table.version, strict=True)
    ]
    names = np.array(keys)
    masks = [(name, names == name) for name in dict.fromkeys(keys)]
    return [(n, kept) for n, kept in masks if (np.isfinite(table.score[kept]) & (table.label[kept] >= 0)).any()]


def silent_parts(table: ScoreTable, judged: Sequence[NDArray[np.bool_]]) -> list[str]:
    """A sentence for each finding or version of which no scan has both a score and a label: nothing is known of it.

    Args:
        table: all rows.
        judged: rows (a mask) of each part that has such a scan, one part at least.
    """
    rows = zip(table.finding, table.version, np.any(judged, axis=0), strict=True)
    left = Counter(" · ".join(p for p in (f, v) if p) for f, v, known in rows if not known)
    return [
        f"{name or 'the rest'}: {numbered(many, 'row')}, and not one with both a score and a label."
        for name, many in left.items()
    ]


def compare_tables(table: ScoreTable, kept: NDArray[np.bool_], before: ScoreTable, margin: float | None) -> Versus:
    """The rows of one finding against the version before."""
    pairs = pair_rows(table, kept, before)
    new, old = pairs.new.tolist(), pairs.old.tolist()
    rows = PairedRows(
        scans=[table.scan[i] for i in new],
        labels=pairs.label,
        patients=patients_of(table, new),
        new=table.score[pairs.new],
        old=before.score[pairs.old],
        new_calls=calls_of(table, new),
        old_calls=calls_of(before, old),
        sites=[table.site[i] for i in new] if "site" in table.columns else None,
        metadata={n: [values[i] for i in new] for n, values in table.metadata.items()},
        one_scale=table.scale == before.scale,
        show=_show(table.scale),
    )
    return compare_versions(rows, margin, added=pairs.added, dropped=pairs.dropped)


def patients_of(table: ScoreTable, rows: Sequence[int]) -> NDArray[np.str_]:
    """Patients of some rows; two sites may give two patients one id."""
    return np.array([f"{table.site[i]}/{table.patient[i]}" for i in rows])


def calls_of(table: ScoreTable, rows: list[int]) -> Ints | None:
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
        patients=patients_of(table, places),
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
        engine.tell(f"{f'{s.name}: ' if s.name else ''}{headline(s)}.")
        engine.tell(s.answer.reason)
        engine.tell(s.answer.next_step)
        if s.unanswered:
            engine.tell(s.unanswered)
        for claim in s.claims:
            engine.tell(claim.sentence)
    for v in compared:
        engine.tell(v.headline)
        for difference in v.differences:
            engine.tell(difference.sentence)
    engine.say(out / "evaluation.html", "The page:")

"""A folder that keeps a product's evaluations over time: each under its date and version, one table, one page.

On disk: `product.json` (what was agreed at the acceptance test), one folder for each evaluation with its page, its
record and `scans.parquet` (every row as it was judged), and `history.html`, `history.json`, `history.parquet` made
from them. The labelled scans of the first evaluation are frozen: a later table that holds them is an update, and must
hold all of them with the same labels; one that holds none of them is on new scans.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date as Date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from elsewhere import engine
from elsewhere.errors import BadTable
from elsewhere.files import short_name, write_whole
from elsewhere.pages.evaluation import headline
from elsewhere.pages.history import FindingHistory, HistoryRow, render_history
from elsewhere.records import read_columns, read_record, write_columns, write_record
from elsewhere.scans.frozen_scans import Key, holds_frozen, labelled_scans, names_of
from elsewhere.scans.score_columns import Scale
from elsewhere.scans.score_table import ScoreTable
from elsewhere.statistics.evaluation import plain
from elsewhere.statistics.monitoring import COURSE_SEVERITY, JUDGED, Course, Evaluated, Watched, follow
from elsewhere.statistics.requirements import Measure, Requirements
from elsewhere.statistics.verdict import DISCLAIMER
from elsewhere.statistics.versus import Versus
from elsewhere.studies.evaluation import Evaluation, calls_of, compare_tables, patients_of

Kind = Literal["acceptance", "update", "new scans"]
SCANS = ("scan", "patient", "site", "finding", "score", "label", "call", "refused")
RESTORE = "Restore it from a copy: without it the history is not whole"


@dataclass(frozen=True)
class Terms:
    """What holds for all evaluations of a product, stated with the first.

    Attributes:
        product: its name.
        requirements: what it must reach.
        margin: what an update may lose; None for no such requirement.
        scale: what its scores are; None where not stated.
        threshold: of its first version, on the scale of the file; None where its tables hold its calls.
    """

    product: str
    requirements: Requirements
    margin: float | None = None
    scale: Scale | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Entry:
    """One evaluation that is kept.

    Attributes:
        folder: where it lies.
        date: when, 2026-03-31.
        version: of the product.
        kind: "acceptance" (the first), "update" (on its frozen scans), or "new scans".
        exit_code: of that evaluation by itself.
        headlines: finding -> its verdict in a few words.
        table: the scans as they were judged; `call` holds the decisions, whether the product's own or a threshold's.
        content: fingerprint of all that was judged.
    """

    folder: Path
    date: str
    version: str
    kind: Kind
    exit_code: int
    headlines: Mapping[str, str]
    table: ScoreTable
    content: str

    @cached_property
    def labelled(self) -> dict[Key, int]:
        """Label of each labelled scan."""
        return labelled_scans(self.table)


def read_terms(folder: Path) -> Terms | None:
    """What was agreed with the first evaluation; None where there is none yet.

    Raises:
        BadStudy: the record is damaged.
    """
    file = folder / "product.json"
    if not file.is_file():
        return None
    record = read_record(file, RESTORE, ("product", "requirements", "margin", "scale", "threshold"))
    return Terms(
        record["product"],
        Requirements(**record["requirements"]),
        record["margin"],
        record["scale"],
        record["threshold"],
    )


def agree(folder: Path, kept: Terms | None, given: Terms) -> Terms:
    """The terms of one more evaluation: what is kept stands, and what is given now must not say otherwise.

    Only the threshold may be another one, as each version may have its own.

    Raises:
        BadTable: a requirement, the margin or the scale differs from what is kept.
    """
    if kept is None:
        return given
    ours, theirs = asdict(kept.requirements), asdict(given.requirements)
    pairs = {f"--{n.replace('_', '-')}": (ours[n], theirs[n]) for n in ours if n != "margin"}
    pairs |= {"--margin": (kept.margin, given.margin), "--scale": (kept.scale, given.scale)}
    for option, (before, now) in pairs.items():
        if now is not None and now != before:
            was = "was not stated" if before is None else f"is {before}"
            what = f"{option} {was} since the first evaluation, and {now} now"
            raise BadTable(folder, what, "Leave the option out, or begin another folder with a new acceptance test")
    return replace(kept, threshold=kept.threshold if given.threshold is None else given.threshold)


def read_entries(folder: Path) -> list[Entry]:
    """All kept evaluations, in the order in which they were made.

    Raises:
        BadTable: there is none.
        BadStudy: a record is damaged.
    """
    files = sorted(folder.glob("*/entry.json"))
    found = [(read_record(f, RESTORE, ("number", "date", "version", "kind")), f.parent) for f in files]
    return [_entry(record, place) for record, place in sorted(found, key=lambda pair: int(pair[0]["number"]))]


def _entry(record: Mapping[str, Any], place: Path) -> Entry:
    rows = read_columns(place / "scans.parquet", RESTORE, SCANS).to_pydict()
    roles = set(record["roles"])
    known = [c is not None for c in rows["call"]]
    table = ScoreTable(
        where=str(place),
        columns={role: role for role in ("score", "label", "patient", "scan", "site", "finding") if role in roles},
        line=np.arange(2, len(known) + 2),
        scan=rows["scan"],
        patient=rows["patient"],
        site=rows["site"],
        finding=rows["finding"],
        version=[record["version"]] * len(known),
        score=np.array([np.nan if s is None else s for s in rows["score"]], dtype=np.float64),
        label=np.array(rows["label"], dtype=np.int64),
        call=np.array([-1 if c is None else c for c in rows["call"]]) if any(known) else None,
        refused=rows["refused"],
        metadata={},
        scale=record["scale"],
        stated=True,
    )
    return Entry(
        place, record["date"], record["version"], record["kind"], record["exit_code"], record["headlines"], table,
        record["content"],
    )  # fmt: skip


# One more evaluation -------------------------------------------------------------------------------------------------


def version_of(table: ScoreTable, release: str | None) -> str:
    """The version that a table is of: that of its column, else the one given.

    Raises:
        BadTable: it holds several versions, none is known, or the two differ.
    """
    versions = sorted({v for v in table.version if v})
    if len(versions) > 1:
        what = f"holds {len(versions)} versions ({', '.join(versions[:4])})"
        raise BadTable(table.where, what, "Keep each version by itself: give a table for each")
    if not versions and not release:
        raise BadTable(
            table.where, "says no version of the product", "Say it with --release, or add a column `version`"
        )
    if versions and release and versions[0] != release:
        what = f"holds version {versions[0]}, but --release is {release}"
        raise BadTable(table.where, what, "Leave --release out, or correct the table")
    return versions[0] if versions else str(release)


def kind_of(table: ScoreTable, entries: Sequence[Entry]) -> Kind:
    """Whether a table is the acceptance test, an update on its frozen scans, or on new scans.

    Raises:
        BadTable: no column of scans; some but not all frozen scans, or with other labels; scans that were evaluated
            as new ones before.
    """
    if "scan" not in table.columns:
        raise BadTable(table.where, "has no column that names the scan", "Add a column `scan`: a history needs it")
    if not entries:
        return "acceptance"
    if holds_frozen(table, entries[0].labelled):
        return "update"
    here = labelled_scans(table)
    for entry in entries:
        if entry.kind == "new scans" and (again := sorted(entry.labelled.keys() & here.keys())):
            what = f"{len(again)} of its scans were evaluated on {entry.date} already ({names_of(again)})"
            raise BadTable(table.where, what, "Give scans that are new since then: a scan counts once")
    return "new scans"


def check_date(folder: Path, text: str, entries: Sequence[Entry]) -> str:
    """The date of an evaluation, which does not lie before the last one.

    Raises:
        BadTable: it is no date, or lies before the last evaluation.
    """
    try:
        day = Date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise BadTable(folder, f"--date is {text!r}", "Write it as 2026-03-31") from error
    if entries and day < entries[-1].date:
        what = f"--date is {day}, but the last evaluation is of {entries[-1].date}"
        raise BadTable(folder, what, "Evaluations are kept in their order: give a later date")
    return day


def content_of(table: ScoreTable, version: str) -> str:
    """Fingerprint of all that is judged: version, scans, scores, labels, decisions, refusals."""
    rows = _columns(table)
    text = json.dumps([version, *(rows[name] for name in SCANS)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def place_for(folder: Path, date: str, version: str) -> Path:
    """A free folder for one more evaluation, named by its date and version."""
    plain_version = re.sub(r"[^\w.+-]+", "_", version).strip("._") or "version"
    name = short_name(f"{date} {plain_version}")
    taken = [folder / (name if i == 1 else f"{name} ({i})") for i in range(1, 1000)]
    return next(place for place in taken if not (place / "entry.json").exists())


@dataclass(frozen=True)
class NextEntry:
    """One more evaluation, before it is made.

    Attributes:
        date: when, 2026-03-31.
        version: of the product.
        kind: what its scans are.
        place: folder for its page, record and scans.
        content: fingerprint of all that is judged.
        before: the acceptance test's scans where this is an update on them; None otherwise.
    """

    date: str
    version: str
    kind: Kind
    place: Path
    content: str
    before: ScoreTable | None


def next_entry(folder: Path, entries: Sequence[Entry], table: ScoreTable, release: str | None, day: str) -> NextEntry:
    """Where one more evaluation goes, and what it is.

    Args:
        folder: of the history.
        entries: those kept so far.
        table: to be evaluated.
        release: version as the user says it; None for that of the table.
        day: date of the evaluation.

    Raises:
        BadTable: as `version_of`, `kind_of` and `check_date`; or the same evaluation is kept already.
    """
    version, kind, day = version_of(table, release), kind_of(table, entries), check_date(folder, day, entries)
    content = content_of(table, version)
    if (again := next((e for e in entries if e.content == content and e.date == day), None)) is not None:
        raise BadTable(table.where, f"is kept already, in {again.folder}", f"See it: elsewhere history {folder}")
    place, before = place_for(folder, day, version), entries[0].table if kind == "update" else None
    return NextEntry(day, version, kind, place, content, before)


def keep_entry(  # noqa: PLR0917 - where, what holds, and what was found
    folder: Path, terms: Terms, entries: Sequence[Entry], table: ScoreTable, entry: NextEntry, found: Evaluation
) -> Entry:
    """Add an evaluation, whose page lies at its place already, to the history; as it is kept.

    Args:
        folder: of the history.
        terms: that hold for it.
        entries: those kept so far.
        table: that was evaluated.
        entry: what it is.
        found: what it found.
    """
    if not entries:
        write_record(folder / "product.json", asdict(terms) | {"began": entry.date})
    rows = _columns(table)
    schema = {"score": pa.float64(), "label": pa.int64(), "call": pa.int64()}
    columns = {name: pa.array(rows[name], schema.get(name, pa.string())) for name in SCANS}
    write_columns(entry.place / "scans.parquet", pa.table(columns))
    record = {
        "number": len(entries),
        "date": entry.date,
        "version": entry.version,
        "kind": entry.kind,
        "exit_code": found.exit_code,
        "headlines": {s.name: headline(s) for s in found.sections},
        "roles": list(table.columns),
        "scale": table.scale,
        "content": entry.content,
    }
    write_record(entry.place / "entry.json", record)
    return _entry(record, entry.place)


def _columns(table: ScoreTable) -> dict[str, list[Any]]:
    calls = calls_of(table, list(range(len(table.scan))))
    return {
        "scan": table.scan,
        "patient": table.patient,
        "site": table.site,
        "finding": table.finding,
        "score": [float(s) if np.isfinite(s) else None for s in table.score],
        "label": table.label.tolist(),
        "call": [None] * len(table.scan) if calls is None else [c if c >= 0 else None for c in calls.tolist()],
        "refused": table.refused,
    }


# All of them ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class History:
    """What all kept evaluations say.

    Attributes:
        courses: finding -> its course.
        exit_code: 12 below a requirement, 14 worse than before, 20 changed or nothing to say yet, else 0.
    """

    courses: Mapping[str, Course]
    exit_code: int


def read_history(folder: Path) -> tuple[Terms, list[Entry]]:
    """The terms of a product and all its kept evaluations.

    Raises:
        BadTable: the folder keeps no evaluation.
        BadStudy: a record is damaged.
    """
    terms, entries = read_terms(folder), read_entries(folder) if folder.is_dir() else []
    if terms is None or not entries:
        what = "keeps no evaluation of a product"
        raise BadTable(folder, what, "Begin one: elsewhere evaluate scores.csv --keep FOLDER --release VERSION")
    return terms, entries


def write_history(folder: Path, terms: Terms, entries: Sequence[Entry], command: str) -> History:
    """What all evaluations of a product say; write history.html, history.json and history.parquet.

    Args:
        folder: of the history.
        terms: as they were agreed with the first evaluation.
        entries: all that are kept, one or more.
        command: that the page prints.
    """
    findings = list(dict.fromkeys(f for e in entries for f in e.table.finding))
    courses, shown, rows = {}, [], dict[str, list[dict[str, Any]]]()
    for finding in findings:
        those = [e for e in entries if finding in e.table.finding]
        course = _follow(those, finding, terms)
        courses[finding] = course
        lines = [_row(e, finding, i, course) for i, e in enumerate(those)]
        shown.append(FindingHistory(finding, tuple(lines), course, _needs(terms)))
        rows[finding] = [_record_row(finding, line) for line in lines]
    code = max((c.exit_code for c in courses.values()), key=COURSE_SEVERITY.index)
    record = {"product": terms.product, "exit_code": code, "disclaimer": DISCLAIMER, "terms": asdict(terms)}
    record["findings"] = [{"finding": f.name, **plain(asdict(f.course)), "evaluations": rows[f.name]} for f in shown]
    write_record(folder / "history.json", plain(record))
    write_columns(folder / "history.parquet", pa.Table.from_pylist([row for lines in rows.values() for row in lines]))
    write_whole(folder / "history.html", render_history(terms.product, shown, code, command))
    return History(courses, code)


def print_history(history: History, folder: Path) -> None:
    """What stands, and where the page lies."""
    for finding, course in history.courses.items():
        for sentence in course.sentences:
            engine.tell(f"{f'{finding}: ' if finding else ''}{sentence}")
    engine.say(folder / "history.html", "The history:")


def _needs(terms: Terms) -> dict[Watched, float]:
    """Measure -> value required, stated or default."""
    measures: tuple[Measure, ...] = ("discrimination (AUC)", "sensitivity", "specificity")
    limits = {m: next(v for home, v, _ in terms.requirements.limits(m) if not home) for m in measures}
    return {watched: limits[measure] for watched, measure in zip(JUDGED, measures, strict=True)}


def _follow(entries: Sequence[Entry], finding: str, terms: Terms) -> Course:
    evaluated, compared = [], list[Versus | None]()
    first = entries[0].table
    for entry in entries:
        t = entry.table
        kept = np.array([f == finding for f in t.finding])
        rows = np.flatnonzero(kept).tolist()
        evaluated.append(
            Evaluated(
                date=entry.date,
                version=entry.version,
                update=entry.kind == "update",
                labels=t.label[kept],
                patients=patients_of(t, rows).tolist(),
                scores=t.score[kept],
                calls=calls_of(t, rows),
                sites=[t.site[i] for i in rows] if "site" in t.columns else None,
            )
        )
        compared.append(compare_tables(t, kept, first, terms.margin) if entry.kind == "update" else None)
    return follow(evaluated, _needs(terms), compared, terms.margin)


def _row(entry: Entry, finding: str, place: int, course: Course) -> HistoryRow:
    t = entry.table
    kept = np.array([f == finding for f in t.finding])
    used = kept & np.isfinite(t.score) & (t.label >= 0)
    alarms = tuple(
        f"{c.measure} {'below the need' if c.kind == 'need' else c.kind}"
        for c in course.charts
        for i, r in zip(c.looks, c.readings, strict=True)
        if i == place and r.alarm is not None and c.looks[r.alarm] == place
    )
    return HistoryRow(
        date=entry.date,
        version=entry.version,
        kind=entry.kind,
        page=f"{entry.folder.name}/evaluation.html",
        scans=int(used.sum()),
        positives=int((t.label[used] == 1).sum()),
        values=course.values[place],
        headline=entry.headlines.get(finding, ""),
        exit_code=entry.exit_code,
        update=course.updates[place],
        alarms=alarms,
    )


def _record_row(finding: str, row: HistoryRow) -> dict[str, Any]:
    """One line of history.parquet."""
    found: dict[str, Any] = {
        "finding": finding,
        "date": row.date,
        "version": row.version,
        "kind": row.kind,
        "scans": row.scans,
        "positives": row.positives,
        "verdict": row.headline,
        "exit_code": row.exit_code,
        "alarms": "; ".join([*row.alarms, *(f"update: {m} worse" for m in (row.update.lost if row.update else ()))]),
        "folder": row.page.partition("/")[0],
    }
    for measure, interval in row.values.items():
        name = measure.partition(" (")[0].replace(" ", "_")
        ends = (None,) * 3 if interval is None else (interval.estimate, interval.low, interval.high)
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    return found

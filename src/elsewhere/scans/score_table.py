"""A table of a product's scores, one row per scan, read and checked: any doubt is an error with its row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadTable
from elsewhere.scans.labels import TITLES
from elsewhere.scans.score_columns import NAMES, ROLES, Role, normal_name, recognise
from elsewhere.scans.score_values import (
    ENDS,
    UNKNOWN_LABEL,
    Place,
    Scale,
    on_scale,
    parse_calls,
    parse_ids,
    parse_known,
    parse_labels,
    parse_reason,
    parse_scores,
)
from elsewhere.scans.tables import read_lines
from elsewhere.scans.values import MISSING, alike, parse_label

LEAST_FOUND = 0.95
"""Share of the labelled scans that must have a row of scores; fewer mean that ids do not match."""
NEARLY_ALL = 0.95
"""Of the scores; a threshold up to 1 that as many reach on a scale of percent seems to be a fraction."""

LEAST_HIDDEN = 20
"""Rows from which a column that agrees with the label everywhere is the label again, not chance."""


@dataclass(frozen=True)
class ScoreTable:
    """Rows of a score table, one per scan (and finding, and version).

    Attributes:
        where: the file, for messages.
        columns: role -> name of its column in the file.
        line: line of each row in the file (rows,).
        scan: id; "line N" where the table has none.
        patient: id; the scan's where the table has none.
        site: name; "" in a table without sites.
        finding: name; "" in a table with one.
        version: of the product; "" where not told.
        score: larger means more positive (rows,); NaN where there is none. A probability where `scale` is one.
        label: 1, 0, or -1 where it is not known (rows,).
        call: the product's own decision, 1, 0 or -1 (rows,); None in a table without.
        refused: reason why the product gave no answer, "" where it gave one.
        metadata: further column -> value of each row, "" where not known; age, sex and date among them.
        scale: of the scores in the file.
        stated: whether the user said so.
        threshold: from which a score is called positive, on the scale of `score`; None where not given.
        remarks: what else the reader should know.
    """

    where: str
    columns: Mapping[Role, str]
    line: NDArray[np.int64]
    scan: list[str]
    patient: list[str]
    site: list[str]
    finding: list[str]
    version: list[str]
    score: NDArray[np.float64]
    label: NDArray[np.int64]
    call: NDArray[np.int64] | None
    refused: list[str]
    metadata: Mapping[str, list[str]]
    scale: Scale
    stated: bool
    threshold: float | None = None
    remarks: tuple[str, ...] = field(default=())

    @property
    def is_probability(self) -> bool:
        """Whether calibration and decision curves mean something."""
        return self.scale in {"probability", "percent", "logit"}


def read_score_table(
    path: Path,
    given: Mapping[Role, str] | None = None,
    *,
    labels: Path | None = None,
    positive: str | None = None,
    scale: Scale | None = None,
    threshold: float | None = None,
    lenient: bool = False,
) -> ScoreTable:
    """Read and check a table of scores (CSV, XLSX or Parquet), joined with a table of labels where one is given.

    Args:
        path: the table.
        given: role -> name of its column, where the user says it.
        labels: a table with the labels, and whatever else it knows of the scans, joined by scan (else by patient).
        positive: the value of the label column that is positive; every other one is then negative.
        scale: of the scores; left out, they must lie in 0..1 and are taken as probabilities.
        threshold: from which the product calls a scan positive, on the scale of the file.
        lenient: whether labels, and columns of `given`, may be missing (a version before; scans that await labels).

    Raises:
        BadTable, BadSite: it cannot be read, or says something that cannot be right: file, column, value, line.
    """
    given = given or {}
    where, header, lines, cells = _read(path, given)
    roles = [r for r in ROLES if not (labels and r == "label")]
    there = {normal_name(name) for name in header}  # with --labels a column may be one of that table
    if lenient and not labels:
        given = {role: name for role, name in given.items() if normal_name(name) in there}
    ours = {r: n for r, n in given.items() if r in roles and (not labels or r == "score" or normal_name(n) in there)}
    places = recognise(header, ours, where, roles)
    if "score" not in places:
        raise BadTable(where, f"has no column of scores (columns: {', '.join(header)})", "Name it with --score")
    texts: dict[Role, list[str]] = {role: cells[place] for role, place in places.items()}
    names: dict[Role, str] = {role: header[place] for role, place in places.items()}
    further = {header[i]: cells[i] for i in range(len(header)) if i not in places.values() and header[i]}
    remarks: list[str] = []
    joined = None
    if labels is not None:
        theirs = {r: n for r, n in given.items() if r not in ours}
        joined = _join(labels, theirs, where, texts, names, further)
    elif "label" not in texts and not lenient:
        what = f"has no column of labels (columns: {', '.join(header)})"
        raise BadTable(where, what, "Name it with --label, or give a table of labels with --labels")
    at = Place(where, lines)
    score, scale_read = parse_scores(texts["score"], names["score"], scale, at, remarks)
    low, high = ENDS.get(scale_read, (-np.inf, np.inf))
    if threshold is not None and not (np.isfinite(threshold) and low <= threshold <= high):
        what = f"the threshold {threshold:g} lies outside its scale, {scale_read} ({low:g} to {high:g})"
        raise BadTable(where, what, "Give --threshold as the product's scores are, and --scale what they are")
    point = None
    if threshold is not None:
        point = float(on_scale(np.array([threshold]), scale_read)[0])
        remarks += _check_threshold(threshold, score[np.isfinite(score)] >= point, scale_read, where)
    label = np.full(lines.size, UNKNOWN_LABEL)
    if "label" in texts and not (lenient and not any(texts["label"])):
        label = parse_labels(texts["label"], names["label"], positive, joined or at)
        remarks += _taken_as_negative(texts["label"], label, positive)
    if joined:
        _check_both_labels(further, label, positive, joined.where, at)
    refused = [parse_reason(t) for t in texts.get("refused", [""] * lines.size)]
    scan = parse_ids(texts.get("scan"), "scan", at) or [f"line {n}" for n in lines]
    patient = parse_ids(texts.get("patient"), "patient", at) or scan
    metadata = further | parse_known(texts, names, at, remarks)
    table = ScoreTable(
        where=where,
        columns=names,
        line=lines,
        scan=scan,
        patient=patient,
        site=[t or "(no site)" for t in texts["site"]] if "site" in texts else [""] * lines.size,
        finding=texts.get("finding", [""] * lines.size),
        version=texts.get("version", [""] * lines.size),
        score=np.where([bool(r) for r in refused], np.nan, score),
        label=label,
        call=parse_calls(texts["call"], names["call"], at) if "call" in texts else None,
        refused=refused,
        metadata=_without_labels(metadata, label, names, given, at, remarks),
        scale=scale_read,
        stated=scale is not None,
        threshold=point,
        remarks=tuple(remarks),
    )
    _check(table, lenient)
    return table


def _read(path: Path, given: Mapping[Role, str]) -> tuple[str, list[str], NDArray[np.int64], list[list[str]]]:
    """Name of the table, header, line of each row, cells of each column."""
    where = str(path)
    if not path.is_file():
        raise BadTable(where, "no such table", "Give the path of a CSV, XLSX or Parquet file with one row per scan")
    lines = [(n, list(map(str.strip, cells))) for n, cells in read_lines(path, where)]
    lines[:TITLES] = [(n, [c.strip("\ufeff").strip() for c in cells]) for n, cells in lines[:TITLES]]
    lines = [(n, cells) for n, cells in lines if any(cells) and not cells[0].startswith("#")]
    start = next((i for i, (_, cells) in enumerate(lines[:TITLES]) if _is_header(cells, given)), 0)
    if len(lines) < start + 2:
        raise BadTable(where, "has no row of scores", "Give each scan one row below the names of the columns")
    header, rows = lines[start][1], lines[start + 1 :]
    width = len(header)
    for number, cells in rows:
        if len(cells) > width and any(cells[width:]):
            what = f"line {number} has {len(cells)} cells, the header {width}: {', '.join(cells)[:80]}"
            raise BadTable(where, what, "Decimal commas? Put semicolons between the cells, or write dots")
    twice = [name for name, n in Counter(h for h in header if h).items() if n > 1]
    if twice:
        raise BadTable(where, f"has duplicated columns: {', '.join(twice)}", "Keep one of each")
    full = [c if len(c) == width else [*c[:width], *[""] * (width - len(c))] for _, c in rows]
    return where, header, np.array([n for n, _ in rows]), [list(column) for column in zip(*full, strict=True)]


def _is_header(cells: Sequence[str], given: Mapping[Role, str]) -> bool:
    """Whether a line names a column of scores or labels (a title says one of them in a sentence, not in a cell)."""
    known = set(" ".join((*NAMES["score"], *NAMES["label"])).split())
    names = [normal_name(c) for c in cells if c]
    wanted = {normal_name(n) for n in given.values()}
    parts = [set(n.split("_")) for n in names if len(n) < 40]
    return len(names) > 1 and any(wanted & {n} or p & known or n in known for n, p in zip(names, parts, strict=False))


# Labels of another table -------------------------------------------------------------------------------------------


def _taken_as_negative(texts: Sequence[str], label: NDArray[np.int64], positive: str | None) -> list[str]:
    """Which values of the label column `positive` made negative, so that none that is not known passes for one."""
    if positive is None:
        return []
    counts = Counter(text for text, one in zip(texts, label.tolist(), strict=True) if one == 0)
    told = ", ".join(f"{text!r} ({many})" for text, many in counts.most_common(6))
    more = f" and {len(counts) - 6} more" if len(counts) > 6 else ""
    return [f"Taken as negative, because only {positive!r} is positive: {told or 'none'}{more}."]


def _check_threshold(threshold: float, called: NDArray[np.bool_], scale: Scale, where: Path | str) -> list[str]:
    """A remark where a threshold calls every scored scan (`called`, (scans,)) alike: it may be on another scale.

    Raises:
        BadTable: on a scale of percent, a threshold up to 1 that all but a few scores reach: a fraction, it seems.
    """
    if not called.size:
        return []
    calls = called.mean()
    if scale == "percent" and threshold <= 1 and calls >= NEARLY_ALL:
        what = (
            f"the threshold {threshold:g} is {threshold:g} % on its scale, percent: {calls:.0%} of the scores reach it"
        )
        raise BadTable(where, what, f"Give --threshold {100 * threshold:g} if the fraction {threshold:g} is meant")
    if 0 < calls < 1:
        return []
    kind = "positive" if calls else "negative"
    return [
        f"The threshold {threshold:g} calls all {called.size} scored scans {kind}: is it on the scale of the scores?"
    ]


def _join(  # noqa: PLR0917 - a table, and the columns that it adds to
    path: Path,
    given: Mapping[Role, str],
    where: str,
    texts: dict[Role, list[str]],
    names: dict[Role, str],
    further: dict[str, list[str]],
) -> Place:
    """Add the labels, and what else their table knows, to the columns of the scores; where each label stands."""
    there, header, numbers, cells = _read(path, given)
    roles = [r for r in ROLES if r not in {"score", "call", "refused"}]
    places = recognise(header, given, there, roles)
    if "label" not in places:
        raise BadTable(there, f"has no column of labels (columns: {', '.join(header)})", "Name it with --label")
    ids: tuple[Role, ...] = ("scan", "patient")
    key = next((r for r in ids if r in places and r in texts), None)
    if key is None:
        what = f"has no column in common with {where} that names the scan or the patient ({', '.join(header)})"
        raise BadTable(there, what, "Give both tables a column `scan`")
    finding: list[Role] = ["finding"] if "finding" in places and "finding" in texts else []
    keys = [key, *finding]
    rows: dict[tuple[str, ...], int] = {}
    for i, name in enumerate(zip(*(cells[places[k]] for k in keys), strict=True)):
        first = rows.setdefault(name, i)
        if cells[places["label"]][first] != cells[places["label"]][i]:
            what = f"{key} {name[0]!r} has another label than in line {numbers[first]}"
            raise BadTable(there, f"line {numbers[i]}: {what}", "Keep one row per scan")
    loose = {tuple(alike(part).casefold() for part in name): i for name, i in rows.items()}
    ours = list(zip(*(texts[k] for k in keys), strict=True))
    matched = [rows.get(n, loose.get(tuple(alike(p).casefold() for p in n), -1)) for n in ours]
    used = set(matched)
    labelled = {n: i for n, i in rows.items() if cells[places["label"]][i].lower() not in MISSING}
    absent = [" ".join(name) for name, i in labelled.items() if i not in used]
    if len(absent) > (1 - LEAST_FOUND) * len(labelled):
        found = f"{len(labelled) - len(absent)} of its {len(labelled)} labelled {key}s are in {where}"
        what = f"{found}; not there: {', '.join(absent[:3])}"
        raise BadTable(there, what, f"Make the {key} ids of both tables agree")
    for i, title in enumerate(header):
        role = next((r for r, place in places.items() if place == i), None)
        column = [cells[i][m] if m >= 0 else "" for m in matched]
        if role == "patient" and role not in texts:  # a scan without a label has no patient there
            column = [p or f"scan {s}" for p, s in zip(column, texts["scan"], strict=True)]
        if role and role not in texts:
            texts[role], names[role] = column, title
        elif not role and title and title not in further:
            further[title] = column
    return Place(there, np.array([numbers[m] if m >= 0 else 0 for m in matched]))


# What cannot be right ----------------------------------------------------------------------------------------------


def _without_labels(  # noqa: PLR0917 - the columns, and what the user said of them
    metadata: Mapping[str, list[str]],
    label: NDArray[np.int64],
    names: Mapping[Role, str],
    given: Mapping[Role, str],
    at: Place,
    remarks: list[str],
) -> dict[str, list[str]]:
    """Metadata without columns that are the label again; an error where the user has not said which the label is."""
    kept = {}
    for name, texts in metadata.items():
        if not _is_label_again(texts, label):
            kept[name] = texts
        elif "label" in given or normal_name(name) in NAMES["label"][0].split():
            remarks.append(f"Column {name!r} agrees with the label on every scan and is left out of the metadata.")
        else:
            what = f"column {name!r} says of every scan what the label {names['label']!r} says: a second label"
            raise BadTable(at.where, what, f"Remove it, or say --label {names['label']!r} to leave it aside")
    return kept


def _check_both_labels(
    further: Mapping[str, list[str]], label: NDArray[np.int64], positive: str | None, other: str, at: Place
) -> None:
    """A label column beside the scores that says otherwise than the table of labels."""
    for name, texts in further.items():
        if normal_name(name) not in NAMES["label"][0].split():
            continue
        ours = parse_labels(texts, name, positive, at)
        differs = np.flatnonzero((ours != label) & (ours != UNKNOWN_LABEL) & (label != UNKNOWN_LABEL))
        if differs.size:
            what = f"{name} is {texts[differs[0]]!r}, but {other} says otherwise ({differs.size} scans differ)"
            at.refuse(int(differs[0]), what, "Remove one of the two columns, or correct it")


def _is_label_again(texts: Sequence[str], label: NDArray[np.int64]) -> bool:
    if len({t for t in texts if t}) != 2:
        return False
    try:
        other = [parse_label(t) if t else None for t in texts]
    except ValueError:
        return False
    pairs = [(a, b) for a, b in zip(other, label.tolist(), strict=True) if a is not None and b != UNKNOWN_LABEL]
    return len(pairs) >= LEAST_HIDDEN and len(set(pairs)) == 2 and len({a for a, _ in pairs}) == 2


def check_table(table: ScoreTable) -> None:
    """Refuse what cannot be evaluated, of a table that was read leniently and has its labels now.

    Raises:
        BadTable: no scan with both a score and a label, one class, one patient, a scan that stands twice.
    """
    _check(table, lenient=False)


def _check(table: ScoreTable, lenient: bool) -> None:
    _check_twice(table)
    read = np.isfinite(table.score) & (table.label != UNKNOWN_LABEL)
    if lenient:
        if not np.isfinite(table.score).any():
            raise BadTable(table.where, "no scan has a score", "Give some scans a score")
        return
    if not read.any():
        raise BadTable(table.where, "no scan has both a score and a label", "Give some scans both")
    if table.call is not None and (table.call[read] == UNKNOWN_LABEL).any():
        row = int(np.flatnonzero(read & (table.call == UNKNOWN_LABEL))[0])
        what = f"line {table.line[row]}: has a score but no call ({table.columns['call']!r} is empty)"
        raise BadTable(table.where, what, "Fill the calls in, or rename that column and give the threshold")
    labels = np.unique(table.label[read])
    if labels.size == 1:
        name = "positive" if labels[0] else "negative"
        what = f"all {int(read.sum())} scans with a score and a label are {name}: one class"
        raise BadTable(table.where, what, "Add scans of the other class, or correct --positive")
    if len({p for p, r in zip(table.patient, read, strict=True) if r}) == 1:
        raise BadTable(table.where, "all scans are of one patient", "Add patients, or correct --patient")
    if np.array_equal(table.score[read], table.label[read]) and int(read.sum()) >= LEAST_HIDDEN:
        what = f"column {table.columns['score']!r} holds 0 and 1 and is the label {table.columns['label']!r} again"
        raise BadTable(table.where, what, "Name the column of the scores with --score")
    if "version" not in table.columns:
        _check_one_version(table, read)


def _check_twice(table: ScoreTable) -> None:
    if "scan" not in table.columns:
        return
    first: dict[tuple[str, str, str, str], int] = {}
    for i, key in enumerate(zip(table.site, table.scan, table.finding, table.version, strict=True)):
        j = first.setdefault(key, i)
        if j == i:
            continue
        what = f"scan {key[1]!r} stands here and in line {table.line[j]}"
        if table.score[i] != table.score[j] and not np.isnan([table.score[i], table.score[j]]).any():
            what += f", with the scores {table.score[j]:g} and {table.score[i]:g}"
            then = "Two versions, or two findings? Add a column `version` or `finding`; else keep one row per scan"
            raise BadTable(table.where, f"line {table.line[i]}: {what}", then)
        raise BadTable(table.where, f"line {table.line[i]}: {what}", "Keep one row per scan")


def _check_one_version(table: ScoreTable, read: NDArray[np.bool_]) -> None:
    """Calls that follow one threshold up to a day and another one after it are of two versions, or two settings."""
    date = table.metadata.get(table.columns.get("date", ""))
    if table.call is None or date is None or any(table.finding):
        return
    kept = np.flatnonzero(read & (table.call != UNKNOWN_LABEL) & np.array([bool(d) for d in date]))
    order = kept[np.argsort(np.array(date)[kept], kind="stable")]
    score, call, day = table.score[order], table.call[order] == 1, np.array(date)[order]
    if order.size == 0 or one_threshold(score, call):
        return
    lowest, highest = np.where(call, score, np.inf), np.where(call, -np.inf, score)
    before = np.minimum.accumulate(lowest) > np.maximum.accumulate(highest)
    after = (np.minimum.accumulate(lowest[::-1]) > np.maximum.accumulate(highest[::-1]))[::-1]
    cuts = np.flatnonzero(before[:-1] & after[1:] & (day[:-1] != day[1:]))
    enough = [c for c in cuts if min(c + 1, order.size - c - 1) >= LEAST_HIDDEN]
    if enough:
        c = enough[0]
        what = (
            f"up to {day[c]} its calls follow one threshold, from {day[c + 1]} on another one: two versions or settings"
        )
        raise BadTable(table.where, what, "Add a column `version`, or give one table for each")


def one_threshold(score: NDArray[np.float64], call: NDArray[np.bool_]) -> bool:
    """Whether calls (scans,) are those of one threshold on the scores (scans,).

    >>> one_threshold(np.array([0.1, 0.4, 0.9]), np.array([False, True, True]))
    True
    """
    return bool(call.all() or not call.any() or score[call].min() > score[~call].max())

"""The folder that a program left in; its answers, one for each scan, and the score or refusal of an answer, out."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from elsewhere.errors import BadScan, BadSite, BadTable, ElsewhereError
from elsewhere.model.declared import CommandModel
from elsewhere.model.runnable.command_run import QUOTED
from elsewhere.model.runnable.protocol import Refused
from elsewhere.scans.score_columns import Role, recognise
from elsewhere.scans.score_values import Place, on_scale, parse_reason, parse_scores

TABLE, RESULT, REPORT = "scores.csv", "result.json", "the table of its reports"
SCORE: tuple[Role, ...] = ("score",)
REFUSALS: tuple[Role, ...] = ("refused",)
SCAN: tuple[Role, ...] = ("scan",)
SERIES = "series_uid"
MOST_BYTES = 1_000_000
"""Of an answer to one scan; one number needs a hundred."""
ENDS = (".nii.gz", ".nii")
"""What a program may leave at the end of a scan's name."""

Line = tuple[str, ...]
Read = TypeVar("Read")


@dataclass(frozen=True)
class Answer:
    """What a program wrote of one scan.

    Attributes:
        names: of its values.
        values: as text.
        score: name of the value that is the score; "" where its name tells.
    """

    names: Line
    values: Line
    score: str


@dataclass(frozen=True)
class Asked:
    """A scan that a program was given among others.

    Attributes:
        number: its name there, such as "0001".
        name: site and scan, for messages.
        series: its SeriesInstanceUID; "" where it was not given as DICOM.
    """

    number: str
    name: str
    series: str = ""


def one_answer(name: str, out: Path, declared: CommandModel) -> Answer:
    """The answer of a program that was given one scan.

    Args:
        name: site and scan, for messages.
        out: the folder that it was to write into.
        declared: what the study file says of it.

    Raises:
        BadScan: there is no answer, or it cannot be read.
    """

    def read() -> Answer:
        if _is_record(out):
            return _of_record(_loaded(out, 1), declared.score)
        lines, source = _lines_of(out, declared, 1)
        if len(lines) != 2 or len(lines[0]) != len(lines[1]):
            raise ValueError(f"{source} must have the names of its columns and one row, has {len(lines)} line(s)")
        return _of_line(lines[0], lines[1], source, declared)

    return _readable(name, declared, read)


def several_answers(asked: Sequence[Asked], out: Path, declared: CommandModel) -> dict[str, Answer]:
    """Number of each scan that a program answered -> its answer; scans that it says nothing of are not among them.

    Args:
        asked: the scans that it was given, one or more.
        out: the folder that it was to write into.
        declared: what the study file says of it.

    Raises:
        BadScan: there is no answer, it cannot be read, or it names no scan, one that was not given, or one twice.
    """

    def read() -> dict[str, Answer]:
        if _is_record(out):
            return _numbered(_of_records(_loaded(out, len(asked)), asked, declared.score), asked, RESULT)
        lines, source = _lines_of(out, declared, len(asked))
        return _numbered(_of_lines(lines, source, asked, declared), asked, source)

    return _readable(which(asked), declared, read)


def which(asked: Sequence[Asked]) -> str:
    """Scans that were given together, for messages."""
    return asked[0].name if len(asked) == 1 else f"{asked[0].name} and {len(asked) - 1} more"


def _readable(name: str, declared: CommandModel, read: Callable[[], Read]) -> Read:
    try:
        return read()
    except (ElsewhereError, ValueError, OSError) as error:
        what = error.what if isinstance(error, ElsewhereError) else str(error)
        then = f"Let it write {TABLE} (scan, score, refused), {RESULT} or a DICOM structured report into {{out}}"
        raise BadScan(name, f"{declared.name} left no readable answer: {what}", then) from error


# Tables --------------------------------------------------------------------------------------------------------------


def _text(file: Path, scans: int) -> str:
    size = file.stat().st_size
    if size > MOST_BYTES * scans:
        asked = "one score was" if scans == 1 else f"{scans} scores were"
        raise ValueError(f"{file.name} has {size:,} bytes, where {asked} asked for")
    return file.read_text(encoding="utf-8-sig")


def _lines_of(out: Path, declared: CommandModel, scans: int) -> tuple[list[Line], str]:
    """Lines of the answer's table, or of its structured reports', the names of its columns first; and what they are."""
    source = TABLE if (out / TABLE).is_file() else REPORT
    text = _text(out / TABLE, scans) if source == TABLE else _report_text(out, declared, scans)
    try:
        rows = [tuple(cell.strip() for cell in row) for row in csv.reader(io.StringIO(text), strict=True)]
    except csv.Error as error:
        raise ValueError(f"{source} is no CSV ({error})") from error
    return [row for row in rows if any(row)], source


def _report_text(out: Path, declared: CommandModel, scans: int) -> str:
    from elsewhere.scans.results import write_results_table  # noqa: PLC0415 - pydicom takes its time to import

    table = out.parent / "results.csv"
    try:
        write_results_table(out, table, score=declared.score or None)
    except (BadSite, BadTable) as error:
        names = ", ".join(sorted(file.name for file in out.iterdir())[:5]) or "nothing"
        what = f"neither {TABLE} nor {RESULT}, and no structured report ({error.what}); {{out}} holds {names}"
        raise ValueError(what) from error
    return _text(table, scans)


def _of_line(names: Line, values: Line, source: str, declared: CommandModel) -> Answer:
    return Answer(names, values, "score" if source == REPORT else declared.score)


def _of_lines(
    lines: Sequence[Line], source: str, asked: Sequence[Asked], declared: CommandModel
) -> list[tuple[str, Answer]]:
    """(which scan, answer) of each row; reports say it by the series."""
    names, rows = (lines[0], lines[1:]) if lines else ((), ())
    if (wrong := next((n for n, row in enumerate(rows, start=1) if len(row) != len(names)), None)) is not None:
        raise ValueError(f"{source} has {len(names)} columns, and {len(rows[wrong - 1])} cells in row {wrong}")
    place = names.index(SERIES) if source == REPORT and SERIES in names else None
    if source == TABLE:
        place = recognise(names, {}, source, SCAN).get("scan")
    if place is None and (len(asked), len(rows)) != (1, 1):
        column = SERIES if source == REPORT else "scan"
        raise ValueError(
            f"{source} has no column `{column}`, which says the scan of each row, has {len(lines)} line(s)"
        )
    numbers = {one.series: one.number for one in asked if one.series} if source == REPORT else {}
    if len(numbers) < sum(bool(one.series) for one in asked) and source == REPORT:
        raise ValueError("scans of one series were given, and reports do not tell them apart")
    said = [asked[0].number if place is None else numbers.get(row[place], row[place]) for row in rows]
    return [(one, _of_line(names, row, source, declared)) for one, row in zip(said, rows, strict=True)]


def _numbered(pairs: Sequence[tuple[str, Answer]], asked: Sequence[Asked], source: str) -> dict[str, Answer]:
    """Number of the scan -> answer; names may be paths, with the end of a file."""
    names = [_plain(name) for name, _ in pairs]
    known = {one.number for one in asked}
    given = f"{asked[0].number} to {asked[-1].number}" if len(asked) > 1 else asked[0].number
    for (said, _), name in zip(pairs, names, strict=True):
        if name not in known:
            raise ValueError(f"{source} names a scan that was not given (given: {given}){QUOTED}{said[:60]!r}")
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise ValueError(f"{source} has {times} answers to {name}")
    return dict(zip(names, (answer for _, answer in pairs), strict=True))


def _plain(name: str) -> str:
    last = name.strip().replace("\\", "/").rstrip("/").rpartition("/")[2]
    end = next((end for end in ENDS if last.lower().endswith(end)), "")
    return last[: len(last) - len(end)]


# Records -------------------------------------------------------------------------------------------------------------


def _is_record(out: Path) -> bool:
    return (out / RESULT).is_file() and not (out / TABLE).is_file()


def _loaded(out: Path, scans: int) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if twice := [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]:
            raise KeyError(twice[0])
        return dict(pairs)

    try:
        content: object = json.loads(_text(out / RESULT, scans), object_pairs_hook=once)
    except KeyError as error:
        raise ValueError(f"{RESULT} has a key twice{QUOTED}{error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{RESULT} is no JSON ({error})") from error
    return content


def _of_record(found: object, score: str) -> Answer:
    if not isinstance(found, Mapping):
        raise ValueError(f'{RESULT} is {str(found)[:60]!r}, expected an object such as {{"score": 0.5}}')
    plain = {str(key): value for key, value in found.items() if isinstance(value, str | int | float) or value is None}
    return Answer(tuple(plain), tuple(map(_cell, plain.values())), score)


def _of_records(found: object, asked: Sequence[Asked], score: str) -> list[tuple[str, Answer]]:
    """(which scan, answer) of each object of a list, or of each key of an object."""
    if isinstance(found, Mapping):
        if len(asked) == 1 and not any(_plain(str(key)) == asked[0].number for key in found):
            return [(asked[0].number, _of_record(found, score))]
        objects = {
            name: value if isinstance(value, Mapping) else {score or "score": value} for name, value in found.items()
        }
        return [(str(name), _of_record(value, score)) for name, value in objects.items()]
    if not isinstance(found, list):
        raise ValueError(f'{RESULT} is {str(found)[:60]!r}, expected an object such as {{"0001": {{"score": 0.5}}}}')
    answers = [_of_record(one, score) for one in found]
    places = [recognise(answer.names, {}, RESULT, SCAN).get("scan") for answer in answers]
    if None in places and len(asked) > 1:
        raise ValueError(f"{RESULT} has an object without `scan`, which says the scan that it is about")
    return [
        (asked[0].number if place is None else answer.values[place], answer)
        for answer, place in zip(answers, places, strict=True)
    ]


def _cell(value: str | float | None) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    return value.strip() if isinstance(value, str) else repr(value)


# Scores --------------------------------------------------------------------------------------------------------------


def score_of(name: str, answer: Answer, declared: CommandModel) -> float:
    """The one score of an answer, as a probability.

    Args:
        name: site and scan, for messages.
        answer: to that scan.
        declared: what the study file says of the program.

    Raises:
        Refused: the answer says why there is none.
        BadScan: it holds no score, or one outside its scale.
    """
    named: dict[Role, str] = {"score": answer.score} if answer.score else {}
    then = f"Correct the program, or `models.{declared.name}.scale` and `.score`"
    try:
        places = recognise(answer.names, {}, "the answer", REFUSALS)
        reason = parse_reason(answer.values[places["refused"]]) if "refused" in places else ""
        if reason:
            raise Refused(name, reason, f"Ask whoever makes {declared.name}, if it should take such scans")
        places = recognise(answer.names, named, "the answer", SCORE)
        if "score" not in places:
            what = f"{declared.name} gives no score (it gives {', '.join(answer.names) or 'nothing'})"
            raise BadScan(name, what, then)
        at, column = Place("the answer", np.array([1])), answer.names[places["score"]]
        values, _ = parse_scores([answer.values[places["score"]]], column, "higher-is-sicker", at, [])
    except BadTable as error:
        raise BadScan(name, f"{declared.name}: {error.what}", then) from error
    low, high = declared.scale_ends
    if not low <= values[0] <= high:
        what = f"{declared.name} gives {column} = {values[0]:g}, outside {low:g} to {high:g} ({declared.scale})"
        raise BadScan(name, what, then)
    return float(on_scale(values, declared.scale)[0])

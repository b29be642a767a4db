"""Any program or container as a model: each scan is handed over in a folder, its answer is read from another one.

No shell is asked: the command is cut into words once, and paths are put into the words, whatever characters they hold.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan, BadSite, BadTable, ElsewhereError
from elsewhere.model.declared import CommandModel
from elsewhere.model.runnable.protocol import GivenScan, Refused, ScoresOnly
from elsewhere.scans.nifti import write_nifti
from elsewhere.scans.score_columns import Role, recognise
from elsewhere.scans.score_values import Place, on_scale, parse_reason, parse_scores

NIFTI = "scan.nii.gz"
TABLE, RESULT = "scores.csv", "result.json"
SCORE: tuple[Role, ...] = ("score",)
REFUSALS: tuple[Role, ...] = ("refused",)
MOST_BYTES = 1_000_000
"""Of an answer; one number needs a hundred."""
QUOTED = "; the end of what it wrote: "
"""Between an error and a program's own text, which may name files and people: pages leave it out."""
LAST_BYTES, LAST_WORDS = 4000, 300
"""What is read of the end of stderr, and the characters of it that an error quotes."""
GRACE = 5.0
"""Seconds that a program has to end after it was asked to."""


class Program(ScoresOnly):
    """A program that is started anew for each scan.

    Args:
        declared: what the study file says of it.
    """

    def __init__(self, declared: CommandModel) -> None:
        self._declared = declared

    def score(self, given: GivenScan) -> NDArray[np.float64]:
        """The program's probability for the whole scan (1,).

        Raises:
            Refused: its answer says that it refused the scan, and why.
            BadScan: it cannot be started, took too long, ended with an exit code other than 0, or left no answer.
        """
        with tempfile.TemporaryDirectory(prefix="elsewhere-", ignore_cleanup_errors=True) as folder:
            into, out = Path(folder) / "in", Path(folder) / "out"
            into.mkdir()
            out.mkdir()
            _hand_over(given, into, self._declared)
            self._run(given, into, out)
            answer = _answer(given, out, self._declared)
        return np.array([_score(given, answer, self._declared)])

    def _run(self, given: GivenScan, into: Path, out: Path) -> None:
        declared, name = self._declared, given.name
        words = [word.format(**{"in": into, "out": out, "file": into / NIFTI}) for word in declared.words]
        with (out.parent / "stderr").open("w+b") as said:
            try:
                started = _started(words, declared.folder, said.fileno())
                with started as process:
                    code = process.wait(declared.timeout)
            except subprocess.TimeoutExpired as error:
                what = f"{declared.name} gave no answer within {declared.timeout:g} s and was ended{_last_words(said)}"
                raise BadScan(name, what, "Give it more time with `timeout`, or a faster machine") from error
            except (OSError, ValueError) as error:
                what = f"{declared.name} cannot be started ({words[0]}: {error})"
                raise BadScan(name, what, f"Correct `models.{declared.name}.run`, or install the program") from error
            if code:
                how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
                what = f"{declared.name} {how}{_last_words(said)}"
                raise BadScan(name, what, "Run its command by hand on this scan, and see what it says")


@contextmanager
def _started(words: list[str], folder: Path, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """The program in a group of its own, which ends with all that it started, however this is left."""
    process = subprocess.Popen(
        words, cwd=folder, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, start_new_session=True
    )
    try:
        yield process
    finally:
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, how)
                process.wait(GRACE)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        process.wait()


def _last_words(said: io.BufferedRandom) -> str:
    """The end of what the program wrote to stderr and stdout, to put behind a sentence; "" for none."""
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - LAST_BYTES))
    text = " ".join(said.read().decode("utf-8", errors="replace").split())
    text = "".join(c if c.isprintable() else "?" for c in text)
    return f"{QUOTED}{text[-LAST_WORDS:]!r}" if text else ""


# What it is given ----------------------------------------------------------------------------------------------------


def _hand_over(given: GivenScan, into: Path, declared: CommandModel) -> None:
    """The scan in a folder: one NIfTI in HU, or its own DICOM files under numbered names."""
    if declared.give == "nifti":
        write_nifti(into / NIFTI, given.in_hu())
        return
    if not given.dicom:
        what = f"is no DICOM as it stands, and {declared.name} takes DICOM"
        raise Refused(given.name, what, 'Say give = "nifti", if the program takes NIfTI')
    for number, file in enumerate(given.dicom, start=1):
        try:
            shutil.copyfile(file, into / f"IM{number:05d}.dcm")
        except OSError as error:
            raise BadScan(given.name, f"{file} cannot be read ({error.strerror})", "Restore the file") from error


# What it answers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a program wrote of one scan.

    Attributes:
        names: of its values.
        values: as text.
        score: name of the value that is the score; "" where its name tells.
    """

    names: tuple[str, ...]
    values: tuple[str, ...]
    score: str


def _answer(given: GivenScan, out: Path, declared: CommandModel) -> Answer:
    """Its answer, whichever of the three forms it took."""
    try:
        if (out / TABLE).is_file():
            return _of_table(_text(out / TABLE), TABLE, declared.score)
        if (out / RESULT).is_file():
            return _of_record(_text(out / RESULT), declared.score)
        return _of_report(out, declared)
    except (ElsewhereError, ValueError, OSError) as error:
        what = error.what if isinstance(error, ElsewhereError) else str(error)
        then = f"Let it write {TABLE} (scan, score, refused), {RESULT} or a DICOM structured report into {{out}}"
        raise BadScan(given.name, f"{declared.name} left no readable answer: {what}", then) from error


def _text(file: Path) -> str:
    if file.stat().st_size > MOST_BYTES:
        raise ValueError(f"{file.name} has {file.stat().st_size:,} bytes, where one score was asked for")
    return file.read_text(encoding="utf-8-sig")


def _of_table(text: str, name: str, score: str) -> Answer:
    try:
        rows = [row for row in csv.reader(io.StringIO(text), strict=True) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ValueError(f"{name} is no CSV ({error})") from error
    if len(rows) != 2 or len(rows[0]) != len(rows[1]):
        raise ValueError(f"{name} must have the names of its columns and one row, has {len(rows)} line(s)")
    return Answer(tuple(cell.strip() for cell in rows[0]), tuple(cell.strip() for cell in rows[1]), score)


def _of_record(text: str, score: str) -> Answer:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{RESULT} is no JSON ({error})") from error
    if not isinstance(found, Mapping):
        raise ValueError(f'{RESULT} is {str(found)[:60]!r}, expected an object such as {{"score": 0.5}}')
    plain = {str(key): value for key, value in found.items() if isinstance(value, str | int | float) or value is None}
    return Answer(tuple(plain), tuple(map(_cell, plain.values())), score)


def _cell(value: str | float | None) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    return value.strip() if isinstance(value, str) else repr(value)


def _of_report(out: Path, declared: CommandModel) -> Answer:
    from elsewhere.scans.results import write_results_table  # noqa: PLC0415 - pydicom takes its time to import

    table = out.parent / "results.csv"
    try:
        write_results_table(out, table, score=declared.score or None)
    except (BadSite, BadTable) as error:
        names = ", ".join(sorted(file.name for file in out.iterdir())[:5]) or "nothing"
        what = f"neither {TABLE} nor {RESULT}, and no structured report ({error.what}); {{out}} holds {names}"
        raise ValueError(what) from error
    return _of_table(_text(table), "the table of its report", "score")


def _score(given: GivenScan, answer: Answer, declared: CommandModel) -> float:
    """The one score of an answer, as a probability.

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
            raise Refused(given.name, reason, f"Ask whoever makes {declared.name}, if it should take such scans")
        places = recognise(answer.names, named, "the answer", SCORE)
        if "score" not in places:
            what = f"{declared.name} gives no score (it gives {', '.join(answer.names) or 'nothing'})"
            raise BadScan(given.name, what, then)
        at, name = Place("the answer", np.array([1])), answer.names[places["score"]]
        values, _ = parse_scores([answer.values[places["score"]]], name, "higher-is-sicker", at, [])
    except BadTable as error:
        raise BadScan(given.name, f"{declared.name}: {error.what}", then) from error
    low, high = declared.scale_ends
    if not low <= values[0] <= high:
        what = f"{declared.name} gives {name} = {values[0]:g}, outside {low:g} to {high:g} ({declared.scale})"
        raise BadScan(given.name, what, then)
    return float(on_scale(values, declared.scale)[0])

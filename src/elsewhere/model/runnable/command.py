"""Any program or container as a model: scans are handed over in a folder, its answers are read from another one.

No shell is asked: the command is cut into words once, and paths are put into the words, whatever characters they hold.
With `batch`, scans are numbered ("0001.nii.gz", or folders "0001" of DICOM files), so that no patient id is handed over
in a name; each is read and written before the next.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.model.declared import CommandModel
from elsewhere.model.runnable.command_answers import Answer, Asked, one_answer, score_of, several_answers, which
from elsewhere.model.runnable.command_run import NIFTI, QUOTED, NotStarted, hand_over, run_program
from elsewhere.model.runnable.protocol import GivenScan, ScoresOnly
from elsewhere.scans.dicom.tags import read_tags
from elsewhere.wording import numbered

Reader = Callable[[], GivenScan]
"""Reads one scan; raises BadScan where it cannot be read."""
Outcome = float | BadScan
"""Probability of a scan, or why there is none (`Refused` where the program says so)."""


@dataclass(frozen=True)
class Several:
    """What a program said of scans that it was given together.

    Attributes:
        outcomes: of each scan.
        failed: why the call on all of them failed, so that each was asked about alone; "" where it did not.
    """

    outcomes: tuple[Outcome, ...]
    failed: str = ""


class Program(ScoresOnly):
    """A program that is started anew for each scan, or for each batch of them.

    Args:
        declared: what the study file says of it.
    """

    def __init__(self, declared: CommandModel) -> None:
        self._declared = declared

    def score(self, given: GivenScan) -> NDArray[np.float64]:
        """The program's probability for the whole scan (1,); one that takes several gets a batch of one.

        Raises:
            Refused: its answer says that it refused the scan, and why.
            BadScan: it cannot be started, took too long, ended with an exit code other than 0, or left no answer.
        """
        if self._declared.batch != 1:
            (outcome,) = self._together([lambda: given])
            if isinstance(outcome, BadScan):
                raise outcome
            return np.array([outcome])
        with _folders() as folder:
            nifti = self._declared.give == "nifti"
            hand_over(given, folder / "in" / NIFTI if nifti else folder / "in", self._declared)
            run_program(self._declared, given.name, folder, self._declared.timeout)
            answer = one_answer(given.name, folder / "out", self._declared)
        return np.array([score_of(given.name, answer, self._declared)])

    def score_several(self, readers: Sequence[Reader]) -> Several:
        """What the program says of scans that it is given together; where that fails as a whole, of each alone.

        Args:
            readers: of the scans; each is called once, or once more where it is asked about alone.
        """
        try:
            return Several(tuple(self._together(readers)))
        except NotStarted as error:
            return Several((error,) * len(readers))
        except BadScan as error:
            if len(readers) == 1:
                return Several((error,))
            return Several(tuple(map(self._alone, readers)), error.what.partition(QUOTED)[0])

    def _alone(self, reader: Reader) -> Outcome:
        try:
            (outcome,) = self._together([reader])
        except BadScan as error:
            return error
        return outcome

    def _together(self, readers: Sequence[Reader]) -> list[Outcome]:
        """Raises BadScan where the call fails as a whole."""
        declared = self._declared
        with _folders() as folder:
            asked = self._handed(readers, folder / "in")
            given = [one for one in asked if isinstance(one, Asked)]
            if not given:
                return [one for one in asked if isinstance(one, BadScan)]
            run_program(declared, which(given), folder, declared.timeout * len(given))
            answers = several_answers(given, folder / "out", declared)
        return [self._outcome(one, answers) for one in asked]

    def _handed(self, readers: Sequence[Reader], into: Path) -> list[Asked | BadScan]:
        try:
            return [_numbered_in(into, i, read, self._declared) for i, read in enumerate(readers, start=1)]
        except OSError as error:
            what = f"{numbered(len(readers), 'scan')} cannot be written for it ({error.strerror})"
            then = "Make room in the folder for temporary files, or set TMPDIR to another one"
            raise BadScan(self._declared.name, what, then) from error

    def _outcome(self, one: Asked | BadScan, answers: Mapping[str, Answer]) -> Outcome:
        if isinstance(one, BadScan):
            return one
        try:
            if one.number not in answers:
                what = f"{self._declared.name} left no answer to this scan"
                raise BadScan(one.name, what, "Let it write a row for each scan, also for those that it refuses")
            return score_of(one.name, answers[one.number], self._declared)
        except BadScan as error:
            return error


@contextmanager
def _folders() -> Iterator[Path]:
    """A folder with an empty `in` and `out`, which goes when this is left."""
    with tempfile.TemporaryDirectory(prefix="elsewhere-", ignore_cleanup_errors=True) as name:
        for part in ("in", "out"):
            (Path(name) / part).mkdir()
        yield Path(name)


def _numbered_in(into: Path, number: int, read: Reader, declared: CommandModel) -> Asked | BadScan:
    """Read a scan and write it under its number; where that fails, why."""
    place = into / f"{number:04d}"
    try:
        given = read()
        if declared.give == "nifti":
            hand_over(given, place.with_suffix(".nii.gz"), declared)
            return Asked(place.name, given.name)
        tags = read_tags(given.dicom[0]) if given.dicom else None
        place.mkdir()
        hand_over(given, place, declared)
    except BadScan as error:
        shutil.rmtree(place, ignore_errors=True)
        return error
    return Asked(place.name, given.name, "" if tags is None else tags.values.get("SeriesInstanceUID", ""))

"""A share of a run's tasks, done by one job: tasks and answers are files of a folder that all machines see.

Every file is written whole and once: a job that the scheduler starts a second time skips what is answered, and of two
copies of one job, as a cut link leaves them, either answers.
"""

from __future__ import annotations

import pickle
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from elsewhere.engine.attendant import Attendant
from elsewhere.files import write_whole


@dataclass(frozen=True)
class Board:
    """Where the tasks of a run and their answers lie.

    Attributes:
        root: the folder, on storage that all machines share.
    """

    root: Path

    def pin(self, order: bytes, tasks: Sequence[tuple[Any, ...]]) -> None:
        """Write the order and the tasks, and make the folders of the answers."""
        write_whole(self.root / "order", order)
        for index, task in enumerate(tasks):
            write_whole(self.task(index), pickle.dumps(task), forced=False)
        for name in ("answers", "begun", "said", "proofs", "shares"):
            (self.root / name).mkdir()

    def task(self, index: int) -> Path:
        """Arguments of one task."""
        return self.root / "tasks" / str(index)

    def answer(self, index: int) -> Path:
        """Its answer."""
        return self.root / "answers" / str(index)

    def begun(self, index: int) -> Path:
        """Is there once a job has begun with it; holds how far it is, and what it says of that."""
        return self.root / "begun" / str(index)

    def said(self, index: int) -> Path:
        """What it said on the console."""
        return self.root / "said" / str(index)

    def share(self, name: str) -> Path:
        """Indices of the tasks of one job."""
        return self.root / "shares" / name

    def proof(self, name: str) -> Path:
        """What one job has proven."""
        return self.root / "proofs" / name


def work_off(folder: Path, share: str) -> None:
    """Do the tasks of a share that have no answer yet, one after the other; how each ended is written beside them."""
    board = Board(folder)
    attendant = Attendant((folder / "order").read_bytes())

    def end(number: int, _: FrameType | None) -> None:
        attendant.stop()
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)  # a cancelled job, or one at its time limit, leaves no answer and no half file
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # with which submitit would start it again: that is seen to elsewhere
    for index in pickle.loads(board.share(share).read_bytes()):
        if not board.answer(index).exists():
            _do(board, attendant, index)
    attendant.stop()


def _do(board: Board, attendant: Attendant, index: int) -> None:
    write_whole(board.begun(index), pickle.dumps((0.0, "")), forced=False)
    said = ""
    for message in attendant.messages(board.task(index).read_bytes()):
        kind, content = pickle.loads(message)
        if not board.root.exists():
            return  # another copy of this job has answered, and the run is over
        if kind == "tick":
            write_whole(board.begun(index), pickle.dumps(content), forced=False)
        elif kind == "said":
            said += content
            write_whole(board.said(index), said, forced=False)
        else:
            write_whole(board.answer(index), message)

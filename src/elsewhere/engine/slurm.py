"""Tasks in, answers out: as arrays of Slurm jobs, handed in with submitit."""

from __future__ import annotations

import os
import pickle
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elsewhere import stages
from elsewhere.engine import canary
from elsewhere.engine.attendant import order
from elsewhere.engine.choice import Choice
from elsewhere.engine.progress import Tick
from elsewhere.engine.proof import asked_of, check_proof
from elsewhere.engine.share import Board
from elsewhere.engine.speech import say, say_as_it_is
from elsewhere.engine.tasks import Died, Ended, Needs, WorkerDied
from elsewhere.errors import BadInstallation, BadOption

PAUSE = 1.0  # seconds between looks at the folder
ASKED = 5.0  # seconds between questions to Slurm
SETTLES = 3.0  # seconds that a file of another machine may take to be seen here, once its job is over
MOST_JOBS = 200  # of one array; tasks beyond share a job
MOST_ROUNDS = 5  # arrays that may leave a task untouched, or end it with its machine, before it is an error
NEXT = "Look at the logs in that folder, and at `sinfo`; start again: finished work is kept"
OVER = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
)


def run_on_slurm(  # noqa: PLR0917 - called from one place
    work: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    choice: Choice,
    needs: Needs,
    workers: int | None,
    ticks: bool,
    advance: Tick,
    died: Died,
) -> Iterator[tuple[int, Any]]:
    """The tasks shared out among the jobs of an array; see `elsewhere.engine.run`.

    Partition, account, time limit and memory are what Slurm's own variables say (`SBATCH_PARTITION`, …).

    Raises:
        BadWorker: a machine has not what the tasks need.
        BadInstallation: submitit or Slurm is not installed.
        BadOption: the work cannot be shared out so.
        WorkerDied: jobs ended before they could begin, or were cancelled.
    """
    submitit = _library()
    if choice.tasks_per_gpu > 1:
        what = f"is {choice.tasks_per_gpu}: a Slurm job has its cards for itself"
        raise BadOption("ELSEWHERE_TASKS_PER_GPU", what, "Leave it unset, or use Ray inside an allocation")
    root = Path(os.path.abspath(needs.writes[0])) / "jobs" / secrets.token_hex(8)
    with asked_of(needs) as asked:
        board = Board(root)
        board.pin(order(work, ticks, choice.cpus or 1), tasks)
        jobs = _Jobs(submitit, board, asked, cpus=choice.cpus or 1, cards=_cards(needs), most=workers or MOST_JOBS)
        watch = _Watch(board, jobs, len(tasks), advance)
        try:
            yield from watch.run(died)
        except BaseException:
            jobs.cancel()
            raise
        jobs.cancel_copies()
        shutil.rmtree(root, ignore_errors=True)
        with suppress(OSError):
            root.parent.rmdir()


def _library() -> Any:
    try:
        import submitit  # noqa: PLC0415 - imported where it is chosen
    except ImportError as error:
        what = f"--engine slurm needs submitit, which is not installed ({error})"
        raise BadInstallation("submitit", what, "pip install 'elsewhere[slurm]'") from error
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        what = "--engine slurm finds no sbatch and srun on this machine"
        raise BadInstallation("slurm", what, "Start it on a machine from which jobs can be handed in")
    return submitit


def _cards(needs: Needs) -> int:
    """GPUs of a job: where "auto" asks, those that the cluster says it has."""
    if needs.accelerator == "auto":
        told = _slurm("sinfo", "--noheader", "--format=%G")
        return needs.devices if "gpu" in told.stdout else 0
    return needs.devices if needs.accelerator == "cuda" else 0


def _slurm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)


class _Jobs:
    """The arrays of one run."""

    def __init__(self, submitit: Any, board: Board, asked: str, *, cpus: int, cards: int, most: int) -> None:
        import cloudpickle  # noqa: PLC0415 - comes with submitit

        cloudpickle.register_pickle_by_value(canary)
        self.board, self.asked, self.most = board, asked, most
        self.executor = submitit.SlurmExecutor(folder=board.root / "logs")
        card = {"gpus_per_node": cards} if cards else {}
        self.executor.update_parameters(
            job_name="elsewhere",
            time=None,
            cpus_per_task=cpus,
            array_parallelism=most,
            **card,
        )
        self.refused = submitit.core.utils.FailedJobError
        self.arrays: list[str] = []
        self.shares = 0
        self.asked_at = 0.0

    def hand_in(self, indices: Sequence[int], number: int) -> None:
        """An array of so many jobs, which share these tasks out."""
        names = []
        for first in range(min(number, len(indices))):
            names.append(str(self.shares))
            self.board.share(names[-1]).write_bytes(pickle.dumps(list(indices[first::number])))
            self.shares += 1
        given = [self.asked] * len(names), [str(self.board.root)] * len(names), names
        os.environ.setdefault("SBATCH_REQUEUE", "1")
        try:
            handed = self.executor.map_array(canary.do_share, *given)
        except self.refused as error:
            what = f"took no job ({' '.join(str(error).split())})"
            raise BadOption(
                "sbatch", what, "Set SBATCH_PARTITION, SBATCH_ACCOUNT and the like as this cluster wants"
            ) from error
        self.arrays.append(handed[0].job_id.split("_")[0])
        say(f"job {self.arrays[-1]}, an array of {len(names)}", "Slurm:")

    def under_way(self) -> bool | None:
        """Whether Slurm has jobs of the last array still; None where it was asked just now, or is silent."""
        if time.monotonic() - self.asked_at < ASKED:
            return None
        self.asked_at = time.monotonic()
        told = _slurm("squeue", "--noheader", "--array", "--format=%T", "--jobs", self.arrays[-1])
        if told.returncode:
            return False if "Invalid job id" in told.stderr else None
        return any(state not in OVER for state in told.stdout.split())

    def cancelled(self) -> bool:
        """Whether somebody cancelled jobs of the last array."""
        return "JobState=CANCELLED" in _slurm("scontrol", "show", "job", "--oneliner", self.arrays[-1]).stdout

    def cancel_copies(self) -> None:
        """Take back jobs that wait, or run a second time, though all is answered: a cut link leaves them."""
        words = ("squeue", "--noheader", "--array", "--Format=JobArrayID:40,RestartCnt:20,State:20", "--jobs")
        told = [line.split() for line in _slurm(*words, ",".join(self.arrays)).stdout.splitlines()]
        copies = [job for job, restarts, state in told if restarts != "0" or state == "PENDING"]
        if copies:
            _slurm("scancel", *copies)

    def cancel(self) -> None:
        """Take back what was handed in, and nothing else."""
        if self.arrays:
            _slurm("scancel", *self.arrays)


@dataclass
class _Watch:
    """What has come back of one run's tasks."""

    board: Board
    jobs: _Jobs
    number: int
    advance: Tick
    missing: set[int] = field(default_factory=set)
    lost: dict[int, Ended] = field(default_factory=dict)
    rounds: dict[int, int] = field(default_factory=dict)
    heard: dict[int, int] = field(default_factory=dict)
    proven: set[str] = field(default_factory=set)
    done: int = 0

    def run(self, died: Died) -> Iterator[tuple[int, Any]]:
        """All tasks, then once more, each in a job of its own, those that ended their worker."""
        waiting = list(range(self.number))
        while waiting:
            yield from self._array(waiting, min(self.jobs.most, MOST_JOBS))
            waiting = self._untouched(waiting)
        for index in list(self.lost):
            self.lost.clear()
            self.board.answer(index).unlink(missing_ok=True)
            self.board.begun(index).unlink(missing_ok=True)
            yield from self._array([index], 1)
            if not self.lost and index not in self.missing:
                continue
            how = self.lost.get(index, Ended(None))
            self.done += 1
            yield index, died(index, how)

    def _untouched(self, indices: Sequence[int]) -> list[int]:
        """Tasks to hand in again: those that no job came to; those under way as their job was lost are suspected."""
        left = []
        for index in [i for i in indices if i in self.missing]:
            self.rounds[index] = self.rounds.get(index, 0) + 1
            if self.board.begun(index).exists():
                self.lost[index] = Ended(None)
            elif self.rounds[index] < MOST_ROUNDS:
                left.append(index)
            else:
                what = f"task {index + 1} was in {MOST_ROUNDS} arrays of jobs, and none of them came to it"
                raise WorkerDied(self.board.root, what, NEXT)
        return left

    def _array(self, indices: Sequence[int], number: int) -> Iterator[tuple[int, Any]]:
        """Hand these tasks in; the answers as they come, until there are all or Slurm has no job of them any more."""
        self.jobs.hand_in(indices, number)
        self.missing = set(indices)
        over_at = None
        while self.missing and (over_at is None or time.monotonic() - over_at < SETTLES):
            time.sleep(PAUSE)
            self._check()
            for index in sorted(self.missing):
                if self.board.answer(index).exists():
                    yield from self._take(index)
            self._tell()
            if over_at is None and self.jobs.under_way() is False:
                over_at = time.monotonic()
        if self.missing and self.jobs.cancelled():
            raise WorkerDied(f"Slurm job {self.jobs.arrays[-1]}", "was cancelled", "Start again: finished work is kept")

    def _take(self, index: int) -> Iterator[tuple[int, Any]]:
        kind, content = pickle.loads(self.board.answer(index).read_bytes())
        self._listen(index)
        self.missing.discard(index)
        if kind == "error":
            raise content
        if kind == "died":
            self.lost[index] = content
            return
        result, spent = content
        stages.add(spent)
        self.done += 1
        yield index, result

    def _check(self) -> None:
        """Refuse a machine that has proven not to be fit."""
        for share in range(self.jobs.shares):
            path = self.board.proof(str(share))
            if path.name not in self.proven and path.exists():
                check_proof(path.read_text())
                self.proven.add(path.name)

    def _listen(self, index: int) -> None:
        """Print what a task said since the last time."""
        if self.board.said(index).exists():
            text = self.board.said(index).read_text(encoding="utf-8")
            say_as_it_is(text[self.heard.get(index, 0) :])
            self.heard[index] = len(text)

    def _tell(self) -> None:
        share, words = 0.0, "" if self.proven else "waiting for Slurm"
        for index in self.missing:
            with suppress(FileNotFoundError):
                far, said = pickle.loads(self.board.begun(index).read_bytes())
                share, words = share + far, said or words
        self.advance(self.done + share, words)

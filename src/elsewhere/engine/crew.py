"""Tasks shared out among workers, wherever these are: each answered once, and one that ends its worker tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from elsewhere import stages
from elsewhere.engine.progress import Tick
from elsewhere.engine.speech import say_as_it_is
from elsewhere.engine.tasks import Died, Ended, WorkerDied

PAUSE = 0.3  # seconds between looks at the workers
MOST_MOVES = 5
"""Times that a task is given to another machine because its own was lost, before the task is suspected; and workers
that may end before they could begin."""


class Worker(Protocol):
    """Does one task at a time; `index` is the task under way, None between tasks and before the worker can begin."""

    index: int | None

    def give(self, index: int, task: tuple[Any, ...]) -> None:
        """Start a task; a worker that is dead already is met when its answer is waited for."""

    def answer(self) -> tuple[str, Any]:
        """The next message, once there is one.

        ("ready", None) before the first task of a worker that is not ready at once; ("tick", (share, text));
        ("said", text); ("done", (result, stages)); ("error", exception); ("died", how); ("gone", how) where the
        worker's machine was lost, for which its task has no fault.
        """

    def leave(self) -> bool:
        """Whether it stays for another run, its tasks being done; else it is to be ended."""

    def stop(self) -> None:
        """Begin to end it."""

    def end(self) -> None:
        """End it: what it wrote is whole or not there."""


AWorker = TypeVar("AWorker", bound=Worker)
Fresh = Callable[[int], AWorker]
"""How many work side by side -> a new worker, with its share of what there is."""
Ready = Callable[[Sequence[AWorker], float], Sequence[AWorker]]
"""Workers, seconds -> those with a message, waiting so long at most."""


class Crew:
    """Workers that share out tasks, one at a time each."""

    def __init__(
        self, tasks: Sequence[tuple[Any, ...]], workers: int, fresh: Fresh[Any], ready: Ready[Any], waits: str = ""
    ) -> None:
        """Of `waits` it is said that it is waited for while no worker could begin yet."""
        self.tasks, self.workers, self.fresh, self.ready, self.waits = tasks, workers, fresh, ready, waits
        self.crew: list[Worker] = []
        self.waiting: list[int] = []
        self.lost: dict[int, Ended] = {}
        self.moves: Counter[int | None] = Counter()
        self.done, self.shares, self.text = 0, dict[int, float](), waits

    def run(self, advance: Tick, died: Died) -> Iterator[tuple[int, Any]]:
        """All tasks, then once more, one by one, those whose worker died."""
        try:
            yield from self._share_out(range(len(self.tasks)), self.workers, advance)
            for index in list(self.lost):
                self.lost.clear()
                yield from self._share_out([index], 1, advance)
                if self.lost:
                    self._count(index, advance)
                    yield index, died(index, self.lost[index])
        finally:
            self._end(self.crew)

    def _share_out(self, indices: Sequence[int], workers: int, advance: Tick) -> Iterator[tuple[int, Any]]:
        """Answers to these tasks; `lost` gains those whose worker died, with how it ended."""
        self._end(self.crew)
        self.waiting = list(reversed(indices))
        for _ in range(min(workers, len(indices))):
            self._begin(workers)
        while self.crew:
            for worker in self.ready(self.crew, PAUSE):
                kind, content = worker.answer()
                if kind == "tick":
                    assert worker.index is not None
                    self.shares[worker.index], self.text = content
                elif kind == "said":
                    say_as_it_is(content)
                elif kind == "error":
                    raise content
                elif kind == "ready":
                    self.text = ""
                    self._next(worker)
                elif kind == "done":
                    index, (result, spent) = worker.index, content
                    assert index is not None
                    stages.add(spent)
                    self._next(worker)
                    self._count(index, advance)
                    yield index, result
                else:
                    self._miss(worker, content, workers, gone=kind == "gone")
            if not self.waiting and all(worker.index is None for worker in self.crew):
                self._end(self.crew)  # that still wait for a place where to begin
            advance(self.done + sum(self.shares.values()), self.text)

    def _begin(self, workers: int) -> None:
        if self.waiting:
            self.crew.append(worker := self.fresh(workers))
            if getattr(worker, "begun", True):
                self._next(worker)

    def _next(self, worker: Worker) -> None:
        if self.waiting:
            index = self.waiting.pop()
            worker.give(index, self.tasks[index])
        elif worker.leave():
            self.crew.remove(worker)
        else:
            self._end([worker])

    def _miss(self, worker: Worker, how: Ended, workers: int, *, gone: bool) -> None:
        """A worker ended without an answer, by its task or with its machine."""
        index = worker.index
        gone = gone or index is None
        self.moves[index] += gone
        if index is None:
            if self.moves[None] > MOST_MOVES:
                what = f"{self.moves[None]} workers {how} before they could begin"
                raise WorkerDied("engine", what, "Look at the logs of the machines that were to do the work")
        else:
            self.shares.pop(index, None)
            if gone and self.moves[index] <= MOST_MOVES:
                self.waiting.append(index)
            else:
                self.lost[index] = how
        self._end([worker])
        self._begin(workers)

    def _end(self, workers: Sequence[Worker]) -> None:
        leaving = list(workers)
        for worker in leaving:
            worker.stop()  # all of them first: ending waits for each
        for worker in leaving:
            self.crew.remove(worker)
            worker.end()

    def _count(self, index: int, advance: Tick) -> None:
        self.shares.pop(index, None)
        self.done += 1
        advance(self.done + sum(self.shares.values()), self.text)

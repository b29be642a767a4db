"""A map over tasks, in this process, in one per core, or on other machines. Nothing else knows where work is done.

`run` is the map; what a run says goes through `say` and `tell`. Engines import their libraries when they begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from elsewhere.engine.choice import Choice, choose, chosen, is_here
from elsewhere.engine.processes import START, cores, is_of_main, kept, run_here, run_in_processes
from elsewhere.engine.progress import Tick, profiled, progress
from elsewhere.engine.speech import Voice, console, log, say, sheet, speak, tell, voice
from elsewhere.engine.tasks import BadWorker, Ended, Needs, WorkerDied, give_up, measure
from elsewhere.errors import BadOption

__all__ = [
    "START",
    "BadWorker",
    "Choice",
    "Ended",
    "Needs",
    "Tick",
    "Voice",
    "WorkerDied",
    "choose",
    "chosen",
    "console",
    "cores",
    "is_here",
    "kept",
    "log",
    "profiled",
    "run",
    "say",
    "sheet",
    "speak",
    "tell",
    "voice",
]

Result = TypeVar("Result")


def run(
    function: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    *,
    workers: int | None = None,
    describe: str = "Working",
    ticks: bool = False,
    died: Callable[[int, Ended], Result] | None = None,
    needs: Needs | None = None,
) -> Iterator[tuple[int, Result]]:
    """Call `function(*task)` for every task; yield (index, result) as each ends, in any order.

    A worker that dies takes its own task with it and no other: the task is tried once more when all others are done,
    alone in a fresh process, so that what failed for want of memory beside others still gets its chance.

    Args:
        function: importable by name; with more than one worker it runs in fresh (spawned) processes.
        tasks: argument tuples, picklable.
        workers: processes; None means one per core, or as many as the chosen engine finds room for. 1 runs everything
            in this process, unless `died` is given or another engine is chosen.
        describe: what the progress bar says.
        ticks: the function takes a last argument `tick(share, text)` and calls it now and then, so that long
            tasks move the bar.
        died: gives the result of a task whose worker died both times, from its index and how it ended; such tasks
            always run in processes of their own. Without it that is an error.
        needs: what the tasks need of another machine; without it they run on this one, whatever engine is chosen.

    Raises:
        WorkerDied: the worker of a task died twice, for example ended by the kernel for lack of memory.
        BadWorker: another machine has not what `needs` says, or other versions.
        BadOption: another machine would need a function that is defined in the script itself.
        BadInstallation: the chosen engine's library is not installed.
        Exception: whatever a task raised; the workers of the others are ended at once.
    """
    engine = chosen() if needs is not None and tasks else Choice()
    work = partial(measure, describe, function)
    if engine.name != "cores" and is_of_main(function):
        what = "does not take work that is defined in the script itself"
        raise BadOption("--engine", what, "Put that function into a module that all machines have, or use cores")
    given_up = died or partial(give_up, function.__name__)
    with progress(describe, len(tasks)) as advance:
        if needs is not None and engine.name == "ray":
            from elsewhere.engine.ray_cluster import run_on_ray  # noqa: PLC0415 - imported where it is chosen

            yield from run_on_ray(work, tasks, engine, needs, workers, ticks, advance, given_up)
        elif needs is not None and engine.name == "slurm":
            from elsewhere.engine.slurm import run_on_slurm  # noqa: PLC0415

            yield from run_on_slurm(work, tasks, engine, needs, workers, ticks, advance, given_up)
        else:
            workers = min(max(1, workers or cores()), max(1, len(tasks)))
            if workers == 1 and died is None:
                yield from run_here(work, tasks, advance, ticks)
            else:
                yield from run_in_processes(work, tasks, workers, ticks, advance, given_up)

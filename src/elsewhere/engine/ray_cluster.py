"""Tasks in, answers out: on the machines of a Ray cluster, or of one that is started here for the run."""

from __future__ import annotations

import os
import pickle
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from elsewhere.engine import canary
from elsewhere.engine.attendant import order
from elsewhere.engine.choice import Choice
from elsewhere.engine.crew import Crew
from elsewhere.engine.processes import ENDING, cores
from elsewhere.engine.progress import Tick
from elsewhere.engine.proof import asked_of, check_proof
from elsewhere.engine.speech import say
from elsewhere.engine.tasks import BadWorker, Died, Ended, Needs
from elsewhere.errors import BadInstallation, BadOption

MEMORY = 128 * 2**20  # bytes for Ray's own store: what travels is small
HIDDEN = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Where it is "0" as Ray is imported, Ray stays on 127.0.0.1; else it listens on, and looks at, all addresses."""
STARTS = "Give the address of a running cluster (`--engine ray:HOST:PORT`), or start one with `ray start --head`"


@dataclass(frozen=True)
class Share:
    """What of a cluster one worker gets, and how many find room.

    Attributes:
        cpus: cores.
        gpus: GPUs, or a part of one.
        room: workers that find place at once.
    """

    cpus: int
    gpus: float
    room: int


def run_on_ray(  # noqa: PLR0917 - called from one place
    work: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    choice: Choice,
    needs: Needs,
    workers: int | None,
    ticks: bool,
    advance: Tick,
    died: Died,
) -> Iterator[tuple[int, Any]]:
    """The tasks shared out among workers of a Ray cluster, each a process of its own; see `elsewhere.engine.run`.

    Raises:
        BadWorker: a machine has not what the tasks need.
        BadInstallation: Ray is not installed.
        BadOption: no cluster answers at the address.
    """
    ray = _connected(choice)
    share = share_out(_machines(ray), choice, needs, workers, len(tasks))
    with asked_of(needs) as asked:
        agent = _agent(ray).options(num_cpus=share.cpus, num_gpus=share.gpus, scheduling_strategy="SPREAD")
        given = order(work, ticks, share.cpus, needs)

        def fresh(_: int) -> _RayWorker:
            return _RayWorker(ray, agent, asked, given)

        def ready(crew: Sequence[_RayWorker], seconds: float) -> list[_RayWorker]:
            waits = [worker.waits for worker in crew]
            first, _ = ray.wait(waits, num_returns=1, timeout=seconds, fetch_local=False)
            return [worker for worker in crew if worker.waits in first]

        number = min(len(tasks), share.room)
        yield from Crew(tasks, number, fresh, ready, "waiting for a free machine").run(advance, died)


def _connected(choice: Choice) -> Any:
    """Ray, connected to the cluster that is chosen; kept for the next call."""
    address = choice.address or os.environ.get("RAY_ADDRESS", "") or ("auto" if "SLURM_JOB_ID" in os.environ else "")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not address and "ray" not in sys.modules and not any(name.startswith("RAY_AUTH") for name in os.environ):
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))  # read as Ray is imported
    os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")  # 30 s are too few on a busy machine
    if _is_hidden(address):
        os.environ.setdefault(HIDDEN, "0")
    try:
        import ray  # noqa: PLC0415 - a second
    except ImportError as error:
        what = f"--engine ray needs Ray, which is not installed ({error})"
        raise BadInstallation("ray", what, "pip install 'elsewhere[ray]'") from error
    if ray.is_initialized():
        return ray
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _start(ray, address)
    except Exception as error:  # Ray raises a bare one where the machine is too busy for its start
        ray.shutdown()  # what was started before
        what = (
            f"finds no Ray cluster at {address} ({error})" if address else f"cannot start Ray on this machine ({error})"
        )
        raise BadOption("--engine", what, STARTS) from error
    finally:
        with suppress(ValueError):  # another thread's
            signal.signal(signal.SIGTERM, handler)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    say(f"{address or 'on this machine'}, {len(nodes)} {'machine' if len(nodes) == 1 else 'machines'}", "Ray:")
    return ray


def _is_hidden(address: str) -> bool:
    """Whether a cluster is seen by this machine alone: one that is yet to be started, or is on 127.0.0.1 only."""
    host, _, port = address.rpartition(":")
    if host not in {"127.0.0.1", "localhost"}:
        return not address
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as looked_at:
            looked_at.connect(("192.0.2.1", 9))  # sends nothing
            outer = looked_at.getsockname()[0]
        socket.create_connection((outer, int(port)), timeout=5).close()
    except (OSError, ValueError):
        return True
    return False


def _start(ray: Any, address: str) -> None:
    """Connect to the cluster at an address; without one, start a cluster of this machine alone, seen by nobody else."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address:
        ray.init(address, **quiet)
    else:
        size = {"num_cpus": cores(), "object_store_memory": MEMORY}
        ray.init("local", include_dashboard=False, **size, **quiet)


def _agent(ray: Any) -> Any:
    """The class that stands for a worker on its machine, sent as it is here."""
    ray.cloudpickle.register_pickle_by_value(canary)
    return ray.remote(max_concurrency=2, max_restarts=0)(canary.Agent)


def share_out(
    machines: Sequence[tuple[int, int]], choice: Choice, needs: Needs, workers: int | None, tasks: int
) -> Share:
    """What each worker gets: as many cores as all that are wanted at once can have, and a card where one is wanted.

    Args:
        machines: cores and GPUs of each.
        choice: cores of a task, where they are set; tasks that share a GPU, where one is enough for a task.
        needs: what the tasks need.
        workers: that are wanted at once; None for as many as find room.
        tasks: number of tasks.

    Raises:
        BadWorker: no machine of the cluster has so much.
    """
    wants_cards = needs.accelerator == "cuda" or (needs.accelerator == "auto" and any(cards for _, cards in machines))
    sharing = choice.tasks_per_gpu if needs.devices == 1 else 1
    places = [cards * sharing // needs.devices if wants_cards else tasks for _, cards in machines]

    def room(each: int) -> int:
        return sum(min(one // each, most) for (one, _), most in zip(machines, places, strict=True))

    wanted = max(1, min(tasks, workers or tasks, room(1)))
    largest = max((one for one, _ in machines), default=0)
    cpus = choice.cpus or next((each for each in range(largest, 0, -1) if room(each) >= wanted), 1)
    gpus = needs.devices / sharing if wants_cards else 0.0
    if not room(cpus):
        what = f"no machine of the cluster has {cpus} CPU cores and {gpus:g} GPUs for a task"
        raise BadWorker("ray", what, "Start Ray on a machine that has, or ask for less")
    return Share(cpus, gpus, min(room(cpus), workers or tasks))


def _machines(ray: Any) -> list[tuple[int, int]]:
    """Cores and GPUs of each machine of the cluster."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(one.get("CPU", 0)), int(one.get("GPU", 0))) for one in found]


class _RayWorker:
    """An agent on some machine of the cluster, and what it says next."""

    def __init__(self, ray: Any, agent: Any, asked: str, given: bytes) -> None:
        self.ray, self.given, self.begun = ray, given, False
        self.agent = agent.remote()
        self.waits: Any = self.agent.prove.remote(asked)
        self.index: int | None = None

    def leave(self) -> bool:
        """It ends with its run."""
        return False

    def give(self, index: int, task: tuple[Any, ...]) -> None:
        """Start a task."""
        self.index = index
        self.waits = self.agent.work.options(num_returns="streaming").remote(pickle.dumps(task))

    def answer(self) -> tuple[str, Any]:
        """The next message; that it may begin comes first, once it has proven what is asked.

        Raises:
            BadWorker: it has not what is needed.
        """
        try:
            if self.begun:
                message: tuple[str, Any] = pickle.loads(self.ray.get(next(self.waits)))
                return message
            check_proof(self.ray.get(self.waits))
            self.ray.get(self.agent.begin.remote(self.given))
        except self.ray.exceptions.RayActorError as error:
            return ("gone" if "node" in str(error).lower() else "died"), Ended(None)
        self.begun = True
        return "ready", None

    def stop(self) -> None:
        """Let the agent end its process."""
        with suppress(self.ray.exceptions.RayError):
            self.stopped = self.agent.stop.remote()

    def end(self) -> None:
        """End the agent, once its process is gone, or cannot be waited for any longer."""
        with suppress(self.ray.exceptions.RayError):
            if self.begun:
                self.ray.wait([self.stopped], timeout=ENDING + 1)
            self.ray.kill(self.agent)

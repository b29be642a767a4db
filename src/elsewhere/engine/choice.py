"""Which engine does the work: chosen for a run, never a part of a study."""

from __future__ import annotations

import os
from dataclasses import dataclass

from elsewhere.errors import BadOption

ENGINES = ("cores", "ray", "slurm")
ENGINE, CPUS, TASKS_PER_GPU = "ELSEWHERE_ENGINE", "ELSEWHERE_CPUS", "ELSEWHERE_TASKS_PER_GPU"


@dataclass(frozen=True)
class Choice:
    """Where work is done.

    Attributes:
        name: "cores" (this machine), "ray" or "slurm".
        address: of a Ray cluster, as HOST:PORT or "auto"; "" for the one of `RAY_ADDRESS`, of the Slurm allocation that
            this process runs in, or one that is started on this machine for the run.
        cpus: CPU cores of one task; 0 shares them out as on one machine (Ray), or asks for one (Slurm).
        tasks_per_gpu: tasks that share one GPU.
    """

    name: str = "cores"
    address: str = ""
    cpus: int = 0
    tasks_per_gpu: int = 1


_chosen: list[Choice | None] = [None]


def choose(text: str | None) -> Choice:
    """Do work from now on as `--engine` says: "cores", "ray", "ray:HOST:PORT" or "slurm"; None as the environment says.

    Raises:
        BadOption: there is no such engine.
    """
    _chosen[0] = None if text is None else _read(text, "--engine")
    return chosen()


def chosen() -> Choice:
    """Where work is done now.

    Raises:
        BadOption: the environment names no engine, or no number.
    """
    return _chosen[0] or _read(os.environ.get(ENGINE) or "cores", ENGINE)


def is_here() -> bool:
    """Whether work is done on this machine alone, so that its devices are those that count."""
    return chosen().name == "cores"


def _read(text: str, where: str) -> Choice:
    name, _, address = text.partition(":")
    if name not in ENGINES or (address and name != "ray"):
        raise BadOption(where, f"is {text!r}", "Choose cores, ray, ray:HOST:PORT or slurm")
    return Choice(name, address, _number(CPUS, 0), _number(TASKS_PER_GPU, 1))


def _number(name: str, least: int) -> int:
    text = os.environ.get(name, "") or str(least)
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise BadOption(name, f"is {text!r}", f"Give a whole number of at least {max(least, 1)}, or leave it unset")
    return int(text)

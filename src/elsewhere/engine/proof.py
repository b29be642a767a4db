"""What other machines must prove before they work for this one, and their answers checked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elsewhere.engine import canary
from elsewhere.engine.tasks import BadWorker, Needs

SHARE = "Share it under the same path, with room and the right to write, or leave that machine out"
LOCKS = "Set ELSEWHERE_LOCKS=local, and each copy works in a folder of its own"
SAME = "Install the same there as here, or leave that machine out"


@contextmanager
def asked_of(needs: Needs) -> Iterator[str]:
    """What a machine is asked to prove, while the marks by which it can prove it lie in the folders."""
    reads, writes = (list(dict.fromkeys(map(os.path.abspath, paths))) for paths in (needs.reads, needs.writes))
    reads = [path for path in reads if not any(Path(path).is_relative_to(folder) for folder in writes)]
    asked = canary.ask(reads, writes, os.getcwd())
    try:
        yield asked
    finally:
        canary.forget(asked)


def check_proof(proof: str) -> str:
    """Refuse a machine by its answer; its host.

    Raises:
        BadWorker: names the host, and the folder or version that is not as it is here, or the folder whose locks do not
            hold from machine to machine.
    """
    answer = json.loads(proof)
    for what, how in answer["faults"]:
        is_path = os.sep in what
        raise BadWorker(f"{answer['host']}: {what}", how, SHARE if is_path else SAME)
    for folder in answer["unlocked"]:
        what = "has file locks that this machine takes no notice of: two copies of a training could meet there"
        raise BadWorker(f"{answer['host']}: {folder}", what, LOCKS)
    host: str = answer["host"]
    return host

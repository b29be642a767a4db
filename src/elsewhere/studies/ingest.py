"""Raw scans of any site into the store, many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from elsewhere import engine
from elsewhere.errors import BadScan
from elsewhere.scans.intake import note_crash, place_of, take_in
from elsewhere.scans.store import Stored


def announce_store(store: Path) -> None:
    """Say where a store is made: what lies in it are patients' scans."""
    if not store.exists():
        engine.say(f"{store} (patient data: keep it where such data may lie)", "Prepared scans are kept in")


def take_in_all(
    tasks: Sequence[tuple[Any, ...]], workers: int | None, needs: engine.Needs
) -> Iterator[tuple[int, Stored | BadScan]]:
    """(index, result) of `take_in` for every task, in any order; a scan that ends its process is a bad scan.

    Args:
        tasks: arguments of `take_in`.
        workers: processes; None means one per core.
        needs: of another machine, where the chosen engine uses some.
    """

    def crashed(index: int, how: engine.Ended) -> BadScan:
        kind, scan, root, store, preparation, _ = tasks[index]
        try:
            path = None if how.killed else place_of(kind, scan, root, store, preparation)
        except BadScan as error:
            return error
        return note_crash(scan, path, str(how))

    yield from engine.run(take_in, tasks, workers=workers, describe="Preparing scans", died=crashed, needs=needs)

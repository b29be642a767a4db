"""The one cache: a result is kept with the key of what made it, and is believed only where that key is still the same.

The key is a hash of the maker's name and version and of the content of its inputs. Inputs that are results themselves
enter with their bytes, and a table's bytes hold its own key: where a maker's version is raised, its results and all
that rest on them are made anew, and nothing else.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from elsewhere.errors import BadStudy
from elsewhere.records import read_record, write_record
from elsewhere.table_format import TableFormat

RowT = TypeVar("RowT")

VERSIONS = {
    "predictions": 1,  # commands/predict.py, model/prediction.py
    "learned": 2,  # statistics/learned.py
    "scores": 1,  # commands/study.py, statistics/score.py
    "ensemble": 1,  # studies/ensembles.py
    "cross-validation": 1,  # studies/ensembles.py, statistics/cross_validated.py
    "answers": 1,  # studies/asking.py, model/runnable/
    "occlusion": 1,  # studies/looking.py, model/runnable/occlusion.py
    "product scores": 1,  # studies/products.py, statistics/score.py
    "audit": 1,  # studies/auditing.py, scans/quality/
    "decomposition": 4,  # commands/report/drop.py, statistics/decomposition.py
    "local scans": 3,  # the same
    "examples": 1,  # commands/report/examples.py
    "diagnosis parts": 2,  # commands/diagnose/probing.py, commands/diagnose/probed.py, model/saliency.py
    "shifted scans": 1,  # studies/shifting.py
    "marks": 1,  # the same
    "adapted fits": 1,  # studies/adapting_fits.py, model/adapting.py
    "features": 1,  # model/features.py
    "sequence scores": 1,  # studies/sequences.py
    "arms": 2,  # studies/arm_results.py, statistics/arms.py, statistics/learned.py
    "scan features": 1,  # studies/scan_features.py, model/pretrained.py
}
"""Version of the code that makes each result and where that is; to be raised where the same inputs give another one.

Prepared volumes (`scans/store.py`) and checkpoints (`studies/trainings.py`) lie below: their content is an input here.
"""

CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def key(maker: str, *inputs: Any) -> str:
    """What a result is known by.

    Args:
        maker: one of `VERSIONS`.
        inputs: JSON-able values; paths count with the content of their file.
    """
    whole = [maker, VERSIONS[maker], *inputs]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=content).encode()).hexdigest()[:32]


def content(value: Any) -> str:
    """Hash of a file's content, "" where there is none: as `key` counts a path."""
    if not isinstance(value, Path):
        raise TypeError(f"{value!r} is neither JSON-able nor a path")
    return hashlib.sha256(value.read_bytes()).hexdigest() if value.is_file() else ""


def keep_rows(form: TableFormat[RowT], path: Path, wanted: str, make: Callable[[], Iterable[RowT]]) -> list[RowT]:
    """The rows that a table keeps under this key; where it keeps others or none they are made and kept.

    A table without rows is not kept. A folder that may only be read still has its results.

    Args:
        form: of the table.
        path: its file.
        wanted: from `key`.
        make: gives the rows.

    Raises:
        OSError: the folder cannot be written.
    """
    with suppress(BadStudy):
        rows, made_from = form.read_made_from(path)
        if made_from == wanted:
            return rows
    rows = list(make())
    try:
        if rows:
            form.write(path, rows, wanted)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in CLOSED:
            raise
    return rows


def kept_record(path: Path) -> dict[str, Any]:
    """What a file keeps whose name is its key; nothing where it is missing or damaged: it is made again."""
    with suppress(BadStudy):
        return read_record(path, "")
    return {}


def keep_record(path: Path, found: Mapping[str, Any]) -> None:
    """Keep a result in a file whose name is its key."""
    write_record(path, found)

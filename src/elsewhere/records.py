"""Records on disk, JSON and Parquet, each with a checksum inside: one that was changed or cut short is never believed.

Records of versions before there were checksums are read; they are known by what this version never leaves out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from elsewhere.checksum import PLACE, is_sealed, seal
from elsewhere.errors import BadStudy
from elsewhere.files import write_whole

VERSION = 1
"""Of the sealed form; stands at the end of a JSON record, so that no single damage takes both marks of it away."""
MARK = b"sha256:"
SEAL = re.compile(rb"sha256:([0-9a-f]{64})")
EARLIER = b"ARROW:schema"
"""What pyarrow writes unless told otherwise: earlier versions did not tell it, this one does."""


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Keep a JSON record with its checksum; the file appears whole or not at all."""
    text = json.dumps({"checksum": PLACE, **content, "record": VERSION}, indent=1)
    write_whole(path, seal(text.encode(), b'{\n "checksum": "'))


def read_record(path: Path, next_step: str, names: Collection[str] = ()) -> dict[str, Any]:
    """A JSON record without its marks.

    Args:
        path: its file.
        next_step: what to do where it is missing or damaged.
        names: keys that it must have.

    Raises:
        BadStudy: the file is missing, damaged, changed since it was written, or lacks a key.
    """
    content = _bytes(path, next_step)
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadStudy(path, f"is damaged: it is not JSON ({error})", next_step) from error
    if not isinstance(record, dict):
        raise BadStudy(path, f"is damaged: it holds a {type(record).__name__}", next_step)
    checksum, version = record.pop("checksum", None), record.pop("record", None)
    if not (checksum is None and version is None) and (version != VERSION or not is_sealed(content, checksum)):
        raise _changed(path, next_step)
    missing = [name for name in names if name not in record]
    if missing:
        raise BadStudy(path, f"has no {missing[0]!r}", next_step)
    return record


def write_columns(path: Path, table: pa.Table, marks: Mapping[str, str] = {}) -> None:
    """Keep a table as Parquet with its checksum and what it says of itself; it appears whole or not at all."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema.remove_metadata(), store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**marks, "elsewhere": (MARK + PLACE.encode()).decode()})
    write_whole(path, seal(sink.getvalue().to_pybytes(), MARK))


def read_columns(path: Path, next_step: str, names: Collection[str] = ()) -> pa.Table:
    """A Parquet table.

    Args:
        path: its file.
        next_step: what to do where it is missing or damaged.
        names: columns that it must have.

    Raises:
        BadStudy: the file is missing, damaged, changed since it was written, or lacks a column.
    """
    table, _ = read_marked_columns(path, next_step)
    missing = [name for name in names if name not in table.schema.names]
    if missing:
        raise BadStudy(path, f"has no column {missing[0]!r}", next_step)
    return table


def read_marked_columns(path: Path, next_step: str) -> tuple[pa.Table, dict[str, str]]:
    """A Parquet table and what it says of itself besides its checksum; raises as `read_columns`."""
    content = _bytes(path, next_step)
    marks = SEAL.findall(content)
    whole = is_sealed(content, marks[-1].decode()) if marks else EARLIER in content
    if not whole:
        raise _changed(path, next_step)
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        table, said = file.read().replace_schema_metadata(None), file.metadata.metadata or {}
    except (OSError, pa.ArrowException, ValueError, LookupError) as error:
        raise BadStudy(path, f"is damaged: it is no Parquet table ({error})", next_step) from error
    texts = {name.decode(errors="replace"): text.decode(errors="replace") for name, text in said.items()}
    return table, {name: text for name, text in texts.items() if name in {"table", "made_from"}}


def _bytes(path: Path, next_step: str) -> bytes:
    if not path.is_file():
        raise BadStudy(path, "does not exist", next_step)
    return path.read_bytes()


def _changed(path: Path, next_step: str) -> BadStudy:
    return BadStudy(path, "is damaged: its content does not fit its checksum, or was changed by hand", next_step)

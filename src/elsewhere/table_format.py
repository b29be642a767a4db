"""The form of a table or record on disk: its schema, one reader, one writer and a format version.

A file says which table it is and of which format. One of another format is refused with the next step; a file without a
format is of release 0.1.0 or earlier, and is read where it has the columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import pyarrow as pa

from elsewhere.errors import BadInstallation, BadStudy
from elsewhere.records import read_marked_columns, read_record, write_columns, write_record

RowT = TypeVar("RowT")
PLAIN = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}


def in_pandas(rows: Sequence[Sequence[object]], columns: Sequence[str], instead: str) -> Any:
    """Rows as a pandas DataFrame, for those who have pandas.

    Raises:
        BadInstallation: it is not installed; the message names `instead`, which needs none.
    """
    try:
        import pandas  # noqa: PLC0415 - not among what is installed with us
    except ImportError as error:
        raise BadInstallation("pandas", "is not installed", f"pip install pandas, or use {instead}") from error
    return pandas.DataFrame(list(rows), columns=list(columns))


def column(name: str = "", *, as_json: bool = False, as_lines: bool = False) -> dict[str, object]:
    """Metadata of a field that stands under another name in the file, or there as JSON text or lines of a text."""
    return {"column": name, "json": as_json, "lines": as_lines}


@dataclass(frozen=True)
class TableFormat(Generic[RowT]):
    """How rows of one kind are kept as Parquet.

    Attributes:
        name: what the table is; stands in the file.
        version: of the format; another one means that a column has another name or meaning.
        row: the frozen dataclass of a row. Its fields are of type str, int, float, bool, bytes, tuples of these, each
            perhaps None, or annotated with their Arrow type; a field with a default may be lacking in older files.
        next_step: what to do where the file is missing or damaged.
    """

    name: str
    version: int
    row: type[RowT]
    next_step: str

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns in the order of the file."""
        hints = get_type_hints(self.row, include_extras=True)
        return tuple(_column(f, hints[f.name]) for f in fields(self.row))  # type: ignore[arg-type]

    @cached_property
    def schema(self) -> pa.Schema:
        """Names and Arrow types of the columns."""
        return pa.schema([(c.name, c.arrow) for c in self.columns])

    @property
    def mark(self) -> str:
        """What a file of this format says of itself."""
        return f"{self.name} {self.version}"

    def write(self, path: Path, rows: Sequence[RowT], made_from: str = "") -> None:
        """Keep rows with a checksum; the file appears whole or not at all.

        Args:
            path: the file.
            rows: what to keep.
            made_from: the key of what they were made from.

        Raises:
            TypeError: a value that its column cannot hold.
        """
        given = [pa.array([c.to_file(getattr(row, c.field)) for row in rows], c.arrow) for c in self.columns]
        marks = {"table": self.mark, "made_from": made_from}
        write_columns(path, pa.table(given, schema=self.schema), {k: v for k, v in marks.items() if v})

    def read(self, path: Path) -> list[RowT]:
        """The rows of a file.

        Raises:
            BadStudy: it is missing, damaged, of another format, lacks a column, or a cell has no value of its column.
        """
        return self._rows(path, self.read_columns(path))

    def read_columns(self, path: Path) -> pa.Table:
        """The checked columns of a file, as Arrow has them; raises as `read`."""
        return self._parsed(path)[0]

    def read_made_from(self, path: Path) -> tuple[list[RowT], str]:
        """The rows of a file, and the key of what they were made from ("" where it keeps none); raises as `read`."""
        table, marks = self._parsed(path)
        return self._rows(path, table), marks.get("made_from", "")

    def made_from(self, path: Path) -> str:
        """The key of what a whole file was made from; "" where it keeps none; raises as `read_columns`."""
        return self._parsed(path)[1].get("made_from", "")

    def _parsed(self, path: Path) -> tuple[pa.Table, dict[str, str]]:
        table, marks = read_marked_columns(path, self.next_step)
        _check_format(path, marks.get("table"), self.mark, self.next_step)
        return pa.table([self._column(path, table, c) for c in self.columns], schema=self.schema), marks

    def _rows(self, path: Path, table: pa.Table) -> list[RowT]:
        names = [c.field for c in self.columns]
        try:
            values = [[c.from_file(v) for v in table[c.name].to_pylist()] for c in self.columns]
        except ValueError as error:
            raise BadStudy(path, f"is damaged: a cell is not JSON ({error})", self.next_step) from error
        return [self.row(**dict(zip(names, row, strict=True))) for row in zip(*values, strict=True)]

    def _column(self, path: Path, table: pa.Table, wanted: Column) -> pa.ChunkedArray:
        if wanted.name not in table.schema.names:
            if wanted.default is MISSING:
                raise BadStudy(path, f"has no column {wanted.name!r}", self.next_step)
            return pa.chunked_array([pa.array([wanted.to_file(wanted.default)] * len(table), wanted.arrow)])
        try:
            found = table[wanted.name].cast(wanted.arrow)
        except (pa.ArrowException, ValueError) as error:
            raise BadStudy(path, f"column {wanted.name!r} holds other values ({error})", self.next_step) from error
        if found.null_count and not wanted.optional:
            raise BadStudy(path, f"column {wanted.name!r} has {found.null_count} empty cells", self.next_step)
        return found


@dataclass(frozen=True)
class RecordFormat:
    """How a record of one kind is kept as JSON.

    Attributes:
        name: what the record is; stands in the file.
        version: of the format.
        keys: that it must have.
        next_step: what to do where the file is missing or damaged.
    """

    name: str
    version: int
    keys: tuple[str, ...]
    next_step: str

    @property
    def mark(self) -> str:
        """What a file of this format says of itself."""
        return f"{self.name} {self.version}"

    def write(self, path: Path, content: Mapping[str, Any]) -> None:
        """Keep a record with its checksum and its format; the file appears whole or not at all."""
        write_record(path, {"format": self.mark, **content})

    def read(self, path: Path) -> dict[str, Any]:
        """The content of a file.

        Raises:
            BadStudy: it is missing, damaged, of another format, or lacks a key.
        """
        content = read_record(path, self.next_step)
        _check_format(path, content.pop("format", None), self.mark, self.next_step)
        missing = [name for name in self.keys if name not in content]
        if missing:
            raise BadStudy(path, f"has no {missing[0]!r}", self.next_step)
        return content


@dataclass(frozen=True)
class TypedFormat(Generic[RowT]):
    """How a record that is a frozen dataclass is kept as JSON.

    Attributes:
        name: what the record is; stands in the file.
        version: of the format; another one means that a field has another name or meaning.
        record: the frozen dataclass, as `from_json` takes it; a field with a default may be lacking in older files.
        next_step: what to do where the file is missing or damaged.
    """

    name: str
    version: int
    record: type[RowT]
    next_step: str

    @property
    def _form(self) -> RecordFormat:
        return RecordFormat(self.name, self.version, (), self.next_step)

    def write(self, path: Path, content: RowT) -> None:
        """Keep a record with its checksum and its format; the file appears whole or not at all."""
        self._form.write(path, to_json(content))

    def read(self, path: Path) -> RowT:
        """The record of a file; keys that it does not know are passed over.

        Raises:
            BadStudy: it is missing, damaged, of another format, lacks a field, or a field has another type.
        """
        content = self._form.read(path)
        try:
            return from_json(self.record, content)
        except (TypeError, ValueError) as error:
            raise BadStudy(path, f"is not a record of this form: {error}", self.next_step) from error


MAY_LACK = {"may_lack": True}
"""Metadata of a field that stands in the file only where it is not None."""


def to_json(value: Any) -> Any:
    """JSON-able: dataclasses as mappings of their fields in order, tuples as lists."""
    if is_dataclass(value):
        found = ((f, getattr(value, f.name)) for f in fields(value))
        return {f.name: to_json(v) for f, v in found if v is not None or "may_lack" not in f.metadata}
    if isinstance(value, Mapping):
        return {key: to_json(v) for key, v in value.items()}
    return [to_json(v) for v in value] if isinstance(value, list | tuple) else value


def from_json(kind: type[RowT], value: object) -> RowT:
    """What `to_json` made of a value of this type.

    Args:
        kind: str, int, float, bool, Literal, tuple or Mapping of these, a dataclass with fields of them, or one of them
            or None.
        value: as JSON gives it; of a mapping, keys that are no fields are passed over.

    Raises:
        TypeError: a value of another type; the message names the field.
    """
    found: RowT = _typed(kind, value, "the record")
    return found


def _typed(hint: Any, value: Any, name: str) -> Any:
    kind, optional = _without_none(hint)
    if value is None and optional:
        return None
    if is_dataclass(kind) and isinstance(value, Mapping):
        hints, kinds = get_type_hints(kind), [f for f in fields(kind) if f.init]
        lacking = [f.name for f in kinds if f.name not in value and f.default is MISSING]
        if lacking:
            raise TypeError(f"{name} has no {lacking[0]!r}")
        given = {f.name: _typed(hints[f.name], value[f.name], f.name) for f in kinds if f.name in value}
        return cast(Any, kind)(**given)
    origin, inside = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list):
        each = [inside[0]] * len(value) if inside[-1] is Ellipsis else inside
        return tuple(_typed(one, v, name) for one, v in zip(each, value, strict=True))
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _typed(inside[1], v, name) for key, v in value.items()}
    if not _fits(kind, value):
        raise TypeError(f"{name} is {value!r:.80}")
    return value


def _fits(kind: Any, value: object) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, bool) or kind not in PLAIN:
        return kind is bool and isinstance(value, bool)
    return isinstance(value, int | float if kind is float else kind)


def _check_format(path: Path, found: object, wanted: str, next_step: str) -> None:
    """Refuse a file of another format; one that says nothing of it is of release 0.1.0 or earlier."""
    if found not in {None, wanted}:
        raise BadStudy(
            path,
            f"holds {found!r} (what it is and its format); this version of elsewhere reads {wanted!r}",
            f"{next_step}, or read it with the version of elsewhere that wrote it",
        )


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        field: of the row's dataclass.
        name: in the file.
        arrow: type in the file.
        optional: whether a cell may be empty.
        as_json: kept as JSON text.
        as_lines: texts kept as lines of one.
        many: holds tuples.
        default: what files that lack the column mean by it.
    """

    field: str
    name: str
    arrow: pa.DataType
    optional: bool
    as_json: bool
    as_lines: bool
    many: bool
    default: Any

    def to_file(self, value: Any) -> Any:
        """A value as the file has it."""
        if self.as_json:
            return json.dumps(value, sort_keys=True, default=str)
        return printable("\n".join(value) if self.as_lines else value)

    def from_file(self, value: Any) -> Any:
        """A value as the row has it."""
        if self.as_json or self.as_lines:
            value = json.loads(value) if self.as_json else filter(None, value.split("\n"))
        return tuple(value) if self.many and value is not None else value


def printable(value: Any) -> Any:
    """Text that can be kept as UTF-8; file names on disk need not be."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _column(given: Field[Any], hint: Any) -> Column:
    kind, optional = _without_none(hint)
    as_json, as_lines = (bool(given.metadata.get(name)) for name in ("json", "lines"))
    arrow = pa.string() if as_json or as_lines else _arrow(kind)
    name, many = given.metadata.get("column") or given.name, get_origin(kind) is tuple
    return Column(given.name, name, arrow, optional, as_json, as_lines, many, given.default)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        if len(kinds) == 1:
            return kinds[0], True
    return hint, False


def _arrow(kind: Any) -> pa.DataType:
    if get_origin(kind) is Annotated:
        return next(mark for mark in get_args(kind)[1:] if isinstance(mark, pa.DataType))
    if get_origin(kind) is tuple:
        return pa.list_(_arrow(get_args(kind)[0]))
    if get_origin(kind) is Literal:
        return PLAIN[type(get_args(kind)[0])]
    return PLAIN[kind]

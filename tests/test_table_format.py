"""Rows of a frozen dataclass on disk: what comes back, and what is refused with a next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elsewhere.errors import BadStudy
from elsewhere.records import write_columns, write_record
from elsewhere.table_format import RecordFormat, TableFormat, column


@dataclass(frozen=True)
class Thing:
    """A row with a column of every kind."""

    name: str
    count: int
    share: float | None
    sure: bool
    small: Annotated[int, pa.int8()] = field(metadata=column("pass"))
    words: tuple[str, ...]
    facts: Mapping[str, Any] = field(metadata=column(as_json=True))
    late: str = ""


@dataclass(frozen=True)
class Other:
    """A row of another table."""

    name: str


THINGS = TableFormat("things", 2, Thing, "Run `elsewhere things` again")
ROWS = [
    Thing("a", 1, 0.5, True, -1, ("x", "y"), {"age": 3, "sex": None}),
    Thing("b\udce9", 2, None, False, 7, (), {}, "late"),
]


def test_rows_come_back(tmp_path: Path) -> None:
    THINGS.write(tmp_path / "t", ROWS)
    assert THINGS.read(tmp_path / "t") == [ROWS[0], replace(ROWS[1], name=r"b\udce9")]
    assert pq.read_schema(tmp_path / "t").names == ["name", "count", "share", "sure", "pass", "words", "facts", "late"]
    THINGS.write(tmp_path / "t", [])
    assert THINGS.read(tmp_path / "t") == []


def test_an_optional_column_of_nothing_but_gaps_has_its_type(tmp_path: Path) -> None:
    THINGS.write(tmp_path / "t", [replace(ROWS[0], share=None)])
    assert pq.read_schema(tmp_path / "t").field("share").type == pa.float64()


@pytest.mark.parametrize(
    "other", [replace(THINGS, version=1), replace(THINGS, version=3), TableFormat("others", 2, Other, "")]
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, other: TableFormat[Any]) -> None:
    rows = ROWS[:1] if other.name == "things" else [Other("a")]
    other.write(tmp_path / "t", rows)
    words = rf"holds '{other.name} {other.version}'.*this version of elsewhere reads 'things 2'.*`elsewhere things`"
    with pytest.raises(BadStudy, match=words):
        THINGS.read(tmp_path / "t")
    assert other.read(tmp_path / "t") == rows


def write_without_format(path: Path, **changes: list[Any] | None) -> None:
    """One row as earlier versions wrote it, without a format; None takes a column out."""
    columns = {"name": ["a"], "count": [1], "share": [0.5], "sure": [True], "pass": [-1], "words": [["x", "y"]]}
    given = columns | {"facts": ['{"age": 3, "sex": null}']} | changes
    write_columns(path, pa.table({name: values for name, values in given.items() if values is not None}))


def test_a_file_without_a_format_is_read_where_it_has_the_columns(tmp_path: Path) -> None:
    write_without_format(tmp_path / "t")
    assert THINGS.read(tmp_path / "t") == ROWS[:1]
    write_without_format(tmp_path / "t", further=[1])
    assert THINGS.read(tmp_path / "t") == ROWS[:1]


def test_a_record_of_another_format_is_refused(tmp_path: Path) -> None:
    first, second = (RecordFormat("thing", version, ("a",), "Run `elsewhere things` again") for version in (1, 2))
    first.write(tmp_path / "r", {"a": 1})
    assert first.read(tmp_path / "r") == {"a": 1}
    with pytest.raises(BadStudy, match=r"holds 'thing 1'.*reads 'thing 2'.*Run `elsewhere things` again"):
        second.read(tmp_path / "r")
    write_record(tmp_path / "r", {"a": 1})  # of earlier versions
    assert second.read(tmp_path / "r") == {"a": 1}
    first.write(tmp_path / "r", {"b": 1})
    with pytest.raises(BadStudy, match=r"has no 'a'. Run `elsewhere things` again"):
        first.read(tmp_path / "r")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"count": None}, "has no column 'count'"),
        ({"count": ["many"]}, "column 'count' holds other values"),
        ({"pass": [300]}, "column 'pass' holds other values"),
        ({"name": pa.array([None], pa.string())}, "column 'name' has 1 empty cells"),
        ({"facts": ["{"]}, "a cell is not JSON"),
    ],
)
def test_what_the_columns_cannot_hold_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    write_without_format(tmp_path / "t", **changes)
    with pytest.raises(BadStudy, match=rf"{words}.*Run `elsewhere things` again"):
        THINGS.read(tmp_path / "t")

"""The figures of the house, counted from the code: they may fall, and a change that lets one rise says why here.

`python tests/test_house.py` prints them.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "elsewhere"
LOOSE = re.compile(r"\bdict\[str, Any\]|\bRows?\b")
READ_ONLY = re.compile(r"\bMapping\[str, Any\]|\bRecord\b")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

CEILINGS = {
    "signatures with dict[str, Any] or Row": 37,
    "signatures with Mapping[str, Any] or Record": 52,
    "string-key accesses in commands and pages/report": 64,
    "imports from one command to another": 11,
    "largest wing's share of the lines, per cent": 23,
    "longest file, lines": 500,
}


@cache
def figures() -> dict[str, int]:
    """Name of each figure -> its value."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
    shown = [tree for p, tree in trees.items() if _wing(p) == "commands" or SOURCE / "pages/report" in p.parents]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in trees}
    wings = Counter[str]()
    for path, count in lines.items():
        wings[_wing(path)] += count
    values = (
        sum(bool(LOOSE.search(s)) for tree in trees.values() for s in signatures(tree)),
        sum(bool(READ_ONLY.search(s)) for tree in trees.values() for s in signatures(tree)),
        sum(sum(1 for _ in string_keys(tree)) for tree in shown),
        len({arrow for path, tree in trees.items() for arrow in arrows(path, tree)}),
        round(100 * max(wings.values()) / sum(wings.values())),
        max(lines.values()),
    )
    return dict(zip(CEILINGS, values, strict=True))


def _wing(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first if (SOURCE / first).is_dir() else "ground"


def signatures(tree: ast.AST) -> Iterator[str]:
    """The annotations of each function, as text."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            notes = [argument.annotation for argument in given if argument] + [node.returns]
            yield ", ".join(ast.unparse(note) for note in notes if note)


def string_keys(tree: ast.AST) -> Iterator[str]:
    """Every value that is read by the name of its key: `row["key"]` and `row.get("key")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
                yield node.slice.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            for first in node.args[:1]:
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value


def arrows(path: Path, tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(command, another command that it imports)."""
    if _wing(path) != "commands":
        return
    own = path.relative_to(SOURCE / "commands").parts[0].removesuffix(".py")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("elsewhere.commands."):
            other = (node.module or "").split(".")[2]
            if other != own:
                yield own, other


def test_counting() -> None:
    code = """
def one(a: dict[str, Any], *b: int) -> None: ...
def two(a: int, *, c: list[Row]) -> Rows: ...
def three(a: "str") -> Mapping[str, Any]:
    a["x"] = a["y"] + a.get("z") + a[0] + a.get(0)
"""
    tree = ast.parse(code)
    assert [bool(LOOSE.search(s)) for s in signatures(tree)] == [True, True, False]
    assert [bool(READ_ONLY.search(s)) for s in signatures(tree)] == [False, False, True]
    assert sorted(string_keys(tree)) == ["y", "z"]
    here = SOURCE / "commands" / "report" / "cells.py"
    imports = ast.parse("from elsewhere.commands.report.drop import x\nfrom elsewhere.commands.study import y")
    assert list(arrows(here, imports)) == [("report", "study")]
    assert list(arrows(SOURCE / "studies" / "file.py", imports)) == []


@pytest.mark.parametrize("name", CEILINGS)
def test_no_figure_rises(name: str) -> None:
    assert figures()[name] <= CEILINGS[name]


if __name__ == "__main__":
    for title, figure in figures().items():
        print(f"{title}: {figure}")

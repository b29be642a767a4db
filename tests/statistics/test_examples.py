"""The examples in the docstrings of the statistics: run as they stand, and none of the public functions without one."""

from __future__ import annotations

import ast
import doctest
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from elsewhere import statistics

MODULES = [m.name for m in pkgutil.walk_packages(statistics.__path__, "elsewhere.statistics.") if not m.ispkg]

NEED_PANDAS = {"elsewhere.statistics.verdict": ["Verdict.table"]}
"""Methods that need what is no dependence: an example would not run everywhere."""


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    found = doctest.testmod(import_module(name), report=True)
    assert found.attempted
    assert found.failed == 0


def test_every_public_function_has_an_example() -> None:
    lacking = {name: without_example(_tree(name)) for name in MODULES}
    assert {name: names for name, names in lacking.items() if names} == NEED_PANDAS


def test_a_function_without_an_example_is_seen() -> None:
    code = '''
def shown(a):
    """Text.

    >>> shown(1)
    """
def other():
    """Text.

    >>> shown(2)  # other
    """
def bare(): ...
def _private(): ...
class Found:
    """Text."""
    def value(self): ...
    def unused(self): ...
class Asked(Protocol):
    def told(self): ...
def maker():
    """Text.

    >>> maker().value  # .unused
    """
'''
    assert without_example(ast.parse(code)) == ["other", "bare", "Found.unused"]
    assert without_example(ast.parse(f'"""Text.\n\n>>> other(), bare()\n"""\n{code}')) == ["Found.unused"]


def without_example(tree: ast.Module) -> list[str]:
    """Public functions that no example of their own docstring, or of the module's, names; methods that none uses."""
    of_module = _names(tree)
    everywhere = set[str]().union(*(_names(node) for node in ast.walk(tree) if isinstance(node, (ast.Module, *NAMED))))
    lacking = []
    for node, owner in _public(tree):
        if owner and f".{node.name}" not in everywhere:
            lacking.append(f"{owner}.{node.name}")
        elif not owner and node.name not in _names(node) | of_module:
            lacking.append(node.name)
    return lacking


NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _public(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Each public function with "", each public method of a public class (a protocol runs nothing) with its name."""
    for node in tree.body:
        if isinstance(node, NAMED) and not node.name.startswith("_") and not _is_protocol(node):
            for own in node.body if isinstance(node, ast.ClassDef) else [node]:
                if isinstance(own, ast.FunctionDef | ast.AsyncFunctionDef) and not own.name.startswith("_"):
                    yield own, node.name if isinstance(node, ast.ClassDef) else ""


def _is_protocol(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Protocol" for b in node.bases)


def _names(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> set[str]:
    """What the examples of a docstring name: functions as they are, attributes with a point before them."""
    found = set[str]()
    for example in doctest.DocTestParser().get_examples(ast.get_docstring(node) or ""):
        for part in ast.walk(ast.parse(example.source)):
            if isinstance(part, ast.Name):
                found.add(part.id)
            elif isinstance(part, ast.Attribute):
                found.add(f".{part.attr}")
    return found


def _tree(name: str) -> ast.Module:
    return ast.parse(Path(str(import_module(name).__file__)).read_text(encoding="utf-8"))

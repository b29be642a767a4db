"""The notebooks of examples/ run from their first cell to their last, each in an empty folder, as a script would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SLOW = {"study.ipynb": 1200}
"""Notebooks that take minutes, with their limit in seconds."""

RUNNER = """
import json, sys
cells = json.load(open(sys.argv[1], encoding="utf-8"))["cells"]
names = {"__name__": "__main__"}
for number, cell in enumerate(cells):
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
print("ran to the end")
"""


def notebooks() -> list[object]:
    paths = sorted(EXAMPLES.glob("*.ipynb"))
    return [pytest.param(p, id=p.name, marks=[pytest.mark.slow] * (p.name in SLOW)) for p in paths]


@pytest.mark.parametrize("notebook", notebooks())
@pytest.mark.timeout(1500)
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::DeprecationWarning:elsewhere", "-c", RUNNER, str(notebook)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=SLOW.get(notebook.name, 240)
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("ran to the end\n")


def test_a_cell_that_fails_would_be_noticed(tmp_path: Path) -> None:
    cells = [{"cell_type": "code", "source": ["assert 1 == 2"]}]
    (tmp_path / "wrong.ipynb").write_text(json.dumps({"cells": cells}))
    command = [sys.executable, "-c", RUNNER, str(tmp_path / "wrong.ipynb")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "cell 0" in done.stderr


@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(notebook: Path) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    assert all(
        c["outputs"] == [] and c["execution_count"] is None for c in content["cells"] if c["cell_type"] == "code"
    )
    assert "Not a medical device" in "".join("".join(c["source"]) for c in content["cells"])


def test_there_are_two() -> None:
    assert len(list(EXAMPLES.glob("*.ipynb"))) == 2

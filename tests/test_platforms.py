"""Systems without `fcntl` and `resource`, as Windows: the package, every command's help, and the lock of a training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import elsewhere

HIDE = """
import sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in ("fcntl", "resource"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hidden())
"""
HELP = """
from typer.testing import CliRunner
import elsewhere, elsewhere.cli
for name in ("", *elsewhere.COMMANDS):
    found = CliRunner().invoke(elsewhere.cli.app, [*name.split(), "--help"])
    print(name or "elsewhere", found.exit_code, found.exception or "")
"""
LOCK = """
from pathlib import Path
from elsewhere.model.state import lock
with lock(Path(sys.argv[1])):
    print("trains")
"""


def without(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a program says in a Python without these modules."""
    command = [sys.executable, "-c", HIDE + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "100"})


@pytest.mark.timeout(600)
def test_every_command_says_its_help_without_them() -> None:
    done = without(HELP)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} 0 " for name in ("elsewhere", *elsewhere.COMMANDS)]


def test_a_training_without_locks_says_so_and_goes_on(tmp_path: Path) -> None:
    done = without(LOCK, str(tmp_path / "state"))
    assert (done.returncode, done.stdout) == (0, "trains\n"), done.stderr
    assert f"{tmp_path / 'state'}: this system has no file locks. Make sure that no second" in done.stderr
    locked = subprocess.run(
        [sys.executable, "-c", "import sys" + LOCK, str(tmp_path / "state")], capture_output=True, text=True, check=True
    )
    assert (locked.stdout, locked.stderr) == ("trains\n", "")

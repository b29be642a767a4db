"""The command line and the public face: every verb there, errors in one paragraph, nothing heavy imported early."""

from __future__ import annotations

import errno
import os
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import elsewhere
from elsewhere import cli
from elsewhere.scans import store

HEAVY = ("torch", "lightning", "numpy", "scipy", "matplotlib", "pydicom", "SimpleITK", "rich", "pyarrow")


def test_help_names_every_command() -> None:
    result = CliRunner().invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    assert all(f"  {name}" in result.output for name in elsewhere.COMMANDS)
    assert "Not a medical device" in result.output


@pytest.mark.parametrize("name", elsewhere.COMMANDS)
def test_every_command_has_its_file_function_and_help(name: str) -> None:
    function = getattr(import_module(f"elsewhere.commands.{name}"), name)
    assert function is getattr(elsewhere, name)
    result = CliRunner().invoke(cli.app, [name, "--help"])
    assert result.exit_code == 0
    assert function.__doc__.splitlines()[0].rstrip(".") in " ".join(result.output.split())


def test_the_face_is_the_verbs() -> None:
    assert set(elsewhere.__all__) == {"COMMANDS", "__version__", *elsewhere.COMMANDS}
    rooms = {m.name for m in pkgutil.iter_modules([str(Path(elsewhere.__file__).parent / "commands")])}
    assert rooms == set(elsewhere.COMMANDS)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = elsewhere.nonsense


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = f"import sys, elsewhere, elsewhere.cli; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_an_unknown_command_is_an_error() -> None:
    result = CliRunner().invoke(cli.app, ["studdy"])
    assert result.exit_code == 2
    assert "studdy" in result.output


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["elsewhere", *arguments])
    cli.main()


def test_a_users_error_is_one_paragraph(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        _main(monkeypatch, "prepare", "nowhere.toml")
    error = capsys.readouterr().err
    assert error.startswith("elsewhere: nowhere.toml: cannot be read (No such file or directory). Give the path")
    assert "Traceback" not in error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_or_a_forbidden_folder_says_what_to_do(
    number: int, tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(store, "write", refuse)
    with pytest.raises(SystemExit, match="1"):
        _main(monkeypatch, "prepare", str(tiny_study), str(tmp_path / "out"), "--workers", "1")
    error = capsys.readouterr().err
    assert f".b2nd: {os.strerror(number)}. Free space or choose a folder you may write to, and start again" in error


def test_a_real_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", lambda path, _: _fill(path))
    with pytest.raises(OSError, match="No space left on device"):
        store.write(tmp_path / "a" / "x.b2nd", np.zeros((2, 4, 4), np.int16), {})
    assert list((tmp_path / "a").iterdir()) == []


def _fill(path: Path) -> None:
    path.touch()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

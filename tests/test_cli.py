"""The command line and the public face: every verb there, errors in one paragraph, nothing heavy imported early."""

from __future__ import annotations

import errno
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import elsewhere
from elsewhere import cli, engine, files
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
    verbs = set(elsewhere.COMMANDS)
    assert set(elsewhere.__all__) == {"COMMANDS", "__version__", *verbs}
    rooms = {m.name for m in pkgutil.iter_modules([str(Path(elsewhere.__file__).parent / "commands")])}
    assert rooms == verbs
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = elsewhere.nonsense


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = f"import sys, elsewhere, elsewhere.cli; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_an_unknown_command_is_an_error() -> None:
    result = CliRunner().invoke(cli.app, ["studdy"])
    assert result.exit_code == 2
    assert "No such command 'studdy'. Did you mean 'study'?" in result.output
    assert "Did you mean" not in CliRunner().invoke(cli.app, ["xyzzy"]).output


@pytest.mark.parametrize(
    ("words", "found"),
    [("elsewhere e", ["export", "evaluate"]), ("elsewhere pl", ["plan"]), ("elsewhere plan --spec", ["--specificity"])],
)
def test_a_shell_completes_commands_and_options(words: str, found: list[str]) -> None:
    code = "import sys\nfrom elsewhere.cli import main\nsys.argv = ['elsewhere']\nmain()"
    asked = {"_ELSEWHERE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, env=os.environ | asked, capture_output=True, text=True, check=False)
    assert done.stdout.split() == found


def test_names_of_commands_are_completed_without_importing_them() -> None:
    code = (
        "import sys, typer.main\nfrom elsewhere import cli\n"
        "group = typer.main.get_command(cli.app)\n"
        "names = [item.value for item in group.shell_complete(group.make_context('elsewhere', ['plan']), '')]\n"
        f"print(len(names), [m for m in {HEAVY} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == f"{len(elsewhere.COMMANDS)} []"


def test_without_a_word_it_shows_its_help() -> None:
    assert "Not a medical device" in CliRunner().invoke(cli.app, []).output
    found = subprocess.run([sys.executable, "-m", "elsewhere", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("elsewhere ")


@pytest.mark.parametrize("behind", [True, False])
def test_options_of_every_command_stand_before_or_behind_it(behind: bool) -> None:
    words = ["plan", "--prevalence", "0.3", "--auc", "0.8"]
    result = CliRunner().invoke(cli.app, [*words, "--json"] if behind else ["--json", *words])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["exit_code"] == 0
    assert record["results"][0]["measure"] == "discrimination (AUC)"
    plain = CliRunner().invoke(cli.app, words)  # what was asked of one run is not asked of the next
    assert plain.stdout.startswith("measure")


def test_nothing_is_an_option_behind_two_dashes() -> None:
    result = CliRunner().invoke(cli.app, ["report", "--", "--json"])
    assert "--json: holds no study" in str(result.exception)


def test_quiet_says_results_and_errors_alone(capsys: pytest.CaptureFixture[str]) -> None:
    told = {}
    for name, words in {"loud": [], "quiet": ["--quiet"]}.items():
        engine.speak(engine.Voice())
        CliRunner().invoke(cli.app, ["plan", "--prevalence", "0.3", "--auc", "0.8", *words])
        engine.say("a remark")
        told[name] = "a remark" in capsys.readouterr().err
    assert told == {"loud": True, "quiet": False}
    engine.speak(engine.Voice())
    result = CliRunner().invoke(cli.app, ["--quiet", "--verbose", "plan", "--prevalence", "0.3"])
    assert result.exit_code == 2
    assert "say the opposite" in result.output


def test_a_log_keeps_what_is_said_with_its_time(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "run.log"
    words = ["plan", "--prevalence", "0.3", "--auc", "0.8", "--log-file", str(log)]
    CliRunner().invoke(cli.app, words)
    engine.say("a remark [not markup]", "Note:")
    engine.speak(engine.Voice())
    engine.say("a later remark")
    lines = log.read_text().splitlines()
    assert any(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d elsewhere ", line) for line in lines)
    assert any("Needed: " in line for line in lines)
    assert lines[-1].endswith("Note: a remark [not markup]")


def test_an_error_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    with pytest.raises(SystemExit, match="1"):
        _main(monkeypatch, "report", "nowhere", "--json", "--log-file", str(log))
    said = capsys.readouterr()
    record = json.loads(said.out)
    assert record["exit_code"] == 1
    assert (record["error"]["where"], record["error"]["what"]) == ("nowhere", "holds no study (study.json is missing)")
    assert said.err.startswith("elsewhere: nowhere: holds no study")
    assert "holds no study" in log.read_text()
    engine.speak(engine.Voice())


def test_a_traceback_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        _main(monkeypatch, "report", "nowhere", "--verbose")
    assert "Traceback" in capsys.readouterr().err
    engine.speak(engine.Voice())


@pytest.mark.parametrize("given", [["--site", "UTSW,Nowhere"], ["--site", "UTSW", "--site", "Nowhere"]])
def test_names_with_commas_between_or_repeated(given: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["simulate", str(tmp_path), *given])
    assert "--site Nowhere: is no simulated site" in str(result.exception)


@pytest.mark.parametrize("name", ["diagnose", "stress"])
@pytest.mark.parametrize("given", [["--models", "UTSW, Nobody"], ["--models", "UTSW", "--models", "Nobody"]])
def test_models_with_commas_between_or_repeated(tiny_study: Path, name: str, given: list[str]) -> None:
    result = CliRunner().invoke(cli.app, [name, str(tiny_study), *given])
    assert "'Nobody'" in str(result.exception)


TYPO = """
import sys
from elsewhere.cli import main
sys.argv = ["elsewhere", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print(end.code, [m for m in ("torch", "lightning", "matplotlib", "scipy", "numpy", "pydicom") if m in sys.modules])
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[training]\niteration = 5\n", "`training.iteration` is unknown. Did you mean `training.iterations`"),
        ("[splitt]\nfolds = 5\n", "`splitt` is unknown. Did you mean `split`"),
        ("[split]\nfold = 5\n", "`split.fold` is unknown. Did you mean `split.folds`"),
        ('[sites.B]\nkind = "dicom"\nroot = "b"\nlables = "l"\n', "`sites.B.lables` is unknown. Did you mean"),
    ],
)
def test_a_typo_in_a_study_file_is_met_before_anything_large_is_loaded(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('[sites.A]\nkind = "volumes"\nroot = "a"\n' + text)
    command = [sys.executable, "-c", TYPO, "study", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert words in done.stderr
    assert done.stdout.strip() == "1 []"


def test_a_mistyped_command_loads_nothing_large() -> None:
    done = subprocess.run([sys.executable, "-c", TYPO, "stduy", "x"], capture_output=True, text=True, check=True)
    assert "Did you mean 'study'" in done.stderr
    assert done.stdout.strip() == "2 []"


@pytest.mark.parametrize(
    "words",
    [
        ["view", "study.toml", "--hardest", "-1"],
        ["demo", "--seed", "-1"],
        ["demo", "--seeds", "0"],
        ["simulate", "out", "--patients", "0"],
        ["study", "study.toml", "--workers", "-2"],
        ["stress", "study.toml", "--scans", "-4"],
        ["audit", "study.toml", "--permutations", "0"],
        ["diagnose", "study.toml", "--permutations", "-1"],
        ["verdict", "study", "A", "scans", "--least-auc", "-3"],
        ["verdict", "study", "A", "scans", "--prevalence", "7"],
        ["recalibrate", "model.zip", "--threshold", "0.5", "--table", "t.csv"],
        ["plan", "--prevalence", "1.5"],
        ["plan", "--prevalence", "0.3", "--auc", "0.8", "--auc-width", "-0.1"],
        ["plan", "--prevalence", "0.3", "--auc", "0.8", "--scans-per-patient", "0"],
        ["plan", "--prevalence", "0.3", "--auc", "0.8", "--correlation", "5"],
        ["evaluate", "scores.csv", "--next", "-5"],
        ["evaluate", "scores.csv", "--least-sensitivity", "80"],
    ],
    ids=lambda words: " ".join(words[:1] + words[-2:]),
)
def test_negative_and_absurd_numbers_are_a_wrong_command_line(words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('[sites.A]\nkind = "volumes"\nroot = "a"\n')
    result = CliRunner().invoke(cli.app, [str(file) if word == "study.toml" else word for word in words])
    assert (result.exit_code, result.exception.__class__) == (2, SystemExit), result.output


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["elsewhere", *arguments])
    cli.main()


def test_a_users_error_is_one_paragraph(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        _main(monkeypatch, "prepare", "nowhere.toml")
    error = capsys.readouterr().err
    assert error.startswith("elsewhere: nowhere.toml: cannot be read (No such file or directory). Give the path")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("number", "said", "then"),
    [
        (errno.ENOSPC, "cannot be written", "Free space or choose another folder"),
        (errno.EFBIG, "cannot be written", "Free space or choose another folder"),
        (errno.EACCES, "cannot be written", "Choose a folder that you may write to"),
        (errno.EROFS, "cannot be written", "Choose a folder that you may write to"),
        (errno.ENAMETOOLONG, "too long a name", "Use shorter names"),
        (errno.EIO, "cannot be read or written", "Look at that file or folder"),
    ],
)
def test_what_the_system_refuses_says_what_to_do(
    number: int,
    said: str,
    then: str,
    tiny_study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "x.b2nd"))

    monkeypatch.setattr(files, "_fill", refuse)
    with pytest.raises(SystemExit, match="1"):
        _main(monkeypatch, "simulate", str(tmp_path / "out"), "--workers", "1")
    error = capsys.readouterr().err
    assert "x.b2nd" in error
    assert said in error
    assert then in error


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told_from_one_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "a").touch(mode=0)
    with pytest.raises(OSError, match="denied") as caught:
        (tmp_path / "a").read_bytes()
    assert "cannot be read (" in cli._explain(caught.value)


def test_ctrl_c_in_a_terminal_ends_a_study_at_once(tiny_study: Path, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    text = tiny_study.read_text()
    study = tiny_study.with_name("long.toml")
    study.write_text(re.sub(r"iterations = \d+", "iterations = 1000000", text))
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a suite in the background ignores it, and so would the study
        command = [sys.executable, "-c", "from elsewhere.cli import main; main()", "study", str(study)]
        os.execv(command[0], [*command, str(tmp_path / "out"), "--workers", "2"])
    shown, status = b"", None
    try:
        while b"Training" not in shown:
            shown += os.read(terminal, 10_000)
        os.write(terminal, b"\x03")
        with suppress(OSError):  # the terminal is gone with its last process
            while part := os.read(terminal, 10_000):
                shown += part
        _, status = os.waitpid(pid, 0)
    finally:
        if status is None:  # a study of a million iterations is not left behind
            os.killpg(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(status) == 130
    assert b"Stopped. Start the same command again to go on: finished work is kept" in shown
    assert not list(tmp_path.rglob("*.part"))


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from elsewhere.scans import store
path, limit = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
voxels = np.random.default_rng(0).integers(-1000, 1000, (20, 64, 64)).astype(np.int16)
try:
    store.write(path, voxels, {})
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [10, 4096, 100_000])
def test_a_disk_that_takes_no_more_leaves_no_half_file(limit: int, tmp_path: Path) -> None:
    pytest.importorskip("resource")  # the system's own limit on a file's size
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "a" / "x.b2nd"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert os.strerror(errno.EFBIG) in done.stdout
    assert list((tmp_path / "a").iterdir()) == []


def test_a_file_that_does_not_give_back_what_was_written_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.blosc2.asarray

    def lose(voxels: np.ndarray, **given: object) -> object:
        return real(np.zeros_like(voxels), **given)

    monkeypatch.setattr(store.blosc2, "asarray", lose)
    with pytest.raises(OSError, match="cannot be read back"):
        store.write(tmp_path / "a" / "x.b2nd", np.ones((2, 4, 4), np.int16), {})
    assert list((tmp_path / "a").iterdir()) == []

"""What `study` gives to who calls it: scores as typed rows, JSON, a table where pandas is, and an exit code."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elsewhere import cli
from elsewhere.errors import BadInstallation
from elsewhere.statistics.verdict import Verdict
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.records import SCORES
from elsewhere.studies.results import StudyResult

command = import_module("elsewhere.commands.study")


def test_scores_come_as_rows_and_as_json(finished_study: Path) -> None:
    result = StudyResult((finished_study,), finished_study / "report.html", ("UTSW",))
    assert result.exit_code == 30
    assert result.scores() == SCORES.read(Folder(finished_study).scores)
    record = json.loads(json.dumps(result.to_record()))
    assert [row["site"] for row in record["scores"]] == [row.site for row in result.scores()]
    assert StudyResult((finished_study,), None).exit_code == 0


@pytest.mark.parametrize("result", ["study", "verdict"])
def test_a_table_where_pandas_is_installed(finished_study: Path, result: str) -> None:
    found = StudyResult((finished_study,), None)
    answer = Verdict("nothing", "why", "what", False, 1, 1, 1, 0.5, "grid", 0.5)
    table, rows = (found.table, len(found.scores())) if result == "study" else (answer.table, 0)
    try:
        import pandas  # noqa: F401, PLC0415
    except ImportError:
        with pytest.raises(BadInstallation, match="pip install pandas"):
            table()
    else:
        assert len(table()) == rows


def test_commands_for_a_cluster_as_json(tiny_study_file: Path, tmp_path: Path) -> None:
    words = ["study", str(tiny_study_file), str(tmp_path / "run"), "--commands"]
    lines = CliRunner().invoke(cli.app, words).stdout.splitlines()
    record = json.loads(CliRunner().invoke(cli.app, [*words, "--json"]).stdout)
    assert record["commands"] == lines
    assert lines[0].startswith("elsewhere prepare")


def test_a_restart_puts_aside_what_was_trained_and_says_where(
    tiny_study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path / "run")
    folder.checkpoint("UTSW").parent.mkdir(parents=True)
    folder.checkpoint("UTSW").write_text("trained")
    there: list[bool] = []
    monkeypatch.setattr(command, "run_study", lambda *_: there.append(folder.model("UTSW").exists()))
    monkeypatch.setattr(command, "report", lambda *_: folder.root / "report.html")
    monkeypatch.setattr(command, "say_unlearned", lambda *_: ())
    assert load_study(tiny_study_file).models
    for restart in (False, True):
        command.study(tiny_study_file, folder.root, restart=restart)
    assert there == [True, False]
    assert "Put aside:" in capsys.readouterr().err
    assert (folder.root / "earlier" / "1" / "models" / "UTSW" / "checkpoint").read_text() == "trained"

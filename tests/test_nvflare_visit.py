"""A visit at two clients of NVFlare's simulator: what reaches the server is what a visit writes, where it may leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands.visit import visit
from elsewhere.studies.returned import read_return

ALLOWED = {"class_allow_list": ["nvflare.", "elsewhere.nvflare_visit"]}
SCANS = 'scans = "{scans}"\nwork = "{work}"\nkind = "volumes"\nhospital = "Mercy"\nagreed = {agreed}\n'


@pytest.mark.slow
@pytest.mark.skipif(find_spec("nvflare") is None, reason="needs the extra nvflare")
def test_every_client_runs_the_visit_and_only_what_may_leave_does(
    central_study: Path, hospital_scans: Path, tmp_path: Path
) -> None:
    kit, workspace = tmp_path / "kit.zip", tmp_path / "workspace"
    line = ["kit", str(central_study), "UTSW", "--out", str(kit), "--nvflare", str(tmp_path / "job")]
    assert CliRunner().invoke(app, line).exit_code == 0
    (workspace / "local").mkdir(parents=True)
    (workspace / "local" / "resources.json").write_text(json.dumps(ALLOWED))
    for name, agreed in (("site-1", "true"), ("site-2", "false")):
        here = SCANS.format(scans=hospital_scans, work=tmp_path / name, agreed=agreed)
        (tmp_path / f"{name}.toml").write_text(here)
    command = [sys.executable, "-m", "nvflare.private.fed.app.simulator.simulator", str(tmp_path / "job")]
    command += ["-w", str(workspace), "-n", "2", "-t", "2"]
    environment = {**os.environ, "ELSEWHERE_VISIT": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)
    sent = list(workspace.rglob("returns/*.json"))
    assert [file.name for file in sent] == ["site-1.json"], done.stdout[-2000:] + done.stderr[-2000:]
    assert "site-2: the return is kept at the client" in done.stdout + done.stderr
    assert (tmp_path / "site-1" / "return.json").read_bytes() == sent[0].read_bytes()
    assert (tmp_path / "site-2" / "return.json").is_file()
    out = tmp_path / "return.json"
    visit(kit, hospital_scans, kind="volumes", hospital="Mercy", out=out, work=tmp_path / "alone", yes=True, workers=1)
    alone, found = read_return(out), read_return(sent[0])
    assert replace(found, date=alone.date) == alone

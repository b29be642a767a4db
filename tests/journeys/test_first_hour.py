"""The first hours of two newcomers, typed as they would type them, on simulated scans, without internet.

A student with two folders of NIfTI and one table gets a page; an engineer with DICOM and a model gets a verdict.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from elsewhere import engine
from elsewhere.scans.phantom.planting import Simulation, write_sites
from elsewhere.scans.phantom.sites import default_sites
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

OFFLINE = """
import sys

def refuse(event, given):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and not isinstance(given[1], (str, bytes))):
        raise RuntimeError(f"this machine has no network: {event}")  # sockets of this machine's own files are none

sys.addaudithook(refuse)
"""
ENDS = {"elsewhere init": {0}, "elsewhere study": {0, 30}, "elsewhere verdict": {0, 10, 11, 12, 20, 21, 30}}
"""Exit codes that are no error, by command; 0 of the others."""


class Newcomer:
    """Types commands into a shell in one folder, on a machine without a network and without a graphics card."""

    def __init__(self, home: Path) -> None:
        self.home, self.typed = home, list[str]()
        hook = home / ".offline"
        hook.mkdir(parents=True)
        (hook / "sitecustomize.py").write_text(OFFLINE)
        path = os.pathsep.join(filter(None, [str(hook), os.environ.get("PYTHONPATH", "")]))
        self.world = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}

    def types(self, line: str) -> str:
        """What a command says; it must not end with an error."""
        self.typed.append(line)
        words = line.split()
        command = [sys.executable, "-m", "elsewhere", *words[1:]]
        done = subprocess.run(command, cwd=self.home, env=self.world, capture_output=True, text=True, check=False)
        assert done.returncode in ENDS.get(" ".join(words[:2]), {0}), f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr


def scans_of(root: Path, seed: int, patients: int) -> tuple[Path, Sequence[Scan]]:
    """A simulated hospital's DICOM, and its scans."""
    site = [s for s in default_sites() if s.name == "UTSW"]
    simulated = Simulation(seed, 64, 8.0, tuple(replace(s, patients=patients) for s in site))
    write_sites(simulated, root, engine.run)
    return root / "UTSW", reader("dicom").find(root / "UTSW", "UTSW").scans


def test_the_students_hour(tmp_path: Path) -> None:
    """Two folders of NIfTI and `ID,hospital,file,COVID,age,gender` to a page, and a look at one scan more."""
    home = Newcomer(tmp_path / "work")
    rows = ["ID,hospital,file,COVID,age,gender"]
    for number, (folder, hospital) in enumerate((("here", "Ulm"), ("there", "Graz"))):
        _, scans = scans_of(tmp_path / f"simulated{number}", seed=number + 1, patients=48)
        for i, scan in enumerate(scans):
            own = Scan(hospital, f"{hospital}{i:03d}", f"{hospital}{i:03d}", scan.label)
            reader("volumes").write(home.home / "ct" / folder, own, reader("dicom").read(scan))
            answer = "Y" if scan.label else "N"
            rows.append(f"{own.patient},{hospital},{own.scan}.nii.gz,{answer},{40 + i % 40},{'FM'[i % 2]}")
    (home.home / "all.csv").write_text("\n".join(rows) + "\n")

    said = home.types("elsewhere init ct/here ct/there --table all.csv --positive Y --small")
    assert "48 scans" in said
    assert "Not matched" not in said
    plan = home.types("elsewhere study study.toml --plan")
    assert "Nothing was run" in plan
    said = home.types("elsewhere study study.toml")
    page = home.home / "runs" / "study" / "report.html"
    assert "Results go to runs/study" in " ".join(said.split())
    text = page.read_text(encoding="utf-8")
    assert "Ulm" in text
    assert "Graz" in text
    assert "Not a medical device" in text
    home.types("elsewhere export runs/study Ulm ulm.zip")
    home.types("elsewhere predict ulm.zip ct/there --kind nifti --out scores.csv")
    assert len((home.home / "scores.csv").read_text().splitlines()) == 49
    assert len(home.typed) <= 6


def test_the_engineers_hour(tmp_path: Path, finished_study: Path) -> None:
    """A model and a folder of DICOM, no labels and no network: a verdict's page; with labels, another."""
    home = Newcomer(tmp_path / "work")
    scans_of(home.home / "pacs", seed=5, patients=30)
    table = home.home / "pacs" / "UTSW" / "labels.csv"
    given = table.read_bytes()
    table.unlink()
    exported = subprocess.run(
        [sys.executable, "-m", "elsewhere", "export", str(finished_study), "UTSW", str(home.home / "model.zip")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert exported.returncode == 0, exported.stderr

    said = home.types("elsewhere verdict model.zip pacs/UTSW")
    folder = home.home / "runs" / "model" / "verdicts" / "UTSW" / "UTSW"
    assert (folder / "verdict.html").is_file()
    assert json.loads((folder / "verdict.json").read_text())["estimated"] is True
    assert re.search(r"Prepared scans are kept in runs/model/verdicts/store \(patient data", " ".join(said.split()))
    (home.home / "labels.csv").write_bytes(given)
    home.types("elsewhere verdict model.zip pacs/UTSW --labels labels.csv --least-sensitivity 0.8 --json")
    record = json.loads((folder / "verdict.json").read_text())
    assert (record["estimated"], record["scans"]) == (False, 30)
    assert len(home.typed) <= 3

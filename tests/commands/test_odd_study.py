"""A finished study among odd files, under other settings, handed over, and with records that other programs saved."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands import stress as stress_command
from elsewhere.commands.study import run_study
from elsewhere.errors import BadStudy
from elsewhere.statistics.learned import Learned
from elsewhere.studies.folder import Folder, read_table
from tiny_sites import TINY_STUDY


@pytest.fixture(scope="module")
def home(tiny_sites: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Alice's: her sites, her study file and its results."""
    alice = tmp_path_factory.mktemp("home") / "alice"
    shutil.copytree(tiny_sites, alice / "ct")
    study = TINY_STUDY.replace(', ["COVID-CTset", "MosMedData"]', "")
    for name, kind in (("UTSW", "dicom"), ("COVID-CTset", "covid_ctset")):
        study += f'[sites.{name}]\nkind = "{kind}"\nroot = "ct/{name}"\n'
    (alice / "tiny.toml").write_text(study + "[split]\ntrain = 0.4\ntest = 0.45\n", encoding="utf-8")
    run_study(alice / "tiny.toml", Folder(alice / "out"), workers=1)
    return alice


@pytest.fixture
def alice(home: Path, tmp_path: Path) -> Path:
    """A copy of all of it for a test to change."""
    return Path(shutil.copytree(home, tmp_path / "alice"))


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def content(root: Path) -> dict[str, bytes]:
    files = (p for p in sorted(root.rglob("*")) if p.is_file() and "refused" not in p.parts)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


# A refused run ------------------------------------------------------------------------------------------------------


def other_seed(alice: Path) -> None:
    file = alice / "tiny.toml"
    file.write_text("seed = 5\n" + file.read_text(encoding="utf-8"), encoding="utf-8")


def other_patient(alice: Path) -> None:
    table = alice / "ct" / "UTSW" / "labels.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("P3,", "P4,", 1), encoding="utf-8")


def trained(alice: Path, iterations: int) -> None:
    file = alice / "tiny.toml"
    text = file.read_text(encoding="utf-8")
    assert "iterations = 6" in text
    file.write_text(text.replace("iterations = 6", f"iterations = {iterations}"), encoding="utf-8")


def shorter_training(alice: Path) -> None:
    trained(alice, 4)


def no_folder(alice: Path) -> None:
    (alice / "ct" / "UTSW").rename(alice / "away")


@pytest.mark.parametrize("change", [other_seed, other_patient, shorter_training, no_folder])
def test_a_run_that_is_refused_leaves_the_finished_one_as_it_was(alice: Path, change: Callable[[Path], None]) -> None:
    before = content(alice / "out")
    change(alice)
    refused = run("study", alice / "tiny.toml", alice / "out", "--workers", "1")
    assert (refused.exit_code, type(refused.exception).__mro__[1].__name__) == (1, "ElsewhereError")
    assert content(alice / "out") == before
    assert run("report", alice / "out").exit_code == 0


def test_a_longer_training_goes_on_and_is_scored_anew(alice: Path) -> None:
    trained(alice, 8)
    assert run("study", alice / "tiny.toml", alice / "out", "--workers", "1").exit_code in {
        0,
        30,
    }  # so short a training
    (curves,) = {path.read_text(encoding="utf-8") for path in (alice / "out" / "models").glob("*/curves.csv")}
    assert curves.splitlines()[-1].startswith("8,")
    identity = json.loads((alice / "out" / "study.json").read_text(encoding="utf-8"))
    assert identity["settings"]["training"]["iterations"] == 8
    assert run("report", alice / "out").exit_code == 0


def test_what_a_refused_run_found_cannot_pass_for_the_finished_ones(alice: Path) -> None:
    other_seed(alice)
    run("study", alice / "tiny.toml", alice / "out", "--workers", "1")
    shutil.copy(alice / "out" / "refused" / "scans.parquet", alice / "out" / "scans.parquet")
    told = run("report", alice / "out")
    assert isinstance(told.exception, BadStudy)
    assert "scans" in str(told.exception)


# Odd files ----------------------------------------------------------------------------------------------------------


def litter(root: Path) -> None:
    """What lies about in folders of hospitals: links, pipes, damage, names that no text holds, a file without end."""
    whole = next(root.rglob("*.dcm"))
    for name, content in (("sparse", whole.read_bytes()), ("zeros", bytes(128) + b"DICM" + bytes(900))):
        (root / f"{name}.dcm").write_bytes(content)
        with (root / f"{name}.dcm").open("r+b") as file:
            file.truncate(20_000_000_000)
    (root / "loop").symlink_to("loop")
    (root / "gone.dcm").symlink_to("nowhere")
    os.mkfifo(root / "pipe.dcm")
    (root / "empty.dcm").touch()
    (root / "noise.dcm").write_bytes(np.random.default_rng(0).bytes(3000))
    Path(os.fsdecode(os.fsencode(root) + b"/M\xfcller.dcm")).write_bytes(b"broken")


def test_every_command_survives_odd_files_as_prepare_does(alice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def learned(_: Folder, models: Mapping[str, Any]) -> dict[str, Learned]:
        return dict.fromkeys(models, Learned(0.9, 0.8, 1.0, 0.9, 0.5, 1.0, 40, (), ()))

    monkeypatch.setattr(stress_command, "learned_models", learned)
    file, out, root = alice / "tiny.toml", alice / "out", alice / "ct" / "UTSW"
    scan = next(row["scan"] for row in read_table(Folder(out).scans) if row["site"] == "UTSW")
    litter(root)
    assert run("prepare", file, out, "--workers", "1").exit_code == 0
    with (out / "bad_scans.csv").open(encoding="utf-8", newline="") as table:
        listed = {Path(row["path"]).name: row["reason"] for row in csv.DictReader(table)}
    assert set(listed) >= {"loop", "gone.dcm", "empty.dcm", "sparse.dcm", "zeros.dcm"}
    assert "20,000,000,000 bytes for 1 images" in listed["sparse.dcm"]
    page = ["--page", alice / "p.html"]
    assert run("view", file, out, "--scan", f"UTSW/{scan}", "--grid", "original", *page).exit_code == 0
    stressed = run("stress", file, out, "--shifts", "noise", "--scans", "4", "--workers", "1")
    assert (stressed.exit_code, stressed.exception) == (0, None)
    (root / "labels.csv").rename(alice / "labels.csv")
    asked = run("verdict", out, "UTSW", root, "--out", alice / "v", "--workers", "1")
    assert asked.exit_code == 21, asked.output
    record = json.loads((alice / "v" / "verdict.json").read_text(encoding="utf-8"))
    assert {Path(bad["scan"]).name for bad in record["bad_scans"]} >= {"loop", "empty.dcm", "sparse.dcm", "zeros.dcm"}


# Handed over --------------------------------------------------------------------------------------------------------


def test_a_study_reached_through_a_link_is_whole_without_it(alice: Path, tmp_path: Path) -> None:
    """Prepared through a link, its records lead nowhere through it."""
    (tmp_path / "link").symlink_to(alice)
    assert run("prepare", tmp_path / "link" / "tiny.toml", tmp_path / "link" / "out", "--workers", "1").exit_code == 0
    (tmp_path / "link").unlink()
    rows = read_table(Folder(alice / "out").scans)
    assert {row["file"].startswith("../store/") for row in rows} == {True}
    assert run("report", alice / "out").exit_code == 0


def test_nothing_is_written_where_a_study_was_copied_from(alice: Path, tmp_path: Path) -> None:
    shutil.copytree(alice / "out", tmp_path / "given" / "out")  # without its store
    before = content(alice)
    assert run("report", tmp_path / "given" / "out").exit_code == 0
    root = tmp_path / "new"
    shutil.copytree(alice / "ct" / "UTSW", root)
    run("verdict", tmp_path / "given" / "out", "UTSW", root, "--workers", "1")
    assert (tmp_path / "given" / "out" / "verdicts" / "store").is_dir()
    assert content(alice) == before


def test_a_site_that_the_study_file_lost_is_named(alice: Path) -> None:
    file, out = alice / "tiny.toml", alice / "out"
    scan = next(row["scan"] for row in read_table(Folder(out).scans) if row["site"] == "COVID-CTset")
    head, _, rest = file.read_text(encoding="utf-8").partition("[sites.COVID-CTset]")
    file.write_text(head + "[split]" + rest.partition("[split]")[2], encoding="utf-8")
    told = run("view", file, out, "--scan", f"COVID-CTset/{scan}", "--grid", "original")
    assert "has no site 'COVID-CTset'. Sites of its study file: UTSW" in str(told.exception)


# Records that other programs saved ----------------------------------------------------------------------------------


def test_a_list_of_bad_scans_that_excel_saved_is_read_and_another_table_is_not(alice: Path) -> None:
    path = alice / "out" / "bad_scans.csv"
    row = 'UTSW,s1,/home/alice/s1.dcm,"cut short, at 5 bytes",Copy it again'
    path.write_text(f"site,scan,path,reason,next_step\n{row}\n")
    assert run("report", alice / "out").exit_code == 0
    path.write_text("\ufeffsite;scan;path;reason;next_step\r\nUTSW;s1;x;cut short;Copy\r\n", encoding="utf-8")
    assert run("report", alice / "out").exit_code == 0
    assert "cut short" in (alice / "out" / "report.html").read_text(encoding="utf-8")
    path.write_text("a,b\n1,2\n")
    told = run("report", alice / "out").exception
    assert isinstance(told, BadStudy)
    assert "lacks the columns site, scan" in told.what
    assert "Run `elsewhere prepare` again" in told.next_step


@pytest.mark.parametrize("damage", [lambda t: t.replace(",", "x", 1), lambda t: t + "9,a,b,c,d\n", None])
def test_a_changed_curve_is_told_with_its_file(alice: Path, damage: Callable[[str], str] | None) -> None:
    path = alice / "out" / "models" / "UTSW" / "curves.csv"
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage(path.read_text()))
    told = run("report", alice / "out").exception
    assert isinstance(told, BadStudy)
    assert told.where == str(path)
    assert "run `elsewhere study` to train it anew" in told.next_step


# Personal data ------------------------------------------------------------------------------------------------------


def test_no_page_names_the_folders_above_a_site(alice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, root = alice / "out", alice / "new hospital"
    assert run("report", out).exit_code == 0
    scan = next(row["scan"] for row in read_table(Folder(out).scans) if row["site"] == "UTSW")
    words = ["view", str(alice / "tiny.toml"), str(out), "--scan", f"UTSW/{scan}", "--page", str(alice / "p.html")]
    monkeypatch.setattr("sys.argv", ["elsewhere", *words])
    assert run(*words).exit_code == 0
    assert f"elsewhere view tiny.toml out --scan UTSW/{scan} --page p.html" in (alice / "p.html").read_text()
    shutil.copytree(alice / "ct" / "COVID-CTset", alice / "covid")
    shutil.copytree(alice / "ct" / "UTSW", root)
    (root / "labels.csv").unlink()
    (root / "loop").symlink_to("loop")
    for dicom in root.rglob("*.dcm"):
        if dicom.parent.name == "P5":
            dicom.write_bytes(dicom.read_bytes()[:700])
        else:  # another patient than the study's
            dicom.write_bytes(dicom.read_bytes()[:-2] + b"\x11\x04")
    run("verdict", out, "UTSW", root, "--workers", "1")
    pages = [out / "report.html", alice / "p.html", *(p for p in out.rglob("verdicts/UTSW/*/*") if p.is_file())]
    assert {p.name for p in pages} == {"report.html", "p.html", "verdict.html", "verdict.json", "scans.csv"}
    for page in pages:
        assert "alice" not in page.read_text(encoding="utf-8"), page
    told = (out / "verdicts" / "UTSW" / "new hospital" / "scans.csv").read_text(encoding="utf-8")
    assert "new hospital/loop" in told

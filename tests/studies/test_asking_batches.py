"""A study asks a program about several scans at once: a bad scan, what is kept, parts, verdicts, dying workers."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from drawn_chests import SCANS, write_sites
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands.study import run_study, study
from elsewhere.model.declared import CommandModel, Declared
from elsewhere.scans.scan import Scan
from elsewhere.studies.asking import Question, ask_models, together
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.products import read_products
from elsewhere.studies.records import ProductRow, usable_rows

SHARE = """
import array, gzip, os, sys
from pathlib import Path
given, out, here = map(Path, sys.argv[1:])

def share(scan):
    hu = array.array("h", gzip.decompress(scan.read_bytes())[352:])
    return (sum(hu) % 9973) / 10000  # of this scan and no other

scans = sorted(given.iterdir())
with (here / "calls.txt").open("a") as log:
    print(len(scans), file=log)
rows = [f"{scan.name},{share(scan)}" for scan in reversed(scans)]
"""
WRITE = "(out / 'scores.csv').write_text('\\n'.join(['scan,score', *rows]) + '\\n')\n"
"""Rows of 14 scans a site; what stands between decides what goes wrong."""


def write_study(root: Path, models: str) -> Path:
    file = root / "study.toml"
    file.write_text(
        'combinations = []\n[training]\nthreads = 1\naccelerator = "cpu"\n[evaluation]\nresamples = 20\n'
        + write_sites(root / "sites")
        + models
    )
    return file


def model(name: str, program: str, batch: str = "") -> str:
    run = f"run = \"'{sys.executable}' {program} {{in}} {{out}} .\""
    return f'[models.{name}]\nkind = "command"\nallow_code = true\nthreshold = 0.5\n{run}\n{batch}\n'


def rows_of(folder: Folder, name: str) -> dict[str, ProductRow]:
    return {row.scan: row for row in read_products(folder) if row.model == name}


def calls(root: Path) -> list[int]:
    """How many scans each call of the program was given, since this was last asked."""
    log = root / "calls.txt"
    found = list(map(int, log.read_text().split())) if log.is_file() else []
    log.unlink(missing_ok=True)
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Folder]:
    """A program asked scan by scan and the same asked about all of a site, which leaves out the last one there."""
    root = tmp_path_factory.mktemp("batches")
    (root / "one.py").write_text(SHARE + "rows = [row.split(',')[1] for row in rows]\n" + WRITE.replace("scan,", ""))
    (root / "all.py").write_text(SHARE + "rows = rows[1:] if len(rows) > 2 else rows\n" + WRITE)
    file = write_study(root, model("One", "one.py") + model("All", "all.py", 'batch = "all"'))
    study(file, root / "runs", workers=1)
    return file, Folder(root / "runs")


def test_the_same_scores_in_two_calls_as_in_one_for_each_scan(ran: tuple[Path, Folder]) -> None:
    assert sorted(calls(ran[0].parent)) == [1] * 2 * SCANS + [SCANS] * 2
    alone, together = rows_of(ran[1], "One"), rows_of(ran[1], "All")
    lost = [scan for scan, row in together.items() if row.probability is None]
    assert len(lost) == 2
    assert all(together[scan].reason == "All left no answer to this scan" for scan in lost)
    kept = [scan for scan in alone if scan not in lost]
    assert [together[scan].probability for scan in kept] == [alone[scan].probability for scan in kept]
    assert len({alone[scan].probability for scan in kept}) > SCANS


def test_answers_are_kept_for_each_scan_whatever_the_batch(ran: tuple[Path, Folder]) -> None:
    """What got no answer is asked again, alone or with others; what has one is not, with any other batch."""
    file, folder = ran
    calls(file.parent)
    text = file.read_text()
    try:
        file.write_text(text.replace('batch = "all"', "batch = 3"))
        run_study(file, folder, workers=1)
        assert calls(file.parent) == [1, 1]  # one scan of each site
    finally:
        file.write_text(text)
        run_study(file, folder, workers=1)
    assert calls(file.parent) == []
    assert all(row.probability is not None for row in rows_of(folder, "All").values())


def test_parts_of_scans_are_asked_about_together(ran: tuple[Path, Folder]) -> None:
    file, folder = ran
    plan = load_study(file)
    models = [one for one in plan.products if isinstance(one, CommandModel)]
    rows = [row for row in usable_rows(folder) if row.site == "A"][:6]
    calls(file.parent)
    found = ask_models(plan, folder, rows, models, 1, part="lungs_erased")
    assert sorted(calls(file.parent)) == [1] * 6 + [6]
    answered = [row.scan for row in rows if found["All", "A", row.scan].probability is not None]
    assert len(answered) == 5
    assert all(found["All", "A", scan] == found["One", "A", scan] for scan in answered)
    assert {found["All", "A", scan].probability for scan in answered} != {
        rows_of(folder, "All")[scan].probability for scan in answered
    }


def test_a_verdict_asks_about_all_scans_of_a_new_site_at_once(ran: tuple[Path, Folder], tmp_path: Path) -> None:
    file, folder = ran
    here = tmp_path / "here.toml"
    here.write_text(f'[sites.Ward]\nkind = "volumes"\nroot = "{file.parent / "sites" / "B"}"\n')
    calls(file.parent)
    words = ["verdict", str(folder.root), "All", str(here), "--out", str(tmp_path / "v"), "--workers", "1"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code != 1, result.output
    assert calls(file.parent) == [SCANS]
    with (tmp_path / "v" / "scores.csv").open() as table:
        rows = {row["scan"]: row for row in csv.DictReader(table)}
    assert [row["refused"][:22] for row in rows.values() if row["refused"]] == ["All left no answer to "]
    known = {row.scan: row.probability for row in rows_of(folder, "One").values() if row.site == "B"}
    assert {scan: float(row["score"]) for scan, row in rows.items() if row["score"]}.items() <= known.items()


def test_one_scan_that_a_program_cannot_take_costs_no_other(tmp_path: Path) -> None:
    """The program crashes on a call with the brightest scan of A; batches without it are not asked again."""
    known = "reference = Path(here / 'sites' / 'A' / 'A5.nii.gz')\nbad = share(reference)\n"
    crash = f"{known}if bad in map(share, scans): sys.exit('no')\n"
    (tmp_path / "crash.py").write_text(SHARE + crash + WRITE)
    file = write_study(tmp_path, model("Crash", "crash.py", "batch = 5"))
    folder = Folder(tmp_path / "runs")
    run_study(file, folder, workers=1)
    rows = rows_of(folder, "Crash")
    (lost,) = (scan for scan, row in rows.items() if row.probability is None)
    assert lost.startswith("A5")
    assert rows[lost].reason == "Crash ended with exit code 1; the end of what it wrote: 'no'"
    assert len(rows) == 2 * SCANS
    assert sorted(calls(tmp_path)) == sorted([5, 5, 4, 5, 5, 4, *[1] * 5])


def test_groups_hold_the_scans_of_one_site_and_one_model() -> None:
    one, many, every = (
        CommandModel(name=str(batch), run="x {in} {out}", allow_code=True, batch=batch)  # type: ignore[arg-type]
        for batch in (1, 2, "all")
    )

    def asked(site: str, number: int, *models: Declared) -> Question:
        given = tuple((m, "sha", Path(f"{m.name} {site}{number}")) for m in models)
        return Question("volumes", Scan(site, "p", f"{site}{number}", 1), "", given, "cpu")

    questions = [asked("A", i, one, many, every) for i in range(3)] + [asked("B", 0, one, every), asked("B", 1, many)]
    groups = [[(m[0].name, q.scan.scan) for q in group for m in q.models] for group in together(questions)]
    assert groups == [
        *([("1", name)] for name in ("A0", "A1", "A2", "B0")),
        [("2", "A0"), ("2", "A1")],
        [("2", "A2")],
        [("all", "A0"), ("all", "A1"), ("all", "A2")],
        [("all", "B0")],
        [("2", "B1")],
    ]


@pytest.mark.slow
def test_a_worker_that_dies_of_a_batch_is_not_the_end_of_its_scans(tmp_path: Path) -> None:
    """The program kills the process that asks it, where it is asked about several scans: each is then asked alone."""
    (tmp_path / "killer.py").write_text(SHARE + "if len(scans) > 1: os.kill(os.getppid(), 9)\n" + WRITE)
    file = write_study(tmp_path, model("Killer", "killer.py", 'batch = "all"'))
    folder = Folder(tmp_path / "runs")
    run_study(file, folder, workers=1)
    assert all(row.probability is not None for row in rows_of(folder, "Killer").values())

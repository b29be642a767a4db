"""`elsewhere visit`: the numbers of the study itself, without network, and nothing that tells of a single scan."""

from __future__ import annotations

import json
import math
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands.study import run_study
from elsewhere.commands.visit import visit
from elsewhere.errors import BadCheckpoint, BadOption, BadSite, BadStudy
from elsewhere.studies.folder import Folder
from elsewhere.studies.kit import make_kit, read_kit
from elsewhere.studies.predictions import read_predictions
from elsewhere.studies.records import read_identity, read_scores
from elsewhere.studies.returned import read_return
from elsewhere.studies.sent import read_sent
from new_sites import write_new_site, write_secret_site

MODELS = ["UTSW", "COVID-CTset+MosMedData"]


@pytest.fixture(scope="module")
def hospital(hospital_scans: Path) -> Path:
    return hospital_scans


@pytest.fixture(scope="module")
def central(central_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: a kit leaves a record in its study's folder."""
    return Path(shutil.copytree(central_study, tmp_path_factory.mktemp("central") / "out"))


@pytest.fixture(scope="module")
def kit(central: Path) -> Path:
    make_kit(Folder(central), MODELS, "", central.parent / "kit.zip")
    return central.parent / "kit.zip"


@pytest.fixture(scope="module")
def returned(kit: Path, hospital: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("returned")
    visit(
        kit, hospital, kind="volumes", hospital="Mercy", out=out / "return.json", work=out / "work", yes=True, workers=1
    )
    return out / "return.json"


def asked(kit: Path, folder: Path, tmp_path: Path, *words: str) -> Any:
    line = ["visit", str(kit), str(folder), "--kind", "volumes", "--workers", "1", "--yes"]
    work = kit.parent if folder.name == "ward" else tmp_path  # scans of the one hospital are prepared once
    line += ["--out", str(tmp_path / "return.json"), "--work", str(work / "work"), *words]
    return CliRunner().invoke(app, line)


def test_every_number_is_that_of_the_study(central: Path, returned: Path) -> None:
    found, folder = read_return(returned), Folder(central)
    rows = {
        r.model: r
        for r in read_scores(folder, read_identity(folder))
        if (r.site, r.threshold_reading) == ("Mercy", "model")
    }
    assert [cell.model for cell in found.cells] == MODELS
    for cell in found.cells:
        ours, theirs = vars(rows[cell.model]), vars(cell.score)
        assert set(theirs) == set(ours) - {"model", "site", "made_from"}
        for name, value in theirs.items():
            if isinstance(value, float):
                assert math.isclose(value, ours[name], rel_tol=1e-12, abs_tol=1e-12), name
            else:
                assert value == ours[name], name
        assert cell.score.auc_dropout_sd > 0
        assert cell.score.scans == 48


def test_nothing_tells_of_a_single_scan(finished_study: Path, tiny_study_file: Path, tmp_path: Path) -> None:
    """Ids, paths and UIDs that cannot stand in a file by chance, and every score that a model gave a scan."""
    kit, root = tmp_path / "kit.zip", tmp_path / "hospital-secret-folder" / "ct"
    for name in ("out", "store"):
        shutil.copytree(finished_study.parent / name, tmp_path / name)
    make_kit(Folder(tmp_path / "out"), MODELS, "", kit)
    secrets = write_secret_site(root, scans=40, seed=7)
    secrets |= {"hospital-secret-folder", "work-secret-folder", str(tmp_path)}
    tables = f'[sites.visit]\nkind = "dicom"\nroot = "{root}"\nuse = "test"\n'
    (tmp_path / "tiny.toml").write_text(tiny_study_file.read_text() + tables)
    run_study(tmp_path / "tiny.toml", Folder(tmp_path / "out"), workers=1)  # its trainings are kept
    visit(
        kit, root, kind="dicom", out=tmp_path / "return.json", work=tmp_path / "work-secret-folder", yes=True, workers=1
    )
    scores = [
        value
        for model in MODELS
        for value in read_predictions(Folder(tmp_path / "out").predictions(model, "visit")).probabilities.tolist()
    ]
    assert len(scores) > 2 * 40
    content = (tmp_path / "return.json").read_text()
    assert [s for s in secrets if s in content] == []
    assert [s for s in scores if repr(s) in content or f"{s:.5f}" in content] == []
    assert not re.search(r"1\.2\.\d+\.\d+\.\d+", content)
    assert "93" not in {str(v) for v in numbers(json.loads(content))}  # the age of the oldest patient
    assert read_return(tmp_path / "return.json").hospital.startswith("hospital-")
    assert len(content) <= 10_000 * len(MODELS)


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [n for one in value.values() for n in numbers(one)]
    if isinstance(value, list):
        return [n for one in value for n in numbers(one)]
    return [value] if isinstance(value, int | float) else []


def test_what_is_shown_is_what_leaves(kit: Path, hospital: Path, tmp_path: Path) -> None:
    result = asked(kit, hospital, tmp_path, "--hospital", "Mercy")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    written = json.loads((tmp_path / "return.json").read_text())
    assert {name: value for name, value in written.items() if name not in {"checksum", "format", "record"}} == shown
    assert "All that would leave is above, and no more." in result.stderr
    assert "Not protected:" in result.stderr


def test_curves_are_coarse(returned: Path) -> None:
    for cell in read_return(returned).cells:
        steps = np.diff(np.array(cell.roc), axis=0)
        assert len(steps) >= 1
        assert (steps >= 5).all()
        assert cell.roc[0] == (0, 0)
        assert cell.roc[-1] == (24, 24)


@pytest.mark.parametrize(("scans", "leaves"), [(18, False), (20, True)])
def test_a_class_of_fewer_than_ten_patients_leaves_counts_alone(
    kit: Path, tmp_path: Path, scans: int, leaves: bool
) -> None:
    result = asked(kit, write_new_site(tmp_path / "small", scans=scans), tmp_path)
    assert result.exit_code == 0, result.output
    found = read_return(tmp_path / "return.json")
    assert (found.counts.positive_patients, found.counts.negative_patients) == (scans // 2, scans // 2)
    assert all((cell.score is not None) == leaves and bool(cell.roc) == leaves for cell in found.cells)
    assert ((found.aucs is not None), bool(found.rules)) == (leaves, leaves)
    assert ("counts alone" in result.stderr) != leaves
    if not leaves:
        assert [n for n in numbers(json.loads(result.stdout)) if isinstance(n, float)] == []


def test_one_class_has_no_ranking(kit: Path, tmp_path: Path) -> None:
    root = write_new_site(tmp_path / "sick", scans=30)
    lines = (root / "labels.csv").read_text().splitlines()
    (root / "labels.csv").write_text(
        "\n".join([lines[0], *(line for line in lines[1:] if "positive" in line or ",1" in line)])
    )
    result = asked(kit, root, tmp_path)
    assert result.exit_code == 0, result.output
    found = read_return(tmp_path / "return.json")
    assert (found.counts.positives, found.counts.negatives) == (15, 0)
    assert found.aucs is None
    assert found.rules == ()
    for cell in found.cells:
        assert cell.score is not None
        assert (cell.score.auc, cell.score.specificity, cell.roc) == (None, None, ())
        assert cell.score.sensitivity is not None


def test_bad_scans_copies_and_known_scans_are_counted_and_not_named(
    kit: Path, central: Path, tiny_sites: Path, tmp_path: Path
) -> None:
    root = write_new_site(tmp_path / "mixed", scans=30)
    (root / "Q4.nii.gz").write_bytes(b"no volume")
    result = asked(kit, root, tmp_path)
    assert result.exit_code == 0, result.output
    found = read_return(tmp_path / "return.json")
    assert (found.counts.scans, found.counts.unusable, found.counts.copies) == (29, 1, 0)
    assert "Q4" not in (tmp_path / "return.json").read_text()
    assert "Q4" in result.stderr
    words = ["visit", str(kit), str(tiny_sites / "UTSW"), "--kind", "dicom", "--workers", "1", "--yes"]
    words += ["--out", str(tmp_path / "known.json"), "--work", str(tmp_path / "known")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    known = read_return(tmp_path / "known.json").counts
    scans = json.loads((central / "audit.json").read_text())["counts"]
    learned = sum(row["scans"] for row in scans if row["site"] == "UTSW" and row["subset"] != "test")
    assert (known.learned_from, known.scans) == (learned, 24 - learned)


def test_two_visits_give_the_same_numbers_and_the_same_name(kit: Path, hospital: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert asked(kit, hospital, tmp_path / name).exit_code == 0
    one, other = (read_return(tmp_path / name / "return.json") for name in ("a", "b"))
    assert one == other
    assert re.fullmatch("hospital-[0-9a-f]{6}", one.hospital)


def test_a_return_that_differs_from_an_earlier_one_in_a_few_scans_is_warned_of(kit: Path, tmp_path: Path) -> None:
    """One scan more is one too few; the same scans, and many others, are nothing to warn of."""
    root, said = tmp_path / "clinic", []
    for scans, out in ((20, "a.json"), (20, "b.json"), (21, "c.json"), (30, "d.json")):
        write_new_site(root, scans=scans)
        result = asked(kit, root, tmp_path, "--out", str(tmp_path / out))
        assert result.exit_code == 0, result.output
        said.append(" ".join(result.stderr.split()))
    warned = [text.count("Send only one of them") for text in said]
    assert warned == [0, 0, 2, 0]
    assert (
        "is of scans that differ from these in 1 scan: whoever holds both can work out the score of that scan"
        in said[2]
    )
    assert len(read_sent(tmp_path / "work" / "returns_written.json")) == 4


def test_numbers_may_be_cut(kit: Path, hospital: Path, returned: Path, tmp_path: Path) -> None:
    assert asked(kit, hospital, tmp_path, "--digits", "4").exit_code == 0
    found = numbers(json.loads((tmp_path / "return.json").read_text()))
    assert all(float(f"{n:.4g}") == n for n in found if isinstance(n, float))
    whole = numbers(json.loads(returned.read_text()))
    assert any(float(f"{n:.4g}") != n for n in whole if isinstance(n, float))
    assert asked(kit, hospital, tmp_path / "x", "--digits", "2").exit_code == 2


def test_without_a_terminal_and_without_yes_nothing_is_computed(kit: Path, hospital: Path, tmp_path: Path) -> None:
    line = ["visit", str(kit), str(hospital), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "return.json")]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 2
    assert "this is no terminal" in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 10)])
def test_in_a_terminal_it_asks(kit: Path, hospital: Path, tmp_path: Path, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    line = ["visit", str(kit), str(hospital), "--kind", "volumes", "--workers", "1", "--out", str(tmp_path / "r.json")]
    process = subprocess.Popen(
        [sys.executable, "-m", "elsewhere", *line, "--work", str(kit.parent / "work")],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, f"{answer}\n".encode())
    _, said = process.communicate(timeout=200)
    os.close(ours)
    os.close(theirs)
    assert "Write exactly this to" in said
    assert (process.returncode, (tmp_path / "r.json").exists()) == (code, code == 0), said
    assert ("Nothing was written." in said) == (code != 0)


def test_without_network(kit: Path, hospital: Path, returned: Path, tmp_path: Path) -> None:
    alone = [shutil.which("unshare") or "unshare", "--net", "--map-root-user"]
    tried = (
        subprocess.run([*alone, "true"], capture_output=True, text=True, check=False)
        if shutil.which("unshare")
        else None
    )
    if tried is None or tried.returncode:
        pytest.skip(f"no network namespace here: {tried.stderr.strip() if tried else 'unshare is not installed'}")
    line = ["visit", str(kit), str(hospital), "--kind", "volumes", "--hospital", "Mercy", "--workers", "1", "--yes"]
    line += ["--out", str(tmp_path / "return.json"), "--work", str(tmp_path / "work")]
    done = subprocess.run(
        [*alone, sys.executable, "-m", "elsewhere", *line], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = read_return(tmp_path / "return.json"), read_return(returned)
    assert ours.counts == theirs.counts
    for name in ("cells", "aucs", "rules"):
        pairs = list(zip(numbers(plain(getattr(ours, name))), numbers(plain(getattr(theirs, name))), strict=True))
        assert len(pairs) > 3
        assert all(math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12) for a, b in pairs), name


def plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return {name: plain(one) for name, one in vars(value).items()} if hasattr(value, "__dict__") else value


def test_what_cannot_end_well_is_refused_first(kit: Path, hospital: Path, returned: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="is there already"):
        visit(kit, hospital, kind="volumes", out=returned, yes=True)
    with pytest.raises(BadOption, match="Use letters, digits"):
        visit(kit, hospital, kind="volumes", hospital="a/b", out=tmp_path / "r.json", yes=True)
    with pytest.raises(BadSite, match="no such folder"):
        visit(kit, tmp_path / "absent", kind="volumes", out=tmp_path / "r.json", work=tmp_path / "w", yes=True)
    content = bytearray(kit.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "kit.zip").write_bytes(bytes(content))
    with pytest.raises(BadCheckpoint):
        visit(
            tmp_path / "kit.zip",
            hospital,
            kind="volumes",
            out=tmp_path / "r.json",
            work=tmp_path / "w",
            yes=True,
            workers=1,
        )
    assert not (tmp_path / "r.json").exists()


def test_scans_without_a_label_are_refused(kit: Path, tmp_path: Path) -> None:
    root = write_new_site(tmp_path / "unlabelled", scans=20)
    lines = (root / "labels.csv").read_text().splitlines()
    (root / "labels.csv").write_text("\n".join([lines[0], *(line.rpartition(",")[0] + "," for line in lines[1:])]))
    with pytest.raises((BadStudy, BadSite), match="label"):
        visit(kit, root, kind="volumes", out=tmp_path / "r.json", work=tmp_path / "w", yes=True, workers=1)


def test_a_kit_made_for_a_hospital_names_it(central: Path, hospital: Path, tmp_path: Path) -> None:
    make_kit(Folder(central), ["UTSW"], "St. Mary", tmp_path / "kit.zip")
    assert read_kit(tmp_path / "kit.zip").hospital == "St. Mary"
    result = asked(tmp_path / "kit.zip", hospital, tmp_path, "--hospital", "Mercy")
    assert result.exit_code == 2
    assert asked(tmp_path / "kit.zip", hospital, tmp_path).exit_code == 0
    assert read_return(tmp_path / "return.json").hospital == "St. Mary"

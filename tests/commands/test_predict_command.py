"""`elsewhere predict` of new scans: the network's own numbers, as CSV and JSON, one bad scan a row, no label needed."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands.predict import predict, predict_new
from elsewhere.errors import BadInstallation, BadOption, BadSite, BadStudy
from elsewhere.studies.exported import write_model
from elsewhere.studies.folder import Folder, read_table
from elsewhere.studies.known_model import Adjustment, trained_model
from elsewhere.studies.new_site import new_site
from new_sites import write_new_site


@pytest.fixture
def study(finished_study: Path, tmp_path: Path) -> Path:
    """A copy, so that what is prepared here does not lie in the study of other tests."""
    return Path(shutil.copytree(finished_study.parent, tmp_path / "runs")) / finished_study.name


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_on_the_standard_output_and_nothing_else(study: Path, tmp_path: Path) -> None:
    root = write_new_site(tmp_path / "new", labelled=False)
    result = CliRunner().invoke(app, ["predict", str(study), "UTSW", str(root), "--kind", "volumes", "--workers", "1"])
    assert result.exit_code == 0, result.output
    rows = rows_of(result.stdout)
    assert [r["scan"] for r in rows] == sorted(f"Q{i}.nii.gz" for i in range(24))
    point = trained_model(study, "UTSW").point
    assert {r["call"] for r in rows} <= {"0", "1"}
    calls = {r["scan"]: float(r["probability"]) >= point.threshold for r in rows}
    assert {r["scan"]: r["call"] == "1" for r in rows} == calls
    assert "24 scans predicted. Research use only." in result.stderr


def test_the_probabilities_are_those_of_the_study(study: Path, tiny_sites: Path) -> None:
    found = predict_new(trained_model(study, "UTSW"), new_site(tiny_sites / "CC-CCII", "cc_ccii"), workers=1)
    known = [r for r in read_table(Folder(study).predictions("UTSW", "CC-CCII")) if r["pass"] == -1]
    ours = {r.scan: r.probability for r in found.scans}
    assert len(known) > 3
    assert {r["scan"]: r["probability"] for r in known} == {r["scan"]: ours[r["scan"]] for r in known}


def test_one_bad_scan_is_a_row_with_its_reason(study: Path, tmp_path: Path) -> None:
    root = write_new_site(tmp_path / "new", labelled=False)
    (root / "Q3.nii.gz").write_bytes(b"no volume")
    words = ["predict", str(study / "models" / "UTSW"), str(root), "--kind", "volumes", "--workers", "1"]
    for out in (tmp_path / "p.csv", tmp_path / "p.json"):
        assert CliRunner().invoke(app, [*words, "--out", str(out)]).exit_code == 0
    rows = rows_of((tmp_path / "p.csv").read_text())
    record = json.loads((tmp_path / "p.json").read_text())
    assert len(rows) == len(record["scans"]) == 24
    (bad,) = (r for r in rows if r["reason_not_used"])
    assert "Q3" in bad["scan"] + bad["reason_not_used"]
    assert bad["probability"] == bad["call"] == ""
    (same,) = (r for r in record["scans"] if r["reason_not_used"])
    assert same["probability"] is None
    assert record["disclaimer"].startswith("Research use only")


def test_a_folder_without_any_scan_stops(study: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.nii.gz").write_bytes(b"no volume")
    with pytest.raises(BadSite, match="no scan can be used; the first"):
        predict(study, "UTSW", str(tmp_path / "new"), kind="volumes", workers=1)


def test_an_exported_model_says_the_same_and_an_adjusted_one_another_call(study: Path, tmp_path: Path) -> None:
    root = write_new_site(tmp_path / "new", labelled=False)
    known = trained_model(study, "UTSW")
    ours = predict(study, "UTSW", str(root), kind="volumes", workers=1)
    write_model(tmp_path / "m.zip", known)
    theirs = predict(tmp_path / "m.zip", str(root), kind="volumes", workers=1)
    assert ours is not None
    assert theirs is not None
    assert [r.probability for r in theirs.scans] == [r.probability for r in ours.scans]
    middle = sorted(r.probability for r in ours.scans)[12]
    change = Adjustment(middle)
    write_model(tmp_path / "n.zip", replace(known, adjustment=change))
    moved = predict(tmp_path / "n.zip", str(root), kind="volumes", workers=1)
    assert moved is not None
    assert [row[3] for row in moved.rows()] == [r.probability for r in ours.scans]
    assert [row[4] for row in moved.rows()] == [int(r.probability >= middle) for r in ours.scans]
    assert 0 < sum(int(row[4] or 0) for row in moved.rows()) < 24


def test_scans_unlike_any_that_it_has_seen_are_told(study: Path, tmp_path: Path) -> None:
    root = write_new_site(tmp_path / "new", labelled=False)
    found = predict_new(trained_model(study, "UTSW"), new_site(root, "volumes"), workers=1)
    assert found.warnings == ()
    known = replace(trained_model(study, "UTSW"), metadata={"slice_spacing_mm": (0.5, 1.0)})
    strange = predict_new(known, new_site(root, "volumes"), workers=1)
    assert strange.warnings == ("slice_spacing_mm is 8 in the middle scan, the known sites reach from 0.5 to 1.",)


def test_a_scan_that_it_learned_from_is_predicted_with_a_remark(study: Path, tiny_sites: Path) -> None:
    found = predict_new(trained_model(study, "UTSW"), new_site(tiny_sites / "UTSW", "dicom"), workers=1)
    assert len(found.scans) == 24
    told = {r.scan for r in found.scans if any("is a copy of UTSW" in note for note in r.notes)}
    learned = {r["scan"] for r in read_table(Folder(study).scans) if r["site"] == "UTSW" and r["subset"] != "test"}
    assert told == learned


def test_a_site_of_the_study_is_predicted_into_its_folder(study: Path, tiny_study_file: Path) -> None:
    path = Folder(study).predictions("UTSW", "CC-CCII")
    before = path.read_bytes()
    path.unlink()
    assert predict(tiny_study_file, "UTSW", "CC-CCII", study) is None
    assert path.read_bytes() == before


def test_what_it_refuses(study: Path, tmp_path: Path) -> None:
    root = write_new_site(tmp_path / "new", labelled=False, scans=2)
    with pytest.raises(BadOption, match=r"--out is .*p\.xlsx"):
        predict(study, "UTSW", str(root), out=tmp_path / "p.xlsx", kind="volumes")
    with pytest.raises(BadStudy, match="the folder of the scans is not given"):
        predict(study, "UTSW")
    with pytest.raises(BadStudy, match="has no model 'nonsense'"):
        predict(study, "nonsense", str(root))
    with pytest.raises(BadStudy, match=r"study\.json is missing"):
        predict(tmp_path / "new", "UTSW", str(root))


def test_a_pandas_table_where_pandas_is_installed(study: Path, tmp_path: Path) -> None:
    root = write_new_site(tmp_path / "new", labelled=False, scans=2)
    found = predict(study, "UTSW", str(root), kind="volumes", workers=1)
    assert found is not None
    try:
        import pandas  # noqa: F401, PLC0415
    except ImportError:
        with pytest.raises(BadInstallation, match="pip install pandas"):
            found.table()
    else:
        assert list(found.table().scan) == ["Q0.nii.gz", "Q1.nii.gz"]

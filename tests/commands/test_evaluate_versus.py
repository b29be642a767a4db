"""`elsewhere evaluate --versus`: the page, the record, the exit code, and options that need each other."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app

ASAH = Path(__file__).parents[1] / "golden" / "asah.csv"


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


def write(path: Path, shift: float = 0.0, gap: float = 2.6, scans: int = 400, label: bool = True) -> Path:
    random = np.random.default_rng(5)
    labels = np.arange(scans) % 2
    scores = 1 / (1 + np.exp(-(random.normal(size=scans) + gap * (labels - 0.5) + shift)))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scan", "kernel", "score", *(["label"] if label else [])])
        for i in range(scans):
            writer.writerow([f"s{i}", ("soft", "sharp")[i // 2 % 2], scores[i], *([labels[i]] if label else [])])
    return path


def compared(folder: Path) -> dict[str, Any]:
    (found,) = json.loads((folder / "evaluation.json").read_text())["versus"]["findings"]
    return found


def test_two_markers_of_one_table_give_what_r_prints(tmp_path: Path) -> None:
    said = ("--score", "wfns", "--label", "outcome", "--positive", "Poor", "--scale", "higher-is-sicker")
    result = run(ASAH, *said, "--versus", ASAH, "--versus-score", "s100b", "--out", tmp_path)
    assert result.exit_code == 20, result.output
    auc = compared(tmp_path)["differences"][0]
    assert (auc["new"], auc["old"], auc["p_value"]) == pytest.approx((0.823678862, 0.731368564, 0.027175782), abs=1e-9)
    assert auc["difference"]["low"] == pytest.approx(0.0104061769564846, abs=1e-12)


def test_an_update_that_is_worse_ends_with_14_and_says_so_on_the_page(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old.csv", label=False), write(tmp_path / "new.csv", gap=2.0, shift=-1.2)
    said = ("--versus", old, "--threshold", 0.5, "--margin", 0.05, "--least-sensitivity", 0.2, "--least-auc", 0.7)
    result = run(new, *said, "--least-specificity", 0.2, "--out", tmp_path / "out")
    assert result.exit_code == 14, result.output
    assert "worse than the old one by more than the margin of 0.05: sensitivity" in result.stdout
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "Against the version before" in page
    assert "Proposed, found without labels and not yet checked" in page
    assert "positive now missed" in page
    found = compared(tmp_path / "out")
    assert [s["level"] for s in found["shifts"]] == ["all scans", "sharp", "soft"]
    assert found["realignment"]["proposed"]


def test_the_same_version_is_not_worse(tmp_path: Path) -> None:
    new = write(tmp_path / "new.csv")
    result = run(new, "--versus", new, "--threshold", 0.5, "--margin", 0.05)
    assert result.exit_code == 0, result.output
    assert "is not worse than the old one by 0.05 or more" in result.stdout
    assert "No decision flipped." in (tmp_path / "new-evaluation" / "evaluation.html").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--margin", 0.1), "need --versus"),
        (("--versus", "old.csv", "--margin", 1.5), "--margin must be above 0 and below 1, is 1.5"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, words: tuple[object, ...], says: str) -> None:
    result = run(write(tmp_path / "new.csv"), *words)
    assert result.exit_code == 2
    assert says in " ".join(result.output.replace("│", " ").split())


def test_a_score_column_that_the_old_table_lacks_is_an_error(tmp_path: Path) -> None:
    new = write(tmp_path / "new.csv")
    result = run(new, "--versus", new, "--versus-score", "nonsense")
    assert result.exit_code == 1
    assert "has no column 'nonsense'" in str(result.exception)


def test_without_a_version_before_the_page_does_not_speak_of_one(tmp_path: Path) -> None:
    assert run(write(tmp_path / "new.csv"), "--threshold", 0.5).exit_code == 0
    assert "Against the version before" not in (tmp_path / "new-evaluation" / "evaluation.html").read_text()
    assert "versus" not in json.loads((tmp_path / "new-evaluation" / "evaluation.json").read_text())

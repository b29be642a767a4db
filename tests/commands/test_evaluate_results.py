"""`elsewhere evaluate --results`: DICOM structured reports judged as a table with the same scores is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app

sys.path.insert(0, str(Path(__file__).parents[1] / "scans"))
from reports import PROBABILITY, group, number, write_report


@pytest.mark.parametrize("percent", [False, True])
def test_reports_and_a_table_with_the_same_scores_say_the_same(tmp_path: Path, percent: bool) -> None:
    (tmp_path / "sr").mkdir()
    random = np.random.default_rng(5)
    labels = np.arange(80) % 2
    scores = (1 / (1 + np.exp(-(random.normal(size=80) + 3 * (labels - 0.5))))).round(4)
    unit = ("%", "UCUM", "%") if percent else ("1", "UCUM", "no units")
    times = 100 if percent else 1
    for i, score in enumerate(scores):
        groups = [group(number(PROBABILITY, f"{score * times:.6g}", unit))]
        write_report(tmp_path / "sr" / f"{i}.dcm", groups, series=[f"1.2.{i}"], study=f"1.3.{i}", patient=f"p{i}")
    (tmp_path / "labels.csv").write_text("scan,label\n" + "".join(f"1.3.{i},{y}\n" for i, y in enumerate(labels)))
    rows = "".join(f"1.3.{i},p{i},{s:.6g},{y}\n" for i, (s, y) in enumerate(zip(scores, labels, strict=True)))
    (tmp_path / "scores.csv").write_text("scan,patient,score,label\n" + rows)
    stated = ["--scale", "probability"]  # as the unit of a report in percent states it
    by_table = CliRunner().invoke(app, ["evaluate", str(tmp_path / "scores.csv"), "--threshold", "0.5", *stated])
    words = ["--results", str(tmp_path / "sr"), "--labels", str(tmp_path / "labels.csv")]
    by_report = CliRunner().invoke(
        app, ["evaluate", *words, "--threshold", str(0.5 * times), *([] if percent else stated)]
    )
    assert by_report.exit_code == by_table.exit_code, by_report.output
    a, b = (json.loads((tmp_path / f"{n}-evaluation" / "evaluation.json").read_text()) for n in ("scores", "sr"))
    for name in ("auc", "sensitivity", "specificity"):
        assert b["findings"][0][name]["estimate"] == pytest.approx(a["findings"][0][name]["estimate"], abs=1e-12)
    assert b["product"] == "sr"
    assert (tmp_path / "sr-evaluation" / "results.csv").is_file()


def test_either_a_table_or_reports(tmp_path: Path) -> None:
    for words in ([], ["a.csv", "--results", str(tmp_path)]):
        result = CliRunner().invoke(app, ["evaluate", *words])
        assert result.exit_code == 2
        assert "takes either a table of scores, or a folder" in " ".join(result.output.split())

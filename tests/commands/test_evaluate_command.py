"""`elsewhere evaluate` on small tables: files, printed words, exit codes, findings, versions, a study's own cell."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.errors import BadTable
from elsewhere.scans.score_table import read_score_table
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.score import score_cell
from elsewhere.studies.evaluation import evaluate_table, load_claims


def write(path: Path, scans: int = 300, gap: float = 2.6, **columns: Any) -> Path:
    """A table of binormal scores; `columns` replace or add."""
    random = np.random.default_rng(7)
    labels = np.arange(scans) % 3 == 0
    scores = 1 / (1 + np.exp(-(random.normal(size=scans) + gap * (labels - 0.5))))
    table: dict[str, Any] = {
        "Scan": [f"s{i}" for i in range(scans)],
        "Patient ID": [f"p{i // 2}" for i in range(scans)],
        "AI score": [repr(float(s)) for s in scores],
        "COVID": ["yes" if y else "no" for y in labels],
        **columns,
    }
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return found


def test_a_table_becomes_a_page_a_record_cells_and_an_exit_code(tmp_path: Path) -> None:
    result = run(write(tmp_path / "lung.csv"), "--threshold", 0.5, "--prevalence", 0.05, "--name", "Lung & Co")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "It works here: every requirement is met."
    out = tmp_path / "lung-evaluation"
    said = record(out)
    assert (said["exit_code"], said["product"], said["scale"], said["stated_scale"]) == (
        0,
        "Lung & Co",
        "probability",
        False,
    )
    assert said["columns"]["score"] == "AI score"
    (finding,) = said["findings"]
    assert finding["flow"]["scans"] == 300
    assert finding["values"][1]["prevalence"]["estimate"] == 0.05
    html = (out / "evaluation.html").read_text(encoding="utf-8")
    assert "Does Lung &amp; Co work on these scans?" in html
    assert "Not a medical device" in html
    assert pq.read_table(out / "cells.parquet").num_rows == 1


def test_the_cell_is_the_studys(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv")
    table = read_score_table(file, threshold=0.4)
    evaluate_table(table, name="a", out=tmp_path / "out")
    (cell,) = pq.read_table(tmp_path / "out" / "cells.parquet").to_pylist()
    point = OperatingPoint(0.4, "grid", "model", 0.9, 50)
    wanted = score_cell(table.label, table.patient, table.score, operating_point=point).to_record()
    for name, value in wanted.items():
        if isinstance(value, int | float):
            assert cell[name] == pytest.approx(value, abs=1e-12), name


def test_what_was_read_is_confirmed_in_print(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table = read_score_table(write(tmp_path / "a.csv"))
    evaluate_table(table, name="a", out=tmp_path / "out")
    said = " ".join("".join(capfd.readouterr()).split())
    assert "score = 'AI score'; label = 'COVID'; patient = 'Patient ID'; scan = 'Scan'" in said
    assert "300 rows, probabilities, 0 to 1 (assumed)" in said


@pytest.mark.parametrize(
    ("options", "gap", "code"),
    [
        (("--threshold", "0.5"), 2.6, 0),
        (("--threshold", "0.9"), 2.6, 10),
        (("--threshold", "0.5"), 0.5, 11),
        (("--threshold", "0.5"), -2.6, 12),
        ((), 2.6, 20),
        (("--threshold", "0.5", "--least-auc", "0.96"), 2.6, 20),
        (("--threshold", "0.5", "--least-sensitivity", "1.5"), 2.6, 2),
        (("--scale", "raw"), 2.6, 2),
        (("--prevalence", "5"), 2.6, 2),
    ],
)
def test_exit_codes(tmp_path: Path, options: tuple[str, ...], gap: float, code: int) -> None:
    result = run(write(tmp_path / "a.csv", gap=gap), *options)
    assert result.exit_code == code, result.output


def test_a_false_claim_ends_with_13_and_a_true_one_does_not(tmp_path: Path) -> None:
    claim = tmp_path / "claim.toml"
    claim.write_text('source = "brochure"\n[auc]\nvalue = 0.99\nlow = 0.98\nhigh = 0.995\n')
    result = run(write(tmp_path / "a.csv", gap=1.8), "--threshold", 0.5, "--claim", claim)
    assert result.exit_code == 13
    assert "Not as claimed." in result.stdout
    assert "surely lower than claimed" in result.stdout
    claim.write_text("[auc]\nvalue = 0.9\nn = 400\n[sensitivity]\nvalue = 0.8\n")
    assert run(write(tmp_path / "a.csv", gap=1.8), "--threshold", 0.5, "--claim", claim).exit_code != 13


def test_bad_claims_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "claim.toml").write_text("[auc]\nvalue = 94\n")
    with pytest.raises(BadTable, match=r"claim\.toml: auc\.value must be above 0 and at most 1, is 94"):
        load_claims(tmp_path / "claim.toml")
    (tmp_path / "claim.toml").write_text("auc = = 1")
    with pytest.raises(BadTable, match=r"claim\.toml: "):
        load_claims(tmp_path / "claim.toml")
    with pytest.raises(BadTable, match="cannot be read"):
        load_claims(tmp_path / "none.toml")


def test_one_section_for_each_finding_and_version_and_the_worst_one_decides(tmp_path: Path) -> None:
    half = {"finding": ["nodule"] * 150 + ["effusion"] * 150, "version": ["1.0", "2.0"] * 150}
    file = write(tmp_path / "a.csv", **half)
    run(file, "--threshold", 0.5)
    names = [f["name"] for f in record(tmp_path / "a-evaluation")["findings"]]
    assert names == ["nodule · 1.0", "nodule · 2.0", "effusion · 1.0", "effusion · 2.0"]
    scores = np.random.default_rng(0).random(300).round(4).astype(str).tolist()
    file = write(tmp_path / "b.csv", **{"AI score": scores, "finding": half["finding"]})
    result = run(file, "--threshold", 0.5)
    assert result.exit_code == max(f["exit_code"] for f in record(tmp_path / "b-evaluation")["findings"]) > 0


def test_a_degenerate_product_is_said_to_be_one(tmp_path: Path) -> None:
    result = run(write(tmp_path / "a.csv", **{"AI score": ["0.31"] * 300}), "--threshold", 0.5)
    assert result.exit_code == 20
    assert "All 300 scores are the same (0.31): the product is degenerate here." in result.stdout


def test_lower_is_sicker_is_told_in_the_files_own_numbers(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    lower = [f"{v:.3f}" for v in 50 + 10 * (random.normal(size=300) - 2.6 * (np.arange(300) % 3 == 0))]
    run(write(tmp_path / "a.csv", **{"AI score": lower}), "--scale", "lower-is-sicker", "--threshold", 37)
    (finding,) = record(tmp_path / "a-evaluation")["findings"]
    assert finding["auc"]["estimate"] > 0.9
    own = [w for w in finding["what_if"] if w["own"]]
    assert [w["shown"] for w in own] == ["at or below 37"]


def test_log_odds_beyond_what_a_probability_holds_are_told_all_the_same(tmp_path: Path) -> None:
    far = [str(60 * (i % 3 == 0) - 30 * (i % 2)) for i in range(300)]
    result = run(write(tmp_path / "a.csv", **{"AI score": far}), "--scale", "logit", "--threshold", 900)
    assert result.exit_code in {0, 10, 11, 20}, result.output


def test_a_bad_table_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    result = run(write(tmp_path / "a.csv", COVID=["yes"] * 300))
    assert isinstance(result.exception, BadTable)
    assert not (tmp_path / "a-evaluation").exists()


def test_the_printed_command_holds_every_option_and_no_folder_of_this_machine(tmp_path: Path) -> None:
    table = write(tmp_path / "lung.csv")
    out = tmp_path / "private" / "page"
    run(table, "--threshold", 0.5, "--least-auc", 0.7, "--out", out)
    page = (out / "evaluation.html").read_text(encoding="utf-8")
    assert "elsewhere evaluate lung.csv --threshold 0.5 --least-auc 0.7 --out page" in page
    assert str(tmp_path) not in page


def test_a_version_without_an_answer_is_told_and_does_not_end_well(tmp_path: Path) -> None:
    """Version 4.2 crashes on all of its scans: what 4.1 reaches says nothing of it."""
    versions = ["4.1"] * 300 + ["4.2"] * 90
    random = np.random.default_rng(7)
    labels = np.arange(390) % 3 == 0
    scores = 1 / (1 + np.exp(-(random.normal(size=390) + 2.6 * (labels - 0.5))))
    told = [repr(float(s)) if v == "4.1" else "" for s, v in zip(scores, versions, strict=True)]
    columns = {"AI score": told, "version": versions, "Patient ID": [f"p{i}" for i in range(390)]}
    result = run(write(tmp_path / "two.csv", 390, **columns), "--threshold", 0.5)
    assert "4.1: It works here" in result.stdout
    assert "4.2: 90 rows, and not one with both a score and a label." in " ".join(result.output.split())
    assert result.exit_code == 20
    assert any("4.2: 90 rows" in remark for remark in record(tmp_path / "two-evaluation")["remarks"])


def test_what_one_positive_word_makes_negative_is_listed(tmp_path: Path) -> None:
    words = ["COVID" if i % 3 == 0 else "pending" if i % 3 == 1 else "normal" for i in range(300)]
    result = run(write(tmp_path / "words.csv", COVID=words), "--threshold", 0.5, "--positive", "COVID")
    said = " ".join(result.output.split())
    assert "Taken as negative, because only 'COVID' is positive: 'pending' (100), 'normal' (100)." in said

"""`elsewhere evaluate --keep` and `elsewhere history`: acceptance, updates on frozen scans, new scans, refusals."""

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
from elsewhere.errors import ElsewhereError


def write(path: Path, first: int = 0, gap: float = 2.6, scans: int = 200, seed: int = 1, **columns: Any) -> Path:
    """A table of binormal scores of the scans s`first`, …; `columns` replace or add, None leaves one out."""
    random = np.random.default_rng([seed, first])
    labels = np.arange(scans) % 2
    scores = 1 / (1 + np.exp(-(random.normal(size=scans) + gap * (labels - 0.5))))
    table: dict[str, Any] = {
        "scan": [f"s{first + i}" for i in range(scans)],
        "patient": [f"p{first + i}" for i in range(scans)],
        "score": [repr(float(s)) for s in scores],
        "label": labels,
    } | columns
    table = {name: values for name, values in table.items() if values is not None}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


def keep(folder: Path, table: Path, release: str, date: str, *words: object) -> Any:
    options = ["--keep", folder / "product", "--release", release, "--date", date, *words]
    return CliRunner().invoke(app, ["evaluate", str(table), *map(str, options)])


def history(folder: Path) -> Any:
    return CliRunner().invoke(app, ["history", str(folder / "product")])


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder with an acceptance test."""
    result = keep(tmp_path, write(tmp_path / "a.csv"), "4.1", "2026-01-10", "--threshold", 0.5, "--name", "Lung")
    assert result.exit_code == 0, result.output
    return tmp_path


def test_acceptance_update_and_new_scans_make_one_page(begun: Path) -> None:
    update = keep(begun, write(begun / "b.csv", seed=2, label=None), "4.2", "2026-02-10")
    assert update.exit_code == 0, update.output
    fresh = keep(begun, write(begun / "c.csv", first=1000), "4.2", "2026-03-10")
    assert fresh.exit_code == 0, fresh.output
    result = history(begun)
    assert result.exit_code == 0, result.output
    assert "No alarm after 3 evaluations" in result.stdout
    folder = begun / "product"
    rows = pq.read_table(folder / "history.parquet").to_pylist()
    assert [(r["kind"], r["version"]) for r in rows] == [("acceptance", "4.1"), ("update", "4.2"), ("new scans", "4.2")]
    page = (folder / "history.html").read_text(encoding="utf-8")
    assert "Is Lung still what was accepted?" in page
    assert 'href="2026-02-10%204.2/evaluation.html"' in page
    assert (folder / "2026-02-10 4.2" / "evaluation.html").is_file()
    versus = json.loads((folder / "2026-02-10 4.2" / "evaluation.json").read_text())["versus"]
    assert versus["findings"][0]["common"] == 200


def test_a_worse_update_ends_with_14_and_an_accepted_one_after_it_ends_the_alarm(begun: Path) -> None:
    keep(begun, write(begun / "b.csv", gap=0.8, seed=2), "4.2", "2026-02-10")
    result = history(begun)
    assert result.exit_code == 14
    assert "Version 4.2 (2026-02-10) is worse than the first one on the frozen scans" in result.stdout
    keep(begun, write(begun / "c.csv", seed=3), "4.3", "2026-03-10")
    assert history(begun).exit_code == 0


def test_a_product_that_falls_on_new_scans_is_stopped(begun: Path) -> None:
    for month in (2, 3, 4):
        keep(begun, write(begun / "b.csv", first=1000 * month, gap=0.6), "4.1", f"2026-0{month}-10")
    result = history(begun)
    assert result.exit_code == 12
    assert result.stdout.startswith("Stop: ")
    page = (begun / "product" / "history.html").read_text(encoding="utf-8")
    assert "Stop: below what is required" in page


def test_frozen_scans_must_be_whole_and_labelled_alike(begun: Path) -> None:
    for table, says in (
        (write(begun / "few.csv", scans=190), "holds 190 of the 200 frozen scans; not there: s190, s191, s192, …"),
        (write(begun / "more.csv", scans=210), "holds 10 labelled scans beside the 200 frozen ones"),
        (write(begun / "other.csv", label=1 - np.arange(200) % 2), "200 frozen scans have another label"),
    ):
        result = keep(begun, table, "4.2", "2026-02-10")
        assert isinstance(result.exception, ElsewhereError), result.output
        assert says in str(result.exception)
    assert not (begun / "product" / "2026-02-10 4.2").exists()


def test_a_refused_scan_of_an_update_is_a_row_with_a_reason(begun: Path) -> None:
    refused = ["too thin" if i < 20 else "" for i in range(200)]
    scores = ["" if r else "0.9" if i % 2 else "0.1" for i, r in enumerate(refused)]
    result = keep(begun, write(begun / "b.csv", score=scores, refused=refused), "4.2", "2026-02-10")
    assert not isinstance(result.exception, ElsewhereError), result.exception
    rows = pq.read_table(begun / "product" / "history.parquet").to_pylist()
    assert rows[1]["no_answer"] == 0.1


def test_a_scan_counts_once(begun: Path) -> None:
    keep(begun, write(begun / "b.csv", first=1000), "4.1", "2026-02-10")
    result = keep(begun, write(begun / "c.csv", first=1199), "4.1", "2026-03-10")
    assert "1 of its scans were evaluated on 2026-02-10 already (s1199)" in str(result.exception)
    same = keep(begun, begun / "b.csv", "4.1", "2026-02-10")
    assert "evaluated on 2026-02-10 already" in str(same.exception)


def test_what_was_agreed_stands(tmp_path: Path) -> None:
    keep(tmp_path, write(tmp_path / "a.csv"), "1", "2026-01-10", "--threshold", 0.5, "--least-auc", 0.85)
    later = write(tmp_path / "b.csv", first=1000)
    result = keep(tmp_path, later, "1", "2026-02-10", "--least-auc", 0.7)
    assert "--least-auc is 0.85 since the first evaluation, and 0.7 now" in str(result.exception)
    assert keep(tmp_path, later, "1", "2026-02-10").exit_code == 0
    record = json.loads((tmp_path / "product" / "2026-02-10 1" / "evaluation.json").read_text())
    demands = [r["demand"] for r in record["findings"][0]["requirements"]]
    assert any("0.85" in d for d in demands)
    early = keep(tmp_path, write(tmp_path / "c.csv", first=2000), "1", "2026-01-31")
    assert "the last evaluation is of 2026-02-10" in str(early.exception)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--release", "1"), "--release and --date need --keep"),
        (("--keep", "product", "--out", "there"), "--keep decides where the page lies"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(write(tmp_path / "a.csv")), *words])
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())


def test_a_version_must_be_known_and_one(tmp_path: Path) -> None:
    for columns, words, says in (
        ({}, [], "says no version of the product"),
        ({"version": ["1", "2"] * 100}, [], "holds 2 versions (1, 2)"),
        ({"version": ["1"] * 200}, ["--release", "2"], "holds version 1, but --release is 2"),
    ):
        table = write(tmp_path / "a.csv", **columns)
        result = CliRunner().invoke(app, ["evaluate", str(table), "--keep", str(tmp_path / "p"), *words])
        assert says in str(result.exception)


def test_a_folder_without_a_history_is_an_error(tmp_path: Path) -> None:
    result = history(tmp_path)
    assert "keeps no evaluation of a product" in str(result.exception)


def test_a_damaged_record_is_an_error(begun: Path) -> None:
    file = begun / "product" / "2026-01-10 4.1" / "scans.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    assert "is damaged" in str(history(begun).exception)


def test_several_findings_have_a_course_each(tmp_path: Path) -> None:
    finding = ["nodule", "effusion"] * 100
    labels = (np.arange(200) // 2) % 2
    scores = np.where(labels == 1, 0.8, 0.2) + np.random.default_rng(0).normal(size=200) * 0.05
    columns = {"finding": finding, "label": labels, "score": scores.clip(0, 1).tolist()}
    keep(tmp_path, write(tmp_path / "a.csv", **columns), "1", "2026-01-10", "--threshold", 0.5)
    record = json.loads((tmp_path / "product" / "history.json").read_text())
    assert [f["finding"] for f in record["findings"]] == ["nodule", "effusion"]

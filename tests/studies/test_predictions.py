"""Predictions as columns and on disk."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elsewhere.errors import BadScan, BadStudy
from elsewhere.model.sample import Case
from elsewhere.studies.folder import write_table
from elsewhere.studies.predictions import (
    PREDICTIONS,
    PredictionRow,
    join_predictions,
    prediction_rows,
    read_predictions,
    write_predictions,
)
from study_rows import a_prediction


def make_rows() -> list[PredictionRow]:
    case = Case("utsw", "p", "s300", 1, 300, -1000, 400)
    return prediction_rows("utsw", "test", case, np.array([0.2, 0.7, 0.1]), np.array([0.6, 0.8]))


def test_rows_of_one_scan() -> None:
    rows = make_rows()
    assert [(row.dropout_pass, row.probability) for row in rows] == [(-1, 0.7), (0, 0.6), (1, 0.8)]
    assert {row.windows for row in rows} == {3}


def test_table_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "predictions" / "utsw" / "cc_ccii.parquet"
    write_predictions(path, make_rows())
    assert PREDICTIONS.read(path) == make_rows()
    assert pq.read_schema(path).names == [
        "model", "site", "subset", "patient", "scan", "label", "windows", "pass", "probability",
    ]  # fmt: skip
    assert os.listdir(path.parent) == ["cc_ccii.parquet"]


def test_columns_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = [
        a_prediction(subset=subset, scan=f"s{i}", patient=f"p{i}", label=i % 2, dropout_pass=turn, probability=0.1 * i)
        for subset, turns in (("validation", (-1,)), ("test", (1, -1, 0)))
        for turn in turns
        for i in range(3)
    ]
    write_predictions(tmp_path / "p.parquet", rows)
    found = read_predictions(tmp_path / "p.parquet")
    assert (len(found), len(found.subset("test")), len(found.deterministic)) == (12, 9, 6)
    single = found.subset("test").deterministic
    assert single.scans.tolist() == ["s0", "s1", "s2"]
    assert single.labels.tolist() == [0, 1, 0]
    assert single.people.tolist() == ["A/p0", "A/p1", "A/p2"]
    assert len(join_predictions([single, found])) == 15
    assert found.subset("validation").dropout_table.shape == (0, 3)
    assert len(found.subset("train").people) == 0


def test_dropout_passes_stand_in_the_order_of_the_scans(tmp_path: Path) -> None:
    """Whatever the order of the rows; a pass that a scan lacks is not a number."""
    passes = {("a", -1): 0.5, ("b", -1): 0.6, ("b", 1): 0.7, ("a", 0): 0.1, ("b", 0): 0.2}
    rows = [a_prediction(scan=scan, dropout_pass=turn, probability=p) for (scan, turn), p in passes.items()]
    write_predictions(tmp_path / "p.parquet", rows)
    np.testing.assert_array_equal(read_predictions(tmp_path / "p.parquet").dropout_table, [[0.1, 0.2], [np.nan, 0.7]])


@pytest.mark.parametrize("probability", [float("nan"), -0.1, 1.5])
def test_wrong_probabilities_are_not_written(tmp_path: Path, probability: float) -> None:
    rows = [replace(make_rows()[0], probability=probability)]
    with pytest.raises(BadScan, match=f"utsw: s300: the probability of model utsw is {probability}, expected 0 to 1"):
        write_predictions(tmp_path / "p.parquet", rows)
    assert not list(tmp_path.iterdir())


def test_missing_and_damaged_tables(tmp_path: Path) -> None:
    with pytest.raises(BadStudy, match=r"p\.parquet: does not exist\. Run `elsewhere study` again"):
        read_predictions(tmp_path / "p.parquet")
    (tmp_path / "p.parquet").write_bytes(b"nonsense")
    with pytest.raises(BadStudy, match=r"p\.parquet.*Run `elsewhere study` again"):
        read_predictions(tmp_path / "p.parquet")


def test_other_columns_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"scan": ["a"]}), tmp_path / "p.parquet")
    with pytest.raises(BadStudy, match=r"p\.parquet: has no column 'model'\. Run `elsewhere study` again"):
        read_predictions(tmp_path / "p.parquet")


def test_predictions_of_the_present_release_are_read(tmp_path: Path) -> None:
    """They say nothing of their format."""
    row = {"model": "A", "site": "A", "subset": "test", "patient": "p", "scan": "s", "label": 1}
    write_table(tmp_path / "p.parquet", [row | {"windows": 1, "pass": -1, "probability": 0.25}])
    assert PREDICTIONS.read(tmp_path / "p.parquet") == [PredictionRow("A", "A", "test", "p", "s", 1, 1, -1, 0.25)]

"""`elsewhere recalibrate`: a given threshold, a verdict's advice, labelled scans, a table; what then uses it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands.predict import predict
from elsewhere.commands.recalibrate import recalibrate
from elsewhere.commands.verdict import verdict
from elsewhere.errors import BadOption, BadStudy, BadTable
from elsewhere.files import csv_text
from elsewhere.studies.exported import read_model, write_model
from elsewhere.studies.known_model import trained_model
from elsewhere.studies.verdict_record import VERDICT
from new_sites import write_new_site


@pytest.fixture
def model(finished_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The exported model of the tiny study, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model.zip", trained_model(finished_study, "UTSW"))
    return tmp_path / "model.zip"


def test_a_given_threshold(model: Path, tmp_path: Path) -> None:
    before = model.read_bytes()
    result = CliRunner().invoke(app, ["recalibrate", str(model), "--threshold", "0.31"])
    assert result.exit_code == 0, result.output
    changed = read_model(tmp_path / "model-recalibrated.zip")
    assert changed.point.threshold == 0.31
    assert changed.home_point == read_model(model).home_point
    assert model.read_bytes() == before
    assert "Adjusted: positive from 0.31" in result.output


@pytest.mark.parametrize("value", ["0", "1", "-0.5", "1.5", "nan"])
def test_an_absurd_threshold_is_refused(model: Path, value: str) -> None:
    result = CliRunner().invoke(app, ["recalibrate", str(model), "--threshold", value])
    assert result.exit_code == 2
    assert "must be above 0 and below 1" in result.output
    assert not model.with_name("model-recalibrated.zip").exists()


def test_one_source_and_no_more(model: Path) -> None:
    with pytest.raises(BadOption, match="takes one of --threshold, --verdict, --scans, --table"):
        recalibrate(model)
    with pytest.raises(BadOption, match="takes one of"):
        recalibrate(model, threshold=0.5, table=Path("a.csv"))
    with pytest.raises(BadOption, match="need --threshold"):
        recalibrate(model, table=Path("a.csv"), slope=2)
    with pytest.raises(BadOption, match="would turn the scores round"):
        recalibrate(model, threshold=0.5, slope=-1)


def _scores(path: Path, slope: float, intercept: float, scans: int = 200) -> Path:
    """Scans whose true log-odds are intercept + slope × those of the probabilities."""
    random = np.random.default_rng(3)
    odds = random.normal(0, 2, scans)
    labels = random.random(scans) < 1 / (1 + np.exp(-(intercept + slope * odds)))
    rows = [(f"p{i}", f"s{i}", int(y), 1 / (1 + np.exp(-o))) for i, (y, o) in enumerate(zip(labels, odds, strict=True))]
    path.write_text(csv_text(("patient", "scan", "label", "probability"), rows))
    return path


def test_a_table_gives_the_map_that_it_was_made_with(model: Path, tmp_path: Path) -> None:
    table = _scores(tmp_path / "scores.csv", slope=0.5, intercept=-1.0, scans=2000)
    change = read_model(recalibrate(model, table=table)).adjustment
    assert change is not None
    assert change.slope == pytest.approx(0.5, abs=0.1)
    assert change.intercept == pytest.approx(-1.0, abs=0.15)
    assert (change.scans, change.source) == (2000, "chosen on 2,000 labelled scans of scores.csv")
    only = read_model(recalibrate(model, table=table, only_threshold=True, out=tmp_path / "t.zip")).adjustment
    assert only is not None
    assert (only.slope, only.intercept) == (1.0, 0.0)
    assert only.threshold == pytest.approx(change.raw_threshold)


def test_a_second_adjustment_rests_on_the_first(model: Path, tmp_path: Path) -> None:
    """Found on the adjusted probabilities, it is kept as one of the network's own."""
    first = read_model(recalibrate(model, threshold=0.4, slope=2.0, intercept=1.0)).adjustment
    table = _scores(tmp_path / "scores.csv", slope=0.5, intercept=-1.0)
    plain = read_model(recalibrate(model, table=table, out=tmp_path / "a.zip")).adjustment
    both = recalibrate(tmp_path / "model-recalibrated.zip", table=table, out=tmp_path / "b.zip")
    change = read_model(both).adjustment
    assert first is not None
    assert plain is not None
    assert change is not None
    values = np.array([0.01, 0.2, 0.5, 0.9])
    np.testing.assert_allclose(change.apply(values), plain.apply(first.apply(values)), rtol=1e-9)


def test_too_few_patients_and_scores_that_point_the_wrong_way(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadTable, match="Give 10 or more of each"):
        recalibrate(model, table=_scores(tmp_path / "few.csv", 1.0, 0.0, scans=15))
    with pytest.raises(BadTable, match="point the wrong way"):
        recalibrate(model, table=_scores(tmp_path / "wrong.csv", -2.0, 0.0))


def test_labelled_scans_and_a_verdict_that_leaves_them_out(model: Path, tmp_path: Path) -> None:
    """Chosen on one half of a site and asked on all of it: the half that it was chosen on is not judged."""
    half = write_new_site(tmp_path / "half", scans=24)
    whole = write_new_site(tmp_path / "whole", scans=48)
    result = CliRunner().invoke(
        app, ["recalibrate", str(model), "--scans", str(half), "--kind", "volumes", "--workers", "1"]
    )
    if "point the wrong way" in str(result.exception):
        pytest.skip("this tiny network ranks the wrong way round")
    assert result.exit_code == 0, (result.output, result.exception)
    changed = tmp_path / "model-recalibrated.zip"
    change = read_model(changed).adjustment
    assert change is not None
    assert (change.scans, len(change.chosen_on)) == (24, 24)
    assert "On patients left out of its choice:" in result.output
    found = verdict(changed, str(whole), kind="volumes", out=tmp_path / "v", workers=1)
    record = json.loads((tmp_path / "v" / "verdict.json").read_text())
    assert found.scans == 24
    reasons = {b["reason"] for b in record["bad_scans"]}
    assert reasons == {"is one of the scans on which this model's threshold or recalibration was chosen"}
    assert any("home is as it was before" in note for note in found.notes)


def test_home_keeps_its_own_threshold(model: Path, tmp_path: Path) -> None:
    """A local threshold that calls nobody positive must not lower what home is said to reach."""
    root = write_new_site(tmp_path / "new", scans=24)
    before = verdict(model, str(root), kind="volumes", out=tmp_path / "a", workers=1)
    changed = recalibrate(model, threshold=0.999999)
    after = verdict(changed, str(root), kind="volumes", out=tmp_path / "b", workers=1)
    assert after.home_sensitivity == before.home_sensitivity
    assert after.home_specificity == before.home_specificity
    assert after.auc == before.auc
    assert after.called_positive == 0
    assert after.sensitivity is not None
    assert after.sensitivity.estimate == 0


def test_without_labels_the_estimate_is_on_the_networks_own_scale(model: Path, tmp_path: Path) -> None:
    root = write_new_site(tmp_path / "new", labelled=False)
    before = verdict(model, str(root), kind="volumes", out=tmp_path / "a", workers=1)
    changed = recalibrate(model, threshold=0.4, slope=0.5, intercept=-1.0)
    after = verdict(changed, str(root), kind="volumes", out=tmp_path / "b", workers=1)
    assert (after.estimate, after.outside, after.reason) == (before.estimate, before.outside, before.reason)
    assert after.threshold == 0.4
    scores = predict(changed, str(root), kind="volumes", workers=1)
    assert scores is not None
    assert after.called_positive == np.mean([row[4] for row in scores.rows()])


def test_what_a_verdict_advises(model: Path, tmp_path: Path) -> None:
    known = read_model(model)
    record = {
        "checkpoint": known.checkpoint,
        "model": "UTSW",
        "site": "St Mary",
        "action": "recalibrate",
        "next_step": "Recalibrate it.",
        "scans": 80,
        "local_threshold": 0.37,
        "local_intercept": -0.5,
        "local_slope": 0.8,
        "adjustment": None,
        "voxels": ["a", "b"],
    }
    VERDICT.write(tmp_path / "verdict.json", record)
    change = read_model(recalibrate(model, verdict=tmp_path / "verdict.json")).adjustment
    assert change is not None
    assert (change.threshold, change.intercept, change.slope) == (0.37, -0.5, 0.8)
    assert (change.source, change.scans, change.chosen_on) == ("as the verdict at St Mary advised", 80, ("a", "b"))
    VERDICT.write(tmp_path / "moved.json", record | {"local_slope": None, "local_intercept": None})
    moved = read_model(recalibrate(model, verdict=tmp_path / "moved.json", out=tmp_path / "t.zip")).adjustment
    assert moved is not None
    assert (moved.threshold, moved.intercept, moved.slope) == (0.37, 0.0, 1.0)
    VERDICT.write(tmp_path / "adapt.json", record | {"local_threshold": None, "action": "adapt"})
    with pytest.raises(BadStudy, match='advises "adapt", which is neither a threshold nor a recalibration'):
        recalibrate(model, verdict=tmp_path / "adapt.json", out=tmp_path / "u.zip")
    VERDICT.write(tmp_path / "other.json", record | {"checkpoint": "0" * 64})
    with pytest.raises(BadStudy, match="is a verdict on another model"):
        recalibrate(model, verdict=tmp_path / "other.json", out=tmp_path / "u.zip")
    with pytest.raises(BadStudy, match="is a verdict on another model"):  # found on the unadjusted model
        recalibrate(tmp_path / "model-recalibrated.zip", verdict=tmp_path / "verdict.json", out=tmp_path / "u.zip")


def test_the_advice_of_a_real_verdict_can_be_applied(model: Path, tmp_path: Path) -> None:
    """The verdict's own file, with a local threshold put where it found none: it is of this model."""
    root = write_new_site(tmp_path / "new")
    verdict(model, str(root), kind="volumes", out=tmp_path / "v", workers=1)
    record = VERDICT.read(tmp_path / "v" / "verdict.json")
    assert len(record["voxels"]) == 24
    VERDICT.write(tmp_path / "v" / "verdict.json", record | {"local_threshold": 0.5, "local_slope": None})
    changed = recalibrate(model, verdict=tmp_path / "v" / "verdict.json")
    known = read_model(changed)
    assert known.adjustment is not None
    assert known.adjustment.chosen_on == tuple(record["voxels"])
    assert replace(known.point, threshold=0) == replace(known.home_point, threshold=0, rule="grid")

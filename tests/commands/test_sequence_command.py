"""`elsewhere sequence`: steps from the weights before, the same as the study's own predictions, kept after a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands.sequence import sequence
from elsewhere.commands.study import run_study
from elsewhere.errors import BadStudy
from elsewhere.model.network import load_checkpoint, read_checkpoint_record
from elsewhere.pages.sequence import render, sentences
from elsewhere.sequence_rows import SequenceOutcome, SequenceResult, SequenceRow
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.transfer import Transfer
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.predictions import fitting_predictions
from elsewhere.studies.records import SEQUENCE_ROWS
from elsewhere.studies.sequence_plan import IN_WORDS
from elsewhere.studies.sequences import STEP_SCORES
from tiny_sites import TINY_STUDY, tiny_tables

ORDERS = """
[sequence]
orders = [["UTSW", "CC-CCII"], ["UTSW", "CC-CCII", "COVID-CTset"]]
iterations = 4
"""
SETS = '[["UTSW"], ["UTSW", "CC-CCII"], ["UTSW", "CC-CCII", "COVID-CTset"]]'


@pytest.fixture(scope="module")
def file(tiny_sites: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file with a sequence, its study run."""
    folder = tmp_path_factory.mktemp("sequence")
    text = TINY_STUDY.replace('[["UTSW"], ["COVID-CTset", "MosMedData"]]', SETS)
    assert SETS in text
    (folder / "s.toml").write_text("seeds = [1, 2]\n" + text + ORDERS + tiny_tables(tiny_sites))
    run_study(folder / "s.toml", Folder(folder / "out"), workers=1)
    return folder / "s.toml"


@pytest.fixture(scope="module")
def done(file: Path) -> SequenceResult:
    return sequence(file, file.parent / "out", workers=1)


def test_every_way_along_every_order(file: Path, done: SequenceResult) -> None:
    folder = Folder(file.parent / "out")
    rows = SEQUENCE_ROWS.read(folder.transfer)
    assert len(rows) == 5 * (2 + 3) * 4
    assert {row.relation for row in rows if row.site == "MosMedData"} == {"never"}
    assert {row.auc for row in rows if row.site == "MosMedData"} == {None}
    assert [(o.way, len(o.order)) for o in done.outcomes][:2] == [("naive", 2), ("replay", 2)]
    # the shorter order is the beginning of the longer one, and both begin with the study's own network
    for way in ("naive", "joint"):
        cells = {}
        for row in rows:
            if row.way == way and row.step <= 2:
                cells.setdefault((row.step, row.site), set()).add(row.auc)
        assert all(len(values) == 1 for values in cells.values())
    assert len(list((folder.sequence / "steps").iterdir())) == 2 * 2 * 4  # two steps, two seeds, four ways


def test_the_first_step_is_the_studys_own_network(file: Path, done: SequenceResult) -> None:
    folder = Folder(file.parent / "out")
    for name in ("UTSW", "UTSW~2", "UTSW+CC-CCII"):
        own = fitting_predictions(folder, name, "COVID-CTset").subset("test").deterministic
        kept = {row.scan: row.probability for row in STEP_SCORES.read(folder.step_scores(name, "COVID-CTset"))}
        assert set(kept) == set(own.scans.tolist())
        theirs = [kept[scan] for scan in own.scans.tolist()]
        np.testing.assert_allclose(theirs, own.probabilities, atol=1e-6)


def test_a_step_begins_with_the_weights_before_and_sees_its_site_alone(file: Path, done: SequenceResult) -> None:
    folder = Folder(file.parent / "out")
    stem = folder.step("UTSW-then-CC-CCII replay~1") / "checkpoint"
    record = read_checkpoint_record(stem)
    assert record["parent"] == read_checkpoint_record(folder.checkpoint("UTSW"))["sha256"]
    assert record["training_sites"] == ["UTSW", "CC-CCII"]
    assert record["start"]["replay"] == 0.25
    later = read_checkpoint_record(folder.step("UTSW-then-CC-CCII-then-COVID-CTset distilled~2") / "checkpoint")
    before = folder.step("UTSW-then-CC-CCII distilled~2") / "checkpoint"
    assert later["parent"] == read_checkpoint_record(before)["sha256"]
    assert later["start"]["distil"] == 1.0
    assert later["training_scans"] == record["training_scans"]  # of one site each, both of 24 scans
    one, two = (load_checkpoint(one)[0].state_dict() for one in (stem, before))
    assert any(not bool((one[name] == two[name]).all()) for name in one)


def test_started_again_nothing_is_made_anew(file: Path, done: SequenceResult) -> None:
    folder = Folder(file.parent / "out")
    made = [*folder.sequence.rglob("*.safetensors"), *(folder.sequence / "scores").rglob("*.parquet")]
    before = {path: path.stat().st_mtime_ns for path in made}
    again = sequence(file, folder.root, workers=1)
    assert {path: path.stat().st_mtime_ns for path in made} == before
    assert again == done
    gone = folder.step_scores("UTSW-then-CC-CCII naive~1", "UTSW")
    gone.unlink()
    assert sequence(file, folder.root, workers=1) == done
    assert gone.is_file()


def test_what_is_printed_and_shown(file: Path, done: SequenceResult) -> None:
    result = CliRunner().invoke(app, ["sequence", str(file.parent / "out"), "--workers", "1"])
    assert result.exit_code == 0, result.output
    page = done.page.read_text()
    for order in {one.order for one in done.outcomes}:
        for words in sentences(done, order):
            assert words in result.output
    for words in ("Research use only. Not a medical device.", "backward transfer", "one class", "over 2 trainings"):
        assert words in page
    assert page.count("<svg") == 2
    assert "None" not in page
    assert ">nan" not in page


def test_a_study_that_was_not_run_or_has_no_sequence(file: Path, finished_study: Path, tmp_path: Path) -> None:
    with pytest.raises(BadStudy, match=r"has no `\[sequence\]`"):
        sequence(finished_study)
    moved = tmp_path / "s.toml"
    moved.write_text(file.read_text())
    with pytest.raises(BadStudy, match=r"Run `elsewhere prepare`|Run `elsewhere study`"):
        sequence(moved, tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('orders = [["UTSW", "CC-CCII"]', 'orders = [["UTSW"]', "two or more sites"),
        ('orders = [["UTSW", "CC-CCII"]', 'orders = [["CC-CCII", "UTSW"]', r"has no \['CC-CCII'\]"),
        ('orders = [["UTSW", "CC-CCII"]', 'orders = [["UTSW", "COVID-CTset"]', r"has no \['UTSW', 'COVID-CTset'\]"),
        ('orders = [["UTSW", "CC-CCII"]', 'orders = [["UTSW", "Mercy"]', "names 'Mercy'"),
        ("iterations = 4\n[sites", "iteration = 4\n[sites", r"key `sequence.iteration` is unknown"),
        ("iterations = 4\n[sites", "replay = 1.5\n[sites", "sequence.replay"),
        ("iterations = 4\n[sites", 'ways = ["ewc"]\n[sites', "sequence.ways"),
        ("orders =", "order =", "has no `orders`"),
    ],
)  # fmt: skip
def test_mistakes_in_the_study_file(file: Path, tmp_path: Path, old: str, new: str, said: str) -> None:
    text = file.read_text()
    assert old in text
    (tmp_path / "s.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(BadStudy, match=said):
        load_study(tmp_path / "s.toml")


def test_without_the_ceiling_only_the_first_network_is_needed(file: Path, tmp_path: Path) -> None:
    text = file.read_text().replace(SETS, '[["UTSW"]]').replace("iterations = 4\n[sites", 'ways = ["naive"]\n[sites')
    (tmp_path / "s.toml").write_text(text)
    assert load_study(tmp_path / "s.toml").sequence.ways == ("naive",)


def test_a_study_file_without_a_sequence_keeps_its_record(finished_study: Path) -> None:
    assert "sequence" not in load_study(finished_study).settings()


# Sentences ---------------------------------------------------------------------------------------------------------

FINAL = Interval(0.8, 0.7, 0.9, "")


def outcome(way: str, forgetting: Interval | None, over: Interval | None = None, to: Interval | None = None):
    return SequenceOutcome(way, ("A", "B"), Transfer(FINAL, None, forgetting, FINAL, ()), over, to)


def result(*outcomes: SequenceOutcome, unlearned: tuple[str, ...] = ()) -> SequenceResult:
    row = SequenceRow("naive", "A > B", 1, "A", "A", "learned", 1, 9, 3, 0.8, 0.7, 0.9)
    rows = [replace(row, way=one.way, step=step, learned="AB"[step - 1]) for one in outcomes for step in (1, 2)]
    return SequenceResult("s", "real", (1,), rows, outcomes, unlearned)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (Interval(0.1, 0.05, 0.15, ""), "earlier sites are forgotten: their AUC falls by 0.100"),
        (Interval(0.005, -0.005, 0.015, ""), "hardly anything is forgotten"),
        (Interval(0.05, -0.02, 0.12, ""), "cannot be told"),
        (None, "no site but the last was surely learned"),
    ],
)
def test_forgetting_is_told_by_its_interval(lost: Interval | None, said: str) -> None:
    assert said in sentences(result(outcome("naive", lost)), ("A", "B"))[0]


def test_a_way_is_better_only_where_the_interval_for_all_looks_is() -> None:
    lost = Interval(0.1, 0.05, 0.15, "")
    near, far = Interval(0.05, 0.002, 0.098, ""), Interval(0.05, 0.02, 0.08, "")
    alone = sentences(result(outcome("naive", lost), outcome("replay", lost, near)), ("A", "B"))
    assert "surely above that of the naive way: replay" in alone[1]
    others = [outcome(way, lost, near) for way in ("replay", "anchored", "distilled")]
    assert "no way is surely better or worse" in sentences(result(outcome("naive", lost), *others), ("A", "B"))[1]
    kept = [outcome("replay", lost, far), *others[1:]]
    assert (
        "surely above that of the naive way: replay (+0.050"
        in sentences(result(outcome("naive", lost), *kept), ("A", "B"))[1]
    )
    worse = outcome("anchored", lost, Interval(-0.05, -0.08, -0.02, ""))
    assert (
        "surely below that of the naive way: anchored"
        in sentences(result(outcome("naive", lost), worse), ("A", "B"))[1]
    )


def test_a_first_network_that_learned_nothing_ends_all_talk_of_its_order() -> None:
    told = result(outcome("naive", Interval(0.1, 0.05, 0.15, "")), unlearned=("A~2",))
    assert sentences(told, ("A", "B")) == [
        "Cannot tell: A~2 learned nothing at A, so that nothing can be forgotten or kept."
    ]
    assert "A~2 learned nothing" in render(told, IN_WORDS)


def test_the_ceiling_is_held_against_every_way() -> None:
    lost, below = Interval(0.1, 0.05, 0.15, ""), Interval(-0.1, -0.2, -0.01, "")
    joint = outcome("joint", None, Interval(0.1, 0.01, 0.2, ""))
    told = sentences(result(outcome("naive", lost, to=below), joint), ("A", "B"))
    assert told[-1].endswith("surely below it: naive.")
    level = outcome("naive", lost, to=Interval(-0.01, -0.05, 0.03, ""))
    assert sentences(result(level, joint), ("A", "B"))[-1].endswith("is surely below it.")

"""Records that were damaged, moved, or no longer fit each other."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elsewhere.errors import BadStudy, ElsewhereError
from elsewhere.model.prediction import read_predictions, write_predictions
from elsewhere.records import read_columns, read_record, write_columns, write_record
from elsewhere.studies.folder import Folder, read_table, write_table
from elsewhere.studies.kept import (
    forget,
    read_fitting_predictions,
    read_scans,
    read_scores,
    read_seed_scores,
    scores_hash,
)


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_records", Path(__file__).parent / "fuzz" / "records.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_no_damage_is_read_as_if_it_were_whole(fuzz: ModuleType, tmp_path: Path) -> None:
    for _, read in fuzz.inputs(3, tmp_path):
        with pytest.raises(ElsewhereError):
            read()


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-1], lambda c: c.replace(b"0", b"1", 1), lambda _: b"", lambda _: b"{}"]
)
def test_a_changed_record_names_the_file_and_the_next_step(fuzz: ModuleType, tmp_path: Path, damage: object) -> None:
    for path, read in fuzz.write_study(tmp_path).values():
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        with pytest.raises(ElsewhereError) as caught:
            read()
        assert Path(caught.value.where).stem == path.stem
        assert caught.value.next_step
        path.write_bytes(whole)
        read()


def test_a_record_that_is_gone_says_so(fuzz: ModuleType, tmp_path: Path) -> None:
    for path, read in fuzz.write_study(tmp_path).values():
        if path.name != "current.safetensors":  # a training without a state begins
            path.rename(path.with_suffix(".away"))
            with pytest.raises(ElsewhereError, match=r"does not exist|cannot be read|is missing"):
                read()
            path.with_suffix(".away").rename(path)


def test_what_is_written_is_read_back_and_makes_the_same_bytes(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"a": 1, "b": None, "c": "ä", "d": [1.0], "e": b"0" * 100, "f": {"g": 1}}] * 3)
    for name in ("one", "two"):
        write_columns(tmp_path / name, table)
        write_record(tmp_path / f"{name}.json", {"a": [1, {"b": "0" * 64}]})
    assert read_columns(tmp_path / "one", "").to_pylist() == table.to_pylist()
    assert read_record(tmp_path / "one.json", "") == {"a": [1, {"b": "0" * 64}]}
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_records_of_earlier_versions_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"a": 1}]), tmp_path / "old.parquet")
    (tmp_path / "old.json").write_text('{"a": 1}')
    assert read_columns(tmp_path / "old.parquet", "").to_pylist() == [{"a": 1}]
    assert read_record(tmp_path / "old.json", "") == {"a": 1}
    with pytest.raises(BadStudy, match="has no 'b'"):
        read_record(tmp_path / "old.json", "", ["b"])


def test_volumes_move_with_the_study(fuzz: ModuleType, tmp_path: Path) -> None:
    fuzz.write_study(tmp_path / "runs" / "one")
    shutil.move(tmp_path / "runs", tmp_path / "moved")
    assert read_scans(Folder(tmp_path / "moved" / "one"))[0]["file"] == str(tmp_path / "moved/store/ab/0.b2nd")


def test_a_study_of_an_earlier_version_finds_the_store_that_came_with_it(fuzz: ModuleType, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "runs" / "one")
    fuzz.write_study(folder.root)
    rows = [{**row, "file": "/gone/runs/store/ab/0.b2nd"} for row in read_table(folder.scans)]
    write_table(folder.scans, rows)
    assert read_scans(folder)[0]["file"] == "/gone/runs/store/ab/0.b2nd"
    there = tmp_path / "runs" / "store" / "ab" / "0.b2nd"
    there.parent.mkdir(parents=True)
    there.touch()
    assert read_scans(folder)[0]["file"] == str(there)


def test_paths_are_kept_relative_beside_the_study_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "runs" / "one")
    assert folder.keep(tmp_path / "runs" / "store" / "a") == "../store/a"
    assert folder.keep(tmp_path / "data") == str(tmp_path / "data")
    assert folder.place("../store/a") == tmp_path / "runs" / "store" / "a"
    assert folder.place(str(tmp_path / "data")) == tmp_path / "data"


@pytest.mark.parametrize("change", [{"label": 1}, {"subset": "validation"}, {"patient": "other"}, {"scan": "other"}])
def test_predictions_of_other_scans_are_refused(fuzz: ModuleType, tmp_path: Path, change: dict[str, object]) -> None:
    folder = Folder(tmp_path)
    fuzz.write_study(tmp_path)
    rows = read_fitting_predictions(folder, "A", "A")
    assert rows == read_predictions(folder.predictions("A", "A"))
    write_predictions(folder.predictions("A", "A"), [{**rows[0], **change}, *rows[1:]])
    with pytest.raises(BadStudy, match=r"scan 's0' is .* Run `elsewhere study` again"):
        read_fitting_predictions(folder, "A", "A")
    write_predictions(folder.predictions("A", "A"), rows[1:])
    with pytest.raises(BadStudy, match="scan 's0' is not there in the predictions"):
        read_fitting_predictions(folder, "A", "A")


SETTINGS = {"sites": [{"name": "A"}], "evaluation": {"resamples": 9}, "seed": 0}


def test_scores_of_other_predictions_are_refused(fuzz: ModuleType, tmp_path: Path) -> None:
    folder, identity = Folder(tmp_path), {"settings": SETTINGS, "models": {"A": ["A"]}}
    fuzz.write_study(tmp_path)
    assert read_scores(folder, identity) == read_table(folder.scores)  # an earlier version's: nothing to compare
    rows = [row | {"made_from": scores_hash(folder, ["A"], SETTINGS)} for row in read_table(folder.scores)]
    write_table(folder.scores, rows)
    assert "made_from" not in read_scores(folder, identity)[0]
    for other in ({"evaluation": {"resamples": 8}}, {"seed": 1}, {"sites": [{"name": "A"}, {"name": "B"}]}):
        with pytest.raises(BadStudy, match=r"scores\.parquet: does not belong to .* A, .*`elsewhere study` again"):
            read_scores(folder, identity | {"settings": SETTINGS | other})
    predicted = read_predictions(folder.predictions("A", "A"))
    write_predictions(folder.predictions("A", "A"), [predicted[0] | {"probability": 0.75}, *predicted[1:]])
    with pytest.raises(BadStudy, match="does not belong to the predictions of A"):
        read_scores(folder, identity)
    write_predictions(folder.predictions("A", "A"), predicted)
    read_scores(folder, identity)


def test_scores_of_several_trainings_belong_to_all_of_them(fuzz: ModuleType, tmp_path: Path) -> None:
    folder, settings = Folder(tmp_path), SETTINGS | {"seeds": [4, 5]}
    fuzz.write_study(tmp_path)
    assert read_seed_scores(folder, {"settings": settings}) == []
    write_predictions(folder.predictions("A~5", "A"), read_predictions(folder.predictions("A", "A")))
    row = {"model": "A", "site": "A", "score": "auc", "made_from": scores_hash(folder, ["A", "A~5"], settings)}
    write_table(folder.seeds, [row])
    assert [r["score"] for r in read_seed_scores(folder, {"settings": settings})] == ["auc"]
    folder.predictions("A~5", "A").unlink()
    with pytest.raises(BadStudy, match=r"seeds\.parquet: does not belong to the predictions of A"):
        read_seed_scores(folder, {"settings": settings})


def test_names_too_long_for_a_file_are_shortened_each_in_its_own_way() -> None:
    folder = Folder(Path("out"))
    short, long = "UTSW+CC-CCII", "+".join(f"{letter}" * 56 for letter in "abcdef")
    assert folder.model(short).name == short
    assert len(folder.model(long).name.encode()) <= 200
    assert folder.model(long) != folder.model(long + "g")
    assert len(folder.predictions(long, "x" * 300).name.encode()) <= 200


def test_what_a_refused_run_left_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "refused").mkdir()
    (tmp_path / "refused" / "audit.json").touch()
    forget(tmp_path / "refused")
    forget(tmp_path / "refused")
    assert not (tmp_path / "refused").exists()

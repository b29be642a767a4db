"""The cache: a result is believed where its maker's version and its inputs are the same, and made anew elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from elsewhere.commands.report.assembly import study_of
from elsewhere.commands.report.kept_study import read_study
from elsewhere.commands.study import run_study
from elsewhere.errors import BadStudy
from elsewhere.model.network import Network, save_checkpoint
from elsewhere.scans.shifts import plan_shifts
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import VERSIONS, keep_rows, key
from elsewhere.studies.predictions import PREDICTIONS
from elsewhere.studies.records import EXAMPLES, LEARNED, SCORES, read_audit
from elsewhere.studies.shifting import looks_of, tasks_of
from elsewhere.table_format import TableFormat


@dataclass(frozen=True)
class Thing:
    """A row."""

    name: str


THINGS = TableFormat("things", 1, Thing, "Run `elsewhere things`")


def test_a_key_is_of_the_maker_its_version_and_the_content_of_its_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "input"
    file.write_text("a")
    first = key("scores", 1, [file], {"b": 1, "a": 2})
    assert first == key("scores", 1, [file], {"a": 2, "b": 1})
    moved = file.rename(tmp_path / "elsewhere")
    assert key("scores", 1, [moved], {"a": 2, "b": 1}) == first
    moved.write_text("b")
    others = [key("scores", 1, [moved], {"a": 2, "b": 1}), key("learned", 1, [moved]), key("scores", 1, [file])]
    monkeypatch.setitem(VERSIONS, "scores", VERSIONS["scores"] + 1)
    others += [key("scores", 1, [moved], {"a": 2, "b": 1}), key("scores", 1, [file])]
    assert len({first, *others}) == 6
    with pytest.raises(TypeError, match="neither JSON-able nor a path"):
        key("scores", object())


def test_rows_are_made_once_for_a_key(tmp_path: Path) -> None:
    path, made = tmp_path / "t", []

    def make() -> list[Thing]:
        made.append(1)
        return [Thing(f"made {len(made)}")]

    for wanted, expected in (("a", "made 1"), ("a", "made 1"), ("b", "made 2"), ("a", "made 3")):
        assert keep_rows(THINGS, path, wanted, make) == [Thing(expected)]
    path.write_bytes(path.read_bytes()[:-1])
    assert keep_rows(THINGS, path, "a", make) == [Thing("made 4")]  # damaged
    THINGS.write(path, [Thing("no key")])
    assert keep_rows(THINGS, path, "a", make) == [Thing("made 5")]
    assert keep_rows(THINGS, path, "c", list) == []
    assert not path.exists()


def run(file: Path, folder: Folder) -> None:
    """Everything that a study keeps, the page's own tables among it."""
    run_study(file, folder, workers=1)
    study_of(folder, read_study(folder))


def keys(folder: Folder) -> Mapping[str, object]:
    """What each result was made from; of checkpoints and prepared volumes when they were written."""
    return {
        "predictions": {p: PREDICTIONS.made_from(p) for p in (folder.root / "predictions").rglob("*.parquet")},
        "scores": {(r.model, r.site): r.made_from for r in SCORES.read(folder.scores)},
        "learned": {r.model: r.made_from for r in LEARNED.read(folder.learned)},
        "audit": read_audit(folder).audited,
        "examples": {(r.site, r.scan): r.key for r in EXAMPLES.read(folder.examples)},
        "models": {p: p.stat().st_mtime_ns for p in (folder.root / "models").rglob("*.safetensors")},
        "volumes": {p: p.stat().st_mtime_ns for p in folder.store.rglob("*.b2nd")},
    }


RESTING = {
    "predictions": {"predictions", "scores", "learned"},
    "scores": {"scores"},
    "learned": {"learned"},
    "audit": {"audit"},
    "examples": {"examples"},
    "decomposition": set(),  # no network of this study learned
}


def test_a_newer_maker_makes_its_results_and_what_rests_on_them_anew_and_nothing_else(
    tiny_study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "out")
    run(tiny_study_file, folder)
    before = keys(folder)
    run(tiny_study_file, folder)
    assert keys(folder) == before
    for maker, changed in RESTING.items():
        monkeypatch.setitem(VERSIONS, maker, VERSIONS[maker] + 1)
        if "scores" in changed:
            with pytest.raises(BadStudy, match=r"scores\.parquet: does not belong .*`elsewhere study` again"):
                check_page(folder, changed)
        run(tiny_study_file, folder)
        now = keys(folder)
        assert {name for name in now if now[name] != before[name]} == changed, maker
        before = now


def check_page(folder: Folder, changed: Collection[str]) -> None:
    """The page refuses scores of another version; those of other predictions once these were made anew."""
    if changed == {"scores"}:
        study_of(folder, read_study(folder))
    else:
        first = next((folder.root / "predictions").rglob("*.parquet"))
        PREDICTIONS.write(first, PREDICTIONS.read(first), "another key")
        study_of(folder, read_study(folder))


def test_shifted_scans_and_marks_have_places_of_their_own_version(
    tiny_study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, plan = Folder(tmp_path), load_study(tiny_study_file)
    save_checkpoint(folder.checkpoint("UTSW"), Network(plan.network), {"model": "UTSW"})

    def places() -> tuple[Path, Path]:
        (task,), _ = tasks_of(plan, folder, {"UTSW": {"P0": ["UTSW"]}}, plan_shifts(["blur"], [2.0]))
        (look,), _ = looks_of(plan, folder, {"UTSW": ["P0"]})
        return task.models[0][2], look.place

    first = places()
    assert places() == first
    monkeypatch.setitem(VERSIONS, "marks", VERSIONS["marks"] + 1)
    second = places()
    assert (second[0] == first[0], second[1] == first[1]) == (True, False)
    monkeypatch.setitem(VERSIONS, "shifted scans", VERSIONS["shifted scans"] + 1)
    assert (places()[0] == first[0], places()[1] == second[1]) == (False, True)

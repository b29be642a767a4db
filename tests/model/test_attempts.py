"""Trainings where file locks hold on one machine alone: copies in folders of their own, one result."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from test_training import CASES, RECORD, SETTINGS, Killed, kill_at, results, run

from elsewhere.errors import BadOption, BadStudy
from elsewhere.model.state import lock


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a training leaves that is alone, and knows of locks."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    run(folder)
    return results(folder)


@pytest.fixture(autouse=True)
def local_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE_LOCKS", "local")


def leftovers(folder: Path) -> set[str]:
    """Beginnings of the names of what lies in `attempts`."""
    return {path.name.partition("-")[0] for path in (folder / "attempts").iterdir()}


def copy_of_a_job(folder: Path) -> None:
    """A training that does not end before another one of the same folder has begun."""

    def progress(done: int, total: int, text: str) -> None:
        (folder.parent / f"{os.getpid()}.began").touch()
        while done == total and len(list(folder.parent.glob("*.began"))) < 2:
            time.sleep(0.05)

    run(folder, progress=progress)


def test_two_copies_at_once_leave_one_result(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """A lock is no help to them: this process holds the one of the folder."""
    folder = tmp_path / "model"
    with lock(folder / "state"):
        copies = [get_context("spawn").Process(target=copy_of_a_job, args=(folder,)) for _ in range(2)]
        for copy in copies:
            copy.start()
        for copy in copies:
            copy.join()
    assert [copy.exitcode for copy in copies] == [0, 0]
    assert results(folder) == whole
    assert leftovers(folder) == {"chosen"}
    assert len(list((folder / "attempts").iterdir())) == 1


def test_a_copy_that_was_killed_is_gone_on_with(tmp_path: Path, whole: dict[str, bytes]) -> None:
    folder, seen = tmp_path / "model", list[int]()
    with pytest.raises(Killed):
        run(folder, progress=kill_at(7))
    assert not (folder / "checkpoint.json").exists()
    run(folder, progress=lambda done, *_: seen.append(done))
    assert seen[0] == 7  # the state of iteration 6 was saved
    assert results(folder) == whole
    run(folder, progress=kill_at(seen[0]))  # nothing is left to do


def test_a_training_that_began_with_locks_is_gone_on_with(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ELSEWHERE_LOCKS")
    with pytest.raises(Killed):
        run(tmp_path / "model", progress=kill_at(7))
    monkeypatch.setenv("ELSEWHERE_LOCKS", "local")
    run(tmp_path / "model")
    assert results(tmp_path / "model") == whole
    with pytest.raises(BadStudy, match=r"started with training\.learning_rate = 0\.001, now it is 0\.5"):
        run(tmp_path / "model", replace(SETTINGS, learning_rate=0.5))


def test_a_result_that_was_put_half_into_its_place_is_put_there(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """As after a kill between the rename that decides and the last file."""
    run(tmp_path / "model")
    chosen = next((tmp_path / "model" / "attempts").iterdir())
    for name in ("checkpoint.json", "state/current.safetensors"):
        (tmp_path / "model" / name).rename(chosen / name)
    run(tmp_path / "model", progress=kill_at(1))  # nothing is trained
    assert results(tmp_path / "model") == whole


def test_a_damaged_copy_beside_a_state_is_not_gone_on_with(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """Weights of one check and the record of another one, as where they are copied while they are written."""
    folder, seen = tmp_path / "model", list[int]()
    with pytest.raises(Killed):
        run(folder, progress=kill_at(7))
    weights = next(folder.glob("attempts/*/model/checkpoint.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    run(folder, progress=lambda done, *_: seen.append(done))
    assert seen[0] == 1
    assert results(folder) == whole


def test_a_result_that_was_removed_is_made_again(tmp_path: Path, whole: dict[str, bytes]) -> None:
    run(tmp_path / "model")
    (tmp_path / "model" / "checkpoint.json").unlink()
    run(tmp_path / "model")
    assert results(tmp_path / "model") == whole


def test_more_iterations_go_on_from_the_result(tmp_path: Path) -> None:
    seen = list[int]()
    run(tmp_path / "model", replace(SETTINGS, schedule="constant"))
    longer = replace(SETTINGS, schedule="constant", iterations=20)
    run(tmp_path / "model", longer, progress=lambda done, *_: seen.append(done))
    assert seen == list(range(13, 21))


def test_an_error_is_raised_and_another_setting_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadStudy, match="there are no validation scans"):
        run(tmp_path / "model", training=CASES, validation=[], record=RECORD)
    monkeypatch.setenv("ELSEWHERE_LOCKS", "nfs")
    with pytest.raises(BadOption, match=r"ELSEWHERE_LOCKS is 'nfs'\. Set it to local"):
        run(tmp_path / "model")

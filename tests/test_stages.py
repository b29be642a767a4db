"""Stages: time counted once under its name, sent home by workers, and nothing at all where nobody asked."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from elsewhere import engine, stages
from elsewhere.commands.predict import predict
from elsewhere.commands.prepare import prepare
from elsewhere.commands.train import train
from elsewhere.engine import speech
from elsewhere.stages import Spent, stage


@pytest.fixture
def account() -> Iterator[None]:
    stages.start()
    yield
    stages.stop()


def read_and_decode() -> None:
    with stage("read"):
        time.sleep(0.02)
        with stage("decode"):
            time.sleep(0.05)


def test_nothing_is_kept_unless_asked() -> None:
    read_and_decode()
    assert not stages.measuring()
    assert stages.take() == {}


def test_a_stage_inside_another_is_counted_once(account: None) -> None:
    began = time.perf_counter()
    read_and_decode()
    read_and_decode()
    elapsed, spent = time.perf_counter() - began, stages.take()
    assert {name: one.count for name, one in spent.items()} == {"decode": 2, "read": 2}
    assert spent["decode"].wall > 2 * 0.049
    assert spent["read"].wall > 2 * 0.019
    assert spent["read"].wall + spent["decode"].wall < elapsed
    assert stages.take() == {}


def test_a_stage_that_fails_still_ends(account: None) -> None:
    with pytest.raises(KeyError), stage("outer"), stage("inner"):
        raise KeyError
    with stage("next"):
        pass
    assert list(stages.take()) == ["inner", "outer", "next"]


def test_threads_have_stages_of_their_own(account: None) -> None:
    """What a loader's thread does meanwhile is not taken off the main thread's stage."""
    with stage("main"):
        thread = threading.Thread(target=read_and_decode)
        thread.start()
        thread.join()
    assert stages.take()["main"].wall > 0.069


def test_work_in_a_queue_is_waited_for_only_where_measured() -> None:
    waits: list[str] = []
    with stage("forward", lambda: waits.append("off")):
        pass
    stages.start()
    with stage("forward", lambda: waits.append("on")):
        pass
    stages.stop()
    assert waits == ["on"]


def test_totals_add_up(account: None) -> None:
    for _ in range(2):
        stages.add({"read": Spent(3, 1.5, 2.5)})
    assert stages.take() == {"read": Spent(6, 3.0, 5.0)}


def decode(scan: int) -> int:
    with stage("decode"):
        return scan


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_send_their_time_home(workers: int, account: None) -> None:
    assert len(list(engine.run(decode, [(i,) for i in range(4)], workers=workers, describe="Reading"))) == 4
    spent = stages.take()
    assert spent["decode"].count == spent["Reading"].count == 4
    assert (engine.START in spent) == (workers == 2)


def test_the_table_names_every_stage_and_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(speech, "console", Console(file=shown, width=100))
    with engine.profiled(True):
        stages.add({"read": Spent(4, 3.0, 6.0), "write": Spent(2, 1.0, 0.5)})
    lines = [" ".join(line.replace("│", " ").split()) for line in shown.getvalue().splitlines()]
    assert "read 75.0% 3.00 6.00 4 750" in lines
    assert "write 25.0% 1.00 0.50 2 500" in lines
    assert not stages.measuring()


def test_nothing_is_printed_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(speech, "console", Console(file=shown))
    with engine.profiled(False):
        read_and_decode()
    assert shown.getvalue() == ""


def test_the_commands_show_their_stages(tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--profile` of prepare, train and predict, one after the other, on tiny sites."""
    shown = io.StringIO()
    monkeypatch.setattr(speech, "console", Console(file=shown, width=100))
    prepare(tiny_study, tmp_path, workers=1, profile=True)
    train(tiny_study, "UTSW", tmp_path, profile=True)
    predict(tiny_study, "UTSW", "UTSW", tmp_path, profile=True)
    tables = shown.getvalue().split("Where the time went")[1:]
    named = [{line.split("│")[1].strip() for line in table.splitlines() if line.startswith("│")} for table in tables]
    assert {"find scans", "read and decode", "prepare", "measure and examine", "write to the store"} <= named[0]
    assert {"load window", "augment", "forward", "backward", "step", "validation", "save the state"} <= named[1]
    assert {"load window", "predict"} <= named[2]
    assert "forward" not in named[2]

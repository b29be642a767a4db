"""Orders for other machines: what goes along of this one, and what does not."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from elsewhere.engine import Needs, Voice, speak
from elsewhere.engine.attendant import order


def test_variables_of_the_study_go_along_and_secrets_do_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATA", str(tmp_path))
    monkeypatch.setenv("SITE", "UTSW")
    monkeypatch.setenv("ELSEWHERE_LANES", "4")
    monkeypatch.setenv("ELSEWHERE_ENGINE", "ray")
    monkeypatch.setenv("SECRET", "hunter2")
    sent = pickle.loads(order(abs, False, 1, Needs((tmp_path / "UTSW",)))).variables
    assert (sent["DATA"], sent["SITE"], sent["ELSEWHERE_LANES"]) == (str(tmp_path), "UTSW", "4")
    assert not {"SECRET", "ELSEWHERE_ENGINE"} & set(sent)
    assert set(pickle.loads(order(abs, False, 1)).variables) <= {"ELSEWHERE_LANES", "MLFLOW_TRACKING_URI"}


def test_the_log_stays_on_this_machine(tmp_path: Path) -> None:
    speak(Voice(verbose=True, log=tmp_path / "run.log"))
    try:
        sent = pickle.loads(order(abs, False, 1)).voice
    finally:
        speak(Voice())
    assert (sent.verbose, sent.log) == (True, None)

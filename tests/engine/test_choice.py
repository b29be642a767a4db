"""Which engine does the work: by option, by the environment, never by a guess."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from elsewhere import engine
from elsewhere.errors import BadOption


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("ELSEWHERE_ENGINE", "ELSEWHERE_CPUS", "ELSEWHERE_TASKS_PER_GPU"):
        monkeypatch.delenv(name, raising=False)
    yield
    monkeypatch.undo()
    engine.choose(None)


def test_cores_unless_something_else_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.is_here()
    monkeypatch.setenv("ELSEWHERE_ENGINE", "ray:10.0.0.1:6379")
    assert (engine.chosen().name, engine.chosen().address) == ("ray", "10.0.0.1:6379")
    assert not engine.is_here()
    engine.choose("cores")
    assert engine.is_here()
    engine.choose(None)
    assert not engine.is_here()


@pytest.mark.parametrize("text", ["dask", "slurm:here", "cores:2", "RAY"])
def test_what_is_no_engine_is_refused(text: str) -> None:
    with pytest.raises(BadOption, match=f"--engine is '{text}'"):
        engine.choose(text)


@pytest.mark.parametrize(("name", "text"), [("ELSEWHERE_CPUS", "-1"), ("ELSEWHERE_TASKS_PER_GPU", "0")])
def test_numbers_out_of_range_are_refused(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(BadOption, match=f"{name} is '{text}'"):
        engine.choose("ray")


def test_work_that_needs_nothing_of_another_machine_stays_here() -> None:
    engine.choose("slurm")  # which may not be there
    assert dict(engine.run(abs, [(-1,), (-2,)], workers=1)) == {0: 1, 1: 2}


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_an_engine_that_is_not_installed_says_what_to_install(name: str, tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; sys.modules['ray'] = sys.modules['submitit'] = None\n"
        f"from elsewhere import engine, errors; engine.choose({name!r})\n"
        "needs = engine.Needs((), (pathlib.Path('work'),))\n"
        "try:\n    list(engine.run(abs, [(1,)], needs=needs))\n"
        "except errors.BadInstallation as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"pip install 'elsewhere[{name}]'" in done.stdout


def test_no_engine_is_imported_before_it_is_chosen() -> None:
    script = "import sys; from elsewhere import engine; print({'ray', 'submitit', 'cloudpickle'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

"""Fixtures shared by all tests: the real CT data, where it is at hand."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from elsewhere.commands.study import run_study
from elsewhere.studies.folder import Folder
from new_sites import write_new_site
from tiny_sites import LEARNABLE, TINY_STUDY, tiny_tables, write_tiny_sites


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CT for tests, from ELSEWHERE_REAL_DATA or ../shared/data/real; skips where there is none."""
    root = Path(os.environ.get("ELSEWHERE_REAL_DATA", Path(__file__).parents[2] / "shared" / "data" / "real"))
    if not (root / "manifest.csv").is_file():
        pytest.skip(f"no real CT data at {root}: set ELSEWHERE_REAL_DATA")
    return root


@pytest.fixture(scope="session")
def tiny_sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sites of tiny volumes in their published layouts, with a signal in the positives."""
    root = tmp_path_factory.mktemp("sites")
    write_tiny_sites(root)
    return root


@pytest.fixture(scope="session")
def tiny_study_file(tiny_sites: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file over the tiny sites: two models, four sites, a network of a few hundred parameters."""
    file = tmp_path_factory.mktemp("study") / "tiny.toml"
    file.write_text(TINY_STUDY + tiny_tables(tiny_sites))
    return file


@pytest.fixture
def tiny_study(tiny_study_file: Path, tmp_path: Path) -> Path:
    """A copy of that study file for a test to change."""
    return Path(shutil.copy(tiny_study_file, tmp_path / "tiny.toml"))


@pytest.fixture(scope="session")
def finished_study(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny study, run to its end; not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "out"
    run_study(tiny_study_file, Folder(out), workers=1)
    return out


@pytest.fixture(scope="session")
def hospital_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans of a hospital that the tiny study does not have; not to be changed."""
    return write_new_site(tmp_path_factory.mktemp("hospital") / "ward", scans=48)


@pytest.fixture(scope="session")
def central_study(hospital_scans: Path, tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny study had it had that hospital's scans, as its site Mercy; not to be changed."""
    root = tmp_path_factory.mktemp("central")
    table = f'[sites.Mercy]\nkind = "volumes"\nroot = "{hospital_scans}"\nuse = "test"\n'
    (root / "tiny.toml").write_text(tiny_study_file.read_text() + table)
    run_study(root / "tiny.toml", Folder(root / "out"), workers=1)
    return root / "out"


@pytest.fixture(scope="session")
def learnable_study(tiny_sites: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study whose one network (UTSW), hardly trained, can be fitted in seconds; not to be changed."""
    folder = tmp_path_factory.mktemp("learnable")
    head, training = TINY_STUDY.partition("combinations")[0], TINY_STUDY.split("[training]")[1]
    (folder / "learnable.toml").write_text(head + LEARNABLE + training + tiny_tables(tiny_sites))
    run_study(folder / "learnable.toml", Folder(folder / "out"), workers=1)
    return folder / "out"


FAULT = """
import os, signal, sys

def meet(event, given):
    how = next((how for text, how in {faults!r}.items() if text in str(given[0])), "") if event == "open" else ""
    if how.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, how))
    if how == "EIO":
        raise OSError(5, os.strerror(5))
    if how:
        raise RuntimeError(how)

sys.addaudithook(meet)
"""


@pytest.fixture
def inject(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, str]], None]:
    """Makes processes that are started from now on meet a fault where they open a file, as a decoder's would be.

    What is in the file's path -> the signal that ends the process, "EIO", or the text of a RuntimeError; {} ends it.
    """
    folder, before = tmp_path_factory.mktemp("fault"), os.environ.get("PYTHONPATH", "")

    def inject(faults: dict[str, str]) -> None:
        (folder / "sitecustomize.py").write_text(FAULT.format(faults=faults))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), before]))

    return inject

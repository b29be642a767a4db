"""What a machine proves before it works for another one; the other machine is this one, with something changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import elsewhere
from elsewhere.engine import BadWorker, Needs, canary
from elsewhere.engine.proof import asked_of, check_proof


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "ct" / "p01").mkdir(parents=True)
    (tmp_path / "labels.csv").write_text("patient_id,path,label\n")
    return tmp_path / "ct", tmp_path / "study"


@pytest.fixture
def asked(folders: tuple[Path, Path]) -> Iterator[str]:
    with asked_of(Needs((folders[0], folders[0].parent / "labels.csv"), (folders[1],))) as text:
        yield text


def test_this_machine_proves_all_and_nothing_stays(folders: tuple[Path, Path]) -> None:
    with asked_of(Needs((folders[0],), (folders[1],))) as asked:
        assert check_proof(canary.prove(asked)) == os.uname().nodename
        assert len(list(folders[1].iterdir())) == 1
    assert list(folders[1].iterdir()) == []


def another(folder: Path) -> None:
    """A folder of the same name that is not the same."""
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _, study: shutil.rmtree(study), "{study}: is not there"),
        (lambda _, study: another(study), "{study}: is another folder there, not a shared one"),
        (lambda ct, _: shutil.rmtree(ct), r"{ct}: cannot be read there \(No such file or directory\)"),
        (lambda ct, _: another(ct), "{ct}: is not the same as on the machine that asks"),
        (lambda ct, _: (ct.parent / "labels.csv").write_text(""), "labels.csv: is not the same"),
    ],
)
def test_a_folder_that_is_not_the_same_is_named_with_the_host(
    change: Callable[[Path, Path], object], said: str, folders: tuple[Path, Path], asked: str
) -> None:
    change(*folders)
    with pytest.raises(BadWorker, match=f"{os.uname().nodename}: .*{said.format(ct=folders[0], study=folders[1])}"):
        check_proof(canary.prove(asked))


def test_new_files_in_a_folder_that_is_written_do_not_matter(folders: tuple[Path, Path]) -> None:
    folders[1].mkdir()
    with asked_of(Needs((folders[1], folders[0]), (folders[1],))) as asked:
        (folders[1] / "models").mkdir()
        check_proof(canary.prove(asked))


@pytest.mark.parametrize("name", ["python", "torch", "numpy", "elsewhere"])
def test_another_version_is_refused(name: str, asked: str) -> None:
    asks = json.loads(asked)
    asks["versions"][name] = "0.0.1"
    with pytest.raises(BadWorker, match=rf": {name}: is .+ there and 0\.0\.1 here\. Install the same"):
        check_proof(canary.prove(json.dumps(asks)))


def test_a_machine_without_elsewhere_can_say_so(tmp_path: Path, asked: str) -> None:
    script = tmp_path / "canary.py"
    script.write_bytes(Path(canary.__file__).read_bytes())
    line = f"import sys; sys.modules['elsewhere'] = None; import canary; print(canary.prove({asked!r}))"
    done = subprocess.run([sys.executable, "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    with pytest.raises(BadWorker, match="elsewhere: is not installed there"):
        check_proof(done.stdout)


def test_code_of_the_same_version_that_differs_is_another_version(tmp_path: Path, asked: str) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.js")
    shutil.copytree(Path(elsewhere.__file__).parent, tmp_path / "src" / "elsewhere", ignore=ignored)
    line = f"from elsewhere.engine import canary; print(canary.prove({asked!r}))"
    for change, same in (("", True), ("\n# another\n", False)):
        with (tmp_path / "src" / "elsewhere" / "wording.py").open("a") as file:
            file.write(change)
        words = [sys.executable, "-c", line]
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        assert (json.loads(done.stdout)["faults"] == []) == same


@pytest.mark.parametrize(("locks", "refused"), [("", True), ("local", False)])
def test_locks_that_hold_on_one_machine_alone_are_met(
    locks: str, refused: bool, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other machine is a process that takes every lock, as where an NFS mount keeps locks to itself."""
    monkeypatch.setenv("ELSEWHERE_LOCKS", locks)
    line = "import fcntl, sys; fcntl.flock = lambda *_: None; from elsewhere.engine import canary;"
    with asked_of(Needs((folders[0],), (folders[1],))) as asked:
        words = [sys.executable, "-c", f"{line} print(canary.prove(sys.argv[1]))", asked]
        proof = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        check_proof(canary.prove(asked))  # another process of this machine
    if refused:
        with pytest.raises(BadWorker, match=rf"{folders[1]}: has file locks .* Set ELSEWHERE_LOCKS=local"):
            check_proof(proof)
    else:
        check_proof(proof)

"""The engine: every task answered once, errors and killed workers reported, nothing left running."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from threadpoolctl import threadpool_info

from elsewhere import engine
from elsewhere.engine.progress import rate
from elsewhere.errors import BadScan


def square(x: int) -> int:
    return x * x


def slow_square(x: int, tick: Callable[[float, str], None]) -> int:
    tick(0.5, "half way")
    return x * x


def fail(x: int) -> int:
    raise BadScan("scan.dcm", "is broken", "Mend it")


def die(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_answered_once(workers: int) -> None:
    assert dict(engine.run(square, [(i,) for i in range(5)], workers=workers)) == {i: i * i for i in range(5)}


@pytest.mark.parametrize("workers", [1, 2])
def test_ticking_tasks(workers: int) -> None:
    assert dict(engine.run(slow_square, [(2,), (3,)], workers=workers, ticks=True)) == {0: 4, 1: 9}


def test_no_tasks() -> None:
    assert list(engine.run(square, [])) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_reaches_the_caller(workers: int) -> None:
    with pytest.raises(BadScan, match=r"scan\.dcm: is broken\. Mend it"):
        list(engine.run(fail, [(1,), (2,)], workers=workers))


def die_once(folder: str, x: int) -> int:
    mark = Path(folder, str(x))
    if x == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return x * x


def die_on_one(x: int) -> int:
    return die(x) if x == 1 else x * x


def wait_or_fail(x: int) -> int:
    if x:
        time.sleep(3600)  # pytest's own time limit would end the test
    raise BadScan("scan.dcm", "is broken", "Mend it")


def threads_of_numpy(_: int) -> list[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def named(index: int, how: engine.Ended) -> str:
    return f"task {index}: {how}"


def test_a_task_whose_worker_dies_twice_is_an_error_that_names_the_signal() -> None:
    with pytest.raises(engine.WorkerDied, match=r"task 2 was ended by signal 9 \(SIGKILL\), and again when .* alone"):
        list(engine.run(die_on_one, [(0,), (1,), (2,)], workers=2))


def test_a_worker_that_dies_takes_one_task_with_it_which_is_tried_again(tmp_path: Path) -> None:
    tasks = [(str(tmp_path), i) for i in range(6)]
    assert dict(engine.run(die_once, tasks, workers=2)) == {i: i * i for i in range(6)}


def test_workers_share_the_cores_out() -> None:
    each = max(1, engine.cores() // 2)
    answers = dict(engine.run(threads_of_numpy, [(0,), (1,)], workers=2))
    assert all(threads <= each for found in answers.values() for threads in found)
    assert answers[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_dies_twice_is_one_answer_among_the_others(workers: int) -> None:
    answers = dict(engine.run(die_on_one, [(0,), (1,), (2,), (3,)], workers=workers, died=named))
    assert answers == {0: 0, 1: "task 1: was ended by signal 9 (SIGKILL)", 2: 4, 3: 9}


def process_of(x: int) -> tuple[int, int]:
    return os.getpid(), x


def pids(workers: int = 2, tasks: int = 6) -> set[int]:
    found = dict(engine.run(process_of, [(i,) for i in range(tasks)], workers=workers))
    assert {i: x for i, (_, x) in found.items()} == {i: i for i in range(tasks)}
    return {pid for pid, _ in found.values()}


def test_kept_processes_do_the_next_runs_and_end_with_them() -> None:
    with engine.kept():
        first = pids()
        assert dict(engine.run(slow_square, [(2,), (3,)], workers=2, ticks=True)) == {0: 4, 1: 9}
        with engine.kept():
            assert pids() <= first
        assert pids() <= first
    assert not any(Path(f"/proc/{pid}").exists() for pid in first)
    assert not pids() & first


def test_after_a_death_or_an_error_kept_processes_answer_as_new_ones(tmp_path: Path) -> None:
    with engine.kept():
        first = pids()
        with pytest.raises(engine.WorkerDied, match="SIGKILL"):
            list(engine.run(die, [(1,)] * 3, workers=2))
        with pytest.raises(BadScan, match="is broken"):
            list(engine.run(fail, [(1,), (2,)], workers=2))
        assert not pids() & first


def test_kept_processes_have_the_threads_that_their_run_gives_them() -> None:
    if engine.cores() < 2:
        pytest.skip("one core")
    with engine.kept():
        both = {pid for _, (pid, _) in engine.run(process_of, [(0,), (1,)], workers=2)}
        alone = {pid for _, (pid, _) in engine.run(process_of, [(0,), (1,)], workers=1, died=lambda *_: (0, 0))}
        assert len(alone) == 1
        assert not alone & both


def test_an_error_ends_the_others_at_once() -> None:
    with pytest.raises(BadScan, match="is broken"):
        list(engine.run(wait_or_fail, [(1,), (0,)], workers=2))


def test_the_traceback_of_a_worker_is_kept_as_a_note() -> None:
    with pytest.raises(BadScan) as caught:
        list(engine.run(fail, [(1,), (2,)], workers=2))
    assert "in fail" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("done", "speed", "words"),
    [(0.0, 0.0, ""), (4e-5, 4e-5, ""), (2, 3.04, "3.0/s"), (1, 0.5, "2.0 s each"), (1, 1 / 12000, "3 h 20 min each")],
)
def test_speeds_in_words(done: float, speed: float, words: str) -> None:
    assert rate(done, speed) == words


@pytest.mark.skipif(sys.platform != "linux", reason="workers die with their parent on Linux only")
def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, pathlib, time\nfrom elsewhere import engine\n"
        "def work(folder, tick):\n"
        "    pathlib.Path(folder, str(os.getpid())).touch()\n    time.sleep(60)\n"
        f"if __name__ == '__main__':\n"
        f"    list(engine.run(work, [({str(tmp_path / 'pids')!r},)] * 2, workers=2, ticks=True))\n"
    )
    (tmp_path / "pids").mkdir()
    parent = subprocess.Popen([sys.executable, str(script)])
    workers = _wait_for(lambda: [int(p.name) for p in (tmp_path / "pids").iterdir()], 2)
    pids = [int(p) for p in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
    assert set(workers) <= set(pids)
    parent.kill()
    parent.wait()
    gone = _wait_for(lambda: [p for p in pids if not Path(f"/proc/{p}").exists()], len(pids))
    assert gone == sorted(pids)


def _wait_for(look: Callable[[], list[int]], count: int) -> list[int]:
    for _ in range(300):
        if len(found := look()) == count:
            return sorted(found)
        time.sleep(0.1)
    return sorted(found)


UNGUARDED = """
from elsewhere import engine
print(sorted(result for _, result in engine.run(abs, [(-1,), (-2,), (-3,)], workers=2)))
"""
GUARDED = """
from elsewhere import engine
def double(value):
    return 2 * value
if __name__ == "__main__":
    print(sorted(result for _, result in engine.run(double, [(1,), (2,)], workers=2)))
"""


@pytest.mark.parametrize(("script", "said"), [(UNGUARDED, "[1, 2, 3]"), (GUARDED, "[2, 4]")])
def test_a_script_needs_no_guard_unless_the_work_is_its_own(tmp_path: Path, script: str, said: str) -> None:
    file = tmp_path / "script.py"
    file.write_text(script)
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == said


def test_nothing_of_a_table_is_cut_on_a_narrow_console() -> None:
    table = engine.sheet("Audit", "site", "class", "how the scans were acquired")
    table.add_row("COVID-CTset", "positive", "0123456789" * 5)
    text = io.StringIO()
    Console(file=text, width=30).print(table)
    said = text.getvalue()
    assert "…" not in said
    columns = zip(*(line.ljust(30) for line in said.splitlines()[3:]), strict=True)
    assert sum("".join(c).count(digit) for c in columns for digit in "0123456789") == 50

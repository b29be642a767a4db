"""The engine on Slurm: arrays on two nodes give what one process gives, whatever dies meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cluster_tasks as work
import pytest
import slurm_cluster
from whole_study import check_same, study_by_command

import elsewhere
from elsewhere import engine, stages
from elsewhere.errors import BadScan

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'elsewhere[slurm]'")
LACKS = slurm_cluster.missing()
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(LACKS), reason=LACKS),
    pytest.mark.filterwarnings("default"),
]

MOUNTS = subprocess.run(["unshare", *slurm_cluster.APART, "true"], capture_output=True, check=False).returncode == 0
needs_mounts = pytest.mark.skipif(not MOUNTS, reason="a node that sees something else needs mount namespaces (root)")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm_cluster.SlurmCluster]:
    """A slurmctld with two node names."""
    kept = dict(os.environ)
    paths = [str(Path(elsewhere.__file__).parents[1]), str(Path(__file__).parent)]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    with slurm_cluster.slurm_cluster(tmp_path_factory.mktemp("slurm") / "two") as cluster:
        os.environ["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
        yield cluster
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture(autouse=True)
def on_slurm(slurm: slurm_cluster.SlurmCluster) -> Iterator[None]:
    engine.choose("slurm")
    yield
    engine.choose(None)


def test_answers_words_and_times_come_back_as_from_cores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages.start()
    tasks = [(i,) for i in range(6)]
    found = dict(engine.run(work.square, tasks, workers=2, describe="Squares", needs=work.needs(tmp_path)))
    assert found == {i: i * i for i in range(6)}
    spent = stages.stop()
    assert spent["square"].count == spent["Squares"].count == 6
    assert dict(engine.run(work.talk, [(1,), (2,)], ticks=True, workers=1, needs=work.needs(tmp_path))) == {0: 1, 1: 2}
    assert {"word 1", "word 2"} <= set(capsys.readouterr().err.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_an_error_ends_the_array_and_keeps_the_logs(tmp_path: Path) -> None:
    with pytest.raises(BadScan, match=r"scan\.dcm: is broken\. Mend it"):
        list(engine.run(work.fail, [(1,), (2,)], needs=work.needs(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["jobs"]
    slurm_cluster.wait_for(lambda: not queue())


def test_a_worker_that_dies_twice_is_one_answer_among_the_others(tmp_path: Path) -> None:
    tasks = [(i,) for i in range(4)]
    found = dict(engine.run(work.die_on_one, tasks, workers=2, died=work.in_words, needs=work.needs(tmp_path)))
    assert found == {0: 0, 1: "1 was ended by signal 11 (SIGSEGV)", 2: 4, 3: 9}


def test_a_killed_job_costs_its_task_a_second_try(tmp_path: Path) -> None:
    tasks = [(str(tmp_path), i) for i in range(4)]
    found = dict(engine.run(work.lose_its_agent_once, tasks, workers=2, needs=work.needs(tmp_path / "work")))
    assert found == {0: 0, 1: 1, 2: 4, 3: 9}


def test_a_requeued_job_goes_on_and_both_copies_are_one_answer(tmp_path: Path) -> None:
    def requeue() -> None:
        slurm_cluster.wait_for(lambda: len(list(tmp_path.glob("*.began"))) == 2)
        job = jobs("%i")[0]
        subprocess.run(["scontrol", "requeue", job], check=True)
        slurm_cluster.wait_for(lambda: "PENDING" in jobs("%T"))
        subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)  # and not in two minutes
        (tmp_path / "go").touch()

    thread = threading.Thread(target=requeue)
    thread.start()
    found = dict(
        engine.run(work.stay_until, [(str(tmp_path), 0), (str(tmp_path), 1)], needs=work.needs(tmp_path / "work"))
    )
    thread.join()
    assert sorted(found) == [0, 1]


def test_ctrl_c_cancels_its_own_jobs_and_leaves_no_half_file(tmp_path: Path) -> None:
    words = ["sbatch", "--parsable", "--hold", "--wrap", "true"]
    other = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    line = (
        "import pathlib, cluster_tasks; from elsewhere import engine; folder = pathlib.Path('work').absolute();"
        "engine.choose('slurm');"
        "list(engine.run(cluster_tasks.stay, [(str(folder), 1), (str(folder), 2)], needs=engine.Needs((), (folder,))))"
    )
    run = subprocess.Popen([sys.executable, "-c", line], cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    slurm_cluster.wait_for(lambda: len(list(tmp_path.glob("work/*.pid"))) == 2)
    run.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in run.communicate(timeout=60)[1]
    slurm_cluster.wait_for(lambda: queue() == [other.stdout.strip()])
    slurm_cluster.wait_for(lambda: not list((tmp_path / "work").glob("*.part")))
    subprocess.run(["scancel", other.stdout.strip()], check=True)
    assert not list((tmp_path / "work").glob("*.result"))


def test_a_cancelled_array_is_an_error(tmp_path: Path) -> None:
    def cancel() -> None:
        slurm_cluster.wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 1)
        subprocess.run(["scancel", *queue()], check=True)

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(engine.WorkerDied, match=r"Slurm job \d+: was cancelled"):
        list(engine.run(work.stay, [(str(tmp_path), 1)], needs=work.needs(tmp_path / "work")))
    thread.join()


def test_a_full_disk_is_refused_by_its_host_and_path(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "none", tmp_path / "full"], check=True)
    try:
        asked = engine.Needs((), (tmp_path / "work", tmp_path / "full"))
        with pytest.raises(engine.BadWorker, match=f"{tmp_path / 'full'}: cannot be written there .No space left"):
            list(engine.run(work.square, [(1,)], needs=asked))
    finally:
        subprocess.run(["umount", tmp_path / "full"], check=True)


@pytest.fixture
def strange_node(slurm: slurm_cluster.SlurmCluster) -> Iterator[Callable[[str], None]]:
    """Lets a line change what node two sees, until the end of the test."""
    yield partial(slurm.change_node, "two")
    slurm.change_node("two")


@needs_mounts
def test_a_node_with_another_version_is_refused(strange_node: Callable[[str], None], tmp_path: Path) -> None:
    source = Path(elsewhere.__file__).parent
    shutil.copytree(source, tmp_path / "other", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "other" / "wording.py").open("a") as file:
        file.write("\n# another\n")
    strange_node(f"mount --bind {tmp_path / 'other'} {source}")
    with pytest.raises(engine.BadWorker, match=r"elsewhere: is (\S+) \(code \w+\) there and \1 \(code \w+\) here"):
        list(engine.run(work.wait_in_vain, [(i,) for i in range(2)], workers=2, needs=work.needs(tmp_path / "work")))
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["jobs"]


@needs_mounts
def test_folders_that_are_not_shared_are_refused(strange_node: Callable[[str], None], tmp_path: Path) -> None:
    for name in ("work", "store", "ct"):
        (tmp_path / name / "p01").mkdir(parents=True)
    strange_node(f"mount -t tmpfs none {tmp_path / 'store'}; mount -t tmpfs none {tmp_path / 'ct'}")
    for needs, how in (
        (engine.Needs((), (tmp_path / "work", tmp_path / "store")), "store: is another folder there"),
        (engine.Needs((tmp_path / "ct",), (tmp_path / "work",)), "ct: is not the same as on the machine that asks"),
    ):
        with pytest.raises(engine.BadWorker, match=f"{os.uname().nodename}: {tmp_path}/{how}"):
            list(engine.run(work.wait_in_vain, [(1,), (2,)], workers=2, needs=needs))
        slurm_cluster.wait_for(lambda: not queue())


@needs_mounts
def test_a_node_without_the_folder_of_the_jobs_ends_its_jobs_and_others_do_them(
    strange_node: Callable[[str], None], tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    strange_node(f"mount -t tmpfs none {tmp_path / 'work'}")
    found = dict(engine.run(work.square, [(1,), (2,)], workers=2, needs=work.needs(tmp_path / "work")))
    assert found == {0: 1, 1: 4}
    assert list((tmp_path / "work").iterdir()) == []


@needs_mounts
def test_a_lost_node_costs_nothing_but_time(
    slurm: slurm_cluster.SlurmCluster, strange_node: Callable[[str], None], tmp_path: Path
) -> None:
    strange_node("true")

    def lose() -> None:
        slurm_cluster.wait_for(lambda: len(list(tmp_path.glob("*.began"))) == 2)
        slurm.end_node("two")
        (tmp_path / "go").touch()
        slurm.requeue_now()

    losing = threading.Thread(target=lose)
    losing.start()
    found = dict(
        engine.run(work.stay_until, [(str(tmp_path), 0), (str(tmp_path), 1)], workers=2, needs=work.needs(tmp_path))
    )
    losing.join()
    assert sorted(found) == [0, 1]


def test_a_study_is_that_of_one_machine_to_the_last_byte(
    tiny_study_file: Path, study_of_cores: Path, tmp_path: Path
) -> None:
    check_same(study_of_cores, study_by_command(tiny_study_file, tmp_path / "out", "slurm"))


def jobs(form: str) -> list[str]:
    words = ["squeue", "--noheader", "--array", f"--format={form}"]
    return sorted(set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()))


def queue() -> list[str]:
    """Arrays and jobs that wait or run."""
    return jobs("%F")

"""The engine on Ray: two raylets of this machine give what one process gives, whatever dies meanwhile."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cluster_tasks as work
import pytest
from whole_study import check_same, study_by_command

import elsewhere
from elsewhere import engine, stages
from elsewhere.errors import BadOption, BadScan

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'elsewhere[ray]'"),
    pytest.mark.filterwarnings("default"),
]
HERE = {"node_ip_address": "127.0.0.1", "num_cpus": 1, "object_store_memory": 100 * 2**20}
MOUNTS = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
needs_mounts = pytest.mark.skipif(not MOUNTS, reason="a folder of its own for one raylet needs mount namespaces (root)")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two raylets of one core each on this machine; only they are ended, at the end."""
    kept = dict(os.environ)
    os.environ.update(
        PYTHONPATH=os.pathsep.join([str(Path(elsewhere.__file__).parents[1]), str(Path(__file__).parent)]),
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=secrets.token_hex(32),
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # all of it on 127.0.0.1
        RAY_USAGE_STATS_ENABLED="0",
        RAY_agent_register_timeout_ms="200000",  # a busy machine
    )
    assert "ray" not in sys.modules  # it reads its variables as it is imported
    started = import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={**HERE, "include_dashboard": False}
    )
    started.add_node(**HERE)
    yield started
    import_module("ray").shutdown()
    started.shutdown()
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture(autouse=True)
def on_the_cluster(cluster: Any) -> Iterator[None]:
    engine.choose(f"ray:{cluster.address}")
    yield
    engine.choose(None)


def test_answers_words_and_times_come_back_as_from_cores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages.start()
    found = dict(engine.run(work.square, [(i,) for i in range(5)], describe="Squares", needs=work.needs(tmp_path)))
    assert found == {i: i * i for i in range(5)}
    spent = stages.stop()
    assert spent["square"].count == spent["Squares"].count == 5
    assert engine.START in spent
    assert dict(engine.run(work.talk, [(1,), (2,)], ticks=True, needs=work.needs(tmp_path))) == {0: 1, 1: 2}
    assert {"word 1", "word 2"} <= set(capsys.readouterr().err.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_errors_come_back_with_their_traceback_and_a_full_disk_with_its_host(tmp_path: Path) -> None:
    with pytest.raises(BadScan, match=r"scan\.dcm: is broken\. Mend it") as caught:
        list(engine.run(work.fail, [(1,), (2,)], needs=work.needs(tmp_path)))
    assert "in fail" in "".join(caught.value.__notes__)
    with pytest.raises(OSError, match=f"{os.uname().nodename}: /data/store"):
        list(engine.run(work.fill, [("/data/store",)], needs=work.needs(tmp_path)))


def test_a_worker_that_dies_twice_is_one_answer_among_the_others(tmp_path: Path) -> None:
    tasks = [(i,) for i in range(4)]
    found = dict(engine.run(work.die_on_one, tasks, died=work.in_words, needs=work.needs(tmp_path)))
    assert found == {0: 0, 1: "1 was ended by signal 11 (SIGSEGV)", 2: 4, 3: 9}
    with pytest.raises(engine.WorkerDied, match=r"task 2 was ended by signal 11 \(SIGSEGV\), and again"):
        list(engine.run(work.die_on_one, tasks, needs=work.needs(tmp_path)))


def test_a_killed_ray_worker_costs_its_task_a_second_try(tmp_path: Path) -> None:
    tasks = [(str(tmp_path), i) for i in range(4)]
    assert dict(engine.run(work.lose_its_agent_once, tasks, needs=work.needs(tmp_path))) == {0: 0, 1: 1, 2: 4, 3: 9}
    assert (tmp_path / "1.killed").exists()


def test_a_lost_machine_costs_nothing_but_time(cluster: Any, tmp_path: Path) -> None:
    third = cluster.add_node(**HERE)
    folder = tmp_path / "work"

    def lose() -> None:
        wait_for(lambda: len(list(folder.glob("*.began"))) == 3)
        cluster.remove_node(third, allow_graceful=False)
        (folder / "go").touch()

    losing = threading.Thread(target=lose)
    losing.start()
    found = dict(engine.run(work.stay_until, [(str(folder), i) for i in range(3)], needs=work.needs(folder)))
    losing.join()
    assert sorted(found) == [0, 1, 2]


@pytest.fixture
def strange_raylet(cluster: Any) -> Iterator[Callable[..., None]]:
    """A raylet started by a shell's line; ended, with all that it started, at the end of the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(before: str, **variables: str) -> None:
        number = len(ray_nodes(cluster))
        line = f"{before} exec {sys.executable} {Path(__file__).with_name('raylet.py')} {cluster.address}"
        words = (
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", line]
            if MOUNTS
            else ["sh", "-c", line]
        )
        started.append(
            subprocess.Popen(
                words,
                env=os.environ | variables,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        wait_for(lambda: len(ray_nodes(cluster)) > number)

    yield start
    number = len(ray_nodes(cluster))
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    wait_for(lambda: len(ray_nodes(cluster)) <= number - len(started))


def ray_nodes(cluster: Any) -> list[Any]:
    ray = import_module("ray")
    if not ray.is_initialized():
        ray.init(cluster.address, log_to_driver=False)
    return [node for node in ray.nodes() if node["Alive"]]


def test_a_machine_with_another_version_is_refused(strange_raylet: Callable[..., None], tmp_path: Path) -> None:
    source = Path(elsewhere.__file__).parent
    shutil.copytree(source, tmp_path / "src" / "elsewhere", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "src" / "elsewhere" / "wording.py").open("a") as file:
        file.write("\n# another\n")
    strange_raylet("", PYTHONPATH=f"{tmp_path / 'src'}{os.pathsep}{Path(__file__).parent}")
    with pytest.raises(
        engine.BadWorker, match=r"elsewhere: is 0\.1\.0 \(code \w+\) there and 0\.1\.0 \(code \w+\) here"
    ):
        list(engine.run(work.wait_in_vain, [(i,) for i in range(3)], needs=work.needs(tmp_path / "work")))
    assert list((tmp_path / "work").iterdir()) == []


@needs_mounts
def test_a_folder_that_is_not_shared_is_refused(strange_raylet: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    strange_raylet(f"mount -t tmpfs none {tmp_path / 'work'};")
    with pytest.raises(engine.BadWorker, match=f"{os.uname().nodename}: {tmp_path / 'work'}: is another folder there"):
        list(engine.run(work.wait_in_vain, [(i,) for i in range(3)], needs=work.needs(tmp_path / "work")))


@needs_mounts
def test_a_machine_that_cannot_read_a_site_is_refused(strange_raylet: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "ct" / "p01").mkdir(parents=True)
    strange_raylet(f"mount -t tmpfs none {tmp_path / 'ct'};")
    asked = engine.Needs((tmp_path / "ct",), (tmp_path / "work",))
    with pytest.raises(engine.BadWorker, match=f"{tmp_path / 'ct'}: is not the same as on the machine that asks"):
        list(engine.run(work.wait_in_vain, [(i,) for i in range(3)], needs=asked))


@needs_mounts
def test_a_full_disk_is_refused_by_its_host_and_path(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "none", full], check=True)
    try:
        with pytest.raises(engine.BadWorker, match=f"{full}: cannot be written there .No space left on device"):
            list(engine.run(work.square, [(1,), (2,)], needs=work.needs(full)))
        assert list(full.iterdir()) == []
    finally:
        subprocess.run(["umount", full], check=True)


def test_more_than_any_machine_has_is_an_error_and_no_wait(tmp_path: Path) -> None:
    with pytest.raises(engine.BadWorker, match="no machine of the cluster has 1 CPU cores and 1 GPUs"):
        list(engine.run(work.square, [(1,)], needs=engine.Needs((), (tmp_path,), "cuda")))


@pytest.fixture
def card(cluster: Any) -> Iterator[None]:
    """A raylet with two cores that says it has a card, until the end of the test."""
    node = cluster.add_node(**{**HERE, "num_cpus": 2, "num_gpus": 1})
    yield
    cluster.remove_node(node)


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(("accelerator", "share", "at_once"), [("cuda", "", 1), ("auto", "", 1), ("cuda", "2", 2)])
def test_a_training_has_a_card_for_itself_and_shares_it_on_request(
    accelerator: str, share: str, at_once: int, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELSEWHERE_TASKS_PER_GPU", share)
    engine.choose(f"ray:{cluster.address}")
    tasks = [(str(tmp_path), i, at_once - 1) for i in range(2)]
    found = dict(engine.run(work.use_card, tasks, needs=engine.Needs((), (tmp_path / "work",), accelerator)))
    assert found == {0: ("0", at_once), 1: ("0", at_once)}


def test_work_of_a_script_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work.square, "__module__", "__main__")
    with pytest.raises(BadOption, match="does not take work that is defined in the script itself"):
        list(engine.run(work.square, [(1,)], needs=work.needs(tmp_path)))


def test_a_study_is_that_of_one_machine_to_the_last_byte(
    cluster: Any, tiny_study_file: Path, study_of_cores: Path, tmp_path: Path
) -> None:
    check_same(study_of_cores, study_by_command(tiny_study_file, tmp_path / "out", f"ray:{cluster.address}"))


def test_ctrl_c_ends_what_it_started_and_nothing_else(cluster: Any, tmp_path: Path) -> None:
    line = (
        "import pathlib, cluster_tasks; from elsewhere import engine; folder = pathlib.Path('work').absolute();"
        f"engine.choose('ray:{cluster.address}');"
        "list(engine.run(cluster_tasks.stay, [(str(folder), 1), (str(folder), 2)], needs=engine.Needs((), (folder,))))"
    )
    run = subprocess.Popen([sys.executable, "-c", line], cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    wait_for(lambda: len(list(tmp_path.glob("work/*.pid"))) == 2)
    pids = [int(path.read_text().split()[0]) for path in tmp_path.glob("work/*.pid")]
    run.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in run.communicate(timeout=60)[1]
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["1.pid", "2.pid"]
    assert dict(engine.run(work.square, [(3,)], needs=work.needs(tmp_path / "more"))) == {0: 9}


def wait_for(look: Callable[[], bool]) -> None:
    for _ in range(900):
        if look():
            return
        time.sleep(0.1)
    raise AssertionError("waited for 90 s in vain")

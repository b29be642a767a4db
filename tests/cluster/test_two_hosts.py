"""Slurm on two hosts with a cable between them, and Ray in an allocation of it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import hosts
import pytest
import slurm_cluster
from slurm_cluster import SlurmCluster, wait_for
from whole_study import check_same_files

import elsewhere

LACKS = slurm_cluster.missing() or hosts.missing()
pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(LACKS), reason=LACKS)]
COPIES = """
import pathlib, sys, cluster_tasks
from elsewhere import engine
engine.choose("slurm")
tasks = [(sys.argv[1], 0), (sys.argv[1], 1)]
needs = cluster_tasks.needs(pathlib.Path(sys.argv[1], "work"))
assert dict(engine.run(cluster_tasks.leave_copies, tasks, workers=2, needs=needs)) == {0: 0, 1: 1}
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """A Slurm on two hosts, the controller on the first; jobs see this code and these tests."""
    with (
        pytest.MonkeyPatch.context() as patch,
        hosts.two_hosts() as both,
    ):
        paths = [str(Path(elsewhere.__file__).parents[1]), str(Path(__file__).parent)]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        with slurm_cluster.slurm_cluster(tmp_path_factory.mktemp("slurm") / "two", both) as cluster:
            yield cluster


@pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed: pip install 'elsewhere[slurm]'")
def test_a_cut_link_makes_a_second_copy_and_both_are_one_answer(slurm: SlurmCluster, tmp_path: Path) -> None:
    """The controller hears nothing of a host any more, and hands its job out again: both copies come to an end."""

    def copies() -> int:
        return len(list(tmp_path.glob("*.copy")))

    words = slurm.at("one", sys.executable, "-c", COPIES, str(tmp_path))
    with (tmp_path / "said").open("wb") as said:
        run = subprocess.Popen(words, env=slurm.environment, stderr=said)
        wait_for(lambda: copies() == 2 or run.poll() is not None)
        slurm.hosts["two"].link("down")
        try:
            (tmp_path / "cut").touch()
            slurm.requeue_now()
            wait_for(lambda: copies() == 3)
            (tmp_path / "go").touch()
            assert run.wait(60) == 0, (tmp_path / "said").read_text()
        finally:
            slurm.hosts["two"].link("up")
    wait_for(lambda: not slurm.queue() and slurm.states() == ["idle", "idle"])
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'elsewhere[ray]'")
def test_ray_in_an_allocation_prepares_what_one_machine_does(
    slurm: SlurmCluster, tiny_study_file: Path, study_of_cores: Path, tmp_path: Path
) -> None:
    """`ray symmetric-run` ends with `ray stop`, which sees the processes of its own host alone."""
    ray = f"ray symmetric-run --address {slurm.hosts['one'].address}:6379 --min-nodes 2 --num-cpus=1"
    words = ["srun", "--nodes=2", "--ntasks-per-node=1", *ray.split(), f"--object-store-memory={100 * 2**20}", "--"]
    environment = slurm.environment | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT": "200",  # a busy machine
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_agent_register_timeout_ms": "200000",
    }
    command = [sys.executable, "-m", "elsewhere", "prepare", tiny_study_file, tmp_path / "out", "--engine", "ray"]
    line = slurm.at("one", *words, *map(str, command))
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert "Ray: auto, 2 machines" in done.stderr, done.stdout + done.stderr
    check_same_files(study_of_cores.parent / "store", tmp_path / "store")
    assert (study_of_cores / "scans.parquet").read_bytes() == (tmp_path / "out" / "scans.parquet").read_bytes()

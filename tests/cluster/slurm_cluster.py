"""A Slurm of two node names on this machine, with daemons and key of its own, for tests."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

APART = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=5
SchedulerParameters=sched_min_interval=0
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=1000
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=1000 Weight=2
PartitionName=all Nodes=one,two Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """What keeps Slurm from running here; "" for nothing."""
    lacking = [name for name in DAEMONS if _found(name) is None]
    if lacking:
        return f"no {', '.join(lacking)} here: apt install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "slurmd needs root"


def _found(name: str) -> str | None:
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


class SlurmCluster:
    """Its daemons, each a process of ours."""

    def __init__(self, root: Path) -> None:
        self.root, self.daemons = root, dict[str, subprocess.Popen[bytes]]()
        (root / "state").mkdir(parents=True)
        key = root / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        given = {"host": socket.gethostname().split(".")[0], "user": "root", "root": root, "ports": _free_ports(3)}
        (root / "slurm.conf").write_text(CONFIGURATION.format(**given))
        self.environment = os.environ | {"SLURM_CONF": str(root / "slurm.conf")}

    def start(self) -> None:
        """Start all daemons, and wait until both nodes are idle."""
        names = ("socket", "key-file", "pid-file", "log-file", "seed-file")
        places = [f"--{name}={self.root}/munge.{name.partition('-')[0]}" for name in names]
        self._begin("munged", "--foreground", "--force", *places)
        wait_for((self.root / "munge.socket").exists)
        self._begin("slurmctld", "-D")
        for node in ("one", "two"):
            self.start_node(node)
        wait_for(lambda: self.states() == ["idle", "idle"])

    def start_node(self, name: str, before: str = "") -> None:
        """Start the daemon of a node; where a line is run before it, with processes and mounts of its own."""
        if before:
            slurmd = f"{before}; exec {_found('slurmd')} -D -N {name}"
            self._begin("unshare", *APART, "sh", "-c", slurmd, key=name)
        else:
            self._begin("slurmd", "-D", "-N", name, key=name)

    def change_node(self, name: str, before: str = "") -> None:
        """Start the daemon of a node anew, and wait until both nodes are idle."""
        since = self._since(name)
        self.end_node(name)
        time.sleep(1)  # its start is told in whole seconds
        self.start_node(name, before)
        wait_for(lambda: self._since(name) not in {since, ""})
        self.control("update", f"NodeName={name}", "State=RESUME")
        wait_for(lambda: self.states() == ["idle", "idle"])

    def _since(self, name: str) -> str:
        """When the daemon of a node was started, as the controller knows it."""
        return next((word for word in self.control("show", "node", name).split() if "SlurmdStartTime" in word), "")

    def end_node(self, name: str) -> None:
        """Kill the daemon of a node, and with it all that runs there where it has processes of its own."""
        self.daemons[name].kill()
        self.daemons[name].wait()

    def control(self, *words: str) -> str:
        """What an administrator asks, and the answer."""
        return self._told("scontrol", *words)

    def states(self) -> list[str]:
        """States of the nodes."""
        return self._told("sinfo", "--noheader", "--Node", "--format=%T").split()

    def _told(self, *words: str) -> str:
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False).stdout

    def _begin(self, daemon: str, *words: str, key: str = "") -> None:
        program = _found(daemon)
        assert program is not None
        with (self.root / f"{key or daemon}.out").open("ab") as out:
            self.daemons[key or daemon] = subprocess.Popen(
                [program, *words], env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def end(self) -> None:
        """End the jobs, then the daemons."""
        subprocess.run(["scancel", "--user=root"], env=self.environment, check=False, capture_output=True)
        time.sleep(1)
        for process in reversed(list(self.daemons.values())):
            process.terminate()
        for process in self.daemons.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def slurm_cluster(root: Path) -> Iterator[SlurmCluster]:
    """A Slurm while the block runs."""
    cluster = SlurmCluster(root)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(look: Callable[[], object], seconds: float = 90) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < until, f"waited for {seconds:g} s in vain"
        time.sleep(0.1)

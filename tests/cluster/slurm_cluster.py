"""A Slurm of two node names on this machine, with daemons and key of its own, for tests."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hosts import Host

APART = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={hosts[0]}({addresses[0]})
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
NodeName=one NodeHostname={hosts[0]} NodeAddr={addresses[0]} Port={ports[1]} CPUs=1 RealMemory=1000
NodeName=two NodeHostname={hosts[1]} NodeAddr={addresses[1]} Port={ports[2]} CPUs=1 RealMemory=1000 Weight=2
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
    """Its daemons, each a process of ours; on two hosts where these are given, the controller on the first."""

    def __init__(self, root: Path, hosts: Sequence[Host] = ()) -> None:
        self.root, self.daemons = root, dict[str, subprocess.Popen[bytes]]()
        self.hosts = {host.name: host for host in hosts}
        (root / "state").mkdir(parents=True)
        key = root / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        here = socket.gethostname().split(".")[0]
        given = {
            "hosts": list(self.hosts) or [here, here],
            "addresses": [host.address for host in hosts] or ["127.0.0.1", "127.0.0.1"],
            "ports": _free_ports(3),
        }
        (root / "slurm.conf").write_text(CONFIGURATION.format(user="root", root=root, **given))
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

    def requeue_now(self) -> None:
        """Wait until a lost node's job waits for another one, and let it begin at once, not in two minutes."""

        def waiting() -> list[str]:
            return self._told("squeue", "--noheader", "--array", "--states=PENDING", "--format=%i").split()

        wait_for(waiting)
        for job in waiting():
            self.control("update", f"JobId={job}", "StartTime=now")

    def queue(self) -> list[str]:
        """Jobs that wait or run."""
        return self._told("squeue", "--noheader", "--array", "--format=%i").split()

    def control(self, *words: str) -> str:
        """What an administrator asks, and the answer."""
        return self._told("scontrol", *words)

    def states(self) -> list[str]:
        """States of the nodes."""
        return self._told("sinfo", "--noheader", "--Node", "--format=%T").split()

    def _told(self, *words: str) -> str:
        line = self.at("one", *words)
        return subprocess.run(line, env=self.environment, capture_output=True, text=True, check=False).stdout

    def at(self, node: str, *words: str) -> list[str]:
        """A command that runs on the host of a node."""
        return self.hosts[node].words(*words) if node in self.hosts else list(words)

    def _begin(self, daemon: str, *words: str, key: str = "") -> None:
        program = _found(daemon)
        assert program is not None
        with (self.root / f"{key or daemon}.out").open("ab") as out:
            self.daemons[key or daemon] = subprocess.Popen(
                self.at(key or "one", program, *words),
                env=self.environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def end(self) -> None:
        """End the jobs, then the daemons."""
        self._told("scancel", "--user=root")
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
def slurm_cluster(root: Path, hosts: Sequence[Host] = ()) -> Iterator[SlurmCluster]:
    """A Slurm while the block runs."""
    cluster = SlurmCluster(root, hosts)
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

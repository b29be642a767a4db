"""Two hosts on this machine, for tests: each with a network, a name, processes and a Ray folder of its own.

They see each other through a cable (a veth pair) and nothing else, and share all other folders.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SPACES = ["--net", "--uts", "--pid", "--mount"]
APART = ["unshare", *SPACES, "--fork", "--kill-child", "--mount-proc"]
RAY = "/tmp/ray"


def missing() -> str:
    """What keeps such hosts from being made here; "" for nothing."""
    try:
        with two_hosts():
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespaces here ({error})"
    return ""


class Host:
    """One of them."""

    def __init__(self, name: str, address: str) -> None:
        """Begun by `start`."""
        self.name, self.address = name, address
        line = (
            f"hostname {name}; mkdir -p {RAY}; mount -t tmpfs none {RAY}; ip link set lo up; echo; exec sleep infinity"
        )
        self.process = subprocess.Popen([*APART, "sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        made = self.process.stdout.readline()
        self.process.stdout.close()
        if not made:
            self.process.wait()
            raise OSError("`unshare` is refused: root only")
        self.init = int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def words(self, *line: str) -> list[str]:
        """A command that runs a line on this host."""
        return ["nsenter", "--target", str(self.init), *SPACES, f"--wd={Path.cwd()}", *line]

    def run(self, *line: str) -> None:
        """Run a line on this host.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        subprocess.run(self.words(*line), check=True, capture_output=True)

    def link(self, state: str) -> None:
        """Pull the cable out ("down"), or put it back ("up")."""
        self.run("ip", "link", "set", "cable", state)

    def end(self) -> None:
        """Cut its power."""
        self.process.kill()
        self.process.wait()


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Hosts `one` and `two` while the block runs."""
    hosts = list[Host]()
    try:
        hosts += [Host("one", "10.99.0.1"), Host("two", "10.99.0.2")]
        one, two = hosts
        cable = ["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(two.init)]
        subprocess.run(["nsenter", "--target", str(one.init), "--net", *cable], check=True, capture_output=True)
        for host in hosts:
            host.run("ip", "address", "add", f"{host.address}/24", "dev", "cable")
            host.link("up")
            host.run("ip", "route", "add", "default", "dev", "cable")  # by which Ray finds its address
        yield one, two
    finally:
        for host in hosts:
            host.end()

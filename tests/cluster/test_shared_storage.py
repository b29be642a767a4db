"""Two hosts that share a folder and have the same pid: what they write under one name is the one's or the other's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster
WORDS = ["unshare", "--uts", "--pid", "--fork", "--mount-proc"]
APART = subprocess.run([*WORDS, "true"], capture_output=True, check=False).returncode == 0
WRITE = """
import os, pathlib, socket, sys
from elsewhere.files import write_whole
assert socket.gethostname() == sys.argv[1] and os.getpid() == 1, (socket.gethostname(), os.getpid())
for turn in range(300):
    write_whole(pathlib.Path(sys.argv[2], "file"), sys.argv[3] * 200_000, forced=False)
"""


@pytest.mark.skipif(not APART, reason="hosts with a name and pids of their own need namespaces (root)")
@pytest.mark.parametrize("names", [("one", "two"), ("same", "same")])
def test_two_hosts_with_the_same_pid_do_not_mix(names: tuple[str, str], tmp_path: Path) -> None:
    script = tmp_path / "write.py"
    script.write_text(WRITE)
    (tmp_path / "shared").mkdir()
    hosts, said = [], [tmp_path / "first", tmp_path / "second"]
    for name, letter, where in zip(names, "ab", said, strict=True):
        line = f"hostname {name} && exec {sys.executable} {script} {name} {tmp_path / 'shared'} {letter} 2>{where}"
        hosts.append(subprocess.Popen([*WORDS, "sh", "-c", line]))
    seen = set()
    while any(host.poll() is None for host in hosts):
        if (tmp_path / "shared" / "file").exists():
            seen.add((tmp_path / "shared" / "file").read_text())
    assert [host.returncode for host in hosts] == [0, 0], [where.read_text() for where in said]
    assert seen <= {"a" * 200_000, "b" * 200_000}
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["file"]

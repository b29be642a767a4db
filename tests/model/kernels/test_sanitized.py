"""Under `make sanitize`: what the sanitizers are there to see ends the process, so silence means that all is well."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.environ.get("ELSEWHERE_SANITIZE") != "1", reason="runs in `make sanitize`")

PLANTED = """
import numpy as np
from elsewhere.model.kernels import abi
from elsewhere.model.kernels.library import kernels

slices, rows, columns, filters = 24, 16, 32, 8
single = lambda *shape: np.zeros(shape, np.float32)
arrays = {
    "voxels": np.zeros((slices, rows, columns), np.int16),
    "starts": np.zeros(1, np.int32),
    **{name: single(1, filters) for name in ("scales", "shifts", "bias1", "bias2", "sign")},
    "weights1": single(filters, 1, 3, 3, 3),
    "weights2": single(filters, filters, 3, 3, 3),
    "pooled": single(filters * slices * rows * columns // 64 - LESS),
    "sums": np.zeros((slices, filters, 2)),
    "touched": np.zeros(filters * slices * rows * columns // 64, np.bool_),
}
job = abi.Job(kind=1, slices=slices, rows=rows, columns=columns, length=slices, last=slices, window_count=1,
              window_length=slices, lanes=LANES, threads=1,
              **{name: array.ctypes.data for name, array in arrays.items()})
setattr(job, "pass", 1)
job.high = job.unit = 1.0
job.sums += OFF
assert kernels().elsewhere_level1(job) == 0
print("done")
"""


def run(lanes: int, less: int = 0, off: int = 0) -> subprocess.CompletedProcess[str]:
    code = PLANTED.replace("LANES", str(lanes)).replace("LESS", str(less)).replace("OFF", str(off))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=False)


@pytest.mark.parametrize("lanes", [4, 8])
def test_a_write_beyond_an_array_is_seen(lanes: int) -> None:
    found = run(lanes, less=1)
    assert found.returncode != 0
    assert "heap-buffer-overflow" in found.stderr
    assert "WRITE of size 4" in found.stderr


def test_a_misaligned_write_is_seen() -> None:
    found = run(4, off=4)
    assert found.returncode != 0
    assert "misaligned address" in found.stderr


def test_nothing_is_seen_where_nothing_is_wrong() -> None:
    found = run(4)
    assert (found.returncode, found.stdout) == (0, "done\n"), found.stderr

"""The kernels with an operator new that fails: an error in the caller each time, and threads take no memory at all."""

from __future__ import annotations

import ctypes
import importlib.machinery
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from deep import DEEP

from elsewhere.model import level1_prediction, level2_prediction, training_kernel
from elsewhere.model.dropped_blocks import Blocks
from elsewhere.model.kernels import library, sample
from elsewhere.model.level1_prediction import Drops, Level1, Window
from elsewhere.model.network import Network
from elsewhere.model.training_operations import Maps

PACKAGE = Path(library.__file__).parent
SOURCES = {"_level1": ("level1", "level2", "sample"), "_training": ("training",)}

pytestmark = [
    pytest.mark.skipif(
        shutil.which("g++") is None or not list(PACKAGE.glob("*.cpp")), reason="needs g++ and the sources"
    ),
    pytest.mark.timeout(1200),  # for the compiler, on a busy machine
]


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ctypes.CDLL]:
    """Both libraries for 128-bit vectors, built quickly, with the operator new of failing_new.cpp."""
    folder, loaded = tmp_path_factory.mktemp("failing"), {}
    for name, files in SOURCES.items():
        sources = [PACKAGE / f"{file}.cpp" for file in files] + [Path(__file__).with_name("failing_new.cpp")]
        flags = ["-O0", "-std=gnu++17", "-DELSEWHERE_PLAIN", "-pthread", "-fPIC", "-shared", "-Wl,-Bsymbolic"]
        target = folder / f"{name}{importlib.machinery.EXTENSION_SUFFIXES[0]}"
        subprocess.run(["g++", *flags, *sources, "-o", target], check=True)
        library_ = library.load(name, folder)
        assert library_ is not None
        library_.fail_after.argtypes, library_.taken_in_threads.restype = [ctypes.c_long], ctypes.c_long
        loaded[name] = library_
    return loaded


@pytest.fixture
def swapped(failing: dict[str, ctypes.CDLL], monkeypatch: pytest.MonkeyPatch) -> dict[str, ctypes.CDLL]:
    """The program calls these."""
    monkeypatch.setattr(library, "library", lambda: failing["_level1"])
    monkeypatch.setattr(sample, "library", lambda: failing["_level1"])
    monkeypatch.setattr(training_kernel, "library", lambda: failing["_training"])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    return failing


ONE, EIGHT = np.ones(8, np.float32), np.ones((8, 8, 3, 3, 3), np.float32)
PARAMETERS = Level1((EIGHT[:, :1].copy(), EIGHT), (ONE, ONE), (ONE, ONE), (ONE, ONE), (1e-5, 1e-5))
WINDOW = Window(np.zeros((32, 8, 32), np.int16), 0, 32)
DROPS = Drops.of(np.array([0, 99]), (8, 32, 8, 32), (3, 3, 3))
MAPS, LINE = torch.rand(2, 8, 6, 8, 20), (torch.ones(2, 8),) * 3
POOLED = torch.zeros(2, 8, 3, 4, 10), torch.zeros(2, 8, 3, 4, 10, dtype=torch.uint8)
CALLS: dict[str, tuple[str, Callable[[], object]]] = {
    "level 1": ("_level1", lambda: level1_prediction.level1(PARAMETERS, WINDOW)),
    "level 1 of windows": ("_level1", lambda: level1_prediction.level1_windows(PARAMETERS, WINDOW, [0, 8, 16], 16)),
    "level 1 with blocks": ("_level1", lambda: level1_prediction.Passes(PARAMETERS, WINDOW).level1((DROPS, DROPS))),
    "level 2": ("_level1", lambda: level2_prediction.level2(Network(DEEP).eval(), np.ones((8, 6, 16, 32), np.float32))),
    "sample": (
        "_level1",
        lambda: sample.fill(
            np.zeros((5, 40, 30), np.float32),
            np.zeros((5, 30, 40), np.int16),
            backwards=(True,) * 3,
            swapped=True,
            lower=0,
            upper=9,
            factor=1.0,
            aside=False,
            threads=3,
        ),
    ),
    "drops counted": ("_level1", lambda: DROPS.count((8, 32, 8, 32))),
    "convolve": (
        "_training",
        lambda: training_kernel.convolve(
            Maps(MAPS), torch.ones(8, 8, 3, 3, 3), None, (0, 6), Maps(MAPS.clone()), rectify=True
        ),
    ),
    "weigh": ("_training", lambda: training_kernel.weigh(Maps(MAPS), Maps(MAPS), (0, 6))),
    "pool": ("_training", lambda: training_kernel.pool(Maps(MAPS), (0, 6), (2, 2, 2), torch.ones(8), POOLED)),
    "unpool": ("_training", lambda: training_kernel.unpool(Maps(MAPS.clone()), (0, 6), (2, 2, 2), POOLED, LINE)),
    "gate": ("_training", lambda: training_kernel.gate(Maps(MAPS.clone()), Maps(MAPS), (0, 6), torch.ones(2), LINE)),
    "blocks counted": ("_training", lambda: training_kernel.count(Blocks.draw((8, 6, 8, 20), 0.5, 3))),
}


@pytest.mark.parametrize(("name", "call"), CALLS.values(), ids=CALLS.keys())
def test_memory_that_is_missing_is_an_error_of_the_caller(swapped, name, call) -> None:
    loaded, messages = swapped[name], []
    for taken in range(1000):
        loaded.fail_after(taken)
        try:
            call()
        except MemoryError as error:
            messages.append(str(error))
        if not loaded.has_failed():
            break
    loaded.fail_after(-1)
    assert taken < 999
    assert messages
    assert all("kernel found no memory" in message for message in messages)


class InTheCaller:
    """An executor of the caller's thread."""

    map = staticmethod(map)

    def __init__(self, _threads: int) -> None: ...

    def __enter__(self) -> InTheCaller:
        return self

    def __exit__(self, *error: object) -> None: ...


@pytest.mark.parametrize(("name", "call"), CALLS.values(), ids=CALLS.keys())
def test_threads_take_no_memory(swapped, monkeypatch, name, call) -> None:
    monkeypatch.setattr(level1_prediction, "ThreadPoolExecutor", InTheCaller)
    swapped[name].fail_after(-1)
    call()
    assert swapped[name].taken_in_threads() == 0

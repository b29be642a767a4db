"""Memory that a kernel would misread is refused before C++ sees it, also where Python drops its assertions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from deep import DEEP

from elsewhere.errors import BadKernelCall
from elsewhere.model import level1_prediction, level2_prediction, training_kernel
from elsewhere.model.dropped_blocks import Blocks
from elsewhere.model.kernels import sample
from elsewhere.model.kernels.library import library
from elsewhere.model.level1_prediction import Drops, Level1, Window
from elsewhere.model.network import Network
from elsewhere.model.training_operations import Maps

pytestmark = pytest.mark.skipif(library() is None, reason="elsewhere was installed without a C++ compiler")

EIGHT, THREES = np.ones(8, np.float32), (3, 3, 3)
PARAMETERS = Level1(
    weights=(np.ones((8, 1, *THREES), np.float32), np.ones((8, 8, *THREES), np.float32)),
    biases=(EIGHT, EIGHT),
    scales=(EIGHT, EIGHT),
    shifts=(EIGHT, EIGHT),
    epsilons=(1e-5, 1e-5),
)
WINDOW = Window(np.zeros((24, 16, 32), np.int16), 0, 24)


def window(voxels: np.ndarray, length: int = 24) -> Callable[[], object]:
    return lambda: level1_prediction.level1(PARAMETERS, Window(voxels, 0, length))


def weights(index: int, array: np.ndarray) -> Callable[[], object]:
    pair = tuple(array if i == index else one for i, one in enumerate(PARAMETERS.weights))
    return lambda: level1_prediction.level1(replace(PARAMETERS, weights=pair), WINDOW)


def windows(starts: list[int], length: int = 12) -> Callable[[], object]:
    return lambda: level1_prediction.level1_windows(PARAMETERS, WINDOW, starts, length)


def drops(shape: tuple[int, ...]) -> Drops:
    return Drops.of(np.array([0, 5]), shape, (3, 3, 3))


MAPS, FEW = torch.zeros(2, 8, 6, 8, 20), torch.zeros(2, 4, 6, 8, 20)
FILTERS = torch.zeros(8, 8, 3, 3, 3)
POOLED = torch.zeros(2, 8, 3, 4, 10), torch.zeros(2, 8, 3, 4, 10, dtype=torch.uint8)
LINE = (torch.ones(2, 8),) * 3
OTHER = (Blocks.draw((8, 6, 8, 24), 0.5, 3),) * 2


def convolve(
    maps: Maps, out: Maps, filters: torch.Tensor = FILTERS, run: tuple[int, int] = (0, 6)
) -> Callable[[], object]:
    return lambda: training_kernel.convolve(maps, filters, None, run, out, rectify=True)


def fill(out: np.ndarray, voxels: np.ndarray, **changes: bool) -> Callable[[], object]:
    turn = {"backwards": (False,) * 3, "swapped": False, "aside": False, **changes}
    return lambda: sample.fill(out, voxels, lower=0, upper=None, factor=1.0, threads=1, **turn)  # type: ignore[arg-type]


def second_level(maps: np.ndarray) -> Callable[[], object]:
    return lambda: level2_prediction.level2(Network(DEEP).eval(), maps)


VOXELS = np.zeros((3, 9, 11), np.int16)
READ_ONLY = np.zeros(VOXELS.shape, np.float32)
READ_ONLY.flags.writeable = False
REFUSED = {
    "voxels of another type": window(np.zeros((24, 16, 32))),
    "voxels that lie apart": window(np.zeros((24, 16, 64), np.int16)[:, :, ::2]),
    "columns of no whole vector": window(np.zeros((24, 16, 40), np.int16)),
    "rows of no whole pool": window(np.zeros((24, 18, 32), np.int16)),
    "slices of no whole pool": window(np.zeros((24, 16, 32), np.int16), 22),
    "weights in float64": weights(0, np.ones((8, 1, *THREES))),
    "weights of another kernel": weights(1, np.ones((8, 8, 3, 5, 5), np.float32)),
    "weights that lie apart": weights(1, np.asfortranarray(PARAMETERS.weights[1])),
    "nine windows": windows([0, 4, 8, 12] * 2 + [12]),
    "windows between pools": windows([0, 6]),
    "a window beyond the scan": windows([0, 16]),
    "a window before the scan": windows([-4, 0]),
    "windows without two ends": windows([0, 4], 4),
    "drops of other maps": lambda: level1_prediction.Passes(PARAMETERS, WINDOW).level1((drops((8, 24, 16, 48)),) * 2),
    "drops counted in other maps": lambda: drops((8, 24, 16, 48)).count((9, 24, 16, 48)),
    "level 2 in float64": second_level(np.zeros((8, 6, 16, 32))),
    "level 2 of other channels": second_level(np.zeros((6, 6, 16, 32), np.float32)),
    "level 2 of no whole pool": second_level(np.zeros((8, 6, 18, 32), np.float32)),
    "maps in float64": convolve(Maps(MAPS.double()), Maps(MAPS)),
    "maps that lie apart": convolve(Maps(MAPS.transpose(3, 4).contiguous().transpose(3, 4)), Maps(MAPS)),
    "maps of other columns": convolve(Maps(MAPS[..., :16].contiguous()), Maps(MAPS)),
    "maps of fewer samples": convolve(Maps(MAPS[:1]), Maps(MAPS)),
    "maps on another device": convolve(Maps(MAPS.to("meta")), Maps(MAPS)),
    "filters of no whole block": convolve(Maps(MAPS), Maps(FEW), FILTERS[:4]),
    "filters of other channels": convolve(Maps(MAPS), Maps(MAPS), FILTERS[:, :4].contiguous()),
    "a run beyond the maps": convolve(Maps(MAPS), Maps(MAPS), run=(2, 7)),
    "a run before the maps": convolve(Maps(MAPS), Maps(MAPS, 2), run=(1, 4)),
    "blocks of other maps": convolve(Maps(MAPS, blocks=OTHER), Maps(MAPS)),
    "blocks of one sample": convolve(Maps(MAPS, blocks=OTHER[:1]), Maps(MAPS)),
    "an affine of other channels": convolve(Maps(MAPS, scale=torch.ones(2, 4), shift=torch.ones(2, 4)), Maps(MAPS)),
    "a scale without a shift": convolve(Maps(MAPS, scale=torch.ones(2, 8)), Maps(MAPS)),
    "gradients of no whole block": lambda: training_kernel.weigh(Maps(MAPS), Maps(FEW), (0, 6)),
    "half a pool": lambda: training_kernel.pool(Maps(MAPS), (0, 3), (2, 2, 2), torch.ones(8), POOLED),
    "pools that leave a rest": lambda: training_kernel.pool(Maps(MAPS), (0, 6), (2, 3, 2), torch.ones(8), POOLED),
    "pools too wide": lambda: training_kernel.pool(Maps(MAPS), (0, 6), (2, 2, 5), torch.ones(8), POOLED),
    "pooled maps of another size": lambda: training_kernel.pool(Maps(MAPS), (0, 6), (2, 2, 4), torch.ones(8), POOLED),
    "places in float32": lambda: training_kernel.pool(Maps(MAPS), (0, 6), (2, 2, 2), torch.ones(8), POOLED[:1] * 2),
    "too few signs": lambda: training_kernel.pool(Maps(MAPS), (0, 6), (2, 2, 2), torch.ones(4), POOLED),
    "a line of other filters": lambda: training_kernel.unpool(
        Maps(MAPS), (0, 6), (2, 2, 2), POOLED, (torch.ones(2, 4),) * 3
    ),
    "more slices than were pooled": lambda: training_kernel.unpool(Maps(MAPS, 2), (2, 8), (2, 2, 2), POOLED, LINE),
    "gradients of other maps": lambda: training_kernel.gate(Maps(MAPS), Maps(FEW), (0, 6), torch.ones(2), None),
    "factors of other samples": lambda: training_kernel.gate(Maps(MAPS), Maps(MAPS), (0, 6), torch.ones(3), None),
    "an input in float64": fill(np.zeros(VOXELS.shape), VOXELS),
    "an input of another size": fill(np.zeros((3, 9, 10), np.float32), VOXELS),
    "an input that is not turned": fill(np.zeros(VOXELS.shape, np.float32), VOXELS, swapped=True),
    "an input that is read-only": fill(READ_ONLY, VOXELS),
    "one slice": fill(np.zeros((9, 11), np.float32), VOXELS[0]),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED.keys())
def test_what_a_kernel_would_misread_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(BadKernelCall, match="fault of elsewhere"):
        call()


def test_it_is_refused_without_assertions_too() -> None:
    run = subprocess.run([sys.executable, "-O", __file__], capture_output=True, text=True, timeout=250, check=False)
    assert (run.returncode, run.stdout.splitlines()) == (0, [*REFUSED, "no assertions"]), run.stderr


def test_what_fits_is_not_refused() -> None:
    assert level1_prediction.level1(PARAMETERS, WINDOW).shape == (8, 6, 4, 8)
    assert level1_prediction.level1_windows(PARAMETERS, WINDOW, [0, 4, 12], 12).shape == (3, 8, 3, 4, 8)
    assert level1_prediction.level1_windows(PARAMETERS, WINDOW, [0, 4], 8).shape == (2, 8, 2, 4, 8)
    assert level1_prediction.Passes(PARAMETERS, WINDOW).level1((drops((8, 24, 16, 32)),) * 2).shape == (8, 6, 4, 8)
    assert second_level(np.zeros((8, 6, 16, 32), np.float32))().shape == (1, 16, 3, 4, 8)
    assert convolve(Maps(MAPS), Maps(MAPS.clone()))().shape == (2, 8, 2)
    assert training_kernel.weigh(Maps(MAPS), Maps(MAPS, 2), (2, 8)).shape == (8, 8, 3, 3, 3)
    training_kernel.pool(Maps(MAPS), (0, 6), (2, 2, 2), torch.ones(8), POOLED)
    assert training_kernel.unpool(Maps(MAPS.clone()), (1, 5), (2, 2, 2), POOLED, LINE).shape == (4, 2, 8)
    assert training_kernel.gate(Maps(MAPS.clone()), Maps(MAPS), (0, 6), torch.ones(2), LINE).shape == (2, 8, 4)
    assert fill(np.zeros((3, 11, 9), np.float32), VOXELS, swapped=True)()


def _main() -> None:
    for name, call in REFUSED.items():
        try:
            call()
        except BadKernelCall:
            print(name)
    assert False, "python -O drops this line"  # noqa: B011, PT015
    print("no assertions")


if __name__ == "__main__":
    _main()

"""Stored voxels of one window and level 1's weights in, level 1's pooled output out, through the compiled kernel."""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

FILTERS, POOL, LANES = 8, 4, 16
"""What the kernel is built for: the paper's level 1, and columns in whole vectors of the widest instruction set."""

KINDS = {"uint8": 0, "int16": 1, "float32": 2}


Pair = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Window:
    """A run of slices, as stored, and how it becomes the network's input.

    A voxel's normalised value is (stored - zero) * unit, clipped to low..high.

    Attributes:
        voxels: uint8, int16 or float32 [slice, row, column]; more slices than the window holds are welcome.
        start: the window's first slice in `voxels`; negative where padding comes first.
        length: slices of the window, padding among them.
        zero: stored value that becomes 0.
        unit: normalised step for one stored unit.
        low: smallest normalised value.
        high: largest normalised value.
        padding: normalised value of the window's slices that lie outside `voxels`.
    """

    voxels: NDArray[Any]
    start: int
    length: int
    zero: float = 0.0
    unit: float = 1.0
    low: float = float(np.finfo(np.float32).min)
    high: float = float(np.finfo(np.float32).max)
    padding: float = 0.0

    def normalise(self, first: int, last: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Normalised slices first:last of the window, [slice, row, column]; 0 outside the window."""
        rows, columns = self.voxels.shape[1:]
        out = torch.zeros(last - first, rows, columns, dtype=dtype)
        out[max(0, -first) : self.length - first] = self.padding
        begin, end = max(self.start + first, self.start, 0), min(self.start + min(last, self.length), len(self.voxels))
        if begin < end:
            values = (torch.from_numpy(self.voxels[begin:end]).to(dtype) - self.zero) * self.unit
            out[begin - self.start - first : end - self.start - first] = values.clamp_(self.low, self.high)
        return out


@dataclass(frozen=True)
class Level1:
    """The weights of level 1's two convolutions and GroupNorms (one group per filter), float32."""

    weights: Pair
    biases: Pair
    scales: Pair
    shifts: Pair
    epsilons: tuple[float, float]

    def affine(self, layer: int, sums: NDArray[np.float64], voxels: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """GroupNorm `layer` as scale and shift per filter, from [slice, filter, (sum, sum of squares)] in float64."""
        mean, square = sums.sum(axis=0).T / voxels
        scale = self.scales[layer] / np.sqrt(np.maximum(square - mean**2, 0) + self.epsilons[layer])  # in float64
        return scale, self.shifts[layer] - mean * scale


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None, and one line in the log, where the installation had no compiler."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_level1{suffix}")
        if path.exists():
            return _typed(ctypes.CDLL(str(path)))
    logging.getLogger(__name__).warning(
        "The compiled kernel of elsewhere is missing (no C++ compiler at installation): predictions are right and "
        "lean, but several times slower. Install a compiler and reinstall elsewhere to get it."
    )
    return None


def _typed(loaded: ctypes.CDLL) -> ctypes.CDLL:
    whole, real, data = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
    loaded.elsewhere_level1.argtypes = [data, *[whole] * 6, *[real] * 5, *[data] * 9, whole, whole]
    return loaded


def lanes() -> int:
    """Floats per vector in use: 16 AVX-512, 8 AVX2, 4 any; ELSEWHERE_LANES asks for fewer than the processor has."""
    loaded = library()
    assert loaded is not None
    best = int(loaded.elsewhere_lanes())
    return min(best, int(os.environ.get("ELSEWHERE_LANES", best)))


def fits(window: Window) -> bool:
    """Whether the compiled kernel takes this window: known voxels, whole pools, whole vectors along the columns."""
    rows, columns = window.voxels.shape[1:]
    whole = window.length % POOL == rows % POOL == columns % LANES == 0
    return window.voxels.dtype.name in KINDS and window.voxels.flags.c_contiguous and whole


def level1(parameters: Level1, window: Window, threads: int | None = None) -> NDArray[np.float32]:
    """Level 1 of one window, pooled and normalised: float32 [filter, slice, row, column], a quarter of each axis.

    The same bytes for any number of threads (default: torch's).
    """
    rows, columns = window.voxels.shape[1:]
    voxels = window.length * rows * columns
    sums = np.empty((window.length, FILTERS, 2))
    out = np.empty((FILTERS, window.length // POOL, rows // POOL, columns // POOL), np.float32)
    sign = np.where(parameters.scales[1] < 0, -1, 1)
    run = functools.partial(_run, parameters, window, sums=sums, threads=threads or torch.get_num_threads())
    run(np.zeros((3, FILTERS)), pooled=None)
    run(np.stack([*parameters.affine(0, sums, voxels), sign]), pooled=out)
    scale, shift = parameters.affine(1, sums, voxels)
    out *= (scale * sign).astype(np.float32)[:, None, None, None]
    out += shift.astype(np.float32)[:, None, None, None]
    return out


def _run(
    parameters: Level1,
    window: Window,
    fold: NDArray[np.float64],
    *,
    pooled: NDArray[np.float32] | None,
    sums: NDArray[np.float64],
    threads: int,
) -> None:
    """Pass A, or pass B into `pooled`; `fold` is GroupNorm 1's scale and shift, and the sign of GroupNorm 2's scale."""
    loaded = library()
    assert loaded is not None
    (weights1, weights2), (bias1, bias2) = parameters.weights, parameters.biases
    scale, shift, sign = fold.astype(np.float32)
    failed = loaded.elsewhere_level1(
        window.voxels.ctypes.data,
        KINDS[window.voxels.dtype.name],
        *window.voxels.shape,
        *(window.start, window.length),
        *(window.zero, window.unit, window.low, window.high, window.padding),
        *(array.ctypes.data for array in (weights1, bias1, scale, shift, weights2, bias2, sign)),
        None if pooled is None else pooled.ctypes.data,
        sums.ctypes.data,
        *(lanes(), threads),
    )
    if failed:
        raise MemoryError("the level-1 kernel found no memory for its slabs (under 6 MB a thread)")

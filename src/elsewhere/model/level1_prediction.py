"""Stored voxels of one window and level 1's weights in, level 1's pooled output out, through the compiled kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elsewhere.model.kernels import abi
from elsewhere.model.kernels.library import address, kernels, lanes, require

FILTERS, POOL, LANES, MOST_WINDOWS = 8, 4, 16, 8
"""What the kernel is built for: the paper's level 1, columns in whole vectors, and windows of one shared call."""

SUM, POOLED, SHARED, DROPPED = range(4)
"""The kernel's passes: sums of the first convolution; to the pooled maxima; the same for overlapping windows; the same
as the second with DropBlock."""

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


class Drops(abi.Drops):
    """DropBlock's blocks of one layer; keeps its arrays alive."""

    @classmethod
    def of(cls, corners: NDArray[np.int64], shape: Sequence[int], block: Sequence[int]) -> Drops:
        """Blocks of (slice, row, column) size `block` in maps (filter, slice, row, column).

        Args:
            corners: first voxel of each block, as an index into the grid of the places where a whole block fits.
            shape: of the maps.
            block: of a block.
        """
        grid = [edge - size + 1 for edge, size in zip(shape[1:], block, strict=True)]
        filters, slices, rows, columns = np.unravel_index(corners, (shape[0], *grid))
        line = slices * grid[1] + rows
        order = np.argsort(line, kind="stable")
        entries = (filters * shape[3] + columns)[order].astype(np.int32)
        counts = np.bincount(line, minlength=grid[0] * grid[1])
        offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int32)
        drops = cls(offsets.ctypes.data, entries.ctypes.data, *grid[:2], shape[3], *block)
        drops.arrays, drops.shape = (offsets, entries), tuple(shape)
        return drops

    def count(self, shape: Sequence[int]) -> int:
        """Voxels of maps (filter, slice, row, column) that the blocks cover."""
        require(self.shape == tuple(shape), "Drops", f"are of maps {list(self.shape)}, not {list(shape)}")
        count = int(kernels().elsewhere_count_dropped(self, *shape[:3]))
        if count < 0:
            raise MemoryError("the level-1 kernel found no memory to count dropped voxels (one row)")
        return count


def fits(window: Window) -> bool:
    """Whether the compiled kernel takes this window: known voxels, whole pools, whole vectors along the columns.

    Not a number is left to torch: the kernel's maxima would swallow it.
    """
    voxels, (rows, columns) = window.voxels, window.voxels.shape[1:]
    whole = window.length % POOL == rows % POOL == columns % LANES == 0
    known = voxels.dtype.name in KINDS and voxels.flags.c_contiguous
    return whole and known and (voxels.dtype.kind != "f" or math.isfinite(voxels.sum()))


def level1(
    parameters: Level1, window: Window, threads: int | None = None, *, fast: bool = False
) -> NDArray[np.float32]:
    """Level 1 of one window, pooled and normalised: float32 [filter, slice, row, column], a quarter of each axis.

    The same bytes for any number of threads (default: torch's).
    """
    work = replace(_Work.of(parameters, window, [0], window.length, threads), lanes=lanes(fast=fast))
    work.run(SUM)
    work.fold_first()
    work.run(POOLED)
    return work.fold_second()[0]


def level1_windows(parameters: Level1, scan: Window, starts: Sequence[int], length: int) -> NDArray[np.float32]:
    """Level 1 of overlapping windows of `length` slices: float32 [window, filter, slice, row, column].

    Every window is what `level1` makes of it alone (statistics of its own, zeros beyond its first and last slice);
    what does not depend on the window is computed once.

    Args:
        parameters: level 1's weights.
        scan: the slices from the first window's first to the last window's last one.
        starts: first slice of each window, counted from the scan's; a multiple of 4, ascending, at most 8 of them.
        length: slices of a window, a multiple of 4 and at least 8 (two ends of 4).
    """
    inside = all(0 <= start <= scan.length - length for start in starts)
    require(inside, "windows", f"{list(starts)} of {length} slices must lie in the scan's {scan.length}")
    whole = _Work.of(parameters, scan, [0], scan.length, None)
    whole.run(SUM)
    shared = _Work.of(parameters, scan, starts, length, None)
    for index, start in enumerate(starts):
        shared.sums[index] = whole.sums[0, start : start + length]
    shared.run_ends(SUM, 2)  # the kernel overhangs a window's first and last slice
    shared.fold_first()
    shared.run(SHARED)
    shared.run_ends(POOLED, POOL)
    return shared.fold_second()


class Passes:
    """Level 1 of one window, again and again with other blocks dropped; the first convolution's sums are taken once.

    Args:
        parameters: level 1's weights.
        window: the window.
        threads: default torch's; the result does not depend on it.
    """

    def __init__(self, parameters: Level1, window: Window, threads: int | None = None) -> None:
        self._work = _Work.of(parameters, window, [0], window.length, threads)
        self._work.run(SUM)
        self._sums = self._work.sums.copy()
        self.shape = (FILTERS, window.length, *window.voxels.shape[1:])

    def level1(self, drops: tuple[Drops, Drops]) -> NDArray[np.float32]:
        """Level 1, pooled: float32 [filter, slice, row, column], a quarter of each axis; the next call overwrites it.

        What is kept is scaled by voxels / kept voxels (Ghiasi, Lin and Le, NeurIPS 2018, algorithm 1).
        """
        work, (first, second) = self._work, (self._scale(blocks) for blocks in drops)
        work.sums[:] = self._sums
        work.fold_first()
        work.folds[:] *= np.float32(first)
        work.touched[:] = False
        work.run(DROPPED, 0, None, *drops)
        (maps,) = work.pooled
        nothing_kept = maps == np.finfo(np.float32).min
        maps[nothing_kept] = 0
        work.fold_second()
        np.maximum(maps, 0, out=maps, where=work.touched)
        maps[nothing_kept] = 0
        maps *= np.float32(second)
        return maps

    def _scale(self, drops: Drops) -> float:
        voxels = math.prod(self.shape)
        kept = voxels - drops.count(self.shape)
        return voxels / kept if kept else 0.0


@dataclass(frozen=True)
class _Work:
    """The arrays of the kernel's passes over one or more windows of a run of slices."""

    parameters: Level1
    scan: Window
    starts: NDArray[np.int32]
    folds: NDArray[np.float32]  # [scale or shift, window, filter] of GroupNorm 1
    sums: NDArray[np.float64]  # [window, slice, filter, sum or sum of squares]
    pooled: NDArray[np.float32]
    touched: NDArray[np.bool_]  # pools that DropBlock reached into
    threads: int
    lanes: int

    @classmethod
    def of(cls, parameters: Level1, scan: Window, starts: Sequence[int], length: int, threads: int | None) -> _Work:
        windows, (rows, columns) = len(starts), scan.voxels.shape[1:]
        size = (FILTERS, length // POOL, rows // POOL, columns // POOL)
        return cls(
            parameters,
            scan,
            np.array(starts, np.int32),
            folds=np.zeros((2, windows, FILTERS), np.float32),
            sums=np.zeros((windows, length, FILTERS, 2)),
            pooled=np.empty((windows, *size), np.float32),
            touched=np.zeros(size, np.bool_),
            threads=threads or torch.get_num_threads(),
            lanes=lanes(),
        )

    def alone(self, index: int) -> _Work:
        """Window `index` by itself, in the same arrays."""
        one = slice(index, index + 1)
        start = self.scan.start + int(self.starts[index])
        scan = replace(self.scan, start=start, length=self.sums.shape[1])
        first = np.zeros(1, np.int32)
        return replace(
            self, scan=scan, starts=first, folds=self.folds[:, one], sums=self.sums[one], pooled=self.pooled[one]
        )

    @property
    def voxels(self) -> int:
        return self.sums.shape[1] * math.prod(self.scan.voxels.shape[1:])

    def fold_first(self) -> None:
        for index, sums in enumerate(self.sums):
            self.folds[:, index] = self.parameters.affine(0, sums, self.voxels)

    def fold_second(self) -> NDArray[np.float32]:
        for index, sums in enumerate(self.sums):
            scale, shift = (array.astype(np.float32) for array in self.parameters.affine(1, sums, self.voxels))
            self.pooled[index] *= np.abs(scale)[:, None, None, None]
            self.pooled[index] += shift[:, None, None, None]
        return self.pooled

    def run_ends(self, pass_: int, slices: int) -> None:
        """The first and the last slices of every window by itself, one end a thread."""
        alone = [replace(self.alone(index), threads=1) for index in range(len(self.starts))]
        length = self.sums.shape[1]
        with ThreadPoolExecutor(self.threads) as pool:
            ends = [(work, first) for work in alone for first in (0, length - slices)]
            list(pool.map(lambda end: end[0].run(pass_, end[1], end[1] + slices), ends))

    def run(self, pass_: int, first: int = 0, last: int | None = None, *drops: Drops) -> None:
        """Slices first:last (all of them) through one pass, their sums anew."""
        last = self.scan.length if last is None else last
        job = self._job(pass_, first, last, drops or (abi.Drops(), abi.Drops()))
        self.sums[:, first:last] = 0
        if kernels().elsewhere_level1(job):
            raise MemoryError("the level-1 kernel found no memory for its slabs (under 6 MB a thread)")

    def _job(self, pass_: int, first: int, last: int, drops: Sequence[abi.Drops]) -> abi.Job:
        scan, parameters = self.scan, self.parameters
        self._check(pass_, first, last, drops)
        sign = np.where(parameters.scales[1] < 0, -1, 1).astype(np.float32)
        scales, shifts = np.ascontiguousarray(self.folds)
        count, length = self.sums.shape[:2]
        pools = (FILTERS, length // POOL, scan.voxels.shape[1] // POOL, scan.voxels.shape[2] // POOL)
        single, double, edges = np.float32, np.float64, (3, 3, 3)
        job = abi.Job(
            address("voxels", scan.voxels, scan.voxels.dtype),
            KINDS[scan.voxels.dtype.name],
            *scan.voxels.shape,
            *(scan.start, scan.length, first, last),
            *(scan.zero, scan.unit, scan.low, scan.high, scan.padding),
            *(pass_, count, length),
            address("starts", self.starts, np.int32, (count,)),
            address("scales", scales, single, (count, FILTERS)),
            address("shifts", shifts, single, (count, FILTERS)),
            address("weights1", parameters.weights[0], single, (FILTERS, 1, *edges)),
            address("bias1", parameters.biases[0], single, (FILTERS,)),
            address("weights2", parameters.weights[1], single, (FILTERS, FILTERS, *edges)),
            address("bias2", parameters.biases[1], single, (FILTERS,)),
            address("sign", sign, single, (FILTERS,)),
            address("pooled", self.pooled, single, (count, *pools), filled=True),
            address("sums", self.sums, double, (count, length, FILTERS, 2), filled=True),
            *drops,
            address("touched", self.touched, np.bool_, pools, filled=True),
            *(self.lanes, self.threads),
        )
        job.arrays = scales, shifts, sign, drops  # addresses hold nothing alive
        return job

    def _check(self, pass_: int, first: int, last: int, drops: Sequence[abi.Drops]) -> None:
        """Sizes that the kernel takes for granted; `address` looks at the arrays."""
        scan, (count, length) = self.scan, self.sums.shape[:2]
        shape, whole = scan.voxels.shape, 2 if pass_ == SUM else POOL
        known = scan.voxels.dtype.name in KINDS and len(shape) == 3
        require(known, "voxels", f"must be {', '.join(KINDS)} [slice, row, column], are {scan.voxels.dtype} {shape}")
        fits = shape[1] % POOL == shape[2] % LANES == length % POOL == scan.length % POOL == 0
        require(fits, "voxels", f"[{length} or {scan.length} slices, {shape[1:]}] must be whole pools and vectors")
        inside = 0 <= first <= last <= scan.length and first % whole == last % whole == 0
        require(inside, "slices", f"{first}:{last} must lie in 0:{scan.length}, in steps of {whole}")
        alone = count == 1 and self.starts[0] == 0 and length == scan.length
        shared = 0 < count <= MOST_WINDOWS and length >= 2 * POOL
        steps = all(start % POOL == 0 and 0 <= start <= scan.length - length for start in self.starts)
        require((shared and steps) if pass_ == SHARED else alone, "windows", f"{self.starts} of {length} slices")
        maps = (FILTERS, length, *shape[1:])
        same = all(not drop.offsets or getattr(drop, "shape", None) == maps for drop in drops)
        require(same, "Drops", f"must be of maps {maps}")

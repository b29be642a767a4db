"""What `training_operations.py` computes, with the same arguments, in float32 through the kernel of training.cpp."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.errors import BadKernelCall
from elsewhere.model.dropped_blocks import Blocks
from elsewhere.model.kernels import abi
from elsewhere.model.kernels.library import REPORT, address, lanes, load, require
from elsewhere.model.kernels.library import library as other_kernels
from elsewhere.model.training_operations import Line, Maps, Pooled, Run, Size

BLOCK, WIDEST = 8, 4
"""Filters computed together at most, so that all maps written must be whole multiples; the widest pool."""

TYPES = {torch.float32, torch.float64, torch.uint8, torch.int32}


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None where the installation had no compiler (`library.py` says so).

    Raises:
        BadInstallation: see `library.load`.
    """
    return load("_training") if other_kernels() is not None else None


def convolve(maps: Maps, weights: Tensor, bias: Tensor | None, run: Run, out: Maps, *, rectify: bool) -> Tensor:
    """See `training_operations.convolve`."""
    (samples, filters), channels = out.data.shape[:2], maps.data.shape[1]
    _check_pair(maps, out, run)
    require(filters % BLOCK == 0, "filters", f"{filters}, must be a multiple of {BLOCK}")
    sums = torch.zeros(run[1] - run[0], samples, filters, 2, dtype=torch.float64)
    kernel = _address("weights", weights := weights.detach().contiguous(), np.float32, (filters, channels, 3, 3, 3))
    shift = None if bias is None else _address("bias", bias, np.float32, (filters,))
    _call("convolve", maps, out, kernel, shift, *run, rectify, _address("sums", sums, np.float64))
    return sums.sum(0)


def weigh(maps: Maps, gradients: Maps, run: Run) -> Tensor:
    """See `training_operations.weigh`."""
    filters, channels = gradients.data.shape[1], maps.data.shape[1]
    _check_pair(maps, gradients, run)
    require(filters % BLOCK == 0, "filters", f"{filters}, must be a multiple of {BLOCK}")
    weights = torch.zeros(filters, channels, 3, 3, 3, dtype=torch.float64)
    _call("weigh", maps, gradients, *run, _address("weights", weights, np.float64))
    return weights


def pool(maps: Maps, run: Run, size: Size, sign: Tensor, pooled: Pooled) -> None:
    """See `training_operations.pool`."""
    require(run[0] % size[0] == run[1] % size[0] == 0, "run", f"{run} must be of whole pools of {size[0]} slices")
    best, index, total = _pooled(maps, run, size, pooled)
    signs = _address("sign", sign, np.float32, (maps.data.shape[1],))
    _call("pool", maps, *run, (ctypes.c_int * 3)(*size), signs, best, index, total)


def unpool(maps: Maps, run: Run, size: Size, pooled: Pooled, line: Line) -> Tensor:
    """See `training_operations.unpool`."""
    best, index, total = _pooled(maps, run, size, pooled)
    sums = torch.zeros(run[1] - run[0], *maps.data.shape[:2], dtype=torch.float64)
    parts = _floats(line)
    affine = [_address("line", part, np.float32, maps.data.shape[:2]) for part in parts]
    into = _address("sums", sums, np.float64)
    _call("unpool", maps, *run, (ctypes.c_int * 3)(*size), best, index, total, *affine, into)
    return sums


def gate(gradients: Maps, maps: Maps, run: Run, kept: Tensor, line: Line | None) -> Tensor:
    """See `training_operations.gate`."""
    _check_pair(gradients, maps, run)
    _check_run(gradients, run)
    require(gradients.data.shape[1] == maps.data.shape[1], "channels", "of maps and of gradients must be as many")
    sums = torch.zeros(run[1] - run[0], *maps.data.shape[:2], 4, dtype=torch.float64)
    factor, *parts = _floats([kept, *(line or ())])
    affine: list[int | None] = [_address("line", part, np.float32, maps.data.shape[:2]) for part in parts]
    share, into = _address("kept", factor, np.float32, maps.data.shape[:1]), _address("sums", sums, np.float64)
    _call("gate", gradients, maps, *run, share, *(affine or [None] * 3), into)
    return sums.sum(0)


def count(blocks: Blocks) -> int:
    """See `Blocks.count`."""
    given, _arrays = _blocks([blocks])
    voxels = int(_kernel().elsewhere_count_blanked(given, *blocks.shape))
    if voxels < 0:
        raise MemoryError("the training kernel found no memory to count dropped voxels (one row)")
    return voxels


def _kernel() -> ctypes.CDLL:
    if (loaded := library()) is None:
        raise BadKernelCall("the training kernel", "was called, but is not installed", REPORT)
    return loaded


def _floats(values: Sequence[Tensor]) -> list[Tensor]:
    return [value.to(torch.float32).contiguous() for value in values]


def _call(name: str, *given: Any) -> None:
    arguments, alive = [], []
    for value in given:
        argument, arrays = _maps(value) if isinstance(value, Maps) else (value, None)
        arguments.append(argument)
        alive.append(arrays)  # addresses hold nothing alive
    if getattr(_kernel(), f"elsewhere_{name}")(*arguments, lanes(), torch.get_num_threads()):
        raise MemoryError("the training kernel found no memory for its rows (a few MB a thread)")


def _address(name: str, tensor: Tensor, dtype: type, shape: Sequence[int] | None = None) -> int:
    """`library.address` of a tensor's numbers."""
    require(tensor.device.type == "cpu", name, f"lies on {tensor.device}, not on the processor")
    require(tensor.dtype in TYPES, name, f"is of {tensor.dtype}")
    return address(name, tensor.detach().numpy(), dtype, shape)


def _check_run(maps: Maps, run: Run) -> None:
    held = maps.origin, maps.origin + maps.data.shape[2]
    require(held[0] <= run[0] <= run[1] <= held[1], "run", f"{run} must lie in the slices held, {held}")


def _check_pair(maps: Maps, filled: Maps, run: Run) -> None:
    """Maps of one batch, of which the second's `run` is gone through."""
    one, other = ((data.shape[0], *data.shape[3:]) for data in (maps.data, filled.data))
    require(one == other, "maps", f"must be of the same samples, rows and columns, are {one} and {other}")
    _check_run(filled, run)


def _pooled(maps: Maps, run: Run, size: Size, pooled: Pooled) -> tuple[int, int, int]:
    """Where pools' values and places lie, and how many slices of maps they are of."""
    (best, index), (samples, filters, _, rows, columns) = pooled, maps.data.shape
    _check_run(maps, run)
    whole = rows % size[1] == columns % size[2] == 0 and min(size) > 0 and size[2] <= WIDEST
    require(whole and math.prod(size) <= 64, "pools", f"{size} must divide rows and columns {rows, columns}")
    total = best.shape[2] * size[0]
    require(run[0] >= 0 and run[1] <= total, "run", f"{run} must lie in the {total} slices pooled")
    shape = samples, filters, best.shape[2], rows // size[1], columns // size[2]
    return _address("best", best, np.float32, shape), _address("index", index, np.uint8, shape), total


def _maps(maps: Maps) -> tuple[abi.Maps, Any]:
    samples, channels, *size = maps.data.shape
    affine = [None if part is None else part.float().contiguous() for part in (maps.scale, maps.shift)]
    blocks, arrays = (None, None) if maps.blocks is None else _blocks(maps.blocks)
    for one in maps.blocks or ():
        same = (one.shape[0], *one.shape[2:]) == (channels, *size[1:])
        require(same, "blocks", f"are of maps {list(one.shape)}, not {[channels, *size]}")
    require(maps.blocks is None or len(maps.blocks) == samples, "blocks", f"must be of {samples} samples")
    require(len([part for part in affine if part is None]) != 1, "scale", "must come with a shift")
    given = abi.Maps(
        _address("maps", maps.data, np.float32),
        *(samples, channels, *size, maps.origin),
        *(None if part is None else _address("affine", part, np.float32, (samples, channels)) for part in affine),
        None if blocks is None else ctypes.addressof(blocks),
        maps.step,
    )
    return given, (affine, blocks, arrays)


def _blocks(all_blocks: Sequence[Blocks]) -> tuple[Any, Any]:
    given, alive = (abi.Blocks * len(all_blocks))(), []
    for index, blocks in enumerate(all_blocks):
        offsets, columns = blocks.lines
        lines = math.prod(blocks.grid[:3]) + 1
        places = _address("offsets", offsets, np.int32, (lines,)), _address("columns", columns, np.int32)
        given[index] = abi.Blocks(*places, *blocks.grid[1:3], *blocks.block)
        alive.append((offsets, columns))
    return given, alive

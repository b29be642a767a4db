"""Maps and weights as for `operations.py` in, the same results out, in float32 through the kernel of training.cpp."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from elsewhere.model.fast.blocks import Blocks
from elsewhere.model.fast.library import lanes, load
from elsewhere.model.fast.library import library as other_kernels
from elsewhere.model.fast.operations import Line, Maps, Pooled, Run, Size


class _Blocks(ctypes.Structure):
    """`struct Blocks` of training.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("offsets", "columns")),
        *((name, ctypes.c_int) for name in ("slices", "rows", "depth", "height", "width")),
    )


class _Maps(ctypes.Structure):
    """`struct Maps` of training.cpp."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        *((name, ctypes.c_int) for name in ("samples", "channels", "slices", "rows", "columns", "origin")),
        *((name, ctypes.c_void_p) for name in ("scale", "shift", "blocks")),
        ("step", ctypes.c_int),
    )


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None where the installation had no compiler (`library.py` says so)."""
    loaded = load("_training") if other_kernels() is not None else None
    if loaded is not None:
        loaded.elsewhere_count_blanked.restype = ctypes.c_longlong
    return loaded


def convolve(maps: Maps, weights: Tensor, bias: Tensor | None, run: Run, out: Maps, *, rectify: bool) -> Tensor:
    """See `operations.convolve`."""
    samples, filters = out.data.shape[:2]
    sums = torch.zeros(run[1] - run[0], samples, filters, 2, dtype=torch.float64)
    _call("convolve", maps, out, weights.detach().contiguous(), bias, *run, rectify, sums, lanes())
    return sums.sum(0)


def weigh(maps: Maps, gradients: Maps, run: Run) -> Tensor:
    """See `operations.weigh`."""
    weights = torch.zeros(gradients.data.shape[1], maps.data.shape[1], 3, 3, 3, dtype=torch.float64)
    _call("weigh", maps, gradients, *run, weights, lanes())
    return weights


def pool(maps: Maps, run: Run, size: Size, sign: Tensor, pooled: Pooled) -> None:
    """See `operations.pool`."""
    total = pooled[0].shape[2] * size[0]
    _call("pool", maps, *run, size, sign, *pooled, total, lanes())


def unpool(maps: Maps, run: Run, size: Size, pooled: Pooled, line: Line) -> Tensor:
    """See `operations.unpool`."""
    sums = torch.zeros(run[1] - run[0], *maps.data.shape[:2], dtype=torch.float64)
    total = pooled[0].shape[2] * size[0]
    _call("unpool", maps, *run, size, *pooled, total, *_floats(line), sums, lanes())
    return sums


def gate(gradients: Maps, maps: Maps, run: Run, kept: Tensor, line: Line | None) -> Tensor:
    """See `operations.gate`."""
    sums = torch.zeros(run[1] - run[0], *maps.data.shape[:2], 4, dtype=torch.float64)
    parts = _floats(line) if line else [None] * 3
    _call("gate", gradients, maps, *run, *_floats([kept]), *parts, sums, lanes())
    return sums.sum(0)


def count(blocks: Blocks) -> int:
    """See `Blocks.count`."""
    loaded = library()
    assert loaded is not None
    given, _arrays = _blocks([blocks])
    return int(loaded.elsewhere_count_blanked(given, *blocks.shape))


def _floats(values: Sequence[Tensor]) -> list[Tensor]:
    return [value.to(torch.float32).contiguous() for value in values]


def _call(name: str, *given: Any) -> None:
    loaded = library()
    assert loaded is not None
    arguments, alive = [], []
    for value in given:
        argument, arrays = _argument(value)
        arguments.append(argument)
        alive.append(arrays)  # addresses hold nothing alive
    if getattr(loaded, f"elsewhere_{name}")(*arguments, torch.get_num_threads()):
        raise MemoryError("the training kernel found no memory for its rows (a few MB a thread)")


def _argument(value: Any) -> tuple[Any, Any]:
    if isinstance(value, Maps):
        return _maps(value)
    if isinstance(value, Tensor):
        value = value.detach()
        assert value.is_contiguous()
        return ctypes.c_void_p(value.data_ptr()), value
    if isinstance(value, tuple):
        return (ctypes.c_int * len(value))(*value), None
    return (int(value) if isinstance(value, bool) else value), None


def _maps(maps: Maps) -> tuple[Any, Any]:
    assert maps.data.is_contiguous()
    assert maps.data.dtype == torch.float32
    affine = [None if part is None else part.float().contiguous() for part in (maps.scale, maps.shift)]
    blocks, arrays = (None, None) if maps.blocks is None else _blocks(maps.blocks)
    samples, channels, *size = maps.data.shape
    given = _Maps(
        maps.data.data_ptr(),
        *(samples, channels, *size, maps.origin),
        *(None if part is None else part.data_ptr() for part in affine),
        None if blocks is None else ctypes.addressof(blocks),
        maps.step,
    )
    return ctypes.byref(given), (given, affine, blocks, arrays)


def _blocks(all_blocks: Sequence[Blocks]) -> tuple[Any, Any]:
    given, alive = (_Blocks * len(all_blocks))(), []
    for index, blocks in enumerate(all_blocks):
        offsets, columns = blocks.lines
        given[index] = _Blocks(offsets.data_ptr(), columns.data_ptr(), *blocks.grid[1:3], *blocks.block)
        alive.append((offsets, columns))
    return given, alive

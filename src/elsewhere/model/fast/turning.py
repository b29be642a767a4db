"""Stored slices and how they become an input in, the input out, through the compiled kernel (`sample.cpp`)."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.model.fast.library import lanes, library

WIDE = {"uint8": 0, "int16": 1}


class Sample(ctypes.Structure):
    """One call of the kernel, field by field as `struct Sample` of sample.cpp."""

    _fields_ = (
        ("voxels", ctypes.c_void_p),
        *((name, ctypes.c_int) for name in ("wide", "slices", "rows", "columns")),
        ("reversed", ctypes.c_int * 3),
        *((name, ctypes.c_int) for name in ("swapped", "clip", "lower", "upper")),
        ("factor", ctypes.c_float),
        ("aside", ctypes.c_int),
        ("out", ctypes.c_void_p),
        *((name, ctypes.c_int) for name in ("lanes", "threads")),
    )


def fill(
    out: NDArray[np.float32],
    voxels: NDArray[Any],
    *,
    backwards: tuple[bool, bool, bool],
    swapped: bool,
    lower: int,
    upper: int | None,
    factor: float,
    aside: bool,
    threads: int,
) -> bool:
    """Fill `out` with (stored - lower) * factor, turned; False, and nothing done, where there is no kernel for it.

    Args:
        out: float32 [slice, row, column].
        voxels: uint8 or int16 [slice, row, column]; a contiguous array.
        backwards: whether the output's slices, rows and columns run against the stored ones (after the swap).
        swapped: whether the output's rows are the stored columns.
        lower: the stored value that becomes 0; smaller ones do too, where `upper` is given.
        upper: larger stored values count as this one; None clips nothing.
        factor: the intensity of one stored unit.
        aside: write past the processor's cache, for inputs that it cannot hold.
        threads: the bytes are the same for any number of them.
    """
    loaded = library()
    whole = voxels.flags.c_contiguous and out.flags.c_contiguous
    if loaded is None or not whole or voxels.dtype.name not in WIDE:
        return False
    sample = Sample(
        voxels.ctypes.data,
        WIDE[voxels.dtype.name],
        *voxels.shape,
        tuple(backwards),
        *(swapped, upper is not None, lower, upper or 0),
        *(factor, aside),
        out.ctypes.data,
        *(lanes(), threads),
    )
    if loaded.elsewhere_sample(ctypes.byref(sample)):
        raise MemoryError("the sampling kernel found no memory (under 100 kB a thread)")
    return True

"""Stored slices and how they become an input in, the input out, through the compiled kernel (`sample.cpp`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.model.kernels import abi
from elsewhere.model.kernels.library import address, lanes, library, require

WIDE = {"uint8": 0, "int16": 1}


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

    Raises:
        BadKernelCall: `out` is not of float32, or not of the turned voxels' shape.
    """
    loaded = library()
    whole = voxels.flags.c_contiguous and out.flags.c_contiguous
    if loaded is None or not whole or voxels.dtype.name not in WIDE:
        return False
    require(voxels.ndim == 3, "voxels", f"must be [slice, row, column], are {list(voxels.shape)}")
    slices, rows, columns = voxels.shape
    sample = abi.Sample(
        address("voxels", voxels, voxels.dtype),
        WIDE[voxels.dtype.name],
        *voxels.shape,
        tuple(backwards),
        *(swapped, upper is not None, lower, upper or 0),
        *(factor, aside),
        address("out", out, np.float32, (slices, columns, rows) if swapped else voxels.shape, filled=True),
        *(lanes(), threads),
    )
    if loaded.elsewhere_sample(sample):
        raise MemoryError("the sampling kernel found no memory (under 100 kB a thread)")
    return True

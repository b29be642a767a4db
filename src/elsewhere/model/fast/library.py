"""The compiled kernels of this package, loaded once; None where the installation had no C++ compiler."""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import logging
import os
from pathlib import Path


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None, and one line in the log, where the installation had no compiler."""
    if (loaded := load("_level1")) is not None:
        return loaded
    logging.getLogger(__name__).warning(
        "The compiled kernel of elsewhere is missing (no C++ compiler at installation): predictions are right and "
        "lean, but several times slower. Install a compiler and reinstall elsewhere to get it."
    )
    return None


def load(name: str) -> ctypes.CDLL | None:
    """A compiled extension of this package; None where it was not built."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"{name}{suffix}")
        if path.exists():
            return ctypes.CDLL(str(path))
    return None


def lanes(*, fast: bool = False) -> int:
    """Numbers per vector in use: 16 AVX-512, 8 AVX2, 4 any; ELSEWHERE_LANES asks for fewer than the processor has.

    In the fast mode 32, bfloat16, on a processor that multiplies them; on others the fast mode is the exact one.
    """
    loaded = library()
    assert loaded is not None
    best = int(loaded.elsewhere_fast_lanes() if fast else loaded.elsewhere_lanes())
    return min(best, int(os.environ.get("ELSEWHERE_LANES", best)))

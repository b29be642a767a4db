"""Freed memory is kept for the next array: a small network's steps are so short that asking for it anew costs more."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

LARGEST_SMALL = 1 << 18
"""Voxels of an input up to which a network is small (64 x 64 x 64): above, side by side gains nothing either."""

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt (malloc.h)
KEPT, LARGEST = 256 << 20, 32 << 20
"""Bytes of free memory that a process keeps, and the largest piece taken from it (glibc allows no larger one)."""


@cache
def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory (mallopt(3)); nothing happens where the C library is another one.

    By default it gives the top of the heap back as soon as 128 KB of it are free, and every page of the next map is
    faulted in and cleared again: 70 s against 50 s for a training of the demo's size.
    """
    with suppress(OSError, TypeError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(TRIM_THRESHOLD, KEPT)
        mallopt(MMAP_THRESHOLD, LARGEST)

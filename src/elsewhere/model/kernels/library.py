"""The compiled kernels of this package, loaded once and compared with what Python takes them for."""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadInstallation, BadKernelCall
from elsewhere.model.kernels.abi import ABI, FUNCTIONS, STRUCTS, Place, layout

REPORT = "This is a fault of elsewhere, not of your data: please report this line"
REINSTALL = "Reinstall elsewhere: pip install --force-reinstall . (or `make` in a checkout)"


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None, and one line in the log, where the installation had no compiler.

    Raises:
        BadInstallation: see `load`.
    """
    if (loaded := load("_level1")) is not None:
        return loaded
    logging.getLogger(__name__).warning(
        "The compiled kernel of elsewhere is missing (no C++ compiler at installation): predictions are right and "
        "lean, but several times slower. Install a compiler and reinstall elsewhere to get it."
    )
    return None


def kernels() -> ctypes.CDLL:
    """`library()`, for callers that found it to be there.

    Raises:
        BadKernelCall: it is not.
    """
    if (loaded := library()) is None:
        raise BadKernelCall("the compiled kernels", "were called, but are not installed", REPORT)
    return loaded


def load(name: str, folder: Path | None = None) -> ctypes.CDLL | None:
    """A compiled library of this package, its functions typed; None where it was not built.

    Args:
        name: a key of `abi.FUNCTIONS`.
        folder: where it lies; default: beside this file.

    Raises:
        BadInstallation: it cannot be loaded, or was built from other sources than this Python code.
    """
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = (folder or Path(__file__).parent) / f"{name}{suffix}"
        if not path.exists():
            continue
        try:
            loaded = ctypes.CDLL(str(path))
        except OSError as error:
            raise BadInstallation(path, f"the compiled kernels cannot be loaded ({error})", REINSTALL) from None
        if difference := compare(loaded, name):
            what = f"the compiled kernels are of another version than the Python code ({difference})"
            raise BadInstallation(path, what, REINSTALL)
        return loaded
    return None


def compare(loaded: ctypes.CDLL, name: str) -> str:
    """Type the functions of a library; what differs from `abi`, or "" where nothing does."""
    layouts = {f"elsewhere_{file}_layout": (ctypes.POINTER(Place), ()) for file in STRUCTS[name]}
    for function, (result, arguments) in {**FUNCTIONS[name], **layouts}.items():
        try:
            found = getattr(loaded, function)
        except AttributeError:
            return f"it has no {function}"
        found.restype, found.argtypes = result, arguments
    if (version := loaded.elsewhere_abi()) != ABI:
        return f"version {version}, not {ABI}"
    for file, structs in STRUCTS[name].items():
        expected = {place: at for struct in structs for place, at in layout(struct).items()}
        told = _read_layout(getattr(loaded, f"elsewhere_{file}_layout")())
        for place in expected | told:
            if expected.get(place) != told.get(place):
                sides = told.get(place), expected.get(place)
                there, here = (f"{at[1]} bytes at byte {at[0]}" if at else "absent" for at in sides)
                return f"{place}: {there} in the library, {here} in Python"
    return ""


def _read_layout(places: ctypes._Pointer[Place]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    while (place := places[len(found)]).name:
        found[place.name.decode()] = place.offset, place.size
    return found


def require(holds: bool, where: str, what: str) -> None:
    """Stop before memory is handed to C++ that it would misread; unlike an assertion under `python -O` too.

    Raises:
        BadKernelCall: `holds` is false.
    """
    if not holds:
        raise BadKernelCall(where, what, REPORT)


def address(
    name: str, array: NDArray[Any], dtype: Any, shape: Sequence[int] | None = None, *, filled: bool = False
) -> int:
    """Where an array's numbers lie, for C++; the caller keeps it alive.

    Args:
        name: the array's name in the C++ struct or function.
        array: it.
        dtype: what C++ takes its numbers for.
        shape: what C++ takes its shape for; None: any.
        filled: whether C++ writes into it.

    Raises:
        BadKernelCall: it is something else, or its numbers do not lie one after the other.
    """
    shape = array.shape if shape is None else tuple(shape)
    fits = array.dtype == dtype and array.shape == shape and array.flags.c_contiguous
    if not fits or (filled and not array.flags.writeable):
        order = "contiguous" if array.flags.c_contiguous else "strided"
        state = f"{order} {array.dtype} {list(array.shape)}{'' if array.flags.writeable else ', read-only'}"
        require(False, name, f"must be contiguous{', writable' * filled} {np.dtype(dtype)} {list(shape)}, is {state}")
    return int(array.ctypes.data)


def lanes(*, fast: bool = False) -> int:
    """Numbers per vector in use: 16 AVX-512, 8 AVX2, 4 any; ELSEWHERE_LANES asks for fewer than the processor has.

    In the fast mode 32, bfloat16, on a processor that multiplies them; on others the fast mode is the exact one.
    """
    loaded = kernels()
    best = int(loaded.elsewhere_fast_lanes() if fast else loaded.elsewhere_lanes())
    return min(best, int(os.environ.get("ELSEWHERE_LANES", best)))

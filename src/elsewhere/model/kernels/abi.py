"""What Python and the C++ of this package agree on: every struct field by field, and the arguments of every function.

`library.load` compares the structs with what a library says of its own. Where the arguments of a function or the
meaning of a field change, ABI and ELSEWHERE_ABI of abi.h go up together.
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int, c_longlong, c_void_p
from typing import Any

ABI = 1


def _fields(type_: Any, names: str) -> tuple[tuple[str, Any], ...]:
    return tuple((name, type_) for name in names.split())


class Drops(ctypes.Structure):
    """DropBlock's blocks of one layer, for level1.cpp."""

    _fields_ = (*_fields(c_void_p, "offsets entries"), *_fields(c_int, "slices rows columns depth height width"))


class Job(ctypes.Structure):
    """One pass over windows' first level, for level1.cpp."""

    _fields_ = (
        ("voxels", c_void_p),
        *_fields(c_int, "kind slices rows columns start length first last"),
        *_fields(c_float, "zero unit low high padding"),
        *_fields(c_int, "pass window_count window_length"),
        *_fields(c_void_p, "starts scales shifts weights1 bias1 weights2 bias2 sign pooled sums"),
        *_fields(Drops, "drops1 drops2"),
        ("touched", c_void_p),
        *_fields(c_int, "lanes threads"),
    )


class Layer(ctypes.Structure):
    """One convolution of level 2, for level2.cpp."""

    _fields_ = (
        ("maps", c_void_p),
        *_fields(c_int, "channels slices rows columns filters"),
        *_fields(c_void_p, "scale shift weights bias sign"),
        ("pools", c_int),
        *_fields(c_void_p, "out sums"),
        *_fields(c_int, "lanes threads"),
    )


class Sample(ctypes.Structure):
    """One network input to be made of stored voxels, for sample.cpp."""

    _fields_ = (
        ("voxels", c_void_p),
        *_fields(c_int, "wide slices rows columns"),
        ("reversed", c_int * 3),
        *_fields(c_int, "swapped clip lower upper"),
        ("factor", c_float),
        ("aside", c_int),
        ("out", c_void_p),
        *_fields(c_int, "lanes threads"),
    )


class Blocks(ctypes.Structure):
    """DropBlock's blocks in one sample's maps, for training.cpp."""

    _fields_ = (*_fields(c_void_p, "offsets columns"), *_fields(c_int, "slices rows depth height width"))


class Maps(ctypes.Structure):
    """Slices of a batch's maps and how they are read, for training.cpp."""

    _fields_ = (
        ("data", c_void_p),
        *_fields(c_int, "samples channels slices rows columns origin"),
        *_fields(c_void_p, "scale shift blocks"),
        ("step", c_int),
    )


class Place(ctypes.Structure):
    """A field of a struct as C++ lays it out; `struct Place` of abi.h. Not compared itself: it never changes."""

    _fields_ = (("name", ctypes.c_char_p), *_fields(c_int, "offset size"))


STRUCTS: dict[str, dict[str, tuple[type[ctypes.Structure], ...]]] = {
    "_level1": {"level1": (Drops, Job), "level2": (Layer,), "sample": (Sample,)},
    "_training": {"training": (Blocks, Maps)},
}
"""By library and by C++ file: the structs that `elsewhere_FILE_layout` tells of."""

_MAPS, _RUN, _ARRAY, _TEAM = ctypes.POINTER(Maps), (c_int, c_int), c_void_p, (c_int, c_int)  # team: lanes, threads
_SIZE = ctypes.POINTER(c_int)

FUNCTIONS: dict[str, dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "_level1": {
        "elsewhere_abi": (c_int, ()),
        "elsewhere_lanes": (c_int, ()),
        "elsewhere_fast_lanes": (c_int, ()),
        "elsewhere_count_dropped": (c_longlong, (ctypes.POINTER(Drops), c_int, c_int, c_int)),
        "elsewhere_level1": (c_int, (ctypes.POINTER(Job),)),
        "elsewhere_level2": (c_int, (ctypes.POINTER(Layer),)),
        "elsewhere_sample": (c_int, (ctypes.POINTER(Sample),)),
    },
    "_training": {
        "elsewhere_abi": (c_int, ()),
        "elsewhere_count_blanked": (c_longlong, (ctypes.POINTER(Blocks), c_int, c_int, c_int, c_int)),
        "elsewhere_convolve": (c_int, (_MAPS, _MAPS, _ARRAY, _ARRAY, *_RUN, c_int, _ARRAY, *_TEAM)),
        "elsewhere_weigh": (c_int, (_MAPS, _MAPS, *_RUN, _ARRAY, *_TEAM)),
        "elsewhere_pool": (c_int, (_MAPS, *_RUN, _SIZE, _ARRAY, _ARRAY, _ARRAY, c_int, *_TEAM)),
        "elsewhere_unpool": (c_int, (_MAPS, *_RUN, _SIZE, _ARRAY, _ARRAY, c_int, *(_ARRAY,) * 4, *_TEAM)),
        "elsewhere_gate": (c_int, (_MAPS, _MAPS, *_RUN, *(_ARRAY,) * 5, *_TEAM)),
    },
}
"""By library: what each function returns and takes."""


def layout(struct: type[ctypes.Structure]) -> dict[str, tuple[int, int]]:
    """Where the struct and its fields begin and how many bytes they take, as `elsewhere_FILE_layout` tells it."""
    fields = {field[0]: getattr(struct, field[0]) for field in struct._fields_}
    places = {f"{struct.__name__}.{name}": (field.offset, field.size) for name, field in fields.items()}
    return {struct.__name__: (0, ctypes.sizeof(struct)), **places}

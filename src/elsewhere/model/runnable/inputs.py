"""A scan in; the inputs that a declared network takes, resampled, cut, turned and windowed as declared, out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.model.declared import CANONICAL_AXES, WAYS, Edges, InputSettings
from elsewhere.model.runnable.protocol import GivenScan
from elsewhere.model.sample import evaluation_windows
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.volume import Volume, lung_box, prepare

MOST_VOXELS = 1 << 31
"""Of a resampled scan: more than any CT has, and less than what fills a machine's memory."""

Floats = NDArray[np.float32]


def inputs_of(given: GivenScan, settings: InputSettings) -> list[Floats]:
    """The inputs of a scan, one for each window, float32 in the shape of a batch of one (`batch_shape`).

    Raises:
        BadScan: the size of its voxels is not known, and the network takes voxels of a stated size.
    """
    whole = given.in_hu()
    order = tuple(_place(letter) for letter in settings.axes)
    canonical = tuple(order.index(axis) for axis in range(3))
    size = _turned(settings.size, canonical)
    voxels = _resampled(given, whole, settings, size, canonical)
    low, high = settings.window
    first, last = settings.scale
    factor = np.float32((last - first) / (high - low))
    found = []
    for start in _starts(voxels.shape[0], size[0], settings.stride):
        window = _cut_or_padded(voxels[start : start + size[0]], size, low)
        values = (window - np.int32(low)).astype(np.float32) * factor + np.float32(first)
        found.append(_batch(_oriented(values, settings.axes, order), settings))
    return found


def batch_shape(settings: InputSettings) -> tuple[int, ...]:
    """Shape of one input with its batch and its channel."""
    if settings.channel == "none":
        return 1, *settings.size
    if settings.channel == "first":
        return 1, settings.channels, *settings.size
    return 1, *settings.size, settings.channels


def _place(letter: str) -> int:
    """The canonical axis along which a letter's axis lies."""
    return next(i for i, ours in enumerate(CANONICAL_AXES) if letter == ours or letter in _pair(ours))


def _pair(letter: str) -> tuple[str, str]:
    return next(pair for pair in WAYS.items() if letter in pair)


def _turned(size: Edges, canonical: tuple[int, ...]) -> Edges:
    return size[canonical[0]], size[canonical[1]], size[canonical[2]]


def _resampled(
    given: GivenScan, whole: Volume, settings: InputSettings, size: Edges, canonical: tuple[int, ...]
) -> NDArray[np.int16]:
    """Clipped HU [slice, row, column] on the network's grid, before it is cut to size."""
    shape = whole.voxels.shape
    if settings.crop == "lungs" and (box := lung_box(whole, settings.margin)) is not None:
        shape = whole.voxels[box].shape
    target: Edges = size
    if settings.spacing is not None:
        if whole.spacing is None:
            what = "the size of its voxels is not known, and the network takes voxels of `input.spacing`"
            raise BadScan(given.name, what, "Leave `input.spacing` out, or take scans that say their voxels' size")
        wanted = [settings.spacing[axis] for axis in canonical]
        edges = [max(1, round(n * has / to)) for n, has, to in zip(shape, whole.spacing, wanted, strict=True)]
        target = edges[0], edges[1], edges[2]
        if np.prod(target, dtype=object) > MOST_VOXELS:
            what = f"would have {' x '.join(map(str, target))} voxels of `input.spacing`"
            raise BadScan(given.name, what, "Look at the size of its voxels, or give a larger `input.spacing`")
    keep_slices = settings.spacing is None and settings.stride is not None
    low, high = settings.window
    preparation = Preparation(
        size=target,
        grid="in_plane" if keep_slices else "fixed",
        smooth=settings.smooth,
        encoding="hu",
        minimum=low,
        maximum=high,
        crop=settings.crop,
        margin=settings.margin,
    )
    return prepare(whole, preparation)[0].astype(np.int16, copy=False)


def _starts(slices: int, size: int, stride: int | None) -> tuple[int, ...]:
    if stride is not None:
        return evaluation_windows(slices, size, stride)
    return (max(0, (slices - size) // 2),)


def _cut_or_padded(voxels: NDArray[np.int16], size: Edges, fill: int) -> NDArray[np.int16]:
    """The middle of each axis, with `fill` around what is too short."""
    for axis, (length, wanted) in enumerate(zip(voxels.shape, size, strict=True)):
        first = max(0, (length - wanted) // 2)
        voxels = voxels[(slice(None),) * axis + (slice(first, first + min(length, wanted)),)]
    before = [(wanted - length) // 2 for length, wanted in zip(voxels.shape, size, strict=True)]
    if voxels.shape == size:
        return voxels
    out = np.full(size, fill, np.int16)
    out[tuple(slice(b, b + n) for b, n in zip(before, voxels.shape, strict=True))] = voxels
    return out


def _oriented(values: Floats, axes: str, order: tuple[int, ...]) -> Floats:
    turned = values.transpose(order)
    ends = tuple(slice(None, None, 1 if letter in CANONICAL_AXES else -1) for letter in axes)
    return turned[ends]


def _batch(values: Floats, settings: InputSettings) -> Floats:
    if settings.channel == "none":
        return np.ascontiguousarray(values[None])
    axis = 0 if settings.channel == "first" else 3
    return np.ascontiguousarray(np.repeat(np.expand_dims(values, axis), settings.channels, axis)[None])

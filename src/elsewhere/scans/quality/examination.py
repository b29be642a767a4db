"""Voxels of one scan in, everything that forensics keeps of it out: one record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from elsewhere.scans.quality.appearance import find_encoding, find_padding
from elsewhere.scans.quality.fingerprint import take_fingerprint
from elsewhere.scans.quality.order import Kind, find_order_faults
from elsewhere.scans.quality.orientation import find_orientation
from elsewhere.scans.quality.shrunk import shrink


@dataclass(frozen=True)
class OrderRecord:
    """One fault of a scan's slice order, as it is kept.

    Attributes:
        kind: as in `OrderFault`.
        slices: the slices at fault, from 0.
        words: the fault in words.
    """

    kind: Kind
    slices: tuple[int, ...]
    words: str


@dataclass(frozen=True)
class Examination:
    """What one scan's voxels say of themselves.

    Attributes:
        encoding: in words.
        encoding_kind: its kind.
        window: (low, high) in HU; None where there is none.
        lung_segmented: whether everything but the lungs is black.
        padding: "none", "circle" or "border".
        reversed: whether the first slice looks like the lowest.
        order: faults of the slice order.
        fingerprint: as text, about 20 to 40 kB.
    """

    encoding: str
    encoding_kind: str
    window: tuple[float, float] | None = field(default=None, kw_only=True)
    lung_segmented: bool
    padding: str
    reversed: bool
    order: tuple[OrderRecord, ...]
    fingerprint: str


def examine(voxels: NDArray[Any]) -> Examination:
    """What one scan's voxels say of themselves, for `findings`.

    Args:
        voxels: stored values, integers [slice, row, column].

    Raises:
        ValueError: no voxels, not three axes, or no integers.
    """
    small = shrink(voxels)
    fingerprint, encoding = take_fingerprint(small), find_encoding(small)
    window = None
    if encoding.kind == "window" and encoding.low is not None and encoding.high is not None:
        window = encoding.low, encoding.high
    return Examination(
        encoding=str(encoding),
        encoding_kind=encoding.kind,
        window=window,
        lung_segmented=small.blackened,
        padding=find_padding(small).kind,
        reversed=find_orientation(fingerprint).is_reversed,
        order=tuple(OrderRecord(fault.kind, fault.slices, str(fault)) for fault in find_order_faults(small)),
        fingerprint=fingerprint.to_text(),
    )

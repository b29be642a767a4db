"""Voxels of one scan in, everything that forensics keeps of it out: one JSON-able record."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from elsewhere.scans.quality.appearance import find_encoding, find_padding
from elsewhere.scans.quality.fingerprint import take_fingerprint
from elsewhere.scans.quality.order import find_order_faults
from elsewhere.scans.quality.orientation import find_orientation
from elsewhere.scans.quality.shrunk import shrink


def examine(voxels: NDArray[Any]) -> dict[str, Any]:
    """What one scan's voxels say of themselves, for `findings`.

    Args:
        voxels: stored values, integers [slice, row, column].

    Returns:
        `encoding` (words), `encoding_kind`, `window` ([low, high] in HU, None where there is none), `lung_segmented`,
        `padding` ("none", "circle", "border"), `reversed`, `order` (list of {kind, slices, words}), `fingerprint`
        (text, about 20 to 40 kB).

    Raises:
        ValueError: no voxels, not three axes, or no integers.
    """
    small = shrink(voxels)
    fingerprint, encoding = take_fingerprint(small), find_encoding(small)
    return {
        "encoding": str(encoding),
        "encoding_kind": encoding.kind,
        "window": [encoding.low, encoding.high] if encoding.kind == "window" else None,
        "lung_segmented": small.blackened,
        "padding": find_padding(small).kind,
        "reversed": find_orientation(fingerprint).is_reversed,
        "order": [
            {"kind": fault.kind, "slices": list(fault.slices), "words": str(fault)}
            for fault in find_order_faults(small)
        ],
        "fingerprint": fingerprint.to_text(),
    }

"""CT numbers on a grid: the canonical volume, and how it is clipped, cropped and resized."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.preparation import Preparation
from elsewhere.scans.scan import Fact

Units = Literal["HU", "ct_number", "relative"]
Spacing = tuple[float, float, float]
INT16 = np.iinfo(np.int16)

BAND_BYTES = 8 << 20
"""Of all slices, resized in-plane, that are held before the slices are resampled."""


LEAST_AREA = 0.05
"""Share of the largest plane's air that a plane of the lungs has at least; a windpipe has about a hundredth."""

LUNGS_NOT_FOUND = "lungs not found"
"""How the note begins where there was nothing to crop to."""


@dataclass(frozen=True, eq=False)
class Volume:
    """One scan's voxels in the canonical axes.

    Attributes:
        voxels: int16 or uint8, [slice, row, column]; slice 0 most superior, row 0 anterior, column 0 the
            patient's right.
        units: "HU"; "ct_number" (HU + offset); or "relative" (0..255 after an unknown window).
        spacing: distance of neighbouring voxels along (slice, row, column) in mm, or None where unknown.
        offset: what to subtract to get HU: 0 for HU, 1024 for COVID-CTset, None for relative values.
        notes: sentences on what the reader had to repair or leave out.
        facts: what the headers say (thickness_mm, kernel, manufacturer, kvp, …), for the audit.
    """

    voxels: NDArray[np.int16] | NDArray[np.uint8]
    units: Units
    spacing: Spacing | None = None
    offset: float | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.voxels.ndim == 3, self.voxels.shape
        assert self.voxels.dtype in (np.int16, np.uint8), self.voxels.dtype
        assert (self.offset is None) == (self.units == "relative"), (self.units, self.offset)


def prepare(
    volume: Volume, preparation: Preparation, *, overwrite: bool = False
) -> tuple[NDArray[np.int16] | NDArray[np.uint8], tuple[str, ...]]:
    """Voxels as stored, [slice, row, column] with the rows and columns of `preparation.size`, and remarks.

    The number of slices is kept unless the grid is fixed. int16, or uint8 for relative data left as published. With
    `overwrite` the volume's own voxels may be shifted and clipped in place, so that a scan is held once.
    """
    notes: list[str] = []
    if preparation.encoding == "hu":
        volume = to_hu(volume, preparation.relative_window, overwrite=overwrite)
    voxels: NDArray[Any] = volume.voxels
    if preparation.crop == "lungs":
        box = lung_box(volume, preparation.margin, preparation.relative_window)
        notes += [] if box else [f"{LUNGS_NOT_FOUND}: the whole volume is used"]
        voxels = voxels[box or ...]
    if volume.units == "HU":
        limits = round(preparation.minimum), _ceiling(preparation.maximum)
        voxels = np.clip(voxels, *limits, out=voxels if overwrite and voxels.flags.writeable else None)
    return _resize(voxels, preparation, notes), tuple(notes)


def to_hu(
    volume: Volume, relative_window: tuple[float, float] = (-1350.0, 150.0), *, overwrite: bool = False
) -> Volume:
    """The same volume in HU: CT numbers less their offset, relative values through the assumed window.

    With `overwrite` CT numbers may be shifted in the volume's own memory.
    """
    if volume.units == "HU":
        return volume
    if volume.offset is not None:
        hu = volume.voxels.astype(np.int16, copy=not (overwrite and volume.voxels.flags.writeable))
        hu -= np.int16(volume.offset)
    else:
        low, high = relative_window
        levels = np.clip(np.rint(low + np.arange(256) / 255 * (high - low)), -32768, 32767).astype(np.int16)
        hu = np.empty(volume.voxels.shape, np.int16)
        for target, picture in zip(hu, volume.voxels, strict=True):  # indices take eight bytes a voxel
            np.take(levels, picture, out=target, mode="clip")
    return replace(volume, voxels=hu, units="HU", offset=0.0)


def lung_box(
    volume: Volume, margin: float = 0.03, relative_window: tuple[float, float] = (-1350.0, 150.0)
) -> tuple[slice, slice, slice] | None:
    """Bounding box of the lungs in a volume [slice, row, column], or None where none are found.

    The windpipe in the neck and gas in the bowel belong to the mask and not to the box: planes with little of it do
    not count, or the box would tell how far a scan goes instead of where the lungs are.

    Args:
        volume: in any units; only the voxels that are looked at are converted.
        margin: share of the box's length added on each side.
        relative_window: as for `to_hu`.
    """
    shape = volume.voxels.shape
    strides = tuple(max(1, n // limit) for n, limit in zip(shape, (96, 128, 128), strict=True))
    coarse = replace(volume, voxels=volume.voxels[tuple(slice(None, None, s) for s in strides)])
    mask = lung_mask(to_hu(coarse, relative_window).voxels)
    if not mask.any():
        return None
    box = []
    for axis, (stride, length) in enumerate(zip(strides, shape, strict=True)):
        areas = mask.sum(axis=tuple(a for a in range(3) if a != axis))
        hit = np.flatnonzero(areas >= LEAST_AREA * areas.max())
        first, last = hit[0] * stride, (hit[-1] + 1) * stride
        grow = round(margin * (last - first))
        box.append(slice(max(0, first - grow), min(length, last + grow)))
    return box[0], box[1], box[2]


def lung_mask(hu: NDArray[Any]) -> NDArray[np.bool_]:
    """Air-filled voxels inside the body, by threshold and connected components: the lungs and large airways.

    Voxels below -1200 HU are no tissue and no air but padding, or the black around lung-segmented images. Air
    that touches the in-plane border, directly or through padding, lies outside the body. Dense consolidation
    is missed, and gas in the bowel is kept when it is at least a twentieth of the largest component.

    Args:
        hu: voxels in HU, [slice, row, column].
    """
    padding = hu < -1200
    air = (hu < -500) & ~padding
    outside = air if padding.mean() > 0.6 else air | padding
    from scipy import ndimage  # noqa: PLC0415 - takes longer to import than a study file to check

    labels, count = ndimage.label(outside)
    if not count:
        return np.zeros(hu.shape, bool)
    border = np.unique(np.concatenate([labels[:, [0, -1]].ravel(), labels[:, :, [0, -1]].ravel()]))
    sizes = np.bincount(labels[air], minlength=count + 1)
    sizes[border] = 0
    sizes[0] = 0
    if sizes.max() < 0.002 * hu.size:
        return np.zeros(hu.shape, bool)
    return (sizes >= sizes.max() / 20)[labels] & air & (sizes > 0)[labels]


def measure(volume: Volume) -> dict[str, Fact]:
    """Facts of one volume for the audit.

    `padding_share` is the share of pixel positions that never change from slice to slice (outside the field of
    view); `black_share` the share of voxels with exactly the volume's lowest value among those in the central
    ellipse of the picture, high where everything but the lungs was blackened; `content_hash` a hash of the
    voxels, equal for copies.
    """
    voxels = volume.voxels
    lowest = voxels.min()
    rows, columns = np.ogrid[-1 : 1 : voxels.shape[1] * 1j, -1 : 1 : voxels.shape[2] * 1j]
    body = (rows / 0.6) ** 2 + (columns / 0.7) ** 2 < 1
    still, black = np.full(voxels.shape[1:], len(voxels) > 1), 0
    for picture in voxels:  # one at a time: a scan may be half of the memory
        still &= picture == voxels[0]
        black += int(np.count_nonzero(picture[body] == lowest))
    return {
        **volume.facts,
        "dtype": str(voxels.dtype),
        "units": volume.units,
        "minimum": int(lowest),
        "maximum": int(voxels.max()),
        "slices": voxels.shape[0],
        "rows": voxels.shape[1],
        "columns": voxels.shape[2],
        "slice_spacing_mm": volume.spacing and round(volume.spacing[0], 4),
        "pixel_spacing_mm": volume.spacing and round(volume.spacing[1], 4),
        "padding_share": round(float(still.mean()), 4),
        "black_share": round(black / max(len(voxels) * int(np.count_nonzero(body)), 1), 4),
        "content_hash": content_hash(voxels),
    }


def content_hash(voxels: NDArray[Any]) -> str:
    """Hash of a volume's shape, type and values."""
    digest = hashlib.sha256(f"{voxels.dtype}{voxels.shape}".encode())
    digest.update(np.ascontiguousarray(voxels).data)  # not a copy of it: a scan may be half of the memory
    return digest.hexdigest()[:32]


def _ceiling(maximum: float | None) -> int:
    return 32767 if maximum is None else round(maximum)


def _resize(voxels: NDArray[Any], preparation: Preparation, notes: list[str]) -> NDArray[Any]:
    slices, rows, columns = preparation.size
    if preparation.grid == "in_plane":
        slices = voxels.shape[0]
        if voxels.shape[1] * columns != voxels.shape[2] * rows:
            notes.append(f"{voxels.shape[1]} x {voxels.shape[2]} pixels stretched to {rows} x {columns}")
    if voxels.shape == (slices, rows, columns):
        return np.ascontiguousarray(voxels)
    smooth = preparation.smooth or preparation.grid == "fixed"
    along, down, across = (
        linear_weights(a, b, smooth) for a, b in zip(voxels.shape, (slices, rows, columns), strict=True)
    )
    out = np.empty((slices, rows, columns), voxels.dtype)
    if slices == voxels.shape[0]:
        for target, picture in zip(out, voxels, strict=True):
            target[...] = np.rint(down @ picture.astype(np.float32) @ across.T)
        return out
    together = max(1, BAND_BYTES // (4 * len(voxels) * columns))
    for top in range(0, rows, together):
        band = slice(top, top + together)
        used = np.flatnonzero(down[band].any(axis=0))
        reach = slice(used[0], used[-1] + 1)
        in_plane = np.stack([down[band, reach] @ picture[reach].astype(np.float32) @ across.T for picture in voxels])
        out[:, band] = np.rint(np.tensordot(along, in_plane, axes=1))
    return out


def linear_weights(source: int, target: int, smooth: bool = False) -> NDArray[np.float32]:
    """Matrix (target, source) of linear interpolation between pixel centres; rows sum to 1.

    Edges are held. With `smooth`, shrinking widens the triangle to the output pixel (no aliasing).
    """
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    centres = np.clip(centres, 0, source - 1)
    reach = max(1.0, scale) if smooth else 1.0
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(source)) / reach)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

"""Coordinates in mm in, soft masks out: the grid a patient is drawn on, and the few solids he is drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Box = tuple[slice, slice, slice]
UNTURNED = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the samples lie.

    Attributes:
        z, y, x: centres of slices, rows and columns in the patient's coordinates, in mm.
        pixel: width of a pixel in mm.
        thickness: width of a slice's profile in mm.
    """

    z: Array
    y: Array
    x: Array
    pixel: float
    thickness: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return len(self.z), len(self.y), len(self.x)

    def box(self, z: tuple[float, float], y: tuple[float, float], x: tuple[float, float]) -> Box:
        """The part of the grid within these limits in mm, one sample wider on each side; may be empty."""
        return _span(self.z, z), _span(self.y, y), _span(self.x, x)

    def part(self, box: Box) -> Grid:
        """The grid of one box."""
        return Grid(self.z[box[0]], self.y[box[1]], self.x[box[2]], self.pixel, self.thickness)

    def axes(self) -> tuple[Array, Array, Array]:
        """z, y, x shaped to broadcast against each other."""
        return self.z[:, None, None], self.y[None, :, None], self.x[None, None, :]


def _span(axis: Array, limits: tuple[float, float]) -> slice:
    start, stop = np.searchsorted(axis, limits)
    return slice(max(0, int(start) - 1), min(len(axis), int(stop) + 1))


def profile(points: list[tuple[float, float]], at: Array) -> Array:
    """Smooth curve through (position, value) points, [n]; constant beyond the ends."""
    position, value = np.array(points, np.float64).T
    # cubic Hermite, written out: numpy's gradient and scipy's interpolators cost more than the whole curve
    step, rise = np.diff(position), np.diff(value)
    slope = rise / step
    inner = (slope[:-1] * step[1:] + slope[1:] * step[:-1]) / (step[:-1] + step[1:])
    tangent = np.concatenate([slope[:1], inner, slope[-1:]])
    clipped = np.minimum(np.maximum(at, position[0]), position[-1])
    i = np.searchsorted(position[1:-1], clipped)
    s = (clipped - position[i]) / step[i]
    a, b = (tangent[:-1] * step - rise)[i], (rise - tangent[1:] * step)[i]
    return (value[i] + s * (rise[i] + (1 - s) * ((1 - s) * a + s * b))).astype(np.float32)


def soft(distance: Array, width: float) -> Array:
    """Share of a sample that lies inside: 1 inside, 0 outside, linear over `width` mm around the surface."""
    mask = distance * np.float32(-1 / max(width, 1e-3))
    mask += np.float32(0.5)
    return np.clip(mask, 0, 1, out=mask)


def ellipse_distance(u: Array, v: Array, a: ArrayLike, b: ArrayLike) -> Array:
    """First-order distance in mm to an ellipse with semi-axes a, b; u, v are offsets from its centre in mm."""
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    uu, vv = (u / a) ** 2, (v / b) ** 2
    gradient = uu / (a * a) + vv / (b * b)
    np.sqrt(gradient, out=gradient)
    gradient += np.float32(1e-6)
    distance = uu + vv
    distance -= 1
    distance /= gradient
    distance *= np.float32(0.5)
    return distance


def superellipse_distance(u: Array, v: Array, a: Array, b: Array, power: float) -> Array:
    """Distance in mm to (|u|/a)^p + (|v|/b)^p = 1, exact to first order on the axes; u (z,1,x), v (z,y,1)."""
    distance = (np.abs(u) / a) ** power + (np.abs(v) / b) ** power
    distance -= 1
    distance *= np.minimum(a, b) / np.float32(power)
    return distance


def paint(canvas: Array, box: Box, mask: Array, value: ArrayLike) -> None:
    """Mix `value` HU into the box of the canvas where the mask says so."""
    view = canvas[box]
    view += mask * (np.asarray(value, np.float32) - view)


def ellipsoid(
    canvas: Array, grid: Grid, centre: ArrayLike, radii: ArrayLike, value: float, *, turn: ArrayLike = UNTURNED
) -> None:
    """Paint an ellipsoid: centre (z, y, x) and radii in mm, `turn` a 3×3 rotation whose rows are its axes."""
    c, r, t = np.asarray(centre, float), np.asarray(radii, float), np.asarray(turn, float)
    reach = np.sqrt(((t * r[:, None]) ** 2).sum(0)) + grid.pixel
    box = grid.box(*((c[i] - reach[i], c[i] + reach[i]) for i in range(3)))
    part = grid.part(box)
    z, y, x = (axis - np.float32(c[i]) for i, axis in enumerate(part.axes()))
    square = np.float32(0)
    for row, radius in zip(t, r, strict=True):
        square = square + ((z * np.float32(row[0]) + y * np.float32(row[1]) + x * np.float32(row[2])) / radius) ** 2
    distance = (np.sqrt(square) - 1) * np.float32(r.min())
    paint(canvas, box, soft(distance.astype(np.float32), grid.pixel), value)


def capsule(canvas: Array, grid: Grid, ends: tuple[ArrayLike, ArrayLike], radius: float, value: float) -> None:
    """Paint a straight tube with round ends between two points (z, y, x) in mm."""
    a, b = (np.asarray(end, float) for end in ends)
    low, high = np.minimum(a, b) - radius - grid.pixel, np.maximum(a, b) + radius + grid.pixel
    box = grid.box(*((low[i], high[i]) for i in range(3)))
    part = grid.part(box)
    offset = [axis - np.float32(a[i]) for i, axis in enumerate(part.axes())]
    d = (b - a).astype(np.float32)
    along = sum((o * k for o, k in zip(offset, d, strict=True)), np.float32(0)) / np.float32(max(d @ d, 1e-6))
    along = np.clip(along, 0, 1)
    square = sum(((o - along * k) ** 2 for o, k in zip(offset, d, strict=True)), np.float32(0))
    paint(canvas, box, soft(np.sqrt(square) - np.float32(radius), grid.pixel), value)


def column(canvas: Array, grid: Grid, path: Sequence[tuple[float, ...]], value: ArrayLike) -> None:
    """Paint a tube that runs roughly head to feet through points (z, y, x, radius) in mm."""
    p = np.array(path)
    reach = float(p[:, 3].max()) + grid.pixel
    limits = [(float(p[:, i].min()) - reach * (i > 0), float(p[:, i].max()) + reach * (i > 0)) for i in range(3)]
    zs = slice(*np.searchsorted(grid.z, limits[0]))
    box = (zs, *grid.box(limits[0], limits[1], limits[2])[1:])
    part = grid.part(box)
    cy, cx, r = (profile([(q[0], q[i]) for q in p], part.z)[:, None, None] for i in (1, 2, 3))
    _, y, x = part.axes()
    distance = np.sqrt((y - cy) ** 2 + (x - cx) ** 2) - r
    paint(canvas, box, soft(distance, grid.pixel), value)


def turn_towards(direction: ArrayLike) -> NDArray[np.float64]:
    """Rotation whose first row is the direction (z, y, x), the others any two normals to it."""
    first = np.asarray(direction, float) / np.linalg.norm(direction)
    seed = np.eye(3)[np.argmin(np.abs(first))]
    second = np.cross(first, seed)
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)])

"""Hilum and lung shape in, branching vessels and bronchi out: as segments in mm, and as shares of each sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elsewhere.scans.phantom.anatomy import diaphragm, hemithorax
from elsewhere.scans.phantom.patient import Patient
from elsewhere.scans.phantom.shape import Array, Grid

Points = NDArray[np.float64]
FAN = np.array([0.45, 1.0, 1.0])  # branches part towards front, back and sides before they part up and down
MURRAY = 3.0  # Murray's law: the cubes of the daughters' radii add up to the mother's (Murray 1926, PNAS 12:207)
REACH = 0.42  # share of the way to the middle of its tips that a branch covers, half as much to half as much again


@dataclass(frozen=True, eq=False)
class Tree:
    """Tapering segments: start, stop [n, (z, y, x)] in mm and radius [n] in mm."""

    start: Points
    stop: Points
    radius: NDArray[np.float64]


def join(trees: Sequence[Tree]) -> Tree:
    """Several trees as one."""
    return Tree(*(np.concatenate([getattr(t, part) for t in trees]) for part in ("start", "stop", "radius")))


def lung_points(patient: Patient, side: int, count: int, rng: np.random.Generator, rim: float = 0.94) -> Points:
    """Points spread evenly through one lung, [count, (z, y, x)] in mm; side −1 right, +1 left; rim 1 = the pleura."""
    tries = 6 * count + 64  # enough that some lie above the diaphragm
    shape = np.linspace(0.03, 1.0, 64, dtype=np.float32) * np.float32(patient.lung_height)
    _, _, a, b = hemithorax(patient, shape)
    weight = np.cumsum(a * b)
    z = np.interp(rng.random(tries) * weight[-1], weight, shape).astype(np.float32)
    cx, cy, a, b = hemithorax(patient, z)
    turn, reach = rng.uniform(0, 2 * np.pi, tries), rim * np.sqrt(rng.random(tries))
    y = cy + b * reach * np.sin(turn)
    x = cx + 0.1 * y + a * reach * np.cos(turn)
    above = z < diaphragm(patient, y, side * x) - 4
    points = np.stack([z, y, side * x], 1)[above]
    return points[np.arange(count) % len(points)].astype(np.float64)


def grow(root: tuple[float, float, float], tips: Points, tip_radius: float, rng: np.random.Generator) -> Tree:
    """Binary tree from the root to all tips (a power of two): every branch heads for the middle of its tips.

    Args:
        root: (z, y, x) in mm.
        tips: [2^k, 3] in mm.
        tip_radius: mm; a branch that feeds m tips has radius tip_radius · m^(1/3).
        rng: draws how far each branch goes.
    """
    groups = tips[None]
    nodes = np.array([root], np.float64)
    starts, stops, radii = [], [], []
    while groups.shape[1] > 1:
        groups = _halve(groups)
        parents = np.repeat(nodes, 2, 0)
        last = groups.shape[1] == 1
        share = REACH * rng.uniform(0.5, 1.5, (len(groups), 1))
        nodes = groups[:, 0] if last else parents + share * (groups.mean(1) - parents)
        starts.append(parents)
        stops.append(nodes)
        radii.append(np.full(len(nodes), tip_radius * groups.shape[1] ** (1 / MURRAY)))
    return Tree(np.concatenate(starts), np.concatenate(stops), np.concatenate(radii))


def _halve(groups: Points) -> Points:
    spread = (groups.max(1) - groups.min(1)) * FAN
    axis = spread.argmax(1)
    key = np.take_along_axis(groups, axis[:, None, None], 2)[:, :, 0]
    order = np.argsort(key, axis=1, kind="stable")
    ordered = np.take_along_axis(groups, order[:, :, None], 1)
    return ordered.reshape(-1, groups.shape[1] // 2, 3)


def occupancy(tree: Tree, grid: Grid) -> Array:
    """Share of every sample that the tree fills, 0..1: each segment is cut into grains, each grain into its pixels."""
    step = 0.6 * min(grid.pixel, max(grid.thickness, 1.0))
    length = np.linalg.norm(tree.stop - tree.start, axis=1)
    along = np.ceil(length / step).astype(int) + 1
    across = np.ceil((1.5 * tree.radius / grid.pixel) ** 2).astype(int) + 1
    count = along * across
    which = np.repeat(np.arange(len(count)), count)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    place = (number + 0.5) / count[which]
    points = tree.start[which] + place[:, None] * (tree.stop - tree.start)[which]
    points += _scatter(tree, which, number % across[which], across[which])
    volume = (np.pi * tree.radius**2 * length / count)[which]
    return _deposit(points, volume, grid)


def _scatter(tree: Tree, which: NDArray[np.int64], ring: NDArray[np.int64], rings: NDArray[np.int64]) -> Points:
    """Offsets that spread grains over a segment's cross-section, as seeds in a sunflower."""
    direction = tree.stop - tree.start
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9
    helper = np.where(np.abs(direction[:, :1]) < 0.8, [[1.0, 0, 0]], [[0, 1.0, 0]])
    one = np.cross(direction, helper)
    one /= np.linalg.norm(one, axis=1, keepdims=True) + 1e-9
    two = np.cross(direction, one)
    reach = tree.radius[which] * np.sqrt((ring + 0.5) / rings) * (rings > 1)
    turn = ring * 2.399963
    return (reach * np.cos(turn))[:, None] * one[which] + (reach * np.sin(turn))[:, None] * two[which]


def _deposit(points: Points, volume: NDArray[np.float64], grid: Grid) -> Array:
    slices, rows, columns = grid.shape
    spacing = float(grid.z[1] - grid.z[0]) if slices > 1 else grid.thickness
    k = np.rint((points[:, 0] - grid.z[0]) / spacing).astype(np.int64)
    profile = min(max(grid.thickness, 2.0), spacing)
    fy = (points[:, 1] - grid.y[0]) / grid.pixel
    fx = np.interp(points[:, 2], grid.x, np.arange(columns), -1, -1)  # columns may lie closer on one side
    i, j = np.floor(fy).astype(np.int64), np.floor(fx).astype(np.int64)
    keep = (k >= 0) & (k < slices) & (i >= 0) & (i < rows - 1) & (j >= 0) & (j < columns - 1)
    keep &= np.abs(points[:, 0] - grid.z[0] - k * spacing) <= profile / 2 + 1e-6
    k, i, j, fy, fx = k[keep], i[keep], j[keep], fy[keep] - i[keep], fx[keep] - j[keep]
    share = volume[keep] / (grid.pixel**2 * profile)
    home = (k * rows + i) * columns + j
    where = np.concatenate([home, home + 1, home + columns, home + columns + 1])
    weight = np.concatenate([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx]) * np.tile(share, 4)
    filled = np.bincount(where, weight, slices * rows * columns).astype(np.float32).reshape(grid.shape)
    return np.minimum(filled, 1, out=filled)

"""The headers of one series in; which of its images make the volume, in which order and turned how, out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.header import Header
from elsewhere.scans.scan import Fact
from elsewhere.scans.volume import Spacing

AXIAL = 0.8
"""Least share of the slice normal along the body axis (37°: a gantry tilts by 30° at most)."""
SAME_PLACE_MM = 0.01
JUMP = 1.5
"""A distance of neighbouring slices beyond this multiple of the median one counts as missing slices."""
MAX_LOST_SHARE = 0.10
DIGITS = 6
"""Spacings are rounded to 1e-6 mm: positions are decimal text, their differences are not exact."""
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

Voxels = NDArray[np.int16]


@dataclass(frozen=True)
class Turn:
    """How the images' rows and columns become the canonical ones (row 0 anterior, column 0 the patient's right)."""

    swap: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def apply(self, voxels: Voxels) -> Voxels:
        """[slice, row, column] as stored → canonical; a view."""
        voxels = voxels.swapaxes(1, 2) if self.swap else voxels
        return voxels[:, :: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


@dataclass(frozen=True)
class Stack:
    """The images of a volume.

    Attributes:
        headers: one per slice, the most superior first.
        turn: how each is turned.
        spacing: mm along (slice, row, column) in the canonical axes, or None where the files do not say.
        length_mm: from the first slice to the last, None where only numbers order them.
        notes: what was left out or is uneven.
        facts: tilt_deg, gaps, missing_slices.
    """

    headers: tuple[Header, ...]
    turn: Turn
    spacing: Spacing | None
    length_mm: float | None
    notes: tuple[str, ...] = ()
    facts: dict[str, Fact] = field(default_factory=dict)


def arrange(headers: Sequence[Header], where: str) -> Stack:
    """Order the images of one series into a volume.

    Images of another size, orientation or pixel spacing than the majority are left out (localizers inside the series),
    and so are second images at the same place (of several phases: all but the fullest). Slices are ordered by the
    projection of ImagePositionPatient on the slice normal, else by SliceLocation (rising towards the head), else by
    InstanceNumber (1 is the most superior).

    Raises:
        BadScan: fewer than 2 images are left, or they are not axial.
    """
    notes: list[str] = []
    alike = _majority(headers, notes)
    turn = turn_of(alike[0], where)
    if alike[0].orientation is None:
        notes.append("no ImageOrientationPatient: taken as supine, seen from the feet (row 0 anterior)")
    heights, order = _heights(alike, notes)
    order = _one_per_place(alike, heights, order, notes)
    if len(order) < 2:
        raise BadScan(where, f"holds {len(order)} slice, expected at least 2", "Give a whole series, not single slices")
    chosen = tuple(alike[i] for i in order)
    facts: dict[str, Fact] = {}
    ordered = np.array([heights[i] for i in order]) if heights else None
    step = _step(ordered, notes, facts)
    _tilt(chosen, notes, facts)
    length = None if ordered is None else float(ordered[0] - ordered[-1])
    return Stack(chosen, turn, _spacing(chosen[0], turn, step, notes), length, tuple(notes), facts)


def turn_of(header: Header, where: str) -> Turn:
    """How an image's axes map to the canonical ones. Raises BadScan where it is not axial."""
    across, down = np.reshape(header.orientation or IDENTITY, (2, 3))
    normal = np.cross(across, down)
    length = float(np.linalg.norm(normal))
    if length < 0.5 or abs(normal[2]) < AXIAL * length:
        plane = ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(normal)))] if length >= 0.5 else "undefined"
        what = f"is not axial but {plane if plane != 'axial' else 'oblique'} (normal {np.round(normal, 2).tolist()})"
        raise BadScan(where, what, "Give the axial series; reformatted series are not used")
    swap = bool(abs(across[1]) > abs(across[0]))
    rows, columns = (across, down) if swap else (down, across)
    return Turn(swap, bool(rows[1] < 0), bool(columns[0] < 0))


def _majority(headers: Sequence[Header], notes: list[str]) -> list[Header]:
    """The largest group of images alike in size, orientation and pixel spacing."""
    groups: list[list[Header]] = []
    for header in headers:
        for group in groups:
            if _alike(group[0], header):
                group.append(header)
                break
        else:
            groups.append([header])
    largest = max(groups, key=len)
    others = Counter(f"{h.rows} × {h.columns}" for group in groups if group is not largest for h in group)
    if others:
        sizes = ", ".join(f"{n} of {size}" for size, n in others.items())
        notes.append(f"{others.total()} images of another size, orientation or pixel spacing left out ({sizes})")
    return largest


def _alike(one: Header, other: Header) -> bool:
    same = (one.rows, one.columns) == (other.rows, other.columns)
    return (
        same and _near(one.orientation, other.orientation, 0.02) and _near(one.pixel_spacing, other.pixel_spacing, 1e-3)
    )


def _near(one: Sequence[float] | None, other: Sequence[float] | None, tolerance: float) -> bool:
    if one is None or other is None or one == other:
        return one == other
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def _heights(headers: list[Header], notes: list[str]) -> tuple[list[float] | None, list[int]]:
    """Height of each image in mm (None where only numbers order them), and the order from the head down."""
    placed = [i for i, h in enumerate(headers) if h.position is not None]
    if len(placed) >= max(2, (1 - MAX_LOST_SHARE) * len(headers)) and _spread(headers, placed):
        return _projected(headers, placed, notes)
    if all(h.location is not None for h in headers) and len({h.location for h in headers}) > 1:
        notes.append("no usable ImagePositionPatient: ordered by SliceLocation, taken to rise towards the head")
        return _descending([float(h.location or 0.0) for h in headers], range(len(headers)), headers)
    if len(headers) > 1:
        notes.append("neither positions nor SliceLocation: ordered by InstanceNumber, 1 taken as the most superior")
    order = sorted(range(len(headers)), key=lambda i: (headers[i].number is None, headers[i].number or 0, i))
    return None, order


def _spread(headers: Sequence[Header], placed: Sequence[int]) -> bool:
    """Do the positions say something? Some anonymisers blank them all to 0, some repeat the first."""
    distinct = {headers[i].position for i in placed}
    if len(distinct) > 1:
        return True
    blank = distinct == {(0.0, 0.0, 0.0)}
    return not blank and len({h.location for h in headers}) == 1


def _projected(headers: Sequence[Header], placed: Sequence[int], notes: list[str]) -> tuple[list[float], list[int]]:
    if len(placed) < len(headers):
        notes.append(f"{len(headers) - len(placed)} images without position left out")
    across, down = np.reshape(headers[0].orientation or IDENTITY, (2, 3))
    normal = np.cross(across, down)
    normal = normal / np.linalg.norm(normal) * np.sign(normal[2])
    heights = [float(np.dot(h.position, normal)) if h.position else 0.0 for h in headers]
    return _descending(heights, placed, headers)


def _descending(heights: list[float], which: Sequence[int], headers: Sequence[Header]) -> tuple[list[float], list[int]]:
    return heights, sorted(which, key=lambda i: (-heights[i], headers[i].number or 0, str(headers[i].path)))


def _one_per_place(
    headers: Sequence[Header], heights: Sequence[float] | None, order: list[int], notes: list[str]
) -> list[int]:
    """Leave out second images at a place; where most places are taken twice, keep the fullest acquisition."""
    if heights is None or _places(heights, order) == len(order):
        return order
    acquisitions: dict[str, list[int]] = defaultdict(list)
    for i in order:
        acquisitions[headers[i].acquisition].append(i)
    if len(acquisitions) > 1 and len(order) >= 1.5 * _places(heights, order):
        name, fullest = max(acquisitions.items(), key=lambda item: (_places(heights, item[1]), _earlier(item[0])))
        notes.append(
            f"{len(acquisitions)} acquisitions in one series: {len(fullest)} images of acquisition "
            f"{name.split('/')[0]} kept, {len(order) - len(fullest)} left out"
        )
        order = fullest
    kept: list[int] = []
    for i in order:
        if not kept or abs(heights[kept[-1]] - heights[i]) > SAME_PLACE_MM:
            kept.append(i)
    if len(kept) < len(order):
        notes.append(f"{len(order) - len(kept)} second images at the same position left out")
    return kept


def _places(heights: Sequence[float], order: Sequence[int]) -> int:
    values = np.sort([heights[i] for i in order])
    return 1 + int(np.count_nonzero(np.diff(values) > SAME_PLACE_MM))


def _earlier(name: str) -> tuple[float, ...]:
    """Larger for the acquisition with the smaller number."""
    return tuple(-float(part) if part.isdigit() else -np.inf for part in name.split("/"))


def _step(heights: NDArray[np.float64] | None, notes: list[str], facts: dict[str, Fact]) -> float | None:
    """Median distance of neighbouring slices; jumps and uneven spacing are noted."""
    if heights is None:
        return None
    steps = -np.diff(heights)
    step = float(np.median(steps))
    jumps = steps[steps > JUMP * step]
    facts["gaps"] = int(jumps.size)
    if jumps.size:
        facts["missing_slices"] = int(np.sum(np.rint(jumps / step) - 1))
        notes.append(
            f"{jumps.size} jumps between slices (up to {jumps.max():.2f} mm, usually {step:.2f} mm): "
            f"about {facts['missing_slices']} slices are missing"
        )
    if np.ptp(steps[steps <= JUMP * step]) > 0.05 * step:
        notes.append(f"slice spacing is uneven: {steps.min():.2f} to {steps.max():.2f} mm")
    return round(step, DIGITS)


def _tilt(headers: Sequence[Header], notes: list[str], facts: dict[str, Fact]) -> None:
    """The gantry's tilt from the geometry (its header field is often 0 or absent)."""
    first, last = headers[0], headers[-1]
    if first.orientation is None:
        return
    normal = np.cross(*np.reshape(first.orientation, (2, 3)))
    tilt = _angle(normal, np.array([0.0, 0.0, 1.0]))
    if tilt < 0.5:
        return
    said = first.about.facts.get("tilt_deg")
    facts["tilt_deg"] = round(-tilt if isinstance(said, int | float) and said < 0 else tilt, 2)
    sheared = first.position and last.position and _angle(normal, np.subtract(last.position, first.position)) > 0.5
    how = "sheared, read as acquired without resampling" if sheared else "perpendicular to their path"
    notes.append(f"slices are tilted by {tilt:.1f}° ({how})")


def _angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Angle between two lines in degrees, 0 to 90."""
    cosine = abs(float(np.dot(a, b))) / float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


def _spacing(header: Header, turn: Turn, step: float | None, notes: list[str]) -> Spacing | None:
    if header.pixel_spacing is None or min(header.pixel_spacing) <= 0:
        notes.append("no PixelSpacing: spacing unknown")
        return None
    if step is None:
        notes.append("slice positions unknown: spacing unknown")
        return None
    rows, columns = header.pixel_spacing[::-1] if turn.swap else header.pixel_spacing
    return step, rows, columns

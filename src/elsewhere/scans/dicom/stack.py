"""The headers of one series in; which of its images make the volume, in which order and turned how, out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.header import Header
from elsewhere.scans.dicom.preference import COVERING, LOCALIZERS, REFORMATTED, RENDERED, rank, region
from elsewhere.scans.dicom.separate import (
    NEAR,
    SAME_PLACE_MM,
    mixed_numbers,
    owners,
    places,
    runs,
    same_content,
    without_copies,
)
from elsewhere.scans.grid import in_millimetres
from elsewhere.scans.scan import Fact
from elsewhere.scans.slices import natural_key
from elsewhere.scans.volume import Spacing

AXIAL = 0.8
"""Least share of the slice normal along the body axis (37°: a gantry tilts by 30° at most)."""
JUMP = 1.5
"""A distance of neighbouring slices beyond this multiple of the median one counts as missing slices."""
MAX_LOST_SHARE = 0.10
SIDEWAYS_MM = 1.0
"""By which the places of an axial volume differ within the plane: scanners keep them to a hundredth of it."""
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
        left_out: how many slices it lacks because their images could not be used.
    """

    headers: tuple[Header, ...]
    turn: Turn
    spacing: Spacing | None
    length_mm: float | None
    notes: tuple[str, ...] = ()
    facts: dict[str, Fact] = field(default_factory=dict)
    left_out: int = 0


def arrange(headers: Sequence[Header], where: str) -> Stack:
    """Order the images of one series into a volume.

    Copies are left out. Images of another kind, size, orientation or pixel spacing than the majority are too (scouts
    inside the series); of several acquisitions, time points or reconstructions at the same or interleaved places the
    preferred one is taken (see `preference.rank`). Slices are ordered by the projection of ImagePositionPatient on the
    slice normal, else by SliceLocation (rising towards the head), else by InstanceNumber (1 is the most superior), else
    by the files' names.

    Raises:
        BadScan: fewer than 2 images are left, they are not axial, nothing tells their order, two patients or volumes
            are mixed, or more than `MAX_LOST_SHARE` of the slices would have to be left out.
    """
    notes: list[str] = []
    headers, copies = without_copies(headers)
    if copies:
        notes.append(f"{counted(len(copies), 'file')} left out: copies of others (same image)")
    if len(parts := owners(headers)) > 1:
        what = f"mixes {len(parts)} patients, studies or scanners under one series ({parts[0][1]} differs)"
        raise BadScan(where, what, "Name each scan by the `path` of its own folder")
    alike, aliens = majority(headers)
    turn = turn_of(alike[0], where)
    if alike[0].orientation is None:
        notes.append("no ImageOrientationPatient: taken as supine, seen from the feet (row 0 anterior)")
    left = _LeftOut()
    _note_aliens(aliens, notes)
    heights, order = _order(alike, where, notes, left)
    if len(order) < 2:
        raise BadScan(where, f"holds {len(order)} slice, expected at least 2", "Give a whole series, not single slices")
    chosen = tuple(alike[i] for i in order)
    facts: dict[str, Fact] = {}
    ordered = np.array([heights[i] for i in order]) if heights else None
    step = _step(ordered, notes, facts)
    if ordered is not None and step:
        left.aliens = _holes(aliens, alike[0], ordered, step)
    left.check(len(chosen), where)
    _tilt(chosen, notes, facts)
    _sideways(chosen, notes, facts)
    length = None if ordered is None else float(ordered[0] - ordered[-1])
    spacing = _spacing(chosen[0], turn, step, notes)
    notes += _remarks(chosen)
    return Stack(chosen, turn, spacing, length, tuple(notes), facts, left.slices)


@dataclass
class _LeftOut:
    """Images that a volume lacks because they had to be left out."""

    unplaced: int = 0
    seconds: int = 0
    aliens: int = 0

    @property
    def slices(self) -> int:
        return self.unplaced + self.seconds + self.aliens

    def check(self, kept: int, where: str) -> None:
        """Raises BadScan where they are more than may be damaged."""
        if self.slices <= MAX_LOST_SHARE * (kept + self.slices):
            return
        parts = (
            (self.unplaced, "image", "without position"),
            (self.seconds, "second image", "at a place, and nothing tells which belongs to the volume"),
            (self.aliens, "image", "of another size, orientation or pixel spacing where slices are missing"),
        )
        reasons = "; ".join(f"{counted(count, noun)} {reason}" for count, noun, reason in parts if count)
        what = f"{self.slices} of {kept + self.slices} images would be left out (at most {MAX_LOST_SHARE:.0%} may be)"
        raise BadScan(where, f"{what}: {reasons}", "Export the series again, one volume to a series")


def counted(number: int, noun: str) -> str:
    """ "1 image", "2 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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


def majority(headers: Sequence[Header]) -> tuple[list[Header], list[Header]]:
    """The images alike in kind, size, orientation and pixel spacing that fill most places, and all others."""
    groups: list[list[Header]] = []
    for header in headers:
        for group in groups:
            if _alike(group[0], header):
                group.append(header)
                break
        else:
            groups.append([header])
    largest = max(groups, key=lambda group: (len({_place(h) for h in group}), len(group)))
    return largest, [h for group in groups if group is not largest for h in group]


def _place(header: Header) -> object:
    return header.position or (header.number if header.location is None else header.location)


def _note_aliens(aliens: Sequence[Header], notes: list[str]) -> None:
    sizes = Counter(f"{h.rows} × {h.columns}" for h in aliens)
    if sizes:
        said = ", ".join(f"{n} of {size}" for size, n in sizes.items())
        notes.append(f"{counted(len(aliens), 'image')} of another size, orientation or pixel spacing left out ({said})")


def _holes(aliens: Sequence[Header], first: Header, heights: NDArray[np.float64], step: float) -> int:
    """How many axial images of another size, orientation or spacing lie where the volume has no slice; half-way between
    slices too, where these are too thin to reach each other."""
    normal = _normal(first)
    beside = [h for h in aliens if _kind(h) == _kind(first) and _is_axial(h)]
    there = [float(np.dot(h.position, normal)) for h in beside if h.position]
    thickness = first.about.facts.get("thickness_mm")
    thin = isinstance(thickness, int | float) and thickness <= NEAR * step
    return sum(float(np.abs(heights - height).min()) > (1 - NEAR if thin else NEAR) * step for height in there)


def _is_axial(header: Header) -> bool:
    try:
        turn_of(header, "")
    except BadScan:
        return False
    return True


def _kind(header: Header) -> tuple[object, ...]:
    about, form = header.about, header.form
    types = set(about.image_type)
    return about.modality, about.sop_class, about.rescale_type, form.samples, types & LOCALIZERS, types & RENDERED


def _alike(one: Header, other: Header) -> bool:
    same = (one.rows, one.columns) == (other.rows, other.columns)
    near = _near(one.orientation, other.orientation, 0.02) and _near(one.pixel_spacing, other.pixel_spacing, 1e-3)
    return same and near and (one.about is other.about or _kind(one) == _kind(other))


def _near(one: Sequence[float] | None, other: Sequence[float] | None, tolerance: float) -> bool:
    if one is None or other is None or one == other:
        return one == other
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def _order(headers: list[Header], where: str, notes: list[str], left: _LeftOut) -> tuple[list[float] | None, list[int]]:
    """Height of each image in mm (None where only numbers or names order them), and the order from the head down."""
    heights, which = _heights(headers, notes, left)
    if heights is None:
        return None, _by_number(headers, where, notes)
    which = _one_run(headers, heights, which, notes)
    heights = _unrounded(headers, heights, which, notes)
    which.sort(key=lambda i: (-heights[i], headers[i].number or 0, str(headers[i].path)))
    order = _one_per_place(headers, heights, which, notes, left)
    if mixed_numbers([headers[i] for i in order], [heights[i] for i in order]):
        what = "mixes two volumes: its InstanceNumbers stand twice, at neighbouring places"
        raise BadScan(where, what, "Put each volume into a folder of its own, and name it by its `path`")
    return heights, order


def _heights(headers: list[Header], notes: list[str], left: _LeftOut) -> tuple[list[float] | None, list[int]]:
    """Height of each image along the slice normal, and which images have one."""
    placed = [i for i, h in enumerate(headers) if h.position is not None]
    if len(placed) >= max(2, (1 - MAX_LOST_SHARE) * len(headers)) and _spread(headers, placed):
        if len(placed) < len(headers):
            left.unplaced = len(headers) - len(placed)
            notes.append(f"{counted(left.unplaced, 'image')} without position left out")
        normal = _normal(headers[0])
        return [float(np.dot(h.position, normal)) if h.position else 0.0 for h in headers], placed
    located = [i for i, h in enumerate(headers) if h.location is not None]
    distinct = len({headers[i].location for i in located})
    if len(located) >= (1 - MAX_LOST_SHARE) * len(headers) and distinct > 1:
        notes.append("no usable ImagePositionPatient: ordered by SliceLocation, taken to rise towards the head")
        if len(located) < len(headers):
            left.unplaced = len(headers) - len(located)
            notes.append(f"{counted(left.unplaced, 'image')} without SliceLocation left out")
        return [float(h.location or 0.0) for h in headers], located
    return None, []


def _normal(header: Header) -> NDArray[np.float64]:
    """Direction from slice to slice, towards the head."""
    across, down = np.reshape(header.orientation or IDENTITY, (2, 3))
    normal = np.cross(across, down)
    return normal / np.linalg.norm(normal) * np.sign(normal[2])


def _spread(headers: Sequence[Header], placed: Sequence[int]) -> bool:
    """Do the positions say something? Some anonymisers blank them all to 0, some repeat the first."""
    distinct = {headers[i].position for i in placed}
    if len(distinct) > 1:
        return True
    blank = distinct == {(0.0, 0.0, 0.0)}
    return not blank and len({h.location for h in headers}) == 1


def _one_run(headers: Sequence[Header], heights: Sequence[float], which: list[int], notes: list[str]) -> list[int]:
    """The images of one acquisition, time point and reconstruction."""
    parts, name, overlapping = runs([headers[i] for i in which], [heights[i] for i in which])
    if overlapping:
        notes.append(f"{counted(overlapping, 'image')} in the overlap of two acquisitions left out")
    if len(parts) == 1:
        return [which[i] for i in parts[0]]
    sets = [[which[i] for i in part] for part in parts]
    best = _preferred(headers, heights, sets)
    value = headers[best[0]].about.run.get(name, "")
    notes.append(
        f"{len(sets)} {PLURALS.get(name, name + 's')} in one series: {len(best)} images of {name} {value}".rstrip()
        + f" kept, {len(which) - len(best)} left out"
    )
    return best


PLURALS = {"frame of reference": "frames of reference", "contrast": "contrast phases", "body part": "body parts"}
PLURALS |= {"thickness": "slice thicknesses", "acquisition time": "acquisitions", "kVp": "tube voltages"}
PLURALS |= {"series time": "series times", "pass": "passes", "lossy compression": "compressions"}


def _preferred(headers: Sequence[Header], heights: Sequence[float], sets: Sequence[list[int]]) -> list[int]:
    """The best of several volumes in one series: long enough, then as `preference.rank` has it, then the earliest."""

    def length(one: Sequence[int]) -> float:
        return float(np.ptp([heights[i] for i in one]))

    def key(one: Sequence[int]) -> tuple[object, ...]:
        first = headers[one[0]]
        count = places([heights[i] for i in one])
        derived = bool(REFORMATTED & set(first.about.image_type))
        when = min((time for time in (headers[i].time for i in one) if time is not None), default=0.0)
        number = first.about.run["acquisition"].rjust(12), min(headers[i].number or 0 for i in one)
        lossy = bool(first.about.facts.get("lossy"))
        return lossy, *rank(first.about.facts, count, derived), when, number, str(first.path)

    here = [one for one in sets if region(headers[one[0]].about.facts) < 2] or list(sets)
    longest = max(map(length, here))
    return min((one for one in here if length(one) >= COVERING * longest), key=key)


def _unrounded(headers: Sequence[Header], heights: list[float], which: Sequence[int], notes: list[str]) -> list[float]:
    """Heights told apart again where several slices were rounded to one: by SliceLocation, else by InstanceNumber."""
    if places([heights[i] for i in which]) == len(which):
        return heights
    for name, values in (("SliceLocation", _locations(headers)), ("InstanceNumber", _numbers(headers))):
        known = [values[i] for i in which]
        if None in known or len(set(known)) < len(which):
            continue
        order = sorted(which, key=lambda i: values[i] or 0.0)
        climb = np.diff([heights[i] for i in order])
        if not ((climb >= 0).all() or (climb <= 0).all()):
            continue
        evenly = np.linspace(heights[order[0]], heights[order[-1]], len(order))
        rounding = _rounding([heights[i] for i in which])
        if float(np.abs(evenly - [heights[i] for i in order]).max()) > rounding or _twice(headers, heights, order):
            continue
        notes.append(
            f"positions are rounded to {rounding:g} mm: ordered by {name}, evenly between the first and the last"
        )
        found = list(heights)
        for i, height in zip(order, evenly, strict=True):
            found[i] = float(height)
        return found
    return heights


def _twice(headers: Sequence[Header], heights: Sequence[float], order: Sequence[int]) -> bool:
    """Does each place hold equally many images that are too thick for half a place? Those are images of two volumes."""
    counts = Counter(heights[i] for i in order)
    step = abs(heights[order[-1]] - heights[order[0]]) / max(1, len(order) - 1)
    thickness = headers[order[0]].about.facts.get("thickness_mm")
    return len(set(counts.values())) == 1 and not (isinstance(thickness, int | float) and thickness <= 1.5 * step)


def _locations(headers: Sequence[Header]) -> list[float | None]:
    return [h.location for h in headers]


def _numbers(headers: Sequence[Header]) -> list[float | None]:
    return [h.number for h in headers]


def _rounding(heights: Sequence[float]) -> float:
    """The coarsest of 1, 0.1, 0.01 mm of which all heights are multiples; 0 where none is."""
    values = np.asarray(heights)
    return next((unit for unit in (1.0, 0.1, 0.01) if np.allclose(values / unit, np.rint(values / unit))), 0.0)


def _by_number(headers: Sequence[Header], where: str, notes: list[str]) -> list[int]:
    """Order without heights: by instance number, where each stands once; else by name, where names count."""
    which = list(range(len(headers)))
    numbers = [h.number for h in headers]
    if None not in numbers and len(set(numbers)) > 1:
        counted = [-float(number or 0) for number in numbers]
        which = _one_run(headers, counted, which, notes)
    known = {numbers[i] for i in which}
    if None not in known and len(known) == len(which):
        if len(which) > 1:
            notes.append("neither positions nor SliceLocation: ordered by InstanceNumber, 1 taken as the most superior")
        return sorted(which, key=lambda i: numbers[i] or 0)
    if not _names_count([headers[i].path.name for i in which]):
        what = "has no positions, no SliceLocation, no distinct InstanceNumbers, and its files' names do not count"
        raise BadScan(where, what, "Export the series with ImagePositionPatient")
    notes.append(
        "neither positions, SliceLocation nor distinct InstanceNumbers: ordered by the numbers in the files' names, "
        "the first taken as the most superior"
    )
    return sorted(which, key=lambda i: natural_key(headers[i].path.name))


def _names_count(names: Sequence[str]) -> bool:
    """Do files' names count the slices: one text, one number that differs, and hardly one missing?"""
    if len({re.sub(r"\d+", "#", name) for name in names}) > 1:
        return False
    columns = zip(*(map(int, re.findall(r"\d+", name)) for name in names), strict=True)
    varying = [sorted(column) for column in columns if len(set(column)) > 1]
    if len(varying) != 1 or len(set(varying[0])) < len(names):
        return False
    step = min(np.diff(varying[0]))
    return bool(len(names) >= (1 - MAX_LOST_SHARE) * ((varying[0][-1] - varying[0][0]) / step + 1))


def _one_per_place(
    headers: Sequence[Header], heights: Sequence[float], order: list[int], notes: list[str], left: _LeftOut
) -> list[int]:
    """Leave out second images at a place; those that hold other pixels than the first count as lost."""
    kept: list[int] = []
    seconds, copies = 0, 0
    for i in order:
        if not kept or abs(heights[kept[-1]] - heights[i]) > SAME_PLACE_MM:
            kept.append(i)
        elif same_content(headers[kept[-1]], headers[i]):
            copies += 1
        else:
            seconds += 1
    if copies:
        copied = "1 copy" if copies == 1 else f"{copies} copies"
        notes.append(f"{copied} at the same position (same pixels, other ids) left out")
    if seconds:
        notes.append(f"{counted(seconds, 'second image')} at the same position left out")
    left.seconds = seconds
    return kept


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


def _sideways(headers: Sequence[Header], notes: list[str], facts: dict[str, Fact]) -> None:
    """Places that move within the plane, where no tilted gantry makes them: the body is shifted from slice to slice."""
    first, placed = headers[0], [h.position for h in headers if h.position is not None]
    if first.orientation is None or len(placed) < len(headers) or "tilt_deg" in facts:
        return
    reach = float(np.ptp(np.reshape(first.orientation, (2, 3)) @ np.transpose(placed), axis=1).max())
    if reach > SIDEWAYS_MM:
        notes.append(f"slices lie up to {reach:.1f} mm sideways of each other, and are read so: the body is shifted")


def _angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Angle between two lines in degrees, 0 to 90."""
    cosine = abs(float(np.dot(a, b))) / float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


def _spacing(header: Header, turn: Turn, step: float | None, notes: list[str]) -> Spacing | None:
    if header.pixel_spacing is None or min(header.pixel_spacing) <= 0:
        shown = "\\".join(f"{mm:g}" for mm in header.pixel_spacing or ())
        notes.append(f"{f'PixelSpacing is {shown}' if shown else 'no PixelSpacing'}: spacing unknown")
        return None
    if step is None:
        notes.append("slice positions unknown: spacing unknown")
        return None
    rows, columns = header.pixel_spacing[::-1] if turn.swap else header.pixel_spacing
    notes += in_millimetres((step, rows, columns), "mm")[1]
    return step, rows, columns


def _remarks(headers: Sequence[Header]) -> list[str]:
    """What was put right in the headers, and in how many images."""
    counts = Counter(remark for h in headers for remark in h.remarks)
    return [f"{remark} ({counted(count, 'image')})" for remark, count in counts.items()]

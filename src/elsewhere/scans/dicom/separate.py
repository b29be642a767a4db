"""Images that share a SeriesInstanceUID in; which of them belong together, out.

No tag alone is proof. One UID may stand for two patients (bad anonymisers), two acquisitions, time points or kernels,
and one image may lie there twice under two names. What is compared here is everything that could tell them apart.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.header import OWNER, RUN, WEAK_OWNER, Header
from elsewhere.scans.dicom.pixels import Frames
from elsewhere.scans.dicom.tags import DEFLATED
from elsewhere.scans.opening import open_regular

SAME_PLACE_MM = 0.01
NEAR = 0.75
"""Images nearer than this share of the slice distance are no neighbours in one volume."""
MOST = 0.5
"""Share of its images that must collide with another set for a set to be one of its own."""
LEAST_SET = 3
"""Places from which on a set has a slice distance."""
LEAST_GRID = 6
EVEN, EVEN_SHARE = 0.05, 0.8
"""Share of the distances that differ from their median by no more than that share of it, in a volume."""
APART = 10.0
"""A hole of more than so many slice distances parts the images of two folders."""
PAUSE = 5.0
"""A pause between acquisition times beyond this multiple of the median one may part two passes over the patient."""

OVERLAP = 1.1
"""Slices thicker than this multiple of their distance overlap."""

Heights = Sequence[float]


# Patients -----------------------------------------------------------------------------------------------------------


def owners(headers: Sequence[Header]) -> list[tuple[list[Header], str]]:
    """The images by patient, study and scanner, and what tells each group apart ("" where there is one).

    Where nothing but the folder can tell (blank ids and one UID for all), folders are patients when each holds the same
    instance numbers, or their slices interleave or lie far apart.
    """
    groups = [(list(headers), "")]
    for place, name in enumerate((*OWNER, *WEAK_OWNER)):
        groups = [part for group, why in groups for part in _by_value(group, why, name, place)]
    return [part for group, why in groups for part in _by_folder(group, why)]


def _by_value(headers: list[Header], why: str, name: str, place: int) -> list[tuple[list[Header], str]]:
    """Split where two values are said. A value of its own in every file (bad anonymisers) says nothing where the places
    and numbers make the images one volume; blank is not another value."""
    groups: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        groups[header.about.owner[place].strip(" ^").upper()].append(header)
    blank = groups.pop("", [])
    parts = [(group, name) for group in groups.values()]
    many, weak = len(groups) > max(2, len(headers) / 2), name in WEAK_OWNER
    if (
        len(groups) < 2
        or (many and (weak or is_one_grid(headers)))
        or (weak and not _overlapping(list(groups.values())))
    ):
        return [(headers, why)]
    return [*parts, (blank, name)] if blank else parts


def is_one_grid(headers: Sequence[Header]) -> bool:
    """Are the images evenly spaced, each place once, and counted through in that order?"""
    heights = _heights(headers)
    return bool(heights) and _counted_through(headers) and is_even(heights)


def _overlapping(groups: Sequence[Sequence[Header]]) -> bool:
    """Do the images of a group lie at or between the places of larger ones, or count over the same numbers?"""
    largest, *others = sorted(groups, key=len, reverse=True)
    heights, numbers = _heights(largest), {h.number for h in largest}
    for group in others:
        here = _heights(group)
        if heights and here and len(collisions(here, heights)) >= MOST * len(group):
            return True
        counted = {h.number for h in group if h.number is not None}
        if not (heights and here) and len(counted) > 1 and len(counted & numbers) >= MOST * len(counted):
            return True
        heights, numbers = [*heights, *here], numbers | counted
    return False


def _by_folder(headers: list[Header], why: str) -> list[tuple[list[Header], str]]:
    folders: dict[Path, list[Header]] = defaultdict(list)
    for header in headers:
        folders[header.path.parent].append(header)
    sets: list[list[Header]] = []
    for group in folders.values():
        home = next((one for one in sets if not _strangers(one, group)), None)
        if home is None:
            sets.append(list(group))
        else:
            home.extend(group)
    return [(headers, why)] if len(sets) == 1 else [(one, "folder") for one in sets]


def _strangers(one: Sequence[Header], other: Sequence[Header]) -> bool:
    """Are the images of two folders two volumes?"""
    if len(other) < 2 or _copied(one, other):
        return False
    numbers = [{h.number for h in group if h.number is not None} for group in (one, other)]
    fewest = min(len(group) for group in numbers)
    repeated = fewest > 1 and len(numbers[0] & numbers[1]) >= MOST * fewest
    acquisitions = {h.about.run["acquisition"] for h in (*one, *other)}
    if repeated and (not one[0].patient or len(acquisitions) == 1):
        return True
    heights = [_heights(group) for group in (one, other)]
    if not all(heights):
        return False
    if len(collisions(heights[1], heights[0])) < MOST * len(other):
        return _far_apart(*heights)
    return not _counted_through([*one, *other])


def _far_apart(one: Heights, other: Heights) -> bool:
    """Is there a hole between two sets that no volume has?"""
    if min(places(one), places(other)) < LEAST_SET:
        return False
    hole = max(min(one) - max(other), min(other) - max(one))
    return hole > APART * max(slice_distance(one), slice_distance(other))


def _copied(one: Sequence[Header], other: Sequence[Header]) -> bool:
    names = {image_name(h) for h in one}
    return sum(image_name(h) in names for h in other) >= MOST * len(other)


def image_name(header: Header) -> tuple[object, ...]:
    """What copies of one image have in common."""
    where = (header.position, header.location, header.number, header.time, header.frame, header.patient)
    return header.sop_uid, *where, header.rows, header.columns


def _heights(headers: Sequence[Header]) -> list[float]:
    """Heights along the body; empty where some are unknown."""
    found = [h.position[2] if h.position else h.location for h in headers]
    return [height for height in found if height is not None] if None not in found else []


def _counted_through(headers: Sequence[Header]) -> bool:
    """Do the instance numbers run through all images in the order of their heights, each once?"""
    numbered = sorted(
        (h.number, height) for h, height in zip(headers, _heights(headers), strict=True) if h.number is not None
    )
    if len({number for number, _ in numbered}) < len(headers):
        return False
    steps = np.diff([height for _, height in numbered])
    return bool((steps > 0).all() or (steps < 0).all())


# Acquisitions, time points, reconstructions -------------------------------------------------------------------------


def runs(headers: Sequence[Header], heights: Heights) -> tuple[list[list[int]], str, int]:
    """Indices of the images of each volume; what tells the volumes apart ("" for one); how many images overlap.

    A set of images with a value of its own (an acquisition number, say) is a volume of its own where most of its images
    lie at or between the places of another set. Sets that lie one behind the other are one volume; of two that overlap
    a little the smaller one's images in the overlap are left out.
    """
    whole, dropped = list(range(len(headers))), 0
    for name in ("stack", *RUN.values(), *GUESSED):
        values = GUESSED[name](headers, heights) if name in GUESSED else [h.about.run[name] for h in headers]
        if not 2 <= len(set(values)) <= max(2, len(headers) / 2):
            continue
        sets, overlapping = _stacked(whole, values, heights)
        dropped += overlapping
        if len(sets) == 1:
            whole = sets[0]
            continue
        parts = []
        for one in sets:
            inner, _, more = runs([headers[i] for i in one], [heights[i] for i in one])
            parts += [[one[i] for i in part] for part in inner]
            dropped += more
        return parts, name, dropped
    return [whole], "", dropped


def _stacked(which: Sequence[int], values: Sequence[str], heights: Heights) -> tuple[list[list[int]], int]:
    groups: dict[str, list[int]] = defaultdict(list)
    for i in which:
        groups[values[i]].append(i)
    ordered = sorted(groups.items(), key=lambda item: (-places([heights[i] for i in item[1]]), _number(item[0])))
    sets: list[list[int]] = []
    dropped = 0
    for _, group in ordered:
        for one in sets:
            hit = collisions([heights[i] for i in group], [heights[i] for i in one])
            if len(hit) < MOST * len(group):
                one += [i for n, i in enumerate(group) if n not in hit]
                dropped += len(hit)
                break
        else:
            sets.append(list(group))
    return sets, dropped


def collisions(heights: Heights, others: Heights) -> set[int]:
    """Which of some heights lie at a place of others, or between their places where no slice can lie."""
    there = np.unique(np.asarray(others, np.float64))
    here = np.asarray(heights, np.float64)
    clearance = SAME_PLACE_MM
    if min(places(heights), places(others)) >= LEAST_SET:
        clearance = max(clearance, NEAR * min(slice_distance(heights), slice_distance(others)))
    elif is_even(others):
        clearance = max(clearance, NEAR * slice_distance(others))
    after = np.clip(np.searchsorted(there, here), 1, max(1, len(there) - 1))
    gap = np.minimum(np.abs(here - there[after - 1]), np.abs(here - there[np.minimum(after, len(there) - 1)]))
    inside = (here >= there[0] - SAME_PLACE_MM) & (here <= there[-1] + SAME_PLACE_MM)
    return set(np.flatnonzero((gap <= clearance) & inside).tolist())


def places(heights: Heights) -> int:
    """How many places along the body some heights are."""
    return 1 + int(np.count_nonzero(np.diff(np.sort(heights)) > SAME_PLACE_MM)) if len(heights) else 0


def slice_distance(heights: Heights) -> float:
    """Median distance of neighbouring places."""
    steps = np.diff(np.sort(heights))
    return float(np.median(steps[steps > SAME_PLACE_MM]))


def is_even(heights: Heights) -> bool:
    """Are these the places of a volume: enough of them, and most at one distance?"""
    if places(heights) < LEAST_GRID:
        return False
    steps = np.diff(np.sort(heights))
    steps = steps[steps > SAME_PLACE_MM]
    return float(np.mean(np.abs(steps - np.median(steps)) <= EVEN * np.median(steps))) >= EVEN_SHARE


def _number(text: str) -> tuple[float, str]:
    try:
        return float(text), ""
    except ValueError:
        return float("inf"), text


def _pauses(headers: Sequence[Header], _: Heights) -> list[str]:
    """Two values, before and after the longest pause between acquisition times, where it is long for this series."""
    times = sorted({h.time for h in headers if h.time is not None})
    gaps = [(later - earlier, later) for earlier, later in pairwise(times)]
    if not gaps or any(h.time is None for h in headers):
        return [""] * len(headers)
    longest, since = max(gaps)
    if len(gaps) > 1 and longest < PAUSE * float(np.median([gap for gap, _ in gaps])):
        return [""] * len(headers)
    return ["1" if h.time is not None and h.time >= since else "0" for h in headers]


def _passes(headers: Sequence[Header], heights: Heights) -> list[str]:
    """The pass over the patient that each image belongs to, counted by the images' numbers: one ends where the heights
    turn back. Each must be a volume of its own: numbers that follow no order say nothing. Slices too thin to overlap
    once all are one volume are of one round that left every other place out."""
    numbers = [h.number for h in headers]
    if None in numbers or len(set(numbers)) < len(numbers):
        return [""] * len(headers)
    order = sorted(range(len(headers)), key=lambda i: numbers[i] or 0)
    thickness = headers[0].about.facts.get("thickness_mm")
    apart = places(heights) == len(heights) > 1
    if apart and isinstance(thickness, int | float) and thickness <= OVERLAP * slice_distance(heights):
        return [""] * len(headers)
    steps = np.diff([heights[i] for i in order])
    moved = np.abs(steps) > SAME_PLACE_MM
    usual = float(np.median(np.abs(steps[moved]))) if moved.any() else 0.0
    found, count, direction, last = [""] * len(headers), 1, 0.0, usual
    found[order[0]] = "1"
    for (before, i), step in zip(pairwise(order), steps.tolist(), strict=True):
        turn = float(np.sign(step)) if abs(step) > SAME_PLACE_MM else 0.0
        if turn and turn == -direction:
            count, direction = count + 1, 0.0
            if abs(abs(last) - usual) > EVEN * usual:  # the way here was no step of a pass: this one begins before
                found[before], direction = str(count), turn
        else:
            direction = turn or direction
        found[i], last = str(count), step
    if not 2 <= count <= len(headers) / LEAST_GRID:
        return [""] * len(headers)
    passes = [[h for h, name in zip(heights, found, strict=True) if name == str(n)] for n in range(1, count + 1)]
    return found if all(map(is_even, passes)) else [""] * len(headers)


GUESSED = {"acquisition time": _pauses, "pass": _passes}
"""Word for notes → what tells volumes apart where no tag does."""


def mixed_numbers(headers: Sequence[Header], heights: Heights) -> bool:
    """Does every instance number stand twice, at neighbouring places? Then two volumes are mixed that nothing parts."""
    numbers = [h.number for h in headers]
    counts = Counter(numbers)
    if None in counts or not 2 <= len(counts) <= 0.75 * len(numbers):
        return False
    twice = [n for n, count in counts.items() if count > 1]
    if len(twice) < MOST * len(counts):
        return False
    spans = [np.ptp([height for n, height in zip(numbers, heights, strict=True) if n == number]) for number in twice]
    return float(np.median(spans)) < float(np.ptp(heights)) / 3


# Copies -------------------------------------------------------------------------------------------------------------


def without_copies(headers: Sequence[Header]) -> tuple[list[Header], list[Header]]:
    """The images, and those left out because another file holds the same image: same ids, place and pixels.

    Bytes are compared first: scans are listed before they are read, and no decoder is asked there without need.
    """
    kept, copies = _apart(headers, _bytes)
    kept, others = _apart(kept, _content)
    return kept, [*copies, *others]


def _apart(headers: Sequence[Header], content: Callable[[Header], str]) -> tuple[list[Header], list[Header]]:
    counts = Counter(map(image_name, headers))
    seen: set[tuple[object, ...]] = set()
    kept: list[Header] = []
    copies: list[Header] = []
    for header in headers:
        name = image_name(header)
        if counts[name] > 1:
            name = (*name, content(header))
        (copies if name in seen else kept).append(header)
        seen.add(name)
    return kept, copies


def _bytes(header: Header) -> str:
    """What a file stores from its pixels on, and how it is to be read; a name of its own where pydicom must find it."""
    if header.pixels_at < 0 or header.form.syntax == DEFLATED:
        return str(header.path)
    try:
        state = header.path.stat()
        digest = _digest(header.path, header.pixels_at, state.st_size, state.st_mtime_ns)
    except (BadScan, OSError):
        return str(header.path)
    return f"{header.form} {header.slope} {header.intercept} {digest}"


@lru_cache(maxsize=2)
def _digest(path: Path, at: int, _size: int, _changed: int) -> str:
    """Hash of a file from a place on; once for all frames of it."""
    with open_regular(path) as file:
        file.seek(at)
        return hashlib.sha256(file.read()).hexdigest()


def _content(header: Header) -> str:
    """What an image's stored values are, however they are encoded; a name of its own where they cannot be read."""
    try:
        values = Frames(header).decode(header.frame)
    except BadScan:
        return str(header.path)
    scale = f"{header.slope} {header.intercept} {header.form.signed} {values.shape}"
    return hashlib.sha256(scale.encode() + values.tobytes()).hexdigest()


def same_content(one: Header, other: Header) -> bool:
    """Do two images hold the same values?"""
    return (one.rows, one.columns) == (other.rows, other.columns) and _content(one) == _content(other)

"""The files of one DICOM series in; one volume in HU, canonical axes, out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.header import Header, read_headers
from elsewhere.scans.dicom.pixels import PLAUSIBLE_HU, Frames, blank_padding, padding, rescale
from elsewhere.scans.dicom.stack import MAX_LOST_SHARE, Stack, arrange
from elsewhere.scans.scan import Fact
from elsewhere.scans.volume import Volume

PADDING_BELOW = -1500
"""HU that no tissue and no air reaches: scanners fill the corners outside the field of view with −2000 or −3024."""


def read_volume(files: Sequence[Path], where: str) -> Volume:
    """Read a series. Damaged files are left out and noted, while they are at most `MAX_LOST_SHARE` of the slices.

    Args:
        files: its files, in any order; files of another series among them mix up the volume.
        where: the scan's name for messages.

    Returns:
        int16 HU, clipped to the range of int16, [slice, row, column] in the canonical axes.

    Raises:
        BadScan: too many files are damaged, fewer than 2 slices are left, a transfer syntax cannot be decoded, the
            series is not axial, or its values cannot be HU.
    """
    headers, lost = _read_all_headers(files)
    if not headers:
        raise _too_many(where, lost, len(lost))
    stack = arrange(headers, where)
    _check_grey(stack.headers[0], where)
    voxels, decoded = _decode(stack)
    lost += decoded.lost
    total = len(stack.headers) + len(lost) - len(decoded.lost)
    if len(lost) > MAX_LOST_SHARE * total or total - len(lost) < 2:
        raise _too_many(where, lost, total)
    if decoded.lost:
        keep = np.array(decoded.kept)
        stack, voxels = arrange([stack.headers[i] for i in keep], where), voxels[keep]
    notes = [*_lost_notes(lost, total), *stack.notes, *_value_notes(stack, voxels, decoded, where)]
    facts = {**stack.headers[0].about.facts, **stack.facts, **_padding_fact(stack.headers[0], voxels)}
    voxels = np.ascontiguousarray(stack.turn.apply(voxels))
    return Volume(voxels, "HU", stack.spacing, 0.0, tuple(notes), facts)


@dataclass
class _Decoded:
    """What happened while the pixels were decoded."""

    kept: list[int] = field(default_factory=list)
    lost: list[BadScan] = field(default_factory=list)
    clipped: int = 0
    blanked: int = 0


def _read_all_headers(files: Sequence[Path]) -> tuple[list[Header], list[BadScan]]:
    headers, lost = [], []
    for path in files:
        try:
            headers += read_headers(path)
        except BadScan as error:
            lost.append(error)
    return headers, lost


def _check_grey(header: Header, where: str) -> None:
    if header.form.samples != 1:
        what = f"holds colour images ({header.form.samples} values per pixel, {header.form.photometric})"
        raise BadScan(where, what, "Leave out screenshots and secondary captures")


def _decode(stack: Stack) -> tuple[NDArray[np.int16], _Decoded]:
    """Every slice in HU at its place, [slice, row, column] as stored; slices that fail are named."""
    first = stack.headers[0]
    voxels = np.empty((len(stack.headers), first.rows, first.columns), np.int16)
    done = _Decoded()
    for places in _by_file(stack.headers).values():
        frames = Frames(stack.headers[places[0]])
        for i in places:
            try:
                _decode_one(frames, stack.headers[i], voxels[i], done)
                done.kept.append(i)
            except BadScan as error:
                done.lost.append(error)
    done.kept.sort()
    return voxels, done


def _by_file(headers: Sequence[Header]) -> dict[Path, list[int]]:
    places: dict[Path, list[int]] = defaultdict(list)
    for i, header in enumerate(headers):
        places[header.path].append(i)
    return places


def _decode_one(frames: Frames, header: Header, out: NDArray[np.int16], done: _Decoded) -> None:
    values = frames.decode(header.frame)
    done.clipped += rescale(values, header, out)
    done.blanked += blank_padding(values, header, out)


def _too_many(where: str, lost: Sequence[BadScan], total: int) -> BadScan:
    if not lost:
        return BadScan(where, "holds no DICOM image", "Check that the series was copied completely")
    first = lost[0]
    what = (
        f"{len(lost)} of {total} files cannot be read (at most {MAX_LOST_SHARE:.0%} may be, and 2 must be left); "
        f"first {Path(first.where).name}: {first.what}"
    )
    return BadScan(where, what, first.next_step)


def _lost_notes(lost: Sequence[BadScan], total: int) -> list[str]:
    if not lost:
        return []
    names = ", ".join(Path(error.where).name for error in lost)
    return [f"{len(lost)} of {total} files cannot be read and are left out: {names}"]


def _value_notes(stack: Stack, voxels: NDArray[np.int16], done: _Decoded, where: str) -> list[str]:
    """Remarks on the values. Raises BadScan where they cannot be HU."""
    header, notes = stack.headers[0], []
    if any(h.intercept is None for h in stack.headers):
        lowest = int(voxels.min())
        if lowest >= 0:
            what = f"has no RescaleIntercept and no value below 0 (lowest {lowest}): these are not HU"
            raise BadScan(where, what, "Export the series with its rescale values")
        notes.append("no RescaleIntercept: stored values taken as HU")
    if len({(h.slope, h.intercept) for h in stack.headers}) > 1:
        notes.append("rescale slope and intercept differ between slices (each slice rescaled by its own)")
    if header.form.photometric == "MONOCHROME1":
        notes.append("MONOCHROME1: asks for an inverted display; HU are not touched by it (PS3.3, C.7.6.3.1.2)")
    if done.clipped:
        notes.append(f"{done.clipped} voxels beyond the range of int16 clipped")
    return notes + _padding_notes(header, done)


def _padding_notes(header: Header, done: _Decoded) -> list[str]:
    if done.blanked:
        return [f"{done.blanked} voxels of declared padding brighter than {PLAUSIBLE_HU[1]} HU set to air"]
    declared = padding(header.form, header.slope, header.intercept or 0.0)
    if declared and PLAUSIBLE_HU[0] < declared[1] <= PLAUSIBLE_HU[1]:
        return [f"declares padding at {declared[1]:g} HU, where tissue may lie: left as stored"]
    return []


def _padding_fact(header: Header, voxels: NDArray[np.int16]) -> Mapping[str, Fact]:
    """HU of the padding seen in the volume; declared in the header or not."""
    lowest = int(voxels.min())
    if lowest < PADDING_BELOW:
        return {"padding": lowest}
    declared = padding(header.form, header.slope, header.intercept or 0.0)
    return {"padding": round(declared[1])} if declared and round(declared[1]) == lowest else {}

"""The files of one DICOM series in; one volume in HU, canonical axes, out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.scans.ceiling import check_scan_size
from elsewhere.scans.dicom.header import Header, read_headers
from elsewhere.scans.dicom.hounsfield import (
    CUT_SHARE,
    ODD_SHARE,
    PADDING_BELOW,
    Look,
    Tally,
    blank_undeclared_padding,
    padding,
    padding_remark,
    to_hounsfield,
)
from elsewhere.scans.dicom.pixels import Frames
from elsewhere.scans.dicom.stack import MAX_LOST_SHARE, Stack, arrange, counted
from elsewhere.scans.scan import Fact
from elsewhere.scans.volume import Volume

MAX_LOST_TRIED = 5
"""Slices that may fail before the rest is not tried, even where none may be lost."""
LEAST_MIXED = 6
MIXED_VOLUMES = (2, 3, 4)
MIXED_RATIO, MIXED_SHARE = 1.5, 0.9
"""In one volume the difference of slices grows with their distance: no scan at hand has a pair of neighbours that
differ 1.5 times as much as the slices on either side do, so nine of ten do not by chance."""


def read_volume(files: Sequence[Path], where: str) -> Volume:
    """Read a series. Damaged files are left out and noted, while they are at most `MAX_LOST_SHARE` of the slices.

    Args:
        files: its files, in any order.
        where: the scan's name for messages.

    Returns:
        int16 HU, clipped to the range of int16, [slice, row, column] in the canonical axes.

    Raises:
        BadScan: too many files are damaged or would have to be left out, fewer than 2 slices are left, the images are
            of several patients, a transfer syntax cannot be decoded, the series is not axial, or its values cannot be
            HU.
    """
    headers, lost = _read_all_headers(files)
    stack = _arranged(headers, lost, where)
    _check_grey(stack.headers[0], where)
    _check_rescale(stack.headers, where)
    check_scan_size(2 * len(stack.headers) * stack.headers[0].rows * stack.headers[0].columns, where)
    total = len(stack.headers) + stack.left_out + len(lost)
    voxels, decoded = _decode(stack.headers, MAX_LOST_SHARE * total - len(lost) - stack.left_out)
    lost += decoded.lost
    if len(lost) + stack.left_out > MAX_LOST_SHARE * total or len(decoded.kept) < 2:
        raise _too_many(where, lost, total, decoded.stopped)
    if decoded.lost:
        keep = np.array(decoded.kept)
        stack, voxels = arrange([stack.headers[i] for i in keep], where), voxels[keep]
    voxels, look, sign = _with_its_sign(stack, voxels, decoded)
    notes = [*_lost_notes(lost, total), *stack.notes, *sign, *_value_notes(stack, look, decoded, where)]
    _check_alternation(look.sample, where)
    facts = {**stack.headers[0].about.facts, **stack.facts, **_padding_fact(stack.headers[0], look.lowest)}
    voxels = np.ascontiguousarray(stack.turn.apply(voxels))
    return Volume(voxels, "HU", stack.spacing, 0.0, tuple(notes), facts)


def read_stack(files: Sequence[Path], where: str) -> Stack:
    """The images of a series in the order of the volume's slices, by their headers alone; raises as `read_volume`."""
    return _arranged(*_read_all_headers(files), where)


def _arranged(headers: Sequence[Header], lost: Sequence[BadScan], where: str) -> Stack:
    if not headers:
        raise _too_many(where, lost, len(lost))
    return arrange(headers, where)


@dataclass
class _Decoded:
    """What happened while the pixels were decoded."""

    kept: list[int] = field(default_factory=list)
    lost: list[BadScan] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    remarks: Counter[str] = field(default_factory=Counter)
    stopped: bool = False


def _read_all_headers(files: Sequence[Path]) -> tuple[list[Header], list[BadScan]]:
    headers, lost = [], []
    for path in files:
        try:
            headers += read_headers(path)
        except BadScan as error:
            lost.append(error)
    return headers, lost


def _check_grey(header: Header, where: str) -> None:
    form = header.form
    if form.samples != 1 or form.photometric not in ("", "MONOCHROME1", "MONOCHROME2"):
        what = f"holds colour images ({form.samples} values per pixel, {form.photometric})"
        raise BadScan(where, what, "Leave out screenshots and secondary captures")
    if form.lut:
        what = "maps its values through a Modality LUT, which is not applied here"
        raise BadScan(where, what, "Export the series with RescaleSlope and RescaleIntercept")


def _check_rescale(headers: Sequence[Header], where: str) -> None:
    """Raises BadScan where some slices say how their values become HU and others do not: absent is no default then."""
    for name, values, default in (
        ("RescaleIntercept", [h.intercept for h in headers], 0.0),
        ("RescaleSlope", [h.slope for h in headers], 1.0),
    ):
        absent, others = values.count(None), {value for value in values if value is not None} - {default}
        if absent and others:
            shown = ", ".join(f"{value:g}" for value in sorted(others)[:3])
            what = f"has no {name} in {absent} of {len(values)} slices, and {shown} in the others"
            raise BadScan(where, what, "Export the series again, with its rescale values")


def _decode(headers: Sequence[Header], spare: float) -> tuple[NDArray[np.int16], _Decoded]:
    """Every slice in HU at its place, [slice, row, column] as stored; slices that fail are named.

    It stops as soon as more than `spare` slices have failed: the scan is refused then.
    """
    first = headers[0]
    voxels = np.empty((len(headers), first.rows, first.columns), np.int16)
    done = _Decoded()
    for indices in _by_file(headers).values():
        frames = Frames(headers[indices[0]])
        for i in indices:
            try:
                to_hounsfield(frames.decode(headers[i].frame), headers[i], voxels[i], done.tally)
                done.kept.append(i)
            except BadScan as error:
                done.lost.append(error)
        done.remarks += frames.remarks
        if len(done.lost) > max(spare, MAX_LOST_TRIED):
            done.stopped = True
            break
    done.kept.sort()
    return voxels, done


def _by_file(headers: Sequence[Header]) -> dict[Path, list[int]]:
    places: dict[Path, list[int]] = defaultdict(list)
    for i, header in enumerate(headers):
        places[header.path].append(i)
    return places


def _with_its_sign(
    stack: Stack, voxels: NDArray[np.int16], done: _Decoded
) -> tuple[NDArray[np.int16], Look, list[str]]:
    """The voxels; with the other sign where the declared one puts many out of CT's scale and the other does not."""
    header = stack.headers[0]
    if said := blank_undeclared_padding(voxels, header, done.tally):
        return voxels, Look.at(voxels), [said]
    look = Look.at(voxels)
    if max(look.out_of_scale, done.tally.clipped / voxels.size) <= ODD_SHARE:
        return voxels, look, []
    form = replace(header.form, signed=not header.form.signed)
    headers = [replace(h, form=form) for h in stack.headers]
    middle, tried = _decode(headers[len(headers) // 2 :][:1], 0)
    if tried.lost or tried.tally.clipped or Look.at(middle).out_of_scale > ODD_SHARE:
        return voxels, look, []
    others, again = _decode(headers, 0)
    other = Look.at(others)
    if again.lost or again.tally.clipped or other.out_of_scale > ODD_SHARE or other.implausible:
        return voxels, look, []
    done.tally = again.tally
    declared, meant = ("signed", "unsigned") if header.form.signed else ("unsigned", "signed")
    return others, other, [f"PixelRepresentation says {declared}, the values are {meant}: read so"]


def _check_alternation(sample: NDArray[np.int16], where: str) -> None:
    """Raises BadScan where every slice resembles the next but one, or but two or three, and not its neighbour."""
    thin = sample.astype(np.int32)
    for volumes in MIXED_VOLUMES:
        if len(thin) < LEAST_MIXED * volumes / 2:
            return
        near = np.abs(thin[1 : len(thin) - volumes + 1] - thin[:-volumes]).mean(axis=(1, 2))
        far = np.abs(thin[volumes:] - thin[:-volumes]).mean(axis=(1, 2))
        if float(np.mean(near > MIXED_RATIO * far)) >= MIXED_SHARE:
            skipped = ("one", "two", "three")[volumes - 2]
            what = f"alternates: each slice resembles the next but {skipped} and not its neighbour"
            then = "Put each volume into a folder of its own, and name it by its `path`"
            raise BadScan(where, f"{what}, so {volumes} volumes are mixed", then)


def _too_many(where: str, lost: Sequence[BadScan], total: int, stopped: bool = False) -> BadScan:
    if not lost:
        return BadScan(where, "holds no DICOM image", "Check that the series was copied completely")
    first = lost[0]
    what = (
        f"{len(lost)}{' or more' * stopped} of {total} files cannot be read "
        f"(at most {MAX_LOST_SHARE:.0%} may be, and 2 must be left); "
        f"first {Path(first.where).name}: {first.what}"
    )
    return BadScan(where, what, first.next_step)


def _lost_notes(lost: Sequence[BadScan], total: int) -> list[str]:
    if not lost:
        return []
    names = ", ".join(Path(error.where).name for error in lost)
    return [f"{len(lost)} of {total} files cannot be read and are left out: {names}"]


def _value_notes(stack: Stack, look: Look, done: _Decoded, where: str) -> list[str]:
    """Remarks on the values. Raises BadScan where they cannot be HU."""
    header, notes = stack.headers[0], []
    if any(h.intercept is None for h in stack.headers):
        if look.lowest >= 0:
            what = f"has no RescaleIntercept and no value below 0 (lowest {look.lowest}): these are not HU"
            raise BadScan(where, what, "Export the series with its rescale values")
        notes.append("no RescaleIntercept: stored values taken as HU")
    elif any(h.slope is None for h in stack.headers):
        notes.append("no RescaleSlope: taken as 1")
    if len({(h.slope, h.intercept) for h in stack.headers}) > 1:
        notes.append("rescale slope and intercept differ between slices (each slice rescaled by its own)")
    if header.form.photometric == "MONOCHROME1":
        notes.append("MONOCHROME1: asks for an inverted display; HU are not touched by it (PS3.3, C.7.6.3.1.2)")
    if reason := look.implausible:
        raise BadScan(where, reason, "Export the original CT images in HU, not as displayed")
    if done.tally.clipped:
        notes.append(f"{done.tally.clipped} voxels beyond the range of int16 clipped")
    if (share := look.cut_share) >= CUT_SHARE:
        notes.append(f"{share:.0%} of the voxels hold the highest value, {look.highest} HU: brighter ones were cut off")
    notes += [f"{remark} ({counted(count, 'slice')})" for remark, count in done.remarks.items()]
    padded = padding_remark(header, done.tally.blanked)
    return [*notes, padded] if padded else notes


def _padding_fact(header: Header, lowest: int) -> Mapping[str, Fact]:
    """HU of the padding seen in the volume; declared in the header or not."""
    if lowest < PADDING_BELOW:
        return {"padding": lowest}
    declared = padding(header)
    return {"padding": round(declared[1])} if declared and round(declared[1]) == lowest else {}

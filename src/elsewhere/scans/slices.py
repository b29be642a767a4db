"""A scan's image files (PNG, JPG, BMP, TIFF) in slice order in; one array [slice, row, column] and remarks out."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.ceiling import check_scan_size
from elsewhere.scans.pictures import decode_picture

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
TIFF_SUFFIXES = frozenset({".tif", ".tiff"})

MAX_LOST_SHARE = 0.10
"""Up to this share of a scan's slices may be left out; beyond it the anatomy is no longer that of a scan."""

JPEG_QUALITY = 95


def suffix(name: str) -> str:
    """Lower-case extension of a file name, with its dot."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts IM2 before IM10: runs of digits compare as numbers."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)


def walk(root: Path, unread: list[BadScan]) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below (and with) `root` with the names of its visible regular files, sorted.

    Folders come in natural order. Linked folders are followed once; hidden files and folders, pipes, sockets, devices
    and links that lead nowhere are passed over, without a stat for each file where the system tells its kind.

    Args:
        root: the folder.
        unread: takes a BadScan for each folder below that cannot be listed, and each link that leads nowhere.

    Raises:
        BadSite: the root itself cannot be listed.
    """
    todo, seen = [root], {os.path.realpath(root)}
    while todo:
        folder = todo.pop()
        try:
            names, folders = _entries(folder, unread)
        except OSError as error:
            what, then = f"cannot be listed ({error.strerror})", "Give yourself the right to read it, or move it away"
            if folder == root:
                raise BadSite(folder, what, then) from error
            unread.append(BadScan(folder, what, then))
            continue
        yield folder, names
        fresh = []
        for name in folders:
            real = os.path.realpath(folder / name)
            if real not in seen:
                seen.add(real)
                fresh.append(folder / name)
        todo.extend(reversed(fresh))


def no_such_folder(root: Path, site: str = "") -> BadSite:
    """The error of a site whose folder is not there: names the folders beside it."""
    parent = root.resolve().parent
    while not parent.is_dir():
        parent = parent.parent
    names = sorted(p.name for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))
    there = ", ".join(names[:10]) + (", …" if len(names) > 10 else "") if names else "none"
    then = f"Correct the site's `root`; folders in {parent}: {there}"
    return BadSite(f"{site}: {root}" if site else root, "no such folder", then)


def _entries(folder: Path, unread: list[BadScan]) -> tuple[list[str], list[str]]:
    names: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file():
                    names.append(entry.name)
                elif entry.is_symlink():
                    unread.append(BadScan(entry.path, "is a link that leads nowhere", "Remove it, or mend it"))
            except OSError as error:  # a link to itself, or a chain of links without end
                what = f"is a link that cannot be followed ({error.strerror})"
                unread.append(BadScan(entry.path, what, "Remove it, or mend it"))
    return sorted(names), sorted(folders, key=natural_key)


def read_slices(files: Sequence[Path], where: str) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    """Decode a scan's slices into [slice, row, column], with a remark on each kind of repair.

    Slices that cannot be used are left out while they are at most `MAX_LOST_SHARE` of the scan.

    Args:
        files: the slices, in slice order.
        where: the scan's name in messages.

    Raises:
        BadScan: no slices, too many that cannot be used, slices that differ in size or depth, or more than the ceiling.
    """
    if not files:
        raise BadScan(where, "holds no slices", "Check that the scan was unpacked completely")
    voxels: NDArray[np.generic] | None = None
    kept: list[Path] = []
    lost: list[BadScan] = []
    remarks: Counter[str] = Counter()
    alien: BadScan | None = None
    for path in files:
        try:
            picture = decode_picture(path)
        except BadScan as error:
            lost.append(error)
            continue
        pixels = picture.pixels
        if voxels is None:
            check_scan_size(len(files) * pixels.nbytes, where)
            voxels = np.empty((len(files), *pixels.shape), pixels.dtype.newbyteorder("="))
        alien = alien or _difference(voxels[0], pixels, (kept or [path])[0], path, where)
        if alien is None:
            voxels[len(kept)] = pixels  # at once: a list of them would hold the scan a second time
        kept.append(path)
        remarks.update(picture.notes)
    if voxels is None or len(lost) > MAX_LOST_SHARE * len(files):
        raise _too_many(lost, len(files), where)
    if alien:
        raise alien
    return voxels[: len(kept)], (*_lost_notes(lost, len(files)), *_remarks(remarks, len(files)))


def _too_many(lost: Sequence[BadScan], total: int, where: str) -> BadScan:
    """The first reason, and what to do about it."""
    if total == 1:
        return lost[0]
    first = f"first {Path(lost[0].where).name}: {lost[0].what}"
    what = f"{len(lost)} of {total} slices cannot be used (at most {MAX_LOST_SHARE:.0%} may be left out), {first}"
    return BadScan(where, what, lost[0].next_step)


def _lost_notes(lost: Sequence[BadScan], total: int) -> tuple[str, ...]:
    if not lost:
        return ()
    names = ", ".join(Path(error.where).name for error in lost)
    return (f"{len(lost)} of {total} slices cannot be used and are left out: {names} ({lost[0].what})",)


def _remarks(remarks: Counter[str], total: int) -> Iterator[str]:
    for words, count in remarks.items():
        yield words if count == total else f"{count} of {total} slices: {words}"


def encode_slice(path: Path, pixels: NDArray[np.generic]) -> None:
    """Write one grey slice [row, column] in the format that the extension names (JPEG loses, the others do not)."""
    kind = suffix(path.name)
    pixels = np.ascontiguousarray(pixels)
    if kind in TIFF_SUFFIXES:
        tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None, software="", datetime=None)
    elif kind == ".png":
        path.write_bytes(imagecodecs.png_encode(pixels, level=1, filter=imagecodecs.PNG.FILTER.SUB))
    elif kind in {".jpg", ".jpeg"}:
        Image.fromarray(pixels).save(path, format="JPEG", quality=JPEG_QUALITY)
    else:
        assert kind == ".bmp", path
        Image.fromarray(pixels).save(path, format="BMP")


def _difference(
    first: NDArray[np.generic], pixels: NDArray[np.generic], file: Path, path: Path, where: str
) -> BadScan | None:
    """How a slice differs in kind from the first one, of `file`."""
    if pixels.shape != first.shape:
        return BadScan(
            where,
            f"slices differ in size: {file.name} is {_size(first)}, {path.name} is {_size(pixels)}",
            "Split the scan, or take the alien slices out",
        )
    if pixels.dtype.newbyteorder("=") != first.dtype:
        return BadScan(
            where,
            f"slices differ in depth: {file.name} is {first.dtype}, {path.name} is {pixels.dtype}",
            "Export all slices of a scan with the same number of bits",
        )
    return None


def _size(pixels: NDArray[np.generic]) -> str:
    return f"{pixels.shape[0]} × {pixels.shape[1]}"

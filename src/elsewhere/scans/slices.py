"""A scan's image files (PNG, JPG, BMP, TIFF) in slice order in; one array [slice, row, column] and remarks out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from elsewhere.errors import BadScan, BadSite

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
TIFF_SUFFIXES = frozenset({".tif", ".tiff"})

MAX_DAMAGED_SHARE = 0.10
"""Up to this share of a scan's slices may be left out as damaged; beyond it the anatomy is no longer that of a scan."""

MAX_GREY_DIFFERENCE = 8
"""Largest difference between the channels of a "grey" colour image; JPEG's chroma rounding stays below it."""

JPEG_QUALITY = 95

PICTURE_MODES = frozenset({"L", "LA", "RGB", "RGBA", "P", "I;16"})


def suffix(name: str) -> str:
    """Lower-case extension of a file name, with its dot."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts IM2 before IM10: runs of digits compare as numbers."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below (and with) `root` with its visible file names, sorted, without a stat per file.

    Folders come in natural order. Linked folders are followed once; hidden files and folders are passed over.

    Raises:
        BadSite: a folder cannot be listed.
    """
    todo, seen = [root], {os.path.realpath(root)}
    while todo:
        folder = todo.pop()
        names, folders = _entries(folder)
        yield folder, names
        fresh = []
        for name in folders:
            real = os.path.realpath(folder / name)
            if real not in seen:
                seen.add(real)
                fresh.append(folder / name)
        todo.extend(reversed(fresh))


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    names: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else names).append(entry.name)
    except OSError as error:
        what = f"cannot be listed ({error.strerror})"
        raise BadSite(folder, what, "Give yourself the right to read it, or move it away") from error
    return sorted(names), sorted(folders, key=natural_key)


def decode_slice(path: Path) -> NDArray[np.generic]:
    """One grey image as [row, column]; three equal channels become one.

    Raises:
        BadScan: the file is empty, cut short, no image, coloured, or holds several pictures.
    """
    try:
        pixels = _decode_tiff(path) if suffix(path.name) in TIFF_SUFFIXES else _decode_picture(path)
    except BadScan:
        raise
    except Exception as error:  # a damaged file makes decoders raise anything, from struct.error to SyntaxError
        reason = str(error).replace(str(path), "the file").strip() or type(error).__name__
        raise BadScan(path, f"cannot be decoded ({reason})", "Fetch or export the file again") from error
    return _grey(pixels, path)


def read_slices(files: Sequence[Path], where: str) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    """Decode a scan's slices into [slice, row, column], with a remark on each kind of repair.

    Damaged slices are left out while they are at most `MAX_DAMAGED_SHARE` of the scan.

    Args:
        files: the slices, in slice order.
        where: the scan's name in messages.

    Raises:
        BadScan: no slices, too many damaged, or slices that differ in size or depth.
    """
    if not files:
        raise BadScan(where, "holds no slices", "Check that the scan was unpacked completely")
    voxels: NDArray[np.generic] | None = None
    kept: list[Path] = []
    damaged: list[BadScan] = []
    alien: BadScan | None = None
    for path in files:
        try:
            pixels = decode_slice(path)
        except BadScan as error:
            damaged.append(error)
            continue
        if voxels is None:
            voxels = np.empty((len(files), *pixels.shape), pixels.dtype.newbyteorder("="))
        alien = alien or _difference(voxels[0], pixels, (kept or [path])[0], path, where)
        if alien is None:
            voxels[len(kept)] = pixels  # at once: a list of them would hold the scan a second time
        kept.append(path)
    if voxels is None or len(damaged) > MAX_DAMAGED_SHARE * len(files):
        raise BadScan(
            where,
            f"{len(damaged)} of {len(files)} slices are damaged (at most {MAX_DAMAGED_SHARE:.0%} may be), "
            f"first {Path(damaged[0].where).name}: {damaged[0].what}",
            "Unpack or download the scan again",
        )
    if alien:
        raise alien
    return voxels[: len(kept)], _damage_notes(damaged, len(files))


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


def _decode_picture(path: Path) -> NDArray[np.generic]:
    with Image.open(path) as image:
        if image.mode == "1":
            raise BadScan(path, "is a 1-bit image (black or white only), expected grey", "Take masks out of the scan")
        if image.mode not in PICTURE_MODES:
            raise BadScan(path, f"has the colour mode {image.mode}, expected grey", "Export it as a grey image")
        if not image.mode.startswith("I") and ";16" in str(image.tile):
            what = f"stores 16 bits in several channels ({image.mode}), which would be cut to 8"
            raise BadScan(path, what, "Export it as a 16-bit grey image")
        if image.mode == "P":
            return np.asarray(image.convert("RGB"))
        return np.asarray(image)


def _decode_tiff(path: Path) -> NDArray[np.generic]:
    with tifffile.TiffFile(path) as tiff:
        if len(tiff.pages) != 1:
            raise BadScan(path, f"holds {len(tiff.pages)} pages, expected one slice a file", "Save one TIFF per slice")
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if max(ends) > tiff.filehandle.size:
            raise BadScan(path, f"is cut short at {tiff.filehandle.size} bytes", "Fetch or export the file again")
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            raise BadScan(path, "stores white as 0 (photometric MINISWHITE)", "Export it with black as 0")
        return page.asarray()


def _grey(pixels: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3 or pixels.shape[2] not in (2, 3, 4):
        raise BadScan(path, f"has shape {pixels.shape}, expected rows × columns", "Export one grey slice a file")
    if pixels.shape[2] == 2:  # grey with alpha
        return pixels[:, :, 0]
    channels = pixels[:, :, :3]
    difference = int(np.max(channels.max(axis=2) - channels.min(axis=2)))
    if difference > MAX_GREY_DIFFERENCE:
        raise BadScan(
            path,
            f"is a colour image (channels differ by up to {difference}, grey allows {MAX_GREY_DIFFERENCE})",
            "Take screenshots and annotated pictures out of the scan",
        )
    return channels[:, :, 1]


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


def _damage_notes(damaged: Sequence[BadScan], total: int) -> tuple[str, ...]:
    if not damaged:
        return ()
    names = ", ".join(Path(error.where).name for error in damaged)
    return (f"{len(damaged)} of {total} slices are damaged and left out: {names}",)

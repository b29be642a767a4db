"""One picture file (PNG, JPEG, BMP or TIFF) as grey values, with every word of its header that changes what they mean.

A file is taken for what its first bytes say, and only these four formats are ever tried: others start programs of their
own (PostScript) or are no pictures of a slice.
"""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from elsewhere.errors import BadScan
from elsewhere.scans.ceiling import check_scan_size
from elsewhere.scans.opening import open_regular

Pixels = NDArray[np.generic]

MAX_GREY_DIFFERENCE = 8
"""Largest difference between the channels of a "grey" colour image; JPEG's chroma rounding stays below it."""

PICTURE_MODES = frozenset({"L", "LA", "RGB", "RGBA", "P", "I;16", "I;16B"})
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values a pixel, by PNG's colour type."""
PNG_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and the steps from there, of each pass of an interlaced PNG."""
OPAQUE = 255
ORIENTATION = 274
"""The tag of EXIF and TIFF that says how a viewer turns the picture."""

PNG_MAGIC, JPEG_MAGIC, BMP_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

COMPRESSIONS = {1, 5, 7, 8, 32773, 32946, 34925, 50000}
"""TIFF: none, LZW, JPEG, Deflate (two numbers), PackBits, LZMA, Zstandard."""

MOST_PIXELS = 1 << 26
"""Of one picture: 8192 × 8192. A decoder may need it several times over."""

MOST_BYTES = 8 * MOST_PIXELS
"""Of a picture's file: four values of 16 bits a pixel, uncompressed."""

LARGEST_TILE = 1 << 20
"""Pixels of a TIFF's tile, unless the picture is larger."""

AGAIN = "Fetch or export the file again"


@dataclass(frozen=True, eq=False)
class Picture:
    """One grey picture.

    Attributes:
        pixels: [row, column], as viewers show them.
        notes: remarks on what its header asked for.
    """

    pixels: Pixels
    notes: tuple[str, ...] = ()


def decode_picture(path: Path) -> Picture:
    """One grey picture; three equal channels become one, and the picture is turned as its header asks.

    Raises:
        BadScan: the file is empty, cut short, damaged (PNG's checksums are compared), no picture, coloured, holds
            several pictures, or hides pixels behind transparency.
    """
    with open_regular(path) as file:
        try:
            start = file.read(16)
            file.seek(0)
            picture = _decode_tiff(file, path) if start[:4] in TIFF_MAGICS else _decode_other(file, start, path)
        except (BadScan, MemoryError):
            raise
        except Exception as error:  # a damaged file makes decoders raise anything, from struct.error to SyntaxError
            reason = str(error).replace(str(path), "the file").strip() or type(error).__name__
            raise BadScan(path, f"cannot be decoded ({reason})", AGAIN) from error
    return Picture(_grey(picture.pixels, path), picture.notes)


def picture_size(path: Path) -> tuple[int, int] | None:
    """(width, height) by the header alone, or None where there is no picture."""
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = file.read(4)
            file.seek(0)
            if start in TIFF_MAGICS:
                page = tifffile.TiffFile(file).pages.first
                return page.imagewidth, page.imagelength
            return Image.open(file, formats=("PNG", "JPEG", "BMP")).size
    except Exception:  # whatever is wrong is said when the scan is read
        return None


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels [row, column(, channel)] as a viewer shows them for one value of the orientation tag, 1 to 8."""
    if orientation >= 5:  # the first row of the file is a column of the picture
        pixels = pixels.swapaxes(0, 1)
    rows, columns = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}[
        orientation
    ]
    return pixels[::rows, ::columns]


def _turn(pixels: Pixels, orientation: Any, where: str) -> Picture:
    if orientation in (None, 0, 1):
        return Picture(pixels)
    if orientation not in range(2, 9):
        return Picture(pixels, (f"orientation {orientation} in its {where} is none; taken as stored",))
    return Picture(turned(pixels, orientation), (f"turned as its {where} asks (orientation {orientation})",))


# PNG, JPEG, BMP ----------------------------------------------------------------------------------------------------


def _decode_other(file: BinaryIO, start: bytes, path: Path) -> Picture:
    if (size := os.fstat(file.fileno()).st_size) > MOST_BYTES:
        raise BadScan(path, f"holds {size:,} bytes, more than any picture of a slice", AGAIN)
    content, notes = file.read(), []
    if not content:
        raise BadScan(path, "cannot be decoded (the file is empty)", AGAIN)
    if start.startswith(PNG_MAGIC):
        notes, kind = list(_check_png(content)), "PNG"
    elif start.startswith((JPEG_MAGIC, BMP_MAGIC)):
        kind = "JPEG" if start.startswith(JPEG_MAGIC) else "BMP"
    else:
        what = f"cannot be decoded (it begins with {start[:8]!r}: no PNG, JPEG, BMP or TIFF)"
        raise BadScan(path, what, "Export it as one of these")
    with warnings.catch_warnings(), _named_kind(kind, path):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the ceiling is ours
        with Image.open(io.BytesIO(content), formats=(kind,)) as image:
            _check_kind(image, path)
            pixels, remarks = _pixels(image, path)
            picture = _turn(pixels, _exif_orientation(image), "EXIF data")
    return Picture(picture.pixels, (*notes, *remarks, *picture.notes))


@contextmanager
def _named_kind(kind: str, path: Path) -> Iterator[None]:
    try:
        yield
    except UnidentifiedImageError as error:
        which = " (lossless, of 12 bits, or JPEG-LS)" if kind == "JPEG" else ""
        raise BadScan(path, f"is a {kind} of a kind that is not read{which}", "Export it as PNG or TIFF") from error


def _check_kind(image: Image.Image, path: Path) -> None:
    if (frames := getattr(image, "n_frames", 1)) != 1:
        raise BadScan(path, f"holds {frames} pictures, expected one slice a file", "Save one picture a file")
    if image.mode == "1":
        raise BadScan(path, "is a 1-bit image (black or white only), expected grey", "Take masks out of the scan")
    if image.mode not in PICTURE_MODES:
        raise BadScan(path, f"has the colour mode {image.mode}, expected grey", "Export it as a grey image")
    if not image.mode.startswith("I") and ";16" in str(getattr(image, "tile", "")):
        what = f"stores 16 bits in several channels ({image.mode}), which would be cut to 8"
        raise BadScan(path, what, "Export it as a 16-bit grey image")
    _check_pixels(image.width, image.height, path)


def _check_pixels(width: int, height: int, path: Path) -> None:
    if width * height > MOST_PIXELS:
        what = f"promises {width} × {height} pixels, more than the {MOST_PIXELS:,} of the largest slice that is read"
        raise BadScan(path, what, "Export it again, or smaller")


def _pixels(image: Image.Image, path: Path) -> tuple[Pixels, tuple[str, ...]]:
    """Pixels as stored, without alpha, and remarks on transparency."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        alpha = None if transparent is None else np.where(pixels == transparent, 0, OPAQUE)
    elif image.mode in ("LA", "RGBA") or transparent is not None:
        whole = np.asarray(image.convert("RGBA"))
        pixels, alpha = whole[:, :, :3], whole[:, :, 3]
    else:
        pixels, alpha = np.asarray(image.convert("RGB") if image.mode == "P" else image), None
    return pixels, () if alpha is None else _check_alpha(pixels, alpha, OPAQUE, path)


def _check_alpha(pixels: Pixels, alpha: Pixels, opaque: int, path: Path) -> tuple[str, ...]:
    """Refuse transparency that makes viewers show something else than the values; remark on the rest."""
    clear = alpha != opaque
    if not clear.any():
        return ()
    share = f"{clear.mean():.1%} of its pixels are transparent"
    hidden = pixels[clear]
    if alpha[clear].any() or (hidden != hidden[0]).any():
        raise BadScan(path, f"{share}: viewers do not show the values beneath", "Export it without an alpha channel")
    return (f"{share}, all of the value {int(hidden[0].max())}, which was taken",)


def _exif_orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # EXIF data that are none turn no picture, in any viewer
        return None


def _check_png(content: bytes) -> Iterator[str]:
    """Compare all checksums, which Pillow does not. Yields remarks; raises ValueError where bytes were damaged."""
    at, depth = len(PNG_MAGIC), 0
    promised, held, unpacker = 0, 0, zlib.decompressobj()
    while at < len(content):
        if at + 12 > len(content):
            raise ValueError("it ends within a chunk")
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 8 + length
        if end + 4 > len(content):
            raise ValueError(f"it ends within its chunk {kind.decode('latin-1')}")
        if zlib.crc32(memoryview(content)[at + 4 : end]) != struct.unpack_from(">I", content, end)[0]:
            raise ValueError(f"the checksum of its chunk {kind.decode('latin-1')} is wrong")
        if kind == b"IHDR" and length >= 13:
            depth = content[at + 16]
            promised = _png_bytes(*struct.unpack_from(">IIBBxxB", content, at + 8))
        if kind == b"IDAT" and held < promised:
            held += len(unpacker.decompress(memoryview(content)[at + 8 : end], promised - held))
        if kind == b"sBIT" and length and depth == 16 and content[at + 8] < depth:
            yield f"only {content[at + 8]} of its {depth} bits are significant (sBIT): values may be scaled up"
        if kind == b"IEND":
            if held < promised:
                raise ValueError(f"it holds {held:,} of {promised:,} bytes of its rows")
            return
        at = end + 4
    raise ValueError("it ends without its last chunk, IEND")


def _png_bytes(width: int, height: int, depth: int, colour: int, interlaced: int) -> int:
    """Bytes of a PNG's unpacked rows, each with its filter's (PNG specification, sections 7 and 8)."""
    bits = depth * PNG_CHANNELS.get(colour, 1)
    passes = PNG_PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(-((x - width) // across), -((y - height) // down)) for x, y, across, down in passes]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)


# TIFF --------------------------------------------------------------------------------------------------------------


def _decode_tiff(file: BinaryIO, path: Path) -> Picture:
    with tifffile.TiffFile(file) as tiff:
        if len(tiff.pages) != 1:
            raise BadScan(path, f"holds {len(tiff.pages)} pages, expected one slice a file", "Save one TIFF per slice")
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        _check_tiff(page, tiff.filehandle.size, path)
        if (count := _pictures_told(page)) > 1:
            what = f"holds {count} pictures by its description, expected one slice a file"
            raise BadScan(path, what, "Save one TIFF per slice")
        pixels = page.asarray()
        notes: tuple[str, ...]
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            pixels, notes = _through_palette(pixels, page, path), ("its palette was applied",)
        else:
            pixels, notes = _without_alpha(pixels, page, path)
        pixels, remarks = _calibrated(pixels, str(page.description), path)
        tag = page.tags.get(ORIENTATION)
        picture = _turn(pixels, None if tag is None else tag.value, "TIFF header")
    return Picture(picture.pixels, (*notes, *remarks, *picture.notes))


def _check_tiff(page: tifffile.TiffPage, size: int, path: Path) -> None:
    if page.compression not in COMPRESSIONS:
        raise BadScan(path, f"has the TIFF compression {page.compression!r}", "Save it uncompressed, or with Deflate")
    if page.dtype is None or 0 in page.shape:
        what = f"holds {page.bitspersample}-bit values of format {page.sampleformat}, shape {page.shape}"
        raise BadScan(path, what, "Export it as a grey image of 8 or 16 bits")
    _check_pixels(page.imagewidth, page.imagelength * max(page.imagedepth, 1), path)
    check_scan_size(int(np.prod(page.shape, dtype=object)) * page.dtype.itemsize, path)
    tile = page.tilewidth * page.tilelength * max(page.tiledepth, 1) if page.is_tiled else 0
    if tile > max(4 * page.imagewidth * page.imagelength, LARGEST_TILE):
        raise BadScan(path, f"has tiles of {page.tilewidth} × {page.tilelength}, larger than the picture", AGAIN)
    if not page.dataoffsets or 0 in page.databytecounts:
        raise BadScan(path, "has parts without data", AGAIN)
    if max(o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)) > size:
        raise BadScan(path, f"is cut short at {size} bytes", AGAIN)
    if page.bitspersample == 1:
        raise BadScan(path, "is a 1-bit image (black or white only), expected grey", "Take masks out of the scan")
    photometric = tifffile.PHOTOMETRIC
    if page.photometric == photometric.MINISWHITE:
        raise BadScan(path, "stores white as 0 (photometric MINISWHITE)", "Export it with black as 0")
    if page.fillorder != 1:
        raise BadScan(path, f"stores the bits of each value in reverse (FillOrder {page.fillorder})", "Save it anew")
    known = {photometric.MINISBLACK, photometric.RGB, photometric.PALETTE}
    if page.photometric not in known and not (page.photometric == photometric.YCBCR and page.compression == 7):
        raise BadScan(path, f"has the photometric interpretation {page.photometric!r}", "Export it as a grey image")


def _pictures_told(page: tifffile.TiffPage) -> int:
    """How many pictures follow the first in one page, as ImageJ and tifffile write stacks that are read at once."""
    words = str(page.description)
    if words.startswith("ImageJ=") and (found := re.search(r"^images=(\d+)\s*$", words, re.MULTILINE)):
        return int(found[1])
    if found := re.match(r'\{"shape": \[([\d, ]+)\]', words):
        return int(np.prod([int(n) for n in found[1].split(",")], dtype=object)) // max(1, page.size)
    return 1


def _through_palette(pixels: Pixels, page: tifffile.TiffPage, path: Path) -> Pixels:
    """8-bit colours of stored indices. TIFF's palettes have 16 bits; some programs write 8 into them."""
    table = page.colormap
    if table is None or pixels.ndim != 2 or table.shape[1] <= int(pixels.max()):
        raise BadScan(path, "has a palette that does not fit its pixels", "Export it as a grey image")
    table = table if table.max() <= 255 else table >> 8
    return np.moveaxis(table.astype(np.uint8)[:, pixels], 0, 2)


def _without_alpha(pixels: Pixels, page: tifffile.TiffPage, path: Path) -> tuple[Pixels, tuple[str, ...]]:
    if page.planarconfig == 2 and pixels.ndim == 3:  # channels one after the other
        pixels = np.moveaxis(pixels, 0, -1)
    if not page.extrasamples:
        return pixels, ()
    kept = page.samplesperpixel - len(page.extrasamples)
    if pixels.ndim != 3 or len(page.extrasamples) > 1 or pixels.dtype.kind != "u":
        raise BadScan(path, f"has {page.samplesperpixel} values a pixel", "Export it as a grey image")
    opaque = (1 << 8 * pixels.dtype.itemsize) - 1
    notes = _check_alpha(pixels[:, :, :kept], pixels[:, :, kept], opaque, path)
    return (pixels[:, :, 0] if kept == 1 else pixels[:, :, :kept]), notes


def _calibrated(pixels: Pixels, description: str, path: Path) -> tuple[Pixels, tuple[str, ...]]:
    """Values as ImageJ shows them: it keeps signed ones unsigned, with a straight line to lead back."""
    if not description.startswith("ImageJ="):
        return pixels, ()
    numbers = {name: float(value) for name, value in re.findall(r"^(c0|c1)=(\S+)$", description, re.MULTILINE)}
    base, slope = numbers.get("c0", 0.0), numbers.get("c1", 1.0)
    if (base, slope) == (0.0, 1.0):
        return pixels, ()
    if slope != 1 or not base.is_integer() or pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 2:
        what = f"is calibrated in ImageJ (value = {base:g} + {slope:g} × stored)"
        raise BadScan(path, what, "Save it with the values themselves")
    values = pixels.astype(np.int32) + np.int32(base)
    if values.min() < -(1 << 15) or values.max() >= 1 << 15:
        raise BadScan(path, f"holds calibrated values {values.min()} to {values.max()}, outside int16", AGAIN)
    return values.astype(np.int16), (f"ImageJ's calibration was applied (stored value {base:+g})",)


# Grey --------------------------------------------------------------------------------------------------------------


def _grey(pixels: Pixels, path: Path) -> Pixels:
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise BadScan(path, f"has shape {pixels.shape}, expected rows × columns", "Export one grey slice a file")
    if pixels.dtype.kind not in "iu":
        raise BadScan(path, f"holds {pixels.dtype} colours", "Export it as a grey image")
    low, high = pixels.min(axis=2), pixels.max(axis=2)
    difference = int(np.max(high - low if pixels.dtype.kind == "u" else high.astype(np.int64) - low))
    if difference > MAX_GREY_DIFFERENCE:
        raise BadScan(
            path,
            f"is a colour image (channels differ by up to {difference}, grey allows {MAX_GREY_DIFFERENCE})",
            "Take screenshots and annotated pictures out of the scan, or export it as a grey image",
        )
    return pixels[:, :, 1]

"""A DICOM file and its header in; the stored values of one frame [row, column], and HU from them, out.

The frame's bytes go straight to imagecodecs (JPEG lossless, JPEG-LS, JPEG 2000, RLE, uncompressed), 2–6 times quicker
than pydicom's `pixel_array`, and equal to it (tested on every encoding). What that cannot read, pydicom tries.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.uid import UID

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.header import Form, Header
from elsewhere.scans.dicom.tags import EXPLICIT, IMPLICIT, ITEM, RECOPY, SEQUENCE_END, UNDEFINED, read_dataset

Values = NDArray[Any]

JPEG = ("50", "51", "53", "55", "57", "70")  # baseline, extended, spectral, progressive, lossless, lossless SV1
JPEG_LS, JPEG_2000, RLE = ("80", "81"), ("90", "91"), "1.2.840.10008.1.2.5"
JPEG_ROOT = "1.2.840.10008.1.2.4."
AIR = -1024
PLAUSIBLE_HU = (-1000, 3071)
"""Voxels with a declared padding value inside this range stay as stored: it also occurs in tissue."""


class Frames:
    """The frames of one file; opened once, decoded one at a time.

    Args:
        header: any image of the file.
    """

    def __init__(self, header: Header) -> None:
        self.header = header

    def decode(self, frame: int) -> Values:
        """Stored values of one frame, [row, column], 8 or 16 bits, with their sign.

        Raises:
            BadScan: the pixel data are absent, cut short, damaged, or in a transfer syntax that nothing here decodes.
        """
        try:
            return self._check(self._quick(frame))
        except (Damaged, OSError) as error:
            raise BadScan(self.header.path, str(error), RECOPY) from error
        except Exception:  # a codec raises its own; the slow way is the judge
            return self._check(self._slow(frame))

    def _quick(self, frame: int) -> Values:
        header, form = self.header, self.header.form
        if header.pixels_at < 0 or form.allocated not in (8, 16) or form.samples != 1:
            raise NotImplementedError
        if form.syntax in (IMPLICIT, EXPLICIT):
            return fit(self._plain(frame), form, form.stored)
        decode = DECODERS[form.syntax]
        raw = self._encoded[frame]
        values, bits = decode(raw, header)
        return fit(values, form, bits)

    def _plain(self, frame: int) -> Values:
        header = self.header
        size = header.rows * header.columns * header.form.allocated // 8
        with header.path.open("rb") as file:
            file.seek(header.pixels_at + frame * size)
            raw = file.read(size)
        if len(raw) < size:
            raise Damaged(f"is cut short: {len(raw)} of {size} bytes of pixel data")
        return np.frombuffer(raw, "<u2" if header.form.allocated == 16 else "u1").reshape(header.rows, header.columns)

    @cached_property
    def _encoded(self) -> list[bytes]:
        """The encoded bytes of each frame."""
        with self.header.path.open("rb") as file:
            file.seek(self.header.pixels_at)
            data = file.read()
        items = fragments(data)
        if len(items) == self.header.frames:
            return items
        if self.header.frames == 1:
            return [b"".join(items)]
        return list(generate_frames(data, number_of_frames=self.header.frames))

    def _slow(self, frame: int) -> Values:
        values = self._array
        return values[frame] if self.header.frames > 1 else values

    @cached_property
    def _array(self) -> Values:
        syntax = self.header.form.syntax
        dataset = read_dataset(self.header.path, pixels=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                array = dataset.pixel_array
        except Exception as error:  # pydicom's plugins raise what their libraries raise
            reason = " ".join(str(error).split())[:160]
            what = f"cannot be decoded from transfer syntax {UID(syntax).name} ({syntax}): {reason}"
            next_step = (
                "Convert the series, e.g. with `gdcmconv --raw` or dcmtk's `dcmdjpeg`, or export it uncompressed"
            )
            raise BadScan(self.header.path, what, next_step) from error
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def _check(self, values: Values) -> Values:
        header = self.header
        if values.shape != (header.rows, header.columns):
            what = f"decodes to {values.shape}, its header says ({header.rows}, {header.columns})"
            raise BadScan(header.path, what, "Leave out colour images and screenshots")
        return values


class Damaged(ValueError):
    """The bytes themselves are incomplete, so no other decoder needs to be asked."""


def fragments(data: bytes) -> list[bytes]:
    """The items of encapsulated pixel data (PS3.5, A.4), without the offset table.

    Raises:
        Damaged: they end before their lengths say.
    """
    items: list[bytes] = []
    at = 0
    while at + 8 <= len(data):
        group, element, length = struct.unpack_from("<HHI", data, at)
        tag, at = group << 16 | element, at + 8
        if tag == SEQUENCE_END:
            return items[1:]
        if tag != ITEM or length == UNDEFINED or at + length > len(data):
            raise Damaged("is cut short or damaged inside its encoded pixel data")
        items.append(data[at : at + length])
        at += length
    if len(items) < 2:
        raise Damaged("holds no pixel data")
    return items[1:]  # some writers leave the last delimiter out


def fit(values: Values, form: Form, bits: int) -> Values:
    """Give decoded values the type the header declares; only the lowest `bits` of each count (PS3.5, 8.1.1)."""
    size = form.allocated
    if values.itemsize * 8 != size:
        values = values.astype(f"u{size // 8}")
    values = values.view(f"{'i' if form.signed else 'u'}{size // 8}")
    shift = size - bits
    if shift <= 0 or (not form.signed and int(values.max()) < 1 << bits):
        return values
    return (values << shift) >> shift


Decoder = Callable[[bytes, Header], tuple[Values, int]]


def _jpeg(raw: bytes, header: Header) -> tuple[Values, int]:
    _check_end(raw)  # libjpeg fills what is missing with grey, in silence
    return imagecodecs.jpeg_decode(raw), header.form.stored


def _jpeg_ls(raw: bytes, header: Header) -> tuple[Values, int]:
    _check_end(raw)  # CharLS takes many seconds to give up
    return imagecodecs.jpegls_decode(raw), precision(raw, b"\xff\xf7", 4) or header.form.stored


def _check_end(raw: bytes) -> None:
    if not raw.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise Damaged("is cut short: its JPEG data have no end marker")


def _jpeg_2000(raw: bytes, header: Header) -> tuple[Values, int]:
    size = precision(raw, b"\xff\x51", 40)
    return imagecodecs.jpeg2k_decode(raw), (size & 0x7F) + 1 if size is not None else header.form.stored


def _rle(raw: bytes, header: Header) -> tuple[Values, int]:
    kind = np.dtype("<u2" if header.form.allocated == 16 else "u1")
    values = np.frombuffer(imagecodecs.dicomrle_decode(raw, dtype=kind), kind)
    return values.reshape(header.rows, header.columns), header.form.stored


DECODERS: dict[str, Decoder] = {
    **{JPEG_ROOT + end: _jpeg for end in JPEG},
    **{JPEG_ROOT + end: _jpeg_ls for end in JPEG_LS},
    **{JPEG_ROOT + end: _jpeg_2000 for end in JPEG_2000},
    RLE: _rle,
}


def precision(raw: bytes, marker: bytes, offset: int) -> int | None:
    """The byte `offset` behind a code stream's size marker, which holds the bits per value; None without marker."""
    at = raw.find(marker, 0, 1024)
    return raw[at + offset] if 0 <= at < len(raw) - offset else None


def rescale(values: Values, header: Header, out: NDArray[np.int16]) -> int:
    """Write round(values · slope + intercept) into `out` (int16 HU); the number of voxels that had to be clipped."""
    slope, intercept = header.slope, header.intercept or 0.0
    low, high = int(values.min()), int(values.max())
    ends = sorted((low * slope + intercept, high * slope + intercept))
    fits = ends[0] >= -32768 and ends[1] <= 32767
    if slope == 1.0 and intercept.is_integer() and fits and abs(intercept) <= 32767:
        np.copyto(out, values, casting="unsafe")  # wraps modulo 2^16 and back: exact, as the ends fit
        out += np.int16(intercept)
        return 0
    hounsfield = np.rint(values * slope + intercept)
    clipped = 0 if fits else int(np.count_nonzero((hounsfield < -32768) | (hounsfield > 32767)))
    out[...] = np.clip(hounsfield, -32768, 32767)
    return clipped


def padding(form: Form, slope: float, intercept: float) -> tuple[tuple[int, int], float] | None:
    """The declared padding as (lowest, highest) stored value with its sign, and its HU; None without one."""
    if form.padding is None:
        return None
    bits = form.allocated
    low, high = sorted(_signed(value, bits) if form.signed else value for value in form.padding)
    return (low, high), low * slope + intercept


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def blank_padding(values: Values, header: Header, out: NDArray[np.int16]) -> int:
    """Set padding that would shine as bright as metal to air; the number of voxels set.

    Padding below −1000 HU stays as stored (the clipping takes it), and padding at a value that tissue may have stays
    too: headers declare 0 without meaning it.
    """
    declared = padding(header.form, header.slope, header.intercept or 0.0)
    if declared is None or declared[1] <= PLAUSIBLE_HU[1]:
        return 0
    (low, high), _ = declared
    mask = (values >= low) & (values <= high)
    out[mask] = AIR
    return int(np.count_nonzero(mask))

"""A DICOM file and its header in; the stored values of one frame [row, column] out.

The frame's bytes go straight to imagecodecs (JPEG lossless, JPEG-LS, JPEG 2000, RLE, uncompressed), 2–6 times quicker
than pydicom's `pixel_array`, and equal to it (tested on every encoding). What that cannot read, pydicom tries, with the
decoders that were never seen to crash; GDCM, which was, is not asked.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.codestream import (
    JPEG,
    JPEG_2000,
    JPEG_LS,
    RLE,
    Damaged,
    Stream,
    check_rle,
    fragments,
    read_stream,
)
from elsewhere.scans.dicom.header import Form, Header
from elsewhere.scans.dicom.tags import (
    DEFLATED,
    EXPLICIT,
    NATIVE,
    RECOPY,
    UNDEFINED,
    deflated_content,
    read_dataset,
    uid_name,
)

Values = NDArray[Any]

ITEM_TAG = b"\xfe\xff\x00\xe0"
CODES = {f"1.2.840.10008.1.2.4.{end}": JPEG for end in (50, 51, 53, 55, 57, 70)}
CODES |= {
    f"1.2.840.10008.1.2.4.{end}": code
    for end, code in zip((80, 81, 90, 91), 2 * (JPEG_LS,) + 2 * (JPEG_2000,), strict=True)
}
CODES |= {"1.2.840.10008.1.2.5": RLE}
"""Transfer syntax → the code that it must be."""
PLUGINS = {JPEG: "pillow", JPEG_LS: "pyjpegls", JPEG_2000: "pylibjpeg", RLE: "pydicom"}
"""pydicom's decoder for each code (the packages are dependencies)."""
LOWEST_STORED = 8192
"""No CT stores a value further below 0; bits of overlays make larger numbers."""
OTHER_PIXELS = ("FloatPixelData", "DoubleFloatPixelData", "PixelDataProviderURL")
CONVERT = "Convert the series, e.g. with `gdcmconv --raw` or dcmtk's `dcmdjpeg`, or export it uncompressed"


class Frames:
    """The frames of one file; opened once, decoded one at a time.

    Args:
        header: any image of the file.

    Attributes:
        remarks: what was put right or warned of while frames were decoded → in how many frames.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self.remarks: Counter[str] = Counter()

    def decode(self, frame: int) -> Values:
        """Stored values of one frame, [row, column], 8 or 16 bits, with their sign.

        Raises:
            BadScan: the pixel data are absent, cut short, damaged, or in a transfer syntax that nothing here decodes.
        """
        try:
            try:
                values = self._quick(frame)
            except (BadScan, Damaged, OSError):
                raise
            except Exception:  # a codec raises its own; the slow way is the judge
                values = self._slow(frame)
            return self._check(values)
        except (Damaged, OSError) as error:
            raise BadScan(self.header.path, str(error), RECOPY) from error

    def _quick(self, frame: int) -> Values:
        header, form = self.header, self.header.form
        if header.pixels_at < 0 or form.allocated not in (8, 16) or form.samples != 1:
            raise NotImplementedError
        if not self._encapsulated:
            return fit(self._plain(frame), form, form.stored, self.remarks)
        raw = self._encoded[frame]
        stream = self._stream(raw)
        if stream is None:
            raise NotImplementedError
        with _heard(self.remarks):
            values, bits = DECODERS[stream.code](raw, header)
        return fit(values, form, bits or stream.bits or form.stored, self.remarks)

    @cached_property
    def _encapsulated(self) -> bool:
        """Are the pixels encoded? Their bytes say it, whatever the transfer syntax is called."""
        header = self.header
        if header.pixels_length == UNDEFINED:
            return True
        size = header.rows * header.columns * header.form.allocated // 8 * header.frames
        if header.form.syntax in NATIVE or header.pixels_length == size + size % 2:
            return False
        return self._bytes(header.pixels_at, 4) == ITEM_TAG

    def _stream(self, raw: bytes) -> Stream | None:
        """What an encoded frame is; its own size has been compared with the header's."""
        header, form = self.header, self.header.form
        stream = read_stream(raw)
        if stream is None:
            if form.syntax in CODES:
                raise Damaged(f"is damaged inside its encoded pixel data: they do not begin as {CODES[form.syntax]}")
            return None
        stream.check(header.rows, header.columns, form.samples)
        if stream.code == RLE:
            segments = form.allocated // 8 * form.samples
            check_rle(raw, segments, header.rows * header.columns * segments)
        if form.syntax in NATIVE:
            self.remarks[f"the transfer syntax says uncompressed, the pixel data are {stream.code}: decoded"] += 1
        return stream

    def _plain(self, frame: int) -> Values:
        header = self.header
        size = header.rows * header.columns * header.form.allocated // 8
        there = max(0, min(size, header.pixels_length - frame * size))
        raw = self._bytes(header.pixels_at + frame * size, there)
        if len(raw) < size:
            raise Damaged(f"is cut short: {len(raw)} of {size} bytes of pixel data")
        return np.frombuffer(raw, "<u2" if header.form.allocated == 16 else "u1").reshape(header.rows, header.columns)

    def _bytes(self, at: int, length: int = -1) -> bytes:
        if self.header.form.syntax == DEFLATED:
            return self._inflated[at : None if length < 0 else at + length]
        with self.header.path.open("rb", buffering=0) as file:  # regular: its header was read
            file.seek(at)
            return file.read(length)

    @cached_property
    def _inflated(self) -> bytes:
        header = self.header
        size = header.rows * header.columns * header.form.allocated // 8 * header.frames
        return deflated_content(header.path, header.pixels_at + size + 1024)

    @cached_property
    def _encoded(self) -> list[bytes]:
        """The encoded bytes of each frame."""
        data = self._bytes(self.header.pixels_at)
        items = fragments(data)
        if len(items) == self.header.frames:
            return items
        if self.header.frames == 1:
            return [b"".join(items)]
        return list(generate_frames(data, number_of_frames=self.header.frames))

    def _slow(self, frame: int) -> Values:
        header, syntax = self.header, self.header.form.syntax
        try:
            with warnings.catch_warnings(), _heard(self.remarks):
                warnings.simplefilter("ignore")
                plugin = self._plugin(frame)
                index = frame if header.frames > 1 else None
                array = pydicom.pixels.pixel_array(self._dataset, index=index, raw=True, decoding_plugin=plugin)
        except (BadScan, Damaged):
            raise
        except Exception as error:  # pydicom's plugins raise what their libraries raise
            reason = " ".join(str(error).split())[:160]
            what = f"cannot be decoded from transfer syntax {uid_name(syntax)} ({syntax}): {reason}"
            raise BadScan(header.path, what, CONVERT) from error
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def _plugin(self, frame: int) -> str:
        """pydicom's decoder for an encoded frame whose size has been checked; "" for pixels that are not encoded.

        An encoded syntax never gets "": pydicom would then try every decoder that it finds.
        """
        data = self._dataset
        if self.header.form.syntax in NATIVE and not data["PixelData"].is_undefined_length:
            return ""
        frames = generate_frames(data.PixelData, number_of_frames=self.header.frames)
        stream = self._stream(next(raw for i, raw in enumerate(frames) if i == frame))
        if stream is None or (stream.code == JPEG and (stream.bits or 0) > 8):
            raise NotImplementedError("no decoder for it is installed")
        return PLUGINS[stream.code]

    @cached_property
    def _dataset(self) -> pydicom.Dataset:
        dataset = read_dataset(self.header.path, pixels=True)
        if "PixelData" not in dataset:
            if kind := next((name for name in OTHER_PIXELS if name in dataset), ""):
                what = f"has its pixels in {kind} instead of PixelData"
                raise BadScan(self.header.path, what, "Export the original CT images, with whole numbers")
            raise Damaged("is cut short before its pixel data")
        if self.header.form.syntax in NATIVE:  # as the bytes show it
            syntax = self.header.form.syntax
            dataset.file_meta.TransferSyntaxUID = EXPLICIT if syntax == DEFLATED else syntax
        return dataset

    def _check(self, values: Values) -> Values:
        header = self.header
        if values.shape != (header.rows, header.columns):
            what = f"decodes to {values.shape}, its header says ({header.rows}, {header.columns})"
            raise BadScan(header.path, what, "Leave out colour images and screenshots")
        return values


@contextmanager
def _heard(remarks: Counter[str]) -> Iterator[None]:
    """Count the decoders' warnings among the remarks, instead of printing them."""
    heard: set[str] = set()

    def listen(record: logging.LogRecord) -> bool:
        heard.add(record.getMessage())
        return False

    loggers = [logging.getLogger(name) for name in ("imagecodecs", "openjpeg.decode")]
    for logger in loggers:
        logger.addFilter(listen)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(listen)
        if heard:
            remarks["the decoder warned of damaged pixel data: " + " ".join(min(heard).split())[:80]] += 1


def fit(values: Values, form: Form, bits: int, remarks: Counter[str]) -> Values:
    """Give decoded values the type the header declares; only the `bits` of each that are stored count (PS3.5, 8.1.1).

    Bits beyond them that the header declares to be overlays are dropped. Where it declares none they belong to a value
    that outgrew its bits, if they make it at most twice as large, and are dropped too if they make it larger: a remark
    says which.

    Raises:
        Damaged: HighBit lies below the stored bits, and the values use bits above it.
    """
    size = form.allocated
    if values.itemsize * 8 != size:
        values = values.astype(f"u{size // 8}")
    values = values.view(f"u{size // 8}")
    lift = form.high + 1 - form.stored
    if lift > 0 and bits in (form.stored, size):
        values, bits = _lower(values, form, lift, remarks), form.stored
    values = values.view(f"{'i' if form.signed else 'u'}{size // 8}")
    if lift < 0 and _reach(values) >= 1 << (form.high + (0 if form.signed else 1)):
        raise Damaged(f"contradicts itself: HighBit {form.high}, BitsStored {form.stored}, and values use them all")
    shift = size - bits
    if shift <= 0 or (not form.signed and int(values.max()) < 1 << bits):
        return values
    masked = (values << shift) >> shift
    if form.overlays or (form.signed and not (values.view(f"u{size // 8}") >> bits).any()):
        return masked
    beyond = values[masked != values]
    if not beyond.size or _are_negative(beyond):
        return values
    if _reach(values) >= 1 << (bits + (0 if form.signed else 1)):
        remarks[f"bits beyond BitsStored {bits}, of no declared overlay, dropped"] += 1
        return masked
    remarks[f"values beyond BitsStored {bits} kept as stored"] += 1
    return values


def _are_negative(values: Values) -> bool:
    """Are these unsigned values negative numbers of a CT, written into more bits than are stored?"""
    whole = 1 << 8 * values.itemsize
    return values.dtype.kind == "u" and int(values.min()) >= whole - min(LOWEST_STORED, whole // 2)


def _lower(values: Values, form: Form, lift: int, remarks: Counter[str]) -> Values:
    """Values whose highest bit is not the one of their lowest place, shifted down, unless they are not up there."""
    low = (values & values.dtype.type((1 << lift) - 1)).any()
    said = f"HighBit {form.high} with BitsStored {form.stored}"
    if low and int(values.max()) < 1 << form.stored:
        remarks[f"{said}: contradicted by the values, which are taken as stored in the lowest bits"] += 1
        return values
    remarks[f"{said}: values shifted down by {lift} bits"] += 1
    return values >> lift


def _reach(values: Values) -> int:
    """The largest magnitude, −1 counted as 0."""
    return max(int(values.max()), -int(values.min()) - 1)


Decoder = Callable[[bytes, Header], tuple[Values, int | None]]


def _jpeg(raw: bytes, header: Header) -> tuple[Values, int | None]:
    return imagecodecs.jpeg8_decode(raw), header.form.stored


def _jpeg_ls(raw: bytes, header: Header) -> tuple[Values, int | None]:  # noqa: ARG001 - as the other decoders
    return imagecodecs.jpegls_decode(raw), None


def _jpeg_2000(raw: bytes, header: Header) -> tuple[Values, int | None]:  # noqa: ARG001
    return imagecodecs.jpeg2k_decode(raw, verbose=2), None


def _rle(raw: bytes, header: Header) -> tuple[Values, int | None]:
    kind = np.dtype("<u2" if header.form.allocated == 16 else "u1")
    values = np.frombuffer(imagecodecs.dicomrle_decode(raw, dtype=kind), kind)
    if values.size < header.rows * header.columns:
        raise Damaged(f"is cut short: its RLE data hold {values.size} of {header.rows * header.columns} values")
    return values.reshape(header.rows, header.columns), header.form.stored


DECODERS: dict[str, Decoder] = {JPEG: _jpeg, JPEG_LS: _jpeg_ls, JPEG_2000: _jpeg_2000, RLE: _rle}

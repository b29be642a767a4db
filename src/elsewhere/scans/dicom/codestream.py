"""An encoded frame in; which code it is and what size it says it has, checked before a decoder sees it, out.

Decoders are C: they take memory for the size that a code stream promises, and some trust its offsets. So a stream whose
own size differs from its file's header never reaches one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

JPEG, JPEG_LS, JPEG_2000, RLE = "JPEG", "JPEG-LS", "JPEG 2000", "RLE"
SOI, EOI = b"\xff\xd8", b"\xff\xd9"
JPEG_2000_START = b"\xff\x4f\xff\x51"
JP2_START = b"\x00\x00\x00\x0cjP  "
JPEG_LS_FRAME, START_OF_SCAN = 0xF7, 0xDA
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 … SOF15; the others are tables
BARE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a segment
RLE_HEADER = 64
RLE_EXPANSION = 64
"""Two bytes of a run stand for at most 128 (PS3.5, annex G)."""


class Damaged(ValueError):
    """The bytes themselves are wrong or incomplete, so no other decoder needs to be asked."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What an encoded frame says of itself.

    Attributes:
        code: JPEG, JPEG_LS, JPEG_2000 or RLE.
        rows, columns, components: its size; None for RLE, which does not say it.
        bits: of each value; None for RLE.
    """

    code: str
    rows: int | None = None
    columns: int | None = None
    components: int | None = None
    bits: int | None = None

    def check(self, rows: int, columns: int, components: int) -> None:
        """Raises Damaged where it has another size than the file's header says."""
        own = (self.rows, self.columns, self.components)
        if self.code != RLE and own != (rows, columns, components):
            raise Damaged(f"decodes to {_size(*own)}, its header says {_size(rows, columns, components)}")


def _size(rows: int | None, columns: int | None, components: int | None) -> str:
    return f"({rows}, {columns})" if components == 1 else f"({rows}, {columns}) of {components} values"


def read_stream(raw: bytes) -> Stream | None:
    """Look at an encoded frame's first bytes; None where they belong to no code that is known here.

    Raises:
        Damaged: it begins as JPEG, and its markers or their end are missing.
    """
    if raw.startswith(SOI):
        return _jpeg(raw)
    if raw.startswith((JPEG_2000_START, JP2_START)):
        return _jpeg_2000(raw)
    count = int.from_bytes(raw[:4], "little")
    return Stream(RLE) if len(raw) > RLE_HEADER and 1 <= count <= 15 and raw[4:8] == b"\x40\0\0\0" else None


def _jpeg(raw: bytes) -> Stream:
    """Walk the markers up to the first scan."""
    at, frame = 2, None
    while at + 4 <= len(raw):
        if raw[at] != 0xFF:
            raise Damaged("is damaged inside its JPEG data: no marker where one must be")
        marker = raw[at + 1]
        if marker == 0xFF or marker in BARE:  # fill bytes
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(raw[at + 2 : at + 4], "big")
        if (marker in JPEG_FRAMES or marker == JPEG_LS_FRAME) and length >= 8 and frame is None:
            bits, rows, columns, components = struct.unpack_from(">BHHB", raw.ljust(at + 10, b"\0"), at + 4)
            frame = Stream(JPEG_LS if marker == JPEG_LS_FRAME else JPEG, rows, columns, components, bits)
        at += 2 + length
        if marker == START_OF_SCAN:
            break
    if frame is None or at > len(raw):
        raise Damaged("is cut short: its JPEG data end before the first scan")
    if raw.rfind(EOI, at) < 0:  # libjpeg fills what is missing with grey, in silence; CharLS needs seconds to give up
        raise Damaged("is cut short: its JPEG data have no end marker")
    return frame


def _jpeg_2000(raw: bytes) -> Stream:
    at = raw.find(JPEG_2000_START, 0, 1024)
    if at < 0 or len(raw) < at + 43:
        raise Damaged("is cut short: its JPEG 2000 data have no size")
    right, bottom, left, top = struct.unpack_from(">4I", raw, at + 8)
    components, depth = struct.unpack_from(">HB", raw, at + 40)
    return Stream(JPEG_2000, bottom - top, right - left, components, (depth & 0x7F) + 1)


def check_rle(raw: bytes, segments: int, promised: int) -> None:
    """Check what the RLE decoder trusts: the number of segments and where each begins.

    Args:
        raw: an encoded frame.
        segments: how many there must be, one for each byte of a pixel.
        promised: bytes that they must decode to.

    Raises:
        Damaged: a segment begins outside the data, or they are too short for any such image.
    """
    count, *offsets = struct.unpack_from("<16I", raw.ljust(RLE_HEADER, b"\0"))
    used = offsets[:segments]
    if count != segments:
        raise Damaged(f"is damaged inside its RLE data: {count} segments, expected {segments}")
    if used[0] != RLE_HEADER or sorted(set(used)) != used or used[-1] >= len(raw):
        raise Damaged(f"is damaged inside its RLE data: segments begin at {used}, of {len(raw)} bytes")
    if promised > RLE_EXPANSION * len(raw):
        raise Damaged(f"is cut short: {len(raw)} bytes of RLE data cannot hold {promised:,}")


def fragments(data: bytes) -> list[bytes]:
    """The items of encapsulated pixel data (PS3.5, A.4), without the offset table.

    Raises:
        Damaged: they end before their lengths say.
    """
    item, sequence_end, undefined = 0xFFFEE000, 0xFFFEE0DD, 0xFFFFFFFF
    items: list[bytes] = []
    at = 0
    if data[8:].startswith((SOI, JPEG_2000_START)):  # some writers leave the offset table out
        items.append(b"")
    while at + 8 <= len(data):
        group, element, length = struct.unpack_from("<HHI", data, at)
        tag, at = group << 16 | element, at + 8
        if tag == sequence_end or (tag != item and len(items) > 1):  # some writers leave the delimiter out
            return items[1:]
        if tag != item or length == undefined or at + length > len(data):
            raise Damaged("is cut short or damaged inside its encoded pixel data")
        items.append(data[at : at + length])
        at += length
    if len(items) < 2:
        raise Damaged("holds no pixel data")
    return items[1:]

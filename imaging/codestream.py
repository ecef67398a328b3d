"""What a codestream says of itself: size, bits, sign and color of a JPEG, JPEG-LS or JPEG 2000 frame.

A decoder obeys the codestream and never the DICOM header, so where the two disagree the codestream is right.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})  # 0xF7 is JPEG-LS
_APP0, _APP14, _FILL = 0xE0, 0xEE, 0xFF
_COMPONENTS_RGB = b"RGB"
_JPEG_2000 = b"\xff\x4f\xff\x51"  # SOC, SIZ
_COD, _SOT = 0x52, 0x90
_MULTIPLE_COMPONENTS = 4  # offset in COD, behind its length, of the Multiple Component Transformation


class Color(Enum):
    """What the three samples of a pixel are."""

    RGB = "RGB"
    YBR = "YBR"


@dataclass(frozen=True, kw_only=True, slots=True)
class Codestream:
    """The frame header of a JPEG (ISO/IEC 10918-1 B.2.2), JPEG-LS or JPEG 2000 (15444-1 A.5.1) codestream.

    Attributes:
        rows: of the image.
        columns: of the image.
        samples: of a pixel.
        precision: bits of a sample.
        is_signed: as JPEG 2000 states it; the others know no sign.
        color: as JFIF, Adobe or the component transformation state it; None where nothing does.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    is_signed: bool = False
    color: Color | None = None


def read_codestream(frame: bytes) -> Codestream | None:
    """What the frame says of itself; None where it holds no start of an image."""
    try:
        return _jpeg(frame) if frame.startswith(b"\xff\xd8") else _jpeg_2000(frame)
    except (struct.error, IndexError, ValueError):
        return None


def _jpeg(frame: bytes) -> Codestream:
    position, color = 2, None
    while (marker := frame[position + 1]) not in _START_OF_FRAME:
        if marker == _FILL:  # before a marker there may be any number of them (ISO/IEC 10918-1 B.1.1.2)
            position += 1
            continue
        content = frame[position + 4 : position + 18]
        if marker == _APP0 and content.startswith(b"JFIF\0"):
            color = Color.YBR  # ISO/IEC 10918-5
        elif marker == _APP14 and content.startswith(b"Adobe"):
            color = Color.YBR if content[11:12] == b"\x01" else Color.RGB  # ISO/IEC 10918-6
        position += 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    precision, rows, columns, samples = struct.unpack_from(">B2HB", frame, position + 4)
    components = frame[position + 10 : position + 10 + 3 * samples : 3]
    if color is None and components == _COMPONENTS_RGB:
        color = Color.RGB
    return Codestream(rows=rows, columns=columns, samples=samples, precision=precision, color=color)


def _jpeg_2000(frame: bytes) -> Codestream:
    start = frame.index(_JPEG_2000)
    right, bottom, left, top, samples = struct.unpack_from(">4I16xH", frame, start + 8)
    depth = frame[start + 42]
    position = start + 4 + int.from_bytes(frame[start + 4 : start + 6], "big")
    color = None
    while (marker := frame[position + 1]) != _SOT:
        if marker == _COD and frame[position + 4 + _MULTIPLE_COMPONENTS]:
            color = Color.RGB  # the decoder undoes the transformation
        position += 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    return Codestream(
        rows=bottom - top,
        columns=right - left,
        samples=samples,
        precision=(depth & 0x7F) + 1,
        is_signed=bool(depth & 0x80),
        color=color,
    )

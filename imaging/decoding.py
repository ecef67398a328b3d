"""Pixel data to stored values: the Image Pixel Module, the encodings, and the guards before each decoder."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import Dataset, uid
from pydicom.encaps import get_frame

from imaging.elements import PYDICOM_ERRORS, read_integer, read_value
from worklist.errors import UnusableImage

MIN_SIDE_PX = 64
MAX_PIXELS = 100_000_000
_NATIVE = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
}
_JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1}
_DECODERS: dict[str, Callable[..., npt.NDArray[Any]]] = {
    **dict.fromkeys(_JPEG, imagecodecs.jpeg8_decode),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), imagecodecs.jpegls_decode),
    **dict.fromkeys(
        (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K),
        imagecodecs.jpeg2k_decode,
    ),
}
_RLE_HEADER_BYTES = 64
_END_WITHIN_BYTES = 64
_MONOCHROME = {"MONOCHROME1", "MONOCHROME2"}
_LUMINANCE_FIRST = {"YBR_FULL", "YBR_FULL_422"}
_RED_GREEN_BLUE = {"RGB", "YBR_ICT", "YBR_RCT"}  # JPEG 2000 decoders undo ICT and RCT themselves
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as PS3.3 C.7.6.3.1.2


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelLayout:
    """The Image Pixel Module (PS3.3 C.7.6.3), checked before any pixel is touched."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    photometric_interpretation: str
    transfer_syntax_uid: uid.UID

    @classmethod
    def of(cls, dataset: Dataset) -> PixelLayout:
        """The layout that a dataset states.

        Raises:
            UnusableImage: it states none, or one that no radiograph has.
        """
        rows, columns = (read_integer(dataset, keyword, 0, 65535) for keyword in ("Rows", "Columns"))
        size = f"The image has {columns} x {rows} pixels"
        if min(rows, columns) < MIN_SIDE_PX:
            raise UnusableImage("image_too_small", f"{size}; below {MIN_SIDE_PX} on a side nothing can be judged.")
        if rows * columns > MAX_PIXELS:
            raise UnusableImage("image_too_large", f"{size}; no radiograph needs more than {MAX_PIXELS:,}.")
        photometric = str(read_value(dataset, "PhotometricInterpretation") or "").strip().upper()
        if photometric not in _MONOCHROME | _LUMINANCE_FIRST | _RED_GREEN_BLUE:
            raise UnusableImage(
                "unsupported_photometric_interpretation",
                f"Photometric Interpretation is {photometric[:16] or 'missing'}; MONOCHROME, RGB and YBR are read.",
            )
        samples = 1 if photometric in _MONOCHROME else 3
        read_integer(dataset, "SamplesPerPixel", samples, samples, default=samples)
        allocated = read_integer(dataset, "BitsAllocated", 8, 16)
        if allocated not in {8, 16}:
            raise UnusableImage("invalid_pixel_attributes", f"Bits Allocated is {allocated}; only 8 and 16 are read.")
        stored = read_integer(dataset, "BitsStored", 1, allocated)
        stated = getattr(dataset, "file_meta", None) and dataset.file_meta.get("TransferSyntaxUID")
        # Without file meta information only pydicom knows how it managed to read the dataset.
        as_read = uid.ExplicitVRBigEndian if dataset.original_encoding[1] is False else uid.ExplicitVRLittleEndian
        return cls(
            rows=rows,
            columns=columns,
            samples=samples,
            bits_allocated=allocated,
            bits_stored=stored,
            high_bit=read_integer(dataset, "HighBit", stored - 1, allocated - 1, default=stored - 1),
            is_signed=read_integer(dataset, "PixelRepresentation", 0, 1, default=0) == 1,
            photometric_interpretation=photometric,
            transfer_syntax_uid=uid.UID(str(stated or as_read)),
        )

    @property
    def count(self) -> int:
        """Values in a frame."""
        return self.rows * self.columns * self.samples

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a decoded frame."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def byte_order(self) -> str:
        """As numpy writes it."""
        return ">" if self.transfer_syntax_uid == uid.ExplicitVRBigEndian else "<"


def decode(dataset: Dataset, layout: PixelLayout) -> npt.NDArray[Any]:
    """Stored values of the first frame, uint8 or uint16, shape (rows, columns); signed ones as two's complement."""
    syntax = layout.transfer_syntax_uid
    data = read_value(dataset, "PixelData")
    if not isinstance(data, bytes) or not data:
        raise UnusableImage(
            "no_pixel_data", "The object holds no pixel data: it is no image, or was sent without them."
        )
    planar = layout.samples > 1 and read_integer(dataset, "PlanarConfiguration", 0, 1, default=0) == 1
    if syntax in _NATIVE:
        values = _native(data, layout, as_words=dataset["PixelData"].VR == "OW")
        values = _interleave(values, layout) if planar else values.reshape(layout.shape)
    elif syntax in _DECODERS or syntax == uid.RLELossless:
        try:
            frame = get_frame(data, 0, number_of_frames=read_integer(dataset, "NumberOfFrames", 1, 2**31, default=1))
        except PYDICOM_ERRORS as error:
            raise _truncated("they end before the first frame does") from error
        try:
            values = _run_lengths(frame, layout) if syntax == uid.RLELossless else _codestream(frame, layout)
        except (RuntimeError, ValueError, TypeError) as error:  # what the decoders of imagecodecs derive from
            raise UnusableImage(
                "pixel_data_damaged", f"The {syntax.name} pixel data cannot be decoded; send the image again."
            ) from error
    else:
        raise UnusableImage(
            "unsupported_transfer_syntax",
            f"The pixel data are encoded as {syntax.name} ({syntax}), which Firstread cannot decode.",
        )
    if values.shape != layout.shape or values.itemsize * 8 > layout.bits_allocated:
        raise UnusableImage(
            "invalid_pixel_attributes",
            f"The encoded image ({values.shape}, {values.itemsize * 8} bits) is not what its header describes "
            f"({layout.shape}, {layout.bits_allocated} bits).",
        )
    if layout.photometric_interpretation in _LUMINANCE_FIRST:
        values = values[..., 0]
    elif layout.photometric_interpretation in _RED_GREEN_BLUE:
        values = np.rint(values @ _LUMINANCE)
    return values.astype(f"u{layout.bits_allocated // 8}", copy=False)


def _interleave(planes: npt.NDArray[Any], layout: PixelLayout) -> npt.NDArray[Any]:
    """Color planes, one after the other, as (rows, columns, samples); grey ones as (rows, columns)."""
    return np.moveaxis(planes.reshape(layout.samples, layout.rows, layout.columns), 0, 2).reshape(layout.shape)


def _native(data: bytes, layout: PixelLayout, *, as_words: bool) -> npt.NDArray[Any]:
    """Uncompressed values (PS3.5 section 8.1.1, A.1 to A.3)."""
    width = layout.bits_allocated // 8
    needed = layout.count * width
    if len(data) < needed:
        raise _truncated(f"{len(data):,} of {needed:,} bytes arrived")
    if width == 1 and as_words and layout.byte_order == ">":
        data = np.frombuffer(data[: needed + needed % 2], ">u2").astype("<u2").tobytes()
    return np.frombuffer(data, f"{layout.byte_order}u{width}", layout.count)


def _run_lengths(frame: bytes, layout: PixelLayout) -> npt.NDArray[Any]:
    """An RLE frame (PS3.5 annex G), decoded; its header is checked first, for imagecodecs reads where it points."""
    width = layout.bits_allocated // 8
    segments, *offsets = struct.unpack("<16I", frame[:_RLE_HEADER_BYTES].ljust(_RLE_HEADER_BYTES, b"\0"))
    used = offsets[: layout.samples * width]
    if segments != len(used) or used != sorted(used) or used[0] < _RLE_HEADER_BYTES or used[-1] >= len(frame):
        raise _truncated("the header of the RLE frame does not match its content")
    room = (layout.count + layout.samples) * width  # a segment may end in one byte too many
    values = np.frombuffer(imagecodecs.dicomrle_decode(frame, f"u{width}", out=room), f"u{width}")
    if values.size < layout.count:
        raise _truncated("the RLE frame ends early")
    return _interleave(values[: layout.count], layout)


def _codestream(frame: bytes, layout: PixelLayout) -> npt.NDArray[Any]:
    """A JPEG, JPEG-LS or JPEG 2000 frame, decoded; its own size is checked first, for it decides the memory taken."""
    size = _codestream_size(frame)
    if size is None:
        raise ValueError("no start of an image in the frame")
    if size != (layout.rows, layout.columns, layout.samples):
        raise UnusableImage(
            "invalid_pixel_attributes",
            f"The encoded image has {size[1]} x {size[0]} pixels of {size[2]} samples, but its header says "
            f"{layout.columns} x {layout.rows} of {layout.samples}.",
        )
    # libjpeg fills the rest of a cut-off film with grey without a word, so the end marker is looked for here.
    if layout.transfer_syntax_uid in _JPEG and frame.rstrip(b"\0").rfind(b"\xff\xd9", -_END_WITHIN_BYTES) < 0:
        raise _truncated("the encoded image has no end")
    options = {}
    if layout.samples > 1 and layout.transfer_syntax_uid in _JPEG:
        space = "RGB" if layout.photometric_interpretation == "RGB" else "YCBCR"
        options = {"colorspace": space, "outcolorspace": space}
    return np.asarray(_DECODERS[layout.transfer_syntax_uid](frame, **options))


def _codestream_size(frame: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, samples) that a JPEG 2000 (ISO/IEC 15444-1 A.5.1) or JPEG (10918-1 B.2.2) codestream states."""
    try:
        if not frame.startswith(b"\xff\xd8"):
            start = frame.index(b"\xff\x4f\xff\x51")
            right, bottom, left, top, samples = struct.unpack_from(">4I16xH", frame, start + 8)
            return (bottom - top, right - left, samples)
        position = 2
        while (marker := frame[position + 1]) not in {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}:
            # Before a marker there may be any number of bytes FF (ISO/IEC 10918-1 B.1.1.2).
            position += 1 if marker == 0xFF else 2 + int.from_bytes(frame[position + 2 : position + 4], "big")  # noqa: PLR2004
        rows, columns, samples = struct.unpack_from(">2HB", frame, position + 5)
    except (struct.error, IndexError, ValueError):
        return None
    return (rows, columns, samples)


def _truncated(what: str) -> UnusableImage:
    return UnusableImage("pixel_data_truncated", f"The pixel data are incomplete ({what}); send the image again.")

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

from imaging.codestream import Codestream, Color, read_codestream
from imaging.color import grey_of, interleave, luma_of_subsampled
from imaging.elements import read_integer, read_value
from imaging.frames import encapsulated_frames, native_frames, truncated
from imaging.stored_bits import Bits
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
_ONE_SAMPLE = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}
_LUMINANCE_FIRST = {"YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"}
_RED_GREEN_BLUE = {"RGB", "YBR_ICT", "YBR_RCT"}  # JPEG 2000 decoders undo ICT and RCT themselves
_SUBSAMPLED = {"YBR_FULL_422", "YBR_PARTIAL_422"}
_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)


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
        if photometric not in _ONE_SAMPLE | _LUMINANCE_FIRST | _RED_GREEN_BLUE:
            raise UnusableImage(
                "unsupported_photometric_interpretation",
                f"Photometric Interpretation is {photometric[:16] or 'missing'}; MONOCHROME, PALETTE COLOR, RGB and "
                "YBR are read.",
            )
        samples = 1 if photometric in _ONE_SAMPLE else 3
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
            high_bit=read_integer(dataset, "HighBit", 0, 65535, default=stored - 1),
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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stored:
    """What the pixel data hold.

    Attributes:
        words: uint8 or uint16, shape (rows, columns); of a color image its luminance, 0 to the largest of its bits.
        bits: what header and codestream say of them.
        frames: how many frames there are; the first is here.
    """

    words: npt.NDArray[Any]
    bits: Bits
    frames: int


def decode(dataset: Dataset, layout: PixelLayout) -> Stored:
    """The stored words of the first frame.

    Raises:
        UnusableImage: no_pixel_data, pixel_data_truncated, pixel_data_damaged, unsupported_transfer_syntax or
            invalid_pixel_attributes.
    """
    syntax = layout.transfer_syntax_uid
    data = read_value(dataset, "PixelData")
    if not isinstance(data, bytes) or not data:
        raise UnusableImage(
            "no_pixel_data", "The object holds no pixel data: it is no image, or was sent without them."
        )
    stated = max(1, read_integer(dataset, "NumberOfFrames", 0, 2**31, default=1))
    stream: Codestream | None = None
    if syntax in _NATIVE:
        values, frames = _native(dataset, data, layout, stated)
    elif syntax in _DECODERS or syntax == uid.RLELossless:
        found = encapsulated_frames(data, stated, are_codestreams=syntax != uid.RLELossless)
        frames = max(found.count, stated)
        try:
            if syntax == uid.RLELossless:
                values = _run_lengths(found.first, layout)
            else:
                values, stream = _codestream(found.first, layout)
        except (RuntimeError, ValueError, TypeError) as error:  # what the decoders of imagecodecs derive from
            raise UnusableImage(
                "pixel_data_damaged", f"The {syntax.name} pixel data cannot be decoded; send the image again."
            ) from error
    else:
        raise UnusableImage(
            "unsupported_transfer_syntax",
            f"The pixel data are encoded as {syntax.name} ({syntax}), which Firstread cannot decode.",
        )
    if values.shape != layout.shape or values.itemsize > 2:  # noqa: PLR2004 - no radiograph has more than 16 bits
        raise UnusableImage(
            "invalid_pixel_attributes",
            f"The encoded image ({values.shape}, {values.itemsize * 8} bits) is not what its header describes "
            f"({layout.shape}, {layout.bits_allocated} bits).",
        )
    words = values.view(f"u{values.itemsize}") if values.dtype.kind == "i" else values
    if layout.samples > 1:
        words = grey_of(words, _color(layout, stream), is_partial="PARTIAL" in layout.photometric_interpretation)
    bits = Bits(
        container=words.itemsize * 8,
        stored=layout.bits_stored,
        high_bit=layout.high_bit,
        is_signed=layout.is_signed,
        precision=stream.precision if stream else None,
        is_stream_signed=values.dtype.kind == "i",
        has_overlay=any((group << 16) + 0x0102 in dataset for group in _OVERLAY_GROUPS),
    )
    return Stored(words=words, bits=bits, frames=frames)


def _color(layout: PixelLayout, stream: Codestream | None) -> Color:
    """What the samples are: as the codestream says, or else the header."""
    if stream and stream.color:
        return stream.color
    return Color.YBR if layout.photometric_interpretation in _LUMINANCE_FIRST else Color.RGB


def _native(dataset: Dataset, data: bytes, layout: PixelLayout, stated: int) -> tuple[npt.NDArray[Any], int]:
    """Uncompressed values (PS3.5 section 8.1.1, A.1 to A.3), and how many frames there are."""
    width = layout.bits_allocated // 8
    subsampled = layout.rows * layout.columns * 2 * width
    if layout.photometric_interpretation in _SUBSAMPLED and len(data) < layout.count * width * stated:
        words = np.frombuffer(native_frames(data, subsampled, stated).first, f"{layout.byte_order}u{width}")
        return luma_of_subsampled(words, layout.rows, layout.columns), stated
    needed = layout.count * width
    found = native_frames(data, needed, stated)
    if width == 1 and dataset["PixelData"].VR == "OW" and layout.byte_order == ">":
        data = np.frombuffer(data[: needed + needed % 2], ">u2").astype("<u2").tobytes()
    values = np.frombuffer(data, f"{layout.byte_order}u{width}", layout.count)
    if layout.samples == 1:
        return values.reshape(layout.shape), max(found.count, stated)
    planar = read_integer(dataset, "PlanarConfiguration", 0, 1, default=0) == 1
    return interleave(values, layout.rows, layout.columns, are_planes_stated=planar), max(found.count, stated)


def _run_lengths(frame: bytes, layout: PixelLayout) -> npt.NDArray[Any]:
    """An RLE frame (PS3.5 annex G), decoded; its header is checked first, for imagecodecs reads where it points."""
    width = layout.bits_allocated // 8
    segments, *offsets = struct.unpack("<16I", frame[:_RLE_HEADER_BYTES].ljust(_RLE_HEADER_BYTES, b"\0"))
    used = offsets[: layout.samples * width]
    if segments != len(used) or used != sorted(used) or used[0] < _RLE_HEADER_BYTES or used[-1] >= len(frame):
        raise truncated("the header of the RLE frame does not match its content")
    room = (layout.count + layout.samples) * width  # a segment may end in one byte too many
    values = np.frombuffer(imagecodecs.dicomrle_decode(frame, f"u{width}", out=room), f"u{width}")
    if values.size < layout.count:
        raise truncated("the RLE frame ends early")
    planes = values[: layout.count].reshape(layout.samples, layout.rows, layout.columns)
    return np.moveaxis(planes, 0, 2).reshape(layout.shape)


def _codestream(frame: bytes, layout: PixelLayout) -> tuple[npt.NDArray[Any], Codestream]:
    """A JPEG, JPEG-LS or JPEG 2000 frame, decoded; its own size is checked first, for it decides the memory taken."""
    stream = read_codestream(frame)
    if stream is None:
        raise ValueError("no start of an image in the frame")
    if (stream.rows, stream.columns, stream.samples) != (layout.rows, layout.columns, layout.samples):
        raise UnusableImage(
            "invalid_pixel_attributes",
            f"The encoded image has {stream.columns} x {stream.rows} pixels of {stream.samples} samples, but its "
            f"header says {layout.columns} x {layout.rows} of {layout.samples}.",
        )
    # libjpeg fills the rest of a cut-off film with grey without a word, so the end marker is looked for here.
    if layout.transfer_syntax_uid in _JPEG and frame.rstrip(b"\0").rfind(b"\xff\xd9", -_END_WITHIN_BYTES) < 0:
        raise truncated("the encoded image has no end")
    options = {}
    if layout.samples > 1 and layout.transfer_syntax_uid in _JPEG:
        space = "RGB" if _color(layout, stream) is Color.RGB else "YCBCR"
        options = {"colorspace": space, "outcolorspace": space}
    return np.asarray(_DECODERS[layout.transfer_syntax_uid](frame, **options)), stream

"""From a DICOM dataset to the film as a radiologist sees it, and on to the square that a network looks at.

Whatever PS3.3 C.11 asks between a stored value and its grey (unused bits, sign, modality LUT, VOI LUT or window,
inversion, padding) is computed once per possible value, in float64, into one table of at most 65,536 greys. The
millions of pixels then cost a single lookup, so a sigmoid window takes no longer than a linear one.
"""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset, dcmread, uid
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException

from models.film import Film
from worklist.errors import InvalidInput, UnusableImage
from worklist.finding import ImageReference, QualityNote, Region, Side

MIN_SIDE_PX = 64
MAX_PIXELS = 100_000_000
MIRRORED_FILM = "mirrored_film"
TURNED_FILM = "turned_film"

_LOW_RESOLUTION_PX = 512
_LOW_CONTRAST = 0.25  # between the 5th and 95th percentile; the lowest of 500 films of ChestX-ray14 is 0.33
_CUT_OFF_SHARE = 0.5  # of the pixels; the highest of the same films is 0.45
_ROBUST_PERCENTILES = (0.5, 99.5)
_SAMPLED_PIXELS = 100_000
_ROWS_AT_A_TIME = 128
_LARGEST_VALUE = 1e9  # of a slope, intercept, window or padding value: beyond it something is broken
_EMPTY: tuple[object, ...] = (None, "", [])

# What pydicom was seen to raise on damaged files: it converts an element on first access, each VR in its own way.
_PYDICOM_ERRORS = (
    AttributeError, BytesLengthException, EOFError, IndexError, KeyError, NotImplementedError, OSError, OverflowError,
    RecursionError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip

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


def open_dataset(source: Path | bytes, *, header_only: bool = False) -> Dataset:
    """Read a DICOM Part 10 file, or an older one without file meta information.

    Args:
        source: a file, or its content.
        header_only: stop before the pixel data.

    Raises:
        InvalidInput: file_not_readable, or not_dicom.
    """
    name = "The upload" if isinstance(source, bytes) else str(source)
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise InvalidInput("file_not_readable", f"{name} cannot be read: {error.strerror or error}.") from error
    # Without a preamble a dataset starts with an element of group 0002 or 0008, little endian.
    if content[128:132] != b"DICM" and content[:2] not in {b"\x02\x00", b"\x08\x00"}:
        raise InvalidInput("not_dicom", f"{name} is not a DICOM file.")
    try:
        with _quiet():
            dataset = dcmread(BytesIO(content), force=True, stop_before_pixels=header_only)
            is_object = bool(dataset.get("SOPClassUID"))
    except _PYDICOM_ERRORS as error:
        raise InvalidInput("not_dicom", f"{name} is damaged: its DICOM elements cannot be read.") from error
    if not is_object:
        raise InvalidInput("not_dicom", f"{name} is damaged or holds no DICOM object.")
    return dataset


def read_film(dataset: Dataset) -> Film:
    """Decode a radiograph and show it as a viewer would: PS3.3 C.7.6.3, C.11.1, C.11.2, PS3.5 section 8.

    Of a multi-frame image the first frame is taken, of a color image the luminance, of several windows the first.

    Raises:
        UnusableImage: missing_identifier, no_pixel_data, pixel_data_truncated, pixel_data_damaged,
            unsupported_transfer_syntax, unsupported_photometric_interpretation, image_too_small, image_too_large,
            invalid_pixel_attributes, invalid_rescale, invalid_modality_lut or blank_image.
    """
    with _quiet():
        layout = _Layout.of(dataset)
        image = _reference(dataset, layout)
        pixels, notes = _render(dataset, layout, _decode(dataset, layout))
        return Film(image=image, pixels=pixels, quality=(*notes, *_judge(dataset, pixels)))


def patient_side(orientation: object) -> Side | None:
    r"""The patient's side at the left edge of an image with this Patient Orientation (0020,0020), PS3.3 C.7.6.1.1.1.

    The first value says where the rows run to: in L\F to the patient's left, so the image starts at the patient's
    right. That is also how a frontal film hangs when nothing is stated. None for a film on its side or on its head.
    """
    rows_run_to, columns_run_to = (*_texts(orientation), "", "")[:2]
    if rows_run_to[:1] not in {"", "L", "R"} or columns_run_to[:1] not in {"", "F"}:
        return None
    return Side.LEFT if rows_run_to.startswith("R") else Side.RIGHT


def to_display(film: Film) -> npt.NDArray[np.uint8]:
    """The film as 8-bit MONOCHROME2 pixels, shape (rows, columns), for crops and thumbnails."""
    grey = film.pixels * np.float32(255)
    grey += np.float32(0.5)
    return grey.astype(np.uint8)


@dataclass(frozen=True, kw_only=True, slots=True)
class SquareGeometry:
    """How an image of rows x columns pixels lies in a network's square of size_px: centered, its shape kept."""

    rows: int
    columns: int
    size_px: int

    @property
    def side(self) -> int:
        """Side of the padded square, in source pixels."""
        return max(self.rows, self.columns)

    @property
    def origin(self) -> tuple[int, int]:
        """(x, y) of the image's upper left corner in the padded square, in source pixels."""
        return ((self.side - self.columns) // 2, (self.side - self.rows) // 2)

    def to_model(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """The edges of a box in source pixels as edges in model pixels."""
        (left, top), scale = self.origin, self.size_px / self.side
        return ((x0 + left) * scale, (y0 + top) * scale, (x1 + left) * scale, (y1 + top) * scale)

    def to_source(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """The edges of a box in model pixels as edges in source pixels, clipped to the image."""
        (left, top), scale = self.origin, self.side / self.size_px
        x0, x1 = (min(max(x * scale - left, 0.0), self.columns) for x in (x0, x1))
        y0, y1 = (min(max(y * scale - top, 0.0), self.rows) for y in (y0, y1))
        return (x0, y0, x1, y1)

    def region(self, x0: float, y0: float, x1: float, y1: float) -> Region | None:
        """The smallest box of whole source pixels around a box in model pixels; None for one in the padding."""
        left, top, right, bottom = self.to_source(x0, y0, x1, y1)
        if right <= left or bottom <= top:
            return None
        x, y = math.floor(left), math.floor(top)
        return Region(x=x, y=y, width=math.ceil(right) - x, height=math.ceil(bottom) - y)


def fit_square(pixels: npt.NDArray[np.float32], size_px: int) -> tuple[npt.NDArray[np.float32], SquareGeometry]:
    """Center an image (rows, columns) on a black square and resize it to (size_px, size_px), both float32 in 0..1.

    Shrinking averages over the area of a model pixel, first by a whole factor and then by a windowed filter, so that
    fine structure does not alias; enlarging is bilinear.
    """
    geometry = SquareGeometry(rows=pixels.shape[0], columns=pixels.shape[1], size_px=size_px)
    factor = max(1, geometry.side // (2 * size_px))
    side, left, top = (length / factor for length in (geometry.side, *geometry.origin))
    # The canvas is in whole reduced pixels, the square need not be: (x, y) says where exactly it begins.
    corner = (math.ceil(left), math.ceil(top))
    x, y = corner[0] - left, corner[1] - top
    canvas = Image.new("F", (math.ceil(x + side), math.ceil(y + side)))
    canvas.paste(Image.fromarray(pixels).reduce(factor), corner)
    resampling = Image.Resampling.HAMMING if geometry.side > size_px else Image.Resampling.BILINEAR
    square = canvas.resize((size_px, size_px), resampling, box=(x, y, x + side, y + side))
    return np.asarray(square, dtype=np.float32), geometry


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
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
    def of(cls, dataset: Dataset) -> _Layout:
        rows, columns = (_integer(dataset, keyword, 0, 65535) for keyword in ("Rows", "Columns"))
        size = f"The image has {columns} x {rows} pixels"
        if min(rows, columns) < MIN_SIDE_PX:
            raise UnusableImage("image_too_small", f"{size}; below {MIN_SIDE_PX} on a side nothing can be judged.")
        if rows * columns > MAX_PIXELS:
            raise UnusableImage("image_too_large", f"{size}; no radiograph needs more than {MAX_PIXELS:,}.")
        photometric = str(_value(dataset, "PhotometricInterpretation") or "").strip().upper()
        if photometric not in _MONOCHROME | _LUMINANCE_FIRST | _RED_GREEN_BLUE:
            raise UnusableImage(
                "unsupported_photometric_interpretation",
                f"Photometric Interpretation is {photometric[:16] or 'missing'}; MONOCHROME, RGB and YBR are read.",
            )
        samples = 1 if photometric in _MONOCHROME else 3
        _integer(dataset, "SamplesPerPixel", samples, samples, default=samples)
        allocated = _integer(dataset, "BitsAllocated", 8, 16)
        if allocated not in {8, 16}:
            raise UnusableImage("invalid_pixel_attributes", f"Bits Allocated is {allocated}; only 8 and 16 are read.")
        stored = _integer(dataset, "BitsStored", 1, allocated)
        stated = getattr(dataset, "file_meta", None) and dataset.file_meta.get("TransferSyntaxUID")
        # Without file meta information only pydicom knows how it managed to read the dataset.
        as_read = uid.ExplicitVRBigEndian if dataset.original_encoding[1] is False else uid.ExplicitVRLittleEndian
        return cls(
            rows=rows,
            columns=columns,
            samples=samples,
            bits_allocated=allocated,
            bits_stored=stored,
            high_bit=_integer(dataset, "HighBit", stored - 1, allocated - 1, default=stored - 1),
            is_signed=_integer(dataset, "PixelRepresentation", 0, 1, default=0) == 1,
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


def _decode(dataset: Dataset, layout: _Layout) -> npt.NDArray[Any]:
    """Stored values of the first frame, uint8 or uint16, shape (rows, columns); signed ones as two's complement."""
    syntax = layout.transfer_syntax_uid
    data = _value(dataset, "PixelData")
    if not isinstance(data, bytes) or not data:
        raise UnusableImage(
            "no_pixel_data", "The object holds no pixel data: it is no image, or was sent without them."
        )
    planar = layout.samples > 1 and _integer(dataset, "PlanarConfiguration", 0, 1, default=0) == 1
    if syntax in _NATIVE:
        values = _native(data, layout, as_words=dataset["PixelData"].VR == "OW")
        values = _interleave(values, layout) if planar else values.reshape(layout.shape)
    elif syntax in _DECODERS or syntax == uid.RLELossless:
        try:
            frame = get_frame(data, 0, number_of_frames=_integer(dataset, "NumberOfFrames", 1, 2**31, default=1))
        except _PYDICOM_ERRORS as error:
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


def _interleave(planes: npt.NDArray[Any], layout: _Layout) -> npt.NDArray[Any]:
    """Color planes, one after the other, as (rows, columns, samples); grey ones as (rows, columns)."""
    return np.moveaxis(planes.reshape(layout.samples, layout.rows, layout.columns), 0, 2).reshape(layout.shape)


def _native(data: bytes, layout: _Layout, *, as_words: bool) -> npt.NDArray[Any]:
    """Uncompressed values (PS3.5 section 8.1.1, A.1 to A.3)."""
    width = layout.bits_allocated // 8
    needed = layout.count * width
    if len(data) < needed:
        raise _truncated(f"{len(data):,} of {needed:,} bytes arrived")
    if width == 1 and as_words and layout.byte_order == ">":
        data = np.frombuffer(data[: needed + needed % 2], ">u2").astype("<u2").tobytes()
    return np.frombuffer(data, f"{layout.byte_order}u{width}", layout.count)


def _run_lengths(frame: bytes, layout: _Layout) -> npt.NDArray[Any]:
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


def _codestream(frame: bytes, layout: _Layout) -> npt.NDArray[Any]:
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


def _render(
    dataset: Dataset, layout: _Layout, stored: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float32], tuple[QualityNote, ...]]:
    """Stored values as greys, float32 0..1 in the MONOCHROME2 sense, and what had to be guessed on the way."""
    codes = np.arange(2**layout.bits_allocated)
    values = (codes >> (layout.high_bit + 1 - layout.bits_stored)) & (2**layout.bits_stored - 1)
    if layout.samples > 1:
        return _look_up(values / (2**layout.bits_stored - 1), stored), ()
    if layout.is_signed:
        values -= (values >> (layout.bits_stored - 1)) << layout.bits_stored
    padding = _padding(dataset, layout, values)
    values = _modality(dataset, layout, values)
    sample = stored.ravel()[:: max(1, stored.size // _SAMPLED_PIXELS) | 1]
    sample = sample[~padding[sample]]
    notes: tuple[QualityNote, ...] = ()
    greys = _voi(dataset, layout, values)
    if greys is None or not sample.size or np.ptp(greys[sample]) == 0:
        if any(_value(dataset, keyword) for keyword in ("VOILUTSequence", "WindowCenter", "WindowWidth")):
            notes = (QualityNote(code="window_ignored", message="The film's own display window is unusable."),)
        greys = _stretch(values, sample)
        if greys is None and (greys := _stretch(values, stored[~padding[stored]])) is None:
            raise UnusableImage("blank_image", "Every pixel has the same value: the film is blank.")
    if layout.photometric_interpretation == "MONOCHROME1" or "INVERSE" in _texts(
        _value(dataset, "PresentationLUTShape")
    ):
        greys = 1 - greys
    greys[padding] = 0
    return _look_up(greys, stored), notes


def _look_up(table: npt.NDArray[np.float64], stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    greys = table.astype(np.float32)
    pixels = np.empty(stored.shape, np.float32)
    # numpy widens every index to 64 bits: in blocks that stays in the cache, and "wrap" is its fastest bounds check.
    for row in range(0, len(stored), _ROWS_AT_A_TIME):
        block = slice(row, row + _ROWS_AT_A_TIME)
        np.take(greys, stored[block], out=pixels[block], mode="wrap")
    return pixels


def _padding(dataset: Dataset, layout: _Layout, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which stored values are no image: Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2)."""
    value, limit = (_number(_value(dataset, f"PixelPadding{name}")) for name in ("Value", "RangeLimit"))
    if value is None:
        return np.zeros(values.shape, np.bool_)
    bounds = np.array([value, value if limit is None else limit])
    if layout.is_signed:  # some writers store a negative value under the VR US
        bounds[bounds >= 2 ** (layout.bits_allocated - 1)] -= 2**layout.bits_allocated
    return np.asarray((values >= bounds.min()) & (values <= bounds.max()))


def _modality(dataset: Dataset, layout: _Layout, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Stored values in the modality's units: Modality LUT Sequence, or slope and intercept (PS3.3 C.11.1)."""
    if luts := _value(dataset, "ModalityLUTSequence"):
        try:
            return _apply_lut(luts[0], values, layout)[0].astype(np.float64)
        except _PYDICOM_ERRORS as error:
            raise UnusableImage(
                "invalid_modality_lut", "The Modality LUT cannot be read: the greys are unknown."
            ) from error
    stated = (_value(dataset, "RescaleSlope"), _value(dataset, "RescaleIntercept"))
    slope, intercept = (
        default if value in _EMPTY else _number(value) for value, default in zip(stated, (1.0, 0.0), strict=True)
    )
    if not slope or intercept is None:
        raise UnusableImage("invalid_rescale", "Rescale Slope or Intercept is no usable number: the greys are unknown.")
    return values * slope + intercept


def _voi(dataset: Dataset, layout: _Layout, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Greys 0..1 by the first VOI LUT, else by the first window (PS3.3 C.11.2); None where neither is usable."""
    if luts := _value(dataset, "VOILUTSequence"):
        with suppress(*_PYDICOM_ERRORS):
            greys, bits = _apply_lut(luts[0], values, layout)
            return np.asarray(greys / (2**bits - 1))
    center, width = _number(_value(dataset, "WindowCenter")), _number(_value(dataset, "WindowWidth"))
    function = (*_texts(_value(dataset, "VOILUTFunction")), "LINEAR")[0]
    least = 1 if function == "LINEAR" else 1 / _LARGEST_VALUE
    if center is None or width is None or not least <= width <= _LARGEST_VALUE:
        return None
    if function == "SIGMOID":
        return np.asarray(0.5 + 0.5 * np.tanh(2 * (values - center) / width))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float64)
    return np.asarray(np.clip((values - center) / width + 0.5, 0, 1))


def _apply_lut(item: Dataset, values: npt.NDArray[Any], layout: _Layout) -> tuple[npt.NDArray[Any], int]:
    """Values through the LUT of one sequence item (PS3.3 C.11.1.1.1, C.11.2.1.1), and the bits of its entries."""
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries % 2**16 or 2**16
    data = item["LUTData"].value
    if isinstance(data, bytes):
        data = np.frombuffer(data, "u1" if len(data) < 2 * entries else f"{layout.byte_order}u2")
    table = np.atleast_1d(np.asarray(data, dtype=np.int64))[:entries]
    if table.size < entries or not 1 <= bits <= 16 or table.max() >= 2**bits:  # noqa: PLR2004 - bits of an entry
        raise ValueError(f"{table.size} entries do not match the descriptor {item.LUTDescriptor}")
    return table[np.clip(np.rint(values) - first, 0, entries - 1).astype(np.int64)], bits


def _stretch(values: npt.NDArray[np.float64], stored: npt.NDArray[Any]) -> npt.NDArray[np.float64] | None:
    """Greys 0..1 over the robust range of the values that occur, else over their full range; None if all are one."""
    seen = values[stored]
    for percentiles in (_ROBUST_PERCENTILES, (0, 100)):
        low, high = np.percentile(seen, percentiles) if seen.size else (0, 0)
        if low < high:
            return np.asarray(np.clip((values - low) / (high - low), 0, 1))
    return None


def _judge(dataset: Dataset, pixels: npt.NDArray[np.float32]) -> Iterator[QualityNote]:
    """What a reader should know about this film before trusting a score."""
    rows, columns = pixels.shape
    if min(rows, columns) < _LOW_RESOLUTION_PX:
        yield QualityNote(code="low_resolution", message=f"The film has only {columns} x {rows} pixels.")
    sample = pixels[:: max(1, rows // 256), :: max(1, columns // 256)]
    if np.ptp(np.percentile(sample, (5, 95))) < _LOW_CONTRAST:
        yield QualityNote(code="low_contrast", message="The film shows hardly any contrast.")
    if np.mean((sample <= 0) | (sample >= 1)) > _CUT_OFF_SHARE:
        yield QualityNote(code="cut_off_greys", message="More than half of the film is plain black or plain white.")
    side = patient_side(_value(dataset, "PatientOrientation"))
    if side is None:
        yield QualityNote(code=TURNED_FILM, message="The film is turned, so sides are not told.")
    elif side is Side.LEFT:
        yield QualityNote(code=MIRRORED_FILM, message="The film is mirrored: the patient's left is at its left edge.")


def _reference(dataset: Dataset, layout: _Layout) -> ImageReference:
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
    study, series, sop_class, sop_instance = (str(_value(dataset, keyword) or "").strip() for keyword in keywords)
    if not (study and series and sop_class and sop_instance):
        raise UnusableImage(
            "missing_identifier", f"The image lacks one of {', '.join(keywords)}: no result could name it."
        )
    return ImageReference(
        study_instance_uid=study,
        series_instance_uid=series,
        sop_class_uid=sop_class,
        sop_instance_uid=sop_instance,
        rows=layout.rows,
        columns=layout.columns,
    )


def _value(dataset: Dataset, keyword: str) -> Any:  # noqa: ANN401 - as many types as DICOM has VRs
    try:
        return dataset.get(keyword)
    except _PYDICOM_ERRORS as error:
        raise UnusableImage("invalid_pixel_attributes", f"The image's {keyword} cannot be read.") from error


def _integer(dataset: Dataset, keyword: str, low: int, high: int, *, default: int | None = None) -> int:
    value = _value(dataset, keyword)
    if value in _EMPTY and default is not None:
        return default
    number = _number(value)
    if number is None or not number.is_integer() or not low <= number <= high:
        stated = "missing" if value in _EMPTY else str(value)[:32]
        raise UnusableImage("invalid_pixel_attributes", f"{keyword} is {stated}; it must be from {low} to {high}.")
    return int(number)


def _number(value: object) -> float | None:
    """The first number of a value of any multiplicity; None where it is none, or beyond any sensible value."""
    first = value[0] if isinstance(value, Sequence) and not isinstance(value, str) and value else value
    try:
        number = float(first)  # type: ignore[arg-type]  # that this may fail is the point
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= _LARGEST_VALUE else None


def _texts(value: object) -> list[str]:
    """A value of any multiplicity as upper-case words."""
    values = value.split("\\") if isinstance(value, str) else value if isinstance(value, Sequence) else ()
    return [str(text).strip().upper() for text in values]


def _truncated(what: str) -> UnusableImage:
    return UnusableImage("pixel_data_truncated", f"The pixel data are incomplete ({what}); send the image again.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence pydicom's warnings about elements that do not matter here; those that do are checked, and raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield

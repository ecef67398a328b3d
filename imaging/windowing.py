"""Stored values to greys, as a radiologist sees them.

Whatever PS3.3 C.11 asks between a stored value and its grey (unused bits, sign, modality LUT, VOI LUT or window,
inversion, padding) is computed once per possible value, in float64, into one table of at most 65,536 greys. The
millions of pixels then cost a single lookup, so a sigmoid window takes no longer than a linear one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from imaging.decoding import PixelLayout
from imaging.elements import EMPTY, LARGEST_VALUE, PYDICOM_ERRORS, first_number, read_value, upper_words
from worklist.errors import UnusableImage
from worklist.finding import QualityNote

_ROBUST_PERCENTILES = (0.5, 99.5)
_SAMPLED_PIXELS = 100_000
_ROWS_AT_A_TIME = 128


def render(
    dataset: Dataset, layout: PixelLayout, stored: npt.NDArray[Any]
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
        if any(read_value(dataset, keyword) for keyword in ("VOILUTSequence", "WindowCenter", "WindowWidth")):
            notes = (QualityNote(code="window_ignored", message="The film's own display window is unusable."),)
        greys = _stretch(values, sample)
        if greys is None and (greys := _stretch(values, stored[~padding[stored]])) is None:
            raise UnusableImage("blank_image", "Every pixel has the same value: the film is blank.")
    if layout.photometric_interpretation == "MONOCHROME1" or "INVERSE" in upper_words(
        read_value(dataset, "PresentationLUTShape")
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


def _padding(dataset: Dataset, layout: PixelLayout, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which stored values are no image: Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2)."""
    value, limit = (first_number(read_value(dataset, f"PixelPadding{name}")) for name in ("Value", "RangeLimit"))
    if value is None:
        return np.zeros(values.shape, np.bool_)
    bounds = np.array([value, value if limit is None else limit])
    if layout.is_signed:  # some writers store a negative value under the VR US
        bounds[bounds >= 2 ** (layout.bits_allocated - 1)] -= 2**layout.bits_allocated
    return np.asarray((values >= bounds.min()) & (values <= bounds.max()))


def _modality(dataset: Dataset, layout: PixelLayout, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Stored values in the modality's units: Modality LUT Sequence, or slope and intercept (PS3.3 C.11.1)."""
    if luts := read_value(dataset, "ModalityLUTSequence"):
        try:
            return _apply_lut(luts[0], values, layout)[0].astype(np.float64)
        except PYDICOM_ERRORS as error:
            raise UnusableImage(
                "invalid_modality_lut", "The Modality LUT cannot be read: the greys are unknown."
            ) from error
    stated = (read_value(dataset, "RescaleSlope"), read_value(dataset, "RescaleIntercept"))
    slope, intercept = (
        default if value in EMPTY else first_number(value) for value, default in zip(stated, (1.0, 0.0), strict=True)
    )
    if not slope or intercept is None:
        raise UnusableImage("invalid_rescale", "Rescale Slope or Intercept is no usable number: the greys are unknown.")
    return values * slope + intercept


def _voi(dataset: Dataset, layout: PixelLayout, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Greys 0..1 by the first VOI LUT, else by the first window (PS3.3 C.11.2); None where neither is usable."""
    if luts := read_value(dataset, "VOILUTSequence"):
        with suppress(*PYDICOM_ERRORS):
            greys, bits = _apply_lut(luts[0], values, layout)
            return np.asarray(greys / (2**bits - 1))
    center, width = first_number(read_value(dataset, "WindowCenter")), first_number(read_value(dataset, "WindowWidth"))
    function = (*upper_words(read_value(dataset, "VOILUTFunction")), "LINEAR")[0]
    least = 1 if function == "LINEAR" else 1 / LARGEST_VALUE
    if center is None or width is None or not least <= width <= LARGEST_VALUE:
        return None
    if function == "SIGMOID":
        return np.asarray(0.5 + 0.5 * np.tanh(2 * (values - center) / width))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float64)
    return np.asarray(np.clip((values - center) / width + 0.5, 0, 1))


def _apply_lut(item: Dataset, values: npt.NDArray[Any], layout: PixelLayout) -> tuple[npt.NDArray[Any], int]:
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

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

from imaging.color import palette
from imaging.decoding import PixelLayout, Stored
from imaging.elements import EMPTY, LARGEST_VALUE, PYDICOM_ERRORS, first_number, read_value, upper_words
from imaging.stored_bits import Meaning, Reading, decide
from worklist.errors import UnusableImage
from worklist.finding import CONTRADICTORY_HEADER, QualityNote

_ROBUST_PERCENTILES = (0.5, 99.5)
_SAMPLED_PIXELS = 100_000
_ROWS_AT_A_TIME = 128
_CLEARLY_MORE = 0.7  # bits of entropy of the greys
_FILLED = 0.97  # of the range of so many bits, from which on a LUT is taken to use just these
_LEAST_LUT_BITS = 6  # a LUT of fewer greys says nothing of its entries

LEAST_SHOWN = 1e-9
"""Between the darkest and the brightest grey that a window gives, of 0..1: less is a rounded nothing, not a picture."""

Greys = npt.NDArray[np.float32]


def render(dataset: Dataset, layout: PixelLayout, stored: Stored) -> tuple[Greys, tuple[QualityNote, ...]]:
    """Stored words as greys, float32 0..1 in the MONOCHROME2 sense, and what had to be guessed on the way.

    Raises:
        UnusableImage: invalid_modality_lut, invalid_rescale, invalid_palette or blank_image.
    """
    words, codes = stored.words, np.arange(2**stored.bits.container)
    if layout.samples > 1:
        largest = 2 ** min(stored.bits.precision or stored.bits.stored, stored.bits.container) - 1
        return _look_up(np.minimum(codes / largest, 1), words), ()
    meaning = decide(stored.bits, words)
    values = meaning.reading.values(codes)
    if layout.photometric_interpretation == "PALETTE COLOR":
        return _look_up(palette(dataset, values, layout.byte_order), words), ()
    padding = _padding(dataset, meaning.reading, values)
    sample = words.ravel()[:: max(1, words.size // _SAMPLED_PIXELS) | 1]
    sample = sample[~padding[sample]]
    greys, said = _shown(dataset, layout, meaning, values, sample)
    notes = [] if said is None else [QualityNote(code=CONTRADICTORY_HEADER, message=said)]
    if greys is None or not sample.size or np.ptp(greys[sample]) < LEAST_SHOWN:
        if any(read_value(dataset, keyword) for keyword in ("VOILUTSequence", "WindowCenter", "WindowWidth")):
            notes.append(QualityNote(code="window_ignored", message="The film's own display window is unusable."))
        modality = _modality(dataset, layout, values)
        greys = _stretch(modality, sample)
        if greys is None and (greys := _stretch(modality, words[~padding[words]])) is None:
            raise UnusableImage("blank_image", "Every pixel has the same value: the film is blank.")
    if layout.photometric_interpretation == "MONOCHROME1" or "INVERSE" in upper_words(
        read_value(dataset, "PresentationLUTShape")
    ):
        greys = 1 - greys
    greys[padding] = 0
    return _look_up(greys, words), tuple(notes)


def _shown(
    dataset: Dataset, layout: PixelLayout, meaning: Meaning, values: npt.NDArray[np.int64], sample: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64] | None, str | None]:
    """Greys of all values by the film's own LUT or window, and what of the header had to be contradicted for them.

    Where header and codestream differ in their bits, nobody knows in which of the two units the window is: it is the
    one in which more of the film's greys are told apart.
    """
    contradictions = list(meaning.contradictions)
    best: npt.NDArray[np.float64] | None = None
    most, said = -1.0, None
    units = [(scale, 0) for scale in meaning.scales] + [(1.0, offset) for offset in meaning.offsets[1:]]
    for scale, offset in units:
        greys, why = _voi(dataset, layout, _modality(dataset, layout, values / scale + offset))
        if greys is None:
            continue
        told = _told_apart(greys[sample]) if len(units) > 1 and sample.size else 0.0
        if told > most + (_CLEARLY_MORE if best is not None else 0.0):
            best, most, said = greys, told, why
            rescaled = (scale, offset) != (1.0, 0)
    if best is not None and rescaled and not contradictions:
        contradictions.append("its window is in other units than its pixels, and was applied in those of Bits Stored")
    contradictions += [said] if said else []
    if not contradictions:
        return best, None
    return best, f"The film's header contradicts its pixels: {'; '.join(contradictions)}."


def _told_apart(greys: npt.NDArray[np.float64]) -> float:
    """Entropy of greys, in bits, of 32 shades."""
    shares = np.bincount(np.minimum(greys * 32, 31).astype(np.int64), minlength=32) / greys.size
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def _look_up(table: npt.NDArray[np.float64], stored: npt.NDArray[Any]) -> Greys:
    greys = table.astype(np.float32)
    pixels = np.empty(stored.shape, np.float32)
    # numpy widens every index to 64 bits: in blocks that stays in the cache, and "wrap" is its fastest bounds check.
    for row in range(0, len(stored), _ROWS_AT_A_TIME):
        block = slice(row, row + _ROWS_AT_A_TIME)
        np.take(greys, stored[block], out=pixels[block], mode="wrap")
    return pixels


def _padding(dataset: Dataset, reading: Reading, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which stored values are no image: Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2)."""
    value, limit = (first_number(read_value(dataset, f"PixelPadding{name}")) for name in ("Value", "RangeLimit"))
    if value is None:
        return np.zeros(values.shape, np.bool_)
    bounds = np.array([value, value if limit is None else limit])
    if reading.is_signed:  # some writers store a negative value under the VR US
        bounds[bounds >= values.size / 2] -= values.size
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


def _voi(
    dataset: Dataset, layout: PixelLayout, values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64] | None, str | None]:
    """Greys 0..1 by the first VOI LUT, else by the first window (PS3.3 C.11.2); None where neither is usable.

    With them comes what of the LUT's descriptor its data contradict.
    """
    if luts := read_value(dataset, "VOILUTSequence"):
        with suppress(*PYDICOM_ERRORS):
            greys, stated, used = _apply_lut(luts[0], values, layout)
            said = f"its VOI LUT says {stated} bits an entry, but its entries have {used}" if used != stated else None
            return np.asarray(greys / (2**used - 1)), said
    return _window(dataset, values), None


def _window(dataset: Dataset, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Greys 0..1 by the first window; None where it is none, or not usable."""
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


def _apply_lut(item: Dataset, values: npt.NDArray[Any], layout: PixelLayout) -> tuple[npt.NDArray[Any], int, int]:
    """Values through the LUT of one sequence item (PS3.3 C.11.1.1.1, C.11.2.1.1).

    Returns:
        The entries, the bits of one by the descriptor, and the bits that they have: some plate readers state the
        size of a stored entry, and viewers go by the data.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries % 2**16 or 2**16
    data = item["LUTData"].value
    if isinstance(data, bytes):
        data = np.frombuffer(data, "u1" if len(data) < 2 * entries else f"{layout.byte_order}u2")
    table = np.atleast_1d(np.asarray(data, dtype=np.int64))[:entries]
    if table.size < entries or not 1 <= bits <= 16 or table.min() < 0:  # noqa: PLR2004 - bits of an entry
        raise ValueError(f"{table.size} entries do not match the descriptor {item.LUTDescriptor}")
    highest = int(table.max())
    used = max(1, highest.bit_length())
    is_full = highest >= _FILLED * (2**used - 1)
    narrower = used < bits - 1 or (used < bits and is_full)
    return (
        table[np.clip(np.rint(values) - first, 0, entries - 1).astype(np.int64)],
        bits,
        (used if used > bits or (narrower and used >= _LEAST_LUT_BITS) else bits),
    )


def _stretch(values: npt.NDArray[np.float64], stored: npt.NDArray[Any]) -> npt.NDArray[np.float64] | None:
    """Greys 0..1 over the robust range of the values that occur, else over their full range; None if all are one."""
    seen = values[stored]
    for percentiles in (_ROBUST_PERCENTILES, (0, 100)):
        low, high = np.percentile(seen, percentiles) if seen.size else (0, 0)
        if low < high:
            return np.asarray(np.clip((values - low) / (high - low), 0, 1))
    return None

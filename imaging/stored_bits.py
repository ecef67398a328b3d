"""What the stored bits mean: the codestream first, the header second, the values third.

Headers lie about it: a High Bit that no value reaches, a sign that the values do not have, fewer Bits Stored than are
used. Two readings of the same bits differ only where neighboring pixels fall on both sides of a wrap, and there the
right one is smooth and the wrong one jumps by the whole range. So a header's reading is kept unless the film itself,
on rows spread over it, speaks clearly against it; what is then done is said in a note.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

_SAMPLED_ROWS = 48
_LEAST_PAIRS = 12  # of neighboring pixels on both sides of a wrap
_CLEARLY = 3.0  # how much rougher a reading is at its wraps than the one that is taken instead
_OVERSHOOT = 0.01  # of the pixels may be too large for Bits Stored, as lossy compression leaves them
_DRAWN = 8.0  # how much rougher a film becomes with the bits above, if these are no part of it but drawn over it

Codes = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How a stored word becomes a value.

    Attributes:
        shift: bits below the value.
        bits: bits of the value.
        is_signed: whether its highest bit is the sign.
    """

    shift: int
    bits: int
    is_signed: bool

    def values(self, codes: Codes) -> npt.NDArray[np.int64]:
        """The values of stored words."""
        values: npt.NDArray[np.int64] = (codes.astype(np.int64) >> self.shift) & (2**self.bits - 1)
        return values - ((values >> (self.bits - 1)) << self.bits) if self.is_signed else values


@dataclass(frozen=True, kw_only=True, slots=True)
class Bits:
    """What is known of the stored bits before any pixel is looked at.

    Attributes:
        container: bits of a stored word, 8 or 16.
        stored: Bits Stored (0028,0101).
        high_bit: High Bit (0028,0102).
        is_signed: Pixel Representation (0028,0103).
        precision: bits of a sample by the codestream; None without one.
        is_stream_signed: whether the codestream says that its samples are signed.
        has_overlay: whether the header places an overlay in the bits above (PS3.3 C.9.2, retired).
    """

    container: int
    stored: int
    high_bit: int
    is_signed: bool
    precision: int | None = None
    is_stream_signed: bool = False
    has_overlay: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """What the stored bits mean.

    Attributes:
        reading: of a stored word.
        scales: what a value may have to be divided by to be in the units of the header's window; 1 first.
        offsets: what may have to be added to it; 0 first.
        contradictions: what of the header the film contradicts, each a sentence.
    """

    reading: Reading
    scales: tuple[float, ...] = (1.0,)
    offsets: tuple[int, ...] = (0,)
    contradictions: tuple[str, ...] = ()


def decide(bits: Bits, words: Codes) -> Meaning:
    """What the stored bits of an image mean.

    Args:
        bits: what header and codestream state.
        words: unsigned, (rows, columns).
    """
    rows = words[:: max(1, len(words) // _SAMPLED_ROWS)]
    top = int(rows.max())
    if bits.is_stream_signed:
        return _signed_stream(bits)
    meaning = _place(bits, rows, top)
    if bits.stored < bits.container and top >> meaning.reading.shift >> bits.stored:
        meaning = _width(bits, rows, top, meaning)
    meaning = _sign(bits, rows, meaning)
    if bits.precision and bits.precision < bits.stored:
        scale = 2.0 ** (bits.precision - bits.stored)
        meaning = replace(meaning, scales=(*meaning.scales, scale))
    return meaning


def _signed_stream(bits: Bits) -> Meaning:
    reading = Reading(shift=0, bits=bits.container, is_signed=True)  # the decoder has extended the sign
    if bits.is_signed:
        return Meaning(reading=reading)
    return Meaning(
        reading=reading,
        offsets=(0, 2 ** (bits.stored - 1)),
        contradictions=("its Pixel Representation says unsigned, but its codestream is signed and was read so",),
    )


def _place(bits: Bits, rows: Codes, top: int) -> Meaning:
    """Where in the word the value lies."""
    shift = bits.high_bit + 1 - bits.stored
    low = Reading(shift=0, bits=min(bits.stored, bits.precision or bits.container), is_signed=bits.is_signed)
    if shift == 0:
        return Meaning(reading=low)
    says = f"its High Bit {bits.high_bit} does not go with {bits.stored} Bits Stored"
    if shift < 0 or bits.high_bit >= min(bits.container, bits.precision or bits.container):
        return Meaning(reading=low, contradictions=(f"{says}, and its values were read from bit 0 on",))
    is_low = top < 2**bits.stored and bool(np.bitwise_or.reduce(rows, axis=None) & (2**shift - 1))
    if is_low:
        why = f"its High Bit is {bits.high_bit}, but its values lie in the low {bits.stored} bits and were read there"
        return Meaning(reading=low, contradictions=(why,))
    return Meaning(reading=replace(low, shift=shift, bits=bits.stored))


def _width(bits: Bits, rows: Codes, top: int, meaning: Meaning) -> Meaning:
    """Whether bits above Bits Stored belong to the values, as in a film of more bits, or not, as an overlay's."""
    stated = meaning.reading
    if stated.shift:
        return meaning
    whole = Reading(shift=0, bits=bits.container, is_signed=stated.is_signed)
    left, right = _neighbors(rows)
    differ = (left >> bits.stored) != (right >> bits.stored)
    left, right = left[differ], right[differ]
    jumps, smooth = (_roughness(one, left, right) for one in (stated, whole))
    if stated.is_signed and jumps == smooth:  # the sign is extended
        return meaning
    if bits.has_overlay or (_DRAWN * jumps < smooth and left.size >= _LEAST_PAIRS):
        return meaning
    used = top.bit_length()
    if bits.precision and used > bits.precision - 2:  # a film need not reach the top of its range
        used = bits.precision
    why = f"it says {bits.stored} Bits Stored, but its values have {used} bits, and all were read"
    if float(np.mean(rows >= 2**bits.stored)) < _OVERSHOOT:
        return replace(meaning, reading=whole)
    return Meaning(
        reading=whole,
        scales=(1.0, 2.0 ** (used - bits.stored)),
        contradictions=(*meaning.contradictions, why),
    )


def _sign(bits: Bits, rows: Codes, meaning: Meaning) -> Meaning:
    """Whether the highest bit is a sign: values that run through the middle of the range are unsigned."""
    stated = meaning.reading
    half = 1 << (stated.shift + stated.bits - 1)
    upper = (rows & half) != 0
    places = np.flatnonzero(upper[:, 2:-1] != upper[:, 1:-2])
    if places.size < _LEAST_PAIRS:
        return meaning
    row, column = np.divmod(places, rows.shape[1] - 3)
    before, left, right, behind = (rows[row, column + step] for step in range(4))
    inside = (before != left) & (right != behind)  # an edge of a plain area tells nothing
    left, right = left[inside], right[inside]
    if left.size < _LEAST_PAIRS:
        return meaning
    other = replace(stated, is_signed=not stated.is_signed)
    if _roughness(stated, left, right) < _CLEARLY * _roughness(other, left, right):
        return meaning
    if other.is_signed and not _meets_at_zero(stated, left, right):
        return meaning
    words = ("signed", "unsigned") if stated.is_signed else ("unsigned", "signed")
    middle = 2 ** (bits.stored - 1)
    return replace(
        meaning,
        reading=other,
        offsets=(0, middle if other.is_signed else -middle),
        contradictions=(
            *meaning.contradictions,
            f"its Pixel Representation says {words[0]}, but its values run on smoothly only as {words[1]} ones",
        ),
    )


def _meets_at_zero(unsigned: Reading, left: Codes, right: Codes) -> bool:
    """Whether neighbors across the middle lie just below and just above zero, were they signed."""
    other = replace(unsigned, is_signed=True)
    far = np.abs(other.values(left)) + np.abs(other.values(right))
    return bool(np.median(far) < 2**unsigned.bits / 16)


def _neighbors(rows: Codes) -> tuple[Codes, Codes]:
    return rows[:, :-1].ravel(), rows[:, 1:].ravel()


def _roughness(reading: Reading, left: Codes, right: Codes) -> int:
    return int(np.abs(reading.values(left) - reading.values(right)).sum())

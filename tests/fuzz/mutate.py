"""Valid inputs made odd: octets of any kind, the elements of a DICOM file, and JSON values.

Each function draws all it does from the generator that it is given, so that a seed makes the same input anywhere.
"""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydicom.filereader import data_element_generator
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

_LONG_VRS: Final = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_OTHERWISE: Final = {ExplicitVRBigEndian.encode(), DeflatedExplicitVRLittleEndian.encode()}
_LONGEST: Final = 300_000  # octets of an input: more find nothing that fewer do not
_OCTETS: Final = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\\",
    b"\x1b$B",
    b"\r\n",
    b"\xfe\xff\x00\xe0",
    b"%",
    b'"',
    b"{",
    b"--",
)
_VALUES: Final = (
    *(b"", b" ", b"\0\0", b"\xff" * 2, b"\xff" * 4, b"\0\0\0\0", b"\x01\0", b"\0\x80", b"\x00\x00\x80\x7f"),
    *(b"NaN ", b"INF ", b"-0", b"1e309 ", b"-1", b"0", b"1", b"65535", b"99999999999999999999", b"1\\2\\3 "),
    *(b"0.0001\\10000 ", b"ISO_IR 192", b"ISO 2022 IR 87", b"ISO 2022 IR 6\\ISO 2022 IR 149 ", b"\x1b$B\x1b(J"),
    *(b"00000000", b"99991231", b"20260230", b"000Y", b"999D", b"1.2.a.", b"RGB ", b"PALETTE COLOR ", b"\xc3\x28"),
    *("Żółw^李=\ud7ff".encode(), b"A" * 64, b"A" * 1026, b"\\" * 100, b"^=" * 50),
)
_VRS: Final = tuple(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT ZZ \0\0".split(b" ")
)
_ODD: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "0", "x", "\0", "\ud800", "A" * 3000, "20261301T999999", "ä" * 20, [], {}, [[]], [None], {"": ""}),
)


def octets(chance: random.Random, valid: Sequence[bytes]) -> bytes:
    """One of some valid inputs with one to eight changes that know nothing of its kind."""
    data = bytearray(chance.choice(valid))
    for _ in range(1 << chance.randrange(4)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0 if place < len(data):
                data[place] ^= 1 << chance.randrange(8)
            case 1 if place < len(data):
                data[place] = chance.randrange(256)
            case 2:
                data[place:place] = chance.choice(_OCTETS) * chance.randrange(1, 4)
            case 3:
                del data[place : place + chance.choice((1, 2, 4, 100))]
            case 4:
                del data[place:]
            case 5:
                other = chance.choice(valid)
                cut = chance.randrange(len(other) + 1)
                data[place : place + chance.choice((0, 8, 1000))] = other[cut : cut + chance.choice((4, 64, 4096))]
            case _:
                number = chance.choice((0, 1, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1))
                data[place : place + 4] = struct.pack(chance.choice("<>") + "I", number)
    return bytes(data[:_LONGEST])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Element:
    """Where an element of the file lies, and where its value begins."""

    begin: int
    value: int
    end: int
    is_explicit: bool


def dicom(chance: random.Random, valid: Sequence[bytes]) -> bytes:
    """One of some Part 10 files whose elements are changed, moved, doubled or left out; now and then any octets."""
    if not chance.randrange(4):
        return octets(chance, valid)
    data = chance.choice(valid)
    elements = _elements(data)
    chosen = {place: data[one.begin : one.end] for place, one in enumerate(elements)}
    for _ in range(1 << chance.randrange(4)):
        place = chance.randrange(len(elements))
        one = elements[place]
        match chance.randrange(8):
            case 0:
                chosen[place] = b""
            case 1:
                chosen[place] *= 2
            case 2:
                other = chance.choice(valid)
                found = chance.choice(_elements(other))
                chosen[place] += other[found.begin : found.end]
            case 3 if one.is_explicit:
                changed = bytearray(chosen[place])
                changed[4:6] = chance.choice(_VRS)
                chosen[place] = bytes(changed)
            case 4:
                chosen[place] = octets(chance, [chosen[place] or b"\0"])
            case 5:
                there = chance.randrange(len(elements))
                chosen[place], chosen[there] = chosen[there], chosen[place]
            case _:
                chosen[place] = _with_value(data, one, chance.choice(_VALUES))
    head = data[: elements[0].begin]
    return (head + b"".join(chosen[place] for place in range(len(elements))))[:_LONGEST]


def _with_value(data: bytes, one: _Element, value: bytes) -> bytes:
    """The element with another value and the length of that."""
    value += b" " * (len(value) % 2)
    head = bytearray(data[one.begin : one.value])
    if one.is_explicit and bytes(head[4:6]) not in _LONG_VRS:
        head[6:8] = struct.pack("<H", len(value) & 0xFFFF)
    else:
        head[-4:] = struct.pack("<I", len(value))
    return bytes(head) + value


@lru_cache(maxsize=256)
def _elements(data: bytes) -> tuple[_Element, ...]:
    """The elements of a file's data set in little endian; a single one of it all where it is in another encoding."""
    begin = data.index(b"DICM") + 4
    meta = _read(data, begin, is_explicit=True, is_meta=True)
    syntax = next(data[one.value : one.end] for one in meta if data[one.begin : one.begin + 4] == b"\2\0\x10\0")
    syntax, begin = syntax.rstrip(b"\0"), meta[-1].end
    if syntax in _OTHERWISE:
        return (*meta, _Element(begin=begin, value=begin, end=len(data), is_explicit=False))
    return (*meta, *_read(data, begin, is_explicit=syntax != ImplicitVRLittleEndian.encode(), is_meta=False))


def _read(data: bytes, begin: int, *, is_explicit: bool, is_meta: bool) -> list[_Element]:
    stream = io.BytesIO(data)
    stream.seek(begin)
    found = []
    for element in data_element_generator(stream, is_implicit_VR=not is_explicit, is_little_endian=True):
        if is_meta and element.tag.group != 2:
            break
        end = stream.tell()
        value = getattr(element, "value_tell", begin + 12)  # a sequence of undefined length is read as a whole
        found.append(_Element(begin=begin, value=value, end=end, is_explicit=is_explicit))
        begin = end
    return found


def values(chance: random.Random, valid: Sequence[Any]) -> bytes:
    """A JSON document with one to four odd values, members that are gone or doubled; now and then any octets."""
    text = json.dumps(chance.choice(valid)).encode()
    if not chance.randrange(4):
        return octets(chance, [text])
    document = json.loads(text)
    for _ in range(1 << chance.randrange(3)):
        document = _changed(chance, document)
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _changed(chance: random.Random, value: Any) -> Any:  # noqa: ANN401, PLR0911 - JSON
    if isinstance(value, dict) and value and chance.randrange(6):
        name = chance.choice(list(value))
        match chance.randrange(5):
            case 0:
                return {key: held for key, held in value.items() if key != name}
            case 1:
                return {**value, chance.choice(("", "Seq", "\0", "x" * 500)): chance.choice(_ODD)}
            case _:
                return {**value, name: _changed(chance, value[name])}
    if isinstance(value, list) and value and chance.randrange(6):
        place = chance.randrange(len(value))
        match chance.randrange(5):
            case 0:
                return [*value[:place], *value[place + 1 :]]
            case 1:
                return value * chance.choice((2, 3))
            case _:
                return [*value[:place], _changed(chance, value[place]), *value[place + 1 :]]
    return chance.choice(_ODD)

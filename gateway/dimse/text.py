"""Text of identifiers, between bytes and characters (PS3.5 section 6.1.2), without guessing and without loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import pack
from typing import Final

from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.valuerep import PersonName

from gateway.dimse.statuses import BAD_VALUE, Refusal

CHARACTER_SET_TAG: Final = 0x00080005
_UNICODE: Final = ("ISO_IR 192",)
_DELIMITERS: Final = frozenset(b"\\^=")
_IN_CHARACTER_SET: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # PS3.5 section 6.1.2.3
_ESCAPE: Final = "\x1b"

Values = Mapping[int, tuple[str, str]]
"""VR and text by tag, multiple values joined by backslashes."""


def character_sets(stated: bytes) -> Sequence[str]:
    """The defined terms of a Specific Character Set; () where it states none.

    Raises:
        Refusal: one of them is none.
    """
    terms = [term.strip() for term in stated.decode("ascii", "replace").strip(" \0").split("\\")]
    if not any(terms):
        return ()
    unknown = [term for term in terms if term not in python_encoding]
    if unknown or (len(terms) > 1 and any(term in {"ISO_IR 192", "GB18030", "GBK"} for term in terms)):
        raise Refusal(BAD_VALUE, "SpecificCharacterSet is none of DICOM's", CHARACTER_SET_TAG)
    return terms


def decoded(value: bytes, sets: Sequence[str], tag: int) -> str:
    """The text of a value; one that states no character set is taken for UTF-8, of which ASCII is a part.

    Raises:
        Refusal: it is not in the stated character sets.
    """
    try:
        if value.isascii() and b"\x1b" not in value:
            return value.decode("ascii")
        if not sets:
            return value.decode()
        if len(sets) == 1:
            return value.decode(convert_encodings(list(sets))[0])
        text = decode_bytes(value, convert_encodings(list(sets)), set(_DELIMITERS))
        if "�" not in text and _ESCAPE not in text:
            return text
    except (UnicodeError, LookupError, Warning):
        pass
    raise Refusal(BAD_VALUE, "a value is not in the stated SpecificCharacterSet", tag)


def encoded(values: Values, sets: Sequence[str], *, is_implicit: bool) -> bytes:
    """A data set in little endian, in the character set that was asked in, or else in Unicode.

    pydicom would take twenty times as long, most of it to check values that are told as the PACS has them.

    Args:
        values: what is told; the element of the character set is added.
        sets: as the request stated them; () for ASCII.
        is_implicit: whether VRs are left out.
    """
    try:
        parts = {tag: (vr, _bytes(vr, text, sets)) for tag, (vr, text) in values.items()}
        used = sets
    except (UnicodeError, LookupError, Warning):
        parts = {tag: (vr, _bytes(vr, text, _UNICODE)) for tag, (vr, text) in values.items()}
        used = _UNICODE
    if used:
        parts[CHARACTER_SET_TAG] = ("CS", "\\".join(used).encode("ascii"))
    return b"".join(_element(tag, vr, part, is_implicit=is_implicit) for tag, (vr, part) in sorted(parts.items()))


def _bytes(vr: str, text: str, sets: Sequence[str]) -> bytes:
    if text.isascii():
        return text.encode("ascii")
    if vr not in _IN_CHARACTER_SET:
        return text.encode("ascii", "replace")
    encodings = convert_encodings(list(sets)) if sets else ["ascii"]
    if len(encodings) == 1:
        return text.encode(encodings[0])
    names = [PersonName(name).encode(encodings) if name else b"" for name in text.split("\\")]
    written = b"\\".join(map(bytes, names))
    if decode_bytes(written, encodings, set(_DELIMITERS)) != text:
        raise UnicodeError(f"{sets} do not hold it")
    return written


def _element(tag: int, vr: str, value: bytes, *, is_implicit: bool) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    head = pack("<HH", tag >> 16, tag & 0xFFFF)
    if is_implicit:
        return head + pack("<L", len(value)) + value
    return head + vr.encode("ascii") + pack("<H", min(len(value), 0xFFFE)) + value[:0xFFFE]

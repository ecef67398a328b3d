"""Octets of a DICOM text as the characters that were most likely meant, whatever Specific Character Set says.

A header's own word is taken (PS3.3 section C.12.1.1.2), misspelled terms included. Three common mistakes are put right:
UTF-8 or Latin-1 where no character set is named, UTF-8 under the name of Latin-1, and Latin-1 under that of UTF-8.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

from imaging.elements import quiet

_ESCAPE: Final = b"\x1b"
_UTF_8: Final = "utf-8"
_LATIN: Final = {_UTF_8, "iso8859-1", "ascii"}  # and none, which pydicom takes for Latin-1


def decoded(octets: bytes, vr: str, character_set: Sequence[str]) -> str:
    """The text of some octets; letters that cannot be told become replacement characters, and none is left out.

    Args:
        octets: as they stand in the file, padding included.
        vr: the value representation.
        character_set: the terms of Specific Character Set (0008,0005); empty where it is absent.
    """
    if octets.isascii() and _ESCAPE not in octets:
        return octets.decode("ascii")
    encodings = encodings_of(tuple(character_set))
    if len(encodings) == 1 and codecs.lookup(encodings[0]).name in _LATIN:
        try:
            return octets.decode(_UTF_8)
        except UnicodeDecodeError:
            return octets.decode("latin-1")
    with quiet():
        if vr == "PN":
            return str(PersonName(octets, encodings))
        return decode_bytes(octets, encodings, TEXT_VR_DELIMS)


@lru_cache
def encodings_of(character_set: tuple[str, ...]) -> list[str]:
    """Python's encodings for the terms of Specific Character Set; Latin-1 where there are none."""
    with quiet():
        return convert_encodings(list(character_set)) if any(character_set) else ["iso8859"]

"""What names a workitem.

The workitem of a reading is named by a UID that can be read back: it holds which study it is and the how-manieth
reading, so that it is the same on every gateway, after a rebuilt database too, and nothing has to be looked up by it.
The form is 2.25.<integer> (PS3.5 section B.2) of a UUID of version 8 (RFC 9562 section 5.8), whose 122 bits are free:
104 are the first of Orthanc's identifier of the study, a SHA-1, and 18 the number of the reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

UPS_PUSH: Final = "1.2.840.10008.5.1.4.34.6.1"  # SOP Class of every workitem (PS3.4 section CC.3.1)
UPS_EVENT: Final = "1.2.840.10008.5.1.4.34.6.4"
GLOBAL: Final = "1.2.840.10008.5.1.4.34.5"  # well-known: all workitems ...
FILTERED_GLOBAL: Final = "1.2.840.10008.5.1.4.34.5.1"  # ... or all that match some keys
WELL_KNOWN: Final = frozenset({GLOBAL, FILTERED_GLOBAL})

_ROOT: Final = "2.25."
_VERSION, _VARIANT = 8, 0b10
_NUMBER_BITS: Final = 18
_MOST: Final = (1 << _NUMBER_BITS) - 1
_ID_DIGITS: Final = 26  # hexadecimal, of forty
_B_BITS, _C_BITS = 12, 62  # of the parts behind the version and behind the variant
_LONGEST: Final = 39  # digits of 128 bits
_ORTHANC_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingName:
    """What the UID of a reading's workitem says.

    Attributes:
        beginning: the first 29 characters of Orthanc's identifier of the study.
        number: which of its readings, from 1.
    """

    beginning: str
    number: int


def reading_uid(orthanc_id: str, number: int) -> str:
    """The UID of the workitem of a study's reading.

    Args:
        orthanc_id: five groups of eight hexadecimal digits, joined by hyphens.
        number: of the reading, from 1; beyond 262,143 nobody reads.

    Raises:
        ValueError: one of them is none.
    """
    if not _ORTHANC_ID.fullmatch(orthanc_id) or not 1 <= number <= _MOST:
        raise ValueError(f"no workitem of reading {number} of {orthanc_id}")
    free = int(orthanc_id.replace("-", "")[:_ID_DIGITS], 16) << _NUMBER_BITS | number
    a, b, c = free >> (_B_BITS + _C_BITS), free >> _C_BITS & ((1 << _B_BITS) - 1), free & ((1 << _C_BITS) - 1)
    return f"{_ROOT}{a << 80 | _VERSION << 76 | b << 64 | _VARIANT << 62 | c}"


def reading_name(workitem_uid: str) -> ReadingName | None:
    """What a UID says, where it can be that of a reading's workitem."""
    digits = workitem_uid.removeprefix(_ROOT)
    if digits == workitem_uid or not digits.isdecimal() or not digits.isascii() or len(digits) > _LONGEST:
        return None
    if int(digits) >> 128:
        return None
    uuid = UUID(int=int(digits))
    if uuid.version != _VERSION:  # None for another variant
        return None
    whole = uuid.int
    free = whole >> 80 << (_B_BITS + _C_BITS) | (whole >> 64 & 0xFFF) << _C_BITS | whole & ((1 << _C_BITS) - 1)
    hexadecimal = f"{free >> _NUMBER_BITS:0{_ID_DIGITS}x}"
    groups = [hexadecimal[start : start + 8] for start in range(0, _ID_DIGITS, 8)]
    number = free & _MOST
    return ReadingName(beginning="-".join(groups), number=number) if number else None


def new_uid() -> str:
    """A UID for a workitem whose creator gave none."""
    return f"{_ROOT}{uuid4().int}"

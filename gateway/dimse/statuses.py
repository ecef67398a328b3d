"""Every status that an answer of ours can have (PS3.4 sections C.4.1.1.4, C.4.2.1.5, C.4.3.1.4; PS3.7 Annex C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from worklist.errors import InvalidInput

FIND, MOVE, GET = "C-FIND", "C-MOVE", "C-GET"
_LONGEST_COMMENT: Final = 64  # characters of (0000,0902), VR LO


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """One status.

    Attributes:
        code: of (0000,0900).
        of: the operations that are answered so.
        meaning: when.
    """

    code: int
    of: Sequence[str]
    meaning: str


_RETRIEVE: Final = (MOVE, GET)
_ALL: Final = (FIND, MOVE, GET)

SUCCESS: Final = Status(code=0x0000, of=_ALL, meaning="all was told, or every instance was stored")
PENDING: Final = Status(code=0xFF00, of=_ALL, meaning="a match; or the counts of sub-operations so far")
PARTLY_SUPPORTED: Final = Status(
    code=0xFF01, of=(FIND,), meaning="a match, without keys of the identifier that are not supported at this level"
)
CANCELLED: Final = Status(code=0xFE00, of=_ALL, meaning="ended by C-CANCEL")
SOME_FAILED: Final = Status(code=0xB000, of=_RETRIEVE, meaning="some instances were not stored; they are listed")
OUT_OF_RESOURCES: Final = Status(code=0xA700, of=(FIND,), meaning="Orthanc or the database does not answer")
NOT_COUNTED: Final = Status(
    code=0xA701, of=_RETRIEVE, meaning="Orthanc does not answer, or there are more than 65,535 instances"
)
NONE_STORED: Final = Status(code=0xA702, of=_RETRIEVE, meaning="no instance was stored; they are listed")
UNKNOWN_DESTINATION: Final = Status(
    code=0xA801, of=(MOVE,), meaning="the destination is none of Orthanc's modalities (DicomModalities)"
)
NOT_OF_THE_MODEL: Final = Status(
    code=0xA900,
    of=_ALL,
    meaning="no level or one that the model does not have, or the unique key of a level is missing or not a single one",
)
FAULT: Final = Status(code=0xC000, of=_ALL, meaning="a fault of Firstread: see its log")
BAD_VALUE: Final = Status(
    code=0xC001,
    of=_ALL,
    meaning="a key whose value cannot be meant: no UID, a range backwards, text not in the stated character set",
)
UNREADABLE: Final = Status(code=0xC002, of=_ALL, meaning="no identifier, or one that cannot be read")
NOT_THIS_CLASS: Final = Status(code=0x0122, of=_ALL, meaning="the SOP class is not the one of the presentation context")
NOT_PERMITTED: Final = Status(code=0x0124, of=_ALL, meaning="the role of the peer does not permit it")
NOT_THIS_OPERATION: Final = Status(
    code=0x0211, of=_ALL, meaning="the SOP class of the presentation context does not have this operation"
)

STATUSES: Final = tuple(one for one in list(globals().values()) if isinstance(one, Status))


class Refusal(InvalidInput):
    """A request that is answered with a failure.

    Args:
        status: which.
        comment: why, in one line.
        offending: tags of the elements at fault.
    """

    def __init__(self, status: Status, comment: str, *offending: int) -> None:
        super().__init__(f"status_{status.code:04x}", comment)
        self.status = status
        self.offending = offending

    @property
    def comment(self) -> str:
        """Why, as far as an Error Comment holds it."""
        plain = self.message.encode("ascii", "replace").decode()
        return plain if len(plain) <= _LONGEST_COMMENT else f"{plain[: _LONGEST_COMMENT - 3]}..."

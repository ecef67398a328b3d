"""A message as P-DATA-TF PDUs (PS3.8 section 9.3.5), as pynetdicom makes them, but all of one message in one piece."""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack
from typing import Final

_P_DATA_TF: Final = 0x04
_PDV_HEAD: Final = 6  # bytes of length, context and control header that count against the longest PDU
_COMMAND, _LAST = 0b01, 0b10  # of the message control header, PS3.8 section E.2


def fragmented(context_id: int, command: bytes, data_set: bytes, longest: int) -> bytes:
    """A message: the PDUs of its command set, then those of its data set, one fragment in each.

    Args:
        context_id: of the presentation context.
        command: encoded command set.
        data_set: encoded data set; empty for none.
        longest: bytes of one PDU that the peer takes (PS3.8 section D.1); 0 for any.
    """
    return b"".join((*_pdus(context_id, _COMMAND, command, longest), *_pdus(context_id, 0, data_set, longest)))


def _pdus(context_id: int, kind: int, whole: bytes, longest: int) -> Iterator[bytes]:
    size = longest - _PDV_HEAD if longest > _PDV_HEAD else len(whole)
    for start in range(0, len(whole), size or 1):
        part = whole[start : start + size]
        control = kind | (_LAST if start + size >= len(whole) else 0)
        head = pack(">BxLLBB", _P_DATA_TF, len(part) + _PDV_HEAD, len(part) + 2, context_id, control)
        yield head + part

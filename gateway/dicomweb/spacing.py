"""WADO-RS metadata without spacings that no image can have.

Some films state a Pixel Spacing of zero. OHIF scales by it and stays black, without a word; a film that states none is
shown.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncIterable, AsyncIterator

_LONGEST = 4096  # bytes of an attribute with what is around it; a longer one is no spacing of two numbers
_SPACING = re.compile(
    rb'(,\s{0,64})?("(?:00280030|00181164)"\s{0,64}:\s{0,64}(\{[^{}]{0,2048}\}))'  # Pixel, Imager Pixel Spacing
)
_COMMA = re.compile(rb"\s{0,64},")


async def without_unusable_spacing(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The DICOM JSON model (PS3.18 Annex F) as it comes, without each spacing that is not two positive numbers.

    All else stays as it is, to the byte. No more than two pieces and a few kB are held.
    """
    held = b""
    async for piece in pieces:
        held += piece
        if len(held) > 2 * _LONGEST:
            passed, held = _pass_on(held, len(held) - _LONGEST)
            yield passed
    passed, _ = _pass_on(held, len(held))
    yield passed


def _pass_on(text: bytes, end: int) -> tuple[bytes, bytes]:
    """What may go on, and what is to be held: spacings that begin before `end` are whole."""
    passed: list[bytes] = []
    done = at = 0
    while (found := _SPACING.search(text, at)) and found.start() < end:
        at = found.end()
        if _is_usable(found[3]):
            continue
        passed.append(text[done : found.start()])
        if not found[1] and (comma := _COMMA.match(text, at)):  # the first of its object
            at = comma.end()
        done = at
    end = max(end, done)
    return b"".join((*passed, text[done:end])), text[end:]


def _is_usable(attribute: bytes) -> bool:
    try:
        spacing_mm = [float(value) for value in json.loads(attribute)["Value"]]
    except (KeyError, TypeError, ValueError):
        return False
    return len(spacing_mm) == 2 and all(0 < value < math.inf for value in spacing_mm)  # noqa: PLR2004 - rows, columns

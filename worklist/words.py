"""How numbers and lists are told to people: the same in a report, on a page and in a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal

_SPACE = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# C0 and C1, which move the cursor or color the screen, and what turns the order of all that follows around.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def two_places(value: float) -> str:
    """A score or harm to two places: cut, not rounded, so what is below a threshold never shows as at it."""
    cut = Decimal(str(value)).quantize(Decimal("0.01"), rounding=ROUND_DOWN)
    return "below 0.01" if value > 0 and not cut else str(cut)


def joined(parts: Sequence[str]) -> str:
    """Parts as a list in a sentence: one, two and three."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def counted(number: int, one: str, more: str = "") -> str:
    """A number of things: 'no box', '1 box', '2 boxes'; more is their plural where it takes more than an s."""
    return f"{number or 'no'} {one if number == 1 else more or one + 's'}"


def in_a_sentence(sentence: str) -> str:
    """Words to stand inside a sentence: no full stop, no capital unless it begins an abbreviation."""
    text = sentence.rstrip(". ")
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def printable(text: object) -> str:
    """What a file's name, a header or a person says, as a part of one line: nothing that a terminal obeys.

    An octet of a name that is not UTF-8 becomes a question mark.
    """
    line = _UNPRINTABLE.sub("", _SPACE.sub(" ", str(text)))
    return line.encode("utf-8", "replace").decode("utf-8")

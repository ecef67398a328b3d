"""How numbers and lists are told to people: the same in a report, on a page and in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal


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

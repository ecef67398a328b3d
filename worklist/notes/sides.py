"""On which of the patient's sides a mention lies: by the word for a side that belongs to it, never by one nearby."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from worklist.finding import Side
from worklist.notes.context import Mention
from worklist.notes.tokens import Token

_LEFT, _RIGHT, _BOTH = (Side.LEFT,), (Side.RIGHT,), (Side.RIGHT, Side.LEFT)
_SIDES: Final = {
    "left": _LEFT,
    "right": _RIGHT,
    "bilateral": _BOTH,
    "bilaterally": _BOTH,
    "bibasal": _BOTH,
    "bibasilar": _BOTH,
    "biapical": _BOTH,
    "both": _BOTH,
    "lul": _LEFT,
    "lll": _LEFT,
    "rul": _RIGHT,
    "rml": _RIGHT,
    "rll": _RIGHT,
    "leftsided": _LEFT,
    "rightsided": _RIGHT,
    "lt": _LEFT,
    "rt": _RIGHT,
}
_INITIALS: Final = {"L": _LEFT, "R": _RIGHT}
# "Right handed", "left the ward", "left ventricular failure": no side of anything.
_NO_SIDE_BEFORE: Final = frozenset(
    {
        "handed",
        "hand-dominant",
        "away",
        "now",
        "the",
        "hospital",
        "against",
        "ventricular",
        "ventricle",
        "atrial",
        "atrium",
        "heart",
        "bundle",
        "axis",
        "her",
        "his",
        "for",
        "after",
        "before",
        "home",
    }
)
_NO_SIDE_AFTER: Final = frozenset({"has", "have", "had", "all", "patient", "he", "she", "was", "alright"})
_SUBJECT_BEFORE: Final = frozenset({"have", "had", "are", "were", "has", "suffer"})  # "both have"
_TO_A_PLACE: Final = frozenset(
    {"in", "on", "of", "over", "at", "to", "towards", "within", "from", "under", "around", "along"}
)
_ENDS: Final = re.compile(r"[,;:]|and|but|or|with|without|no|is|was|has|presents|who|which", re.IGNORECASE)
_PART: Final = re.compile(r"[,;:]|but|with|without|who|which", re.IGNORECASE)


def sides_of(words: Sequence[Token], mentions: Sequence[Mention]) -> list[tuple[Side, ...]]:
    """The sides of each mention, in the order of the mentions.

    First the words behind a mention that lead to a place ("effusion on the left"), then those before it that no other
    mention has ("left lower lobe consolidation").
    """
    stated = {place: side for place in range(len(words)) if (side := _side(words, place))}
    taken: set[int] = set()
    found: list[tuple[Side, ...]] = [()] * len(mentions)
    for number, mention in enumerate(mentions):
        until = mentions[number + 1].first if number + 1 < len(mentions) else len(words)
        place = _behind(words, stated, mention.after, until)
        if place is not None:
            found[number] = stated[place]
            taken.add(place)
    for number, mention in enumerate(mentions):
        inside = [stated[place] for place in range(mention.first, mention.after) if place in stated]
        since = mentions[number - 1].after if number else 0
        before = _before(words, stated, taken, since, mention.first)
        found[number] = found[number] or _together([*inside, *before])
    return found


def _side(words: Sequence[Token], place: int) -> tuple[Side, ...]:
    side = _SIDES.get(words[place].lower, ()) or _initial(words, place)
    after = words[place + 1].lower if place + 1 < len(words) else ""
    after = words[place + 2].lower if after == "-" and place + 2 < len(words) else after
    before = words[place - 1].lower if place else ""
    is_side = words[place].lower in {"left", "right"}
    is_moved = (is_side and before in _NO_SIDE_AFTER) or after in (_NO_SIDE_BEFORE if is_side else _SUBJECT_BEFORE)
    return () if is_moved else side


def _initial(words: Sequence[Token], place: int) -> tuple[Side, ...]:
    """The side of a letter: of "R PTX" and "pain in L arm", but not of "2 L", "L3" or "R/O"."""
    before, after = (words[one].text if 0 <= one < len(words) else "" for one in (place - 1, place + 1))
    return _INITIALS.get(words[place].text, ()) if after.isalpha() and not before.isdigit() else ()


def _behind(words: Sequence[Token], stated: dict[int, tuple[Side, ...]], begin: int, until: int) -> int | None:
    leads = False
    for place in range(begin, until):
        if place in stated and (leads or stated[place] == _BOTH or place == begin):
            return None if _is_of_next(words, place, until) else place
        if _ENDS.fullmatch(words[place].text):
            return None
        leads = leads or words[place].lower in _TO_A_PLACE
    return None


def _is_of_next(words: Sequence[Token], place: int, until: int) -> bool:
    """Whether a side stands right before the next mention, and so belongs to that: "pain and left effusion"."""
    return until < len(words) and until - place == 1


def _before(
    words: Sequence[Token], stated: dict[int, tuple[Side, ...]], taken: set[int], since: int, until: int
) -> list[tuple[Side, ...]]:
    found: list[tuple[Side, ...]] = []
    for place in range(until - 1, since - 1, -1):
        if _PART.fullmatch(words[place].text) or (found and words[place].lower == "the"):
            break
        if place in taken:
            break
        if place in stated:
            found.append(stated[place])
    return found


def _together(sides: Sequence[tuple[Side, ...]]) -> tuple[Side, ...]:
    stated = {side for one in sides for side in one}
    return tuple(side for side in Side if side in stated)

"""What a sentence says of a mention: negated, uncertain, past, of the family, or only feared.

The rules are those of NegEx (Chapman WW et al., A simple algorithm for identifying negated findings and diseases in
discharge summaries, J Biomed Inform 2001;34:301-310) and ConText (Harkema H et al., ConText: an algorithm for
determining negation, experiencer, and temporal status from clinical reports, J Biomed Inform 2009;42:839-851): a
phrase acts on the mentions behind or before it, up to a phrase that ends its scope. Beyond them, a comma ends a
negation where an item of its own follows, and an uncertainty always: "no pneumothorax, small effusion".
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from worklist.notes.lexicon import listed
from worklist.notes.tokens import Match, Phrases, Token

_CONTENT: Final = (Path(__file__).parent / "context.toml").read_bytes()
_VALUES: Final[Mapping[str, Any]] = tomllib.loads(_CONTENT.decode())
SHA256: Final = hashlib.sha256(_CONTENT).hexdigest()


class Said(StrEnum):
    """What may be said of a mention."""

    NEGATED = "negated"
    UNCERTAIN = "uncertain"
    PAST = "past"
    FAMILY = "family"
    FEARED = "feared"
    ALLERGY = "allergy"


_Acts = frozenset[tuple[str, str]]  # (what is said, "before", "after" or "pseudo"); ("ends", which)
_QUESTION: Final = "?"
_JOINERS: Final = frozenset({"and", "or", "nor", "&", "/"})
_LISTED_ON: Final = frozenset({"or", "nor"})


_FARTHEST: Final = 60
"""Words that a phrase reaches over."""


def _acts() -> dict[str, _Acts]:
    found: dict[str, set[tuple[str, str]]] = {}
    for said in Said:
        for where, words in _VALUES[said].items():
            for phrase in listed(words):
                found.setdefault(phrase.lower(), set()).add((said, where))
    for phrase in listed(_VALUES["ends"]["words"]):
        found.setdefault(phrase, set()).add(("ends", "all"))
    for phrase in listed(_VALUES["ends"]["patient"]):
        found.setdefault(phrase, set()).add(("ends", Said.FAMILY))
    return {phrase: frozenset(acts) for phrase, acts in found.items()}


_PHRASES: Final[Phrases[_Acts]] = Phrases(_acts())
_OWN_ITEM: Final = frozenset(phrase for phrase in listed(_VALUES["ends"]["own_item"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Mention:
    """Where a term stands among the words of its sentence: words[first:after]."""

    first: int
    after: int


def said_of(words: Sequence[Token], mentions: Sequence[Mention]) -> list[frozenset[Said]]:
    """What a sentence says of each of its mentions.

    Args:
        words: of the sentence.
        mentions: in their order, none within another.
    """
    found: list[set[Said]] = [set() for _ in mentions]
    if not mentions:
        return []
    taken = {place for mention in mentions for place in range(mention.first, mention.after)}
    phrases = [match for match in _PHRASES.among(words) if match.first not in taken]
    for match in phrases:
        for said, where in sorted(match.meaning):
            if said == "ends" or where == "pseudo":
                continue
            if where != _direction(match, Said(said), words, mentions):
                continue
            scope = _ahead if where == "before" else _behind
            for place in scope(match, Said(said), words, mentions, phrases):
                found[place].add(Said(said))
    return [_settled(said) for said in found]


def _direction(match: Match[_Acts], said: Said, words: Sequence[Token], mentions: Sequence[Mention]) -> str:
    """Which way a phrase acts: of one that may act both ways, on what follows up to the next comma, else back."""
    ways = {where for one, where in match.meaning if one == said}
    if words[match.first].text == _QUESTION:
        return "before" if match.after < len(words) and words[match.after].text[:1].isalnum() else "after"
    if ways >= {"before", "after"}:
        until = _next_comma(words, match.after)
        return "before" if any(match.after <= one.first < until for one in mentions) else "after"
    return next(iter(ways - {"pseudo"}), "pseudo")


def _ahead(
    match: Match[_Acts],
    said: Said,
    words: Sequence[Token],
    mentions: Sequence[Mention],
    phrases: Sequence[Match[_Acts]],
) -> list[int]:
    """The mentions behind a phrase that it acts on."""
    begin = match.after + (match.after < len(words) and words[match.after].text == ":")
    if not any(begin <= one.first < begin + _FARTHEST for one in mentions):
        return []
    until = _ends_ahead(begin, said, words, phrases)
    return [place for place, one in enumerate(mentions) if begin <= one.first < until]


def _ends_ahead(begin: int, said: Said, words: Sequence[Token], phrases: Sequence[Match[_Acts]]) -> int:
    until = next(
        (one.first for one in phrases if one.first >= begin and {("ends", "all"), ("ends", said)} & one.meaning),
        min(len(words), begin + _FARTHEST),
    )
    for place in range(begin, until):
        if said is Said.UNCERTAIN and words[place].lower == "with":
            return place
        if words[place].text == "," and not _goes_on(place, said, words):
            return place
    return until


def _goes_on(comma: int, said: Said, words: Sequence[Token]) -> bool:
    """Whether what is said before a comma is said of what follows it too."""
    following = [word.lower for word in words[comma + 1 : comma + 3]]
    if not following:
        return False
    if following[0] in _LISTED_ON:
        return True
    if said is Said.UNCERTAIN:
        return any(word.lower in _LISTED_ON for word in words[comma + 1 : _next_comma(words, comma + 1)])
    first = following[1] if following[0] in _JOINERS and len(following) > 1 else following[0]
    return first not in _OWN_ITEM


def _behind(
    match: Match[_Acts],
    said: Said,
    words: Sequence[Token],
    mentions: Sequence[Mention],
    phrases: Sequence[Match[_Acts]],
) -> list[int]:
    """The mentions before a phrase that it acts on: those of its clause, and of bare items of a list before it."""
    begin = max(
        (one.after for one in phrases if one.after <= match.first and {("ends", "all"), ("ends", said)} & one.meaning),
        default=0,
    )
    inside = {place for one in mentions for place in range(one.first, one.after)}
    place = match.first
    while place > begin:
        comma = _last_comma(words, begin, place)
        if comma is None:
            break
        item = range(_start_of_item(words, begin, comma), comma)
        if not all(one in inside or words[one].lower in _JOINERS for one in item):
            begin = comma + 1
            break
        place = comma
    return [place for place, one in enumerate(mentions) if begin <= one.first and one.after <= match.first]


def _next_comma(words: Sequence[Token], begin: int) -> int:
    return next((place for place in range(begin, len(words)) if words[place].text == ","), len(words))


def _last_comma(words: Sequence[Token], begin: int, before: int) -> int | None:
    return next((place for place in range(before - 1, begin - 1, -1) if words[place].text == ","), None)


def _start_of_item(words: Sequence[Token], begin: int, comma: int) -> int:
    earlier = _last_comma(words, begin, comma)
    return begin if earlier is None else earlier + 1


def _settled(said: set[Said]) -> frozenset[Said]:
    """What is negated is not uncertain too; what is feared is not yet there to be past."""
    if Said.NEGATED in said:
        said.discard(Said.UNCERTAIN)
    if Said.FEARED in said:
        said.discard(Said.PAST)
    return frozenset(said)

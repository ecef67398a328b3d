"""What a sentence asserts of findings: which, on which side, how strongly, and whether it says that one is absent.

Made for one or two plain English sentences of a language model, in the manner of NegEx (Chapman 2001): a clause ends at
a full stop, semicolon, comma or "but"; words before a finding or after it in its clause negate it. Doubt goes against
the sentence: what might be read as an absence is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from worklist.finding import Side
from worklist.terms import MENTIONS


class Strength(IntEnum):
    """How strongly a finding is asserted."""

    DOUBTED = 1
    LIKELY = 2
    STATED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Assertion:
    """One mention of a finding, by its key."""

    finding: str
    sides: frozenset[Side]
    strength: Strength
    is_absent: bool


_SENTENCE: Final = re.compile(  # each run of dots is looked at once, however long it is
    r"(?<![.;:!?])[.;:!?]++(?:\s|$)|\bbut\b|\bhowever\b|\balthough\b|\bwhereas\b", re.IGNORECASE
)
_CLAUSE: Final = re.compile(r",|\bwhile\b|\band also\b", re.IGNORECASE)
_NO: Final = (
    r"no|not|without|never|neither|nor|none|absent|absence|lack(?:s|ing)?|den(?:y|ies|ied)|free of|exclud\w+|"
    r"rul(?:e|es|ed|ing) out|fails? to|resol\w+|clear(?:s|ed|ing)?|disappear\w*|gone|unlikely|improbable|"
    r"unremarkable|negative|normal|"
    r"resorb\w*|inapparent|cannot|can't|isn't|aren't|doesn't|non"
)
_ABSENT: Final = re.compile(rf"\b(?:{_NO})\b", re.IGNORECASE)
# "cannot be excluded" doubts, and does not deny.
_DOUBLE: Final = re.compile(
    r"\b(?:can ?not|can't|not|never)(?: \w+){0,2} (?:exclud\w+|rul\w+ out)|\bnot (?:unlikely|improbable)\b",
    re.IGNORECASE,
)
_LIKELY: Final = re.compile(
    r"\b(?:(?:highly|strongly|very|most) \w+|"
    r"likely|probabl[ey]|presumabl[ey]|suggest(?:s|ed|ing|ive)?|consistent|compatible|"
    r"favou?r(?:s|ed|ing)?|concerning|typical|in keeping)\b",
    re.IGNORECASE,
)
_DOUBTED: Final = re.compile(
    r"\b(?:possibl[ey]|may|might|could|perhaps|maybe|suspect(?:s|ed)?|suspicio(?:n|us)|question(?:s|able|ed)?|"
    r"uncertain|equivocal|subtle|potential(?:ly)?|appears?|seems?|if any|whether)\b",
    re.IGNORECASE,
)
_SIDE: Final = re.compile(
    r"\b(?:(?P<both>bilateral(?:ly)?|both|bibasilar|bibasal|biapical|left (?:and|or) right|right (?:and|or) left)|"
    r"(?P<left>left)|(?P<right>right))(?:ward|-sided)?\b",
    re.IGNORECASE,
)
_SIDES: Final = {"both": frozenset(Side), "left": frozenset({Side.LEFT}), "right": frozenset({Side.RIGHT})}


def assertions_in(text: str) -> tuple[Assertion, ...]:
    """What a text asserts, mention by mention."""
    return tuple(found for sentence in _SENTENCE.split(text) for found in _of_sentence(sentence))


def has_absence(text: str) -> bool:
    """Whether a text says of anything that it is absent, with or without naming a finding."""
    return any(_ABSENT.search(_DOUBLE.sub(" possible ", sentence)) for sentence in _SENTENCE.split(text))


def _of_sentence(sentence: str) -> Iterator[Assertion]:
    plain = _DOUBLE.sub(" possible ", sentence)
    clauses = _CLAUSE.split(plain)
    silent = ", ".join(clause for clause in clauses if not any(term.search(clause) for term in MENTIONS.values()))
    start = 0
    for clause in clauses:
        start = plain.index(clause, start)
        for key, mention in MENTIONS.items():
            for found in mention.finditer(clause):
                yield Assertion(
                    finding=key,
                    # "On the right, an effusion": the side stands before the comma, where nothing else is said.
                    sides=_sides_at(clause, found.start(), found.end()) or _sides_at(silent, 0, 0),
                    strength=_strength_at(plain, start + found.start(), start + found.end()),
                    is_absent=bool(_ABSENT.search(clause)) or _is_listed_absent(clauses, clause),
                )


def _strength_at(sentence: str, begin: int, end: int) -> Strength:
    """By the nearest word of doubt or likelihood in the sentence; of two as near as each other the stronger counts."""
    nearest = [
        (max(begin - found.end(), found.start() - end), -strength, strength)
        for strength, words in ((Strength.LIKELY, _LIKELY), (Strength.DOUBTED, _DOUBTED))
        for found in words.finditer(sentence)
    ]
    return min(nearest)[2] if nearest else Strength.STATED


def _is_listed_absent(clauses: list[str], clause: str) -> bool:
    """Whether a clause goes on a list that began with an absence: "No effusion, mass or pneumothorax"."""
    before = clauses[: clauses.index(clause)]
    return any(_ABSENT.search(earlier) for earlier in before)


def _sides_at(words: str, begin: int, end: int) -> frozenset[Side]:
    """By the nearest word for a side; none where there is none."""
    found = min(_SIDE.finditer(words), key=lambda side: max(begin - side.end(), side.start() - end), default=None)
    return _SIDES[str(found.lastgroup)] if found else frozenset()

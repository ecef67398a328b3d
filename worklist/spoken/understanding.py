"""What was said, understood: a command, a question about the study that is open, or dictated text.

By the phrases of grammar.toml alone, each over the whole of what was said, so that a sentence of a report is never
taken for a command. Nothing is done here: the page does what it would do for the command's key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

from worklist.finding import Side
from worklist.terms import TERMS

MOST_CHARACTERS: Final = 4000
_LONGEST: Final = 120  # characters of a command or question; what is longer is dictated
_MARKS: Final = re.compile(r"[^\w\s]+")
_ASKS: Final = re.compile(r"(?:what|why|how|which|who|whose|where|when|is there|are there|was there|were there)\b")
_FINDING, _SIDE = "{finding}", "{side}"
_ARTICLE: Final = r"(?:(?:the|a|an|any|this|that|your) )?(?:(?:small|large|pleural|pulmonary|left|right|lung) )*"


class Kind(StrEnum):
    """What it was taken for."""

    COMMAND = "command"
    QUESTION = "question"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrase:
    """A way to say something.

    Attributes:
        kind: of what is said.
        name: of the command or question.
        says: a command in words, as the page shows it.
        key: that does the same on the page.
        pattern: over the whole of what was said.
    """

    kind: Kind
    name: str
    says: str
    key: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Understood:
    """What was said.

    Attributes:
        kind: what it is taken for.
        name: of the command or question; "" for text, and for a question that no phrase fits.
        says: a command in words.
        key: that does the same.
        finding: key of the finding that it is about; "" where none is named.
        side: that it is about.
    """

    kind: Kind
    name: str = ""
    says: str = ""
    key: str = ""
    finding: str = ""
    side: Side | None = None


def understand(text: str) -> Understood:
    """What somebody said or typed.

    Args:
        text: at most MOST_CHARACTERS of it.
    """
    said = plain(text)
    if not said or len(said) > _LONGEST:
        return Understood(kind=Kind.TEXT)
    for phrase in phrases():
        if found := phrase.pattern.fullmatch(said):
            groups = {name.rstrip("0123456789"): value for name, value in found.groupdict().items() if value}
            return Understood(
                kind=phrase.kind,
                name=phrase.name,
                says=phrase.says,
                key=phrase.key,
                finding=_finding_of(groups.get("finding", "")),
                side=Side(groups["side"]) if "side" in groups else None,
            )
    if text.rstrip().endswith("?") or _ASKS.match(said):
        return Understood(kind=Kind.QUESTION)
    return Understood(kind=Kind.TEXT)


def plain(text: str) -> str:
    """What was said in lower case, without marks, and without politeness at either end."""
    words = _MARKS.sub(" ", text.lower().replace("'", "").replace("\u2019", "")).split()
    said, polite = " ".join(words), _grammar()["polite"]
    while True:
        before = said
        for word in polite:
            said = said.removeprefix(f"{word} ").removesuffix(f" {word}")
        if said == before:
            return said


@cache
def phrases() -> tuple[Phrase, ...]:
    """All phrases, in the order in which they are tried: commands, then questions."""
    grammar = _grammar()
    return tuple(
        Phrase(
            kind=kind,
            name=entry["name"],
            says=entry.get("says", ""),
            key=entry.get("key", ""),
            pattern=re.compile(_filled(phrase)),
        )
        for kind in (Kind.COMMAND, Kind.QUESTION)
        for entry in grammar[kind.value]
        for phrase in entry["phrases"]
    )


def commands() -> tuple[tuple[str, str], ...]:
    """Each command in words, with its key."""
    return tuple((entry["says"], entry["key"]) for entry in _grammar()["command"])


@cache
def _grammar() -> Mapping[str, Any]:
    return tomllib.loads((Path(__file__).parent / "grammar.toml").read_text(encoding="utf-8"))


@cache
def _names() -> Mapping[str, str]:
    """What people call each finding, as a regular expression by its key."""
    more = _grammar()["names"]
    return {key: f"{terms}|{more[key]}" if key in more else terms for key, terms in TERMS.items()}


@cache
def _any_finding() -> str:
    return "|".join(_names().values())


def _filled(phrase: str) -> str:
    slots = {_FINDING: rf"{_ARTICLE}(?P<finding%d>{_any_finding()})", _SIDE: "(?P<side%d>left|right)"}
    for slot, pattern in slots.items():
        first, *rest = phrase.split(slot)  # a group has a name of its own at each place
        phrase = first + "".join(pattern.replace("%d", str(place)) + part for place, part in enumerate(rest))
    return phrase


def _finding_of(name: str) -> str:
    return next((key for key, names in _names().items() if name and re.fullmatch(names, name)), "")

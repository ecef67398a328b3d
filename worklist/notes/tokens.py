"""Words with their places, and the longest phrase of a list that begins at one: each is looked up, none is searched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

Meaning = TypeVar("Meaning")

_TOKEN: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]{1,2}\b)?|\d+(?:[.,]\d+)*|\S")
_SHORTEST_PLURAL: Final = 5  # letters: "gas" and "bus" are none
_SHORTEST_DIGRAPH: Final = 6
_NO_PLURAL: Final = ("ss", "us", "is")
_END: Final = ""  # no word


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a number or a mark, and its place in the text: text[begin:end]."""

    text: str
    begin: int
    end: int
    lower: str = field(init=False)
    stem: str = field(init=False)

    def __post_init__(self) -> None:
        """Work out by what it is looked up."""
        object.__setattr__(self, "lower", self.text.lower().replace("’", "'"))
        object.__setattr__(self, "stem", stem(self.lower))


def tokens(text: str, begin: int = 0, end: int | None = None) -> list[Token]:
    """The words of a text, or of a part of it."""
    found = _TOKEN.finditer(text, begin, len(text) if end is None else end)
    return [Token(one[0], one.start(), one.end()) for one in found]


def stem(word: str) -> str:
    """A word in lower case without its plural s, and in American spelling: what is looked up is treated alike."""
    if len(word) >= _SHORTEST_DIGRAPH and not word.endswith("oes"):
        word = word.replace("ae", "e").replace("oe", "e").replace("tumour", "tumor")
    if len(word) >= _SHORTEST_PLURAL and word.endswith("s") and not word.endswith(_NO_PLURAL):
        return word[:-1]
    return word


@dataclass(frozen=True, slots=True)
class Match(Generic[Meaning]):
    """A phrase among tokens: tokens[first:after]."""

    first: int
    after: int
    meaning: Meaning


class Phrases(Generic[Meaning]):
    """A list of phrases with what each means, as a tree of words.

    Args:
        meanings: by phrase. One in capitals is an abbreviation, which counts in capitals alone.
    """

    def __init__(self, meanings: Mapping[str, Meaning]) -> None:
        self._tree: dict[str, Any] = {}
        for phrase, meaning in meanings.items():
            place = self._tree
            for token in tokens(phrase):
                place = place.setdefault(token.text if _is_abbreviation(token.text) else token.stem, {})
            place[_END] = meaning

    def at(self, words: Sequence[Token], first: int) -> Match[Meaning] | None:
        """The longest phrase that begins at a word; None where none does."""
        place, after, found = self._tree, first, None
        while after < len(words):
            step = place.get(words[after].text) if _is_abbreviation(words[after].text) else None
            step = place.get(words[after].stem) if step is None else step
            if step is None:
                break
            place, after = step, after + 1
            if _END in place:
                found = Match(first, after, place[_END])
        return found

    def among(self, words: Sequence[Token]) -> Iterator[Match[Meaning]]:
        """The phrases of a sentence from left to right, the longest at each place, none within another."""
        first = 0
        while first < len(words):
            match = self.at(words, first)
            if match:
                yield match
            first = match.after if match else first + 1


def _is_abbreviation(word: str) -> bool:
    return len(word) > 1 and word.isupper()

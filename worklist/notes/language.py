"""Whether a text is English: by small words that belong to one language alone, and by its letters."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from pathlib import Path
from typing import Final

from worklist.notes.lexicon import listed
from worklist.notes.tokens import tokens

_WORDS: Final = {
    language: frozenset(listed(words))
    for language, words in tomllib.loads((Path(__file__).parent / "languages.toml").read_text(encoding="utf-8")).items()
}
_ENGLISH: Final = _WORDS["English"]
_BY_WORD: Final = {language: words - _ENGLISH for language, words in _WORDS.items() if language != "English"}
_SCRIPTS: Final = {
    "CYRILLIC": "a language in Cyrillic letters",
    "GREEK": "Greek",
    "ARABIC": "a language in Arabic letters",
    "HEBREW": "Hebrew",
    "CJK": "Chinese or Japanese",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
    "DEVANAGARI": "a language in Devanagari letters",
    "THAI": "Thai",
}
_READ: Final = 20_000  # characters of a text by which its language is told
_SHARE: Final = 0.3  # of the letters: more of another script, and it is that script's language
_LEAST: Final = 2  # words of another language by which it is told
_LETTER: Final = re.compile(r"[^\W\d_]")


def other_language(text: str) -> str:
    """The language of a text as its readers call it; "" where it is English, or too short to tell."""
    part = text[:_READ]
    script = _script(part)
    if script:
        return script
    english, language, most = _counts(part)
    return language if most >= _LEAST and most > english else ""


def is_english(text: str) -> bool:
    """Whether a text is English beyond doubt: it has small words of English, and more of them than of any other."""
    english, _, most = _counts(text[:_READ])
    return english >= _LEAST and english > most and not _script(text[:_READ])


def _counts(text: str) -> tuple[int, str, int]:
    """How many small words of English it has, of which other language it has the most, and how many."""
    words = [token.lower for token in tokens(text) if token.text[:1].isalpha()]
    counts = {language: sum(word in known for word in words) for language, known in _BY_WORD.items()}
    language, most = max(counts.items(), key=lambda pair: pair[1])
    return sum(word in _ENGLISH for word in words), language, most


def _script(text: str) -> str:
    letters = [letter for letter in _LETTER.findall(text) if ord(letter) > 0x24F]  # beyond Latin Extended-B  # noqa: PLR2004
    latin = len(_LETTER.findall(text)) - len(letters)
    if not letters or len(letters) <= _SHARE * (latin + len(letters)):
        return ""
    names = [unicodedata.name(letter, "?").split()[0] for letter in letters[:500]]  # Tangut and others have none
    most = max(set(names), key=names.count)
    return _SCRIPTS.get(most, "another language")

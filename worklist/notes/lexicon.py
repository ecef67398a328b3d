"""What is looked for in a note: symptoms, conditions and medicines by name, and what ends like one."""

from __future__ import annotations

import hashlib
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from worklist.notes.tokens import Phrases, Token, stem

_FILE: Final = Path(__file__).parent / "lexicon.toml"
_CONTENT: Final = _FILE.read_bytes()
_VALUES: Final[dict[str, Any]] = tomllib.loads(_CONTENT.decode())
_SHORTEST_BY_ENDING: Final = 7  # letters


class Kind(StrEnum):
    """What a statement is about."""

    SYMPTOM = "symptom"
    CONDITION = "condition"
    MEDICATION = "medication"


def listed(words: str) -> tuple[str, ...]:
    """The phrases of a list in a file, which commas part."""
    return tuple(" ".join(phrase.split()) for phrase in words.split(",") if phrase.strip())


SHA256: Final = hashlib.sha256(_CONTENT).hexdigest()
TERMS: Final[Phrases[Kind]] = Phrases({phrase: kind for kind in Kind for phrase in listed(_VALUES[kind])})
SUPPRESSES_IMMUNITY: Final[Phrases[bool]] = Phrases(
    dict.fromkeys(listed(_VALUES["suppresses_immunity"]["words"]), True)
)
NOT_BEFORE_A_DOSE: Final = frozenset(listed(_VALUES["not_before_a_dose"]["words"]))
_ENDINGS: Final = tuple(
    (ending, kind)
    for ending, kind in sorted(
        ((stem(ending), kind) for kind in Kind for ending in listed(_VALUES["endings"][kind])),
        key=lambda pair: -len(pair[0]),
    )
)
_NOT_BY_ENDING: Final = frozenset(map(stem, listed(_VALUES["endings"]["not_by_ending"])))


def kind_by_ending(word: Token) -> Kind | None:
    """What a word that is in no list ends like: "cholecystitis" is a condition, "ceftaroline" nothing known."""
    if len(word.stem) < _SHORTEST_BY_ENDING or word.stem in _NOT_BY_ENDING or not word.text.isalpha():
        return None
    return next((kind for ending, kind in _ENDINGS if word.stem.endswith(ending)), None)

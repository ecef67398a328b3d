"""Layer (c), language: how a language model may speak to a reader.

It describes in plain English what is suspected. It diagnoses nothing, advises nothing, reassures of nothing, says
nothing of urgency, repeats no name or number of the patient, and is never more certain than the score. Whatever breaks
a rule is refused as a whole: nothing is mended by cutting words out of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from models.safety.assertions import Strength, assertions_in, has_absence
from models.safety.phrases import FORBIDDEN
from worklist.account import Certainty
from worklist.finding import KNOWN_FINDINGS
from worklist.triage import Triage
from worklist.words import in_a_sentence, joined

_VOCABULARY: Final = frozenset((Path(__file__).parent / "vocabulary.txt").read_text(encoding="utf-8").split())
NOTE_FRAME: Final = frozenset({"note", "states", "stated", "describes", "mentions", "reports", "history"})
"""Words that speak of a note."""
_KNOWN_SHARE: Final = 0.85  # of the words; the rest may be spelled in a way of their own
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z'-]*")
_LONG_NUMBER: Final = re.compile(r"\d{4,}|\d{1,2}[./-]\d{1,2}(?:[./-]\d{2,4})?")
_SHORTEST_NAME: Final = 3
_STRENGTH: Final = {
    Certainty.PROBABLE: Strength.LIKELY,
    Certainty.POSSIBLE: Strength.DOUBTED,
    Certainty.UNCERTAIN: Strength.DOUBTED,
}


def allowed_certainty(triage: Triage) -> Mapping[str, Certainty]:
    """How certain words may be of each finding, by its key: as certain as the triage names it, else possible."""
    return {
        named.finding.type.key: Certainty.PROBABLE if named.likelihood == "likely" else Certainty.POSSIBLE
        for named in triage.named
    }


def faults_of_note_language(text: str, *, identifiers: Collection[str], words: Collection[str]) -> list[str]:
    """Why a sentence on a clinical note may not be shown; none where it may.

    Args:
        text: the language model's.
        identifiers: the patient's names and numbers.
        words: of the note, in lower case: with those of a film they are all that it may use.
    """
    faults = [reason for reason, pattern in FORBIDDEN.items() if pattern.search(text)]
    if has_absence(text):
        faults.append("it says that something is absent")
    if _LONG_NUMBER.search(text) or names_patient(text, identifiers):
        faults.append("it repeats a name, a number or a date")
    if not _is_plain_english(text, words):
        faults.append("it uses words that neither the note nor a report has")
    return faults


def faults_of_language(text: str, *, triage: Triage, identifiers: Collection[str]) -> list[str]:
    """Why a sentence may not be shown; none where it may.

    Args:
        text: the language model's.
        triage: how certain the scores are.
        identifiers: the patient's names and numbers.
    """
    faults = [reason for reason, pattern in FORBIDDEN.items() if pattern.search(text)]
    if has_absence(text):
        faults.append("it says that something is absent, which no score can tell")
    if _LONG_NUMBER.search(text) or names_patient(text, identifiers):
        faults.append("it repeats a name, a number or a date")
    if not _is_plain_english(text):
        faults.append("it is not plain English about a film")
    allowed = allowed_certainty(triage)
    certain = {
        in_a_sentence(KNOWN_FINDINGS[one.finding].label)
        for one in assertions_in(text)
        if one.strength > _STRENGTH[allowed.get(one.finding, Certainty.POSSIBLE)]
    }
    if certain:
        faults.append(f"it is more certain than the score of {joined(sorted(certain))}")
    return faults


def identifiers_of(*values: str) -> frozenset[str]:
    """The parts of names and numbers by which a patient could be known, in lower case."""
    parts = (part for value in values for part in re.split(r"[\^=,\s.]+", value.casefold()))
    return frozenset(part for part in parts if len(part) >= _SHORTEST_NAME)


def names_patient(text: str, identifiers: Collection[str]) -> bool:
    """Whether a text holds a part of the patient's names or numbers, in whatever case; words of any report are none."""
    words = text.casefold()
    known = {part for part in identifiers_of(*identifiers) if part not in _VOCABULARY}
    return any(re.search(rf"(?<!\w){re.escape(part)}(?!\w)", words) for part in known)


def is_of_vocabulary(word: str) -> bool:
    """Whether a word is one of any report."""
    return word.casefold() in _VOCABULARY


def _is_plain_english(text: str, more: Collection[str] = ()) -> bool:
    words = [word.strip("'-") for token in _WORD.findall(text) for word in token.split("-")]
    known = sum(word.casefold() in _VOCABULARY or word.casefold() in more for word in words)
    shouted = any(word.isupper() and len(word) > len("AP") for word in words)
    return bool(words) and not shouted and known >= _KNOWN_SHARE * len(words)

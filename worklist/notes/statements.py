"""What a note states: symptoms, conditions and medicines, each with what is said of it and its sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from worklist.finding import Side
from worklist.notes.context import Mention, Said, said_of
from worklist.notes.lexicon import NOT_BEFORE_A_DOSE, TERMS, Kind, kind_by_ending
from worklist.notes.sentences import Section, Sentence
from worklist.notes.sides import sides_of
from worklist.notes.tokens import Phrases, Token, tokens


class Source(StrEnum):
    """What is read: a note, or the reason that the order states."""

    NOTE = "note"
    REQUEST = "request"


class Who(StrEnum):
    """Of whom something is stated."""

    PATIENT = "patient"
    FAMILY = "family"


class When(StrEnum):
    """Of which time: a hypothetical is feared, advised about or only a case of an if."""

    NOW = "now"
    PAST = "past"
    HYPOTHETICAL = "hypothetical"


@dataclass(frozen=True, kw_only=True, slots=True)
class NoteStatement:
    """One mention in a note.

    Attributes:
        text: its words as they stand in the note, at text[begin:end].
        sides: the patient's sides that are stated of it; none where none is.
        dose: of a medicine: the amount with its unit as it stands; "" where none is stated.
        is_allergy: a medicine that is not borne, which is no medication but a condition.
        sentence: where it stands.
    """

    kind: Kind
    text: str
    begin: int
    end: int
    sentence: Sentence
    is_negated: bool = False
    is_uncertain: bool = False
    who: Who = Who.PATIENT
    when: When = When.NOW
    sides: tuple[Side, ...] = ()
    dose: str = ""
    is_allergy: bool = False

    @property
    def is_present(self) -> bool:
        """Whether it is stated of the patient as present, certain or not."""
        return not self.is_negated and self.who is Who.PATIENT and self.when is When.NOW and not self.is_allergy

    @property
    def is_of_past(self) -> bool:
        """Whether it is the patient's own, of the past."""
        return self.who is Who.PATIENT and self.when is When.PAST and not self.is_allergy


@dataclass(frozen=True, kw_only=True, slots=True)
class _Term(Mention):
    kind: Kind
    dose: str = ""


# An amount, not one that is counted by volume or time: that is a measured value, "80 g/L" or "30 mg/dL".
_AMOUNT: Final = (
    r"\d+(?:[.,]\d+)*(?:\s?[-/]\s?\d+(?:[.,]\d+)*)?\s?"
    r"(?:mg|mcg|µg|μg|ug|micrograms?|milligrams?|grams?|g|units?|iu|mmol|ml|mL)(?![\w/]|\s?/)"
)
_DOSE: Final = re.compile(_AMOUNT, re.IGNORECASE)
_PUFFS: Final = re.compile(r"\d+ (?:puffs?|tablets?|drops|sprays?|patch(?:es)?)\b", re.IGNORECASE)
_MEASURED: Final = re.compile(
    r"(?: (?:level|was|is|of|at|:|=))*\s*(?:[:=]\s*)?\d+(?:[.,]\d+)?\s?(?:[mµμn]?mol|[mµμn]?g|[mµ]?U|IU|[mu]g)\s?/"
)
_UNKNOWN_MEDICINE: Final = re.compile(
    r"\b([A-Za-z][a-z]{4,24})[ ,]{1,2}(?=\d+(?:[.,]\d+)?\s?(?:mg|mcg|µg|micrograms?|units)(?![\w/]|\s?/))"
)
_NO_ALLERGY: Final = "NKDA"  # no known drug allergies
_FAR: Final = 40  # characters between a medicine and its dose
_NOW_MARKS: Final = re.compile(
    r"\b(?:present(?:s|ed|ing)|now|today|complain(?:s|ed|ing)|report(?:s|ed|ing)|admitted|on examination|currently)\b",
    re.IGNORECASE,
)


def statements_of(text: str, sentence: Sentence, more: Phrases[Kind] | None = None) -> tuple[NoteStatement, ...]:
    """The statements of one sentence.

    Args:
        text: the note.
        sentence: of it.
        more: terms beside those of the lexicon; where both know a place, the lexicon counts.
    """
    words = tokens(text, sentence.said, sentence.end)
    terms = list(_terms(text, sentence, words, more))
    said = said_of(words, terms)
    sides = sides_of(words, terms)
    is_past = sentence.section is Section.PAST and not _NOW_MARKS.search(text, sentence.begin, sentence.end)
    found = []
    for term, about, side in zip(terms, said, sides, strict=True):
        begin, end = words[term.first].begin, words[term.after - 1].end
        is_medicine = term.kind is Kind.MEDICATION
        has_none = text[begin:end] == _NO_ALLERGY
        is_allergy = has_none or (is_medicine and (Said.ALLERGY in about or sentence.section is Section.ALLERGY))
        is_of_family = Said.FAMILY in about or sentence.section is Section.FAMILY
        found.append(
            NoteStatement(
                kind=Kind.CONDITION if is_allergy else term.kind,
                text=" ".join(text[begin:end].split()),
                begin=begin,
                end=end,
                sentence=sentence,
                is_negated=has_none or Said.NEGATED in about,
                is_uncertain=Said.UNCERTAIN in about,
                who=Who.FAMILY if is_of_family else Who.PATIENT,
                when=_when(about, is_of_family=is_of_family, is_past=is_past and not is_medicine),
                sides=side,
                dose=term.dose,
                is_allergy=is_allergy,
            )
        )
    return tuple(found)


def _when(about: frozenset[Said], *, is_of_family: bool, is_past: bool) -> When:
    if is_of_family:
        return When.NOW
    if Said.FEARED in about:
        return When.HYPOTHETICAL
    return When.PAST if is_past or Said.PAST in about else When.NOW


def _terms(text: str, sentence: Sentence, words: Sequence[Token], more: Phrases[Kind] | None) -> Iterator[_Term]:
    unknown = {found.start(1) for found in _UNKNOWN_MEDICINE.finditer(text, sentence.said, sentence.end)}
    place = 0
    while place < len(words):
        match = TERMS.at(words, place)
        kind = match.meaning if match else kind_by_ending(words[place])
        after = match.after if match else place + 1
        if kind is None and words[place].begin in unknown and words[place].lower not in NOT_BEFORE_A_DOSE:
            kind = Kind.MEDICATION
        if kind is None and more and (added := more.at(words, place)):
            kind, after = added.meaning, added.after
        if kind is Kind.MEDICATION and _MEASURED.match(text, words[after - 1].end, sentence.end):
            kind = None  # "calcium 2.4 mmol/L"
        if kind is not None:
            dose = _dose(text, sentence, words, place, after) if kind is Kind.MEDICATION else ""
            yield _Term(first=place, after=after, kind=kind, dose=dose)
        place = after


def _dose(text: str, sentence: Sentence, words: Sequence[Token], first: int, after: int) -> str:
    """The amount behind a medicine and before the next one, or right before it: "40 mg of furosemide"."""
    until = min(words[after - 1].end + _FAR, sentence.end)
    for place in range(after, len(words)):
        if words[place].begin >= until:
            break
        match = TERMS.at(words, place)
        kind = match.meaning if match else kind_by_ending(words[place])
        if kind is Kind.MEDICATION or words[place].text == ";":
            until = words[place].begin
            break
    found = _DOSE.search(text, words[after - 1].end, until) or _PUFFS.search(text, words[after - 1].end, until)
    if found:
        return found[0]
    begin = max(sentence.said, words[first].begin - _FAR)
    before = list(_DOSE.finditer(text, begin, words[first].begin))
    is_next = before and text[before[-1].end() : words[first].begin].strip() in {"", "of"}
    return before[-1][0] if is_next else ""

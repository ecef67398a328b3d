"""A note taken apart into sentences with their places, and the section in which each stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Section(StrEnum):
    """What a heading says of all that stands below it."""

    PAST = "past"
    FAMILY = "family"
    MEDICATION = "medication"
    ALLERGY = "allergy"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """A sentence as it stands in the note, text[begin:end]; said is where it begins behind its heading."""

    begin: int
    end: int
    said: int
    section: Section


# A full stop ends a sentence before a space, unless it belongs to an abbreviation, a list's number or an initial.
_ABBREVIATIONS: Final = frozenset(
    {
        "dr",
        "mr",
        "mrs",
        "ms",
        "prof",
        "st",
        "vs",
        "approx",
        "e.g",
        "i.e",
        "p.o",
        "b.i.d",
        "b.d",
        "t.i.d",
        "t.d.s",
        "q.i.d",
        "q.d.s",
        "o.d",
        "p.r.n",
        "i.v",
        "i.m",
        "s.c",
        "fig",
    }
)
_BREAK: Final = re.compile(r"(?<![.!?])[.!?]++(?=\s|$)|\n")
_WORD_BEFORE: Final = re.compile(r"[\w.]{1,12}$")
_BULLET: Final = re.compile(r"[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t]+")
_HEADING: Final = re.compile(r"[ \t]*([A-Za-z][A-Za-z /&'-]{1,40}?)[ \t]*(?::|\n|$)")
_SECTIONS: Final = {
    Section.PAST: "pmh|pmhx|past medical history|past history|past surgical history|medical history|background|"
    "previous medical history|comorbidities|psh",
    Section.FAMILY: "fh|fhx|family history|family hx",
    Section.MEDICATION: "medications|medication|current medications|drug history|drugs|dh|meds|dhx|home medications|"
    "medication history|discharge medications",
    Section.ALLERGY: "allergies|allergy|drug allergies",
    Section.OTHER: "hpc|hpi|presenting complaint|pc|history of present illness|history of presenting complaint|"
    "social history|sh|shx|on examination|o/e|oe|examination|exam|pe|observations|obs|vitals|vital signs|assessment|"
    "impression|plan|investigations|bloods|labs|findings|clinical details|clinical history|indication|reason|history|"
    "subjective|objective|diagnosis|diagnoses|chief complaint|review of systems|ros|question|clinical question",
}
_NAMES: Final = {name: section for section, names in _SECTIONS.items() for name in names.split("|")}
_SHORT: Final = 24  # characters of an item that goes on after a heading
_VERB: Final = re.compile(r"\b(?:den|report|take|has|is|was|present|complain|no |now|today|on )\w*", re.IGNORECASE)
_LONGEST: Final = 1_000
"""Characters of a sentence: what runs on without an end is cut there."""


def sentences(text: str) -> Iterator[Sentence]:
    """The sentences of a text in their order.

    A heading on a line of its own holds until the next one, or an empty line. One before a sentence holds for that
    sentence and for a word or two behind it on the line: "PMH: asthma. Gout. Denies fever."
    """
    section, before, is_open, is_inline = Section.OTHER, 0, False, False
    for begin, end in _spans(text):
        lines = text.count("\n", before, begin)
        if (not is_open and lines > 1) or (is_inline and (lines or not _is_short(text, begin, end))):
            section = Section.OTHER
        heading = _HEADING.match(text, begin, end)
        named = _NAMES.get(" ".join(heading[1].lower().split())) if heading else None
        said = begin
        if heading and named is not None:
            section, said = named, heading.end()
            is_inline = said < end
        elif heading and text[heading.end() - 1] == ":" and begin == _line_begin(text, begin):
            section = Section.OTHER  # one that we do not know ends the one before
        before, is_open = end, said == end
        yield Sentence(begin=begin, end=end, said=said, section=section)


def _is_short(text: str, begin: int, end: int) -> bool:
    return end - begin <= _SHORT and not _VERB.search(text, begin, end)


def _line_begin(text: str, at: int) -> int:
    begin = text.rfind("\n", max(0, at - 80), at) + 1
    return begin + len(text[begin:at]) - len(text[begin:at].lstrip())


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of each sentence, without the space around it."""
    begin = 0
    for found in _BREAK.finditer(text):
        if found[0] == "\n":
            if not _ends_line(text, begin, found.start()):
                continue
        elif not _ends_sentence(text, begin, found):
            continue
        yield from _bounded(text, begin, found.end())
        begin = found.end()
    yield from _bounded(text, begin, len(text))


def _ends_sentence(text: str, begin: int, stop: re.Match[str]) -> bool:
    before = _WORD_BEFORE.search(text, max(begin, stop.start() - 12), stop.start())
    if stop[0][0] == "?" and text[stop.start() - 1 : stop.start()].strip() == "":
        return False  # "? pneumothorax" asks about what follows
    if stop[0] != "." or before is None:
        return True
    word = before[0].lower().lstrip(".")
    is_number_of_list = word.isdigit() and before.start() <= begin + 1
    is_initial = len(word) == 1 and before[0].isupper() and text[before.start() - 1 : before.start()].isspace()
    return not (word in _ABBREVIATIONS or is_number_of_list or is_initial)


def _ends_line(text: str, begin: int, at: int) -> bool:
    """Whether a line's end ends a sentence: not where the next line goes on in small letters."""
    following = text[at + 1 : at + 81]
    goes_on = following.lstrip(" \t\r")[:1].islower() and not _BULLET.match(following)
    is_heading = bool(_HEADING.fullmatch(text[max(begin, at - 60) : at].lstrip("\n")))
    return not goes_on or is_heading


def _bounded(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    while begin < end:
        part = text[begin : min(end, begin + _LONGEST)]
        bare = part.strip()
        if bare:
            start = begin + part.index(bare[0])
            yield start, start + len(bare)
        begin += _LONGEST

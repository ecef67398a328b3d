"""Layer (d) for clinical notes: what a language model says of a note must be what the rules read in it.

Its sentence is read by the same rules as the note. Each mention in it must stand in the note with the same negation,
person and time, no more certain, and on no other side; a number must stand there too. What the rules do not know and
the model points out must stand word for word in the line that it names; what is said of it is read by the rules again,
so that no model can turn a negation around.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from models.safety.language import is_of_vocabulary
from worklist.notes.lexicon import Kind
from worklist.notes.reading import NoteReading
from worklist.notes.sentences import Sentence, sentences
from worklist.notes.statements import NoteStatement, statements_of
from worklist.notes.tokens import Phrases, tokens

_NUMBER = re.compile(r"\d+(?:[.,/]\d+)*")


def faults_of_note_consistency(summary: str, reading: NoteReading) -> list[str]:
    """Where a sentence departs from the note; none where it keeps to it."""
    said = [one for part in sentences(summary) for one in statements_of(summary, part)]
    faults = []
    if any(not any(_bears_out(one, other) for other in reading.statements) for one in said):
        faults.append("it states what the note does not state so")
    if not said and reading.statements:
        faults.append("it states nothing of what the note states")
    if set(_NUMBER.findall(summary)) - set(_NUMBER.findall(reading.text)):
        faults.append("it gives a number that is not in the note")
    return faults


def own_statements(
    proposed: Iterable[Mapping[str, object]], lines: Sequence[str], reading: NoteReading
) -> tuple[NoteStatement, ...]:
    """What the language model adds to the statements of the rules, as the rules read it in the note.

    Args:
        proposed: kind, words and line of each.
        lines: the lines that it was shown, as they stand in the note, numbered from 1.
        reading: of the note.
    """
    kinds: dict[str, Kind] = {}
    for one in proposed:
        words, number = str(one["words"]), int(str(one["line"]))
        line = lines[number - 1] if number <= len(lines) else ""
        if re.search(rf"(?<!\w){re.escape(words)}(?!\w)", line, re.IGNORECASE) and not _is_common(words):
            kinds.setdefault(words.lower(), Kind(str(one["kind"])))
    if not kinds:
        return ()
    more = Phrases(kinds)
    known = {(one.begin, one.end) for one in reading.statements}
    found = (one for part in _sentences_with(kinds, reading) for one in statements_of(reading.text, part, more))
    return tuple(
        one
        for one in found
        if (one.begin, one.end) not in known and one.text.lower() in kinds and not _overlaps(one, known)
    )


def _bears_out(said: NoteStatement, noted: NoteStatement) -> bool:
    mine, its = (" ".join(word.stem for word in tokens(one.text)) for one in (said, noted))
    return (
        (mine in its or its in mine)
        and (said.is_negated, said.who, said.when) == (noted.is_negated, noted.who, noted.when)
        and (said.is_uncertain or not noted.is_uncertain)
        and set(said.sides) <= set(noted.sides)
        and said.is_allergy == noted.is_allergy
    )


def _is_common(words: str) -> bool:
    """Whether all of the words are those of any report, which are no terms."""
    return all(is_of_vocabulary(word) for word in words.split())


def _sentences_with(kinds: Collection[str], reading: NoteReading) -> Iterable[Sentence]:
    return (
        part
        for part in sentences(reading.text)
        if any(words in reading.text[part.begin : part.end].lower() for words in kinds)
    )


def _overlaps(one: NoteStatement, known: Iterable[tuple[int, int]]) -> bool:
    return any(begin < one.end and one.begin < end for begin, end in known)

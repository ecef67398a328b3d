"""Where a note and a film contradict each other, each named: side, presence, patient.

Only what the triage names on the film counts: a film that names nothing contradicts no note, since the absence of a
flag is never a negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from worklist.notes.film import FilmFacts, NamedFinding
from worklist.notes.patient import NotedPatient, differences
from worklist.notes.statements import NoteStatement, Source, When, Who
from worklist.terms import MENTIONS
from worklist.words import in_a_sentence


class ContradictionKind(StrEnum):
    """In what note and film differ."""

    SIDE = "side"
    PRESENCE = "presence"
    PATIENT = "patient"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contradiction:
    """One of them: a sentence for a reader, and the statement that it is about, where it is about one."""

    kind: ContradictionKind
    text: str
    statement: NoteStatement | None = None


def finding_of(statement: NoteStatement) -> str | None:
    """The key of the finding that a statement is about; None where a film shows no such thing."""
    return next((key for key, mention in MENTIONS.items() if mention.search(statement.text)), None)


def contradictions_of(
    statements: Iterable[NoteStatement], noted: NotedPatient, age: Decimal | None, film: FilmFacts, source: Source
) -> tuple[Contradiction, ...]:
    """What a note, or the order's reason, says against its film."""
    told = differences(noted, age, film, source)
    others = [Contradiction(kind=ContradictionKind.PATIENT, text=text) for text in told]
    named = {one.key: one for one in film.named or ()}
    present = [one for one in statements if one.who is Who.PATIENT and one.when is When.NOW and not one.is_allergy]
    found = []
    for key, finding in named.items():
        about = [one for one in present if finding_of(one) == key]
        found += _of_side(finding, [one for one in about if not one.is_negated], source)
        if not any(not one.is_negated for one in about):
            found += _of_presence(finding, about, source)
    return (*others, *found)


def _of_side(finding: NamedFinding, stated: Sequence[NoteStatement], source: Source) -> list[Contradiction]:
    """Of all that the note says of a finding: none where any of it agrees, or no side is stated."""
    with_side = [one for one in stated if one.sides]
    if finding.side is None or not with_side or any(finding.side in one.sides for one in with_side):
        return []
    first = with_side[0]
    text = f"The {source} says {first.sides[0]}, the film {finding.side}: {in_a_sentence(finding.label)}."
    return [Contradiction(kind=ContradictionKind.SIDE, text=text, statement=first)]


def _of_presence(finding: NamedFinding, denied: Sequence[NoteStatement], source: Source) -> list[Contradiction]:
    about = [one for one in denied if not one.sides or finding.side is None or finding.side in one.sides]
    if not about:
        return []
    side = f" on the {finding.side}" if finding.side else ""
    text = f"The {source} denies {in_a_sentence(finding.label)}, the film names it{side}."
    return [Contradiction(kind=ContradictionKind.PRESENCE, text=text, statement=about[0])]

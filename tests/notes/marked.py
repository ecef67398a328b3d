"""Reads the marked sentences, and counts how many of their statements are found: bench and tests share it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worklist.notes.reading import read_note
from worklist.notes.statements import NoteStatement, When, Who

DEVELOP = Path(__file__).with_name("develop.txt")
HELD_OUT = Path(__file__).with_name("held_out.txt")
_TIMES = {"past": When.PAST, "if": When.HYPOTHETICAL}


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A statement as a person marked it, or as the rules found it: all but its words must agree exactly."""

    kind: str
    words: str
    negated: bool
    uncertain: bool
    who: Who
    when: When
    sides: frozenset[str]
    dose: str

    def is_as(self, other: Marked) -> bool:
        """Whether the two are one statement: the words of one lie within those of the other, and the rest is equal."""
        mine, its = self.words.lower(), other.words.lower()
        return (mine in its or its in mine) and self._rest() == other._rest()

    def _rest(self) -> tuple[object, ...]:
        return self.kind, self.negated, self.uncertain, self.who, self.when, self.sides, self.dose


@dataclass(frozen=True, kw_only=True)
class Counted:
    """How extraction did on a set."""

    sentences: int
    right: int
    found: int
    marked: int
    faults: tuple[str, ...]

    @property
    def precision(self) -> float:
        """Share of what was found that is right."""
        return self.right / self.found

    @property
    def recall(self) -> float:
        """Share of what was marked that was found."""
        return self.right / self.marked

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return 2 * self.right / (self.found + self.marked)


def sentences_of(path: Path) -> Iterator[tuple[str, list[Marked]]]:
    """Each text of a file with what is marked in it."""
    text, marks = "", list[Marked]()
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0] == " ":
            marks.append(_mark(line))
            continue
        if text:
            yield text, marks
        text, marks = line.strip(), []
    yield text, marks


def count(path: Path) -> Counted:
    """Hold the rules against the marks of a file."""
    right = found = marked = sentences = 0
    faults = []
    for text, marks in sentences_of(path):
        sentences += 1
        left = list(marks)
        mine = [_found(one) for one in read_note(text).statements]
        for one in mine:
            match = next((mark for mark in left if one.is_as(mark)), None)
            if match:
                left.remove(match)
                right += 1
            else:
                faults.append(f"wrong in {text!r}: {one}")
        faults += [f"missed in {text!r}: {mark}" for mark in left]
        found, marked = found + len(mine), marked + len(marks)
    return Counted(sentences=sentences, right=right, found=found, marked=marked, faults=tuple(faults))


def _mark(line: str) -> Marked:
    named, _, flags = line.strip().partition(":")
    kind, _, words = named.partition(" ")
    said = [flag.strip() for flag in flags.split(",") if flag.strip()]
    sides = {"left", "right"} if "both" in said else {"left", "right"} & set(said)
    return Marked(
        kind=kind,
        words=words.strip(),
        negated="neg" in said,
        uncertain="unc" in said,
        who=Who.FAMILY if "fam" in said else Who.PATIENT,
        when=next((_TIMES[flag] for flag in said if flag in _TIMES), When.NOW),
        sides=frozenset(sides),
        dose=next((flag.removeprefix("dose=") for flag in said if flag.startswith("dose=")), ""),
    )


def _found(one: NoteStatement) -> Marked:
    return Marked(
        kind=one.kind,
        words=one.text,
        negated=one.is_negated,
        uncertain=one.is_uncertain,
        who=one.who,
        when=one.when,
        sides=frozenset(one.sides),
        dose=one.dose,
    )

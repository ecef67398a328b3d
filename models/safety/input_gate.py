"""Layer (a), the input gate: which films and foreign texts a language model sees at all, and what of them is quoted.

Texts of the record (a reason for the study, an earlier report) may hold anything, also what somebody wrote for a
machine to read. They are bounded, stripped of what no reader sees, and taken apart into numbered sentences; a sentence
that speaks to a machine is withheld. The model quotes by number, so what stands as a quotation later is the record's
own sentence. The gate is the first of five layers and not the last: that a text passes it gives it no power.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from models.safety.language import names_patient
from models.safety.phrases import TO_A_MACHINE
from worklist.account import Check, Layer, Verdict
from worklist.finding import TURNED_FILM, Analysis, Snippet
from worklist.terms import MENTIONS, SENTENCE_END

REASON: Final = "reason for study"
_MOST_CHARACTERS: Final = 20_000  # of a text: a report of megabytes is read to here
_MOST_SENTENCES: Final = 24
LONGEST: Final = 300
"""Characters of a sentence that are shown; what has as many, or one less, may have been cut."""
_HIDDEN: Final = frozenset({"Cf", "Co", "Cs", "Cn", "Cc"})  # format characters (bidi, zero-width, tags), controls
_WHY_WITHHELD: Final = "they speak to a machine, hide characters or name the patient"
_SOFT_HYPHEN: Final = "\u00ad"
_SEEN: Final = "\n\r\t"
_MARKUP: Final = str.maketrans(
    {"<": "(", ">": ")", "{": "(", "}": ")", "[": "(", "]": ")", "`": "'", '"': "'", "\\": "/"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One sentence of the record: as the model is shown it, and as it stands there."""

    shown: str
    snippet: Snippet


@dataclass(frozen=True, kw_only=True, slots=True)
class Admitted:
    """What passes the gate.

    Attributes:
        lines: sentences of the record, in the order in which they are numbered from 1.
        check: the gate's trace.
    """

    lines: tuple[Line, ...]
    check: Check


def film_refused(analysis: Analysis) -> str:
    """Why a language model is not to see a film; "" where it may."""
    if TURNED_FILM in {note.code for note in analysis.quality}:
        return "the film lies on its side or head, and the model knows upright films alone"
    return ""


def admit(reason: str, prior_reports: Sequence[tuple[str, str]], identifiers: Collection[str] = ()) -> Admitted:
    """The foreign texts that a language model may see.

    Args:
        reason: the reason for the study.
        prior_reports: pairs of (source, text), newest first.
        identifiers: the patient's names and numbers, which leave the record for no model.
    """
    texts = [(REASON, reason), *prior_reports]
    sentences = [line for source, text in texts for line in _sentences(source, text, identifiers)]
    withheld = sum(line is None for line in sentences)
    passed = [line for line in sentences if line is not None]
    telling = [line for line in passed if line.snippet.source == REASON or _tells(line.shown)]
    kept = (telling if len(passed) > _MOST_SENTENCES else passed)[:_MOST_SENTENCES]
    notes = []
    if withheld:
        notes.append(f"{withheld} of {len(sentences)} sentences withheld: {_WHY_WITHHELD}")
    if len(kept) < len(passed):
        notes.append(f"{len(kept)} of {len(passed)} sentences shown")
    if any(len(text) > _MOST_CHARACTERS for _, text in texts):
        notes.append(f"a text of more than {_MOST_CHARACTERS} characters was read to there")
    return Admitted(
        lines=tuple(kept),
        check=Check(
            layer=Layer.INPUT,
            attempt=1,
            verdict=Verdict.CHANGED if notes else Verdict.PASSED,
            detail="; ".join(notes),
        ),
    )


def plain(text: str) -> str:
    """A text as one line without what no reader sees, its compatibility characters folded and its markup disarmed."""
    folded = unicodedata.normalize("NFKC", text)
    seen = "".join(
        " " if character in _SEEN else "" if unicodedata.category(character) in _HIDDEN else character
        for character in folded
    )
    return " ".join(seen.translate(_MARKUP).split())


def speaks_to_a_machine(text: str) -> bool:
    """Whether a text, as it stands or with its tricks undone, is addressed to a machine rather than to a reader."""
    folded = plain(text)
    readings = (text, folded, _unspaced(folded), _latin(folded))
    return any(pattern.search(reading) for reading in readings for pattern in TO_A_MACHINE)


def _sentences(source: str, text: str, identifiers: Collection[str]) -> Iterator[Line | None]:
    """The sentences of a text; None in the place of one that is withheld."""
    bounded = text[:_MOST_CHARACTERS]
    if speaks_to_a_machine(" ".join(bounded.split())) and not any(
        speaks_to_a_machine(part) for part in SENTENCE_END.split(bounded)
    ):
        yield None  # an instruction that runs over several sentences, each of them harmless: none of them is shown
        return
    for part in SENTENCE_END.split(bounded):
        whole = " ".join(part.split())
        original = whole[:LONGEST].rstrip()
        if not original:
            continue
        if _hides(whole) or speaks_to_a_machine(part) or names_patient(whole, identifiers):
            yield None
            continue
        yield Line(shown=f"{source}: {plain(original)}", snippet=Snippet(source=source, snippet=original))


def _hides(text: str) -> bool:
    return any(
        unicodedata.category(character) in _HIDDEN and character not in {*_SEEN, _SOFT_HYPHEN} for character in text
    )


def _tells(sentence: str) -> bool:
    return any(mention.search(sentence) for mention in MENTIONS.values())


def _unspaced(text: str) -> str:
    """Letters set apart from each other put together: "i g n o r e" is "ignore"."""
    return re.sub(r"\b(?:\w[ .\-_*]){3,}\w\b", lambda found: re.sub(r"[ .\-_*]", "", found[0]), text)


def _latin(text: str) -> str:
    """Accents off, and Greek and Cyrillic letters that look Latin as such."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).translate(_LOOKALIKES)


_LOOKALIKES: Final = str.maketrans(
    "аеорсухіјѕԁһοαενικτАВЕКМНОРСТХΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijsdhoaeviktABEKMHOPCTXABEZHIKMNOPTYX",
)

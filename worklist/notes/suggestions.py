"""What a note asks a reader to look at: fixed sentences of attention.toml, never a treatment and never a diagnosis."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from worklist.finding import KNOWN_FINDINGS
from worklist.notes.contradictions import finding_of
from worklist.notes.film import FilmFacts
from worklist.notes.lexicon import SUPPRESSES_IMMUNITY, Kind, listed
from worklist.notes.statements import NoteStatement, Source
from worklist.notes.tokens import Phrases, tokens
from worklist.words import in_a_sentence, joined

_CONTENT: Final = (Path(__file__).parent / "attention.toml").read_bytes()
_VALUES: Final[dict[str, Any]] = tomllib.loads(_CONTENT.decode())
SHA256: Final = hashlib.sha256(_CONTENT).hexdigest()
_SUGGESTIONS: Final[Phrases[str]] = Phrases(
    {phrase: entry["says"] for entry in _VALUES["suggestion"] for phrase in listed(entry["words"])}
)
_TUBES: Final[Phrases[bool]] = Phrases(dict.fromkeys(listed(_VALUES["tubes"]["words"]), True))
_MOST_NAMED: Final = 4


def findings_asked(statements: Iterable[NoteStatement]) -> tuple[str, ...]:
    """The keys of the findings that a note raises as a question: what it states as uncertain first, then the rest."""
    about = [(one, finding_of(one)) for one in statements if one.is_present]
    ordered = sorted(about, key=lambda pair: not pair[0].is_uncertain)
    return tuple(dict.fromkeys(key for _, key in ordered if key is not None))


def suggestions_of(
    text: str, statements: Sequence[NoteStatement], film: FilmFacts | None, source: Source
) -> tuple[str, ...]:
    """The sentences, each once; what a request asks is its own line, so that none repeats it."""
    return tuple(dict.fromkeys(_suggestions(text, statements, film, source)))


def _suggestions(
    text: str, statements: Sequence[NoteStatement], film: FilmFacts | None, source: Source
) -> Iterator[str]:
    asked = [
        in_a_sentence(KNOWN_FINDINGS[key].label)
        for key in findings_asked(one for one in statements if one.is_uncertain)
    ]
    if asked and source is Source.NOTE:
        yield _VALUES["asked"].format(what=joined(asked))
    present = [one for one in statements if one.is_present]
    if film is not None and film.named is not None:
        named = {one.key for one in film.named}
        certain = dict.fromkeys(finding_of(one) for one in present if not one.is_uncertain)
        unnamed = [in_a_sentence(KNOWN_FINDINGS[key].label) for key in certain if key is not None and key not in named]
        if unnamed:
            yield _VALUES["unnamed"].format(source=source, what=joined(unnamed))
    for one in present:
        match = _SUGGESTIONS.at(tokens(one.text), 0)
        if match:
            yield match.meaning
    lowering = [one for one in _about_immunity(statements) if SUPPRESSES_IMMUNITY.at(tokens(one.text), 0)]
    if lowering:
        names = list(dict.fromkeys(one.text.lower() if not one.text.isupper() else one.text for one in lowering))
        yield _VALUES["immunity"].format(what=joined(names[:_MOST_NAMED]))
    if next(_TUBES.among(tokens(text)), None):
        yield _VALUES["tubes"]["says"]


def _about_immunity(statements: Iterable[NoteStatement]) -> Iterator[NoteStatement]:
    """What lowers it now: a condition counts although it is of long ago, a medicine only while it is taken."""
    for one in statements:
        if one.is_present or (one.kind is Kind.CONDITION and not one.is_negated and one.is_of_past):
            yield one

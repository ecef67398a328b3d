"""What a study is done for, and the sentence that answers it before all else, by the triage alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from models.context import StudyContext
from models.safety.input_gate import admit
from worklist.finding import KNOWN_FINDINGS
from worklist.notes.reading import findings_asked_in
from worklist.triage import NamedFinding, Triage
from worklist.words import in_a_sentence, joined

TEXTS: Final = {
    "asked": "Asked about {asked}.",
    "not_named": "Not named on this film, which excludes nothing: {findings}.",
    "unreliable": "Not found reliably by this model: {findings}.",
}
_NOTE: Final = "note"


def findings_asked_of(context: StudyContext) -> tuple[str, ...]:
    """The keys of the findings that the order's reason asks about, then those of the note; of what passes the gate."""
    admitted = admit(context.reason, ((_NOTE, context.note),) if context.note else (), context.identifiers)
    asked = (key for line in admitted.lines for key in findings_asked_in(line.snippet.snippet))
    return tuple(dict.fromkeys(asked))


def asked_first(named: Iterable[NamedFinding], asked: Sequence[str]) -> list[NamedFinding]:
    """Named findings with those first that are asked about."""
    places = {key: place for place, key in enumerate(asked)}
    return sorted(named, key=lambda one: places.get(one.finding.type.key, len(places)))


def answer_to(asked: Sequence[str], triage: Triage) -> str:
    """What was asked, and what is to be said of it that is not named anyway; "" where nothing was."""
    if not asked:
        return ""
    named = {one.finding.type.key for one in triage.named}
    shown = {finding.type.key for finding in triage.shown}
    not_named = [key for key in asked if key in shown - named]
    unreliable = [key for key in asked if key not in shown | named]
    said = [TEXTS["asked"].format(asked=_labels(asked))]
    said += [TEXTS["not_named"].format(findings=_labels(not_named))] if not_named else []
    said += [TEXTS["unreliable"].format(findings=_labels(unreliable))] if unreliable else []
    return " ".join(said)


def _labels(keys: Iterable[str]) -> str:
    return joined([in_a_sentence(KNOWN_FINDINGS[key].label) for key in keys])

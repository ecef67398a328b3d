"""A note's reading as JSON values: the object of POST /text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worklist.answers import model_answer
from worklist.finding import DISCLAIMER, KNOWN_FINDINGS
from worklist.notes.lexicon import Kind
from worklist.notes.measurements import UNITS, Measurement
from worklist.notes.reading import RULES, NoteReading
from worklist.notes.risk import Score
from worklist.notes.statements import NoteStatement, When, Who
from worklist.words import in_a_sentence, joined

_MOST_IN_A_PART = 8


def note_answer(reading: NoteReading, language_model: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The object; begin and end are places in the note's text, in characters.

    Args:
        reading: of the note.
        language_model: what one adds, or why it adds nothing; None where none is asked.
    """
    return {
        "summary": summary_of(reading),
        "statements": [statement_answer(reading.text, one) for one in reading.statements],
        "measurements": [_measurement(reading.text, one) for one in reading.measurements],
        "risk": {
            "class": reading.risk.risk,
            "rule": reading.risk.rule,
            "reasons": list(reading.risk.reasons),
            "scores": [_score(reading, one) for one in reading.risk.scores],
        },
        "language_model": language_model,
        **request_answer(reading),
    }


def request_answer(reading: NoteReading) -> dict[str, Any]:
    """What is told of the reason that an order states: the object of GET /text/{study_instance_uid}."""
    return {
        "asked": [KNOWN_FINDINGS[key].label for key in reading.asked],
        "attention": list(reading.attention),
        "contradictions": [
            {
                "kind": one.kind,
                "text": one.text,
                "sentence": _sentence(reading.text, one.statement) if one.statement else None,
            }
            for one in reading.contradictions
        ],
        "remarks": list(reading.remarks),
        "language": reading.language or "English",
        "model": model_answer(RULES),
        "disclaimer": DISCLAIMER,
    }


def statement_answer(text: str, one: NoteStatement) -> dict[str, Any]:
    """One statement with the sentence it stands in, word for word."""
    return {
        "kind": one.kind,
        "text": one.text,
        "negated": one.is_negated,
        "uncertain": one.is_uncertain,
        "who": one.who,
        "when": one.when,
        "sides": list(one.sides),
        "dose": one.dose or None,
        "allergy": one.is_allergy,
        "begin": one.begin,
        "end": one.end,
        "sentence": _sentence(text, one),
        "sentence_begin": one.sentence.begin,
        "sentence_end": one.sentence.end,
    }


def summary_of(reading: NoteReading) -> str:
    """What the note states, in a few sentences that repeat it and conclude nothing."""
    if reading.language:
        return f"The note seems to be in {reading.language}. Only English is read, so nothing of it was."
    parts = _parts(reading.statements)
    said = " ".join(f"{begins} {_listed(those)}." for begins, those in parts if those)
    return said or "The note states no symptom, condition or medicine that the rules know, which excludes nothing."


def _parts(statements: Sequence[NoteStatement]) -> Iterable[tuple[str, list[NoteStatement]]]:
    own = [one for one in statements if one.who is Who.PATIENT and not one.is_allergy]
    now = [one for one in own if one.when is When.NOW]
    stated = [one for one in now if not one.is_negated]
    certain = [one for one in stated if not one.is_uncertain]
    return (
        ("The note states", [one for one in certain if one.kind is not Kind.MEDICATION]),
        ("It raises", [one for one in stated if one.is_uncertain]),
        ("It denies", [one for one in now if one.is_negated]),
        ("Of the past it states", [one for one in own if one.when is When.PAST and not one.is_negated]),
        ("Of the family it states", [one for one in statements if one.who is Who.FAMILY and not one.is_negated]),
        ("Medicines:", [one for one in certain if one.kind is Kind.MEDICATION]),
        ("Not borne:", [one for one in statements if one.is_allergy and not one.is_negated]),
    )


def _listed(statements: Iterable[NoteStatement]) -> str:
    words = list(dict.fromkeys(_words(one) for one in statements))
    more = len(words) - _MOST_IN_A_PART
    return joined([*words[:_MOST_IN_A_PART], *([f"{more} more"] if more > 0 else [])])


def _words(one: NoteStatement) -> str:
    side = {0: "", 1: f" ({one.sides[0]})" if one.sides else ""}.get(len(one.sides), " (both sides)")
    return f"{in_a_sentence(one.text)}{side}{f' {one.dose}' if one.dose else ''}"


def _sentence(text: str, one: NoteStatement) -> str:
    return text[one.sentence.begin : one.sentence.end]


def _measurement(text: str, one: Measurement) -> dict[str, Any]:
    return {
        "name": one.quantity,
        "value": float(one.value),
        "unit": UNITS[one.quantity],
        "text": one.text,
        "counts": not one.why_not,
        "why_not": one.why_not,
        "begin": one.begin,
        "end": one.end,
        "sentence": text[one.sentence.begin : one.sentence.end],
    }


def _score(reading: NoteReading, score: Score) -> dict[str, Any]:
    evidence = reading.inputs.evidence if reading.inputs else {}
    return {
        "rule": score.rule,
        "class": score.risk,
        "at_least": score.at_least,
        "points": score.least,
        "most_points": score.most,
        "missing": list(score.missing),
        "inputs": [
            {
                "name": one.name,
                "value": one.value or None,
                "points": one.points,
                "most": one.most,
                "evidence": _evidence(evidence, one.name) if one.value else None,
            }
            for one in score.items
        ],
    }


def _evidence(evidence: Mapping[str, str], name: str) -> str | None:
    """The words behind an input: a pressure stands under its two parts, a saturation without its scale."""
    names = (
        name,
        name.partition(" (")[0],
        "systolic blood pressure",
        "diastolic blood pressure",
        "blood urea nitrogen",
    )
    allowed = names if name == "blood pressure" else (*names[:2], names[4]) if name == "urea" else names[:2]
    return next((evidence[one] for one in allowed if one in evidence), None)

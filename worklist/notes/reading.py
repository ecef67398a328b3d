"""A note read by rules: the one way from a text to what is said of it."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from worklist.errors import InvalidInput
from worklist.finding import Algorithm, FindingType
from worklist.notes import context, lexicon, suggestions
from worklist.notes.contradictions import Contradiction, contradictions_of, finding_of
from worklist.notes.film import FilmFacts
from worklist.notes.inputs import Inputs, inputs_of
from worklist.notes.language import is_english, other_language
from worklist.notes.measurements import Measurement, Quantity, measurements_of
from worklist.notes.patient import patient_of
from worklist.notes.risk import NEWS2_FROM_AGE, RiskClass, Rule, Score, curb65, highest, news2
from worklist.notes.sentences import Sentence, sentences
from worklist.notes.statements import NoteStatement, Source, statements_of
from worklist.notes.suggestions import findings_asked, suggestions_of
from worklist.uids import device_uid
from worklist.words import counted

MOST_CHARACTERS: Final = 50_000
"""Of a note; a longer one is refused."""
VERSION: Final = "1"
_SHA256: Final = hashlib.sha256(
    f"{VERSION} {lexicon.SHA256} {context.SHA256} {suggestions.SHA256}".encode()
).hexdigest()
RULES: Final = Algorithm(
    name="Firstread note rules", version=VERSION, sha256=_SHA256, device_uid=device_uid(f"note rules {_SHA256}")
)
_PNEUMONIA: Final = frozenset({FindingType.PNEUMONIA.key})
_CALLS_FOR_CURB65: Final = frozenset(
    {FindingType.PNEUMONIA.key, FindingType.CONSOLIDATION.key, FindingType.LUNG_OPACITY.key}
)
_INFECTIONS: Final = frozenset(
    {"chest infection", "lung infection", "lower respiratory tract infection", "lrti", "cap", "hap", "vap", "pcp"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Risk:
    """The class of risk with its reasons, and the rules behind it.

    Attributes:
        rule: whose class it is; None where no rule gives one.
        reasons: one for each rule, whether it counts or why not.
    """

    risk: RiskClass
    rule: Rule | None
    reasons: tuple[str, ...]
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NoteReading:
    """What a note says.

    Attributes:
        text: the note as it was sent, without what no reader sees; all places are in it.
        language: that it is not in, where it is not English and nothing of it was read; "" else.
        asked: keys of the findings that it raises as a question, the first one first.
        remarks: what was not read or not counted, and why.
    """

    text: str
    language: str
    statements: tuple[NoteStatement, ...]
    measurements: tuple[Measurement, ...]
    inputs: Inputs | None
    risk: Risk
    asked: tuple[str, ...]
    attention: tuple[str, ...]
    contradictions: tuple[Contradiction, ...]
    remarks: tuple[str, ...]


def readable(text: str) -> str:
    """A note without control and format characters, which no reader sees and which could part a word.

    Raises:
        InvalidInput: empty_note, note_too_long.
    """
    if len(text) > MOST_CHARACTERS:
        raise InvalidInput(
            "note_too_long",
            f"the note has {len(text)} characters and at most {MOST_CHARACTERS} are read: send the part that matters",
        )
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    seen = "".join(one for one in lines if one in "\n\t" or unicodedata.category(one) not in {"Cc", "Cf", "Cs", "Co"})
    if not seen.strip():
        raise InvalidInput("empty_note", "the note is empty: send its text")
    return seen


def read_note(  # noqa: PLR0913 - all that may lie beside a note
    text: str,
    *,
    age: int | None = None,
    sex: str = "",
    film: FilmFacts | None = None,
    reason: str = "",
    source: Source = Source.NOTE,
) -> NoteReading:
    """Read a note.

    Args:
        text: the note.
        age: of the patient in years, as whoever sends it says.
        sex: M or F, likewise; "" where it is not said.
        film: that lies beside it.
        reason: for the study, as the order states it: what it asks comes before what the note asks.
        source: what the text is, as the sentences about it call it.

    Raises:
        InvalidInput: empty_note, note_too_long.
    """
    seen = readable(text)
    parts, foreign, has_english = _in_english(seen)
    if not has_english and (language := other_language(seen)):
        return _unread(seen, language, source)
    statements = tuple(one for part in parts for one in statements_of(seen, part))
    measurements = tuple(one for part in parts for one in measurements_of(seen, part))
    noted_age = _stated_age(measurements)
    if age is not None:
        inputs = inputs_of(seen, statements, measurements, age=Decimal(age), age_from="as given with the note")
    elif film and noted_age is None:
        inputs = inputs_of(seen, statements, measurements, age=film.age, age_from="as the film states")
    else:
        inputs = inputs_of(seen, statements, measurements)
    remarks = list(inputs.remarks)
    if foreign:
        remarks.insert(0, f"{counted(foreign, 'sentence')} in another language than English not read")
    noted = patient_of(seen)
    if sex and noted.sex and sex != noted.sex:
        remarks.append("the sex given with the note is not the one in it")
    if age is not None and noted_age is not None and abs(noted_age - age) > 1:
        remarks.append(f"the age given with the note, {age}, is not the one in it, {noted_age:f}: the one given counts")
    years = Decimal(age) if age is not None else noted_age
    return NoteReading(
        text=seen,
        language="",
        statements=statements,
        measurements=measurements,
        inputs=inputs,
        risk=_risk(inputs, statements, film),
        asked=tuple(dict.fromkeys((*findings_asked_in(reason), *findings_asked(statements)))),
        attention=suggestions_of(seen, statements, film, source),
        contradictions=contradictions_of(statements, noted, years, film, source) if film else (),
        remarks=tuple(remarks),
    )


def findings_asked_in(text: str) -> tuple[str, ...]:
    """The keys of the findings that a text raises as a question; of a longer one, what stands at its beginning."""
    part = text[:MOST_CHARACTERS]
    return findings_asked(one for sentence in sentences(part) for one in statements_of(part, sentence))


def _unread(text: str, language: str, source: Source) -> NoteReading:
    why = f"the {source} seems to be in {language}: only English is read, so nothing of it was"
    return NoteReading(
        text=text,
        language=language,
        statements=(),
        measurements=(),
        inputs=None,
        risk=Risk(risk=RiskClass.UNKNOWN, rule=None, reasons=(why,)),
        asked=(),
        attention=(),
        contradictions=(),
        remarks=(why,),
    )


def _in_english(text: str) -> tuple[list[Sentence], int, bool]:
    """The sentences that are read, how many are in another language, and whether any is English beyond doubt.

    One such sentence is enough: else a few words in another language would keep a whole note from being read.
    """
    found = list(sentences(text))
    english = [one for one in found if not other_language(text[one.begin : one.end])]
    has_english = any(is_english(text[one.begin : one.end]) for one in english)
    return english, len(found) - len(english), has_english


def _stated_age(measurements: Iterable[Measurement]) -> Decimal | None:
    return next((one.value for one in measurements if one.quantity is Quantity.AGE and not one.why_not), None)


def _risk(inputs: Inputs, statements: Sequence[NoteStatement], film: FilmFacts | None) -> Risk:
    """NEWS2 of an adult who is not pregnant, and CURB-65 where there is a question of pneumonia as well."""
    known, why_no_news2 = inputs.known, ""
    is_child = known.age is not None and known.age < NEWS2_FROM_AGE
    if is_child:
        why_no_news2 = f"NEWS2 and CURB-65 are made for patients of {NEWS2_FROM_AGE} years and more"
    elif any("pregnan" in one.text.lower() and one.is_present for one in statements):
        why_no_news2 = "NEWS2 is not made for pregnant patients"
    scores, reasons = [], []
    why_curb65 = "" if is_child else _why_curb65(statements, film)
    if why_curb65:
        scores.append(curb65(known))
    if not why_no_news2:
        scores.append(news2(known))
    stated = [one for one in scores if len(one.missing) < len(one.items)]
    reasons += [_reason(one, "" if one.rule is Rule.NEWS2 else why_curb65) for one in stated]
    reasons += [f"{one.rule}: nothing that it counts is stated." for one in scores if one not in stated]
    if why_no_news2:
        reasons.append(f"{why_no_news2}.")
    if not why_curb65 and not is_child:
        reasons.append("CURB-65 is not counted: neither note nor film raises pneumonia.")
    if known.age is None:
        reasons.append(f"The age is not stated: the rules hold from {NEWS2_FROM_AGE} years on.")
    risk, rule = highest(scores) if stated else (RiskClass.UNKNOWN, None)
    return Risk(risk=risk, rule=rule, reasons=tuple(reasons), scores=tuple(stated))


def _why_curb65(statements: Sequence[NoteStatement], film: FilmFacts | None) -> str:
    stated = next(
        (
            one
            for one in statements
            if one.is_present and (finding_of(one) in _PNEUMONIA or one.text.lower() in _INFECTIONS)
        ),
        None,
    )
    if stated:
        return f"the note states {stated.text}"
    named = next((one for one in film.named or () if one.key in _CALLS_FOR_CURB65), None) if film else None
    return f"the film names {named.label.lower()}" if named else ""


def _reason(score: Score, why: str) -> str:
    """A rule's result in a sentence: why it counts, its points, its class, what keeps it from one and is missing."""
    rule = f"{score.rule} ({why})" if why else score.rule
    points = counted(score.least, "point")
    if not score.missing:
        return f"{rule}: {points}, {score.risk}."
    missing = f"not stated, and not taken for normal: {', '.join(score.missing)}"
    if score.risk is not RiskClass.UNKNOWN:
        return f"{rule}: at least {points}, {score.risk} whatever is missing; {missing}."
    certain = f", at least {score.at_least}" if score.at_least is not RiskClass.UNKNOWN else ""
    return f"{rule}: {score.least} to {score.most} points{certain}; {missing}."

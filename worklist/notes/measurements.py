"""Numbers of a note that the risk rules know: each with its unit and the words in which it stands.

Only what is stated exactly, of the patient and as measured counts. A target, a usual value, one of the family or of
an if, one that is only "below 90", one without a unit where units differ, and one that no living patient has are kept
with the reason why they do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Final

from worklist.notes.sentences import Section, Sentence


class Quantity(StrEnum):
    """What is measured."""

    AGE = "age"
    RESPIRATORY_RATE = "respiratory rate"
    SATURATION = "oxygen saturation"
    SYSTOLIC = "systolic blood pressure"
    DIASTOLIC = "diastolic blood pressure"
    PULSE = "pulse"
    TEMPERATURE = "temperature"
    UREA = "urea"
    UREA_NITROGEN = "blood urea nitrogen"
    MENTAL_TEST = "abbreviated mental test score"
    COMA_SCALE = "Glasgow coma scale"


UNITS: Final = {
    Quantity.AGE: "years",
    Quantity.RESPIRATORY_RATE: "/min",
    Quantity.SATURATION: "%",
    Quantity.SYSTOLIC: "mmHg",
    Quantity.DIASTOLIC: "mmHg",
    Quantity.PULSE: "/min",
    Quantity.TEMPERATURE: "°C",
    Quantity.UREA: "mmol/L",
    Quantity.UREA_NITROGEN: "mg/dL",
    Quantity.MENTAL_TEST: "of 10",
    Quantity.COMA_SCALE: "of 15",
}
_PLAUSIBLE: Final[dict[Quantity, tuple[Decimal | int, Decimal | int]]] = {
    Quantity.AGE: (0, 125),
    Quantity.RESPIRATORY_RATE: (1, 90),
    Quantity.SATURATION: (30, 100),
    Quantity.SYSTOLIC: (30, 320),
    Quantity.DIASTOLIC: (10, 220),
    Quantity.PULSE: (10, 320),
    Quantity.TEMPERATURE: (24, 45),
    Quantity.UREA: (Decimal("0.3"), 100),
    Quantity.UREA_NITROGEN: (1, 280),
    Quantity.MENTAL_TEST: (0, 10),
    Quantity.COMA_SCALE: (3, 15),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A number of a note, in the unit of UNITS.

    Attributes:
        text: its words as they stand in the note, at text[begin:end].
        why_not: why it does not count; "" where it does.
    """

    quantity: Quantity
    value: Decimal
    text: str
    begin: int
    end: int
    sentence: Sentence
    why_not: str = ""

    @property
    def words(self) -> str:
        """The value for a reader: "28 /min"."""
        return f"{self.value.normalize():f} {UNITS[self.quantity]}"


_SEP: Final = (
    r"(?:\s{0,2}(?:of|is|was|were|are|at|to|now|about|around|rate|score|reading|level|on|room|air|ra|~|:|=|,|-)"
    r"(?![a-z])){0,4}\s{0,2}"
)
_CMP: Final = r"(?P<cmp>[<>≤≥]=?|less than|below|under|more than|greater than|above|over|at least|up to)?\s{0,2}"
# "24-28", "18, now 32": both are values, of which the worse one counts.
_TO: Final = r"\s?(?:[-–]|->|→|to|%?,?\s?(?:now|then|later))\s?"
_NUM: Final = rf"(?P<n>\d{{1,3}}(?:[.,]\d{{1,2}})?)(?![\d])(?:{_TO}(?P<m>\d{{1,3}}(?:[.,]\d{{1,2}})?)(?![\d/]))?"
_OLD: Final = (
    r"(?:mother|father|wife|husband|son|daughter|brother|sister|injury|scar|fracture|implant|prosthesis|history|graft)"
)
_PATTERNS: Final[tuple[tuple[Quantity, str], ...]] = (
    (
        Quantity.RESPIRATORY_RATE,
        rf"\b(?:RR|resp(?:iratory|iration)? rate|resps?|respirations?|breathing rate){_SEP}{_CMP}{_NUM}(?!\s?%)",
    ),
    (Quantity.RESPIRATORY_RATE, rf"(?<![\d.,/]){_NUM}\s?(?:breaths|respirations)\s?(?:/|per|a)\s?min"),
    (
        Quantity.SATURATION,
        (
            r"\b(?:Sp?[aA]?O2|SpO₂|SaO₂|(?:O2|oxygen) sat(?:uration)?s?|sats?|saturations?|saturating"
            r"|desaturat(?:ed|ing|es))"
            rf"(?:\son\s\d{{1,2}}(?:\.\d)?\s?L(?:/min)?(?:\sO2)?\b)?{_SEP}{_CMP}{_NUM}\s?%?"
        ),
    ),
    (
        Quantity.SATURATION,
        rf"(?<![\d.,/]){_NUM}\s?%\s(?:(?:on|in)\s(?:room\s)?air|RA\b|on\s\d{{1,2}}(?:\.\d)?\s?L|sats?\b|saturation)",
    ),
    (Quantity.SYSTOLIC, rf"\b(?:SBP|systolic(?:\s(?:BP|blood pressure|pressure))?){_SEP}{_CMP}{_NUM}"),
    (Quantity.DIASTOLIC, rf"\b(?:DBP|diastolic(?:\s(?:BP|blood pressure|pressure))?){_SEP}{_CMP}{_NUM}"),
    (Quantity.PULSE, rf"\b(?:HR|heart rate|pulse(?: rate)?){_SEP}{_CMP}{_NUM}(?!\s?%)"),
    (Quantity.PULSE, rf"(?<![\d.,/]){_NUM}\s?(?:bpm|beats\s?(?:/|per|a)\s?min)"),
    (
        Quantity.TEMPERATURE,
        (
            r"\b(?:temp(?:erature)?|(?<!['’])T(?=[\s:=])|Tmax|fever|febrile|pyrexia|pyrexial|apyrexial|afebrile)"
            rf"{_SEP}{_CMP}{_NUM}\s?(?P<u>(?:°|º|deg(?:rees)?)?\s?(?:celsius|fahrenheit|[CF])\b)?"
            r"(?!\s?(?:days?|weeks?|h|hours?|/|mg|%|x|wk|d)\b)(?![/%])"
        ),
    ),
    (Quantity.TEMPERATURE, rf"(?<![\d.,/]){_NUM}\s?(?P<u>(?:°|º)\s?[CF]|degrees (?:celsius|fahrenheit))"),
    (
        Quantity.UREA,
        rf"\b(?:urea(?! nitrogen)|BUN|blood urea nitrogen){_SEP}{_CMP}{_NUM}\s?(?P<u>mmol\s?/\s?L|mg\s?/\s?dL)?",
    ),
    (Quantity.MENTAL_TEST, rf"\b(?:AMTS?|abbreviated mental test(?: score)?){_SEP}{_CMP}{_NUM}(?:\s?/\s?10)?"),
    (Quantity.COMA_SCALE, rf"\b(?:GCS|glasgow coma (?:scale|score)){_SEP}{_CMP}{_NUM}(?:\s?/\s?15)?"),
    (Quantity.AGE, rf"(?<![\d.,/])(?P<n>\d{{1,3}})[ -]?(?:(?:year|yr)s?[ -]?(?:old|of age)|y/?o)\b(?!\s{_OLD})"),
    (Quantity.AGE, r"(?<![\d.,/])(?P<n>\d{1,3})\s?(?:yrs?|y)\b(?=\s?(?:M|F|male|female|man|woman)\b)"),
    (Quantity.AGE, rf"\b(?:aged?){_SEP}(?P<n>\d{{1,3}})(?![\d/%]|\.\d)"),
    (Quantity.AGE, r"(?<![\w.,/])(?P<n>\d{2})(?-i:[MF])\b"),
)
_COMPILED: Final = tuple((quantity, re.compile(pattern, re.IGNORECASE)) for quantity, pattern in _PATTERNS)
_PRESSURE: Final = re.compile(
    rf"(?:\b(?:BP|NIBP|blood pressure){_SEP}{_CMP}(?P<s>\d{{2,3}})\s?/\s?(?P<d>\d{{2,3}})(?![\d/]))"
    r"|(?<![\d/.])(?P<s2>\d{2,3})\s?/\s?(?P<d2>\d{2,3})\s?mm\s?Hg"
    r"|(?:->|→|\b(?:now|then|later|repeat|currently|(?:falling|fell|dropped|dropping|down) to))\s{0,2}"
    r"(?P<s3>\d{2,3})\s?/\s?(?P<d3>\d{2,3})(?![\d/])",
    re.IGNORECASE,
)
_PRESSURE_GROUPS: Final = (("s", "d"), ("s2", "d2"), ("s3", "d3"))
_NOT_MEASURED: Final = re.compile(
    r"\b(?:if|when|should|target(?:ing)?|targets|aim(?:ing)?|keep|maintain|goal|baseline|usual|usually|normally|previous|"
    r"previously|prior|last (?:week|month|year)|yesterday|call for|until|scale|mother|father|wife|husband|sister|"
    r"brother|son|daughter|uncle|aunt)\b"
    r"(?:'s)?[^,;.]{0,40}$",
    re.IGNORECASE,
)
_DIGIT: Final = re.compile(r"\d")
_BEFORE: Final = 60  # characters before a number in which such a word is looked for
_FAHRENHEIT_FROM: Final = 75
_MG_DL_UREA: Final = Decimal("6.006")  # mg/dL of urea in a mmol/L
_TENTH: Final = Decimal("0.1")


def measurements_of(text: str, sentence: Sentence) -> tuple[Measurement, ...]:
    """The numbers of one sentence in their order, each once."""
    seen: dict[tuple[Quantity, int], Measurement] = {}
    for at, one in _found(text, sentence):
        seen.setdefault((one.quantity, at), one)
    return tuple(seen[key] for key in sorted(seen, key=lambda key: (key[1], key[0])))


def _found(text: str, sentence: Sentence) -> Iterator[tuple[int, Measurement]]:
    """Each number with its own place in the text."""
    if not _DIGIT.search(text, sentence.begin, sentence.end):
        return
    for match in _PRESSURE.finditer(text, sentence.begin, sentence.end):
        first, second = next(pair for pair in _PRESSURE_GROUPS if match[pair[0]])
        for quantity, group in ((Quantity.SYSTOLIC, first), (Quantity.DIASTOLIC, second)):
            yield match.start(group), _measurement(text, sentence, quantity, match, group)
    for quantity, pattern in _COMPILED:
        for match in pattern.finditer(text, sentence.begin, sentence.end):
            for group in ("n", "m"):
                if match.groupdict().get(group):
                    yield match.start(group), _measurement(text, sentence, quantity, match, group)


def _measurement(text: str, sentence: Sentence, quantity: Quantity, match: re.Match[str], group: str) -> Measurement:
    value, unit = Decimal(match[group].replace(",", ".")), match.groupdict().get("u") or ""
    why = _why_not(text, sentence, match)
    if quantity is Quantity.TEMPERATURE:
        value = _celsius(value, unit)
    if quantity is Quantity.UREA:
        quantity, value, unstated = _urea(match[0], value, unit)
        why = why or unstated
    least, most = _PLAUSIBLE[quantity]
    if not why and not least <= value <= most:
        why = "no plausible value"
    return Measurement(
        quantity=quantity,
        value=value,
        text=" ".join(match[0].split()),
        begin=match.start(),
        end=match.end(),
        sentence=sentence,
        why_not=why,
    )


def _why_not(text: str, sentence: Sentence, match: re.Match[str]) -> str:
    if match.groupdict().get("cmp"):
        return "only a bound, no value"
    if sentence.section in {Section.FAMILY, Section.PAST}:
        return "stated of the family or the past"
    if _NOT_MEASURED.search(text, max(sentence.begin, match.start() - _BEFORE), match.start()):
        return "not stated as measured now"
    return ""


def _celsius(value: Decimal, unit: str) -> Decimal:
    is_fahrenheit = unit.strip().lower().endswith(("f", "fahrenheit")) or value >= _FAHRENHEIT_FROM
    celsius = (value - 32) * 5 / 9 if is_fahrenheit else value
    return celsius.quantize(_TENTH, ROUND_HALF_UP)


def _urea(words: str, value: Decimal, unit: str) -> tuple[Quantity, Decimal, str]:
    """Quantity, value and why it does not count: urea and urea nitrogen are one in mmol/L, and two in mg/dL."""
    is_nitrogen, in_mg = not words.lower().startswith("urea"), "mg" in unit.lower()
    if is_nitrogen and (in_mg or not unit):
        return Quantity.UREA_NITROGEN, value, "" if unit else "its unit is not stated"
    if in_mg:
        return Quantity.UREA, (value / _MG_DL_UREA).quantize(_TENTH, ROUND_HALF_UP), ""
    return Quantity.UREA, value, "" if unit else "its unit is not stated"

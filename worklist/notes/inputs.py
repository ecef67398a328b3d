"""What a note gives to the risk rules: each input with its words, and what was not counted and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from worklist.notes.measurements import Measurement, Quantity
from worklist.notes.risk import NEWS2_POINTS, RESOLUTIONS, Known, points_at
from worklist.notes.statements import NoteStatement, When
from worklist.words import counted, joined

_CONFUSED: Final = re.compile(r"confus|disorient|deliri", re.IGNORECASE)
_NOT_ALERT: Final = re.compile(r"drows|somnol|unresponsive|reduced consciousness", re.IGNORECASE)
_LASTING: Final = re.compile(r"\b(?:baseline|chronic|usual|long-?standing|known|pre-?existing)\b", re.IGNORECASE)
_ORIENTED: Final = re.compile(
    r"\b(?:alert (?:and|&) (?:fully )?orient(?:at)?ed|A\s?(?:&|and|\+)\s?O\b|AO\s?x\s?[34]|GCS\s?(?:of |is |: ?)?15)"
    r"|(?<!not )(?<!dis)\b(?:fully |well )?orient(?:at)?ed\b",
    re.IGNORECASE,
)
_ALERT: Final = re.compile(
    r"(?<!not )(?<!not fully )\balert\b|\bA\s?(?:&|\+)\s?O\b|\bAO\s?x\s?[34]|\bGCS\s?(?:of |is |: ?)?15\b"
    r"|\bAC?VPU\s?:?\s?A\b",
    re.IGNORECASE,
)
_RESPONDS: Final = re.compile(
    r"\b(?:not (?:fully )?alert|responds? (?:only )?to (?:voice|pain)|obtunded|comatose|A?C?VPU\s?:?\s?[CVPU]\b)",
    re.IGNORECASE,
)
_AIR: Final = re.compile(
    r"\b(?:on|in|breathing) (?:room )?air\b|\broom air\b|%\s?(?:on )?RA\b|\bon RA\b"
    r"|\b(?:not (?:on|requiring|needing)|no|off|without) (?:supplemental )?(?:oxygen|O2)\b",
    re.IGNORECASE,
)
_OXYGEN: Final = re.compile(
    r"(?<!not )(?<!no longer )\bon (?:home |supplemental |high[- ]flow )?(?:oxygen|O2)\b"
    r"|\b(?:home|supplemental|high[- ]flow|nasal) (?:oxygen|O2)\b"
    r"|\b\d{1,2}(?:\.\d)?\s?(?:L|litres?|liters?)\b(?:\s?(?:/|per|a)\s?min(?:ute)?)?"
    r"(?=\s?(?:of )?(?:oxygen|O2\b|via|by|nasal|NC\b|NRB|mask|$|[,.;)]))"
    r"|\bon \d{1,2}(?:\.\d)?\s?(?:L|litres?|liters?)\b"
    r"|\b(?:FiO2|nasal cannulae?|non-?rebreath\w*|venturi|CPAP|BiPAP|NIV|HFNC|face ?mask|intubated|ventilated)\b",
    re.IGNORECASE,
)
_LITRES_OF_FLUID: Final = re.compile(
    r"\b(?:water|saline|fluids?|drain\w*|urine|ascit\w*|pleural|beer|wine|drinks?)\b", re.IGNORECASE
)
_SCALE_2: Final = re.compile(
    r"\b(?:target\w*|aim\w*|scale 2|goal|keep)\b[^.;\n]{0,40}\b88\s?%?\s?(?:-|–|to)\s?92\b"
    r"|\b88\s?%?\s?(?:-|–|to)\s?92\s?%?\s?target|\bSpO2 scale 2\b",
    re.IGNORECASE,
)
_QUESTIONS: Final = re.compile(r"\b(?:if|when|should|unless|until)\b[^,;.]{0,50}$", re.IGNORECASE)
_MENTAL_TEST_TO: Final = 8
_FULLY_AWAKE: Final = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What the rules are given.

    Attributes:
        known: the values.
        evidence: the words of the note by the name of the input.
        remarks: what was not counted and why, and which of several values was.
    """

    known: Known
    evidence: Mapping[str, str]
    remarks: tuple[str, ...]


def inputs_of(
    text: str,
    statements: Sequence[NoteStatement],
    measurements: Sequence[Measurement],
    *,
    age: Decimal | None = None,
    age_from: str = "",
) -> Inputs:
    """The inputs of a note.

    Args:
        text: the note, or what of it is read.
        statements: its statements.
        measurements: its numbers.
        age: in years, where it is known from elsewhere: the note's own then does not count.
        age_from: from where, for a reader.
    """
    remarks: list[str] = []
    evidence: dict[str, str] = {}
    chosen = {quantity: _worst(quantity, measurements, remarks, evidence) for quantity in Quantity}
    if age is not None:
        chosen[Quantity.AGE], evidence[Quantity.AGE] = age, age_from
    is_confused = _confusion(text, statements, chosen, remarks, evidence)
    known = Known(
        age=chosen[Quantity.AGE],
        respiratory_rate=chosen[Quantity.RESPIRATORY_RATE],
        saturation=chosen[Quantity.SATURATION],
        has_target_88_to_92=bool(_SCALE_2.search(text)),
        is_on_oxygen=_oxygen(text, remarks, evidence),
        systolic=chosen[Quantity.SYSTOLIC],
        diastolic=chosen[Quantity.DIASTOLIC],
        pulse=chosen[Quantity.PULSE],
        temperature=chosen[Quantity.TEMPERATURE],
        is_alert=_alertness(text, statements, chosen, is_confused, evidence),
        is_confused=is_confused,
        urea=chosen[Quantity.UREA],
        urea_nitrogen=chosen[Quantity.UREA_NITROGEN],
    )
    return Inputs(known=known, evidence=evidence, remarks=tuple(dict.fromkeys(remarks)))


def _worst(
    quantity: Quantity, measurements: Iterable[Measurement], remarks: list[str], evidence: dict[str, str]
) -> Decimal | None:
    """Of several values the one with the most points: nothing here can tell which is the newest."""
    stated = [one for one in measurements if one.quantity is quantity]
    counting = [one for one in stated if not one.why_not]
    remarks += [f"“{one.text}” does not count as {quantity}: {one.why_not}" for one in stated if one.why_not]
    if not counting:
        return None
    best = max(counting, key=lambda one: _weight(quantity, one.value))
    values = sorted({one.words for one in counting})
    if len(values) > 1 and quantity is not Quantity.AGE:
        remarks.append(f"{counted(len(values), 'value')} of {quantity} ({joined(values)}): {best.words} counts")
    evidence[quantity] = best.text
    return best.value


def _weight(quantity: Quantity, value: Decimal) -> tuple[Decimal, ...]:
    if quantity in NEWS2_POINTS:
        points = points_at(value, NEWS2_POINTS[quantity], RESOLUTIONS.get(quantity, Decimal(1)))
        return (Decimal(points), -value if quantity in {Quantity.SATURATION, Quantity.SYSTOLIC} else value)
    if quantity in {Quantity.DIASTOLIC, Quantity.MENTAL_TEST, Quantity.COMA_SCALE}:
        return (-value,)
    return (Decimal(0),) if quantity is Quantity.AGE else (value,)  # of several ages the first


def _confusion(
    text: str,
    statements: Iterable[NoteStatement],
    chosen: Mapping[Quantity, Decimal | None],
    remarks: list[str],
    evidence: dict[str, str],
) -> bool | None:
    """New confusion: stated, or an abbreviated mental test score of 8 or less."""
    denied = False
    for one in statements:
        if not _CONFUSED.search(one.text):
            continue
        if one.is_negated and one.when is not When.HYPOTHETICAL:
            denied, evidence["confusion"] = True, text[one.sentence.begin : one.sentence.end]
        elif not one.is_present or one.is_uncertain:
            continue
        elif _LASTING.search(text, max(one.sentence.begin, one.begin - 30), one.begin):
            remarks.append(f"“{one.text}” does not count as new confusion: it is stated as lasting")
        else:
            evidence["confusion"] = one.text
            return True
    score = chosen[Quantity.MENTAL_TEST]
    if score is not None:
        evidence["confusion"] = evidence[Quantity.MENTAL_TEST]
        return score <= _MENTAL_TEST_TO
    if denied:
        return False
    if oriented := _ORIENTED.search(text):
        evidence["confusion"] = oriented[0]
        return False
    return None


def _alertness(
    text: str,
    statements: Iterable[NoteStatement],
    chosen: Mapping[Quantity, Decimal | None],
    is_confused: bool | None,  # noqa: FBT001
    evidence: dict[str, str],
) -> bool | None:
    """Alert, on the scale of alert, new confusion, voice, pain, unresponsive (ACVPU)."""
    if is_confused:
        evidence["consciousness"] = evidence["confusion"]
        return False
    for one in statements:
        if _NOT_ALERT.search(one.text) and one.is_present and not one.is_uncertain:
            evidence["consciousness"] = one.text
            return False
    if responds := _RESPONDS.search(text):
        evidence["consciousness"] = responds[0]
        return False
    score = chosen[Quantity.COMA_SCALE]
    if score is not None and score < _FULLY_AWAKE:
        evidence["consciousness"] = evidence[Quantity.COMA_SCALE]
        return False
    if alert := _ALERT.search(text):
        evidence["consciousness"] = alert[0]
        return True
    return None


def _oxygen(text: str, remarks: list[str], evidence: dict[str, str]) -> bool | None:
    given = next((one for one in _OXYGEN.finditer(text) if _is_given(text, one)), None)
    air = _AIR.search(text)
    if given and air:
        remarks.append(f"“{air[0].strip('% ')}” and “{given[0]}”: oxygen counts")
    if given or air:
        evidence["air or oxygen"] = (given or air)[0].strip("% ")  # type: ignore[index]  # one of them is there
    return True if given else False if air else None


def _is_given(text: str, found: re.Match[str]) -> bool:
    before, after = text[max(0, found.start() - 60) : found.start()], text[found.end() : found.end() + 20]
    return not _QUESTIONS.search(before) and not _LITRES_OF_FLUID.search(before[-20:] + " " + after)

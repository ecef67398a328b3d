"""The words that a reader sees for a flag, a state and a reading.

They are written here once: the templates show them and the pages' scripts clone them, so the first drawing and each
later change read the same. What is made of an item's values is told by functions that the script repeats, since times
go on; a test holds both together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from worklist.triage import NOT_ASSESSED, Urgency

UNASSESSED = "unassessed"
"""The key of what has no urgency."""
_TWO_DAYS_H = 48  # from here on nobody reads hours alone
_AGE = re.compile("([0-9]{3})([DWMY])")
_AGE_UNITS = {"D": "d", "W": "w", "M": "mo", "Y": "y"}
_SEXES = frozenset({"F", "M", "O"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """How one flag or state is shown: the item's key, a label, and what it does and does not mean."""

    key: str
    label: str
    meaning: str


FLAGS = (
    Word(
        key=Urgency.CRITICAL,
        label=Urgency.CRITICAL.label,
        meaning="The AI suspects an emergency (ACR category 1). Unverified.",
    ),
    Word(
        key=Urgency.URGENT,
        label=Urgency.URGENT.label,
        meaning="The AI suspects a finding that should not wait (ACR category 2). Unverified.",
    ),
    Word(
        key=Urgency.NONE,
        label=Urgency.NONE.label,
        meaning="Nothing that the AI looks for reached its threshold. That is not a negative reading.",
    ),
    Word(key=UNASSESSED, label=NOT_ASSESSED, meaning="The AI has not assessed this study and says nothing about it."),
)
STATES = (
    Word(key="waiting", label="Waiting for AI", meaning="Not scored yet; listed by its time of arrival."),
    Word(key="scored", label="AI scored", meaning="In its place by its score; the AI report is being written."),
    Word(
        key="reported",
        label="AI report ready",
        meaning="The AI report is in the PACS, unverified. It is not the radiologist's report.",
    ),
    Word(
        key="out_of_scope",
        label="Out of scope",
        meaning="Nothing that the AI may judge; listed by its time of arrival. Nothing is said about the study.",
    ),
    Word(
        key="failed",
        label="AI failed",
        meaning="The AI's work on it did not succeed; the details say why. That says nothing about the study.",
    ),
)


def waiting(received_at: str | None, now: datetime) -> str:
    """How long a study has waited, such as '12 min', '3 h 05 min' or '2 d 4 h'.

    Args:
        received_at: ISO 8601 with its offset; None gives "".
        now: the moment to count to, with its time zone.
    """
    if received_at is None:
        return ""
    minutes = max(0, (now - datetime.fromisoformat(received_at)) // timedelta(minutes=1))
    hours = minutes // 60
    if hours >= _TWO_DAYS_H:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else "< 1 min"


def being_read(reading: Mapping[str, Any], now: datetime) -> str:
    """Who reads a study and since when, such as 'being read by Dr N. since 2 min'; "" where nobody does."""
    if reading["state"] != "reading":
        return ""
    return f"being read by {reading['by']} since {waiting(reading['since'], now)}"


def sex_age(sex: str, age: str) -> str:
    """Sex and age, such as 'F 71 y' or 'M 8 mo'; what is unknown is left out.

    Args:
        sex: Patient's Sex (0010,0040).
        age: Patient's Age (0010,1010), VR AS.
    """
    said = _AGE.fullmatch(age)
    parts = (sex if sex in _SEXES else "", f"{int(said[1])} {_AGE_UNITS[said[2]]}" if said else "")
    return " ".join(filter(None, parts))


def where(item: Mapping[str, Any]) -> str:
    """View unless the description ends with it, and ward or else station, such as 'AP, Ward 3'."""
    is_said = f" {item['study_description']}".upper().endswith(f" {item['view']}".upper())
    return ", ".join(filter(None, ("" if is_said else item["view"], item["ward"] or item["station"])))

"""The words that a reader sees for a flag, a state and a reading.

They are written here once: the templates show them and the pages' scripts clone them, so the first drawing and each
later change read the same. Times are told by two functions that the script repeats, since it has to go on counting; a
test holds both together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from worklist.triage import NOT_ASSESSED, Urgency

UNASSESSED = "unassessed"
"""The key of what has no urgency."""
_TWO_DAYS_H = 48  # from here on nobody reads hours alone


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

"""What somebody chose at run time: kept for ever, and the last one holds in every process from its commit on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worklist.choices import Choices, choices_of_document
from worklist.errors import InvalidInput
from worklist.reading import SYSTEM, Actor, ActorSource
from worklist.records.tables import ChoiceRow

_START = "what the environment said before the first choice"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One choice.

    Attributes:
        number: counts choices from 1; 0 is what holds before the first.
        at: when, by the database's clock; None for what was never chosen.
        by: who.
        why: in their words, one line.
        choices: everything that held from then on.
    """

    number: int
    at: datetime | None
    by: Actor
    why: str
    choices: Choices


def choices_in_force(session: Session, start: Choices) -> Choices:
    """What holds now.

    Args:
        session: of the transaction.
        start: what holds until the first choice.
    """
    document = session.scalar(select(ChoiceRow.document).order_by(ChoiceRow.number.desc()).limit(1))
    return start if document is None else _choices(document) or start


def choice_number(session: Session) -> int | None:
    """The number of the choice that holds; None before the first."""
    return session.scalar(select(func.max(ChoiceRow.number)))


def choice_in_force(session: Session, start: Choices) -> Choice:
    """The choice that holds, with who, when and why."""
    row = session.scalars(select(ChoiceRow).order_by(ChoiceRow.number.desc()).limit(1)).one_or_none()
    if row is None:
        return Choice(number=0, at=None, by=SYSTEM, why=_START, choices=start)
    return _choice(row, start)


def choices_made(session: Session, start: Choices, limit: int) -> list[Choice]:
    """The last choices, newest first; the oldest of all is what held before."""
    rows = session.scalars(select(ChoiceRow).order_by(ChoiceRow.number.desc()).limit(limit)).all()
    return [_choice(row, start) for row in rows] or [choice_in_force(session, start)]


def keep_choice(session: Session, choice: Choice, before: Choices, now: datetime) -> None:
    """Keep a choice; with the first one, what held before it."""
    if choice.number == 1:
        first = Choice(number=0, at=now, by=SYSTEM, why=_START, choices=before)
        session.add(_row(first, now))
    session.add(_row(choice, now))
    session.flush()


def _row(choice: Choice, now: datetime) -> ChoiceRow:
    return ChoiceRow(
        number=choice.number,
        at=now,
        actor=choice.by.name,
        actor_source=choice.by.source,
        why=choice.why,
        document=json.dumps(choice.choices.to_document(), sort_keys=True),
    )


def _choice(row: ChoiceRow, start: Choices) -> Choice:
    source = ActorSource(row.actor_source) if row.actor_source in set(ActorSource) else ActorSource.TYPED
    return Choice(
        number=row.number,
        at=row.at,
        by=Actor(name=row.actor, source=source),
        why=row.why,
        choices=_choices(row.document) or start,
    )


@lru_cache(maxsize=64)
def _choices(document: str) -> Choices | None:
    try:
        return choices_of_document(json.loads(document))
    except (InvalidInput, ValueError, TypeError, AttributeError):
        return None  # only a later version can read it, which must stop nothing

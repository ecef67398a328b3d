"""What happened, in the order in which it was committed.

This is the history of each study, and the number by which all who watch the list ask for what is new.

Events are gathered during a transaction and written at its end, one transaction after the other, so that whoever has
seen a number has seen all smaller ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import func, literal, select, text
from sqlalchemy.orm import Session

from worklist.reading import SYSTEM, Actor
from worklist.records.among import Texts, among
from worklist.records.tables import EventRow, StudyRow

_LOCK = 7_319_003  # advisory lock on PostgreSQL: events are numbered in the order of their commits
_PENDING = "events"
_ROUNDED = timedelta(milliseconds=1)  # interfaces tell moments in milliseconds
_LAST = 200  # events that are looked at, where only what just happened matters


class EventKind(StrEnum):
    """What can happen to a study, or to the site (policy, removed)."""

    ARRIVED = "arrived"
    IMAGE = "image"
    SCORED = "scored"
    TRIAGED = "triaged"
    COMPLETE = "complete"
    REPORTED = "reported"
    FAILED = "failed"
    RETRIED = "retried"
    WITHDRAWN = "withdrawn"
    CLAIMED = "claimed"
    READ = "read"
    PUT_BACK = "put back"
    LAPSED = "lapsed"
    RETURNED = "returned"
    POLICY = "policy"
    LOST = "report lost"
    FOUND = "report found"
    IMAGE_GONE = "image gone"
    UID_SHARED = "uid shared"
    UID_ALONE = "uid no longer shared"
    FEEDBACK = "feedback"
    REMOVED = "removed"  # studies that were read and old left the database
    OPENED = "opened in an emergency"
    WORKITEM = "workitem"  # what subscribers hear of a workitem that no other event tells


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that happened; detail depends on its kind."""

    sequence: int
    at: datetime
    study_instance_uid: str | None
    kind: str
    actor: str
    detail: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyName:
    """Which study an event is about."""

    orthanc_id: str
    study_instance_uid: str


def record(
    session: Session, kind: EventKind, study: StudyRow | StudyName | None, *, by: Actor = SYSTEM, **detail: object
) -> None:
    """Note an event, to be written when the transaction ends."""
    session.info.setdefault(_PENDING, []).append(
        EventRow(
            study_orthanc_id=study.orthanc_id if study else None,
            study_instance_uid=study.study_instance_uid if study else None,
            kind=kind,
            actor=by.name,
            actor_source=by.source,
            detail=_text(detail),
        )
    )


def write_events(session: Session, clock: Callable[[Session], datetime], *, is_sqlite: bool) -> bool:
    """Write what was noted in this transaction, as its last step; whether there was anything."""
    pending: list[EventRow] = session.info.pop(_PENDING, [])
    if not pending:
        return False
    if not is_sqlite:  # SQLite has one writer at a time
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    now = clock(session)
    for event in pending:
        event.at = now
    session.add_all(pending)
    session.flush()
    return True


def has_happened(session: Session, kind: EventKind, study: StudyRow, **detail: object) -> bool:
    """Whether an event of a kind with exactly this detail is in a study's history."""
    of_kind = (EventRow.study_orthanc_id == study.orthanc_id, EventRow.kind == kind, EventRow.detail == _text(detail))
    return session.scalar(select(EventRow.sequence).where(*of_kind).limit(1)) is not None


def film_after(session: Session, study: StudyRow, moment: datetime) -> datetime | None:
    """When the last film of a study came that came after a moment; None where none did."""
    return session.scalar(
        select(func.max(EventRow.at)).where(
            EventRow.study_orthanc_id == study.orthanc_id,
            EventRow.kind == EventKind.IMAGE,
            EventRow.at > moment + _ROUNDED,
        )
    )


def _text(detail: dict[str, object]) -> str:
    return json.dumps(detail, default=str, ensure_ascii=False)


def lately(session: Session, kinds: Collection[EventKind], since: datetime) -> set[str]:
    """Which of some kinds are among the last events, back to a moment."""
    last = select(EventRow.kind, EventRow.at).order_by(EventRow.sequence.desc()).limit(_LAST).subquery()
    return set(session.scalars(select(last.c.kind).where(last.c.kind.in_(kinds), last.c.at >= since)))


def newest_sequence(session: Session) -> int:
    """The number of the last event; zero before the first."""
    return session.scalar(select(func.max(EventRow.sequence))) or 0


def changed_studies(session: Session, after: int) -> tuple[int, dict[str, str]]:
    """The number of the last event, and the studies of all events after a number: UIDs by Orthanc's identifiers."""
    rows = session.execute(
        select(EventRow.sequence, EventRow.study_orthanc_id, EventRow.study_instance_uid)
        .where(EventRow.sequence > after)
        .order_by(EventRow.sequence)
    ).all()
    changed = {row.study_orthanc_id: row.study_instance_uid for row in rows if row.study_orthanc_id is not None}
    return (rows[-1].sequence if rows else after), changed


def history(session: Session, orthanc_id: str) -> Sequence[Event]:
    """Everything that happened to a study, oldest first."""
    return histories(session, [orthanc_id]).get(orthanc_id, [])


def histories(session: Session, orthanc_ids: Sequence[str]) -> dict[str, list[Event]]:
    """Everything that happened to some studies, oldest first, by Orthanc's identifier."""
    of_them = among(EventRow.study_orthanc_id, literal(list(orthanc_ids), Texts()))
    told: dict[str, list[Event]] = {}
    for row in session.scalars(select(EventRow).where(of_them).order_by(EventRow.sequence)):
        event = Event(
            sequence=row.sequence,
            at=row.at,
            study_instance_uid=row.study_instance_uid,
            kind=row.kind,
            actor=row.actor,
            detail=json.loads(row.detail),
        )
        told.setdefault(row.study_orthanc_id or "", []).append(event)
    return told
